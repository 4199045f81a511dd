#!/usr/bin/env python3
"""`growmerge fetch` against curl with as many connections, from a Hub on this machine; writes a Markdown table.

    cargo build --release --bin growmerge --example loopback
    python3 benches/hub.py --shards 8 --size 256 --jobs 4 --rounds 5

Every round runs each program once into a fresh folder, which is removed outside of the measured time: growmerge
(which checks SHA-256 and leaves a cache), curl, and curl followed by sha256sum over what came, as many at
once. Server and clients share the machine, and the server's files are in the page cache. Reported are medians of wall
time, of CPU time of the client, and the largest resident memory of any round.
"""

import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import tempfile
import time
from pathlib import Path

BIN = Path(__file__).resolve().parent.parent / "target" / "release"
REPOSITORY = "bench/shards"


def make(folder, shards, size):
    """A model of so many shards of `size` MiB of noise, with an index and a configuration; returns the shards' names."""
    folder.mkdir(parents=True)
    names, index = [], {}
    for shard in range(shards):
        name, tensor = f"model-{shard + 1:05}-of-{shards:05}.safetensors", f"model.layers.{shard}.mlp.up_proj.weight"
        entry = {"dtype": "BF16", "shape": [size, 1 << 19], "data_offsets": [0, size << 20]}
        header = json.dumps({tensor: entry}).encode()
        header += b" " * (-len(header) % 8)
        with open(folder / name, "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            for _ in range(size):
                file.write(os.urandom(1 << 20))
        names.append(name)
        index[tensor] = name
    weights = {"metadata": {"total_size": shards * size << 20}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(weights))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "num_hidden_layers": shards}))
    return names


def run(command, **settings):
    """Wall and CPU seconds of a program and its largest resident memory in MiB."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, **settings)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    if status != 0:
        raise SystemExit(f"{command} ended with {status}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def programs(endpoint, names, jobs, into):
    """The command of each program, given where it writes."""
    links = "".join(f'url = "{endpoint}/{REPOSITORY}/resolve/main/{n}"\noutput = "{into}/{n}"\n' for n in names)
    (into / "curl.conf").write_text(links)
    curl = f"curl --silent --show-error --fail --location --parallel --parallel-max {jobs} --config {into}/curl.conf"
    check = f"ls {into}/*.safetensors | xargs --max-args=1 --max-procs={jobs} sha256sum"
    fetch = [str(BIN / "growmerge"), "fetch", REPOSITORY, "--quiet", "--jobs", str(jobs), "--cache", str(into)]
    return {"growmerge fetch": fetch, "curl": ["sh", "-c", f"exec {curl}"], "curl, then sha256sum": ["sh", "-c", f"{curl} && {check}"]}


def check(into, source, names):
    """That what arrived is what was served."""
    for name in names:
        found = [path for path in into.rglob(name)]
        if len(found) != 1 or subprocess.run(["cmp", "--silent", found[0], source / name]).returncode != 0:
            raise SystemExit(f"{name} did not arrive whole in {into}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--size", type=int, default=256, help="MiB of each shard")
    parser.add_argument("--jobs", type=int, default=4, help="connections at once")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work: the same disk for all [default: the temporary one]")
    args = parser.parse_args()
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and not k.lower().endswith("_proxy")}
    with tempfile.TemporaryDirectory(dir=args.folder) as work:
        work = Path(work)
        source = work / "served" / REPOSITORY
        names = make(source, args.shards, args.size)
        server = subprocess.Popen([BIN / "examples" / "loopback", work / "served"], stdout=subprocess.PIPE, text=True)
        try:
            endpoint = server.stdout.readline().strip()
            environment = clean | {"HF_ENDPOINT": endpoint, "HF_HOME": str(work / "home")}
            measured = {}
            for turn in range(args.rounds + 1):
                for number, program in enumerate(["growmerge fetch", "curl", "curl, then sha256sum"]):
                    into = work / f"into-{number}"
                    into.mkdir()
                    command = programs(endpoint, names, args.jobs, into)[program]
                    figures = run(command, env=environment)
                    if turn == 0:
                        check(into, source, names)  # and everything has been read once
                    else:
                        measured.setdefault(program, []).append(figures)
                    shutil.rmtree(into)
        finally:
            server.terminate()
            server.wait()
    total = (args.shards * args.size << 20) / 1e9
    print(f"{args.shards} shards of {args.size} MiB, {args.jobs} connections, {args.rounds} rounds, medians\n")
    print("| | s | GB/s | of curl | CPU s | peak MiB |\n|---|---|---|---|---|---|")
    wall = {program: statistics.median(f[0] for f in figures) for program, figures in measured.items()}
    for program, figures in measured.items():
        speed, ratio = total / wall[program], wall["curl"] / wall[program]
        cpu, peak = statistics.median(f[1] for f in figures), max(f[2] for f in figures)
        print(f"| {program} | {wall[program]:.2f} | {speed:.2f} | {ratio:.2f} | {cpu:.2f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
