"""The package that docs/extend.md writes down."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "extend.md").read_text()


def write_package(folder: Path) -> None:
    """Write each file of the package where the page says, below this folder."""
    files = re.findall(r"```(?:toml|python|yaml)\n# (stranger/\S+|pyproject.toml)\n(.*?)```", PAGE, re.DOTALL)
    assert len(files) == 10
    for name, text in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
