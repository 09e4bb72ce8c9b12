"""Whether an export is the same model: asked in a fresh process of the program it is for.

Shapes: N targets, V vocabulary.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bitnet_sweep.config import ConfigError
from bitnet_sweep.export.follow import codes_by_our_names, follow
from bitnet_sweep.export.held_out import Rows
from bitnet_sweep.model.transformer import Transformer

TOLERANCE = 1.5e-6
"""Largest difference of logits, as a share of the largest one (chosen: what the last bits of float32 come to
is less, see docs/export.md; the last norm with eps 1e-6 for 1e-5 moves them by 4.5e-6)."""

LOSS_TOLERANCE = 1e-5
"""Largest difference of the mean loss, nats."""

LOGITS_BYTES = 64 * 2**20
"""Logits that are compared (chosen); the losses are compared for every target."""


class CheckError(Exception):
    """An export is not the same model, or the other program cannot open it; ``str()`` is one line."""


@dataclass(frozen=True)
class Checked:
    """What the two models say of the same tokens."""

    tokens: int
    loss: float
    """Our model's in float32, mean over the tokens, nats."""
    loss_of_export: float
    largest_loss_difference: float
    """The largest of one token; ours rounding ties as the export does."""
    loss_difference: float
    """The difference of the means, likewise."""
    logits_compared: int
    """Tokens whose logits were compared."""
    largest_logit: float
    largest_logit_difference: float
    tolerance: float
    """Largest difference of logits that passes."""
    roundings: int
    """Activations rounded to 8 bits."""
    rounded_otherwise_at_ties: int
    rounded_otherwise_elsewhere: int

    @property
    def is_same(self) -> bool:
        """Whether all differences are within the tolerances; a number that is not finite is not."""
        return (
            self.largest_logit_difference <= self.tolerance
            and self.loss_difference <= LOSS_TOLERANCE
            and self.largest_loss_difference <= 2 * self.tolerance
        )

    def __str__(self) -> str:
        return (
            f"{self.tokens:,} held-out tokens: "
            f"loss {self.loss:.6f} here, {self.loss_of_export:.6f} exported; "
            f"logits differ by at most {self.largest_logit_difference:.1e} (allowed: {self.tolerance:.1e}) "
            f"where both round alike; {self.rounded_otherwise_at_ties:,} of {self.roundings:,} activations "
            "lie at a tie and are rounded otherwise"
        )


def compare(model: Transformer, rows: Rows, answers: Mapping[str, Tensor]) -> Checked:
    """Our model beside what an export answered for the same rows.

    Args:
        model: ours, at ``precision=fp32``.
        rows: what both were asked.
        answers: ``nll`` (N), ``logits`` of the first tokens, and ``codes...``, see ``hf_child``.
    """
    logits_NV, nll_N = answers["logits"], answers["nll"]
    ours = follow(model, rows, codes_by_our_names(answers), len(logits_NV))
    free = follow(model, rows, {}, 0)
    largest = ours.logits.abs().max().item()
    return Checked(
        tokens=len(nll_N),
        loss=_mean(free.nll),
        loss_of_export=_mean(nll_N),
        largest_loss_difference=(ours.nll - nll_N).abs().max().item(),
        loss_difference=abs(_mean(ours.nll) - _mean(nll_N)),
        logits_compared=len(logits_NV),
        largest_logit=largest,
        largest_logit_difference=(ours.logits - logits_NV).abs().max().item(),
        tolerance=TOLERANCE * max(1.0, largest),
        roundings=ours.roundings,
        rounded_otherwise_at_ties=ours.ties,
        rounded_otherwise_elsewhere=ours.apart,
    )


def num_logits(vocab_size: int) -> int:
    """How many tokens have their logits compared."""
    return max(1, LOGITS_BYTES // (4 * vocab_size))


def require(modules: Mapping[str, str]) -> None:
    """Refuse where the check could not run; before anything is written.

    Args:
        modules: names to import, and what they are installed as.

    Raises:
        ConfigError: one is not installed.
    """
    missing = [package for name, package in modules.items() if importlib.util.find_spec(name) is None]
    if missing:
        allowed = f"needs {' and '.join(missing)}: pip install 'bitnet-sweep[export]', or --no-check"
        raise ConfigError("--check", "true", allowed)


def ask(child: str, exported: Path, rows: Rows, count: int) -> dict[str, Tensor]:
    """Answers of an export to the rows, from a fresh process of the program it is for.

    Args:
        child: the module that runs there.
        exported: file or folder.
        rows: what is asked.
        count: of how many tokens the logits are wanted.

    Raises:
        CheckError: that process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder, "question.safetensors"), Path(folder, "answer.safetensors")
        asked = {
            f"{name}{i}": tensor for i, row in enumerate(rows) for name, tensor in zip("xy", row, strict=True)
        }
        own = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in asked.items()}
        save_file(own, question)  # it takes no views of one tensor
        words = [
            str(exported.absolute()),
            str(question),
            str(answer),
            str(count),
            str(torch.get_num_threads()),
        ]
        if failed := failure_of(child, words, environment()):
            raise CheckError(f"the export cannot be opened: {failed}")
        return load_file(answer)


def failure_of(module: str, words: Sequence[str], variables: Mapping[str, str]) -> str | None:
    """Run ``python -m MODULE WORDS`` to its end; where it failed, the last line that it said."""
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        env=variables,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if not done.returncode:
        return None
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


@torch.no_grad()
def tokens_per_s(model: Any, rows: Rows) -> float:
    """How quickly a model gives logits, the first rows left out where there are others."""
    measured = rows[1:] or rows
    start = time.perf_counter()
    for x_BT, _ in measured:
        model(x_BT)
    return sum(x_BT.numel() for x_BT, _ in measured) / (time.perf_counter() - start)


def environment() -> dict[str, str]:
    """Ours, this package to be found from any folder, and no connection to a hub."""
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return {**os.environ, **offline, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def _mean(values: Tensor) -> float:
    return values.double().mean().item()
