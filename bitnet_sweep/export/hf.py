"""A folder that stock ``transformers`` opens without remote code.

``model.norm=both`` is a Llama whose linear layers are ``AutoBitLinear`` with a norm of their own;
``model.norm=inside`` is ``transformers``' BitNet, which has just those norms. Both are read in offline mode
with the stored absmean: online mode would compute one for each of q, k and v, and of gate and up, where we
have one for all of them. ``AutoBitLinear`` multiplies by the stored scale; its sister ``BitLinear`` divides.

Shapes: I inputs, O outputs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from bitnet_sweep import files
from bitnet_sweep.config import Activations, ConfigError, ModelConfig, NormPlace, RunConfig
from bitnet_sweep.exact import word
from bitnet_sweep.export.parts import BlockParts, Matrix, Parts
from bitnet_sweep.model.norm import NORM_EPS
from bitnet_sweep.model.transformer import ROTARY_BASE

WEIGHTS = "model.safetensors"
PER_BYTE = 4
"""Ternary codes in a byte of a packed matrix."""


def refuse(config: ModelConfig) -> None:
    """Raise where no class of ``transformers`` computes what this model computes.

    Raises:
        ConfigError: of the knobs that are in the way.
    """
    for key, value, allowed in (
        ("model.quantiser", config.quantiser, ModelConfig.quantiser),
        ("model.hadamard", config.hadamard, False),
    ):
        if value != allowed:
            raise ConfigError(key, value, f"cannot be exported to hf; allowed: {word(allowed)}")
    if config.activations is Activations.int4:
        raise ConfigError(
            "model.activations", config.activations, "cannot be exported to hf; allowed: int8, full"
        )
    if config.activations is Activations.full and config.norm is NormPlace.both:
        allowed = (
            "cannot be exported to hf: with model.norm=both, transformers has its inner norms only beside "
            "activations rounded to 8 bits; allowed: model.activations=int8"
        )
        raise ConfigError("model.activations", config.activations, allowed)


def write_model(parts: Parts, config: RunConfig, separator: int, folder: Path) -> None:
    """Write weights, config and generation settings.

    Args:
        parts: of the model.
        config: of its run.
        separator: the id that stands behind a document, at which generation ends.
        folder: there already.

    Raises:
        ConfigError: see :func:`refuse`.
    """
    refuse(config.model)
    save_file(tensors(parts, config.model), folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # theirs is for the owner alone
    files.write_json(folder / "config.json", model_config(config, separator))
    files.write_json(folder / "generation_config.json", _generation_config(config, separator))


def model_config(config: RunConfig, separator: int) -> dict[str, Any]:
    """What ``config.json`` says."""
    model, both = config.model, config.model.norm is NormPlace.both
    return {
        "architectures": ["LlamaForCausalLM" if both else "BitNetForCausalLM"],
        "model_type": "llama" if both else "bitnet",
        "vocab_size": config.tokenizer.vocab_size,
        "hidden_size": model.hidden,
        "intermediate_size": model.ffn_width,
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": model.num_heads,
        "num_key_value_heads": model.num_heads,
        "head_dim": model.hidden // model.num_heads,
        "hidden_act": model.activation.name,
        "max_position_embeddings": config.row_targets,
        "rms_norm_eps": NORM_EPS,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROTARY_BASE},
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": model.tied,
        "bos_token_id": separator,
        "eos_token_id": separator,
        "pad_token_id": None,
        "dtype": "float32",
    } | ({"quantization_config": _quantisation(both)} if model.activations is Activations.int8 else {})


def tensors(parts: Parts, config: ModelConfig) -> dict[str, Tensor]:
    """Every tensor of the file by the name that ``transformers`` gives it."""
    found = {"model.embed_tokens.weight": parts.embedding, "model.norm.weight": parts.final_gain}
    if parts.head is not None:
        found["lm_head.weight"] = parts.head
    for i, block in enumerate(parts.blocks):
        found |= {f"model.layers.{i}.{name}": tensor for name, tensor in _block(block, config).items()}
    return {name: tensor.contiguous().clone() for name, tensor in found.items()}


def pack(codes_OI: Tensor) -> Tensor:
    """Ternary codes (O, I) as (O/4, I) uint8: row block i of the four has ``code + 1`` in bits 2i, 2i + 1."""
    blocks = (codes_OI + 1).to(torch.uint8).chunk(PER_BYTE)
    packed = torch.zeros_like(blocks[0])
    for i, block in enumerate(blocks):
        packed |= block << 2 * i
    return packed


def _block(block: BlockParts, config: ModelConfig) -> dict[str, Tensor]:
    linears = {
        "self_attn.q_proj": block.q,
        "self_attn.k_proj": block.k,
        "self_attn.v_proj": block.v,
        "self_attn.o_proj": block.out,
        "mlp.gate_proj": block.gate,
        "mlp.up_proj": block.up,
        "mlp.down_proj": block.down,
    }
    found: dict[str, Tensor] = {}
    is_rounded = config.activations is Activations.int8
    for name, matrix in linears.items():
        found |= {f"{name}.{part}": tensor for part, tensor in _linear(matrix, is_rounded).items()}
    if block.attention_norm is not None and block.feed_forward_norm is not None:
        found |= {f"{name}.rms_norm.weight": matrix.gain for name, matrix in linears.items()}
        found["input_layernorm.weight"] = block.attention_norm
        found["post_attention_layernorm.weight"] = block.feed_forward_norm
        return found
    return found | {
        "input_layernorm.weight": block.q.gain,
        "self_attn.attn_sub_norm.weight": block.out.gain,
        "post_attention_layernorm.weight": block.gate.gain,
        "mlp.ffn_sub_norm.weight": block.down.gain,
    }


def _linear(matrix: Matrix, is_rounded: bool) -> dict[str, Tensor]:
    """Packed where its rows divide by 4, else the codes as numbers; without rounding an ordinary matrix."""
    if not is_rounded:
        return {"weight": matrix.dense()}
    can_be_packed = matrix.is_ternary and len(matrix.codes) % PER_BYTE == 0
    weight = pack(matrix.codes) if can_be_packed else matrix.codes
    return {"weight": weight, "weight_scale": matrix.scale.reshape(1)}


def _quantisation(has_inner_norms: bool) -> dict[str, Any]:
    return {
        "quant_method": "bitnet",
        "linear_class": "autobitlinear",
        "quantization_mode": "offline",
        "use_rms_norm": has_inner_norms,
        "rms_norm_eps": NORM_EPS,
        "modules_to_not_convert": ["lm_head"],
    }


def _generation_config(config: RunConfig, separator: int) -> dict[str, Any]:
    """Greedy, and never longer than a row of the training."""
    ends = {"bos_token_id": separator, "eos_token_id": separator, "pad_token_id": separator}
    return {"do_sample": False, "max_length": config.row_targets, **ends}
