#!/usr/bin/env python3
"""Writes what transformers saves of a tiny model of each architecture: config.json, and names and shapes of all tensors.

    python3 -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.23.0
    venv/bin/python tests/architectures/make.py            # writes tests/architectures/<case>/
    venv/bin/python tests/architectures/make.py --check    # writes nothing, compares with what is there

The lists are read off files that `save_pretrained` wrote, not off modules: only there ties are left out and names
and experts are those of published checkpoints. Sizes are odd and differ from one another, so that no shape is right
by accident. What the lists mean is not written here: see expected.yaml, which is made by hand.
"""

import argparse
import importlib.util
import json
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors import safe_open
from transformers import CONFIG_MAPPING

HERE = Path(__file__).resolve().parent

TEXT = {
    "vocab_size": 37, "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 3,
    "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 32,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None,
}
TIED, UNTIED = {"tie_word_embeddings": True}, {"tie_word_embeddings": False}
ROTARY = {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}}
VISION = {
    "hidden_size": 12, "intermediate_size": 14, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}
SLIDING, FULL = "sliding_attention", "full_attention"
EXPERTS = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 10}

# Name of the case, class of the model, model_type, keys of its config.
CASES = [
    ("llama", "LlamaForCausalLM", "llama", {**TEXT, **UNTIED}),
    ("llama_tied", "LlamaForCausalLM", "llama", {**TEXT, **TIED, "attention_bias": True, "mlp_bias": True}),
    ("llama_base", "LlamaModel", "llama", TEXT),
    ("hyperllama", "HyperLlamaForCausalLM", "hyperllama", {**TEXT, **TIED, "lm_head_normalization_factor": 2.0}),
    ("mistral", "MistralForCausalLM", "mistral", {**TEXT, **UNTIED}),
    ("mixtral", "MixtralForCausalLM", "mixtral", {**TEXT, **UNTIED, "num_local_experts": 5}),
    ("qwen2", "Qwen2ForCausalLM", "qwen2", {**TEXT, **TIED}),
    ("qwen3", "Qwen3ForCausalLM", "qwen3", {**TEXT, **TIED}),
    ("qwen3_moe", "Qwen3MoeForCausalLM", "qwen3_moe",
     {**TEXT, **UNTIED, **EXPERTS, "mlp_only_layers": [0], "decoder_sparse_step": 1}),
    ("qwen2_moe", "Qwen2MoeForCausalLM", "qwen2_moe",
     {**TEXT, **UNTIED, **EXPERTS, "shared_expert_intermediate_size": 18}),
    ("gemma", "GemmaForCausalLM", "gemma", {**TEXT, **TIED}),
    ("gemma2", "Gemma2ForCausalLM", "gemma2", {**TEXT, **TIED, "layer_types": [SLIDING, FULL, SLIDING]}),
    ("gemma3_text", "Gemma3ForCausalLM", "gemma3_text", {**TEXT, **TIED, "layer_types": [SLIDING, SLIDING, FULL]}),
    ("gemma3", "Gemma3ForConditionalGeneration", "gemma3",
     {"text_config": {**TEXT, "layer_types": [SLIDING, SLIDING, FULL]}, "vision_config": VISION,
      "mm_tokens_per_image": 1, "image_token_index": 36}),
    ("phi", "PhiForCausalLM", "phi", {**TEXT, "num_key_value_heads": 3, **UNTIED}),
    ("phi3", "Phi3ForCausalLM", "phi3", {**TEXT, **UNTIED}),
    ("olmo2", "Olmo2ForCausalLM", "olmo2", {**TEXT, **UNTIED}),
    ("smollm3", "SmolLM3ForCausalLM", "smollm3", {**TEXT, **TIED, "no_rope_layers": [1, 0, 1]}),
    ("stablelm", "StableLmForCausalLM", "stablelm", {**TEXT, **UNTIED, "qk_layernorm": True}),
    ("cohere2", "Cohere2ForCausalLM", "cohere2", {**TEXT, **TIED, "layer_types": [SLIDING, FULL, SLIDING]}),
    ("granite", "GraniteForCausalLM", "granite", {**TEXT, **TIED}),
    ("starcoder2", "Starcoder2ForCausalLM", "starcoder2", {**TEXT, **TIED}),
    ("glm4", "Glm4ForCausalLM", "glm4", {**TEXT, **UNTIED}),
    ("deepseek_v3", "DeepseekV3ForCausalLM", "deepseek_v3",
     {**TEXT, **UNTIED, "num_key_value_heads": 3, "n_routed_experts": 4, "n_group": 2, "topk_group": 1,
      "num_experts_per_tok": 2, "moe_intermediate_size": 10, "first_k_dense_replace": 1, "q_lora_rank": 7,
      "kv_lora_rank": 9, "qk_rope_head_dim": 4, "qk_nope_head_dim": 6, "v_head_dim": 8}),
    ("gpt_neox", "GPTNeoXForCausalLM", "gpt_neox", {**TEXT, **UNTIED}),
    ("gpt2", "GPT2LMHeadModel", "gpt2",
     {"vocab_size": 37, "n_embd": 24, "n_layer": 3, "n_head": 3, "n_positions": 32, "bos_token_id": 0,
      "eos_token_id": 1}),
    ("falcon", "FalconForCausalLM", "falcon", {"vocab_size": 37, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "bias": True, **TIED}),
    ("opt", "OPTForCausalLM", "opt",
     {"vocab_size": 37, "hidden_size": 24, "word_embed_proj_dim": 24, "ffn_dim": 20, "num_hidden_layers": 3,
      "num_attention_heads": 3, "max_position_embeddings": 32}),
    ("mamba", "MambaForCausalLM", "mamba",
     {"vocab_size": 37, "hidden_size": 24, "num_hidden_layers": 3, "state_size": 4, "time_step_rank": 2, **TIED}),
    ("lfm2", "Lfm2ForCausalLM", "lfm2",
     {**TEXT, **TIED, "layer_types": ["conv", FULL, "conv"], "block_auto_adjust_ff_dim": False}),
    ("bert", "BertForMaskedLM", "bert",
     {"vocab_size": 37, "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 3,
      "num_attention_heads": 3, "max_position_embeddings": 32}),
    ("bert_base", "BertModel", "bert",
     {"vocab_size": 37, "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 3,
      "num_attention_heads": 3, "max_position_embeddings": 32}),
    ("roberta", "RobertaForMaskedLM", "roberta",
     {"vocab_size": 37, "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 3,
      "num_attention_heads": 3, "max_position_embeddings": 32}),
    ("distilbert", "DistilBertForMaskedLM", "distilbert",
     {"vocab_size": 37, "dim": 24, "hidden_dim": 20, "n_layers": 3, "n_heads": 3, "max_position_embeddings": 32}),
    ("modernbert", "ModernBertForMaskedLM", "modernbert",
     {**TEXT, "layer_types": [FULL, SLIDING, SLIDING], "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
      "cls_token_id": 0, "sep_token_id": 1}),
    ("t5", "T5ForConditionalGeneration", "t5",
     {"vocab_size": 37, "d_model": 24, "d_kv": 8, "d_ff": 20, "num_layers": 2, "num_decoder_layers": 3,
      "num_heads": 3, "feed_forward_proj": "gated-gelu", **UNTIED}),
    ("t5_tied", "T5ForConditionalGeneration", "t5",
     {"vocab_size": 37, "d_model": 24, "d_kv": 8, "d_ff": 20, "num_layers": 2, "num_decoder_layers": 3,
      "num_heads": 3}),
    ("whisper", "WhisperForConditionalGeneration", "whisper",
     {"vocab_size": 37, "d_model": 24, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 3,
      "decoder_attention_heads": 3, "encoder_ffn_dim": 20, "decoder_ffn_dim": 22, "num_mel_bins": 10,
      "max_source_positions": 16, "max_target_positions": 18, "decoder_start_token_id": 0, "bos_token_id": 0,
      "eos_token_id": 1, "pad_token_id": 2, "suppress_tokens": [], "begin_suppress_tokens": []}),
    ("bart", "BartForConditionalGeneration", "bart",
     {"vocab_size": 37, "d_model": 24, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 3,
      "decoder_attention_heads": 3, "encoder_ffn_dim": 20, "decoder_ffn_dim": 22, "max_position_embeddings": 32,
      "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "forced_eos_token_id": 1,
      "decoder_start_token_id": 1}),
    ("qwen2_vl", "Qwen2VLForConditionalGeneration", "qwen2_vl",
     {"text_config": {**TEXT, "rope_parameters": {"rope_type": "default", "rope_theta": 100.0,
                                                  "mrope_section": [1, 1, 2]}},
      "vision_config": {"depth": 2, "embed_dim": 12, "hidden_size": 24, "num_heads": 2, "patch_size": 7}, **UNTIED}),
    ("mistral3", "Mistral3ForConditionalGeneration", "mistral3",
     {"text_config": {**TEXT, "model_type": "mistral"}, "vision_config": {**VISION, "model_type": "pixtral"},
      **UNTIED}),
    ("llava", "LlavaForConditionalGeneration", "llava",
     {"text_config": {**TEXT, "model_type": "llama"}, "vision_config": {**VISION, "model_type": "clip_vision_model"},
      **UNTIED}),
    ("llama4", "Llama4ForConditionalGeneration", "llama4",
     {"text_config": {**TEXT, "num_local_experts": 2, "moe_layers": [1], "intermediate_size_mlp": 22,
                      "no_rope_layers": [1, 1, 0], "layer_types": ["chunked_attention"] * 2 + [FULL]},
      "vision_config": {**VISION, "projector_input_dim": 8, "projector_output_dim": 8, "vision_output_dim": 8},
      **UNTIED}),
]


def hyperllama():
    """The class from the families' script, so that it stands in one place."""
    spec = importlib.util.spec_from_file_location("families", HERE.parent / "families" / "make.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["families"] = module
    spec.loader.exec_module(module)
    return module.HyperLlamaForCausalLM


def saved(architecture, model_type, keys):
    """config.json and the list of tensors, as text."""
    HyperLlama = hyperllama()  # registers the config, too
    cls = HyperLlama if model_type == "hyperllama" else getattr(transformers, architecture)
    config = CONFIG_MAPPING[model_type].from_dict(keys)
    model = cls(config).to(torch.bfloat16)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        stored = json.loads((Path(folder) / "config.json").read_text())
        stored.pop("transformers_version", None)
        with safe_open(Path(folder) / "model.safetensors", "pt") as file:
            slices = {name: file.get_slice(name) for name in sorted(file.keys())}
            lines = [f"{name} {s.get_dtype()} {'x'.join(map(str, s.get_shape()))}\n" for name, s in slices.items()]
    return json.dumps(stored, indent=1, sort_keys=True) + "\n", "".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--case", nargs="+", help="only these")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    differ = 0
    for name, architecture, model_type, keys in CASES:
        if args.case and name not in args.case:
            continue
        config, tensors = saved(architecture, model_type, keys)
        folder = HERE / name
        for file, text in [("config.json", config), ("tensors.txt", tensors)]:
            if args.check and (not (folder / file).is_file() or (folder / file).read_text() != text):
                print(f"{name}/{file} differs", file=sys.stderr)
                differ += 1
            elif not args.check:
                folder.mkdir(exist_ok=True)
                (folder / file).write_text(text)
        print(f"{name}: {tensors.count(chr(10))} tensors", flush=True)
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
