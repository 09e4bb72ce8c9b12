"""The figures of a store's report in W&B: images of one run, since its panels show what runs have logged.

That run is in a group of its own, by which whatever lists the runs of an experiment leaves it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bitnet_sweep.report.figures import Figure


def key_of(figure: Figure) -> str:
    """Its name in W&B: ``figures/phase_map``, its file's path in the report."""
    return f"figures/{figure.name}"


def caption_of(figure: Figure) -> str:
    """Its title, and what it leaves out."""
    return f"{figure.title}. {figure.note}" if figure.note else figure.title


def upload(
    figures: Sequence[Figure],
    scratch: Path,
    *,
    server: str,
    entity: str,
    project: str,
    run_id: str,
    name: str,
    timeout: float,
) -> None:
    """Log all figures as one more step of the run, which is made if the server has none of this id.

    Args:
        scratch: W&B's files and those of the figures go here.
        timeout: the longest wait for the server, seconds, at the start and again at the end.

    Raises:
        WandbError: they are not all in W&B.
    """
    import wandb  # late: takes a second

    from bitnet_sweep.track.wandb_run import GRACE_SECONDS, close_run, open_run
    from bitnet_sweep.wandb_client import bounded
    from bitnet_sweep.wandb_names import REPORT_GROUP

    images = {}
    for figure in figures:
        path = scratch / f"{key_of(figure)}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(figure.png)
        images[key_of(figure)] = wandb.Image(path, caption=caption_of(figure))
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
        run.log(images)
    close_run(run, exit_code=0, timeout=timeout)
