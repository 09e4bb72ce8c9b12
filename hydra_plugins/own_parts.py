"""``optimizer=mine``: names of a user's parts, and YAML of a user's packages, as choices of the groups.

Hydra asks here last, behind ``conf/``. Hydra imports every plugin at start-up, so nothing heavy is imported
at the top.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

SCHEME = "parts"


class OwnPartsPath(SearchPathPlugin):
    """Puts :class:`OwnParts` behind ``conf/``."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra."""
        search_path.append(provider="bitnet_sweep.parts", path=f"{SCHEME}://")


class OwnParts(ConfigSource):
    """First the files in the folder ``conf`` of each package, then the names of registered parts."""

    @staticmethod
    def scheme() -> str:
        """What stands before ``://``."""
        return SCHEME

    def available(self) -> bool:
        """Always."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Only of the groups of ``conf/``: a package adds choices and no groups."""
        return config_path in _GROUPS

    def is_config(self, config_path: str) -> bool:
        """Whether a package has this file, or a part has this name.

        Raises:
            ConfigError: a package that should have it cannot be imported.
        """
        group = config_path.rpartition("/")[0]
        return group in _GROUPS and (
            _file(config_path) is not None or _entry(config_path.removesuffix(".yaml")) is not None
        )

    def load_config(self, config_path: str) -> ConfigResult:
        """The file, or what names the part in its group."""
        if (source := _file(config_path)) is not None:
            return source.load_config(config_path)
        entry = OmegaConf.create(_entry(config_path.removesuffix(".yaml")) or {})
        return ConfigResult(self.provider, f"{SCHEME}://", entry, {"package": None})

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """The names, for messages and ``glob``; nothing is imported for them."""
        from bitnet_sweep.parts import KINDS, names

        found = {
            name
            for source in _sources()
            if source.is_group(config_path)
            for name in source.list(config_path, results_filter)
        }
        kinds = [kind for kind in KINDS if kind == config_path and results_filter is not ObjectType.GROUP]
        found |= {name for kind in kinds for name in names(kind) if not _is_built_in(kind, name)}
        return sorted(found)


_GROUPS = ("data", "experiment", "model", "optimizer", "scale", "schedule", "tokenizer", "track")


def _sources() -> list[FileConfigSource]:
    from bitnet_sweep.own_code import yaml_folders

    return [FileConfigSource(package, str(folder)) for package, folder in yaml_folders().items()]


def _file(config_path: str) -> FileConfigSource | None:
    return next((source for source in _sources() if source.is_config(config_path)), None)


def _is_built_in(kind: Any, name: str) -> bool:
    from bitnet_sweep.parts import known

    part = known(kind, name)
    return part is not None and part.is_built_in


def _entry(config_path: str) -> dict[str, Any] | None:
    """What the group's file of a part would say; None where there is no such part."""
    from bitnet_sweep.doors import DOORS
    from bitnet_sweep.parts import offered

    group, _, name = config_path.rpartition("/")
    door = next((door for door in DOORS if door.kind == group), None)
    if door is None or _is_built_in(door.kind, name):
        return None
    part = offered(door.kind, name)
    if part is None:
        return None
    keys: dict[str, Any] = {"name": _NAMES.get(group, name), door.name.rpartition(".")[2]: name}
    if group == "optimizer":  # a mapping of any keys elsewhere; here Hydra knows those that the file has
        keys["options"] = _defaults(part.options)
    return keys


_NAMES = {"optimizer": "torch", "data": "own"}
"""What ``name`` is in the group of a part, where that is not its name."""


def _defaults(options: type | None) -> dict[str, Any]:
    from bitnet_sweep.config import plain

    fields = dataclasses.fields(options) if options is not None else ()
    found = {}
    for each in (each for each in fields if each.init):
        made = each.default_factory() if each.default_factory is not dataclasses.MISSING else each.default
        found[each.name] = "???" if made is dataclasses.MISSING else plain(made)
    return found
