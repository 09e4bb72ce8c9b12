"""Whether the runs of a setting can be held against numbers that the notes measured in theirs.

A loss in nats and a count of predicted tokens belong to a text, a vocabulary and a length: on another text
the same training ends at other ones. What a config leaves out is not said to differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from bitnet_sweep.report.claims.setting import Setting
from bitnet_sweep.report.listing import NOTES_MODEL
from bitnet_sweep.report.settings import shown

Comparable = Callable[[Setting], str | None]
"""Why the setting cannot be held against the notes' numbers; None where it can."""

_STEPS = 10_000
_TEXT = re.compile(r"wikitext-?2\b", re.IGNORECASE)


def anywhere(setting: Setting) -> str | None:
    """For claims that compare the runs of a setting with each other alone."""
    return None


def where_the_length_is_theirs(setting: Setting) -> str | None:
    """For claims that name a stretch of the schedule: their tenth is 1,000 steps."""
    steps = setting.arms[0].steps
    if steps is None or steps == _STEPS:
        return None
    return f"a tenth of the run is {shown(steps // 10)} steps and not their {_STEPS // 10:,}"


def where_text_and_length_are_theirs(setting: Setting) -> str | None:
    """For claims that name a loss or a count of tokens."""
    return _other_text(setting) or _other_vocabulary(setting) or where_the_length_is_theirs(setting)


def _other_text(setting: Setting) -> str | None:
    """By the name of the corpus; files (``data=text``) are theirs where the path of each says so."""
    config = setting.arms[0].run.config
    name = config.get("data.name")
    if name is None or name == "wikitext2":
        return None
    paths = config.get("data.path") if name == "text" else None
    files = paths if isinstance(paths, list) else [paths] if paths else []
    if files and all(_TEXT.search(str(path)) for path in files):
        return None
    return "another text than their WikiText-2"


def _other_vocabulary(setting: Setting) -> str | None:
    size = setting.arms[0].run.config.get("tokenizer.vocab_size")
    theirs = NOTES_MODEL["vocab"]
    return None if size is None or size == theirs else f"a vocabulary of {size} and not their {theirs}"
