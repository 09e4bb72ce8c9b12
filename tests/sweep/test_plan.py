"""The plan: which stretches are trained once, in which order, and what is left out."""

import json

import pytest

from bitnet_sweep import identity
from bitnet_sweep.code import code
from bitnet_sweep.config import ConfigError, Knot, ModelConfig, Reuse, RunConfig, Stage, SweepConfig
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.stages import resolve
from bitnet_sweep.store import FINISHED, Status, Store
from bitnet_sweep.sweep.plan import PlannedRun, make_plan
from bitnet_sweep.sweep.reuse import reuse_lines
from bitnet_sweep.sweep.schedule import check_shorthands, schedule_lines


def planned(*overrides, **fields):
    config = resolve(RunConfig(**{"steps": 100, **fields}))
    return PlannedRun(tuple(overrides), config, tuple(stage_ids(config, "corpus")))


def finish(node):
    node.folder.write_status(Status(state=FINISHED, stage_ids=list(node.stage_ids)))
    (node.folder.path / "boundary.json").write_text("{}")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.mark.parametrize("boundary", [0.5, 0.3], ids=["half", "early"])
@pytest.mark.parametrize("arms", [2, 3, 5])
def test_work_of_m_arms(store, arms, boundary):
    """Against m independent runs exactly (b + m(1 - b)) / m."""
    grid = [planned(wd2=0.01 * i, boundary=boundary, lr_boundary=boundary) for i in range(arms)]
    plan = make_plan(grid, store)
    assert sum(job.steps for job in plan.todo) == round(100 * (boundary + arms * (1 - boundary)))
    assert [job.is_run for job in plan.todo] == [False] + [True] * arms
    assert {job.parent for job in plan.todo[1:]} == {plan.todo[0].id}
    assert plan.todo[0].num_stages == 1


def test_one_run_is_one_job(store):
    (job,) = make_plan([planned("seed=1")], store).todo
    assert (job.is_run, job.steps, job.parent, job.run.overrides) == (True, 100, None, ("seed=1",))


def test_without_sharing(store):
    grid = [planned(wd2=wd2, sweep=SweepConfig(share_stages=False)) for wd2 in (0.0, 0.05)]
    plan = make_plan(grid, store)
    assert [(job.steps, job.parent) for job in plan.todo] == [(100, None)] * 2


def _three(second, third):
    decays = (0.1, second, third)
    return planned(
        steps=60, wd2=third, stages=[Stage(20, decay, [Knot(0, 1e-3), Knot(20, 1e-3)]) for decay in decays]
    )


def test_forks_of_any_depth(store):
    """Two forks: a common first stage, then two arms of which one forks again."""
    plan = make_plan([_three(0.1, 0.0), _three(0.1, 0.05), _three(0.0, 0.0)], store)
    assert [(job.num_stages, job.steps) for job in plan.todo] == [
        (1, 20),
        (2, 20),
        (3, 40),
        (3, 20),
        (3, 20),
    ]
    first, second, *_ = plan.todo
    assert [job.parent for job in plan.todo] == [None, first.id, first.id, second.id, second.id]
    assert [[job.num_stages for job in level] for level in plan.levels()] == [[1], [2, 3], [3, 3]]


def test_a_run_that_is_a_trunk_of_longer_ones(store):
    """One stage, two folders: ending the short run leaves nothing to fork from."""

    def planned_of(*decays):
        stages = [Stage(20, decay, [Knot(0, 1e-3), Knot(20, 1e-3)]) for decay in decays]
        fixed = {"probe_every_steps": 5, "warmup_steps": 2}
        return planned(steps=20 * len(decays), wd2=decays[-1], stages=stages, **fixed)

    short, *longer = planned_of(0.1, 0.05), planned_of(0.1, 0.05, 0.0), planned_of(0.1, 0.05, 0.02)
    assert {run.stage_ids[1] for run in longer} == {short.run_id}
    for grid in ([short, *longer], [*longer, short]):
        plan = make_plan(grid, store)
        assert {job.run.run_id for job in plan.todo if job.is_run} == {run.run_id for run in grid}
        (trunk,) = (job for job in plan.todo if not job.is_run)
        assert [job.parent for job in plan.todo if job.num_stages == 3] == [trunk.id] * 2
    (ending,) = (job for job in plan.todo if job.is_run and job.num_stages == 2)
    finish(ending.node)
    assert [job.num_stages for job in make_plan(grid, store).todo] == [2, 3, 3]


def test_longest_chain_first(store):
    """The largest model's trunk comes first, and every trunk before its arms."""
    grid = [
        planned(wd2=wd2, model=ModelConfig(hidden=hidden)) for hidden in (64, 256, 128) for wd2 in (0.0, 0.05)
    ]
    plan = make_plan(grid, store)
    trunks = [job.run.config.model.hidden for job in plan.todo if not job.is_run]
    assert trunks == [256, 128, 64]
    assert plan.todo[0].run.config.model.hidden == 256
    order = [job.id for job in plan.todo]
    assert all(order.index(job.parent) < order.index(job.id) for job in plan.todo if job.parent)


def test_the_same_run_twice_is_one(store):
    plan = make_plan([planned("a=1"), planned("a=2")], store)
    assert len(plan.runs) == 1
    assert plan.summary().startswith("1 run (1 more point the same as others) sharing")


def reach(node, step):
    node.folder.path.mkdir(parents=True, exist_ok=True)
    (node.folder.path / "latest.json").write_text(json.dumps({"facts": {"step": step}}))


def test_what_a_checkpoint_holds_is_not_counted_again(store):
    grid = [planned(wd2=0.0), planned(wd2=0.05)]
    trunk, first, _ = make_plan(grid, store).todo
    reach(trunk.node, 30)
    plan = make_plan(grid, store)
    assert [job.left for job in plan.todo] == [20, 50, 50]
    assert plan.summary().endswith("150 steps instead of 200; 30 done, 120 to train in 3 jobs")
    assert "50 steps  20 left" in plan.tree()
    finish(trunk.node)
    reach(first.node, 90)
    assert [job.left for job in make_plan(grid, store).todo] == [10, 50]


def test_a_run_alone_goes_on_from_the_trunks_it_left(store):
    run = planned(wd2=0.0)
    (job,) = make_plan([run], store).todo
    trunk, arm = job.node.chain()
    assert job.left == 100
    finish(trunk)
    assert [job.left for job in make_plan([run], store).todo] == [50]
    (arm.folder.path).mkdir(parents=True)
    (arm.folder.path / "latest.json").write_text("{")  # it is trained again from the trunk
    assert [job.left for job in make_plan([run], store).todo] == [50]


def test_what_is_done_is_left_out(store):
    grid = [planned(wd2=0.0), planned(wd2=0.05)]
    plan = make_plan(grid, store)
    trunk, first, second = plan.todo
    finish(trunk.node)
    assert [job.id for job in make_plan(grid, store).todo] == [first.id, second.id]
    finish(first.node)
    assert [job.id for job in make_plan(grid, store).todo] == [second.id]
    finish(second.node)
    assert make_plan(grid, store).todo == []


def test_a_trunk_nobody_needs_is_not_trained(store):
    """All arms finished, the trunk's checkpoint freed: nothing to do."""
    grid = [planned(wd2=0.0), planned(wd2=0.05)]
    for job in make_plan(grid, store).todo[1:]:
        finish(job.node)
    assert make_plan(grid, store).todo == []


def test_summary_and_tree(store):
    grid = [planned("wd2=0.0", wd2=0.0), planned("wd2=0.05", wd2=0.05)]
    plan = make_plan(grid, store)
    assert plan.summary() == (
        "2 runs sharing 1 trunk: 150 steps instead of 200; 0 done, 150 to train in 3 jobs"
    )
    lines = plan.tree().splitlines()
    assert [line.split()[0] for line in lines] == ["trunk", "run", "run"]
    assert lines[1].endswith("h256 wd2=0 lr=1.5e-3 s0 steps=100")


class TestOtherCode:
    """What a plan takes over from another source code is told, and can be trained anew."""

    GRID = ({"wd2": 0.0}, {"wd2": 0.05})

    def finished(self, store, status, **sweep):
        grid = [planned(**fields, sweep=SweepConfig(**sweep)) for fields in self.GRID]
        for job in make_plan(grid, store).jobs:
            node = job.node
            finish(node)
            node.folder.write_status(Status(FINISHED, list(node.stage_ids), **status))
        return grid

    def told(self, store, grid):
        return reuse_lines(make_plan(grid, store).other_code)

    def test_of_this_code_nothing_is_told(self, store):
        assert self.told(store, self.finished(store, {"code": code()})) == []

    def test_of_other_code_how_many_whose_and_what_differs(self, store):
        other = code() | {"model/head.py": "other", "data/gone.py": "x"}
        grid = self.finished(store, {"code": other, "provenance": {"commit": "c0ffee" * 6 + "abcd+"}})
        assert self.told(store, grid) == [
            "reused: 2 runs, 1 trunk of other code (commit c0ffeec0ffee+; differing: data/gone.py, "
            "model/head.py); "
            "sweep.reuse=same_code trains them anew"
        ]

    @pytest.mark.parametrize(
        ("provenance", "commit"),
        [({"commit": "0" * 40}, "000000000000"), ({"commit": None}, "not known"), ({}, "not known")],
    )
    def test_of_before_codes_were_told(self, store, provenance, commit):
        grid = self.finished(store, {"provenance": provenance})
        assert self.told(store, grid) == [
            f"reused: 2 runs, 1 trunk that do not say which code trained them (commit {commit}); "
            "sweep.reuse=same_code trains them anew"
        ]

    def test_a_trunk_that_arms_fork_from_is_told(self, store):
        (trunk, *_) = make_plan([planned(**fields) for fields in self.GRID], store).jobs
        finish(trunk.node)
        plan = make_plan([planned(**fields) for fields in self.GRID], store)
        assert len(plan.todo) == 2
        assert [(other.is_run, other.files) for other in plan.other_code] == [(False, None)]

    def test_what_has_not_begun_is_not_told(self, store):
        assert self.told(store, [planned(**fields) for fields in self.GRID]) == []

    def test_same_code_trains_them_anew_and_once(self, store, monkeypatch):
        grid = self.finished(store, {"code": {"model/head.py": "other"}})
        assert make_plan(grid, store).todo == []
        again = [planned(**fields, sweep=SweepConfig(reuse=Reuse.same_code)) for fields in self.GRID]
        plan = make_plan(again, store)
        assert len(plan.todo) == 3
        assert {run.run_id for run in again}.isdisjoint(run.run_id for run in grid)
        for job in plan.jobs:
            finish(job.node)
        assert make_plan(again, store).todo == []
        monkeypatch.setattr(identity, "code", lambda: {"model/head.py": "later"})
        later = [planned(**fields, sweep=SweepConfig(reuse=Reuse.same_code)) for fields in self.GRID]
        assert len(make_plan(later, store).todo) == 3


def by_hand(peak):
    return [Stage(50, decay, [Knot(0, peak), Knot(50, peak)]) for decay in (0.1, 0.0)]


@pytest.mark.parametrize(
    ("points", "key"),
    [
        pytest.param([{"lr": "0.001"}, {"lr": "0.0005"}], "lr", id="lr swept"),
        pytest.param([{"lr": "5e-4"}], "lr", id="one lr that the stages have not"),
        pytest.param([{"boundary": "0.3"}, {"boundary": "0.7"}], "boundary", id="boundary swept"),
        pytest.param(
            [{"schedule.lr_final": "0"}, {"schedule.lr_final": "0.1"}],
            "schedule.lr_final",
            id="its end swept",
        ),
    ],
)
def test_what_written_out_stages_leave_out_is_refused(points, key):
    runs = []
    for point in points:
        fields = {name: float(value) for name, value in point.items() if "." not in name}
        overrides = [f"{name}={value}" for name, value in point.items()]
        runs.append(planned(*overrides, stages=by_hand(1e-3), **fields))
    with pytest.raises(ConfigError, match="stages that are written out do not have it") as error:
        check_shorthands(runs)
    assert error.value.key == key


def test_what_written_out_stages_use_is_not_refused():
    check_shorthands([planned(f"lr={lr}", lr=lr, stages=by_hand(lr)) for lr in (1e-3, 5e-4)])
    check_shorthands([planned("lr=1.0e-3", "seed=1", lr=1e-3, seed=1, stages=by_hand(1e-3))])
    check_shorthands([planned(f"boundary={part}", boundary=part) for part in (0.5, 0.5001)])


def test_a_dry_run_tells_the_stages_each_schedule_once():
    grid = [planned(wd2=wd2, seed=seed) for wd2 in (0.0, 0.05) for seed in (1, 2)]
    assert schedule_lines(grid) == [
        "stages of 2 runs:",
        "  1: steps 1 to 50, decay 0.1, learning rate 0 at 0, 0.0015 at 4, 0.001 at 50",
        "  2: steps 51 to 100, decay 0, learning rate 0.001 at 50, 1.5e-06 at 100",
        "stages of 2 runs:",
        "  1: steps 1 to 50, decay 0.1, learning rate 0 at 0, 0.0015 at 4, 0.001 at 50",
        "  2: steps 51 to 100, decay 0.05, learning rate 0.001 at 50, 1.5e-06 at 100",
    ]
    many = [planned(wd2=0.001 * k) for k in range(10)]
    assert schedule_lines(many)[-1] == "and 2 more schedules"
