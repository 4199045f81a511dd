#!/usr/bin/env python3
"""growmerge against mergekit, alternating in one run; writes a Markdown table.

    cargo build --release --examples --bin growmerge
    target/release/examples/synthesize 180m sets/180m
    target/release/examples/synthesize 572m sets/572m
    python3 -m venv venv && venv/bin/pip install mergekit==0.1.5
    python3 benches/compare.py --mergekit venv/bin/mergekit-yaml --sets sets --rounds 3

Every round runs each program once: growmerge, the floor program (read all inputs, hash and write the
output), and mergekit, in the first round with one torch thread and with two, then with the faster of
these settings, which is the one that counts.
Inputs are in the page cache, outputs go to fresh folders and are removed outside of the measured time.
Reported are medians: wall time, CPU time, peak resident memory and peak anonymous memory (RssAnon,
sampled every 5 ms: what the program allocates itself, without mapped files).
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

LANGUAGES = ["et", "fo", "is", "fa", "sv"]
# Of each method: what it merges beside or among these, whether the base is listed or given, parameters of
# each model and of all.
METHODS = {
    "linear": (LANGUAGES, False, "weight: 0.2", ""),
    "slerp": (["base", "et"], True, "", "t: 0.5"),
    "nuslerp": (["et", "fo"], False, "weight: 0.5", ""),
    "multislerp": (LANGUAGES, False, "weight: 0.2", ""),
    "karcher": (LANGUAGES, False, "", ""),
    "model_stock": (LANGUAGES, True, "", ""),
    "task_arithmetic": (LANGUAGES, True, "weight: 0.2", ""),
    "ties": (LANGUAGES, True, "weight: 0.2, density: 0.5", ""),
    "dare_linear": (LANGUAGES, True, "weight: 0.2, density: 0.5", ""),
    "dare_ties": (LANGUAGES, True, "weight: 0.2, density: 0.5", ""),
    "breadcrumbs": (LANGUAGES, True, "weight: 0.2, density: 0.5", ""),
    "breadcrumbs_ties": (LANGUAGES, True, "weight: 0.2, density: 0.5", ""),
    "della_linear": (LANGUAGES, True, "weight: 0.2, density: 0.5, epsilon: 0.1", ""),
    "della": (LANGUAGES, True, "weight: 0.2, density: 0.5, epsilon: 0.1", ""),
    "sce": (LANGUAGES, True, "", "select_topk: 0.5"),
    "nearswap": (["base", "et"], True, "", "t: 0.001"),
    "ram": (LANGUAGES, True, "", ""),
    "ramplus_tl": (LANGUAGES, True, "", ""),
    "arcee_fusion": (["base", "et"], True, "", ""),
}
HERE = Path(__file__).resolve().parent
BIN = HERE.parent / "target" / "release"


def recipe(method, folder):
    """The recipe as both programs get it."""
    models, based, each, every = METHODS[method]
    lines = [f"merge_method: {method}"]
    if based:
        lines.append(f"base_model: {folder}/base")
    lines.append("models:")
    for model in models:
        lines.append(f"  - model: {folder}/{model}")
        if each:
            lines.append(f"    parameters: {{{each}}}")
    if every:
        lines.append(f"parameters: {{{every}}}")
    return "\n".join(lines + ["dtype: bfloat16", "out_dtype: bfloat16", ""])


def rss_anon(pid):
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith("RssAnon"):
                    return int(line.split()[1]) / 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0.0


def measure(command, out, env=None):
    """Wall and CPU seconds, peak RSS and peak RssAnon in MB of one run."""
    shutil.rmtree(out, ignore_errors=True)
    if out.is_file():
        out.unlink()
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, **(env or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    anon = 0.0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        anon = max(anon, rss_anon(process.pid))
        time.sleep(0.005)
    wall = time.perf_counter() - start
    if status != 0:
        raise SystemExit(f"failed: {' '.join(map(str, command))}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, anon


def medians(runs):
    return [statistics.median(values) for values in zip(*runs)]


def warm(folder):
    for file in folder.glob("*/model.safetensors"):
        with open(file, "rb") as f:
            while f.read(1 << 24):
                pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--mergekit", required=True, help="the program mergekit-yaml")
    parser.add_argument("--sets", required=True, type=Path, help="folder with the sets, one folder for each size")
    parser.add_argument("--sizes", nargs="+", default=["180m", "572m"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mergekit-threads", nargs="+", type=int, default=[1, 2], help="settings to try")
    parser.add_argument("--scratch", help="folder for outputs")
    args = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(dir=args.scratch))
    threads = str(os.cpu_count())
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    print(f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {threads} cores, {cpu()}, Linux {platform.release()}")
    print(f"medians of {args.rounds} rounds\n")
    print("| set | method | | wall s | cpu s | RSS MB | RssAnon MB | mergekit / growmerge | growmerge / floor |")
    print("|---|---|---|---:|---:|---:|---:|---:|---:|")
    for size in args.sizes:
        folder = (args.sets / size).resolve()
        for method in args.methods:
            warm(folder)
            text = scratch / "recipe.yaml"
            text.write_text(recipe(method, folder))
            models, based, _, _ = METHODS[method]
            used = set(models) | ({"base"} if based else set())
            inputs = [folder / model / "model.safetensors" for model in sorted(used)]
            out = scratch / "out"
            mergekit = [args.mergekit, text, out, "--quiet"]
            programs = {
                "growmerge": ([BIN / "growmerge", "merge", text, out, "--quiet"], None),
                "floor": ([BIN / "examples" / "floor", out, threads, *inputs], None),
            }
            for n in args.mergekit_threads:
                passive = {} if n == 1 else {"OMP_WAIT_POLICY": "passive"}
                programs[f"mergekit, {n} thread{'s'[: n - 1]}"] = (
                    mergekit, {**offline, "OMP_NUM_THREADS": str(n), **passive})
            runs = {name: [] for name in programs}
            for _ in range(args.rounds):
                for name, (command, env) in programs.items():
                    runs[name].append(measure(command, out, env))
                # The slower setting of mergekit is not run again.
                slower = [n for n in programs if n.startswith("mergekit")]
                if len(slower) == 2:
                    programs.pop(max(slower, key=lambda n: runs[n][0][0]))
            result = {name: medians(runs[name]) for name in programs}
            best = next(n for n in programs if n.startswith("mergekit"))
            ours = result["growmerge"][0]
            for name in ["growmerge", "floor", best]:
                wall, cpu_seconds, rss, anon = result[name]
                ratios = ("", "")
                if name == "growmerge":
                    ratios = (f"{result[best][0] / ours:.1f}x", f"{ours / result['floor'][0]:.2f}x")
                print(f"| {size} | {method} | {name} | {wall:.2f} | {cpu_seconds:.2f} | {rss:.0f} | {anon:.0f} "
                      f"| {ratios[0]} | {ratios[1]} |", flush=True)
    shutil.rmtree(scratch, ignore_errors=True)


def cpu():
    with open("/proc/cpuinfo") as info:
        names = [line.split(":")[1].strip() for line in info if line.startswith("model name")]
    return names[0] if names else "unknown CPU"


if __name__ == "__main__":
    main()
