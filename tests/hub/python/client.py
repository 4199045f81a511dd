#!/usr/bin/env python3
"""What the Python client does with a Hub or a cache; one action for each call, told in JSON on the last line.

    pip install --requirement requirements.txt
    HF_ENDPOINT=http://127.0.0.1:PORT python3 client.py ACTION ARGUMENTS

snapshot REPO REVISION       downloads all files (or, with HF_HUB_OFFLINE=1, looks them up): folder and SHA-256 of each
file REPO REVISION PATH      the same for one file
upload REPO FOLDER BRANCH    makes the repository and the branch, and uploads the folder in one commit
refusals REPO REVISION PATH  the names of the exceptions for each kind of access
scan                         what is wrong with the cache, and what is in it
"""

import hashlib
import json
import sys
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, list_repo_tree, scan_cache_dir, snapshot_download


def hashed(folder):
    """SHA-256 of every file below a folder."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def snapshot(repo, revision):
    folder = snapshot_download(repo, revision=revision)
    return {"folder": folder, "files": hashed(folder)}


def file(repo, revision, path):
    found = hf_hub_download(repo, path, revision=revision)
    return {"path": found, "sha256": hashlib.sha256(Path(found).read_bytes()).hexdigest()}


def upload(repo, folder, branch):
    api = HfApi()
    api.whoami()
    url = api.create_repo(repo, private=True)
    api.create_repo(repo, exist_ok=True)
    if branch != "main":
        api.create_branch(repo, branch=branch)
        api.create_branch(repo, branch=branch, exist_ok=True)
    first = api.upload_folder(repo_id=repo, folder_path=folder, revision=branch, commit_message="all of it")
    again = api.upload_folder(repo_id=repo, folder_path=folder, revision=branch, commit_message="nothing new")
    return {"url": str(url), "commit": first.oid, "again": again.oid}


def refusals(repo, revision, path):
    def name(act):
        try:
            act()
            return None
        except Exception as error:
            return type(error).__name__

    return {
        "info": name(lambda: HfApi().model_info(repo, revision=revision)),
        "tree": name(lambda: list(list_repo_tree(repo, revision=revision, recursive=True))),
        "file": name(lambda: hf_hub_download(repo, path, revision=revision)),
    }


def scan():
    info = scan_cache_dir()
    return {
        "warnings": [str(warning) for warning in info.warnings],
        "repos": {
            repo.repo_id: {
                "bytes": repo.size_on_disk,
                "revisions": {
                    revision.commit_hash: {"refs": sorted(revision.refs), "files": len(revision.files)}
                    for revision in repo.revisions
                },
            }
            for repo in info.repos
        },
    }


if __name__ == "__main__":
    actions = {act.__name__: act for act in (snapshot, file, upload, refusals, scan)}
    print(json.dumps(actions[sys.argv[1]](*sys.argv[2:])))
