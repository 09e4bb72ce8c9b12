"""What to type about one run of a store: to see it, to remove it, to train it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from bitnet_sweep.paths import in_letters

_OF_THE_SWEEP = ("sweep.name=", "sweep.until_stage=")
"""What a sweep told its jobs and no user does; the second only in older stores."""


def verb_command(verb: str, store: Path, run_id: str, *words: str) -> str:
    """A verb of ``bitnet-sweep`` about a run, to be typed into a shell."""
    of_store = [] if store == Path("runs") else ["--store", in_letters(str(store))]
    return shlex.join(["bitnet-sweep", verb, run_id, *of_store, *words])


def rerun_command(words: object) -> str | None:
    """What trains a run alone, by the words of its job as its provenance has them; None where it has none."""
    if not isinstance(words, Sequence) or isinstance(words, str) or not words:
        return None
    own = [str(word) for word in words if not str(word).startswith(_OF_THE_SWEEP)]
    return shlex.join(["bitnet-sweep", "run", *own])
