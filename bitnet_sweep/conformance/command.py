"""``python -m bitnet_sweep.parts check``: the checks of one part, each finding in a line."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import yaml

from bitnet_sweep.config import ConfigError
from bitnet_sweep.conformance.other_parts import (
    data_checks,
    metric_checks,
    model_checks,
    optimizer_checks,
    schedule_checks,
    task_checks,
)
from bitnet_sweep.conformance.quantiser import quantiser_checks
from bitnet_sweep.own_code import in_a_line
from bitnet_sweep.parts import Part, parts_in, registered_by


def main(words: Sequence[str]) -> int:
    """Check one part, tell each finding in a line, and return the exit status: 1 where one of them fails."""
    parser = argparse.ArgumentParser(prog="python -m bitnet_sweep.parts")
    parser.add_argument("check", choices=["check"])
    parser.add_argument("part", metavar="MODULE:FACTORY", help="such as my_package:Mine")
    parser.add_argument("options", nargs="*", metavar="OPTION=VALUE", help="options of the part")
    told = parser.parse_args(words)
    try:
        part = part_at(told.part)
        options = dict(_option(word) for word in told.options)
        part.options_of(options, "option")
        checks = _CHECKS.get(part.kind)
        if checks is None:
            raise ConfigError("check", told.part, f"is a {part.kind}; allowed: {', '.join(_CHECKS)}")
    except ConfigError as error:
        print(f"bitnet_sweep.parts: {error}", file=sys.stderr)
        return 2
    failed = 0
    for name, finding, is_sound in findings(part, options, checks(part, options)):
        failed += not is_sound
        print(f"{'ok  ' if is_sound else 'FAIL'}  {name}: {finding}", flush=True)
    version = "built in" if part.is_built_in else f"version {part.version}"
    print(
        f"{part.kind} {part.name}, {version}: {f'{failed} checks failed' if failed else 'every check passed'}"
    )
    return int(failed > 0)


def part_at(place: str) -> Part:
    """The part whose factory stands at ``module:attribute``.

    Raises:
        ConfigError: there is no such factory, or nothing registers it.
    """
    module, _, attribute = place.partition(":")
    try:
        imported = importlib.import_module(module)
    except (ImportError, ValueError) as error:
        raise ConfigError("check", place, f"cannot be imported ({error}); allowed: module:factory") from error
    except Exception as error:  # whatever its author's code raises
        raise ConfigError("check", place, f"its import fails: {in_a_line(error)}") from error
    found = registered_by(getattr(imported, attribute, None))
    if found is None:
        parts = ", ".join(f"{module}:{name} ({part.kind} {part.name})" for name, part in parts_in(module))
        told = f"module {module} registers {parts or 'none (bitnet_sweep.parts.register)'}"
        raise ConfigError("check", place, f"is no part; {told}")
    return found


def findings(
    part: Part, options: dict[str, Any], checks: dict[str, Callable[[], str]]
) -> Iterator[tuple[str, str, bool]]:
    """The name of each check, what it found, and whether that is as it should be."""
    for name, check in checks.items():
        try:
            yield name, check(), True
        except AssertionError as error:  # what the check found
            yield name, " ".join(str(error).split()), False
        except Exception as error:  # a part may fail in any way
            yield name, in_a_line(error), False


def _option(word: str) -> tuple[str, Any]:
    name, equals, text = word.partition("=")
    if not equals:
        raise ConfigError("option", word, "is written OPTION=VALUE")
    return name, yaml.safe_load(text)


_CHECKS = {
    "quantiser": quantiser_checks,
    "optimizer": optimizer_checks,
    "model": model_checks,
    "schedule": schedule_checks,
    "data": data_checks,
    "task": task_checks,
    "metric": metric_checks,
}
