#!/usr/bin/env python3
"""Memory of merges that look at models through views: adapters, and a union of vocabularies; writes a Markdown table.

    cargo build --release --examples --bin growmerge
    target/release/examples/synthesize 180m sets/180m
    python3 benches/memory.py --set sets/180m --rounds 3

Every model gets a tokenizer of its own (whole words, of which each language has some that the others lack) and the
Estonian one's difference from the base is extracted as adapters of two ranks. RssAnon, sampled every 5 ms, is what the
program allocates itself, without mapped files.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from compare import BIN, LANGUAGES, measure

# Tokens that are one language's own.
OWN = 2000


def tokenizer(vocabulary, language):
    shared = [f"w{i}" for i in range(vocabulary - OWN)]
    tokens = ["[UNK]", *shared[1:], *(f"{language}{i}" for i in range(OWN))]
    model = {"type": "WordLevel", "vocab": {t: i for i, t in enumerate(tokens)}, "unk_token": "[UNK]"}
    return json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None, "model": model,
    })


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--set", required=True, type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    scratch = Path(tempfile.mkdtemp())
    models = scratch / "models"
    for name in ["base", *LANGUAGES]:
        shutil.copytree(args.set / name, models / name, copy_function=lambda a, b: Path(b).symlink_to(Path(a).resolve()))
        vocabulary = json.loads((models / name / "config.json").read_text())["vocab_size"]
        (models / name / "tokenizer.json").write_text(tokenizer(vocabulary, name))
    for rank in [8, 64]:
        command = [BIN / "growmerge", "extract-lora", args.set / "et", args.set / "base", scratch / f"lora{rank}"]
        subprocess.run([*command, "--rank", str(rank)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    listed = lambda of: "".join(f"  - {{model: {of(l)}, parameters: {{weight: 0.2}}}}\n" for l in LANGUAGES)
    linear = lambda of, more="": f"merge_method: linear\nmodels:\n{listed(of)}{more}dtype: bfloat16\n"
    ties = lambda of, more="": (f"merge_method: ties\nbase_model: {models}/base\nparameters: {{density: 0.5}}\nmodels:\n"
                                f"{listed(of)}{more}dtype: bfloat16\n")
    union = f"base_model: {models}/base\ntokenizer_source: union\n"
    plain = lambda l: args.set.resolve() / l
    adapted = lambda rank: lambda l: f"{plain(l)}+{scratch}/lora{rank}"
    recipes = {
        "linear": linear(plain),
        "task_arithmetic, union of six vocabularies": linear(lambda l: models / l, union).replace("linear", "task_arithmetic"),
        "ties, union of six vocabularies": ties(lambda l: models / l, "tokenizer_source: union\n"),
        "linear, an adapter of rank 8 on each": linear(adapted(8)),
        "linear, an adapter of rank 64 on each": linear(adapted(64)),
    }
    print("| merge | wall s | RSS MB | RssAnon MB |\n|---|---:|---:|---:|")
    for name, text in recipes.items():
        recipe, out = scratch / "recipe.yaml", scratch / "out"
        recipe.write_text(text)
        runs = [measure([BIN / "growmerge", "merge", recipe, out, "--quiet"], out, None) for _ in range(args.rounds)]
        wall, _, rss, anon = (statistics.median(values) for values in zip(*runs))
        print(f"| {name} | {wall:.2f} | {rss:.0f} | {anon:.0f} |", flush=True)
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
