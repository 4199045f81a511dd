#!/usr/bin/env python3
"""Training steps of growmerge-trainer against PyTorch and transformers, alternating in one run; writes a Markdown table.

    cargo build --release -p growmerge-trainer --example train_step
    python3 -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.23.0
    python3 benches/compare_train.py --python venv/bin/python --rounds 3

For each size PyTorch first finds its fastest settings (`benches/train_peer.py --tune`, printed); then every round runs
each program once. Reported are medians of the rounds, of tokens a second of whole steps: forward, cross entropy,
backward, clipping and AdamW, in float32, of the same shape on batches of the same size. Memory is the peak of what
the program allocated itself (RssAnon).
"""

import argparse
import os
import platform
import statistics
import time
from pathlib import Path

from compare import cpu
from compare_eval import BIN, run

HERE = Path(__file__).resolve().parent

WIDE = {"hidden": 576, "layers": 6, "heads": 9, "kv-heads": 3, "intermediate": 1536, "sequence": 128, "batch": 16}
# Name -> the shape, and steps that take about as long as the others'.
CASES = {
    "64": ({"hidden": 64, "layers": 4, "heads": 4, "kv-heads": 2, "intermediate": 176, "vocab": 2048, "sequence": 128, "batch": 32}, 30),
    "128": ({"hidden": 128, "layers": 4, "heads": 8, "kv-heads": 4, "intermediate": 352, "vocab": 2048, "sequence": 128, "batch": 32}, 15),
    "576": ({**WIDE, "vocab": 2048}, 5),
    "576-32k": ({**WIDE, "vocab": 32000}, 3),
}


def flags(settings):
    return [part for name, value in settings.items() for part in (f"--{name}", str(value))]


def describe(shape):
    return (f"hidden {shape['hidden']}, {shape['layers']} layers, {shape['heads']}/{shape['kv-heads']} heads,"
            f" {shape['intermediate']}, vocabulary {shape['vocab']}, {shape['batch']} x {shape['sequence']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--python", required=True, help="a Python with torch and transformers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--steps", type=int, help="in each run [default: by size]")
    parser.add_argument("--tune", type=int, default=3, help="steps of each setting that PyTorch tries")
    args = parser.parse_args()
    peer = [args.python, HERE / "train_peer.py"]
    print(f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, {cpu()}, Linux {platform.release()}")
    print(f"medians of {args.rounds} rounds, {args.threads} threads each\n")
    print("| model, batch | growmerge tokens/s | PyTorch tokens/s | ratio | growmerge RssAnon MB | PyTorch RssAnon MB | PyTorch's settings |")
    print("|---|---:|---:|---:|---:|---:|---|")
    for name in args.cases:
        shape, steps = CASES[name]
        common = flags({**shape, "steps": args.steps or steps, "threads": args.threads})
        _, _, tuned = run([*peer, *flags({**shape, "steps": 1, "threads": args.threads, "tune": args.tune})])
        chosen = {"attention": tuned["attention"], "adam": tuned["adam"], "micro-batch": tuned["micro_batch"]}
        commands = ([BIN / "examples" / "train_step", *common], [*peer, *common, *flags(chosen)])
        results = ([], [])
        for _ in range(args.rounds):
            for result, command in zip(results, commands):
                result.append(run(command))
        if results[0][0][2]["parameters"] != results[1][0][2]["parameters"]:
            raise SystemExit(f"{name}: the models differ in size")
        ours, theirs = (statistics.median(r[2]["median_tokens_per_s"] for r in result) for result in results)
        anon = [statistics.median(r[1] for r in result) for result in results]
        settings = ", ".join(f"{key} {value}" for key, value in chosen.items())
        print(f"| {describe(shape)} | {ours:.0f} | {theirs:.0f} | {ours / theirs:.2f}x | {anon[0]:.0f} | {anon[1]:.0f} | {settings} |", flush=True)


if __name__ == "__main__":
    main()
