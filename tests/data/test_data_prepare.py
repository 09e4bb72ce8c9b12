"""Token files: right, built once, found again by content, rebuilt when damaged."""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from filelock import FileLock
from pyarrow import parquet

from bitnet_sweep.config import (
    GPT2_VOCAB_SIZE,
    ConfigError,
    DataConfig,
    DataName,
    HeldOutText,
    Lines,
    RunConfig,
    Targets,
    TokenizerConfig,
    TokenizerName,
)
from bitnet_sweep.data import fingerprint, prepare
from bitnet_sweep.data.split import MIN_HELDOUT_TOKENS, Survey
from bitnet_sweep.data.tokenizer import SEPARATOR, train_bpe
from bitnet_sweep.data.tokens import token_dtype, write_tokens

WriteText = Callable[..., Path]
TextConfig = Callable[..., RunConfig]


# --- what the files hold ------------------------------------------------------------------------------


def test_the_two_splits_hold_the_whole_text(
    write_text: WriteText, text_config: TextConfig, tmp_path: Path
) -> None:
    path = write_text()
    corpus = prepare(text_config(path), tmp_path / "tokens")
    train, heldout = (corpus.decode(split).split(SEPARATOR) for split in (corpus.train, corpus.heldout))
    assert train.pop() == heldout.pop() == ""  # every document ends with a separator
    blocks = {block: path.read_text().index(block) for block in train + heldout}
    assert "".join(sorted(blocks, key=blocks.__getitem__)) == path.read_text()
    assert [blocks[block] for block in train] == sorted(blocks[block] for block in train)  # order kept


def test_a_relative_store_of_any_name(
    write_text: WriteText, text_config: TextConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text("corpus.txt")
    monkeypatch.chdir(tmp_path)
    corpus = prepare(text_config("corpus.txt"), Path("wd2=0.0,[a] *::b/tokens"))
    monkeypatch.chdir("/")
    assert len(corpus.decode(corpus.heldout[:50])) > 50


def test_provenance_and_counts_agree_with_the_files(
    write_text: WriteText, text_config: TextConfig, tmp_path: Path
) -> None:
    path = write_text()
    corpus = prepare(text_config(path, vocab_size=320), tmp_path / "tokens")
    said = corpus.provenance
    separator = 0
    for split, tokens in (("train", corpus.train), ("heldout", corpus.heldout)):
        assert isinstance(tokens, np.memmap)
        assert tokens.dtype == np.uint16
        assert said[split]["tokens"] == len(tokens)
        assert said[split]["documents"] == (np.asarray(tokens) == separator).sum()
    assert said["train"]["bytes"] + said["heldout"]["bytes"] == path.stat().st_size
    assert corpus.unigram_counts.tolist() == np.bincount(corpus.train, minlength=320).tolist()
    assert corpus.unigram_counts.dtype == np.int64
    assert corpus.vocab_size == 320
    assert json.loads((tmp_path / f"tokens/{corpus.fingerprint}.json").read_text()) == said


def test_the_tokenizer_never_saw_the_heldout_documents(
    write_text: WriteText, text_config: TextConfig, tmp_path: Path
) -> None:
    corpus = prepare(text_config(write_text()), tmp_path / "tokens")
    train = corpus.decode(corpus.train).split(SEPARATOR)[:-1]
    assert corpus.tokenizer_path.read_text() == train_bpe(train, 320).to_str(pretty=False)


@pytest.mark.parametrize(
    ("vocab_size", "dtype"),
    [(257, np.uint16), (1 << 16, np.uint16), ((1 << 16) + 1, np.uint32)],
    ids=["smallest", "last of 16 bits", "first of 32 bits"],
)
def test_ids_have_the_narrowest_type(vocab_size: int, dtype: type[np.unsignedinteger]) -> None:
    assert token_dtype(vocab_size) is dtype
    assert np.iinfo(dtype).max >= vocab_size - 1


@pytest.mark.slow
def test_a_vocabulary_above_sixteen_bits(text_config: TextConfig, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    words = draw.integers(0x3400, 0x4DB0, (20_000, 8), np.uint16)  # CJK: many distinct pairs in little text
    path = tmp_path / "wide.txt"
    path.write_text("\n".join(bytes(word.astype("<u2")).decode("utf-16-le") for word in words))
    corpus = prepare(text_config(path, vocab_size=70_000), tmp_path / "tokens")
    assert corpus.train.dtype == corpus.heldout.dtype == np.uint32
    assert 1 << 16 < corpus.train.max() < 70_000
    assert corpus.unigram_counts.tolist() == np.bincount(corpus.train, minlength=70_000).tolist()
    first = corpus.decode(corpus.train[:2000]).split(SEPARATOR)[0]
    assert first in path.read_text()


def test_gpt2_tokens(write_text: WriteText, tmp_path: Path) -> None:
    config = RunConfig(
        data=DataConfig(name=DataName.text, path=str(write_text())),
        tokenizer=TokenizerConfig(name=TokenizerName.gpt2, vocab_size=GPT2_VOCAB_SIZE),
    )
    corpus = prepare(config, tmp_path / "tokens")
    assert corpus.train.dtype == np.uint16
    assert (corpus.vocab_size, int(corpus.train[-1])) == (50257, 50256)
    assert corpus.decode([15496, 995, 50256]) == "Hello world<|endoftext|>"


# --- the held-out split -------------------------------------------------------------------------------


def survey(*documents: str) -> Survey:
    return Survey.of(lambda: iter(documents))


def test_the_split_follows_the_documents_not_their_order() -> None:
    documents = [f"document {i} " * 3 for i in range(20)]
    mask = survey(*documents).heldout_mask(200)
    heldout = {d for d, held in zip(documents, mask, strict=True) if held}
    backwards = survey(*documents[::-1]).heldout_mask(200)
    assert {d for d, held in zip(documents[::-1], backwards, strict=True) if held} == heldout
    sizes = sorted(len(d) for d in heldout)
    assert sum(sizes) >= 200 > sum(sizes) - sizes[-1]  # enough, and no more than it takes


def test_equal_documents_are_on_the_same_side() -> None:
    documents = ["same"] * 6 + ["other", "third"]
    for target in (1, 5, 30):
        mask = survey(*documents).heldout_mask(target)
        assert len(set(mask[:6])) == 1
        assert mask.any()


def test_the_split_does_not_depend_on_the_seed(
    write_text: WriteText, text_config: TextConfig, tmp_path: Path
) -> None:
    path = write_text()
    first, second = (text_config(path, seed=seed) for seed in (0, 5))
    assert fingerprint(first) == fingerprint(second)
    assert np.array_equal(
        prepare(first, tmp_path / "a").heldout, prepare(second, tmp_path / "b").heldout
    )  # two builds


def test_a_small_share_is_raised_until_there_are_enough_tokens(
    write_text: WriteText, text_config: TextConfig, tmp_path: Path
) -> None:
    config = text_config(write_text(), heldout_fraction=0.001)
    corpus = prepare(config, tmp_path / "tokens")
    assert MIN_HELDOUT_TOKENS <= len(corpus.heldout) < 4 * MIN_HELDOUT_TOKENS
    larger = prepare(text_config(config.data.path, heldout_fraction=0.5), tmp_path / "tokens").provenance
    assert (
        larger["heldout"]["bytes"] >= 40_000 > larger["heldout"]["bytes"] - 8192
    )  # a block too many at most


def article_file(folder: Path, articles: int = 30) -> tuple[Path, list[str]]:
    """Articles of two lines each, about 200 tokens, some of them equal."""
    texts = [f" = Title {i} = \n \n {'some words ' * 40}{i % 7} \n \n" for i in range(articles)]
    path = folder / "articles.txt"
    path.write_text(" \n" + "".join(texts))
    return path, texts


def test_the_end_is_held_out_and_the_text_before_it_unbroken(text_config: TextConfig, tmp_path: Path) -> None:
    path, texts = article_file(tmp_path, articles=400)
    config = text_config(path, heldout=HeldOutText.end, lines=Lines.stripped, heldout_fraction=0.3)
    corpus = prepare(config, tmp_path / "tokens")
    train, heldout = (corpus.decode(split) for split in (corpus.train, corpus.heldout))
    held = corpus.provenance["heldout"]["documents"]
    assert corpus.provenance["train"]["documents"] == 401 - held  # the empty line in front is a document
    stripped = ["".join(line.strip() for line in text.split("\n")) for text in texts]
    assert (train, heldout) == ("".join(stripped[:-held]), "".join(stripped[-held:]))
    assert heldout.startswith("= Title")
    needed = 0.3 * path.stat().st_size
    assert sum(map(len, texts[-held:])) >= needed > sum(map(len, texts[-held + 1 :]))


def test_more_of_the_end_is_held_out_until_there_are_enough_tokens(
    text_config: TextConfig, tmp_path: Path
) -> None:
    path, _ = article_file(tmp_path, articles=400)
    config = text_config(path, heldout=HeldOutText.end, heldout_fraction=0.001)
    corpus = prepare(config, tmp_path / "tokens")
    assert MIN_HELDOUT_TOKENS <= len(corpus.heldout) < 2 * MIN_HELDOUT_TOKENS


def test_the_last_documents_by_hand() -> None:
    masks = [survey("aa", "bb", "cc", "aa").end_mask(size).tolist() for size in (1, 2, 3, 7, 9)]
    assert [sum(mask) for mask in masks] == [1, 1, 2, 4, 4]
    assert masks[2] == [False, False, True, True]


def test_what_decides_the_tokens_is_in_their_name(write_text: WriteText, text_config: TextConfig) -> None:
    path = write_text()
    known = fingerprint(text_config(path))
    others: list[dict[str, object]] = [{"lines": Lines.stripped}, {"heldout": HeldOutText.end}]
    others.append(others[0] | others[1])
    names = [fingerprint(text_config(path, **changes)) for changes in others]
    assert len({known, *names}) == 4
    assert fingerprint(text_config(path, targets=Targets.inside)) == known


# --- found again by content ---------------------------------------------------------------------------


def built_at(corpus_dir: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in corpus_dir.glob("*.bin")}


def test_only_content_decides(write_text: WriteText, text_config: TextConfig, tmp_path: Path) -> None:
    path = write_text()
    tokens = tmp_path / "tokens"
    prepare(text_config(path), tokens)
    before = built_at(tokens)
    os.utime(path)
    copied = path.rename(tmp_path / "elsewhere.txt")
    prepare(text_config(copied), tokens)
    assert built_at(tokens) == before

    old = copied.stat()
    copied.write_bytes(b"Z" + copied.read_bytes()[1:])
    os.utime(copied, ns=(old.st_atime_ns, old.st_mtime_ns))  # same name, size and time, another byte
    prepare(text_config(copied), tokens)
    assert len(built_at(tokens)) == 2 * len(before)


def variants(path: Path, text_config: TextConfig) -> dict[str, RunConfig]:
    as_rows = path.with_suffix(".jsonl")
    as_rows.write_bytes(path.read_bytes())
    return {
        "text": text_config(path),
        "vocabulary": text_config(path, vocab_size=321),
        "split": text_config(path, heldout_fraction=0.06),
        "format": text_config(as_rows),
        "field": text_config(as_rows, text_field="body"),
        "two files": text_config([path, as_rows]),
        "other order": text_config([as_rows, path]),
        "gpt2": RunConfig(
            data=DataConfig(name=DataName.text, path=str(path)),
            tokenizer=TokenizerConfig(name=TokenizerName.gpt2, vocab_size=GPT2_VOCAB_SIZE),
        ),
        "world_factbook": RunConfig(),
        "wikitext2": RunConfig(data=DataConfig(name=DataName.wikitext2)),
    }


def test_everything_that_decides_the_tokens_is_in_the_fingerprint(
    write_text: WriteText, text_config: TextConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_text()
    names = {key: fingerprint(config) for key, config in variants(path, text_config).items()}
    monkeypatch.setattr("bitnet_sweep.data.tokenizer.version", lambda _: "0.0.0")
    names["tokenizers version"] = fingerprint(text_config(path))
    assert len(set(names.values())) == len(names)
    assert fingerprint(text_config(path, text_field="unused by .txt")) == fingerprint(text_config(path))


def test_a_fingerprint_loads_nothing_heavy() -> None:
    heavy_ones = ["torch", "datasets", "tokenizers", "pyarrow", "pandas", "huggingface_hub"]
    script = (
        "import sys; from bitnet_sweep.config import RunConfig; "
        "from bitnet_sweep.data import fingerprint; fingerprint(RunConfig()); "
        f"print(set({heavy_ones}) & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert out == "set()\n"


# --- building -----------------------------------------------------------------------------------------

BUILD_AT_ONCE = """
import logging, sys, time
from pathlib import Path
from bitnet_sweep.config import DataConfig, DataName, RunConfig, TokenizerConfig
from bitnet_sweep.data import prepare
logging.basicConfig(level=logging.INFO)
text, tokens, start = map(Path, sys.argv[1:])
config = RunConfig(
    data=DataConfig(name=DataName.text, path=str(text)), tokenizer=TokenizerConfig(vocab_size=320)
)
print("ready", flush=True)
while not start.exists():
    time.sleep(0.001)
corpus = prepare(config, tokens)
print(len(corpus.train), int(corpus.train.sum()), corpus.decode(corpus.heldout[:5]))
"""


def test_many_processes_build_once(write_text: WriteText, tmp_path: Path) -> None:
    start = tmp_path / "start"
    command = [sys.executable, "-c", BUILD_AT_ONCE, str(write_text()), str(tmp_path / "tokens"), str(start)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) for _ in range(3)]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    start.touch()
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, outputs
    assert len({out for out, _ in outputs}) == 1
    assert sum(err.count("building the token files") for _, err in outputs) == 1
    assert not list((tmp_path / "tokens").glob(".*"))  # no folder of a build is left


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        *(("truncated", part) for part in ("train.bin", "heldout.bin", "unigram.bin", "json")),
        *(("gone", part) for part in ("train.bin", "tokenizer.json", "json")),
    ],
)
def test_a_damaged_file_is_built_again(
    part: str, damage: str, write_text: WriteText, text_config: TextConfig, tmp_path: Path
) -> None:
    config = text_config(write_text(characters=40_000), vocab_size=260)
    corpus = prepare(config, tmp_path)
    path = tmp_path / f"{corpus.fingerprint}.{part}"
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        os.truncate(path, len(whole) - 2)
    again = prepare(config, tmp_path)
    assert path.read_bytes() == whole
    assert np.array_equal(again.train, corpus.train) or part == "train.bin"


def test_what_a_killed_build_left_is_no_hindrance(
    write_text: WriteText, text_config: TextConfig, tmp_path: Path
) -> None:
    config = text_config(write_text())
    left = tmp_path / f"tokens/.{fingerprint(config)}.building"
    left.mkdir(parents=True)
    (left / "source0.txt").write_text("half")
    (left / "train.bin").write_text("half")
    assert prepare(config, tmp_path / "tokens").provenance["train"]["documents"] > 5
    assert not left.exists()


def test_what_killed_builds_left_goes_with_the_next_build(
    write_text: WriteText, text_config: TextConfig, tmp_path: Path
) -> None:
    """But not that of a build that lives: its lock is held, or, on another host, it has written of late."""
    tokens = tmp_path / "tokens"
    for name in ("dead", "held", "young"):
        folder = tokens / f".{name}.building"
        folder.mkdir(parents=True)
        (folder / "train.bin").write_text("half")
        for path in (folder / "train.bin", folder):
            os.utime(path, None if name == "young" and path != folder else (0, 0))
    with FileLock(tokens / "held.lock"):
        prepare(text_config(write_text()), tokens)
    assert sorted(path.name for path in tokens.glob(".*")) == [".held.building", ".young.building"]


def test_a_failed_build_leaves_no_files(
    write_text: WriteText, text_config: TextConfig, tmp_path: Path
) -> None:
    config = text_config(write_text(), vocab_size=60_000)
    with pytest.raises(ConfigError):
        prepare(config, tmp_path / "tokens")
    assert [path.name for path in (tmp_path / "tokens").iterdir()] == [f"{fingerprint(config)}.lock"]


@pytest.mark.parametrize(
    "work", ["reading the text", "training the tokenizer", "turning the text into tokens"]
)
@pytest.mark.slow
def test_a_long_build_gives_signs_of_life(
    work: str,
    text_config: TextConfig,
    text: Callable[..., str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A word of many letters, as base64 makes it, keeps the trainer of a tokenizer in its own code."""
    caplog.set_level(logging.INFO, "bitnet_sweep")
    monkeypatch.setattr("bitnet_sweep.data.progress.EVERY_SECONDS", 0.001)
    word = "".join(random.Random(0).choices("abcdefghij", k=20_000))
    rows = [json.dumps({"text": row}) for row in (word, *text(200_000).splitlines(keepends=True))]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    config = text_config(tmp_path / "a.jsonl", vocab_size=300)
    prepare(config, tmp_path / "tokens")
    assert any(line.startswith(work) and line.endswith(" s so far") for line in caplog.messages)
    said = len(caplog.messages)
    prepare(config, tmp_path / "tokens")
    assert len(caplog.messages) == said  # there already: nothing to wait for


def test_a_build_is_not_held_up_by_its_signs_of_life(
    write_text: WriteText,
    text_config: TextConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO, "bitnet_sweep")
    monkeypatch.setattr("bitnet_sweep.data.progress.EVERY_SECONDS", 3600.0)
    prepare(text_config(write_text(), vocab_size=260), tmp_path / "tokens")
    assert not [line for line in caplog.messages if "so far" in line]


# --- input that cannot be used ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("characters", "change", "key", "message"),
    [
        pytest.param(200, {}, "data.path", "too few to hold out 4,097 tokens", id="a few words"),
        pytest.param(9_000, {}, "data.path", "too few to hold out 4,097 tokens", id="nothing left to train"),
        pytest.param(
            80_000,
            {"batch_size": 1000, "sequence_length": 64},
            "data.path",
            r"one batch needs batch_size\*\(sequence_length\+1\)=65,000",
            id="shorter than one batch",
        ),
        pytest.param(
            20_000,
            {"tokenizer": TokenizerConfig(vocab_size=50_000)},
            "tokenizer.vocab_size",
            r"yields no more than \d+; allowed: 257 to \d+",
            id="vocabulary not reached",
        ),
    ],
)
def test_text_that_is_too_short(
    characters: int,
    change: dict[str, object],
    key: str,
    message: str,
    write_text: WriteText,
    text_config: TextConfig,
    tmp_path: Path,
) -> None:
    config = text_config(write_text(characters=characters))
    for name, value in change.items():
        setattr(config, name, value)
    with pytest.raises(ConfigError, match=message) as raised:
        prepare(config, tmp_path / "tokens")
    assert raised.value.key == key
    assert "\n" not in str(raised.value)


def test_the_batch_is_checked_against_token_files_that_are_there(
    write_text: WriteText, text_config: TextConfig, tmp_path: Path
) -> None:
    config = text_config(write_text())
    longest = len(prepare(config, tmp_path / "tokens").train)
    config.batch_size, config.sequence_length = 1, longest - 1
    prepare(config, tmp_path / "tokens")
    config.sequence_length = longest
    with pytest.raises(ConfigError, match="text too short"):
        prepare(config, tmp_path / "tokens")


def test_equal_documents_are_called_equal(text_config: TextConfig, tmp_path: Path) -> None:
    row = json.dumps({"text": "the quick brown fox " * 2000})
    (tmp_path / "a.jsonl").write_text(f"{row}\n" * 3)
    with pytest.raises(ConfigError, match=r"its 3 documents \(1 different\) are too few"):
        prepare(text_config(tmp_path / "a.jsonl"), tmp_path / "tokens")


def test_a_large_share_held_out_is_said(
    text_config: TextConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Documents are not cut: of two equally long ones, one is held out."""
    words = [f"{letter}{number}" for letter in "abcdefgh" for number in range(500)]
    rows = [json.dumps({"text": " ".join(sorted(words, key=key))}) for key in (str, lambda word: word[::-1])]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    prepare(text_config(tmp_path / "a.jsonl"), tmp_path / "tokens")
    assert "50 % of the text is held out" in caplog.text


def test_rows_without_any_text(text_config: TextConfig, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n')
    with pytest.raises(ConfigError, match="its 0 documents are too few"):
        prepare(text_config(tmp_path / "a.jsonl"), tmp_path / "tokens")


def test_a_store_that_cannot_be_written(
    write_text: WriteText, text_config: TextConfig, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot be written") as raised:
        prepare(text_config(write_text()), tmp_path / "file" / "tokens")
    assert raised.value.key == "store"


def test_token_files_that_cannot_be_read(
    write_text: WriteText, text_config: TextConfig, tmp_path: Path
) -> None:
    config = text_config(write_text())
    (tmp_path / "tokens" / f"{fingerprint(config)}.json").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"tokens cannot be read \(Is a directory\)") as raised:
        prepare(config, tmp_path / "tokens")
    assert raised.value.key == "store"


@pytest.mark.parametrize(("is_gone", "key"), [(True, "data.path"), (False, "store")])
def test_who_is_to_blame_for_a_build_that_fails(
    is_gone: bool,
    key: str,
    write_text: WriteText,
    text_config: TextConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of an I/O error nobody says whether the text or the disk had it: the text is read once more."""
    path = write_text()

    def fail(*_: object, **__: object) -> None:
        if is_gone:
            path.unlink()
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("bitnet_sweep.data.sources.shutil.copyfile", fail)
    with pytest.raises(ConfigError) as raised:
        prepare(text_config(path), tmp_path / "tokens")
    assert raised.value.key == key


def test_a_parquet_file_with_broken_pages(
    text_config: TextConfig, tmp_path: Path, text: Callable[..., str]
) -> None:
    """Its footer is whole, so it is found out in the middle of a build; pyarrow calls that an OSError."""
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": [text(200_000)]}), path, use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[2000:4000] = bytes(2000)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read") as raised:
        prepare(text_config(path), tmp_path / "tokens")
    assert raised.value.key == "data.path"


FULL_DISK = """
import resource, sys
from pathlib import Path
from bitnet_sweep.config import ConfigError, DataConfig, DataName, RunConfig, TokenizerConfig
from bitnet_sweep.data import prepare
import tokenizers
config = RunConfig(
    data=DataConfig(name=DataName.text, path=sys.argv[1]), tokenizer=TokenizerConfig(vocab_size=320)
)
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    prepare(config, Path(sys.argv[2]))
except ConfigError as error:
    print(error.key, error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [100, 90_000], ids=["while the text is copied", "while tokens are written"])
def test_a_disk_that_fills_up(limit: int, write_text: WriteText, tmp_path: Path) -> None:
    path = write_text(characters=85_000)
    command = [sys.executable, "-c", FULL_DISK, str(path), str(tmp_path / "tokens"), str(limit)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert out.startswith("store store=runs: ")
    assert "cannot be written" in out
    assert [path.suffix for path in (tmp_path / "tokens").iterdir()] == [".lock"]


def test_a_full_disk_is_called_full(tmp_path: Path) -> None:
    """numpy's tofile() says "15 requested and 0 written"."""
    path = tmp_path / "full.bin"
    path.symlink_to("/dev/full")
    documents = ["some words of text " * 2000]
    tokenizer = train_bpe(iter(documents), 260)
    with pytest.raises(OSError, match="No space left on device"):
        write_tokens(path, tokenizer, lambda: iter(documents), 260)
