"""``tokenizer=file``: a tokenizer.json that another program saved."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from bitnet_sweep.config import ConfigError, DataConfig, DataName, RunConfig, TokenizerConfig, TokenizerName
from bitnet_sweep.data import fingerprint, prepare
from bitnet_sweep.data.tokenizer import SEPARATOR, load_file, open_tokenizer, separator_id, train_bpe
from bitnet_sweep.stages import resolve
from bitnet_sweep.track import run_name
from tests.data.conftest import made_up_text


def by_characters(folder: Path, *more: str) -> Path:
    """One without bytes and merges, of the letters of our made-up language; what is not there is lost."""
    vocab = {sign: i for i, sign in enumerate(["<unk>", *" .\nabcdefghijklmno", *more])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@pytest.fixture
def config(tmp_path: Path) -> Any:
    text = tmp_path / "text.txt"
    text.write_text(made_up_text(80_000))

    def of(path: Path, vocab_size: int) -> RunConfig:
        own = TokenizerConfig(TokenizerName.file, vocab_size, str(path))
        return resolve(RunConfig(data=DataConfig(DataName.text, path=str(text)), tokenizer=own))

    return of


def test_its_ids_are_trained_on_with_a_separator_that_it_lacked(tmp_path: Path, config: Any) -> None:
    path = by_characters(tmp_path)
    asked = config(path, 20)
    corpus = prepare(asked, tmp_path / "tokens")
    assert corpus.separator == 19
    assert corpus.provenance["tokenizer"]["name"] == "file"
    documents = made_up_text(80_000)
    ids = corpus.train[:40].tolist()
    own = load_file(str(path))
    assert ids == own.encode(documents[:40], add_special_tokens=False).ids
    assert set(corpus.heldout.tolist()) <= set(range(20))
    kept = open_tokenizer(corpus.tokenizer_path)
    assert separator_id(kept) == 19
    assert kept.encode("abc").ids == own.encode("abc").ids


def test_an_entry_that_is_our_separator_stays_where_it_is(tmp_path: Path) -> None:
    made = train_bpe([made_up_text(20_000)], 300)
    made.enable_truncation(4)
    made.enable_padding(length=16)
    made.post_processor = processors.TemplateProcessing(
        single=f"{SEPARATOR} $A", special_tokens=[(SEPARATOR, separator_id(made))]
    )
    made.save(str(tmp_path / "tokenizer.json"))
    found = load_file(str(tmp_path / "tokenizer.json"))
    assert found.get_vocab() == made.get_vocab()
    text = f"abc def ghi jkl {SEPARATOR} mno"
    ids = found.encode(text, add_special_tokens=False).ids
    assert found.decode(ids) == text, "neither cut nor filled up, and what spells the separator is characters"
    assert separator_id(found) not in ids


def test_its_content_counts_and_not_its_place(tmp_path: Path, config: Any) -> None:
    path = by_characters(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    copy = shutil.copy(path, tmp_path / "elsewhere" / "other.json")
    assert fingerprint(config(path, 20)) == fingerprint(config(copy, 20))
    assert fingerprint(config(path, 21)) != fingerprint(config(path, 20))
    by_characters(tmp_path, "z")
    assert fingerprint(config(path, 21)) != fingerprint(config(copy, 21))


def test_names_tell_two_files_and_two_sizes_apart(tmp_path: Path, config: Any) -> None:
    asked = [(tmp_path / "a.json", 64), (tmp_path / "b.json", 64), (tmp_path / "a.json", 128)]
    names = [run_name(config(*each)) for each in asked]
    assert len(set(names)) == 3
    assert "tokenizer=a.json#" in names[0]
    assert "file" in names[0]


@pytest.mark.parametrize(
    ("content", "vocab_size", "said"),
    [
        (None, 300, r"tokenizer\.path=.*x\.json: cannot be read \(No such file or directory\)"),
        ("{}", 300, r"tokenizer\.path=.*x\.json: is no tokenizer\.json of tokenizers \(.+\)"),
        ("\0", 300, r"tokenizer\.path=.*x\.json: is no tokenizer\.json of tokenizers \(.+\)"),
        ("own", 19, r"tokenizer\.vocab_size=19: .*x\.json needs 20, .*; allowed: 20 or more"),
    ],
    ids=["none", "another JSON", "no JSON", "too few entries"],
)
def test_what_is_wrong_is_said_in_a_line(
    tmp_path: Path, config: Any, content: str | None, vocab_size: int, said: str
) -> None:
    path = tmp_path / "x.json"
    if content == "own":
        by_characters(tmp_path).rename(path)
    elif content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=f"^{said}$") as caught:
        fingerprint(config(path, vocab_size))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "path", "said"),
    [
        (TokenizerName.file, None, "tokenizer.path=None: tokenizer=file needs a tokenizer.json"),
        (
            TokenizerName.bpe,
            "a.json",
            "tokenizer.path=a.json: only tokenizer=file reads it; allowed here: null",
        ),
    ],
)
def test_the_path_belongs_to_it(name: TokenizerName, path: str | None, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TokenizerConfig(name, 4096, path)
    assert str(caught.value) == said
