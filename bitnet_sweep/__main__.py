"""``python -m bitnet_sweep``: one run, or with ``-m`` a sweep.

Exit status: 0 all runs finished (collapse and divergence are results), 1 a run failed, 2 the command or
its config is wrong (the last line names the key and what is allowed; nothing has started), 130 interrupted.
A closed pipe (``| head``) stops no training.
"""

from __future__ import annotations

import logging
import os
import signal
import sys

import hydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from bitnet_sweep.app import config_folder, job
from bitnet_sweep.config import ConfigError
from bitnet_sweep.cpu import richest_allowed
from bitnet_sweep.explain import as_config_error
from bitnet_sweep.pipes import go_on_unread
from bitnet_sweep.sweep.ending import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_WRONG,
    AloneError,
    FailedRunError,
    InterruptedRunError,
)


def main() -> None:
    """Run the command line; ends by SystemExit."""
    go_on_unread()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until jobs listen for both themselves
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that errors reach the handlers below
    entry = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")
    try:
        richest_allowed()  # refused here, before anything has started
        entry(job)()
    except AloneError as ended:
        sys.exit(_exit_status(ended.__cause__))
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(_exit_status(error))


def _exit_status(error: BaseException | None) -> int:
    """Say in a line what ended the command; what nobody foresaw is raised."""
    if isinstance(error, ConfigError | HydraException | OmegaConfBaseException):
        return _say(as_config_error(error), EXIT_WRONG)
    if isinstance(error, InterruptedRunError | KeyboardInterrupt):
        return _say("interrupted; the same command goes on from here", EXIT_INTERRUPTED)
    if isinstance(error, FailedRunError | OSError):  # a full disk, for example
        return _say(error, EXIT_FAILED)
    assert error is not None, "an AloneError has a cause"
    raise error


def _say(message: object, status: int) -> int:
    print(f"bitnet_sweep: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
