#!/usr/bin/env python3
"""The PyTorch twin of a run: the same first weights, tokens and settings, so that what is left is the trainer.

    cargo run --release -p growmerge-trainer --example run_tokens -- run.yaml out/twin
    python3 -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.23.0
    venv/bin/python benches/train_twin.py train out/twin --out out/twin/model
    growmerge-trainer train run.yaml out/run
    venv/bin/python benches/train_twin.py loss out/twin out/twin/model out/run

`train` reads run.json, start/ and tokens.u16 of the folder, writes the trained model in float32 and losses.json, the loss
before every step. `loss` measures any checkpoints on the folder's valid-LANGUAGE.u16, all with the same few lines, and
prints the mean loss of each in nats per token, and by what share it is above the first one's. For a fair comparison the
run's models must be float32 too (`checkpoints: {dtype: float32}`).

Files of tokens are raw little-endian u16: tokens.u16 [steps, batch, sequence + 1], valid-*.u16 [n, sequence + 1].
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from transformers import AutoModelForCausalLM


def tokens(path, *shape):
    """Of a file of u16; the first dimension is as long as the file."""
    ids = np.fromfile(path, dtype="<u2")
    if len(ids) % math.prod(shape):
        sys.exit(f"{path}: {len(ids)} tokens are no whole number of {' x '.join(map(str, shape))}")
    return torch.from_numpy(ids.reshape(-1, *shape).astype(np.int64))


def share(schedule, step, steps):
    """Of the highest learning rate: up in a straight line, level, then down to the floor."""
    warmup, decay, shape = schedule["warmup"], schedule["decay"], schedule["shape"]
    warmup = min(steps, max(1, steps // 50) if warmup is None else warmup)
    if decay is None:
        decay = {"constant": 0, "linear": steps // 5, "cosine": steps - warmup}[shape]
    up = (step + 1) / warmup if step < warmup else 1.0
    left = steps - step
    down = left / min(decay, steps) if left < min(decay, steps) and shape != "constant" else 1.0
    if shape == "cosine":
        down = 0.5 - 0.5 * math.cos(math.pi * down)
    return min(up, schedule["floor"] + (1 - schedule["floor"]) * down)


def adamw(model, settings):
    decays = [w for w in model.parameters() if settings["decay"] == "all" or w.ndim > 1]
    others = [w for w in model.parameters() if not (settings["decay"] == "all" or w.ndim > 1)]
    groups = [{"params": decays, "weight_decay": settings["weight_decay"]}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings["lr"], betas=tuple(settings["betas"]), eps=settings["eps"],
    )


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")


def loss_of(model, ids):
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def run_train(args):
    run = json.loads((args.folder / "run.json").read_text())
    settings, schedule, steps = run["optimizer"], run["schedule"], run["steps"]
    batches = tokens(args.folder / "tokens.u16", run["batch"], run["sequence"] + 1)
    if len(batches) != steps:
        sys.exit(f"{args.folder}: tokens for {len(batches)} steps, but the run has {steps}")
    model = load(args.folder / "start").train()
    optimizer = adamw(model, settings)
    losses, started = [], time.perf_counter()
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = settings["lr"] * share(schedule, step, steps)
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()
        if settings["clip"] is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings["clip"])
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: loss {sum(losses[-100:]) / 100:.4f}", file=sys.stderr)
    seconds = time.perf_counter() - started
    model.save_pretrained(args.out)
    (args.out / "losses.json").write_text(json.dumps(losses) + "\n")
    speed = batches[:, :, 1:].numel() / seconds
    return {"steps": steps, "loss": sum(losses[-(steps // 10 or 1) :]) / (steps // 10 or 1), "tokens_per_s": round(speed)}


@torch.inference_mode()
def run_loss(args):
    run = json.loads((args.folder / "run.json").read_text())
    paths = sorted(args.folder.glob("valid-*.u16"))
    if not paths:
        sys.exit(f"{args.folder}: no valid-*.u16, as the run has no validation")
    result = {}
    for folder in args.models:
        model = load(folder).eval()
        measured = {}
        for path in paths:
            parts = tokens(path, run["sequence"] + 1).split(32)
            sums = [loss_of(model, ids).item() * len(ids) for ids in parts]
            measured[path.stem.removeprefix("valid-")] = sum(sums) / sum(map(len, parts))
        result[str(folder)] = measured
    first = next(iter(result.values()))
    above = {name: {lang: loss / first[lang] - 1 for lang, loss in m.items()} for name, m in result.items()}
    return {"nats_per_token": result, "above_the_first": above}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--threads", type=int, help="of PyTorch [default: as PyTorch chooses]")
    modes = parser.add_subparsers(required=True)

    mode = modes.add_parser("train", help="train the twin")
    mode.add_argument("folder", type=Path, help="what the example run_tokens wrote")
    mode.add_argument("--out", type=Path, required=True, help="folder for the trained model")
    mode.set_defaults(run=run_train)

    mode = modes.add_parser("loss", help="measure checkpoints on the held-out tokens")
    mode.add_argument("folder", type=Path, help="what the example run_tokens wrote")
    mode.add_argument("models", type=Path, nargs="+", help="checkpoints; the first is what the others are compared with")
    mode.set_defaults(run=run_loss)

    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    transformers.utils.logging.disable_progress_bar()
    print(json.dumps(args.run(args), indent=1))


if __name__ == "__main__":
    main()
