"""``bitnet-sweep prove OVERRIDES``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from bitnet_sweep.compose import Conf, sweep_settings
from bitnet_sweep.config import ConfigError, RunConfig
from bitnet_sweep.explain import as_config_error
from bitnet_sweep.prove.shorten import shortened
from bitnet_sweep.prove.trainings import LEARNING_RATE, ProofError, Trained, trained, ways_of
from bitnet_sweep.records import LOG_LR
from bitnet_sweep.sweep.grid import make_grid

EXIT_DIFFERS = 1


def proved(words: Sequence[str], steps: int) -> int:
    """Train in several ways, and tell each as it is done; the exit status.

    Args:
        words: overrides, as of ``bitnet-sweep run``.
        steps: of the run that is trained.

    Raises:
        ConfigError: the config cannot be trained; nothing has started.
    """
    try:
        config = shortened(_config_of(words), steps)
    except (HydraException, OmegaConfBaseException) as error:
        raise as_config_error(error) from error
    lengths = " + ".join(str(stage.steps) for stage in config.stages)
    ways = ways_of(config)
    processes = sum(len(way.lives) for way in ways)
    print(
        f"{config.steps} steps in stages of {lengths}, trained in {len(ways)} ways by {processes} processes",
        flush=True,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing is left behind then, either
    is_equal = True
    try:
        for each in trained(config, ways):
            print("\n".join(_lines(each)), flush=True)
            is_equal &= each.comparison is None or each.comparison.is_equal
    except ProofError as error:
        print(f"bitnet_sweep: {error}", file=sys.stderr)
        return EXIT_DIFFERS
    print("Proved: it repeats, forks and resumes." if is_equal else "Not proved: see what differs above.")
    return 0 if is_equal else EXIT_DIFFERS


def _lines(done: Trained) -> Iterator[str]:
    name, compared = f"{done.way.name} ({done.seconds:.0f} s)", done.comparison
    if compared is None:
        yield f"{name}: trained"
    elif compared.is_equal:
        yield f"{name}: equal bit for bit ({compared})"
    else:
        yield f"{name}: DIFFERS from the straight training"
        yield from (f"  {line}" for line in compared.differences)
        yield "  usual causes:"
        causes = done.way.causes if LOG_LR not in compared.fields else (LEARNING_RATE, *done.way.causes)
        yield from (f"  - {cause}" for cause in causes)


def _config_of(words: Sequence[str]) -> RunConfig:
    """The one config that the words stand for."""
    conf = Conf.of(words)
    axes = conf.axes()
    for key, values in axes.items():
        if len(values) > 1:
            told = ",".join(setting.text.partition("=")[2] for setting in values)
            raise ConfigError(key, told, "prove trains one config: give it one value")
    ((_, config),) = make_grid(axes, sweep_settings(axes, conf.load), conf.composer()).points
    return config
