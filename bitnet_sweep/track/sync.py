"""``python -m bitnet_sweep.track.sync STORE``: upload to W&B what the server does not have yet.

Each run is sent from the store's records, from the first step the server lacks: a run that was offline,
killed, rebuilt or half uploaded has each step once. Exit status: 0 everything is uploaded (runs in
training apart), 1 something failed, 2 there is no such store.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bitnet_sweep.config import MAX_TIMEOUT_SECONDS, ConfigError
from bitnet_sweep.paths import expanded
from bitnet_sweep.pipes import until_unread
from bitnet_sweep.store import Store, check_is_no_archive, check_is_store
from bitnet_sweep.store.asked_runs import sweeps_of_runs
from bitnet_sweep.store.lease import HeldError, lease
from bitnet_sweep.track.mirror import SUFFIX, Mirror, mark_uploaded
from bitnet_sweep.track.wandb_run import WandbRun
from bitnet_sweep.wandb_client import NoAnswerError, WandbError, open_api, stop_client
from bitnet_sweep.wandb_environment import set_variable
from bitnet_sweep.wandb_names import sweep_tag

MAX_FAILURES = 2
"""In a row; then it is the server, not the run, and the rest is left for another time."""


def upload(path: Path, timeout: float, sweeps: Sequence[str] = ()) -> Mirror:
    """Upload one run, given its mirror's file; one that is uploaded already costs nothing.

    Args:
        path: of the mirror's file.
        timeout: the longest wait for the server, seconds.
        sweeps: that asked for the run; those that came after the run was mirrored give it their tags.

    Raises:
        HeldError: the run is being trained.
        WandbError, OSError, ValueError, TypeError: it is not uploaded, or not known to be.
    """
    wandb_folder = path.parent
    folder = Store(wandb_folder.parent).run(path.name.removesuffix(SUFFIX))
    if not folder.records_path.is_file():
        raise FileNotFoundError(f"{folder.records_path} is gone")
    with lease(folder.path), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        mirror = Mirror.load(path)
        new = [tag for tag in map(sweep_tag, sweeps) if tag not in mirror.tags]
        if mirror.uploaded and not new:
            return mirror
        mirror.tags += new
        track = mirror.config["track"]
        server = set_variable("WANDB_BASE_URL") or track["base_url"]
        _contact(server, track["entity"])
        run = WandbRun(mirror, Path(scratch), server=server, timeout=timeout)
        run.replay(folder.records(), folder.samples(), folder.log())
        run.finish(mirror)
        mirror.uploaded = True
        mirror.save(wandb_folder)
        mark_uploaded(wandb_folder, mirror.run_id)
    return mirror


@functools.cache
def _contact(server: str, entity: str | None) -> None:
    """Once for each server: asked for a run, the client tries for as long as it may (a minute).

    Raises:
        WandbError: the server does not answer, or refuses the key.
    """
    try:
        open_api(server, entity)
    except NoAnswerError as error:
        raise NoAnswerError(f"{server}: {error}") from error


def sync(store: Path, timeout: float) -> int:
    """Upload all runs of a store, saying what became of each; the exit status."""
    try:
        check_is_no_archive("STORE", store)
        check_is_store(store)
    except ConfigError as error:
        print(f"bitnet_sweep.track.sync: {error}", file=sys.stderr)
        return 2
    asked = sweeps_of_runs(Store(store))
    paths = sorted((store / "wandb").glob(f"*{SUFFIX}"))
    uploaded = training = failed = in_a_row = 0
    for path in paths:
        if in_a_row == MAX_FAILURES:
            break
        try:
            mirror = upload(path, timeout, asked.get(path.name.removesuffix(SUFFIX), ()))
        except HeldError:
            training += 1
        except (WandbError, OSError, ValueError, TypeError) as error:
            print(f"{path.name.removesuffix(SUFFIX)}: not uploaded: {error}", file=sys.stderr)
            failed += 1
            in_a_row = MAX_FAILURES if isinstance(error, NoAnswerError) else in_a_row + 1
            stop_client(timeout)
        else:
            print(f"{mirror.run_id}: {mirror.name}")
            uploaded, in_a_row = uploaded + 1, 0
    left = len(paths) - uploaded - training
    print(f"{uploaded} of {len(paths)} runs are uploaded, {training} still in training, {left} left")
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m bitnet_sweep.track.sync",
        description="Upload to W&B every run of a store that the server does not have yet.",
        epilog="Each run goes to the server and project of its config; WANDB_BASE_URL overrides the server.",
    )
    parser.add_argument("store", type=expanded, metavar="STORE", help="folder of the store, such as runs")
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="longest wait for a run (60)"
    )
    arguments = parser.parse_args(argv)
    if not 0 < arguments.timeout < MAX_TIMEOUT_SECONDS:
        parser.error(f"--timeout must be greater than 0 and less than {MAX_TIMEOUT_SECONDS:g}")
    return sync(arguments.store, arguments.timeout)


if __name__ == "__main__":
    sys.exit(until_unread(main))
