"""The real W&B client: one run at a time, every wait bounded, every failure a :class:`WandbError`.

The client is a Python part and a process it starts, wandb-core, which writes the files and talks to the
server. Its waits have settings of their own; where they do not end, a timer kills wandb-core, and what
waits for it gives up (measured, wandb 0.31).
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import wandb
from wandb.sdk.lib import wbauth

from bitnet_sweep.records import Record, to_json_line
from bitnet_sweep.track.mirror import Mirror
from bitnet_sweep.track.tracker import SampleRow

GRACE_SECONDS = 15.0
"""What a call may take beyond its own time-out, starting wandb-core on a busy machine included (assumed)."""

SAMPLE_COLUMNS = ("step", "prompt", "continuation")


class WandbError(Exception):
    """W&B failed or did not answer in time. ``str()`` is one line."""


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
        self._seconds = timeout + GRACE_SECONDS
        _prepare_environment()
        with _bounded(self._seconds):
            if server is not None and not _has_credentials(server):
                raise WandbError(f"no API key for {server} (set WANDB_API_KEY or run `wandb login`)")
            track = mirror.config["track"]
            self._run = wandb.init(
                id=mirror.run_id,
                name=mirror.name,
                group=mirror.group,
                tags=mirror.tags,
                config=mirror.config,
                project=track["project"],
                entity=track["entity"] or None,
                dir=directory,
                mode="online" if self.online else "offline",
                resume="allow" if self.online else None,
                # the default would go on with a run that an earlier job left open
                reinit="finish_previous",
                settings=_settings(server, timeout),
            )
            self._run.define_metric("step")
            self._run.define_metric("*", step_metric="step")
        self._first_step = self._run.starting_step
        """Steps before this one are on the server already."""

    def replay(self, records: Sequence[Record], samples: Sequence[SampleRow]) -> None:
        """Log what the store has, from step 1 on.

        Raises:
            WandbError: anything went wrong; likewise in the methods below.
        """
        for record in records:
            self.log(record)
            if any(row["step"] == record["step"] for row in samples):
                self.samples(int(record["step"] or 0), samples)

    def log(self, record: Record) -> None:
        """Log one record. W&B holds its row back until the next one, so samples can still join it."""
        row = json.loads(to_json_line(record))  # as it stands in the store: nothing that is not finite
        if row["step"] >= self._first_step:
            with _bounded(self._seconds):
                self._run.log(row, step=row["step"])

    def samples(self, step: int, rows: Sequence[SampleRow]) -> None:
        """Log the sample text up to ``step``, as a table in that step's row."""
        if step < self._first_step:
            return
        data: list[Iterable[Any]] = [
            [row[column] for column in SAMPLE_COLUMNS] for row in rows if row["step"] <= step
        ]
        with _bounded(self._seconds):
            table = wandb.Table(columns=list(SAMPLE_COLUMNS), data=data)
            # Bound to the run, the table is a file of the run; else it would be an artifact as well,
            # staged in the user's home directory, where a store that is moved leaves it behind.
            table.bind_to_run(self._run, "samples", step)  # type: ignore[no-untyped-call]  # wandb's
            self._run.log({"samples": table}, step=step)

    def finish(self, mirror: Mirror) -> None:
        """Send the summary and what is left, and close the run."""
        with _bounded(self._seconds):
            self._run.summary.update(mirror.summary)
            self._run.finish(exit_code=mirror.exit_code)
            if self.online and _gave_up(Path(self._run.settings.log_internal)):
                raise WandbError("the server refused the data")


def stop_client(timeout: float) -> None:
    """End wandb-core, so that the next run begins with a new one."""
    with suppress(WandbError), _bounded(timeout):
        wandb.teardown()
    os.environ.pop("WANDB_SERVICE", None)


def _settings(server: str | None, timeout: float) -> wandb.Settings:
    """Nothing captured but what is logged: no console, code, git, packages, machine or system metrics."""
    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        label_disable=True,
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


def _prepare_environment() -> None:
    """What the client reads from the environment alone."""
    os.environ.setdefault("WANDB_SILENT", "true")  # a sweep has its own output
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else it sends telemetry of its own
    service = os.environ.get("WANDB_SERVICE", "").split("-")  # version, pid, ...
    if service[1:2] != [str(os.getpid())]:
        os.environ.pop("WANDB_SERVICE", None)  # a parent's wandb-core, perhaps gone


def _has_credentials(server: str) -> bool:
    """Whether there is a key for the server in the environment or a netrc file; never asks for one."""
    # wandb.login() would do as well, but writes the server into the user's settings file
    return wbauth.authenticate_session(host=server, source="bitnet_sweep", prompt=False) is not None


def _gave_up(log: Path) -> bool:
    """Whether wandb-core stopped uploading, say at a 401, in which case finish() is content all the same."""
    return log.is_file() and '"level":"ERROR+4"' in log.read_text(errors="replace")


@contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    """Make one error of all that can go wrong in here, and end it if it takes too long."""
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                if child.name() == "wandb-core":
                    child.kill()

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    except WandbError:
        raise
    except (Exception, SystemExit) as error:  # teardown() exits if wandb-core ended badly
        if not expired.is_set():
            raise WandbError(" ".join(str(error).split()) or type(error).__name__) from error
    finally:
        timer.cancel()
    if expired.is_set():
        raise WandbError(f"no answer within {seconds:g} s")
