#!/usr/bin/env python3
"""`growmerge eval` against PyTorch and transformers, alternating in one run; writes a Markdown table.

    cargo build --release --example forward --bin growmerge
    python3 -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.23.0
    venv/bin/python benches/eval_peer.py random-180m sets/random-180m
    python3 benches/compare_eval.py --python venv/bin/python --model sets/random-180m --rounds 3

Every round runs each program once; reported are medians. `forward` and the loss on windows of random tokens,
model loaded: tokens a second, as each program says (PyTorch at the faster of its batch sizes). `eval` as a
whole, start-up included, of one model on the six texts of the quickstart: wall seconds. Memory is the peak of
what the program allocated itself (RssAnon): the mapped weights are not in it.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from compare import cpu, rss_anon

HERE = Path(__file__).resolve().parent
BIN = HERE.parent / "target" / "release"
QUICKSTART = HERE.parent / "recipes" / "quickstart"


def run(command):
    """Wall seconds, peak RssAnon in MB and the JSON that a program prints."""
    with tempfile.TemporaryFile() as out:
        start = time.perf_counter()
        process = subprocess.Popen([str(c) for c in command], stdout=out, stderr=subprocess.DEVNULL)
        anon = 0.0
        while process.poll() is None:
            anon = max(anon, rss_anon(process.pid))
            time.sleep(0.005)
        wall = time.perf_counter() - start
        if process.returncode != 0:
            raise SystemExit(f"failed: {' '.join(map(str, command))}")
        out.seek(0)
        return wall, anon, json.loads(out.read())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--python", required=True, help="a Python with torch and transformers")
    parser.add_argument("--model", required=True, type=Path, help="the 180M checkpoint")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--windows", type=int, default=4, help="of 2048 tokens, at the 180M shape")
    args = parser.parse_args()
    peer = [args.python, HERE / "eval_peer.py"]
    small = QUICKSTART / "sv"
    texts = QUICKSTART / "texts"
    windows = ["--tokens", "2048", "--windows", args.windows]
    many = ["--tokens", "128", "--windows", "800"]
    cases = {
        "forward, 180M, 2048-token windows": (
            [BIN / "examples" / "forward", args.model, *windows],
            [*peer, "forward", args.model, *windows],
        ),
        "forward, quickstart, 128-token windows": (
            [BIN / "examples" / "forward", small, *many],
            [*peer, "forward", small, *many, "--batch", 8, 32],
        ),
        "eval, quickstart, 6 texts, start-up included": (
            [BIN / "growmerge", "eval", small, "--texts", texts, "--json"],
            [*peer, "eval", small, "--texts", texts],
        ),
    }
    print(f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, {cpu()}, Linux {platform.release()}")
    print(f"medians of {args.rounds} rounds\n")
    print("| what | growmerge | PyTorch | ratio | growmerge RssAnon MB | PyTorch RssAnon MB |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, commands in cases.items():
        results = ([], [])
        for _ in range(args.rounds):
            for result, command in zip(results, commands):
                result.append(run(command))
        anon = [statistics.median(r[1] for r in result) for result in results]
        if name.startswith("eval"):
            ours, theirs = (statistics.median(r[0] for r in result) for result in results)
            unit, ratio = "s", theirs / ours
        else:
            ours = statistics.median(r[2]["tokens_per_s"] for r in results[0])
            theirs = statistics.median(r[2]["tokens_per_second"] for r in results[1])
            unit, ratio = "tokens/s", ours / theirs
        digits = 2 if unit == "s" else 0
        print(f"| {name} | {ours:.{digits}f} {unit} | {theirs:.{digits}f} {unit} | {ratio:.2f}x | {anon[0]:.0f} | {anon[1]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
