"""The most likely id. Shapes: N places, V vocabulary."""

from __future__ import annotations

from torch import Tensor


def predicted(logits_NV: Tensor) -> Tensor | None:
    """The argmax ids (N); None where one's logit is not finite (torch finds the argmax 0 in rows of NaN)."""
    if not bool(logits_NV.amax(dim=-1).isfinite().all()):
        return None
    return logits_NV.argmax(dim=-1)
