"""Many points, few compositions: a grid of 10,000 points in seconds instead of minutes.

Hydra takes about 50 ms to compose one config, nearly all of it for finding out which files the groups
choose. So each distinct choice of groups is composed once, by Hydra, and the plain values of a point are
put into the result. Whatever is not a plain value of a known key (``+key=``, ``~key``, ``group@package=``,
a dict, an interpolation, a mistake) is left to Hydra, errors included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.version import setbase
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from bitnet_sweep.app import config_folder, to_run_config
from bitnet_sweep.config import KNOBS, RunConfig, SweepConfig, built
from bitnet_sweep.doors import settled
from bitnet_sweep.own_code import note_plugins
from bitnet_sweep.stages import resolve
from bitnet_sweep.sweep.grid import Axes, Point, Setting, read_axes, typed_value
from bitnet_sweep.sweep.typed import check_as_typed

Load = Callable[[list[str]], DictConfig]
"""Hydra's composition of the config with these overrides, without its own ``hydra`` node."""


class Conf:
    """``conf/`` as a command line with ``-m`` finds it.

    Args:
        loader: Hydra's.
        master: the config of all that holds for every point, with its ``hydra`` node.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader = loader
        self._master = master

    @classmethod
    def of(cls, words: Sequence[str]) -> Conf:
        """As for a command line of these words; nothing of Hydra's own state is touched.

        Raises:
            HydraException: one of the words is wrong.
        """
        setbase("1.3")
        setup_globals()
        note_plugins(words)
        loader = ConfigLoaderImpl(config_search_path=create_config_search_path(str(config_folder())))
        master = loader.load_configuration("config", list(words), run_mode=RunMode.MULTIRUN)
        return cls(loader, master)

    @property
    def words(self) -> list[str]:
        """Those of the command line that are not Hydra's own, behind the grid that an experiment holds."""
        params = self._master.hydra.sweeper.params or {}
        return [*(f"{key}={values}" for key, values in params.items()), *self._master.hydra.overrides.task]

    def axes(self) -> Axes:
        """The values of each key of ``words``.

        Raises:
            ConfigError, HydraException: a word is wrong.
        """
        parser = OverridesParser.create(config_loader=self._loader)
        overrides = parser.parse_overrides(self.words)
        check_as_typed(overrides)
        return read_axes(overrides, parser)

    def load(self, overrides: list[str]) -> DictConfig:
        """See :data:`Load`."""
        config = self._loader.load_sweep_config(self._master, overrides)
        with open_dict(config):
            del config["hydra"]
        with suppress(OmegaConfBaseException):  # who reads the config says what is wrong with it
            OmegaConf.to_container(config, resolve=True)
            # Every later composition, the jobs' too, begins with this cache: one ${now:...} for all of them.
            OmegaConf.copy_cache(from_config=config, to_config=self._master)
        return config

    def composer(self) -> Composer:
        """What makes the config of each point."""
        return Composer(self.load, lambda key: bool(self._loader.get_group_options(key)))


def sweep_settings(axes: Axes, load: Load) -> SweepConfig:
    """The sweep's own settings: from whatever holds for every point.

    Raises:
        ConfigError: one of them is wrong.
        HydraException: one of the values for every point is wrong.
    """
    config = load([values[0].text for values in axes.values() if len(values) == 1])
    settings = OmegaConf.to_object(config.sweep)
    assert isinstance(settings, SweepConfig), "the schema makes SweepConfigs"
    return settings


class Composer:
    """Resolved configs of points; call it."""

    def __init__(self, load: Load, is_group: Callable[[str], bool]) -> None:
        self._load = load
        self._is_group = is_group
        self._group_keys: dict[str, bool] = {}
        self._bases: dict[tuple[str, ...], _Base | None] = {}

    def __call__(self, point: Point) -> RunConfig:
        """The config of a point.

        Raises:
            ConfigError, HydraException: the point cannot be trained.
        """
        groups = tuple(setting.text for setting in point if self._chooses(setting))
        if groups not in self._bases:
            self._bases[groups] = _base_of(self._load, list(groups))
        base = self._bases[groups]
        if base is not None:
            values = base.values([setting for setting in point if not self._chooses(setting)])
            if values is not None:
                return resolve(settled(built(RunConfig, base.typed | values)))
        return to_run_config(self._load([setting.text for setting in point]))

    def _chooses(self, setting: Setting) -> bool:
        known = self._group_keys.get(setting.key)
        if known is None:
            known = self._group_keys[setting.key] = self._is_group(setting.key)
        return known


@dataclass
class _Base:
    """One choice of groups, composed."""

    schema: DictConfig
    """Typed; where values take the type of their field."""
    typed: dict[str, Any]
    """Its values by key, typed but not yet checked: a point's own values may mend them."""
    converted: dict[str, Any] = field(default_factory=dict)
    """Values that have been converted already, by their text."""

    def values(self, settings: list[Setting]) -> dict[str, Any] | None:
        """The settings as typed values by key; None if Hydra has to see to one of them."""
        values: dict[str, Any] = {}
        for setting in settings:
            if setting.text not in self.converted:
                if not _is_plain(setting):
                    return None
                try:
                    self.converted[setting.text] = typed_value(self.schema, setting.key, setting.value)
                except OmegaConfBaseException:
                    return None
            values[setting.key] = self.converted[setting.text]
        return values


def _base_of(load: Load, groups: list[str]) -> _Base | None:
    """None where a value of the point could change more of the config than its own field."""
    try:
        config = load(groups)
        if _depends_on_values(OmegaConf.to_container(config)):
            return None
        schema = OmegaConf.merge(
            OmegaConf.structured(RunConfig), OmegaConf.to_container(config, resolve=True)
        )
    except (HydraException, OmegaConfBaseException):
        return None
    assert isinstance(schema, DictConfig), "a merged dataclass"
    values = {key: OmegaConf.select(schema, key) for key in KNOBS}
    typed = {key: OmegaConf.to_object(v) if OmegaConf.is_config(v) else v for key, v in values.items()}
    return _Base(schema, typed)


_ENVIRONMENT = re.compile(r"\$\{(?:oc\.env|set_variable):[^${}]*\}")


def _depends_on_values(content: Any) -> bool:
    """Whether there is an interpolation of anything but the environment, or a value still missing."""
    if isinstance(content, dict):
        return any(_depends_on_values(value) for value in content.values())
    if isinstance(content, list):
        return any(_depends_on_values(value) for value in content)
    return isinstance(content, str) and ("${" in _ENVIRONMENT.sub("", content) or content == "???")


def _is_plain(setting: Setting) -> bool:
    """A value or list for a field of the config, that nothing else depends on."""
    return (
        setting.key in KNOBS
        and not isinstance(setting.value, dict)  # Hydra merges dicts into what is there
        and not _depends_on_values(setting.value)
    )
