"""A tokenizer.json of a user's own, from the command to the text that a model writes."""

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

import bitnet_sweep as bs
from tests.front.conftest import settings, verb

pytestmark = pytest.mark.slow


@pytest.fixture
def typed(corpus_file, tmp_path):
    """The words of a sweep over two decays with the tokenizer in the folder where it is typed."""
    signs = sorted(set(corpus_file.read_text()))
    own = Tokenizer(models.WordLevel({sign: i for i, sign in enumerate(signs)}, unk_token=" "))
    own.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    own.save(str(tmp_path / "mine.json"))
    keys = settings(corpus_file, "runs") | {"tokenizer": "file", "tokenizer.path": "mine.json"}
    keys |= {"tokenizer.vocab_size": len(signs) + 1, "wd2": "0.0,0.05"}
    return [f"{key}={value}" for key, value in keys.items()]


def test_it_is_swept_reported_and_writes(typed, tmp_path):
    status, _, err = verb(tmp_path, "run", "-m", *typed)
    assert status == 0, err
    status, out, err = verb(tmp_path, "run", "-m", *typed)
    assert status == 0, err
    assert ", 0 to train" in out
    status, _, err = verb(tmp_path, "report")
    assert status == 0, err
    (one, other) = (path.name for path in (tmp_path / "runs" / "runs").iterdir())
    run = bs.open_run(tmp_path / "runs", one)
    assert run.tokenizer.get_vocab_size() == run.config.tokenizer.vocab_size
    status, out, err = verb(tmp_path, "generate", other, "--prompt", "abc")
    assert status == 0, err
    assert out.strip()
    assert len(set(bs.records(tmp_path / "runs")["ref/unigram_loss"])) == 1
    status, _, err = verb(tmp_path, "export", one, "--to", "gguf", "x.gguf")
    assert status == 2
    assert "--to=gguf: knows how GPT-2 splits text" in err
    (tokens,) = (
        json.loads(path.read_text()) for path in (tmp_path / "runs" / "tokens").glob("????????????????.json")
    )
    assert tokens["tokenizer"]["name"] == "file"


def test_too_few_entries_are_refused_before_anything_starts(typed, tmp_path):
    status, _, err = verb(tmp_path, "run", "-m", *typed, "tokenizer.vocab_size=3")
    assert status == 2
    assert "tokenizer.vocab_size=3: mine.json needs" in err
    assert not (tmp_path / "runs" / "runs").exists()
