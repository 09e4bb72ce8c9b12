"""A grid as it was typed: the values of every key, zipped, combined, and thinned out into points."""

from __future__ import annotations

import logging
import math
import random
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain, product
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep, Transformer
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bitnet_sweep.config import ConfigError, RunConfig, SweepConfig, plain, value_of
from bitnet_sweep.explain import as_config_error


@dataclass(frozen=True)
class Setting:
    """``key=value`` at a point of the grid."""

    key: str
    """A dotted key or a group, with Hydra's prefixes (``+``, ``++``, ``~``) and package if there are any."""
    value: Any
    text: str
    """The two as a command line has them."""


Point = tuple[Setting, ...]
Axes = dict[str, list[Setting]]
"""The values of each key, one or several, in the order of the command line."""
Compose = Callable[[Point], RunConfig]

GRID_KEYS = tuple(f"sweep.{name}" for name in ("exclude", "zip", "bisect", "until", "tolerance"))
"""What says which points there are; the points themselves do not carry it."""

EXPERIMENT = "experiment"
"""The group whose choice may hold a grid of its own."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Grid:
    """The points to train, and those left out."""

    points: list[tuple[Point, RunConfig]]
    excluded: list[str]
    """The overrides of each point that ``sweep.exclude`` leaves out."""


def read_axes(overrides: Sequence[Override], parser: OverridesParser) -> Axes:
    """The axes of parsed overrides; the last word on a key counts.

    Raises:
        HydraException: a sweep that cannot be enumerated, such as ``interval(0,1)``.
        ConfigError: a setting of the sweep itself is swept, or experiments, which hold one each; or a range
            holds nothing.
    """
    axes: Axes = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            text = f"{key}={override.get_value_element_as_str()}"
            axes[key] = [Setting(key, override.value(), text)]
            continue
        if not override.is_discrete_sweep():
            raise HydraException(f"{override.input_line}: an interval has no values to enumerate")
        if key.lstrip("+").startswith("sweep.") or key == EXPERIMENT:
            raise ConfigError(key, override.get_value_string(), "takes one value for the whole sweep")
        axes[key] = [_setting(key, element, parser) for element in _elements(override)]
        if not axes[key]:
            raise ConfigError(key, override.get_value_string(), "has no values")
    return axes


def _elements(override: Override) -> Iterable[Any]:
    """The values of a sweep, each number as it was typed.

    Hydra counts ``range(0,0.05,0.01)`` in binary, on to 0.030000000000000002, which would be another run than
    the 0.03 that is typed alone. Here it is counted in decimals.
    """
    counted = override.value()
    if not isinstance(counted, RangeSweep):
        return override.sweep_iterator()
    if counted.step == 0:
        raise ConfigError(override.get_key_element(), override.get_value_string(), "its step must not be 0")
    if isinstance(counted.range(), range):
        return override.sweep_iterator()
    # to sort, Hydra adds the step in binary: what it adds to 0.1 + 0.2 lies behind the 15th digit
    written = "{:.15g}".format if "sort(" in str(override.input_line) else repr
    start, stop, step = (Decimal(written(end)) for end in (counted.start, counted.stop, counted.step))
    values = [float(start + i * step) for i in range(max(0, math.ceil((stop - start) / step)))]
    if counted.shuffle:
        random.shuffle(values)
    return values


def _setting(key: str, element: Any, parser: OverridesParser) -> Setting:
    text = f"{key}={Transformer.str(element)}"
    is_number = isinstance(element, bool | int | float)  # parsing each of 10,000 seeds takes seconds
    return Setting(key, element if is_number else parser.parse_override(text).value(), text)


def make_grid(axes: Axes, settings: SweepConfig, compose: Compose) -> Grid:
    """Every combination of the axes that is not excluded, resolved.

    Raises:
        ConfigError: a point cannot be trained, an exclusion names no key, or no point is left.
    """
    points = combine({key: values for key, values in axes.items() if key not in GRID_KEYS}, settings.zip)
    exclusions = read_exclusions(settings.exclude)
    kept: list[tuple[Point, RunConfig]] = []
    excluded: list[str] = []
    used: set[int] = set()
    for point in points:
        config = compose(point)
        holding = [i for i, exclusion in enumerate(exclusions) if holds(exclusion, config)]
        used.update(holding)
        if holding:
            excluded.append(shlex.join(overrides_of(point)))
        else:
            kept.append((point, config))
    if not kept:
        raise ConfigError("sweep.exclude", settings.exclude, "leaves no point of the grid")
    for i, said in enumerate(settings.exclude):
        if i not in used:  # no error: a part of an experiment's grid leaves some of them nothing to do
            log.warning("sweep.exclude: %s holds at no point", plain(said))
    return Grid(kept, excluded)


def overrides_of(point: Point) -> tuple[str, ...]:
    """The point as a command line has it."""
    return tuple(setting.text for setting in point)


def combine(axes: Axes, zipped: Sequence[str | Sequence[str]]) -> list[Point]:
    """The product of the axes, in which zipped ones advance together.

    Args:
        axes: values by key.
        zipped: keys that advance together; or several such lists, each of which is combined with the others.

    Raises:
        ConfigError: a zipped key has no values here, not as many as the others, or is zipped twice.
    """
    group_of: dict[str, tuple[str, ...]] = {}
    for group in _groups(zipped):
        for key in group:
            if key not in axes or key in group_of:
                reason = "is zipped twice" if key in group_of else "has no values to zip"
                raise ConfigError("sweep.zip", key, f"{reason}; allowed: {', '.join(axes)}, each once")
            group_of[key] = group
        if len({len(axes[key]) for key in group}) > 1:
            counts = ", ".join(f"{key} has {len(axes[key])}" for key in axes if key in group)
            raise ConfigError("sweep.zip", f"[{','.join(group)}]", f"must have equally many values: {counts}")
    together = dict.fromkeys(
        tuple(other for other in axes if other in group_of.get(key, (key,))) for key in axes
    )
    factors = [list(zip(*(axes[key] for key in keys), strict=True)) for keys in together]
    return [tuple(chain.from_iterable(parts)) for parts in product(*factors)]


def _groups(zipped: Sequence[str | Sequence[str]]) -> list[tuple[str, ...]]:
    lists = [tuple(each) for each in zipped if not isinstance(each, str)]
    keys = tuple(each for each in zipped if isinstance(each, str))
    return [*lists, keys] if keys else lists


def read_exclusions(exclude: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Conditions with their values as the config holds them, so that ``optimizer.name: adamw`` can hold.

    Raises:
        ConfigError: a key the config does not have, or a value it cannot have.
    """
    schema: DictConfig = OmegaConf.structured(RunConfig)
    exclusions = []
    for conditions in exclude:
        try:
            exclusions.append({key: typed_value(schema, key, value) for key, value in conditions.items()})
        except OmegaConfBaseException as error:
            raise ConfigError("sweep.exclude", conditions, str(as_config_error(error))) from error
    return exclusions


def typed_value(schema: DictConfig, key: str, value: Any) -> Any:
    """``value`` as the field ``key`` of the config would hold it; it stays in ``schema``.

    Raises:
        OmegaConfBaseException: there is no such field, or it cannot hold the value.
    """
    OmegaConf.update(schema, key, value)
    held = OmegaConf.select(schema, key)
    return OmegaConf.to_object(held) if OmegaConf.is_config(held) else held


def holds(conditions: Mapping[str, Any], config: RunConfig) -> bool:
    return all(_value(config, key) == value for key, value in conditions.items())


def _value(config: RunConfig, key: str) -> Any:
    try:
        return value_of(config, key)
    except KeyError:  # an option of another part than this run's
        return None
