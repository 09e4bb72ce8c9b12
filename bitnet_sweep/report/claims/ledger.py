"""Claims against all settings of a store: the ledger, as the table ``claims``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bitnet_sweep.config import ConfigError
from bitnet_sweep.own_code import yaml_folders
from bitnet_sweep.paths import expanded
from bitnet_sweep.report.claims import noted
from bitnet_sweep.report.claims.claim import ENOUGH_SEEDS, Claim, Unit, Unjudged
from bitnet_sweep.report.claims.from_file import ENDINGS, read_claims
from bitnet_sweep.report.claims.setting import Setting, settings_in
from bitnet_sweep.report.claims.verdict import Verdict, sentence_of, verdict_of
from bitnet_sweep.report.sections import Section
from bitnet_sweep.report.table import Cell, Column, N, Part, Row, Table

_NOTHING = "nothing in the store tests it"
_NEVER_LEARNS = Unjudged("no run of the setting was ever below U: too short or too small to learn in")
_N = Column(N, "n={}".format)
_COLUMNS = (
    *map(Column, ("name", "claim", "source", "margin", "setting", "verdict")),
    *(_N, Column("evidence"), Column("run_ids"), Column("how to test it")),
)
_UNTESTED = Column("where untested", name="how to test it")
_READ = (*map(Column, ("claim", "source", "setting", "verdict")), _N, Column("evidence"), _UNTESTED)


@dataclass(frozen=True)
class Entry:
    """A claim judged in one setting, or not tested in any."""

    claim: Claim
    setting: str
    """Empty where it was not tested."""
    verdict: Verdict
    units: Sequence[Unit]
    not_comparable: str | None = None
    """Why the setting cannot be held against the notes' numbers."""

    @property
    def run_ids(self) -> list[str]:
        return list(dict.fromkeys(arm.run_id for unit in self.units for arm in unit.arms))


NOTES = "notes"
"""Asks for the claims of the notes."""


@dataclass(frozen=True)
class Asked:
    """The claims that a report judges."""

    title: str
    origin: str
    """Whose they are, and what runs are not comparable; a sentence or two."""
    claims: Sequence[Claim]


def asked_claims(whose: str | Path, known: Collection[str] = ()) -> Asked:
    """The claims of the notes, or those of a file.

    Args:
        whose: ``"notes"``, the path of a file, or the name of one in an installed package.
        known: settings that runs have, by dotted key; a file may name those besides the program's own.

    Raises:
        ConfigError: there are no such claims, or something in the file is wrong.
    """
    try:
        path = expanded(whose)
    except ValueError as error:
        raise ConfigError("--claims", whose, str(error)) from error
    offered = {} if whose == NOTES or path.suffix in ENDINGS else _of_packages()
    path = offered.get(str(whose), path)
    if path.suffix in ENDINGS:
        origin = f"From {path.name}. Not comparable: runs of another setting than the claim's own."
        return Asked("Claims", origin, read_claims(path, known))
    if whose != NOTES:
        allowed = f"{', '.join([NOTES, *offered])}, or a file of claims that ends in {', '.join(ENDINGS)}"
        raise ConfigError("--claims", whose, f"no such claims; allowed: {allowed}")
    return _of_the_notes()


def _of_packages() -> dict[str, Path]:
    """The files in ``conf/claims`` of packages that have parts, by name; none of the packages is imported."""
    folders = [folder / "claims" for folder in yaml_folders().values()]
    found = sorted(path for folder in folders for path in folder.glob("*") if path.suffix in ENDINGS)
    return {path.stem: path for path in found}


def _of_the_notes() -> Asked:
    origin = "Not comparable: a number of the notes, beside runs on another text or of another length."
    return Asked("The claims of the notes", origin, noted_claims())


def noted_claims() -> list[Claim]:
    """The ``CLAIMS`` of every module in ``noted/``, by the names of the modules.

    Raises:
        ValueError: a module has none, or two claims have one name.
    """
    claims: list[Claim] = []
    for name in sorted(module.name for module in pkgutil.iter_modules(noted.__path__)):
        module = importlib.import_module(f"{noted.__name__}.{name}")
        found = getattr(module, "CLAIMS", None)
        if not isinstance(found, list) or not all(isinstance(claim, Claim) for claim in found):
            raise ValueError(f"{module.__file__}: must hold CLAIMS, a list of Claims")
        claims += found
    names = [claim.name for claim in claims]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two claims are called {', '.join(twice)}")
    return claims


def ledger(sections: Sequence[Section], claims: Sequence[Claim] | None = None) -> list[Entry]:
    """Every claim (of the notes) in every setting that says something to it; once where none does."""
    settings: dict[tuple[str, ...], list[Setting]] = {}
    entries: list[Entry] = []
    for claim in noted_claims() if claims is None else claims:
        if claim.contrasts not in settings:
            settings[claim.contrasts] = settings_in(sections, claim.contrasts)
        tested = []
        for setting in settings[claim.contrasts]:
            units = claim.look(setting)
            if setting.never_learns and not claim.exact:
                units = [replace(unit, found=_NEVER_LEARNS) for unit in units]
            if units:
                tested.append(_judged(claim, setting, units))
        entries += tested or [Entry(claim, "", verdict_of([]), [])]
    return entries


def _judged(claim: Claim, setting: Setting, units: Sequence[Unit]) -> Entry:
    reason = claim.comparable(setting)
    if reason is not None:
        return Entry(claim, setting.label, Verdict("not comparable", 0), units, reason)
    return Entry(claim, setting.label, _verdict(claim, units), units)


def _verdict(claim: Claim, units: Sequence[Unit]) -> Verdict:
    return verdict_of(units, cells=claim.cells, exact=claim.exact, enough=claim.enough)


def claims_table(sections: Sequence[Section], asked: Asked | None = None) -> Table:
    """The ledger (of the notes) as a table; a row a claim and setting."""
    asked = asked or _of_the_notes()
    entries = ledger(sections, asked.claims)
    rows = [_row(entry) for entry in entries]
    several = len({entry.setting for entry in entries if entry.setting}) > 1
    shown = [column for column in _READ if several or column.key != "setting"]
    about = (
        f"Reproduced or contradicted: observations in one direction, n >= {ENOUGH_SEEDS} or what the claim "
        "asks for; consistent or at odds: the same with fewer, or in too few cells where the claim is about "
        f"several. {asked.origin} n counts seeds. Settings are judged apart. "
        "Margins, fixed beforehand, and all run_ids are in tables/claims.csv."
    )
    return Table("claims", asked.title, about, _COLUMNS, rows, [Part(None, "", shown, rows)])


def _row(entry: Entry) -> Row:
    claim, ids = entry.claim, entry.run_ids
    evidence = sentence_of(claim, entry.units, entry.not_comparable) or _NOTHING
    cells = {
        "name": Cell(claim.name),
        "claim": Cell(claim.says),
        "source": Cell(claim.source),
        "margin": Cell(claim.margin),
        "setting": Cell(entry.setting),
        "verdict": Cell(entry.verdict.word),
        N: Cell(entry.verdict.n),
        "evidence": Cell(evidence),
        "run_ids": Cell(" ".join(ids)),
        "how to test it": Cell(claim.command),
        "where untested": Cell("" if ids else claim.command),
    }
    return Row(cells, "all", tuple(ids))
