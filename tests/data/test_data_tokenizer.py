"""Byte-level BPE: exact size, lossless, repeatable; GPT-2's own ids."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from bitnet_sweep.config import ConfigError, Lines
from bitnet_sweep.data.tokenizer import SEPARATOR, encode, load_gpt2, open_tokenizer, train_bpe


@pytest.fixture(scope="module")
def bpe(text: Callable[..., str]) -> Tokenizer:
    return train_bpe([text(40_000)], 400)


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    return load_gpt2()


@pytest.mark.parametrize(
    ("written", "ids"),
    [
        # Published: the first two are in OpenAI's and Hugging Face's documentation of GPT-2.
        pytest.param("Hello world", [15496, 995], id="two words"),
        pytest.param("Hello, my dog is cute", [15496, 11, 616, 3290, 318, 13779], id="punctuation"),
        pytest.param("", [], id="nothing"),
    ],
)
def test_gpt2_gives_the_published_ids(gpt2: Tokenizer, written: str, ids: list[int]) -> None:
    assert list(encode(gpt2, [written])) == [[*ids, 50256]]
    assert gpt2.get_vocab_size() == 50257


def test_stripped_lines_have_nothing_between_them(gpt2: Tokenizer) -> None:
    """Published ids, as above; a line is encoded for itself, so its first word has no space in front."""
    texts = [" Hello world \n\n  \nHello, my dog is cute\n", "\n", "Hello\u2028world", " Hello world"]
    line, greeting = [15496, 995], [15496, 11, 616, 3290, 318, 13779]
    separated = next(iter(encode(gpt2, ["Hello\u2028world"])))[:-1]
    assert list(encode(gpt2, texts, Lines.stripped)) == [line, greeting, separated, line]


@pytest.mark.parametrize("vocab_size", [257, 258, 400], ids=["bytes alone", "one merge", "merges"])
def test_bpe_has_exactly_the_entries_asked_for(text: Callable[..., str], vocab_size: int) -> None:
    tokenizer = train_bpe([text(20_000)], vocab_size)
    assert tokenizer.get_vocab_size() == vocab_size
    assert sorted(tokenizer.get_vocab().values()) == list(range(vocab_size))
    assert SEPARATOR in tokenizer.get_vocab()


def test_the_first_merge_is_the_most_frequent_pair() -> None:
    tokenizer = train_bpe(["zq zq zq ab"], 258)
    assert set(tokenizer.get_vocab()) >= {"zq"}
    assert len(next(iter(encode(tokenizer, ["zqzq"])))) == 3  # two merged pairs and the separator


def test_a_vocabulary_the_text_cannot_fill_names_the_largest() -> None:
    # "abab abab": merges ab, abab and Gabab (G stands for the space) and no more: 257 + 3.
    with pytest.raises(ConfigError, match=r"tokenizer\.vocab_size=300: .*no more than 260") as raised:
        train_bpe(["abab abab"], 300)
    assert raised.value.key == "tokenizer.vocab_size"
    assert train_bpe(["abab abab"], 260).get_vocab_size() == 260


@given(written=st.text())
def test_any_text_comes_back_as_it_was(bpe: Tokenizer, gpt2: Tokenizer, written: str) -> None:
    for tokenizer in (bpe, gpt2):
        (ids,) = encode(tokenizer, [written])
        assert tokenizer.decode(ids[:-1], skip_special_tokens=False) == written


def test_text_that_spells_the_separator_is_only_text(bpe: Tokenizer, gpt2: Tokenizer, tmp_path: Path) -> None:
    bpe.save(str(tmp_path / "bpe.json"))
    for tokenizer in (bpe, gpt2, open_tokenizer(tmp_path / "bpe.json")):
        separator = tokenizer.get_vocab()[SEPARATOR]
        (ids,) = encode(tokenizer, [f"a{SEPARATOR}b"])
        assert ids.count(separator) == 1
        assert ids[-1] == separator
        assert tokenizer.decode(ids, skip_special_tokens=False) == f"a{SEPARATOR}b{SEPARATOR}"


def test_encoding_in_batches_equals_one_by_one(bpe: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"text number {i} " * i for i in range(12)]
    one_by_one = [[*bpe.encode(t).ids, bpe.get_vocab()[SEPARATOR]] for t in texts]
    monkeypatch.setattr("bitnet_sweep.data.tokenizer.BATCH_CHARACTERS", 100)
    assert list(encode(bpe, texts)) == one_by_one


def test_training_again_in_another_process_gives_the_same_tokenizer(
    bpe: Tokenizer, text: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "text").write_text(text(40_000))
    script = (
        "import sys, pathlib; from bitnet_sweep.data.tokenizer import train_bpe;"
        "print(train_bpe([pathlib.Path(sys.argv[1]).read_text()], 400).to_str())"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "text")]
    other = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert other.strip() == bpe.to_str()
