"""What is asked of the words of README.md and docs/: short sentences, and a README that stays short.

python -m docs.tools.words
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
LONGEST_SENTENCE = 35
"""Words."""
LONGEST_README = 900
"""Words as `wc -w` counts them, code and tables among them."""

_ABBREVIATIONS = re.compile(r"\b(e\.g|i\.e|et al|vs)\.")


def pages() -> list[Path]:
    """README.md, every page of the site that is written by hand here, and the one about the studies."""
    return [
        ROOT / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *ROOT.glob("experiments/README.md"),
    ]


def without_code(text: str) -> str:
    """The text without code blocks and comments, and short code and links as the words a reader meets."""
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"^( *)```.*?^\1```$", "\n", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"(?<=\n\n)(?:(?: {4}|\t).*\n|\n(?= {4}|\t))+", "\n", text)
    text = re.sub(r"`[^`]*`", "CODE", text)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)


def words(text: str) -> list[str]:
    """What a reader counts as words."""
    return re.findall(r"[\w'\u2019]+(?:[-.,/]\w+)*", text)


def sentences(text: str) -> Iterator[str]:
    """Each sentence; a cell of a table and an item of a list are by themselves, headings are left out."""
    text = _ABBREVIATIONS.sub(r"\1", without_code(text))
    text = re.sub(r"^(#+ .*|[-*] |\d+\. |>)", r"\n\1", text, flags=re.MULTILINE)
    text = re.sub(r"^(\s*)(?:[-*]|\d+\.) ", r"\n\1", text, flags=re.MULTILINE)
    blocks = re.split(r"\n\s*\n|^#.*$|\|", text, flags=re.MULTILINE)
    for block in blocks:
        yield from filter(None, (s.strip() for s in re.split(r"(?<=[.!?])[)\"*_]*\s+", block)))


def faults() -> Iterator[str]:
    """One line for each sentence that is too long, and for a README that is."""
    for page in pages():
        for sentence in sentences(page.read_text(encoding="utf-8")):
            if (count := len(words(sentence))) > LONGEST_SENTENCE:
                yield f"{page.relative_to(ROOT)}: a sentence of {count} words: {' '.join(sentence.split())}"
    if (count := len((ROOT / "README.md").read_text(encoding="utf-8").split())) > LONGEST_README:
        yield f"README.md: {count} words; at most {LONGEST_README}"


def main() -> int:
    """Print every fault; 1 where there is one."""
    found = list(faults())
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
