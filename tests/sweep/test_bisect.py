"""Bisection: how an interval is narrowed, what is refused, and what is said of each cell."""

import json
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitnet_sweep.config import ConfigError, SweepConfig
from bitnet_sweep.store import FAILED, FINISHED, Status, Store
from bitnet_sweep.sweep.bisect import Search, bisect, verdict
from bitnet_sweep.sweep.exits import FailedRunError
from bitnet_sweep.sweep.grid import Setting

WD2 = Search("wd2", 0.0, 1.0, "recovered", 0.125)


def search_to_the_end(search, has_outcome):
    """All probes in order, and the last interval."""
    has: dict[float, bool] = {}
    order: list[float] = []
    while True:
        low, high, values = search.narrow(has)
        if not values:
            return order, (low, high)
        order += values
        has |= {value: has_outcome(value) for value in values}


def test_halving_by_hand():
    """The outcome holds below 0.3: 1/2 no, 1/4 yes, 3/8 no; then the interval is 1/8 wide."""
    order, interval = search_to_the_end(WD2, lambda value: value < 0.3)
    assert order == [0.0, 1.0, 0.5, 0.25, 0.375]
    assert interval == (0.25, 0.375)


def test_either_end_may_have_the_outcome():
    order, interval = search_to_the_end(WD2, lambda value: value > 0.7)
    assert order == [0.0, 1.0, 0.5, 0.75, 0.625]
    assert interval == (0.625, 0.75)


@pytest.mark.parametrize("always", [True, False])
def test_no_threshold_inside(always):
    order, interval = search_to_the_end(WD2, lambda value: always)
    assert (order, interval) == ([0.0, 1.0], (0.0, 1.0))
    found = verdict(WD2, dict.fromkeys(order, always))
    assert found == ("at both ends" if always else "at neither end")


@given(
    threshold=st.floats(0.0, 0.999),
    halvings=st.integers(0, 8),
    rising=st.booleans(),
)
def test_bisection_finds_what_a_linear_scan_finds(threshold, halvings, rising):
    parts = 2**halvings

    def has(value):
        return (value > threshold) is rising

    search = Search("wd2", 0.0, 1.0, "recovered", 1 / parts)
    order, interval = search_to_the_end(search, has)
    fine = [i / parts for i in range(parts + 1)]
    scan = next((a, b) for a, b in pairwise(fine) if has(a) != has(b))
    assert interval == scan
    assert len(order) == len(set(order)) == 2 + halvings


def test_values_are_short_decimals():
    order, interval = search_to_the_end(Search("wd2", 0.0, 0.8, "recovered", 0.2), lambda value: value > 0.5)
    assert (order, interval) == ([0.0, 0.8, 0.4, 0.6], (0.4, 0.6))


def test_a_tolerance_below_the_numbers_ends():
    order, (low, high) = search_to_the_end(
        Search("wd2", 0.0, 1.0, "recovered", 1e-300), lambda value: value < 0.3
    )
    assert low < 0.3 <= high
    assert len(order) < 100


def test_search_from_settings():
    settings = SweepConfig(bisect="optimizer.beta2:0.9..0.99", until="stuck", tolerance=0.01)
    assert Search.of(settings) == Search("optimizer.beta2", 0.9, 0.99, "stuck", 0.01)
    assert Search.of(SweepConfig(bisect="wd2:0.0..0.08")).tolerance == 0.005
    assert Search.of(SweepConfig(bisect="wd2:1e-3..2.")).low == 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SweepConfig(bisect="wd2"), "sweep.bisect=wd2: must be key:low..high"),
        (SweepConfig(bisect="wd2:0.1..0.1"), "must be key:low..high"),
        (SweepConfig(bisect="wd2:0.1..0"), "must be key:low..high"),
        (SweepConfig(bisect="wd2:0..inf"), "must be key:low..high"),
        (SweepConfig(bisect="wd2:a..b"), "must be key:low..high"),
        (SweepConfig(bisect="wd3:0..1"), "must name a key of the run that takes any number"),
        (SweepConfig(bisect="model.hidden:16..64"), "must name a key of the run that takes any number"),
        (SweepConfig(bisect="data.path:0..1"), "must name a key of the run that takes any number"),
        (SweepConfig(bisect="wd2:0..1", until="fine"), "sweep.until=fine: must be one of healthy, recovered"),
        (SweepConfig(bisect="wd2:0..1", until="unknown"), "sweep.until=unknown: must be one of"),
    ],
    ids=lambda value: str(value.bisect) if isinstance(value, SweepConfig) else "",
)
def test_what_cannot_be_searched(settings, message):
    with pytest.raises(ConfigError) as caught:
        Search.of(settings)
    assert message in str(caught.value)


class World:
    """A launcher that trains nothing: a job is done at once, with an outcome made up from its config.

    Everything else is real: the config, the corpus, the identities, the plan and the store.
    """

    def __init__(self, tiny, outcome):
        self.steps: list[int] = []
        self.rounds: list[list[tuple[int, float]]] = []
        self.tiny = tiny
        self.store = Store(Path(tiny().store))
        self.outcome = outcome

    def compose(self, point):
        return self.tiny(**{setting.key: setting.value for setting in point})

    def launch(self, plan, name):
        runs = [job.run.config for job in plan.todo if job.is_run]
        self.rounds.append(sorted((config.seed, config.wd2) for config in runs))
        self.steps.append(sum(job.steps for job in plan.todo))
        for job in plan.todo:
            node, outcome = job.node, self.outcome(job.run.config)
            state = FINISHED if outcome or not job.is_run else FAILED
            outcome = outcome if job.is_run else None
            node.folder.write_status(Status(state, list(node.stage_ids), outcome=outcome))
            (node.folder.path / "boundary.json").write_text("{}")

    def bisect(self, seeds=(0,), **settings):
        axes = {"seed": [Setting("seed", seed, f"seed={seed}") for seed in seeds]}
        settings = {"bisect": "wd2:0.0..0.8", "tolerance": 0.2, "name": "search", **settings}
        bisect(axes, SweepConfig(**settings), self.compose, ["the words"], self.launch)

    def stop_after(self, rounds):
        """Search until the launcher is asked once more; what was registered whenever it was asked."""
        seen = []

        def launch(plan, name):
            seen.append(set(self.registered()["run_ids"]))
            if len(seen) > rounds:
                raise KeyboardInterrupt
            self.launch(plan, name)

        axes = {"seed": [Setting("seed", seed, f"seed={seed}") for seed in (0, 1)]}
        settings = SweepConfig(bisect="wd2:0.0..0.8", tolerance=0.2, name="search")
        with suppress(KeyboardInterrupt):
            bisect(axes, settings, self.compose, ["the words"], launch)
        return seen

    def registered(self):
        return json.loads((self.store.root / "sweeps" / "search.json").read_text())

    def found(self):
        return json.loads((self.store.root / "bisections" / "search.json").read_text())


def made_up(config):
    """Seed 0 recovers below 0.3, seed 1 above 0.5, seed 2 always, seed 3 never."""
    holds = [config.wd2 < 0.3, config.wd2 > 0.5, True, False][config.seed]
    return "recovered" if holds else "stuck"


def test_cells_advance_together_and_stop_alone(tiny, capsys):
    world = World(tiny, made_up)
    world.bisect(seeds=(0, 1, 2, 3))
    assert world.rounds == [
        [(seed, wd2) for seed in (0, 1, 2, 3) for wd2 in (0.0, 0.8)],
        [(0, 0.4), (1, 0.4)],
        [(0, 0.2), (1, 0.6)],
    ]
    out = capsys.readouterr().out
    table = out[out.index("threshold") :]
    rows = [line.split() for line in table.splitlines() if line.startswith("seed=")]
    assert rows == [
        ["seed=0", "0.2", "0.4", "(stuck)", "found", "4"],
        ["seed=1", "0.6", "0.4", "(stuck)", "found", "4"],
        ["seed=2", "none", "inside:", "at", "both", "ends", "2"],
        ["seed=3", "none", "inside:", "at", "neither", "end", "2"],
    ]
    found = world.found()
    assert (found["key"], found["until"], found["tolerance"]) == ("wd2", "recovered", 0.2)
    cells = found["cells"]
    assert [cell["interval"] for cell in cells] == [[0.2, 0.4], [0.4, 0.6], None, None]
    first = [(probe["wd2"], probe["outcome"]) for probe in cells[0]["probes"]]
    assert first == [(0.0, "recovered"), (0.2, "recovered"), (0.4, "stuck"), (0.8, "stuck")]
    probed = {probe["run_id"] for cell in cells for probe in cell["probes"]}
    assert set(world.registered()["run_ids"]) == probed
    assert len(probed) == 12


def test_the_same_search_again_launches_nothing(tiny):
    world = World(tiny, made_up)
    world.bisect(seeds=(0, 1))
    before, rounds = world.found(), len(world.rounds)
    world.bisect(seeds=(0, 1))
    assert (world.found(), len(world.rounds)) == (before, rounds)


def test_a_finer_search_goes_on_from_a_coarser_one(tiny):
    world = World(tiny, made_up)
    world.bisect(tolerance=0.4)
    world.bisect(tolerance=0.1)
    assert world.rounds == [[(0, 0.0), (0, 0.8)], [(0, 0.4)], [(0, 0.2)], [(0, 0.3)]]
    assert world.found()["cells"][0]["interval"] == [0.2, 0.3]


def test_a_failed_probe_ends_its_cell_alone(tiny, capsys):
    """Seed 0 fails at 0.4; seed 1 is searched to the end; the next try goes on where seed 0 failed."""
    broken = World(tiny, lambda config: None if (config.seed, config.wd2) == (0, 0.4) else made_up(config))
    with pytest.raises(FailedRunError, match="1 of 7 runs are not finished"):
        broken.bisect(seeds=(0, 1))
    assert broken.rounds == [[(0, 0.0), (0, 0.8), (1, 0.0), (1, 0.8)], [(0, 0.4), (1, 0.4)], [(1, 0.6)]]
    assert [cell["verdict"] for cell in broken.found()["cells"]] == ["not finished", "found"]
    assert "not finished" in capsys.readouterr().out
    mended = World(tiny, made_up)
    mended.bisect(seeds=(0, 1))
    assert mended.rounds == [[(0, 0.4)], [(0, 0.2)]]
    assert [cell["verdict"] for cell in mended.found()["cells"]] == ["found", "found"]


def test_a_value_that_cannot_be_run_is_no_wrong_command_once_something_ran(tiny, monkeypatch):
    world = World(tiny, made_up)
    allowed = world.compose

    def compose(point):
        if any(setting.value == 0.4 for setting in point):
            raise ConfigError("wd2", 0.4, "not this one")
        return allowed(point)

    monkeypatch.setattr(world, "compose", compose)
    with pytest.raises(FailedRunError, match=r"^the search cannot go on: wd2=0.4: not this one$"):
        world.bisect()
    assert world.rounds == [[(0, 0.0), (0, 0.8)]]
    assert len(world.registered()["run_ids"]) == 2


def test_other_outcomes_count_as_not_having_it(tiny):
    """Healthy, then recovered, then diverged: the search takes the ends at their word."""
    world = World(tiny, lambda config: "diverged" if config.wd2 > 0.3 else "recovered")
    world.bisect()
    assert world.found()["cells"][0]["interval"] == [0.2, 0.4]


def test_probes_fork_from_one_trunk(tiny):
    """10 steps of trunk and 10 for each of 4 probes, where four runs would be 80."""
    world = World(tiny, made_up)
    world.bisect()
    assert world.steps == [30, 10, 10]


def test_dry_run_shows_the_next_probes(tiny, capsys):
    world = World(tiny, made_up)
    world.bisect(dry_run=True)
    assert "The probes that follow depend on these." in capsys.readouterr().out
    assert world.rounds == []
    assert not (world.store.root / "sweeps").exists()


@pytest.mark.parametrize("rounds", [1, 2, 9])
def test_dry_run_writes_nothing(tiny, rounds):
    """Not over a search that was stopped after some rounds, nor over one that is through."""
    world = World(tiny, made_up)
    world.stop_after(rounds)
    before = {path: path.read_bytes() for path in world.store.root.rglob("*.json")}
    world.bisect(seeds=(0, 1), dry_run=True)
    assert {path: path.read_bytes() for path in world.store.root.rglob("*.json")} == before


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_search_that_goes_on_forgets_no_probe(tiny, rounds):
    """Nor for the moment until it is where it was: `status --clean` would free what it needs."""
    world = World(tiny, made_up)
    world.stop_after(rounds)
    before = set(world.registered()["run_ids"])
    assert world.stop_after(0) == [before]
    assert not (world.store.root / "sweeps" / "search.1.json").exists()


def test_a_search_that_goes_on_forgets_no_probe_of_a_cell_that_was_ahead(tiny):
    broken = World(tiny, lambda config: None if (config.seed, config.wd2) == (0, 0.4) else made_up(config))
    with pytest.raises(FailedRunError):
        broken.bisect(seeds=(0, 1))
    before = set(broken.registered()["run_ids"])
    assert World(tiny, made_up).stop_after(0) == [before]


def test_a_name_that_another_sweep_has_is_taken_from_it(tiny, caplog):
    world = World(tiny, made_up)
    world.bisect(seeds=(0,))
    first, found = world.registered(), world.found()
    world.bisect(seeds=(1,))
    assert "is now called search.1" in caplog.text
    assert json.loads((world.store.root / "sweeps" / "search.1.json").read_text()) == first
    assert json.loads((world.store.root / "bisections" / "search.1.json").read_text()) == found
    assert not set(first["run_ids"]) & set(world.registered()["run_ids"])


def test_the_trunk_stays_until_the_search_is_through(tiny):
    """With sweep.keep_stages=false: the next probe forks from it."""
    world = World(lambda **changes: tiny(sweep=SweepConfig(keep_stages=False), **changes), made_up)
    world.bisect()
    assert world.steps == [30, 10, 10]
    assert not list(world.store.root.glob("stages/*/boundary.json"))


def test_excluded_cells_are_left_out(tiny):
    world = World(tiny, made_up)
    world.bisect(seeds=(0, 1), exclude=[{"seed": 1}])
    assert [cell["overrides"] for cell in world.found()["cells"]] == [["seed=0"]]
    assert world.registered()["excluded"] == ["seed=1 wd2=0.0"]


@pytest.mark.parametrize("name", [None, "search"])
def test_a_key_that_makes_no_difference(tiny, name):
    world = World(tiny, made_up)
    with pytest.raises(ConfigError, match=r"sweep\.bisect=schedule.checkpoint_every: makes no difference"):
        bisect(
            {"seed": [Setting("seed", 0, "seed=0")]},
            SweepConfig(bisect="schedule.checkpoint_every:0.1..0.2", name=name),
            lambda point: tiny(),
            [],
            world.launch,
        )
    assert world.rounds == []


def test_a_key_both_searched_and_swept(tiny):
    world = World(tiny, made_up)
    with pytest.raises(ConfigError, match="leave wd2 out"):
        bisect(
            {"wd2": [Setting("wd2", 0.5, "wd2=0.5")]},
            SweepConfig(bisect="wd2:0..1"),
            world.compose,
            [],
            world.launch,
        )
