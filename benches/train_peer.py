#!/usr/bin/env python3
"""What the trainer's steps are timed against: the same by PyTorch (eager) and transformers, on the CPU in float32.

    python3 -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.23.0
    venv/bin/python benches/train_peer.py --hidden 64 --layers 4 --heads 4 --kv-heads 2 --intermediate 176 \\
        --vocab 2048 --sequence 128 --batch 32 --steps 50 --threads 2

The flags are those of the example `train_step` of the crate growmerge-trainer. A step is forward, cross entropy,
backward, clipping by the norm of all gradients, and AdamW, on a batch of random tokens. Prints one line of JSON.

What may be faster depends on the size, so each choice can be made by flag, and `--tune` makes them all: it times a few
steps of every attention, every AdamW and several micro-batches, one choice after another, before it times the fastest.
Set in any case:
* An allocator that keeps large blocks, as in eval_peer.py.
* No attention mask, which PyTorch's causal kernel asks for; no cache; no gradient checkpointing.
* Gradients are freed, not zeroed; nothing is read back from a step but its loss at the end.
"""

import argparse
import ctypes
import json
import math
import resource
import statistics
import sys
import time

if sys.platform == "linux":
    M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, -1)

import torch
import torch.nn.functional as F
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

ATTENTIONS = ["sdpa", "eager"]
ADAMS = {"fused": {"fused": True}, "foreach": {"foreach": True}, "plain": {"foreach": False, "fused": False}}


class Training:
    """A random model, and steps on one batch of random tokens."""

    def __init__(self, args, attention, adam, micro_batch):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=args.vocab, hidden_size=args.hidden, intermediate_size=args.intermediate,
            num_hidden_layers=args.layers, num_attention_heads=args.heads, num_key_value_heads=args.kv_heads,
            head_dim=args.hidden // args.heads, hidden_act="gelu", max_position_embeddings=2048, rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, tie_word_embeddings=True, bos_token_id=0,
            eos_token_id=0, initializer_range=1 / math.sqrt(args.hidden), attn_implementation=attention,
        )
        self.model = LlamaForCausalLM(config).train()
        self.clip_foreach = adam != "plain"
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.01, **ADAMS[adam]
        )
        ids = torch.randint(args.vocab, (args.batch, args.sequence + 1))
        self.parts = ids.split(micro_batch)
        self.tokens = args.batch * args.sequence

    def step(self):
        total = 0.0
        for part in self.parts:
            logits = self.model(input_ids=part[:, :-1], use_cache=False).logits
            loss = F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum") / self.tokens
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=self.clip_foreach)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total

    def seconds(self, warmup, steps):
        """Of each step."""
        for _ in range(warmup):
            self.step()
        taken = []
        for _ in range(steps):
            started = time.perf_counter()
            loss = self.step()
            taken.append(time.perf_counter() - started)
        if not math.isfinite(loss.item()):
            sys.exit(f"the loss is {loss.item()}")
        return taken


def tune(args):
    """The fastest choices, each made with those before it."""
    chosen = {"attention": args.attention, "adam": args.adam, "micro_batch": args.micro_batch}
    micro_batches = sorted({max(1, args.batch // part) for part in (1, 2, 4, 8)}, reverse=True)
    for what, options in [("micro_batch", micro_batches), ("attention", ATTENTIONS), ("adam", list(ADAMS))]:
        times = {}
        for option in options:
            training = Training(args, **{**chosen, what: option})
            times[option] = min(training.seconds(warmup=1, steps=args.tune))
        chosen[what] = min(times, key=times.get)
        speeds = ", ".join(f"{option} {args.batch * args.sequence / t:.0f}" for option, t in times.items())
        print(f"{what}: {speeds} tokens/s", file=sys.stderr)
    return chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--intermediate", type=int, default=176)
    parser.add_argument("--vocab", type=int, default=2048)
    parser.add_argument("--sequence", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--micro-batch", type=int, help="sequences at a time [default: all]")
    parser.add_argument("--attention", choices=ATTENTIONS, default="sdpa")
    parser.add_argument("--adam", choices=list(ADAMS), default="fused")
    parser.add_argument("--tune", type=int, metavar="STEPS", help="find the fastest choices first, with so many steps each")
    args = parser.parse_args()
    args.micro_batch = args.micro_batch or args.batch
    torch.set_num_threads(args.threads)

    chosen = {"attention": args.attention, "adam": args.adam, "micro_batch": args.micro_batch}
    if args.tune:
        chosen = tune(args)
    training = Training(args, **chosen)
    taken = training.seconds(warmup=3, steps=args.steps)
    print(json.dumps({
        "tokens_per_s": training.tokens * len(taken) / sum(taken),
        "median_tokens_per_s": training.tokens / statistics.median(taken),
        "parameters": sum(p.numel() for p in training.model.parameters()),
        "steps": args.steps, "threads": torch.get_num_threads(), **chosen,
        "torch": torch.__version__, "transformers": transformers.__version__,
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }))


if __name__ == "__main__":
    main()
