#!/usr/bin/env python3
"""Makes tiny models, adapters of every kind for them, and what PEFT makes of each pair.

    python3 -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.23.0 peft==0.21.2
    venv/bin/python tests/adapters/make.py

Writes `base/<base>/` (config.json, model.safetensors) and `<case>/` (adapter_config.json,
adapter_model.safetensors, expected.safetensors). The last holds every tensor that
`PeftModel.from_pretrained(base, case).merge_and_unload()` changed, and, for decoders that the tests can run,
`logits`: what the adapted model computes before it is merged, from the ids `(31·i² + 7·i + 3) mod vocab` for i < 19.
"""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

HERE = Path(__file__).resolve().parent
LLAMA = dict(
    vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, head_dim=8, attention_bias=True, max_position_embeddings=64,
)
BASES = {
    "llama": (LlamaConfig(**LLAMA, tie_word_embeddings=False), torch.float32),
    "llama_bf16": (LlamaConfig(**LLAMA, tie_word_embeddings=False), torch.bfloat16),
    "tied": (LlamaConfig(**LLAMA, tie_word_embeddings=True), torch.float32),
    "gpt2": (GPT2Config(vocab_size=40, n_positions=32, n_embd=16, n_layer=1, n_head=2), torch.float32),
}


@dataclass
class Case:
    base: str
    config: dict
    # What the case is for must be in the adapter's names.
    shows: list = field(default_factory=list)


CASES = {
    "lora": Case("llama", dict(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"])),
    "rslora": Case("llama", dict(r=4, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "gate_proj"])),
    "dora": Case(
        "llama", dict(r=3, lora_alpha=6, use_dora=True, target_modules=["o_proj", "up_proj"]), ["lora_magnitude_vector"]
    ),
    "patterns": Case(
        "llama",
        dict(
            r=4, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "k_proj", "down_proj"],
            rank_pattern={"model.layers.1.self_attn.q_proj": 2, "k_proj": 1, r"layers\.0\.mlp\.\w+": 3},
            alpha_pattern={"down_proj": 5, r"^model\.layers\.0\.self_attn\.q_proj": 9},
        ),
    ),
    "bias_all": Case("llama", dict(r=2, lora_alpha=3, bias="all", target_modules=["q_proj"]), ["k_proj.bias"]),
    "bias_lora_only": Case(
        "llama", dict(r=2, lora_alpha=3, bias="lora_only", target_modules=["q_proj"]), ["q_proj.base_layer.bias"]
    ),
    "saved": Case(
        "llama", dict(r=2, lora_alpha=3, target_modules=["v_proj"], modules_to_save=["lm_head", "embed_tokens", "norm"])
    ),
    "embedding": Case(
        "llama", dict(r=2, lora_alpha=3, target_modules=["embed_tokens", "k_proj"]), ["lora_embedding_A"]
    ),
    "embedding_dora": Case(
        "llama", dict(r=2, lora_alpha=3, use_dora=True, target_modules=["embed_tokens"]), ["lora_embedding_B"]
    ),
    "head": Case("llama", dict(r=2, lora_alpha=3, target_modules=["lm_head"])),
    "one_layer": Case("llama", dict(r=2, lora_alpha=3, target_modules=["o_proj"], layers_to_transform=[1])),
    "bf16": Case("llama_bf16", dict(r=4, lora_alpha=6, target_modules=["q_proj", "down_proj"], modules_to_save=["norm"])),
    "bf16_dora": Case("llama_bf16", dict(r=4, lora_alpha=6, use_dora=True, target_modules=["q_proj", "down_proj"])),
    "tied": Case("tied", dict(r=2, lora_alpha=3, target_modules=["q_proj"])),
    "tied_embedding": Case("tied", dict(r=2, lora_alpha=3, target_modules=["embed_tokens"])),
    "tied_head": Case("tied", dict(r=2, lora_alpha=3, target_modules=["lm_head"])),
    "tied_saved": Case("tied", dict(r=2, lora_alpha=3, target_modules=["q_proj"], modules_to_save=["embed_tokens"])),
    "tied_ensured": Case("tied", dict(r=2, lora_alpha=3, target_modules=["embed_tokens"], ensure_weight_tying=True)),
    "conv1d": Case("gpt2", dict(r=2, lora_alpha=3, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)),
    "conv1d_dora": Case(
        "gpt2", dict(r=2, lora_alpha=3, use_dora=True, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    ),
}


def make_base(name):
    config, dtype = BASES[name]
    torch.manual_seed(sorted(BASES).index(name))
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor += 0.2 * torch.randn_like(tensor)
    model.to(dtype).save_pretrained(HERE / "base" / name)
    (HERE / "base" / name / "generation_config.json").unlink(missing_ok=True)


def load(name):
    return AutoModelForCausalLM.from_pretrained(HERE / "base" / name, dtype="auto")


def ids(vocab):
    return torch.tensor([[(31 * i * i + 7 * i + 3) % vocab for i in range(19)]])


def make(name, case):
    out = HERE / name
    torch.manual_seed(100 + list(CASES).index(name))
    model = get_peft_model(load(case.base), LoraConfig(task_type="CAUSAL_LM", **case.config))
    with torch.no_grad():
        for key, tensor in model.named_parameters():
            if "magnitude" in key:
                tensor *= 1 + 0.3 * torch.rand_like(tensor)
            elif tensor.requires_grad:
                tensor += 0.3 * torch.randn_like(tensor)
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)
    settings = json.loads((out / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = f"tests/adapters/base/{case.base}"
    (out / "adapter_config.json").write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")
    names = load_file(out / "adapter_model.safetensors")
    assert all(any(part in n for n in names) for part in case.shows), sorted(names)

    adapted = PeftModel.from_pretrained(load(case.base), out).eval()
    expected = {}
    if case.base not in ("gpt2", "llama_bf16"):
        with torch.no_grad():
            expected["logits"] = adapted(input_ids=ids(adapted.config.vocab_size)).logits[0].float()
    merged = adapted.merge_and_unload()
    before = load(case.base).state_dict()
    for key, tensor in merged.state_dict().items():
        if not torch.equal(tensor.float(), before[key].float()):
            expected[key] = tensor.clone().contiguous()
    save_file(expected, out / "expected.safetensors")
    changed = sorted(k for k in expected if k != "logits")
    print(f"{name}: {len(names)} tensors, changed {', '.join(changed)}; {sorted({str(t.dtype) for t in expected.values()})}")


def main():
    for folder in [HERE / "base", *(HERE / name for name in CASES)]:
        shutil.rmtree(folder, ignore_errors=True)
    for name in BASES:
        make_base(name)
    for name, case in CASES.items():
        make(name, case)


if __name__ == "__main__":
    main()
