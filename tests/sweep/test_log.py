"""The training log: the loss between probes, each step once through kills and forks, all else unchanged."""

import dataclasses
from pathlib import Path

import pytest

from bitnet_sweep.config import ConfigError, OptimizerConfig, OptimizerName, RunConfig
from bitnet_sweep.data import fingerprint
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.records import LOG_FIELDS, LOG_LOSS, LOG_LR, LogRow, Record, in_order
from bitnet_sweep.stages import resolve
from bitnet_sweep.store import BOUNDARY, Store, checkpoint
from bitnet_sweep.sweep.exits import InterruptedRunError
from bitnet_sweep.sweep.job import Hooks, Job
from bitnet_sweep.workload import Step


def complete(config, num_stages=None, **hooks):
    return Job(config, "group", [], Hooks(**hooks), num_stages).complete()


def at(config, store, **changes):
    return dataclasses.replace(config, store=str(store), **changes)


def folder_of(config, stage=-1):
    store, ids = Store(Path(config.store)), stage_ids(config, fingerprint(config))
    return store.run(ids[-1]) if stage in (-1, len(ids) - 1) else store.stage(ids[stage])


def science(records):
    return [{k: v for k, v in record.items() if not k.startswith("perf/")} for record in records]


@pytest.mark.parametrize(
    ("steps", "asked", "every"),
    [(2000, None, 20), (10_000, None, 100), (40, None, 1), (2000, 7, 7), (151, None, 2)],
)
def test_it_is_a_hundredth_of_the_run_unless_asked(steps, asked, every):
    assert resolve(RunConfig(steps=steps, log_every_steps=asked)).log_every_steps == every


@pytest.mark.parametrize("asked", [0, -1, 2001])
def test_a_distance_that_no_run_can_have(asked):
    with pytest.raises(ConfigError, match="log_every_steps"):
        RunConfig(steps=2000, log_every_steps=asked)


@pytest.mark.parametrize("every", [1, 3, 5, 20])
@pytest.mark.slow
def test_a_row_has_the_mean_since_the_last_one(tiny, every):
    config = tiny(log_every_steps=every)
    losses: dict[int, float] = {}
    complete(config, on_step=lambda step: losses.setdefault(step.step, step.loss))
    rows = folder_of(config).log()
    assert all(list(row) == list(LOG_FIELDS) for row in rows)
    steps = sorted({1, 20, *range(every, 21, every)})
    assert [row["step"] for row in rows] == steps
    for before, row in zip([0, *steps], rows, strict=False):
        mean = sum(losses[step] for step in range(before + 1, row["step"] + 1)) / (row["step"] - before)
        assert row[LOG_LOSS] == pytest.approx(mean, rel=1e-12)
    rates = {record["step"]: record["optim/lr"] for record in folder_of(config).records()}
    told = {row["step"]: row[LOG_LR] for row in rows}
    assert {step: told[step] for step in told.keys() & rates} == {
        step: rates[step] for step in told.keys() & rates
    }


@pytest.mark.slow
def test_it_changes_no_id_and_no_bit(tiny, tmp_path):
    rare, often = (tiny(store=str(tmp_path / str(n)), log_every_steps=n) for n in (20, 1))
    assert stage_ids(rare, "corpus") == stage_ids(often, "corpus")
    complete(rare)
    complete(often)
    assert science(folder_of(rare).records()) == science(folder_of(often).records())
    assert folder_of(rare).final_path.read_bytes() == folder_of(often).final_path.read_bytes()
    assert (len(folder_of(rare).log()), len(folder_of(often).log())) == (2, 20)


@pytest.mark.parametrize("share", [True, False], ids=["trunks", "alone"])
@pytest.mark.parametrize("every", [1, 3, 4])
@pytest.mark.slow
@pytest.mark.few(2)
def test_interrupted_anywhere_no_row_is_twice_or_missing(tiny, tmp_path, share, every):
    """Stopped after each third step; not every distance has a checkpoint, a probe or the boundary on it."""
    base = tiny(checkpoint_every_steps=4, log_every_steps=every)
    base = dataclasses.replace(base, sweep=dataclasses.replace(base.sweep, share_stages=share))
    calm, broken = at(base, tmp_path / "calm"), at(base, tmp_path / "broken")
    complete(calm)
    stops = 0
    while True:
        seen: list[Step] = []
        try:
            complete(broken, should_stop=lambda seen=seen: len(seen) >= 3, on_step=seen.append)
        except InterruptedRunError:
            stops += 1
            continue
        break
    assert stops >= 5
    assert folder_of(broken).log_path.read_bytes() == folder_of(calm).log_path.read_bytes()


@pytest.mark.parametrize("last", [2, 4, 7, 9, 13, 17])
@pytest.mark.slow
@pytest.mark.few(2)
def test_after_a_kill_behind_a_checkpoint_no_row_is_twice(tiny, tmp_path, last):
    """What was logged behind the last checkpoint is trained, and logged, again."""
    base = tiny(checkpoint_every_steps=3, log_every_steps=2)
    calm, killed = at(base, tmp_path / "calm"), at(base, tmp_path / "killed")
    complete(calm)

    def die(step):
        if step.step == last:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        complete(killed, on_step=die)
    complete(killed)
    assert folder_of(killed).log_path.read_bytes() == folder_of(calm).log_path.read_bytes()


@pytest.mark.slow
def test_a_fork_goes_on_with_the_log_of_its_trunk(tiny):
    """Though each was asked for another distance; the first row behind the fork is of all its steps."""
    trunk = tiny(log_every_steps=4)
    losses: dict[int, float] = {}
    complete(
        trunk,
        num_stages=1,
        on_step=lambda step: losses.setdefault(step.step, step.loss),
    )
    assert [row["step"] for row in folder_of(trunk, 0).log()] == [1, 4, 8]
    arms = [trunk, resolve(dataclasses.replace(trunk, wd2=0.05, stages=[], log_every_steps=3))]
    for arm, steps in zip(arms, ([1, 4, 8, 12, 16, 20], [1, 4, 8, 12, 15, 18, 20]), strict=True):
        own = dict(losses)
        complete(arm, on_step=lambda step, own=own: own.setdefault(step.step, step.loss))
        rows = folder_of(arm).log()
        assert [row["step"] for row in rows] == steps
        assert rows[:3] == folder_of(trunk, 0).log()
        assert rows[3][LOG_LOSS] == pytest.approx(sum(own[step] for step in (9, 10, 11, 12)) / 4, rel=1e-12)


def test_a_run_that_diverges_says_so_in_its_last_row(tiny):
    optimizer = OptimizerConfig(name=OptimizerName.adamw, clip=None)
    config = tiny(lr=1e38, optimizer=optimizer, log_every_steps=20)
    status = complete(config)
    assert status.outcome == "diverged"
    (first, last) = folder_of(config).log()
    assert (first["step"], last["step"], last[LOG_LOSS]) == (1, status.diverged_step, None)
    assert first[LOG_LOSS] is not None


@pytest.mark.slow
def test_a_store_of_before_the_log_is_gone_on_with(tiny, tmp_path):
    """A trunk whose checkpoint and folder know of no log: the fork logs its own part."""
    config = tiny(log_every_steps=2)
    complete(config, num_stages=1)
    trunk = folder_of(config, 0)
    trunk.log_path.unlink()
    tensors, facts = checkpoint.load(trunk.path, BOUNDARY)
    for name in ("log_sum", "steps_since_log"):
        del facts[name]
    checkpoint.save(trunk.path, BOUNDARY, tensors, facts)
    complete(config)
    assert [row["step"] for row in folder_of(config).log()] == [12, 14, 16, 18, 20]


@pytest.mark.slow
def test_a_damaged_line_costs_itself_alone(tiny):
    config = tiny(log_every_steps=5)
    complete(config)
    folder = folder_of(config)
    whole = folder.log()
    lines = folder.log_path.read_text().splitlines()
    folder.log_path.write_text(
        "\n".join([lines[0], '{"step": 5, "lo', "[1]", '{"a": 1}', *lines[2:], '{"st'])
    )
    assert folder.log() == [row for row in whole if row["step"] != 5]
    assert [row["step"] for row in folder.log(until_step=10)] == [1, 10]


def test_what_a_step_left_comes_in_order():
    records: list[Record] = [{"step": 1}, {"step": 4}]
    log: list[LogRow] = [{"step": 1, LOG_LOSS: 2.0}, {"step": 3, LOG_LOSS: 1.0}]
    assert list(in_order(records, log)) == [(records[0], log[0]), (None, log[1]), (records[1], None)]
