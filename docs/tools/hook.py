"""What mkdocs calls while it builds the site."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent.parent.parent))  # mkdocs loads this file by its path

from docs.tools import links, reference

log = logging.getLogger("mkdocs.hooks.bitnet_sweep")
"""A warning here ends a strict build."""

_MADE = {"<!-- keys -->": reference.key_tables, "<!-- fields -->": reference.record_tables}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The studies join the pages."""
    for path in links.study_files():
        files.append(File.generated(config, path, abs_src_path=str(links.ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Tables that follow from the code; links as the site needs them."""
    for mark, make in _MADE.items():
        if mark in markdown:
            markdown = markdown.replace(mark, make())
    path = links.repository_path(page.file.src_uri)
    return links.for_the_site(markdown, path, config.repo_url, log.warning)
