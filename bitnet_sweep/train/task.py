"""The transformer as a task: what the engine trains unless it is told otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitnet_sweep.config import OptimizerName, RunConfig
from bitnet_sweep.counts import predicted_counts
from bitnet_sweep.data import Batches, Corpus, fingerprint, prepare
from bitnet_sweep.train.fallback import fallback_lines
from bitnet_sweep.workload import Sizes, Step, Training, Work, Workload

if TYPE_CHECKING:  # a plan is made without it
    import torch
    from torch import Tensor

    from bitnet_sweep.train.state import TrainState

NUM_BYTES_FP32 = 4
MOMENTS = 2
"""Running means that Adam keeps for each parameter; the other optimizers here keep one or two."""
MAX_CODE_SETS = 3
"""Sets of codes in a checkpoint between two records: at the record, now, and their last directions."""


class TransformerWorkload(Workload):
    """A decoder-only transformer on tokens, by the keys ``model``, ``data``, ``optimizer`` and so on."""

    def data_key(self, config: RunConfig) -> Hashable:
        """See :meth:`Workload.data_key`."""
        return repr((config.data, config.tokenizer, config.batch_size, config.sequence_length))

    def fingerprint(self, config: RunConfig) -> str:
        """See :func:`bitnet_sweep.data.fingerprint`."""
        return fingerprint(config)

    def prepare(self, config: RunConfig, cache: Path, fingerprint: str) -> None:
        """Write the token files."""
        prepare(config, cache, fingerprint)

    def check(self, configs: Sequence[RunConfig]) -> None:
        """Each class of ``torch.optim`` that is asked for, once with the same options; each model of a
        user's own; each metric."""
        optimizers = (config.optimizer for config in configs)
        asked = {repr(each): each for each in optimizers if each.name is OptimizerName.torch}
        if asked:
            from bitnet_sweep.train.optimizer.any_torch import check_torch_class  # late: it imports torch

            for each in asked.values():
                check_torch_class(each)
        for config in configs:
            if not config.has_built_in_model:
                _counts(config)
        measured = {repr((each.metrics, each.metric_options)): each for each in configs if each.metrics}
        if measured:
            from bitnet_sweep.measure.own import metrics_of  # likewise

            for config in measured.values():
                metrics_of(config)

    def remarks(self, configs: Sequence[RunConfig]) -> list[str]:
        """What ``precision=mixed`` has no product of its own for."""
        return fallback_lines(configs)

    def work(self, config: RunConfig) -> Work:
        """A step costs the weights touched by the optimizer and by every token."""
        counts = _counts(config)
        total, ternary = counts["total"], counts.get("ternary", 0)
        one = NUM_BYTES_FP32 * total
        weights = one * (2 if config.ema else 1)
        state = weights + MOMENTS * one
        rows = config.batch_size, config.micro_batches, config.sequence_length
        width = f"model.hidden={config.model.hidden}" if config.has_built_in_model else "model.options"
        keys = f"{width} or batch_size={config.batch_size}"
        return Work(
            kind=(config.model, config.optimizer.name, config.ema > 0, config.tokenizer.vocab_size, rows),
            smaller=f"{keys} (or sequence_length={config.sequence_length}), "
            f"or raise micro_batches={config.micro_batches}",
            cost=float(total) * (1 + config.batch_size * config.sequence_length / 64),
            tokens=config.batch_size * config.row_targets,
            parameters=counts,
            sizes=Sizes(
                trunk=state + ternary,
                final=weights,
                training=2 * (state + MAX_CODE_SETS * ternary),
            ),
        )

    def open(
        self, config: RunConfig, cache: Path, fingerprint: str, device: torch.device
    ) -> Training[TrainState]:
        """See :meth:`Workload.open`."""
        return TransformerTraining(config, prepare(config, cache, fingerprint), device)


def _counts(config: RunConfig) -> dict[str, int]:
    """Numbers of parameters by kind; a model of a user's own is made for it.

    Raises:
        ConfigError: it cannot be made.
    """
    if config.has_built_in_model:
        return dataclasses.asdict(predicted_counts(config.model, config.tokenizer.vocab_size))
    from bitnet_sweep.model.own import counts_of  # late: it imports torch

    return counts_of(config)


class TransformerTraining(Training["TrainState"]):
    """The loop of :mod:`bitnet_sweep.train.loop` over the batches and probes of one run."""

    def __init__(self, config: RunConfig, corpus: Corpus, device: torch.device) -> None:
        from bitnet_sweep.train.probe import build_probe  # late: it imports torch

        self._config = config
        self._device = device
        self._probe = build_probe(config, corpus)
        self._batches = Batches.of(config, corpus)

    def fresh(self) -> TrainState:
        """See :meth:`TrainState.fresh`."""
        from bitnet_sweep.train.state import TrainState

        return TrainState.fresh(self._config, self._device)

    def restored(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> TrainState:
        """See :meth:`TrainState.restore`."""
        state = self.fresh()
        state.restore(tensors, facts)
        return state

    def steps(self, state: TrainState, until_step: int) -> Iterator[Step]:
        """See :func:`bitnet_sweep.train.loop.train`."""
        from bitnet_sweep.train.loop import train

        return train(self._config, state, self._batches, self._probe, until_step)
