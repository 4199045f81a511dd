#!/usr/bin/env python3
"""Makes a tiny random model of each decoder family, and the logits that transformers computes from it.

    python3 -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.23.0
    venv/bin/python tests/families/make.py            # writes tests/families/<case>/
    venv/bin/python tests/families/make.py --check    # writes nothing, recomputes from what is there

Reference: float32 arithmetic on the stored weights, `attn_implementation="eager"`, no cache, no padding.
What a case is for must show in its numbers, or the case tests nothing. So each case names configs that
drop one of its features (`Case.without`), and every such config, and every tensor when set to zero, has
to move the logits by at least `VISIBLE` of their range.
"""

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).resolve().parent
ROWS, LENGTH, VOCAB = 2, 24, 97
# Share of the range of the logits: twice the largest difference that a decoder may show. Nearly all features
# show a hundred times more; the two forms of GELU are this close (they differ by 5e-4 at most).
VISIBLE = 2e-4


class HyperLlamaConfig(LlamaConfig):
    """Llama whose head is normalised (the HyperLlama checkpoints; not in transformers)."""

    model_type = "hyperllama"
    lm_head_normalization_factor: float = 1.0


class NormalizedHead(nn.Linear):
    """The head's weight is divided by the factor before the product; the embedding that it is tied to is not."""

    factor = 1.0

    def forward(self, hidden):
        return F.linear(hidden, self.weight / self.factor)


class HyperLlamaForCausalLM(LlamaForCausalLM):
    config_class = HyperLlamaConfig

    def __init__(self, config):
        super().__init__(config)
        self.lm_head = NormalizedHead(config.hidden_size, config.vocab_size, bias=False)
        self.lm_head.factor = config.lm_head_normalization_factor
        self.post_init()


AutoConfig.register("hyperllama", HyperLlamaConfig)
AutoModelForCausalLM.register(HyperLlamaConfig, HyperLlamaForCausalLM)


@dataclass
class Case:
    name: str
    model_type: str
    # Keys of config.json besides COMMON.
    config: dict
    # Feature -> the keys that differ when it is dropped.
    without: dict = field(default_factory=dict)
    # The keys as transformers 4 wrote them, and those of config.json that it did not know.
    v4: dict = None
    v4_unknown: tuple = ("rope_parameters",)
    dtype: torch.dtype = torch.bfloat16
    # Length of a second, shorter input, where the length decides what is computed.
    short_length: int = None


COMMON = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    # Large, so that an epsilon in the wrong place shows.
    "rms_norm_eps": 1e-2,
    "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None,
}
EPSILON = {"epsilon": {"rms_norm_eps": 1e-6}}
SILU, GELU, GELU_TANH = "silu", "gelu", "gelu_pytorch_tanh"
SLIDING, FULL = "sliding_attention", "full_attention"


def rope(theta, rope_type="default", **scaling):
    return {"rope_theta": theta, "rope_type": rope_type, **scaling}


def plain_rope(theta):
    return {"rope scaling": {"rope_parameters": rope(theta)}}


# The bases are small, so that with four or eight frequencies each kind of scaling has its bands.
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
YARN = {"factor": 4.0, "original_max_position_embeddings": 16}
YARN_MSCALE = {
    **YARN, "beta_fast": 1.5, "beta_slow": 0.25, "mscale": 0.7, "mscale_all_dim": 1.3, "truncate": False,
}
LONG = {"short_factor": [1.0, 1.25, 1.5], "long_factor": [1.5, 2.5, 4.0]}

CASES = [
    Case("llama", "llama", {"hidden_act": SILU, "rope_parameters": rope(10_000.0)},
         {**EPSILON, "silu": {"hidden_act": GELU}, "rope base": {"rope_parameters": rope(500_000.0)}}),
    Case("llama_bias", "llama",
         {"hidden_act": SILU, "attention_bias": True, "mlp_bias": True, "rope_parameters": rope(100.0)},
         {"attention bias": {"attention_bias": False}, "mlp bias": {"mlp_bias": False}}),
    Case("llama_linear", "llama", {"hidden_act": GELU_TANH, "rope_parameters": rope(100.0, "linear", factor=4.0)},
         plain_rope(100.0)),
    Case("llama_llama3", "llama", {"hidden_act": SILU, "rope_parameters": rope(100.0, "llama3", **LLAMA3)},
         plain_rope(100.0),
         v4={"rope_theta": 100.0, "rope_scaling": {"rope_type": "llama3", **LLAMA3}}),
    Case("llama_yarn", "llama",
         {"hidden_act": SILU, "head_dim": 16, "rope_parameters": rope(20.0, "yarn", **YARN)},
         {**plain_rope(20.0),
          "attention factor": {"rope_parameters": rope(20.0, "yarn", attention_factor=1.0, **YARN)}},
         v4={"rope_theta": 20.0, "rope_scaling": {"type": "yarn", **YARN}}),
    Case("llama_yarn_mscale", "llama",
         {"hidden_act": SILU, "head_dim": 16, "rope_parameters": rope(20.0, "yarn", **YARN_MSCALE)},
         {key: {"rope_parameters": rope(20.0, "yarn", **{k: v for k, v in YARN_MSCALE.items() if k != key})}
          for key in ["beta_fast", "beta_slow", "mscale", "truncate"]}),
    Case("hyperllama", "hyperllama",
         {"hidden_act": GELU, "lm_head_normalization_factor": 2.0, "tie_word_embeddings": True,
          "rope_parameters": rope(10_000.0)},
         {"head normalisation": {"lm_head_normalization_factor": 1.0}, "gelu": {"hidden_act": SILU},
          "erf in gelu": {"hidden_act": GELU_TANH}}),
    Case("mistral", "mistral",
         {"hidden_act": SILU, "head_dim": 8, "sliding_window": 8, "rope_parameters": rope(100.0)},
         {"window": {"sliding_window": None}, "width of the window": {"sliding_window": 9}}, dtype=torch.float16),
    Case("qwen2", "qwen2", {"hidden_act": SILU, "tie_word_embeddings": True, "rope_parameters": rope(100.0)},
         EPSILON),
    Case("qwen2_sliding", "qwen2",
         {"hidden_act": SILU, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2,
          "rope_parameters": rope(100.0)},
         {"window": {"use_sliding_window": False, "layer_types": [FULL] * 3},
          "layers with a window": {"layer_types": [SLIDING] * 3}},
         v4={"rope_theta": 100.0}, v4_unknown=("rope_parameters", "layer_types")),
    Case("qwen3", "qwen3",
         {"hidden_act": SILU, "head_dim": 12, "intermediate_size": 24, "tie_word_embeddings": True,
          "rope_parameters": rope(100.0)},
         EPSILON, dtype=torch.float32),
    Case("gemma2", "gemma2",
         {"hidden_activation": GELU_TANH, "head_dim": 8, "query_pre_attn_scalar": 5, "sliding_window": 8,
          "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "tie_word_embeddings": True,
          "rope_parameters": rope(100.0)},
         {**EPSILON, "cap on attention": {"attn_logit_softcapping": None},
          "cap on logits": {"final_logit_softcapping": None}, "query scale": {"query_pre_attn_scalar": 8},
          "tanh in gelu": {"hidden_activation": GELU}, "windows": {"layer_types": [FULL] * 3},
          "which layers have a window": {"layer_types": [FULL, SLIDING, FULL]}},
         v4={"rope_theta": 100.0, "hidden_act": GELU_TANH, "cache_implementation": "hybrid"},
         v4_unknown=("rope_parameters", "layer_types")),
    Case("gemma3_text", "gemma3_text",
         {"num_hidden_layers": 4, "hidden_activation": GELU_TANH, "head_dim": 8, "query_pre_attn_scalar": 5,
          "sliding_window": 8, "layer_types": [SLIDING, SLIDING, FULL, SLIDING], "tie_word_embeddings": True,
          "rope_parameters": {SLIDING: rope(20.0), FULL: rope(1000.0, "linear", factor=8.0)}},
         {"query scale": {"query_pre_attn_scalar": 8},
          "scaling of full layers": {"rope_parameters": {SLIDING: rope(20.0), FULL: rope(1000.0)}},
          "base of sliding layers": {
              "rope_parameters": {SLIDING: rope(1000.0), FULL: rope(1000.0, "linear", factor=8.0)}},
          "windows": {"sliding_window": 64}},
         v4={"rope_theta": 1000.0, "rope_local_base_freq": 20.0, "sliding_window_pattern": 3,
             "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
         # The private key is in what transformers 5 writes (6 at all times); layer_types decides.
         v4_unknown=("rope_parameters", "layer_types", "_sliding_window_pattern")),
    Case("smollm3", "smollm3",
         {"num_hidden_layers": 4, "hidden_act": SILU, "no_rope_layers": [1, 0, 1, 0], "no_rope_layer_interval": 2,
          "tie_word_embeddings": True, "rope_parameters": rope(100.0)},
         {"layers without rope": {"no_rope_layers": [1, 1, 1, 1]},
          "which layers are without rope": {"no_rope_layers": [0, 1, 0, 1]}},
         v4={"rope_theta": 100.0}, v4_unknown=("rope_parameters", "layer_types", "no_rope_layers")),
    Case("olmo2", "olmo2", {"hidden_act": SILU, "rope_parameters": rope(100.0)}, EPSILON),
    Case("phi3", "phi3", {"hidden_act": SILU, "rope_parameters": rope(100.0, partial_rotary_factor=0.5)},
         {"partial rotation": {"rope_parameters": rope(100.0)}},
         v4={"rope_theta": 100.0, "rope_scaling": None, "partial_rotary_factor": 0.5}),
    # As Phi-4-mini: 3/4 of a head is rotated, which is 6 of 8 here, so 3 frequencies.
    Case("phi3_longrope", "phi3",
         {"hidden_act": SILU, "original_max_position_embeddings": 16,
          "rope_parameters": rope(100.0, "longrope", partial_rotary_factor=0.75, **LONG)},
         {"long factors": {"rope_parameters": rope(100.0, "longrope", partial_rotary_factor=0.75, **{
              **LONG, "long_factor": LONG["short_factor"]})},
          "short factors": {"rope_parameters": rope(100.0, "longrope", partial_rotary_factor=0.75, **{
              **LONG, "short_factor": LONG["long_factor"]})},
          "attention factor": {"rope_parameters": rope(100.0, "longrope", partial_rotary_factor=0.75,
                                                       attention_factor=1.0, **LONG)}},
         v4={"rope_theta": 100.0, "rope_scaling": {"type": "longrope", **LONG}, "partial_rotary_factor": 0.75},
         short_length=16),
]


def load(case, config, folder, dtype=torch.float32):
    """The model of `folder` under `config`, which may differ from the one stored there."""
    config = CONFIG_MAPPING[case.model_type].from_dict(config)
    model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=dtype, attn_implementation="eager")
    return model.eval()


@torch.inference_mode()
def logits(model, ids):
    return model(input_ids=ids.long(), use_cache=False).logits


def distance(a, b):
    """The largest difference from `a`, as a share of the range of `a`."""
    return ((a - b).abs().max() / (a.max() - a.min())).item()


def randomize(case, model, seed):
    """Weights in the case's dtype. The scale of a norm is around 1, and stored minus 1 by the Gemmas."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            values = torch.randn(weight.shape, generator=generator)
            if "norm" in name:
                centre = 0.0 if case.model_type.startswith("gemma") else 1.0
                weight.copy_(centre + 0.2 * values)
            else:
                weight.copy_(0.25 * values)
    return model.to(case.dtype)


def write(case, folder, seed):
    """Makes `folder`. Logits come from the files, not from the model that wrote them."""
    config = CONFIG_MAPPING[case.model_type].from_dict({**COMMON, **case.config})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    randomize(case, model, seed).save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    stored = json.loads((folder / "config.json").read_text())
    if case.v4:
        old = {key: value for key, value in stored.items() if key not in case.v4_unknown}
        old["torch_dtype"] = old.pop("dtype")
        old["transformers_version"] = "4.46.0"
        (folder / "config.v4.json").write_text(json.dumps({**old, **case.v4}, indent=2, sort_keys=True) + "\n")
    generator = torch.Generator().manual_seed(1000 + seed)
    expected = {}
    for name, length in inputs(case):
        expected[name + "ids"] = torch.randint(VOCAB, (ROWS, length), generator=generator, dtype=torch.int32)
        expected[name + "logits"] = logits(load(case, stored, folder), expected[name + "ids"])
    save_file(expected, folder / "expected.safetensors")


def inputs(case):
    """Prefix of the tensors in expected.safetensors, and length of the sequences."""
    yield "", LENGTH
    if case.short_length:
        yield "short_", case.short_length


def check(case, folder):
    """Recomputes a case from disk and looks whether its features show; prints problems, returns their number."""
    problems = []
    config = json.loads((folder / "config.json").read_text())
    expected = load_file(folder / "expected.safetensors")
    model, double = load(case, config, folder), load(case, config, folder, torch.float64)
    rounding = 0.0
    for prefix, _ in inputs(case):
        ids, stored = expected[prefix + "ids"], expected[prefix + "logits"]
        # Other machines sum in another order.
        if (off := distance(stored, logits(model, ids))) > 1e-5:
            problems.append(f"{prefix}logits differ from the stored ones by {off:.1e}")
        rounding = max(rounding, distance(stored.double(), logits(double, ids)))
        if case.v4:
            old = json.loads((folder / "config.v4.json").read_text())
            if (off := distance(stored, logits(load(case, old, folder), ids))) > 1e-5:
                problems.append(f"config.v4.json means something else: {prefix}logits differ by {off:.1e}")
    if rounding > 1e-5:
        problems.append(f"badly conditioned: float32 is {rounding:.1e} from float64")

    def visible(other):
        return max(distance(expected[p + "logits"], logits(other, expected[p + "ids"])) for p, _ in inputs(case))

    shows = {feature: visible(load(case, {**config, **keys}, folder)) for feature, keys in case.without.items()}
    for name, weight in model.named_parameters():
        kept = weight.detach().clone()
        weight.data.zero_()
        shows[name] = visible(model)
        weight.data.copy_(kept)
    faintest = min(shows, key=shows.get)
    if shows[faintest] < VISIBLE:
        problems.append(f"{faintest} does not show: {shows[faintest]:.1e}")

    size = sum(file.stat().st_size for file in folder.iterdir())
    shown = f"{shows[faintest]:.1e} | {faintest}"
    span = expected["logits"].max() - expected["logits"].min()
    print(f"| {case.name} | {size} | {span:.1f} | {rounding:.1e} | {shown} |", flush=True)
    for problem in problems:
        print(f"{case.name}: {problem}", file=sys.stderr)
    return len(problems)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--case", nargs="+", help="only these")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    print("| case | bytes | range of the logits | rounding | faintest feature | which |")
    print("|---|---:|---:|---:|---:|---|")
    problems = 0
    for seed, case in enumerate(CASES):
        if args.case and case.name not in args.case:
            continue
        folder = HERE / case.name
        if not args.check:
            folder.mkdir(exist_ok=True)
            write(case, folder, seed)
        problems += check(case, folder)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
