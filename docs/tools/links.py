"""Links of pages: written for the repository, so that they work there, and turned into links of the site.

The site holds docs/ at its root and the texts and pictures of experiments/ under the same name.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
STUDIES = "experiments"
SHOWN = {".md", ".svg", ".png"}
"""What of experiments/ the site holds; stores and tables stay in the repository."""

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def study_files() -> Iterator[str]:
    """Paths in the repository of what the site shows of the studies."""
    for path in sorted((ROOT / STUDIES).rglob("*")):
        if path.suffix in SHOWN:
            yield path.relative_to(ROOT).as_posix()


def repository_path(site_path: str) -> str:
    """Where a page of the site lies in the repository."""
    return site_path if site_path.startswith(f"{STUDIES}/") else f"docs/{site_path}"


def site_path(repository_path: str) -> str | None:
    """Where a file of the repository lies in the site; None where it does not."""
    if repository_path.startswith("docs/"):
        return repository_path.removeprefix("docs/")
    path = Path(repository_path)
    return repository_path if path.parts[0] == STUDIES and path.suffix in SHOWN else None


def for_the_site(text: str, page: str, repository_url: str | None, complain: Callable[[str], None]) -> str:
    """The text of a page with its relative links turned.

    Args:
        text: Markdown.
        page: its path in the repository.
        repository_url: where files are linked to that the site does not hold; None: they are named instead.
        complain: told of each link to nothing.
    """
    folder = posixpath.dirname(page)
    here = posixpath.dirname(site_path(page) or page)

    def turned(found: re.Match[str]) -> str:
        bang, label, target, anchor = found[1], found[2], found[3], found[4] or ""
        if re.match(r"[a-z]+:", target):
            return found[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if not (ROOT / path).exists():
            complain(f"{page}: a link to {target}, which is not there")
            return found[0]
        if (inside := site_path(path)) is not None:
            return f"{bang}[{label}]({posixpath.relpath(inside, here or '.')}{anchor})"
        if repository_url:
            return f"{bang}[{label}]({repository_url.rstrip('/')}/blob/main/{path}{anchor})"
        return label if path in label else f"{label} (`{path}`)"

    return _LINK.sub(turned, text)
