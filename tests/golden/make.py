#!/usr/bin/env python3
"""Makes tiny checkpoints and what mergekit 0.1.5 makes of them, for tests/golden.rs.

    python3 -m venv venv && venv/bin/pip install mergekit==0.1.5
    venv/bin/python tests/golden/make.py venv/bin/mergekit-yaml [RECIPE...]

Writes tests/golden/inputs and tests/golden/outputs, of all recipes or of those named; recipes/*.yaml are read, with
@IN@ for the inputs. Beside mergekit-yaml are mergekit-multi, which recipes of several documents go to, and
mergekit-pytorch, for recipes with @RAW@: the inputs' weight files alone.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
HIDDEN, LAYERS, KV, INNER, VOCAB = 16, 4, 8, 24, 40
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float32",
    "hidden_size": HIDDEN, "intermediate_size": INNER, "num_attention_heads": 2, "num_key_value_heads": 1,
    "num_hidden_layers": LAYERS, "vocab_size": VOCAB, "tie_word_embeddings": False,
}


def shapes():
    yield "model.embed_tokens.weight", (VOCAB, HIDDEN)
    for i in range(LAYERS):
        for part, shape in [
            ("input_layernorm", (HIDDEN,)), ("post_attention_layernorm", (HIDDEN,)),
            ("self_attn.q_proj", (HIDDEN, HIDDEN)), ("self_attn.k_proj", (KV, HIDDEN)),
            ("self_attn.v_proj", (KV, HIDDEN)), ("self_attn.o_proj", (HIDDEN, HIDDEN)),
            ("mlp.gate_proj", (INNER, HIDDEN)), ("mlp.up_proj", (INNER, HIDDEN)),
            ("mlp.down_proj", (HIDDEN, INNER)),
        ]:
            yield f"model.layers.{i}.{part}.weight", shape
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCAB, HIDDEN)


def make_inputs():
    """A base and three fine-tunes, float32; a fifth of each difference is exactly zero."""
    rng = np.random.default_rng(20251210)
    base = {}
    for name, shape in shapes():
        centre = 1.0 if "norm" in name else 0.0
        base[name] = (centre + 0.1 * rng.standard_normal(shape)).astype(np.float32)
    models = {"base": base}
    for language in ["et", "fo", "is"]:
        models[language] = {
            name: x + (0.02 * rng.standard_normal(x.shape) * (rng.random(x.shape) > 0.2)).astype(np.float32)
            for name, x in base.items()
        }
    for model, tensors in models.items():
        folder = HERE / "inputs" / model
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")


def run(mergekit, recipe):
    """Merges; returns what config.json says of layers and type, if there is one."""
    text = recipe.read_text().replace("@IN@", str(HERE / "inputs"))
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        filled, out = scratch / "recipe.yaml", scratch / "out"
        command = [mergekit, filled, out]
        if "\n---\n" in text:
            multi = Path(mergekit).with_name("mergekit-multi")
            command = [multi, filled, "--out-path", out, "--intermediate-dir", scratch / "stages"]
        if "@RAW@" in text:
            for model in (HERE / "inputs").iterdir():
                shutil.copy(model / "model.safetensors", scratch / f"{model.name}.safetensors")
            text = text.replace("@RAW@", str(scratch))
            command[0] = Path(mergekit).with_name("mergekit-pytorch")
        filled.write_text(text)
        subprocess.run(
            [*command, "--quiet"], check=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )
        (weights,) = out.glob("*.safetensors")
        (HERE / "outputs").mkdir(exist_ok=True)
        weights.rename(HERE / "outputs" / f"{recipe.stem}.safetensors")
        config = out / "config.json"
        if config.exists():
            config = json.loads(config.read_text())
            return {key: config[key] for key in ("num_hidden_layers", "dtype")}
        return None


if __name__ == "__main__":
    make_inputs()
    chosen = sys.argv[2:]
    configs = HERE / "outputs" / "configs.json"
    known = json.loads(configs.read_text()) if configs.exists() else {}
    for recipe in sorted((HERE / "recipes").glob("*.yaml")):
        if not chosen or recipe.stem in chosen:
            print(recipe.stem, flush=True)
            about = run(sys.argv[1], recipe)
            if about:
                known[recipe.stem] = about
    lines = [f'  "{name}": {json.dumps(known[name])}' for name in sorted(known)]
    configs.write_text("{\n" + ",\n".join(lines) + "\n}\n")
