"""Prints the lowest versions that pyproject.toml allows, one requirement a line, for ``make test-lowest``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
EXTRAS = ("gpt2", "dashboard", "dev")  # what `make setup` installs


def pinned(requirement: str) -> str | None:
    """``numpy>=1.26`` as ``numpy==1.26``; None for a requirement without a lower bound."""
    found = re.match(r"([\w.\[\]-]+)\s*(?:>=|==)\s*([\w.]+)", requirement)
    return f"{found[1]}=={found[2]}" if found else None


def lowest(extras: Iterable[str] = EXTRAS) -> list[str]:
    """Every dependency of the project and of those extras at its lower bound."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    groups = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    pins = (pinned(requirement) for group in groups for requirement in group)
    return [pin for pin in pins if pin]


if __name__ == "__main__":
    print("\n".join(lowest()))
