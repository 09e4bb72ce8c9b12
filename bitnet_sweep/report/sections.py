"""Sections, which keep unlike arms apart.

A table cell may hold replicates (runs that differ by ``seed`` alone) and nothing else. So arms are
sorted into sections by *every* setting that can change a result, other than the three axes of the
tables (``model.hidden``, ``wd2`` and ``seed``), and by the text they read.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from bitnet_sweep.config import KNOBS
from bitnet_sweep.identity import mark
from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.settings import (
    NO_SUCH,
    UNKNOWN,
    all_as_read,
    choice_of,
    with_those_of_others,
)
from bitnet_sweep.roles import UNRANKED
from bitnet_sweep.store.outcome import unigram_loss

TEXT = "ref/unigram_loss"
"""The fingerprint of the text, for two texts may have one name (as in ``report.pairs``)."""


CODE = "code"
"""The source code that trained a run, as its status tells it."""


@dataclass(frozen=True)
class Section:
    """Arms that may share a table: all equal but for hidden, wd2 and seed."""

    label: str
    """Empty where there is only one section."""
    settings: dict[str, str]
    """Those in which this section differs from another."""
    arms: list[Arm]

    @property
    def steps(self) -> int | None:
        return self.arms[0].steps

    @property
    def boundary_step(self) -> int | None:
        return self.arms[0].boundary_step

    def cells(self) -> list[list[Arm]]:
        """The replicates of each cell, cells by hidden and wd2, replicates by seed."""
        cells: dict[tuple[object, object], list[Arm]] = defaultdict(list)
        for arm in self.arms:
            cells[arm.hidden, arm.wd2].append(arm)
        return list(cells.values())


def sections_of(arms: Iterable[Arm]) -> list[Section]:
    """Sort arms into sections; arms without a config belong to none.

    The text is told only where runs of the same settings read several, and the source code only where two
    runs are otherwise the same (``sweep.reuse=same_code``). Two runs of the very same settings, text and
    code are no replicates of each other (something that no config tells differs): the second one goes to a
    section of its own.
    """
    placed = sorted((arm for arm in arms if arm.run.config), key=lambda arm: arm.order)
    keys = [json.dumps(arm.settings, sort_keys=True) for arm in placed]
    texts = _texts(placed, keys)
    groups: dict[tuple[str, str, str, int], list[Arm]] = defaultdict(list)
    seen: Counter[tuple[object, ...]] = Counter()
    for arm, key, text, code in zip(placed, keys, texts, _codes(placed, keys, texts), strict=True):
        place = (key, text, code, arm.hidden, arm.wd2, arm.seed)
        groups[key, text, code, seen[place]].append(arm)
        seen[place] += 1
    several_texts = len({(key, text) for key, text, *_ in groups}) > len(set(keys))
    several_codes = len({code for _, _, code, _ in groups}) > 1
    several_copies = len({copy for *_, copy in groups}) > 1
    settings = [
        group[0].settings
        | ({TEXT: text} if several_texts else {})
        | ({CODE: code} if several_codes else {})
        | ({"copy": str(copy + 1)} if several_copies else {})
        for (_, text, code, copy), group in groups.items()
    ]
    settings = with_those_of_others(all_as_read(settings))
    labels = _labels(settings)
    differing = _differing(settings)
    sections = [
        Section(
            label,
            {key: own.get(key, UNKNOWN) for key in differing},
            [replace(arm, section=label) for arm in group],
        )
        for label, own, group in zip(labels, settings, groups.values(), strict=True)
    ]
    return sorted(sections, key=lambda section: section.label)


def text_of(arm: Arm) -> str:
    """The text that an arm read, by the loss of a unigram predictor on it."""
    unigram = unigram_loss(arm.records)
    return UNKNOWN if unigram is None else f"{unigram:.9g}"


def _texts(arms: Sequence[Arm], keys: Sequence[str]) -> list[str]:
    """The text of each arm; one that does not tell it, such as a missing one, goes with most of its key."""
    return _filled([text_of(arm) for arm in arms], keys)


def _codes(arms: Sequence[Arm], keys: Sequence[str], texts: Sequence[str]) -> list[str]:
    """The source code of each arm where that matters, told likewise; elsewhere nothing."""
    alike = list(zip(keys, texts, strict=True))
    places = Counter((*group, arm.hidden, arm.wd2, arm.seed) for group, arm in zip(alike, arms, strict=True))
    doubled = {(key, text) for (key, text, *_), count in places.items() if count > 1}
    codes = _filled([_code_of(arm) for arm in arms], alike)
    return [code if group in doubled else "" for group, code in zip(alike, codes, strict=True)]


def _code_of(arm: Arm) -> str:
    code = arm.run.status.get("code")
    return mark(code) if isinstance(code, dict) and code else UNKNOWN


def _filled(own: Sequence[str], keys: Sequence[Hashable]) -> list[str]:
    """What is unknown of an arm is what most of its key have."""
    told: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for key, value in zip(keys, own, strict=True):
        if value != UNKNOWN:
            told[key][value] += 1
    most = {key: values.most_common(1)[0][0] for key, values in told.items()}
    return [
        most.get(key, UNKNOWN) if value == UNKNOWN else value for key, value in zip(keys, own, strict=True)
    ]


def _differing(settings: Sequence[dict[str, str]]) -> list[str]:
    keys = {key: None for own in settings for key in own}
    return [key for key in keys if len({own.get(key, UNKNOWN) for own in settings} - {NO_SUCH}) > 1]


def telling_keys(settings: Sequence[dict[str, str]]) -> list[str]:
    """The fewest settings that tell groups of arms apart, the best known first."""
    differing = _differing(settings)
    ranked = sorted(differing, key=lambda key: KNOBS[key].rank if key in KNOBS else UNRANKED)
    chosen: list[str] = []
    told = 1
    for key in ranked:
        distinct = len({tuple(own.get(name, UNKNOWN) for name in [*chosen, key]) for own in settings})
        if distinct > told:
            chosen.append(key)
            told = distinct
    return chosen


def _labels(settings: Sequence[dict[str, str]]) -> list[str]:
    chosen = telling_keys(settings)
    told = [{key: choice_of(own, key) for key in chosen} for own in settings]
    return [
        ", ".join(f"{key}={_in_short(key, value)}" for key, value in own.items() if value != NO_SUCH)
        for own in told
    ]


def _in_short(key: str, value: str) -> str:
    """Stages that were written out by hand fill lines; a mark tells them apart as well."""
    return f"#{mark(value)}" if key == "stages" and value != UNKNOWN else value
