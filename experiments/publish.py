"""Put a sweep's evidence under version control: the store without tensors, and the tables made from it.

    python experiments/publish.py STORE SWEEP experiments/NNN_name
    python experiments/publish.py experiments/NNN_name

Writes ``store.tar.gz`` (the sweep, and what it bisected; config, status, records and samples of its runs, of
those that began), ``tables/`` and ``figures/``, in place of those there once the new ones are complete.
Of the figures it keeps those that the study's README shows, as ``python -m bitnet_sweep.report`` makes all of
them from the archive: to show another one, link it in the README and publish again.
The second form makes the tables that a study keeps again, from its archive.
Samples quote the text that was trained on, prompts word by word: of a text that is not in the public domain,
as the World Factbook is, they are left out.
``tests/test_experiments.py`` makes the tables again from that archive and compares them byte for byte.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import OmegaConf

from bitnet_sweep.report import Report, make_report, write_report
from bitnet_sweep.report.csv_files import csv_text
from bitnet_sweep.store import opened
from bitnet_sweep.store.archive import pack

KEPT = ("config.yaml", "status.json", "records.jsonl")
SAMPLES = "samples.jsonl"
PUBLIC_DOMAIN = {"world_factbook"}
"""Values of ``data.name``."""


def publish(store: Path, sweep: str, target: Path) -> None:
    """Copy the text files of a sweep and write its report."""
    target.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target) as folder:
        new = Path(folder)
        _copy(store / "store.json", new / "store" / "store.json")
        _copy(store / "sweeps" / f"{sweep}.json", new / "store" / "sweeps" / f"{sweep}.json")
        run_ids = json.loads((store / "sweeps" / f"{sweep}.json").read_text())["run_ids"]
        kept = [f"bisections/{sweep}.json", *(f"runs/{run_id}/{name}" for run_id in run_ids for name in KEPT)]
        kept += [f"runs/{run_id}/{SAMPLES}" for run_id in run_ids if _is_free(store / "runs" / run_id)]
        for name in kept:
            if (store / name).exists():
                _copy(store / name, new / "store" / name)
        report = make_report([new / "store"], sweep, claims="notes")
        write_report(report, new)
        shutil.rmtree(new / "tables")
        (new / "tables").mkdir()
        for name, text in tables_of(report).items():
            (new / "tables" / name).write_text(text)
        shown = shown_in(target / "README.md")
        for picture in (new / "figures").glob("*"):
            if picture.name not in shown:
                picture.unlink()
        pack(new / "store", new / "store.tar.gz")
        for part in ("tables", "figures"):
            shutil.rmtree(target / part, ignore_errors=True)
        for part in ("store.tar.gz", "tables", *(["figures"] if any((new / "figures").glob("*")) else [])):
            (new / part).rename(target / part)


def remake(study: Path) -> None:
    """Write the tables that a study keeps as its archive gives them now."""
    for name, text in tables_of(report_of(study)).items():
        if (study / "tables" / name).exists():
            (study / "tables" / name).write_text(text)


def report_of(study: Path) -> Report:
    """The report on a published study."""
    archive = study / "store.tar.gz"
    with opened(archive) as store:
        (sweep,) = (path.stem for path in (store / "sweeps").glob("*.json"))
    return make_report([archive], sweep, claims="notes")


def tables_of(report: Report) -> dict[str, str]:
    """The report's tables as studies keep them, by file name: without the records, which the archive has.

    Of ``provenance`` without their one sweep, runs by their labels: the first studies were published before
    the table told either, and so all of them stay alike.
    """
    texts = {f"{table.name}.csv": csv_text(table) for table in report.tables if table.name != "records"}
    provenance = report.table("provenance")
    labels = [arm.label for arm in report.study.arms]
    kept = provenance.frame.drop(columns="sweep").assign(name=labels)
    return texts | {"provenance.csv": csv_text(replace(provenance, data=kept))}


def shown_in(readme: Path) -> set[str]:
    """The names of a study's figures that its README shows; none where there is no README yet."""
    return set(re.findall(r"\]\(figures/([^)\s]+)\)", readme.read_text())) if readme.exists() else set()


def _is_free(run: Path) -> bool:
    """Whether the text of a run may be handed on; what cannot be told may not."""
    config = run / "config.yaml"
    data = OmegaConf.select(OmegaConf.load(config), "data.name") if config.exists() else None
    return data in PUBLIC_DOMAIN


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        remake(Path(sys.argv[1]))
    else:
        publish(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
