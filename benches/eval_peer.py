#!/usr/bin/env python3
"""What `growmerge eval` is timed against: the same by PyTorch and transformers, on the CPU in float32.

    python3 -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.23.0
    venv/bin/python benches/eval_peer.py eval recipes/quickstart/en --texts recipes/quickstart/texts
    venv/bin/python benches/eval_peer.py random-180m sets/random-180m
    venv/bin/python benches/eval_peer.py forward sets/random-180m --tokens 2048 --windows 4

`eval` scores every line of every DIR/*.txt as a document of its own, as tests/perplexity/make.py does under the
rule "separate" (there it is written for reading, here for speed). `forward` times windows of random tokens.
Both print JSON.

Measured on two cores and kept, since it was faster:
* Batches of similar lengths, padded at the end. Under a causal mask no token sees the padding behind it, so
  transformers gets no attention mask, and PyTorch can take its causal kernel (5 %).
* The head only where a token is scored, in pieces, so that the logits of a window never exist at once.
* An allocator that keeps large blocks: logits are hundreds of MB, and mapping their pages anew for every piece
  costs more than the softmax (15 % of a forward pass).
Measured and left out: torch.compile (with and without freezing) and a logsumexp in place of the cross entropy,
neither of which was faster.
"""

import argparse
import ctypes
import json
import resource
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()
if sys.platform == "linux":
    M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, -1)

import torch
import torch.nn.functional as F
import transformers
from tokenizers import Tokenizer
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

# The label of an id that is not scored.
UNSCORED = -100
# Tokens whose logits exist at once; for a vocabulary of 128256, half a GB.
PIECE = 1024


def load(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    return model.eval()


def nats(model, ids, labels):
    """Sum of -ln p of `labels`, each given the `ids` before it; both [batch, length]."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    labels = labels[:, 1:]
    scored = labels != UNSCORED
    hidden, labels = hidden[scored], labels[scored]
    total = 0.0
    for h, y in zip(hidden.split(PIECE), labels.split(PIECE)):
        total += F.cross_entropy(model.lm_head(h), y, reduction="none").sum(dtype=torch.float64).item()
    return total


def windows(ids, context, stride):
    """Windows of at most `context` over one document, and their labels; every id but the first is scored once."""
    scored = 1
    for begin in range(0, len(ids), stride):
        window = torch.tensor(ids[begin : begin + context])
        labels = window.clone()
        labels[: scored - begin] = UNSCORED
        yield window, labels
        scored = begin + len(window)
        if scored == len(ids):
            return


def batches(items, budget):
    """Items of similar lengths, at most `budget` tokens with the padding."""
    batch = []
    for item in sorted(items, key=lambda item: len(item[0])):
        if batch and (len(batch) + 1) * len(item[0]) > budget:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def evaluate(model, tokenizer, file, args):
    started = time.perf_counter()
    lines = [line.rstrip() for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    encodings = tokenizer.encode_batch_fast(lines, add_special_tokens=False)
    documents = [[model.config.bos_token_id] + encoding.ids for encoding in encodings]
    items = [item for ids in documents for item in windows(ids, args.context, args.stride)]
    total = 0.0
    for batch in batches(items, args.batch_tokens):
        ids, labels = zip(*batch)
        labels = pad_sequence(labels, batch_first=True, padding_value=UNSCORED)
        total += nats(model, pad_sequence(ids, batch_first=True), labels)
    tokens = sum(len(ids) - 1 for ids in documents)
    return {
        "nats": total, "tokens": tokens, "bytes": sum(len(line.encode()) for line in lines),
        "nats_per_token": total / tokens, "seconds": time.perf_counter() - started,
    }


def run_eval(args):
    if args.stride >= args.context:
        raise SystemExit("--stride must be smaller than --context, so that every token has one before it")
    model = load(args.model)
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    loaded = time.perf_counter()
    files = sorted(args.texts.glob("*.txt"))
    return {
        "startup_seconds": loaded - STARTED,
        "languages": {file.stem: evaluate(model, tokenizer, file, args) for file in files},
        "total_seconds": time.perf_counter() - STARTED,
    }


def run_random_180m(args):
    """A checkpoint of the 180M shape: random, BF16, tied, without a tokenizer. Kept when it is there."""
    if not (args.out / "config.json").exists():
        torch.manual_seed(180)
        config = LlamaConfig(
            vocab_size=128256, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
            num_attention_heads=9, num_key_value_heads=3, hidden_act="gelu", max_position_embeddings=2048,
            rms_norm_eps=1e-5, tie_word_embeddings=True, initializer_range=1 / 24,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0}, bos_token_id=0, eos_token_id=0,
        )
        LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(args.out)
    return {"model": str(args.out)}


def run_forward(args):
    """Windows of random tokens, forward and cross entropy, one and two at a time; the faster counts."""
    model = load(args.model)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.vocab_size, (args.windows, args.tokens), generator=generator)
    nats(model, ids[:1], ids[:1])  # first use of the kernels and of the memory
    runs = []
    for batch in args.batch:
        started = time.perf_counter()
        total = sum(nats(model, part, part) for part in ids.split(batch))
        seconds = time.perf_counter() - started
        speed = ids.numel() / seconds
        runs.append({"batch": batch, "seconds": seconds, "tokens_per_second": speed, "nats": total})
    return {"runs": runs, "tokens_per_second": max(run["tokens_per_second"] for run in runs)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--threads", type=int, help="of PyTorch [default: as PyTorch chooses]")
    modes = parser.add_subparsers(required=True)

    mode = modes.add_parser("eval", help="perplexity of a checkpoint on texts")
    mode.add_argument("model", type=Path)
    mode.add_argument("--texts", type=Path, required=True, help="folder with LANGUAGE.txt, a document a line")
    mode.add_argument("--context", type=int, default=2048)
    mode.add_argument("--stride", type=int, default=1024)
    mode.add_argument("--batch-tokens", type=int, default=4096, help="tokens in a batch, padding included")
    mode.set_defaults(run=run_eval)

    mode = modes.add_parser("random-180m", help="make a random checkpoint of the 180M shape, if there is none")
    mode.add_argument("out", type=Path)
    mode.set_defaults(run=run_random_180m)

    mode = modes.add_parser("forward", help="time forward passes over random tokens")
    mode.add_argument("model", type=Path)
    mode.add_argument("--tokens", type=int, default=2048, help="in a window")
    mode.add_argument("--windows", type=int, default=4)
    mode.add_argument("--batch", type=int, nargs="+", default=[1, 2], help="windows at a time, each is timed")
    mode.set_defaults(run=run_forward)

    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    transformers.utils.logging.disable_progress_bar()
    with torch.inference_mode():
        result = args.run(args)
    setting = {
        "torch": torch.__version__, "transformers": transformers.__version__, "threads": torch.get_num_threads(),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    print(json.dumps({**setting, **result}, indent=1))


if __name__ == "__main__":
    main()
