"""What ``transformers`` makes of an export, in a process of its own.

Nothing here knows our model: the folder alone decides. Shapes: B rows, T positions, N targets, I inputs of a
linear layer, V vocabulary.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F


def opened(folder: Path) -> Any:
    """The model of the folder, as anyone else would open it; no connection is tried."""
    import torch._dynamo
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    torch._dynamo.config.disable = True  # theirs would compile the quantisers, for which one needs g++
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()


@torch.no_grad()
def answers(model: Any, rows: Sequence[tuple[Tensor, Tensor]], num_logits: int) -> dict[str, Tensor]:
    """``nll`` of every target (N) in nats, the first ``logits`` (N, V), and the codes of rounded activations.

    The codes are (N, I), int8, by the name of the layer that they enter.

    Args:
        model: takes ids (B, T) and gives an object with ``logits`` (B, T, V).
        rows: ids (B, T) and the ids behind each of them (B, T).
        num_logits: for how many targets to hand logits back: all would take a gigabyte at GPT-2's vocabulary.
    """
    nll, kept, wanted = [], [], num_logits
    with _noted_codes(model) as codes:
        for x_BT, y_BT in rows:
            logits_NV = model(input_ids=x_BT, use_cache=False).logits.flatten(0, 1).float()
            nll.append(F.cross_entropy(logits_NV, y_BT.flatten(), reduction="none"))
            kept.append(logits_NV[:wanted].clone())
            wanted -= len(kept[-1])
    return {"nll": torch.cat(nll), "logits": torch.cat(kept)} | {
        f"codes.{name}": torch.cat(parts) for name, parts in codes.items()
    }


@contextmanager
def _noted_codes(model: Any) -> Iterator[dict[str, list[Tensor]]]:
    """What the activations of each rounding layer are rounded to; k and v read what q reads, up what gate."""
    codes: dict[str, list[Tensor]] = {}

    def note(name: str) -> Any:
        def hook(module: Any, inputs: tuple[Tensor]) -> None:
            x_NI = inputs[0].flatten(0, 1)
            x_NI = x_NI if module.rms_norm is None else module.rms_norm(x_NI)
            scale_N1 = 127 / x_NI.abs().amax(dim=-1, keepdim=True).clamp(min=1e-5)
            codes.setdefault(name, []).append((x_NI * scale_N1).round().to(torch.int8))

        return hook

    hooks = [
        module.register_forward_pre_hook(note(name))
        for name, module in model.named_modules()
        if name.endswith(("q_proj", "o_proj", "gate_proj", "down_proj")) and hasattr(module, "weight_scale")
    ]
    try:
        yield codes
    finally:
        for hook in hooks:
            hook.remove()


def main(folder: str, question: str, answer: str, num_logits: str, threads: str) -> None:
    """Answer for the rows in the file ``question`` into the file ``answer``, and say how quick it was."""
    from bitnet_sweep.export.check import tokens_per_s

    torch.set_num_threads(int(threads))
    asked = load_file(question)
    rows = [(asked[f"x{i}"], asked[f"y{i}"]) for i in range(len(asked) // 2)]
    model = opened(Path(folder))
    found = answers(model, rows, int(num_logits))
    found["tokens_per_s"] = torch.tensor(
        tokens_per_s(lambda x_BT: model(input_ids=x_BT, use_cache=False), rows)
    )
    save_file(found, answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
