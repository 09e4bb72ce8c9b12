"""A GGUF file for llama.cpp's ``bitnet``: tied head, norms inside alone, SiLU.

Each ternary matrix is stored by its codes alone (TQ2_0: 256 codes in 66 bytes; TQ1_0: in 54), its absmean in
a tensor of its own beside it, so nothing is rounded. What differs is the rounding of activations: llama.cpp
has a scale for each 256 of a token's activations, and we have one for the token.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from bitnet_sweep import files
from bitnet_sweep.config import (
    Activations,
    ConfigError,
    GateActivation,
    ModelConfig,
    NormPlace,
    RunConfig,
    Weights,
)
from bitnet_sweep.export.parts import BlockParts, Matrix, Parts
from bitnet_sweep.model.norm import NORM_EPS
from bitnet_sweep.model.transformer import ROTARY_BASE

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BLOCK = 256
"""Codes that share one block of the format."""

PACKINGS = ("tq2_0", "tq1_0")
"""How codes are stored: two bits each, or five in a byte, which is slower to read; the default first."""


def refuse(config: ModelConfig) -> None:
    """Raise where llama.cpp's ``bitnet`` computes something else.

    Raises:
        ConfigError: of all knobs that are in the way.
    """
    wanted = {
        "model.norm=inside": config.norm is not NormPlace.inside,
        "model.activation=silu": config.activation is not GateActivation.silu,
        "model.tied=true": not config.tied,
        "model.weights=ternary": config.weights is not Weights.ternary,
        "model.activations=int8": config.activations is not Activations.int8,
        f"model.quantiser={ModelConfig.quantiser}": config.quantiser != ModelConfig.quantiser,
        "model.hadamard=false": config.hadamard,
        f"model.hidden a multiple of {BLOCK}": config.hidden % BLOCK != 0,
        f"model.ffn a multiple of {BLOCK}": config.ffn_width % BLOCK != 0,
    }
    missing = [name for name, is_missing in wanted.items() if is_missing]
    if missing:
        allowed = f"llama.cpp's bitnet cannot hold this model; it would need {', '.join(missing)}"
        raise ConfigError("--to", "gguf", allowed)


def write_gguf(
    parts: Parts,
    config: RunConfig,
    tokenizer: Tokenizer,
    separator: int,
    path: Path,
    packing: str = PACKINGS[0],
) -> None:
    """Write weights, settings and tokeniser; ``packing`` is one of :data:`PACKINGS`.

    Raises:
        ConfigError: see :func:`refuse`.
    """
    import gguf

    refuse(config.model)
    with files.replacing(path) as temporary:
        writer = gguf.GGUFWriter(temporary, "bitnet")
        _add_settings(writer, config, packing)
        _add_tokenizer(writer, json.loads(tokenizer.to_str()), separator)
        writer.add_tensor("token_embd.weight", _array(parts.embedding))
        writer.add_tensor("output_norm.weight", _array(parts.final_gain))
        for i, block in enumerate(parts.blocks):
            _add_block(writer, f"blk.{i}", block, packing)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _add_settings(writer: Any, config: RunConfig, packing: str) -> None:
    import gguf

    model = config.model
    writer.add_block_count(model.num_layers)
    writer.add_context_length(config.row_targets)
    writer.add_embedding_length(model.hidden)
    writer.add_feed_forward_length(model.ffn_width)
    writer.add_head_count(model.num_heads)
    writer.add_head_count_kv(model.num_heads)
    writer.add_layer_norm_rms_eps(NORM_EPS)
    writer.add_rope_freq_base(ROTARY_BASE)
    writer.add_rope_dimension_count(model.hidden // model.num_heads)
    writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)
    writer.add_vocab_size(config.tokenizer.vocab_size)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{packing.upper()}"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_tokenizer(writer: Any, document: dict[str, Any], separator: int) -> None:
    """A byte-level BPE that splits text as GPT-2's does."""
    import gguf

    model = document["model"]
    ids = model["vocab"] | {token["content"]: token["id"] for token in document["added_tokens"]}
    tokens = sorted(ids, key=ids.__getitem__)
    kinds = [gguf.TokenType.CONTROL if ids[token] == separator else gguf.TokenType.NORMAL for token in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in model["merges"]])
    writer.add_bos_token_id(separator)
    writer.add_eos_token_id(separator)
    writer.add_add_bos_token(False)


def _add_block(writer: Any, prefix: str, block: BlockParts, packing: str) -> None:
    matrices = {
        "attn_q": block.q,
        "attn_k": block.k,
        "attn_v": block.v,
        "attn_output": block.out,
        "ffn_gate": block.gate,
        "ffn_up": block.up,
        "ffn_down": block.down,
    }
    for name, matrix in matrices.items():
        _add_matrix(writer, f"{prefix}.{name}", matrix, packing)
    gains = {
        "attn_norm": block.q.gain,
        "attn_sub_norm": block.out.gain,
        "ffn_norm": block.gate.gain,
        "ffn_sub_norm": block.down.gain,
    }
    for name, gain in gains.items():
        writer.add_tensor(f"{prefix}.{name}.weight", _array(gain))


def _add_matrix(writer: Any, name: str, matrix: Matrix, packing: str) -> None:
    import gguf

    kind = gguf.GGMLQuantizationType[packing.upper()]
    writer.add_tensor(f"{name}.weight", gguf.quants.quantize(_array(matrix.codes), kind), raw_dtype=kind)
    writer.add_tensor(f"{name}.scale", _array(matrix.scale.reshape(1)))


def _array(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.ascontiguousarray(tensor.numpy(), np.float32)
