#!/usr/bin/env python3
"""Perplexity of the quickstart's checkpoints by PyTorch, to compare `growmerge eval` with.

    python3 -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.23.0
    venv/bin/python tests/perplexity/make.py     # writes tests/perplexity/expected.json and pairs.jsonl

Written to be read: one document after the other, one window after the other, nothing batched. The model
computes in float32; everything after its logits is float64.

What is counted, in the order of the functions below:

* A text file holds one sentence a line. Whitespace at the end of a line is cut; empty lines do not count.
* "separate": each sentence is a document. "joined": all sentences with an empty line between them are one.
* A document's ids are the start token and its text encoded without special tokens.
* Windows of at most `context` ids begin every `stride` ids, as Hugging Face's page "Perplexity of fixed-length
  models" has it. An id is scored once: in the first window that holds it and an id before it. So the start token
  is never scored, and where windows do not overlap (context = stride) neither is the first id of a window.
* nats are the sum of -ln p over scored ids. Bytes are the UTF-8 bytes of the text that these ids stand for.
* A minimal pair is right when the good sentence is likelier, all its tokens summed, than the bad one.
"""

import hashlib
import json
from pathlib import Path

import tokenizers
import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

HERE = Path(__file__).resolve().parent
QUICKSTART = HERE.parent.parent / "recipes" / "quickstart"
LANGUAGES = ["en", "et", "fa", "fo", "is", "sv"]
START = 0  # <|end|>
# Rule, context, stride.
RULES = [("separate", 64, 32), ("separate", 2048, 1024), ("joined", 256, 128), ("joined", 256, 256)]
PAIRS = 60


def sentences(language):
    text = (QUICKSTART / "texts" / f"{language}.txt").read_text(encoding="utf-8")
    return [line.rstrip() for line in text.split("\n") if line.strip()]


def encode(tokenizer, text):
    """Ids of `text` behind the start token, and for each of them the bytes of `text` that it stands for.

    An id's bytes reach from the largest end before it to its own end. So a character in several ids counts for the
    first of them, nothing counts twice, and with the last id reaching to the end of the text, nothing is lost.
    """
    encoding = tokenizer.encode(text, add_special_tokens=False)
    # Offsets are in characters: byte_end[c] = bytes of the first c characters.
    byte_end = [0]
    for character in text:
        byte_end.append(byte_end[-1] + len(character.encode("utf-8")))
    ends = [byte_end[end] for _, end in encoding.offsets]
    ends[-1] = byte_end[-1]
    sizes, reached = [0], 0  # the start token stands for none
    for end in ends:
        sizes.append(max(end - reached, 0))
        reached = max(end, reached)
    assert sum(sizes) == len(text.encode("utf-8"))
    return [START] + encoding.ids, sizes


def windows(length, context, stride):
    """Begin and end of each window over `length` ids, and the first id that it scores."""
    scored = 0
    for begin in range(0, length, stride):
        end = min(begin + context, length)
        yield begin, end, max(scored, begin + 1)
        scored = end
        if end == length:
            return


@torch.inference_mode()
def token_nats(model, ids):
    """-ln p of each id but the first, given those before it."""
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1].double()
    log_p = torch.log_softmax(logits, dim=-1)
    return -log_p[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]


def score(model, ids, sizes, context, stride):
    """Scored ids, their bytes and their nats."""
    tokens, size, nats = 0, 0, 0.0
    for begin, end, first in windows(len(ids), context, stride):
        if first == end:
            continue
        tokens += end - first
        size += sum(sizes[first:end])
        nats += token_nats(model, ids[begin:end])[first - begin - 1 :].sum().item()
    return tokens, size, nats


def evaluate(model, tokenizer, language, rule, context, stride):
    lines = sentences(language)
    documents = lines if rule == "separate" else ["\n\n".join(lines)]
    scores = [score(model, *encode(tokenizer, text), context, stride) for text in documents]
    tokens, sizes, nats = zip(*scores)
    result = {
        "language": language, "rule": rule, "context": context, "stride": stride,
        "documents": len(documents), "tokens": sum(tokens), "bytes": sum(sizes), "nats": sum(nats),
    }
    if rule == "separate":
        result["nats_of_first_documents"] = nats[:20]
    return result


def swapped(sentence):
    """The sentence with its two middle words exchanged, or None where that changes nothing."""
    words = sentence.split(" ")
    right = len(words) // 2
    left = right - 1
    if left < 0 or words[left] == words[right]:
        return None
    words[left], words[right] = words[right], words[left]
    return " ".join(words)


def minimal_pairs(language):
    """The first sentences that can be swapped, as good and bad."""
    pairs = [{"good": good, "bad": swapped(good)} for good in sentences(language) if swapped(good)]
    return pairs[:PAIRS]


def log_probability(model, tokenizer, text):
    ids, _ = encode(tokenizer, text)
    return -token_nats(model, ids).sum().item()


def evaluate_pairs(model, tokenizer, pairs):
    log_p = [[log_probability(model, tokenizer, pair[side]) for side in ("good", "bad")] for pair in pairs]
    right = sum(good > bad for good, bad in log_p)
    return {
        "pairs": len(pairs), "right": right, "accuracy": right / len(pairs), "first_log_probabilities": log_p[:10],
    }


def main():
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    pairs = minimal_pairs("sv")
    with open(HERE / "pairs.jsonl", "w", encoding="utf-8") as out:
        for pair in pairs:
            out.write(json.dumps(pair, ensure_ascii=False) + "\n")

    expected = {
        "versions": {m.__name__: m.__version__.split("+")[0] for m in (torch, transformers, tokenizers)},
        "texts": {
            language: hashlib.sha256((QUICKSTART / "texts" / f"{language}.txt").read_bytes()).hexdigest()
            for language in LANGUAGES
        },
        "evaluations": [],
        "pairs": [],
    }
    for name in LANGUAGES:
        folder = QUICKSTART / name
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        for language in dict.fromkeys([name, "en"]):
            for rule in RULES:
                result = evaluate(model, tokenizer, language, *rule)
                expected["evaluations"].append({"model": name, **result})
                nats = result["nats"] / result["tokens"]
                print(f"{name} on {language}, {rule}: {nats:.4f} nats/token", flush=True)
        if name in ("sv", "en"):
            result = evaluate_pairs(model, tokenizer, pairs)
            expected["pairs"].append({"model": name, **result})
            print(f"{name} on pairs: {result['right']} of {result['pairs']}", flush=True)
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
