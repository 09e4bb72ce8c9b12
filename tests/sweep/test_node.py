"""Where training of a node goes on, for everything that a crash can leave of it."""

import dataclasses

import pytest

from bitnet_sweep.config import RunConfig, SweepConfig
from bitnet_sweep.stages import Timetable, resolve
from bitnet_sweep.store import FINISHED, Status, Store
from bitnet_sweep.sweep.node import OnDisk, ResumePoint, node_of, resume_point, whole_past

FACTS = ("finished", "whole", "diverged", "checkpoint", "boundary", "weights")
DONE, PUBLISH, CHECKPOINT, FORK, FRESH = ResumePoint

RUN = {
    "": FORK,
    "checkpoint": CHECKPOINT,
    # it died between its last record and its weights
    "whole": FORK,
    "whole checkpoint": CHECKPOINT,
    "whole diverged": FORK,
    # it died behind its weights, before the checkpoint was removed or the status said finished
    "whole weights checkpoint": PUBLISH,
    "whole weights": PUBLISH,
    "whole diverged weights": PUBLISH,
    # the machine died, and with it the last records
    "weights": FORK,
    "weights checkpoint": CHECKPOINT,
    "finished whole weights": DONE,
    "finished whole diverged weights": DONE,
    # somebody removed its weights, or damaged its records
    "finished whole": DONE,
    "finished": DONE,
}
TRUNK = {
    "": FORK,
    "checkpoint": CHECKPOINT,
    "whole": FORK,
    "whole checkpoint": CHECKPOINT,
    "whole boundary checkpoint": PUBLISH,
    "whole boundary": PUBLISH,
    # what has diverged leaves nothing to fork from
    "whole diverged": PUBLISH,
    "whole diverged checkpoint": PUBLISH,
    "boundary": FORK,
    "boundary checkpoint": CHECKPOINT,
    "finished whole boundary": DONE,
    "finished boundary": DONE,
    "finished whole diverged": DONE,
    "finished diverged": DONE,
    # its boundary was freed, or dropped as corrupt
    "finished whole": FORK,
    "finished": FORK,
    "finished checkpoint": CHECKPOINT,
}


@pytest.mark.parametrize("has_parent", [True, False], ids=["behind a trunk", "from step 0"])
@pytest.mark.parametrize(
    ("is_run", "facts", "point"),
    [
        pytest.param(is_run, facts, point, id=f"{'run' if is_run else 'trunk'}: {facts or 'nothing'}")
        for is_run, table in ((True, RUN), (False, TRUNK))
        for facts, point in table.items()
    ],
)
def test_where_it_goes_on(is_run, facts, point, has_parent):
    assert set(facts.split()) <= set(FACTS)
    found = OnDisk(is_run, has_parent, *(fact in facts.split() for fact in FACTS))
    assert resume_point(found) is (FRESH if point is FORK and not has_parent else point)


@pytest.fixture
def config():
    return resolve(RunConfig(steps=20, probe_every_steps=5))


def test_the_chain_of_a_run(tmp_path, config):
    store = Store(tmp_path)
    run = node_of(config, store, ["a", "b"])
    assert [(node.id, node.end, node.stage_ids) for node in run.chain()] == [
        ("stages/a", 10, ("a",)),
        ("runs/b", 20, ("a", "b")),
    ]
    assert node_of(config, store, ["a", "b"], num_stages=1) == run.parent
    alone = dataclasses.replace(config, sweep=SweepConfig(share_stages=False))
    assert [node.id for node in node_of(alone, store, ["a", "b"]).chain()] == ["runs/b"]


def test_what_is_on_disk_is_read_file_by_file(tmp_path, config):
    """Each file that a training leaves changes one fact; a lost last record makes it no longer whole."""
    node = node_of(config, Store(tmp_path), ["a", "b"], num_stages=1)
    steps = [1, 5, 10]

    def told(status=None, keeps_weights=True):
        past = whole_past(node.folder, Timetable.of(config), node.end)
        found = dataclasses.astuple(node.on_disk(status, past, keeps_weights))
        assert found[:2] == (False, False)
        return [fact for fact, holds in zip(FACTS, found[2:], strict=True) if holds]

    assert told() == []
    assert told(keeps_weights=False) == ["weights"]
    node.folder.rewrite([{"step": step, "train/loss_batch": 5.0} for step in steps], [])
    assert told() == ["whole"]
    (node.folder.path / "latest.json").touch()
    (node.folder.path / "boundary.json").touch()
    node.folder.final_path.touch()
    assert told(Status(FINISHED, ["a"])) == ["finished", "whole", "checkpoint", "boundary", "weights"]
    node.folder.rewrite([{"step": step, "train/loss_batch": 5.0} for step in steps[:-1]], [])
    assert told() == ["checkpoint", "boundary", "weights"]
    node.folder.rewrite([{"step": 1, "train/loss_batch": 5.0}, {"step": 3, "train/loss_batch": None}], [])
    assert told() == ["whole", "diverged", "checkpoint", "boundary", "weights"]
    assert told(Status(FINISHED, ["a"], diverged_step=3))[2] == "diverged"
