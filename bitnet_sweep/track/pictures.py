"""The figures of a store's report in W&B: images of one run, since its panels show what runs have logged.

That run is in a group of its own, by which whatever lists the runs of an experiment leaves it out.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Picture:
    """A figure of a report."""

    path: Path
    title: str
    note: str = ""
    """What the figure leaves out."""

    @property
    def key(self) -> str:
        """Its name in W&B: ``figures/phase_map``, its file's path in the report."""
        return f"{self.path.parent.name}/{self.path.stem}"

    @property
    def caption(self) -> str:
        return f"{self.title}. {self.note}" if self.note else self.title


def picture_of(section: str, report: Path) -> Picture | None:
    """The picture that a section of ``report.md`` shows; None where it shows none.

    Args:
        section: the heading, perhaps a note, the image.
        report: the folder that has the file.
    """
    title, *others = (paragraph.strip() for paragraph in section.split("\n\n"))
    images = [match[1] for text in others if (match := _IMAGE.fullmatch(text))]
    if not images:
        return None
    note = " ".join(_plain(text) for text in others if text and not _IMAGE.fullmatch(text))
    return Picture((report / images[0]).with_suffix(".png"), _plain(title.removeprefix("## ")), note)


_IMAGE = re.compile(r"!\[.*\]\((figures/\w+\.svg)\)")


def _plain(markdown: str) -> str:
    """What ``report.markdown.escaped`` was given."""
    return html.unescape(re.sub(r"\\(.)", r"\1", markdown))


def upload(
    pictures: Sequence[Picture],
    scratch: Path,
    *,
    server: str,
    entity: str,
    project: str,
    run_id: str,
    name: str,
    timeout: float,
) -> None:
    """Log all pictures as one more step of the run, which is made if the server has none of this id.

    Args:
        scratch: W&B's files and copies of the pictures go here.
        timeout: the longest wait for the server, seconds, at the start and again at the end.

    Raises:
        WandbError: they are not all in W&B.
    """
    import wandb  # late: takes a second

    from bitnet_sweep.track.wandb_run import GRACE_SECONDS, close_run, open_run
    from bitnet_sweep.wandb_client import REPORT_GROUP, bounded

    run = open_run(
        scratch,
        server=server,
        timeout=timeout,
        id=run_id,
        name=name,
        group=REPORT_GROUP,
        job_type="report",
        entity=entity,
        project=project,
    )
    with bounded(timeout + GRACE_SECONDS):
        run.log({picture.key: wandb.Image(picture.path, caption=picture.caption) for picture in pictures})
    close_run(run, exit_code=0, timeout=timeout)
