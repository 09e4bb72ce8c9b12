"""Checkpoints: what comes back is what was written, or an error that says so."""

import json
import resource

import pytest
import torch

from bitnet_sweep.store import checkpoint
from bitnet_sweep.store.checkpoint import CorruptCheckpointError

TENSORS = {"w": torch.arange(12.0).reshape(3, 4), "codes": torch.tensor([-1, 0, 1], dtype=torch.int8)}


def test_round_trip(tmp_path):
    checkpoint.save(tmp_path, "latest", TENSORS, {"step": 3, "loss_sum": 0.1})
    tensors, facts = checkpoint.load(tmp_path, "latest")
    assert facts == {"step": 3, "loss_sum": 0.1}
    assert all(tensors[name].equal(TENSORS[name]) for name in TENSORS)
    assert {name: t.dtype for name, t in tensors.items()} == {n: t.dtype for n, t in TENSORS.items()}


def test_the_newest_stands_alone(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, "latest", {"w": torch.full((2,), float(step))}, {"step": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest-2.safetensors", "latest.json"]
    assert checkpoint.load(tmp_path, "latest")[1]["step"] == 2


def test_a_crash_between_the_two_files_leaves_the_old_one(tmp_path):
    """The tensors of step 2 are there, their JSON file is not yet: step 1 is the checkpoint."""
    checkpoint.save(tmp_path, "latest", TENSORS, {"step": 1})
    checkpoint.save_tensors(tmp_path / "latest-2.safetensors", TENSORS)
    assert checkpoint.load(tmp_path, "latest")[1]["step"] == 1


def test_a_saver_writes_what_the_tensors_were(tmp_path):
    """They change right after the call, as they do in training; the newest one stands at the end."""
    tensor = torch.zeros(1_000_000)
    with checkpoint.Saver(tmp_path, "latest") as saver:
        for step in (1, 2, 3):
            tensor.fill_(step)
            saver.save({"w": tensor}, {"step": step})
            tensor.fill_(-1.0)
    tensors, facts = checkpoint.load(tmp_path, "latest")
    assert facts["step"] == 3
    assert bool((tensors["w"] == 3).all())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest-3.safetensors", "latest.json"]


def _full(monkeypatch):
    def save(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", save)


def _save_and(then, folder):
    with checkpoint.Saver(folder, "latest") as saver:
        saver.save(TENSORS, {"step": 1})
        then(saver)


@pytest.mark.parametrize(
    "then",
    [
        pytest.param(lambda saver: saver.save(TENSORS, {"step": 2}), id="the next save"),
        pytest.param(lambda saver: saver.wait(), id="wait"),
        pytest.param(lambda saver: None, id="the end"),
    ],
)
def test_a_saver_tells_that_the_disk_is_full(then, tmp_path, monkeypatch):
    _full(monkeypatch)
    with pytest.raises(OSError, match="No space"):
        _save_and(then, tmp_path)


def test_a_saver_does_not_hide_why_training_failed(tmp_path, monkeypatch):
    _full(monkeypatch)
    with pytest.raises(ZeroDivisionError):
        _save_and(lambda saver: 1 / 0, tmp_path)


def test_non_contiguous_tensors(tmp_path):
    checkpoint.save(tmp_path, "latest", {"w": TENSORS["w"].T}, {"step": 1})
    assert checkpoint.load(tmp_path, "latest")[0]["w"].equal(TENSORS["w"].T)


def _flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: _flip(folder / "latest-1.safetensors", -1),
        lambda folder: _flip(folder / "latest-1.safetensors", 20),
        lambda folder: (folder / "latest-1.safetensors").write_bytes(b"short"),
        lambda folder: (folder / "latest-1.safetensors").unlink(),
        lambda folder: (folder / "latest.json").unlink(),
        lambda folder: (folder / "latest.json").write_text("{"),
        lambda folder: (folder / "latest.json").write_text("[]"),
        lambda folder: (folder / "latest.json").write_text(
            json.dumps(json.loads((folder / "latest.json").read_text()) | {"facts": {"step": 2}})
        ),
    ],
    ids=["last bit", "header bit", "cut", "no tensors", "no json", "half json", "other json", "other facts"],
)
def test_damage_is_found(tmp_path, damage):
    checkpoint.save(tmp_path, "latest", TENSORS, {"step": 1})
    damage(tmp_path)
    with pytest.raises(CorruptCheckpointError) as caught:
        checkpoint.load(tmp_path, "latest")
    assert caught.value.path == tmp_path / "latest.json"


def test_a_file_that_cannot_be_read_now_is_not_corrupt(tmp_path):
    """Too many open files, no permission, no memory: the checkpoint must not be thrown away for that."""
    checkpoint.save(tmp_path, "latest", TENSORS, {"step": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (tmp_path / "latest.json").open() as file:
        resource.setrlimit(resource.RLIMIT_NOFILE, (file.fileno(), hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                checkpoint.load(tmp_path, "latest")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert checkpoint.load(tmp_path, "latest")[1]["step"] == 1


def test_delete(tmp_path):
    checkpoint.save(tmp_path, "latest", TENSORS, {"step": 1})
    checkpoint.save(tmp_path, "boundary", TENSORS, {"step": 2})
    checkpoint.delete(tmp_path, "latest")
    checkpoint.delete(tmp_path, "latest")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boundary-2.safetensors", "boundary.json"]
