"""Runs written with the real W&B client: one at a time, waits bounded, every failure a ``WandbError``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import wandb

from bitnet_sweep.records import LogRow, Record, SampleRow, in_order, to_json_line
from bitnet_sweep.store import INTERRUPTED
from bitnet_sweep.track.mirror import Mirror
from bitnet_sweep.wandb_client import WandbError, bounded, require_credentials, start_client

GRACE_SECONDS = 15.0
"""What a call may take beyond its own time-out, starting wandb-core on a busy machine included (assumed)."""

SAMPLE_COLUMNS = ("step", "prompt", "continuation")


class WandbRun:
    """A W&B run that is being written.

    Args:
        mirror: what the run looks like.
        directory: W&B's files go to ``<directory>/wandb``.
        server: its URL, or None to write offline. A run the server has already is gone on with.
        timeout: the longest wait for the server, seconds, at the start and again at the end.

    Raises:
        WandbError: no API key, no answer, or anything else.
    """

    def __init__(self, mirror: Mirror, directory: Path, *, server: str | None, timeout: float) -> None:
        self.online = server is not None
        self._timeout = timeout
        self._seconds = timeout + GRACE_SECONDS
        track = mirror.config["track"]
        self._run = open_run(
            directory,
            server=server,
            timeout=timeout,
            id=mirror.run_id,
            name=mirror.name,
            group=mirror.group,
            tags=mirror.tags,
            config=mirror.config,
            project=track["project"],
            entity=track["entity"] or None,
        )
        with bounded(self._seconds):
            self._run.define_metric("step")
            self._run.define_metric("*", step_metric="step")
        self._first_step = self._run.starting_step
        """Steps before this one are on the server already."""

    def replay(
        self, records: Sequence[Record], samples: Sequence[SampleRow], log: Sequence[LogRow] = ()
    ) -> None:
        """Log what the store has, from step 1 on.

        Raises:
            WandbError: anything went wrong; likewise in the methods below.
        """
        for record, logged in in_order(records, log):
            if record is not None:
                self.log(record)
                if any(row["step"] == record["step"] for row in samples):
                    self.samples(int(record["step"] or 0), samples)
            if logged is not None:
                self.log(logged)

    def log(self, record: Record | LogRow) -> None:
        """Log one record, or one row of the training log, whose fields have other names.

        W&B holds its row back until the next step, so that samples and the log can still join a record's.
        """
        row = json.loads(to_json_line(record))  # as it stands in the store: nothing that is not finite
        if row["step"] >= self._first_step:
            with bounded(self._seconds):
                self._run.log(row, step=row["step"])

    def samples(self, step: int, rows: Sequence[SampleRow]) -> None:
        """Log the sample text up to ``step``, as a table in that step's row."""
        if step < self._first_step:
            return
        data: list[Iterable[Any]] = [
            [row[column] for column in SAMPLE_COLUMNS] for row in rows if row["step"] <= step
        ]
        with bounded(self._seconds):
            table = wandb.Table(columns=list(SAMPLE_COLUMNS), data=data)
            # Bound to the run, the table is a file of the run; else it would be an artifact as well,
            # staged in the user's home directory, where a store that is moved leaves it behind.
            table.bind_to_run(self._run, "samples", step)  # type: ignore[no-untyped-call]  # wandb's
            self._run.log({"samples": table}, step=step)

    def alert(self, title: str, text: str, level: str) -> None:
        """Have the server tell the run's owner; whether it does is not waited for.

        Args:
            level: INFO, WARN or ERROR.
        """
        with bounded(self._seconds):
            self._run.alert(title, text, level)

    def finish(self, mirror: Mirror) -> None:
        """Send the summary and what is left, and close the run; one that was killed was interrupted."""
        with bounded(self._seconds):
            self._run.summary.update(mirror.summary | {"state": mirror.state or INTERRUPTED})
        close_run(self._run, exit_code=mirror.exit_code, timeout=self._timeout)


def open_run(directory: Path, *, server: str | None, timeout: float, **described: Any) -> wandb.Run:
    """Begin a run; one that the server has already is gone on with.

    Args:
        directory: W&B's files go to ``<directory>/wandb``.
        server: its URL, or None to write offline.
        timeout: the longest wait for the server, seconds, here and when the run is closed.
        described: id, name, project and whatever else ``wandb.init`` is to be told.

    Raises:
        WandbError: no API key, no answer, or anything else.
    """
    mode: Literal["offline", "online"] = "offline" if server is None else "online"
    with bounded(timeout + GRACE_SECONDS):
        start_client(mode)
        if server is not None:
            require_credentials(server)
        run = wandb.init(
            **described,
            dir=directory,
            mode=mode,
            resume=None if server is None else "allow",
            # the default would go on with a run that an earlier job left open
            reinit="finish_previous",
            settings=_settings(server, timeout),
        )
    return run  # noqa: RET504  # inside, mypy would not know that bounded() swallows nothing


def close_run(run: wandb.Run, *, exit_code: int, timeout: float) -> None:
    """Send what is left of a run, and its end.

    Raises:
        WandbError: the server does not have all of it.
    """
    with bounded(timeout + GRACE_SECONDS):
        run.finish(exit_code=exit_code)
        if not run.offline and _gave_up(Path(run.settings.log_internal)):
            raise WandbError("the server refused the data")


def _settings(server: str | None, timeout: float) -> wandb.Settings:
    """Nothing captured but what is logged: no console, code, git, packages, machine or system metrics."""
    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        label_disable=True,
        sagemaker_disable=True,  # else it names the run, and adds to its config
        save_code=False,
        symlink=False,
        use_dot_wandb=False,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
        allow_val_change=True,  # a resumed run may have another store, mode or number of threads
        # The mirror steers nothing: by default the web page's stop button interrupts the process.
        stop_fn=lambda: None,
        init_timeout=timeout,
        finish_timeout=timeout,
        finish_timeout_raises=True,
        x_transaction_log_flush_interval=1.0,  # what a kill may cost an offline run, seconds
    )
    if server is not None:
        settings.base_url = server
    return settings


def _gave_up(log: Path) -> bool:
    """Whether wandb-core lost anything, by its own log: finish() is content all the same.

    It stops uploading at a 401, and leaves out a file that the server or its storage does not take.
    """
    text = log.read_text(errors="replace") if log.is_file() else ""
    return _LOST.search(text) is not None


_LOST = re.compile(r'"level":"ERROR\+4"|"level":"ERROR","msg":"(?:runfiles|file transfer: upload): ')
