"""``python -m bitnet_sweep``: one run, or with ``-m`` a sweep.

Exit status: 0 all runs finished (collapse and divergence are results), 1 a run failed, 2 the command or
its config is wrong (the last line names the key and what is allowed; nothing has started), 130 interrupted.
A closed pipe (``| head``) stops no training.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import get_args_parser
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from bitnet_sweep.app import config_folder, job
from bitnet_sweep.config import ConfigError, having
from bitnet_sweep.cpu import richest_allowed
from bitnet_sweep.explain import as_config_error
from bitnet_sweep.own_code import note_plugins
from bitnet_sweep.paths import expanded
from bitnet_sweep.pipes import go_on_unread
from bitnet_sweep.roles import Role
from bitnet_sweep.sweep.exits import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_WRONG,
    AloneError,
    FailedRunError,
    InterruptedRunError,
)


def main() -> None:
    """Run the command line; ends by SystemExit."""
    _keep_assertions()
    _look_here_last()
    go_on_unread()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until jobs listen for both themselves
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that errors reach the handlers below
    entry = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")
    try:
        richest_allowed()  # refused here, before anything has started
        sys.argv[1:] = _arranged(sys.argv[1:])
        note_plugins(sys.argv[1:])
        if {"--help", "-h"} & {*sys.argv[1:]}:
            list_groups_at_once()
        entry(job)()
    except AloneError as ended:
        sys.exit(_exit_status(ended.__cause__))
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(_exit_status(error))


def _keep_assertions() -> None:
    """Begin anew without ``-O``: Hydra's parser of ``[...]`` and ``range()`` steps on in assertions."""
    if __debug__:
        return
    is_set = os.environ.pop("PYTHONOPTIMIZE", None) is not None
    words = [w.replace("O", "") if re.fullmatch("-[A-Za-z]*O[A-Za-z]*", w) else w for w in sys.orig_argv[1:]]
    words = [word for word in words if word != "-"]
    if is_set or words != sys.orig_argv[1:]:  # else it would begin again and again
        os.execv(sys.executable, [sys.executable, *words])  # noqa: S606 - the same program


def _look_here_last() -> None:
    """Let no folder of the working directory, such as ``datasets/``, stand before a library of that name."""
    here = [path for path in sys.path if path in ("", str(Path.cwd()))]
    sys.path[:] = [*(path for path in sys.path if path not in here), *here]


def list_groups_at_once() -> None:
    """For its help Hydra copies all it has read for each group, twice: half of the time that help takes.

    The copy is for search paths that the primary config adds; ours adds none.
    """

    def options(
        self: ConfigLoaderImpl, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG
    ) -> list[str]:
        return self.repository.get_group_options(group_name, results_filter)

    ConfigLoaderImpl.get_group_options = options  # type: ignore[assignment]


_PATHS = (*(knob.key for knob in having(Role.path)), "hydra.launcher.folder")
_MODES = ("run", "multirun", "cfg", "info", "shell_completion")


def _arranged(words: Sequence[str]) -> list[str]:
    """The words with the flags first, as Hydra wants them, and ``~`` as its grammar takes it, in quotes.

    Raises:
        ConfigError: flags that exclude each other, or a file that is not there.
    """
    told = get_args_parser().parse_intermixed_args(words)
    modes = [f"--{name}" for name in _MODES if getattr(told, name)]
    if len(modes) > 1:
        raise ConfigError(" ".join(modes), "?", "one of these at a time")
    overrides, flags = list(told.overrides), []
    for word in words:
        if overrides and word == overrides[0]:
            del overrides[0]
        else:
            name, equals, value = word.partition("=")
            flags.append(f"{name}={expanded(value)}" if equals and value.startswith("~") else word)
    rerun = told.experimental_rerun
    if rerun is not None and not expanded(rerun).is_file():
        raise ConfigError("--experimental-rerun", rerun, "there is no such file")
    return [*flags, *map(_quoted_home, told.overrides)]


def _quoted_home(override: str) -> str:
    key = override.partition("=")[0].lstrip("+")
    return re.sub(r"""(?<=[=\[,])~[^,\[\]"']*""", r'"\g<0>"', override) if key in _PATHS else override


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
