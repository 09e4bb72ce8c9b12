"""The site: short sentences, links that lead somewhere, and a reference that follows from the code."""

import dataclasses
import re
from pathlib import Path

import pytest

from bitnet_sweep.config import RunConfig
from bitnet_sweep.records import FIELDS, LOG_FIELDS
from docs.tools import links, reference, words
from tests.test_identity import EXPECTED, NEITHER

ROOT = Path(__file__).parent.parent
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md"))
KEYS = {key.name: key for key in reference.all_keys()}


def test_no_sentence_is_too_long_and_the_readme_is_short():
    assert list(words.faults()) == []


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("One two three. Four five!", [3, 2]),
        ("One two\nthree four. Five", [4, 1]),
        ("# A heading\n\nOne two:\n\n- three four\n- five", [2, 2, 1]),
        ("| a b | c |\n|---|---|\n| d. e | `f g h` |", [2, 1, 1, 1, 1]),
        ("One.\n\n    not a word of these\n\nTwo `three four` five.", [1, 3]),
        ("One.\n\n```sh\nnone of these\n```\n\nTwo [three four](a/b.md).", [1, 3]),
        ("Loss was 1.5 e.g. here. And <!-- nothing --> there.", [5, 2]),
        ("A sentence (in brackets. Two of them.) Then one.", [4, 3, 2]),
    ],
)
def test_words_of_sentences(text, lengths):
    counted = [len(words.words(sentence)) for sentence in words.sentences(text)]
    assert [count for count in counted if count] == lengths


@pytest.mark.parametrize("length", [35, 36])
def test_a_sentence_has_at_most_35_words(length, tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text("word " * length + "\n")
    (tmp_path / "README.md").write_text("word. " * 901)
    monkeypatch.setattr(words, "ROOT", tmp_path)
    faults = list(words.faults())
    assert faults[-1] == "README.md: 901 words; at most 900"
    assert len(faults) == 1 + (length > 35)


def test_every_key_has_a_meaning():
    assert [key.name for key in KEYS.values() if not key.about.strip()] == []
    groups = {f.name for f in dataclasses.fields(RunConfig)}
    assert {name.partition(".")[0] for name in KEYS} == groups


def test_which_keys_make_another_run():
    """As tests/test_identity.py finds by changing each."""
    for name, changes in EXPECTED.items():
        assert KEYS[name].computes is (changes is not NEITHER), name


def test_the_tables_have_every_key_and_every_field():
    told = reference.key_tables()
    assert sorted(re.findall(r"^\| `([\w.]+)` \|", told, re.MULTILINE)) == sorted(KEYS)
    fields = re.findall(r"^\| `([\w./]+)` \|", reference.record_tables(), re.MULTILINE)
    assert sorted(fields) == sorted(FIELDS)
    page = (ROOT / "docs" / "reference" / "records.md").read_text()
    assert re.findall(r"^\| `([\w./]+)` \| (.+) \|$", page, re.MULTILINE) == list(LOG_FIELDS.items())


@pytest.mark.parametrize("name", ["model.hidden", "optimizer.clip", "precision", "track.name"])
def test_a_row(name):
    rows = {
        "model.hidden": ("whole number", "256"),
        "optimizer.clip": ("number or null", "1"),
        "precision": ("`fp32`, `mixed`", "mixed"),
        "track.name": ("`wandb`, `none`", "wandb"),
    }
    assert (KEYS[name].kind, KEYS[name].default) == rows[name]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *PAGES, "experiments/README.md"])
def test_links_lead_somewhere(page):
    faults: list[str] = []
    text = (ROOT / page).read_text()
    links.for_the_site(text, page, None, faults.append)
    assert faults == []


@pytest.mark.parametrize(
    ("page", "link", "turned"),
    [
        ("docs/reports.md", "[a](claims.md#x)", "[a](claims.md#x)"),
        ("docs/reports.md", "[a](../experiments/README.md)", "[a](experiments/README.md)"),
        ("docs/reference/keys.md", "[a](../sweeps.md)", "[a](../sweeps.md)"),
        ("experiments/README.md", "![a](../docs/img/headline.svg)", "![a](../img/headline.svg)"),
        ("experiments/bench/README.md", "[a](../../docs/clusters.md#b)", "[a](../../clusters.md#b)"),
        ("docs/limits.md", "[a](../CONTRIBUTING.md)", "a (`CONTRIBUTING.md`)"),
        ("docs/limits.md", "[a](https://b.c/d)", "[a](https://b.c/d)"),
    ],
)
def test_a_link_of_the_repository_in_the_site(page, link, turned):
    faults: list[str] = []
    assert links.for_the_site(link, page, None, faults.append) == turned
    assert faults == []


def test_a_link_out_of_the_site_goes_to_the_published_repository():
    text = links.for_the_site("[a](../Makefile)", "docs/limits.md", "https://host/us/it/", print)
    assert text == "[a](https://host/us/it/blob/main/Makefile)"


def test_a_link_to_nothing_is_told():
    faults: list[str] = []
    links.for_the_site("[a](gone.md)", "docs/limits.md", None, faults.append)
    assert faults == ["docs/limits.md: a link to gone.md, which is not there"]
