"""Two public libraries that train ternary models, each for the plain loop of ``bench.plain``.

Batch, loss, optimizer, clipping and threads are the plain loop's; the architecture is the plain model's as
far as the library allows, and ``PEERS`` says where it is not. Both libraries fake the quantisation, in
float32, with their defaults elsewhere. No model is fetched: each starts at random from its numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from shutil import which

from torch import Tensor, nn

from bench.plain import PlainModel


class Logits(nn.Module):
    """A causal model of ``transformers`` that gives its logits alone: ids (B, T) to (B, T, vocabulary)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=ids, use_cache=False).logits
        return logits


def transformers_model(hidden: int, vocab_size: int) -> nn.Module:
    """``BitNetForCausalLM`` as its quantiser converts it for online quantisation, at the notes' setting."""
    from transformers import BitNetConfig, BitNetForCausalLM, BitNetQuantConfig
    from transformers.integrations.bitnet import replace_with_bitnet_linear

    config = BitNetConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        bos_token_id=None,
        eos_token_id=None,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    )
    online = BitNetQuantConfig(linear_class="autobitlinear", quantization_mode="online")
    return Logits(replace_with_bitnet_linear(BitNetForCausalLM(config), ["lm_head"], online))


def bitlinear_model(hidden: int, vocab_size: int) -> nn.Module:
    """The plain model, the linear layers of its blocks replaced by the library's own helper."""
    from bitlinear import replace_modules

    model = PlainModel(hidden, vocab_size)
    replace_modules(model, new_class_kwargs={"weight_measure": "AbsMean"}, match_name="blocks")
    return model


@dataclass(frozen=True)
class Peer:
    """A library in the plain loop."""

    build: Callable[[int, int], nn.Module]
    """Hidden size and vocabulary size to a model from token ids to logits."""
    differs: str
    """Where it is not the plain model; h is the hidden size."""


PEERS = {
    "transformers": Peer(
        transformers_model,
        "Hugging Face `BitNetForCausalLM`, every linear layer but the head an `AutoBitLinear` with online "
        "quantisation. q, k and v are three layers, gate and up are two, each quantising its input anew, and "
        "each matrix has a ternary scale of its own. One norm where the plain model has two in a row (before "
        "q, k, v and before gate, up): 8h parameters fewer. Norms in elementary operations; rotary angles "
        "once a step, not in every layer. Its quantisers are compiled by `torch.compile` at the first step, "
        "as the library has it; the rest runs eagerly.",
    ),
    "bitlinear": Peer(
        bitlinear_model,
        "The plain model with the package's `BitLinear` in the place of its own, by `replace_modules`. Its "
        "norm before each linear layer is LayerNorm without parameters, not RMSNorm with: 20h parameters "
        "fewer. Inputs are scaled to 128 and clamped at 127, and scales are taken back after the product. "
        "`weight_measure` is AbsMean, the published scale and the plain model's, not its default AbsMedian.",
    ),
}


def missing(name: str) -> str | None:
    """Why a peer cannot be timed here; None if it can."""
    if find_spec(name) is None:
        return f"the package is not installed (pip install '.[bench]' does it, with {', '.join(PEERS)})"
    if name == "transformers" and which(os.environ.get("CXX", "g++")) is None:
        return "it compiles its quantisers, and there is no C++ compiler here"
    return None
