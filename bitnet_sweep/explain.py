"""One line for whatever Hydra or OmegaConf found wrong: the key, its value, what is allowed."""

from __future__ import annotations

import re
import typing
from typing import Any

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from bitnet_sweep.config import OPTIONS, ConfigError, Knot, RunConfig, Stage, guess
from bitnet_sweep.parts import KINDS
from bitnet_sweep.roles import types_of, words_for

_PLACES: dict[Any, str] = {Stage: "stages[?].", Knot: "stages[?].lr[?]."}
"""OmegaConf forgets where an element of a list stands; its type is what is left."""


def as_config_error(error: Exception) -> ConfigError:
    """The ConfigError that says what ``error`` means to the person who typed the command."""
    if isinstance(error, ConfigError):
        return error
    chain = _chain(error)
    for cause in reversed(chain):
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            return _of_key(_place(cause) + str(cause.full_key), cause)
        if isinstance(cause, MissingConfigException) and cause.options is not None:
            group, _, choice = str(cause.missing_cfg_file).rpartition("/")
            told = f"no such choice; {guess(choice, cause.options)}allowed: {', '.join(cause.options)}"
            more = "; one of your own is found by plugins=[its_package] or its entry point"
            return ConfigError(group, choice, told + (more if group in KINDS else ""))
        if isinstance(cause, OverrideParseException):
            return _unreadable(cause.override)
        if several := re.match(r"Ambiguous value for argument '(.*?)=(.*)'$", str(cause).partition("\n")[0]):
            return ConfigError(
                several[1], several[2], f"several values need -m; a list is written [{several[2]}]"
            )
    return ConfigError("command line", "?", _one_line(chain[-1]))


def _unreadable(override: str) -> ConfigError:
    """A word that is no override by Hydra's grammar."""
    key, equals, value = override.partition("=")
    if not equals:
        return ConfigError(key, "?", "is written key=value")
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return ConfigError(
        key, value, f"is no value by Hydra's grammar; text is best quoted: '{key}=\"{quoted}\"'"
    )


def _chain(error: BaseException) -> list[BaseException]:
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return chain


def _place(cause: OmegaConfBaseException) -> str:
    if str(cause.full_key).startswith("stages"):
        return ""
    is_list_of_knots = typing.get_args(cause.ref_type) == (Knot,)
    return _PLACES.get(Stage if is_list_of_knots else cause.object_type, "")


def _of_key(key: str, cause: OmegaConfBaseException) -> ConfigError:
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        parent, _, name = key.rpartition(".")
        siblings = list(types_of(type_of(parent))) or _keys_of_node(cause)
        if parent == "optimizer.options" and not siblings:  # of a class of torch they are one value
            told = f"beside optimizer=torch it is given with its mapping: '{parent}={{{name}:VALUE}}'"
            return ConfigError(key, "?", told)
        near = guess(name, siblings, parent)
        of_parts = [own for own in ("optimizer.options", *OPTIONS) if own.rpartition(".")[0] == parent]
        if parent and of_parts and not near:
            near = f"an option of a part is {' or '.join(f'{own}.{name}' for own in of_parts)}; "
        return ConfigError(key, "?", f"no such key; {near}allowed: {', '.join(siblings)}")
    value = re.search(r"[Vv]alue '(.*?)'", str(cause))
    kind, example = type_of(key), ""
    if kind == list[str]:
        example = f", in brackets: '{key}=[ONE,OTHER]'"
    return ConfigError(key, value[1] if value else "?", f"must be {words_for(kind)}{example}")


def type_of(key: str) -> Any:
    """The annotated type behind a dotted key of RunConfig; None where there is none."""
    here: Any = RunConfig
    for part in filter(None, re.sub(r"\[(\d+|\?)\]", ".*", key).split(".")):
        if part == "*":
            here = typing.get_args(here)[0] if typing.get_args(here) else None
        else:
            here = types_of(here).get(part)
    return here


def _keys_of_node(cause: OmegaConfBaseException) -> list[str]:
    """Those of a node that is none of ours, such as ``hydra.launcher``."""
    node = cause.parent_node
    return [str(key) for key in node] if isinstance(node, DictConfig) else []


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
