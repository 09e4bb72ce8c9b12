"""The held-out split, by document: decided by what the documents say, never by seed or order."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from itertools import compress

import numpy as np
import numpy.typing as npt

from bitnet_sweep.data.sources import Documents

MIN_HELDOUT_TOKENS = 4097
"""4,096 targets and the token before the first of them."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Survey:
    """One row a document, in corpus order."""

    digests: list[bytes]
    sizes: npt.NDArray[np.int64]
    """UTF-8 bytes."""

    @classmethod
    def of(cls, documents: Documents) -> Survey:
        """Go through all documents once."""
        digests, sizes = [], []
        for document in documents():
            content = document.encode()
            digests.append(hashlib.sha256(content).digest()[:16])
            sizes.append(len(content))
        return cls(digests, np.array(sizes, np.int64))

    def heldout_mask(self, at_least_bytes: int) -> Mask:
        """True for the held-out documents: in order of their hashes until they hold so many bytes.

        Documents with the same text have the same hash, so they are never on both sides.
        """
        held: set[bytes] = set()
        reached = 0
        for digest, size in sorted(zip(self.digests, self.sizes.tolist(), strict=True)):
            if reached >= at_least_bytes and digest not in held:
                break
            held.add(digest)
            reached += size
        return np.array([digest in held for digest in self.digests], np.bool_)

    def end_mask(self, at_least_bytes: int) -> Mask:
        """True for the last documents, as many as hold so many bytes, whatever stands in the others."""
        behind = self.sizes[::-1].cumsum()[::-1] - self.sizes
        return np.asarray(behind < at_least_bytes, np.bool_)


def first_target(survey: Survey, fraction: float) -> int:
    """Bytes to hold out for ``fraction`` of the corpus, before tokens are counted."""
    return math.ceil(fraction * int(survey.sizes.sum()))


def next_target(survey: Survey, mask: Mask, tokens: int) -> int:
    """Bytes to hold out instead, where ``mask`` gave too few tokens: one document more, or what the
    ratio of tokens to bytes asks for."""
    held = int(survey.sizes[mask].sum())
    return max(held + 1, math.ceil(held * MIN_HELDOUT_TOKENS / tokens))


def select(documents: Documents, mask: Mask) -> Documents:
    """The documents where ``mask`` is true."""
    return lambda: compress(documents(), mask)
