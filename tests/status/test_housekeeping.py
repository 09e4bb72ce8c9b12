"""What can be freed, and what never is."""

import pytest

from bitnet_sweep.status.__main__ import main
from bitnet_sweep.store import FAILED, FINISHED, INTERRUPTED, RUNNING
from bitnet_sweep.store.housekeeping import (
    LEFTOVERS,
    TRUNKS,
    WEIGHTS,
    find_freeable,
    free,
    free_trunks,
    needed_stages,
)
from tests.status.conftest import asked


def with_weights(folder):
    folder.final_path.write_bytes(bytes(400))
    return folder


def found(store, **options):
    return {(part.folder.id, part.kind): part.num_bytes for part in find_freeable(store, **options)}


def everything(store):
    return {
        path.relative_to(store.root): path.read_bytes() for path in store.root.rglob("*") if path.is_file()
    }


@pytest.fixture
def full(writer):
    """Two sweeps: trunk t1 has finished runs only, t2 a waiting one, t3 a failed one, nobody asked for t4."""
    for trunk in ("t1", "t2", "t3", "t4"):
        writer.trunk(trunk, FINISHED)
    for run_id, trunk in {"a": "t1", "b": "t1", "c": "t2"}.items():
        with_weights(writer.run(run_id, FINISHED, trunk=trunk))
    writer.run("e", FAILED, trunk="t3")
    writer.sweep("one", asked("a", "t1"), asked("c", "t2"), asked("e", "t3"))
    writer.sweep("two", asked("a", "t1"), asked("b", "t1"), asked("d", "t2"))
    (writer.store.run("a").path / ".final.safetensors.x1.tmp").write_bytes(bytes(30))
    (writer.store.run("a").path / "latest.json").write_bytes(bytes(2))
    (writer.store.run("a").path / "latest-90.safetensors").write_bytes(bytes(500))
    (writer.store.run("e").path / ".latest-60.safetensors.x2.tmp").write_bytes(bytes(60))
    (writer.store.run("e").path / ".tmpX3").write_bytes(bytes(10))  # of safetensors' save_file
    (writer.store.run("e").path / "latest.json").write_bytes(bytes(2))
    return writer.store


def test_what_is_found(full):
    assert needed_stages(full) == {"t2", "d", "t3", "e"}
    assert found(full) == {
        ("t1", TRUNKS): 1002,
        ("t4", TRUNKS): 1002,
        ("a", WEIGHTS): 400,
        ("b", WEIGHTS): 400,
        ("c", WEIGHTS): 400,
        ("a", LEFTOVERS): 532,
        ("e", LEFTOVERS): 70,
    }
    assert set(found(full, kinds=(TRUNKS,), only={"t1", "t2", "a"})) == {("t1", TRUNKS)}


def test_free_takes_what_was_listed_and_nothing_else(full):
    before = everything(full)
    parts = find_freeable(full)
    listed = {path.relative_to(full.root) for part in parts for path in part.paths}
    assert [free(part) for part in parts] == [part.num_bytes for part in parts]
    after = everything(full)
    assert {path: content for path, content in after.items() if path.name != "lease.lock"} == {
        path: content for path, content in before.items() if path not in listed
    }
    assert find_freeable(full) == []


def test_clean_lists_and_frees_only_with_yes(full, capsys):
    before = everything(full)
    assert main([str(full.root), "--clean"]) == 0
    listed = capsys.readouterr().out
    assert everything(full) == before
    assert "stages/t1" in listed
    assert "3.81kB can be freed; nothing was." in listed  # 2 x 1002 + 3 x 400 + 532 + 70
    assert main([str(full.root), "--clean", "--yes", "--keep", "weights", "--sweep", "one"]) == 0
    assert "Freed 1.60kB of 1.60kB" in capsys.readouterr().out  # 1002 + 532 + 70
    assert set(found(full)) == {("t4", TRUNKS), ("a", WEIGHTS), ("b", WEIGHTS), ("c", WEIGHTS)}
    assert main([str(full.root), "--clean", "--yes"]) == 0
    capsys.readouterr()
    assert main([str(full.root), "--clean", "--yes"]) == 0
    assert capsys.readouterr().out == "Nothing to free.\n"


def test_a_held_folder_is_left_alone(full, held):
    parts = find_freeable(full)
    trunk = full.stage("t1").path
    with held(trunk):
        assert ("t1", TRUNKS) not in found(full)
        (part,) = (part for part in parts if part.folder.id == "t1")
        assert free(part) == 0, "taken after it was listed"
        assert (trunk / "boundary-50.safetensors").exists()
    assert free(part) == 1002, "its owner was killed"
    assert {path.name for path in trunk.iterdir()} == {
        "config.yaml",
        "status.json",
        "records.jsonl",
        "log.jsonl",
        "samples.jsonl",
        "lease.lock",
    }


@pytest.mark.parametrize("state", [RUNNING, INTERRUPTED, FAILED])
def test_what_is_trained_again_meanwhile_stays(full, writer, state):
    parts = find_freeable(full)
    for part in parts:
        if part.kind == TRUNKS:
            writer.trunk(part.folder.id, state)
    assert [free(part) for part in parts if part.kind == TRUNKS] == [0, 0]


def test_trunks_of_a_sweep_that_does_not_say_its_stages(writer):
    """While one of its runs has not begun, any trunk may be its; from its status on it is known."""
    for trunk in ("t1", "t2"):
        writer.trunk(trunk, FINISHED)
    writer.store.write_sweep("s", {"run_ids": ["a"]})
    assert found(writer.store) == {}
    writer.run("a", INTERRUPTED, trunk="t2")
    assert set(found(writer.store)) == {("t1", TRUNKS)}
    writer.run("a", FINISHED, trunk="t2")
    assert set(found(writer.store)) == {("t1", TRUNKS), ("t2", TRUNKS)}


def test_an_unreadable_status_counts_as_unfinished(full):
    (full.run("a").path / "status.json").write_text("{")
    assert "t1" in needed_stages(full)
    assert ("a", WEIGHTS) not in found(full)


def test_trunks_are_freed_once_no_run_needs_them(full, writer):
    assert free_trunks(full, {"t1", "t2"}) == 1002
    writer.run("d", FINISHED, trunk="t2")
    assert free_trunks(full, {"t1", "t2"}) == 1002
    assert (full.stage("t3").path / "boundary.json").exists()


def test_a_store_that_cannot_be_written_is_one_line(full, capsys):
    (full.run("a").path / "lease.lock").mkdir()  # root, who runs tests in containers, may write anywhere else
    assert main([str(full.root), "--clean", "--yes"]) == 2
    assert f"STORE={full.root}: cannot be written (" in capsys.readouterr().err
