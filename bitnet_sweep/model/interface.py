"""What the loop, the probes and the optimizers ask of a model: the transformer, or one of a user's own.

Shapes: B batch, T positions, D hidden width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitnet_sweep.config import IGNORED, Precision
from bitnet_sweep.model.bitlinear import BitLinear


class Model(nn.Module):
    """Token ids to logits, computed plainly: in float32, every logit at once."""

    vocab_size: int
    """V."""
    precision: Precision
    """How the products are computed, whatever the config asks for."""

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.parameters()).device

    def bitlinears(self) -> dict[str, BitLinear]:
        """Every BitLinear by its dotted name (``blocks.0.attention.qkv``), in the order of the modules."""
        return {name: module for name, module in self.named_modules() if isinstance(module, BitLinear)}

    def forward(self, x_BT: Tensor) -> Tensor:
        """Token ids (B, T) -> logits (B, T, V) for the token behind each position."""
        return self.logits(self.hidden_states(x_BT))

    def hidden_states(self, x_BT: Tensor) -> Tensor:
        """Token ids (B, T) -> (B, T, D), of which :meth:`logits` makes logits."""
        raise NotImplementedError

    def logits(self, x_D: Tensor) -> Tensor:
        """Hidden states (..., D) -> logits (..., V), in float32, which may be written to."""
        raise NotImplementedError

    def head_operands(self, x_D: Tensor) -> tuple[Tensor, Tensor]:
        """What :meth:`logits` multiplies: inputs (..., D) and a matrix (V, D); asked at ``mixed`` alone."""
        raise NotImplementedError

    def objective(
        self, x_BT: Tensor, y_BT: Tensor, label_smoothing: float = 0.0, z_loss: float = 0.0
    ) -> Tensor:
        """What training minimises: cross entropy in nats, mean over the B*T targets, without dimensions.

        Args:
            x_BT: token ids.
            y_BT: the ids that follow them; at ``fp32`` IGNORED where nothing is to be predicted.
            label_smoothing: share of the target spread evenly over the vocabulary (torch's definition).
            z_loss: weight of the mean squared log-partition function (PaLM).
        """
        logits_BTV = self(x_BT)
        loss = F.cross_entropy(logits_BTV.flatten(0, 1), y_BT.flatten(), label_smoothing=label_smoothing)
        if z_loss:
            log_partition_BT = logits_BTV.logsumexp(dim=-1)
            loss = loss + z_loss * log_partition_BT[y_BT != IGNORED].square().mean()
        return loss

    def gradients(self) -> list[Tensor]:
        """What a backward pass has left: of each parameter, or the part of it that is not zero anyway."""
        return [parameter.grad for parameter in self.parameters() if parameter.grad is not None]

    def clear_gradients(self) -> None:
        """Ready for the next backward pass."""
        for parameter in self.parameters():
            parameter.grad = None

    def kept(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold, by name: parameters, and buffers that training may change."""
        return dict(self.named_parameters())
