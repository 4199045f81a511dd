#!/usr/bin/env python3
"""Makes tiny checkpoints with three vocabularies and what mergekit 0.1.5 makes of them, for tests/vocabulary/mergekit.rs.

    python3 -m venv venv && venv/bin/pip install mergekit==0.1.5
    venv/bin/python tests/vocabulary/make.py venv/bin/mergekit-yaml

Writes tests/vocabulary/inputs and tests/vocabulary/outputs; recipes/*.yaml are read, with @IN@ for the inputs.
mergekit numbers new tokens in another order in each run, so its token ids are kept beside its matrices.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = Path(__file__).resolve().parent
HIDDEN, INNER = 8, 12
TEXTS = {
    "en": "the river was frozen and they walked over the river to the other side where the others were waiting ",
    "fo": "tað var kalt og áin var frosin so tey gingu um ána til hinar sum bíðaðu hinumegin áarinnar og sungu ",
    "et": "jõgi oli jääs ja nad läksid üle jõe teisele poole kus teised juba ootasid ja laulsid jõe ääres ",
}
# Tokens behind the merges: content and whether it is special.
ADDED = {"en": [], "fo": [("<|fo|>", True), ("føroyskt", False)], "et": [("<|et|>", True)]}


def tokenizer(name):
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=257 + 30, special_tokens=["<|end|>"], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    made.train_from_iterator([TEXTS[name]], trainer)
    for content, special in ADDED[name]:
        made.add_tokens([AddedToken(content, special=special, normalized=False)])
    return made


def shapes(rows):
    yield "model.embed_tokens.weight", (rows, HIDDEN)
    for part, shape in [
        ("input_layernorm", (HIDDEN,)), ("post_attention_layernorm", (HIDDEN,)),
        ("self_attn.q_proj", (HIDDEN, HIDDEN)), ("self_attn.k_proj", (HIDDEN, HIDDEN)),
        ("self_attn.v_proj", (HIDDEN, HIDDEN)), ("self_attn.o_proj", (HIDDEN, HIDDEN)),
        ("mlp.gate_proj", (INNER, HIDDEN)), ("mlp.up_proj", (INNER, HIDDEN)), ("mlp.down_proj", (HIDDEN, INNER)),
    ]:
        yield f"model.layers.0.{part}.weight", shape
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (rows, HIDDEN)


def make_inputs():
    rng = np.random.default_rng(20261124)
    for name in TEXTS:
        folder = HERE / "inputs" / name
        folder.mkdir(parents=True, exist_ok=True)
        made = tokenizer(name)
        made.save(str(folder / "tokenizer.json"))
        rows = made.get_vocab_size(with_added_tokens=True)
        config = {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float32",
            "hidden_size": HIDDEN, "intermediate_size": INNER, "num_attention_heads": 2, "num_key_value_heads": 2,
            "num_hidden_layers": 1, "vocab_size": rows, "tie_word_embeddings": False,
            "bos_token_id": 0, "eos_token_id": 0, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        }
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        special = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|end|>", "eos_token": "<|end|>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(special, indent=2) + "\n")
        tensors = {
            tensor: ((1.0 if "norm" in tensor else 0.0) + 0.1 * rng.standard_normal(shape)).astype(np.float32)
            for tensor, shape in shapes(rows)
        }
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def run(mergekit, recipe):
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        filled = scratch / "recipe.yaml"
        filled.write_text(recipe.read_text().replace("@IN@", str(HERE / "inputs")))
        subprocess.run(
            [*mergekit, filled, scratch / "out", "--quiet"], check=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )
        (weights,) = (scratch / "out").glob("*.safetensors")
        kept = {name: x for name, x in load_file(weights).items() if "embed" in name or "lm_head" in name}
        tokens = Tokenizer.from_file(str(scratch / "out" / "tokenizer.json")).get_vocab(with_added_tokens=True)
        size = json.loads((scratch / "out" / "config.json").read_text())["vocab_size"]
        outputs = HERE / "outputs"
        outputs.mkdir(exist_ok=True)
        save_file(kept, outputs / f"{recipe.stem}.safetensors")
        tokens = dict(sorted(tokens.items(), key=lambda token: token[1]))
        text = json.dumps({"vocab_size": size, "tokens": tokens}, indent=0, ensure_ascii=False)
        (outputs / f"{recipe.stem}.json").write_text(text + "\n")


if __name__ == "__main__":
    make_inputs()
    for recipe in sorted((HERE / "recipes").glob("*.yaml")):
        print(recipe.stem, flush=True)
        run(sys.argv[1:], recipe)
