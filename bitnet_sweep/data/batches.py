"""Training batches: a pure function of (seed, step), so nothing about data order needs saving.

Shapes: B rows of T tokens (``x_BT``, ``y_BT``).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bitnet_sweep.config import IGNORED, Order, RunConfig, Targets
from bitnet_sweep.data.tokens import Corpus

Ids = npt.NDArray[np.int64]


class Batches:
    """Windows of the train split: rows of ``sequence_length`` tokens, and the one behind if it is a target.

    ``random``: starts drawn uniformly, by Philox keyed with (seed, step); raw words of the generator,
    because NumPy promises to keep those, not its distributions. ``sequential``: one window after the
    other, the same for every seed, wrapping at the end.
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        seed: int,
        batch_size: int,
        sequence_length: int,
        order: Order,
        targets: Targets = Targets.next,
        ignored: int | None = None,
    ) -> None:
        """Raises ValueError where the train split holds not one window.

        Args:
            corpus: whose train split is read.
            seed: of the random order.
            batch_size: B.
            sequence_length: tokens of a row.
            order: of the rows.
            targets: ``next`` gives T = ``sequence_length`` inputs and targets, ``inside`` one less of both.
            ignored: an id that is no target; it becomes IGNORED.
        """
        self._tokens = np.asarray(corpus.train)
        self._seed = seed
        self._batch_size = batch_size
        self._sequence_length = sequence_length
        self._order = order
        self._behind = int(targets is Targets.next)
        self._ignored = ignored
        self._offsets = np.arange(sequence_length + self._behind)
        if len(self._tokens) < len(self._offsets):
            raise ValueError(
                f"{len(self._tokens)} tokens hold no window of {sequence_length} + {self._behind}"
            )

    @classmethod
    def of(cls, config: RunConfig, corpus: Corpus) -> Batches:
        """Those of a run."""
        return cls(
            corpus,
            seed=config.seed,
            batch_size=config.batch_size,
            sequence_length=config.sequence_length,
            order=config.data.order,
            targets=config.data.targets,
            ignored=corpus.separator if config.loss.ignore_end_of_text else None,
        )

    def batch_at(self, step: int) -> tuple[Ids, Ids]:
        """Inputs ``x_BT`` and targets ``y_BT`` (``x`` shifted by one) of step 1, 2, ..."""
        starts_B = self._random_starts(step) if self._order is Order.random else self._sequential_starts(step)
        window = np.asarray(self._tokens[starts_B[:, None] + self._offsets], np.int64)
        x_BT, y_BT = window[:, :-1], window[:, 1:]
        return x_BT, y_BT if self._ignored is None else np.where(y_BT == self._ignored, IGNORED, y_BT)

    def _random_starts(self, step: int) -> Ids:
        words = np.random.Philox(key=[self._seed, step]).random_raw(self._batch_size)
        # The remainder favours low starts by less than one part in 2**64 / tokens.
        return (words % np.uint64(len(self._tokens) - len(self._offsets) + 1)).astype(np.int64)

    def _sequential_starts(self, step: int) -> Ids:
        num_windows = (len(self._tokens) - self._behind) // self._sequence_length
        first = (step - 1) * self._batch_size
        return (first + np.arange(self._batch_size)) % num_windows * self._sequence_length
