"""The claims ledger: each claim's own grid, composed by Hydra, in a world as claimed and in its opposite.

The runs are made up (21 probes, unigram loss 6.0); their configs are those that the claim's command gives.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, open_dict

from bitnet_sweep.app import config_folder
from bitnet_sweep.compose import Composer, sweep_settings
from bitnet_sweep.config import OptimizerName, RunConfig, Weights, flatten, plain
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.report import Report, make_report, write_report
from bitnet_sweep.report.__main__ import main
from bitnet_sweep.report.claims import ledger, noted, noted_claims
from bitnet_sweep.report.claims.claim import Claim, Direction, Finding, Unit, Unjudged, beyond, within
from bitnet_sweep.report.claims.ledger import Entry
from bitnet_sweep.report.claims.setting import follows_schedule
from bitnet_sweep.report.claims.verdict import Verdict, verdict_of
from bitnet_sweep.report.read import Evidence, Run, read_stores
from bitnet_sweep.report.summary import Study
from bitnet_sweep.store import Store
from bitnet_sweep.sweep.grid import make_grid, read_axes
from bitnet_sweep.sweep.plan import PlannedRun, make_plan
from tests.report.conftest import as_read

UNIGRAM = 6.0
PUBLISHED_TOTALS = {256: 28_400_000, 512: 114_000_000, 768: 256_600_000, 1024: 458_000_000}
CLAIMS = {claim.name: claim for claim in noted_claims()}
DOCS = Path(__file__).parent.parent.parent / "docs" / "claims.md"

Story = dict[str, Any]
"""Keywords of ``told_by``: how one run went."""


def told_by(
    config: RunConfig,
    *,
    collapses: bool = True,
    back: float | None = 0.0,
    high: float = 8.0,
    after: float = 5.68,
    end: float = 4.0,
    tokens: tuple[int, int, int] = (2, 9, 12),
    **_: object,
) -> list[dict[str, Any]]:
    """Records at every twentieth: learned by a tenth, collapsed behind it, back below U at ``back``.

    Args:
        back: fraction of the run; 0 is a twentieth behind the decay boundary, None is never.
        high, after, end: losses while collapsed, when back, and at the end. 8 to 5.68 is -29 %.
        tokens: the same three.
    """
    back = config.boundary + 0.05 if back == 0.0 else back
    rows = []
    for twentieth in range(21):
        place = twentieth / 20
        is_down = collapses and place > 0.1 and (back is None or place < back - 1e-9)
        loss, count = (high, tokens[0]) if is_down else (after, tokens[1])
        if place == 1 and not is_down:
            loss, count = end, tokens[2]
        step = max(1, round(place * config.steps))
        rows.append({"step": step, "val/loss": loss, "ref/unigram_loss": UNIGRAM})
        rows[-1] |= {"stage": 1 if place <= config.boundary else 2, "probe/unique_tokens": count}
    return rows


def stuck_unless_off(config: RunConfig) -> Story:
    return {} if config.wd2 == 0.0 else {"back": None}


def by_quality(config: RunConfig, *, fewest_is_best: bool) -> Story:
    """Decoupled is best, then wd2=0.0, then stuck; two arms that never collapse end alike."""
    if config.optimizer.name is OptimizerName.adamw:
        return {"collapses": False, "end": 3.5, "tokens": ((1 if fewest_is_best else 14),) * 3}
    if config.wd2 == 0.0:
        return {"tokens": ((5 if fewest_is_best else 10),) * 3}
    return {"back": None, "tokens": ((9 if fewest_is_best else 3),) * 3}


OPPOSITES: dict[str, tuple[Callable[[RunConfig], Story], Callable[[RunConfig], Story]]] = {
    "collapse": (lambda c: {}, lambda c: {"collapses": False}),
    "collapse in tokens": (lambda c: {}, lambda c: {"tokens": (9, 9, 12)}),
    "collapse at every learning rate": (lambda c: {}, lambda c: {"collapses": False}),
    "recovery": (lambda c: {}, lambda c: {"back": 0.75}),
    "loss drop": (lambda c: {}, lambda c: {"after": 4.0}),
    "token factor": (lambda c: {}, lambda c: {"tokens": (2, 3, 12)}),
    "final tokens": (lambda c: {}, lambda c: {"tokens": (2, 9, 6)}),
    "stuck at 0.05": (lambda c: {"back": None}, lambda c: {}),
    "0.0 against 0.05": (stuck_unless_off, lambda c: {}),
    "label smoothing": (lambda c: {}, lambda c: {"collapses": c.loss.label_smoothing == 0.0}),
    "clipping": (lambda c: {}, lambda c: {"collapses": c.optimizer.clip == 1.0}),
    "rival: decoupled decay": (
        lambda c: {"collapses": c.optimizer.name is OptimizerName.adam_l2},
        lambda c: {},
    ),
    "rival: full precision": (lambda c: {}, lambda c: {"collapses": c.model.weights is Weights.ternary}),
    "scale invariance": (lambda c: {}, lambda c: {"after": 5.68 if c.model.hidden == 256 else 4.0}),
    "parameter counts": (
        lambda c: {"parameters": PUBLISHED_TOTALS[c.model.hidden]},
        lambda c: {},
    ),
    "tokens rank as loss": (
        lambda c: by_quality(c, fewest_is_best=False),
        lambda c: by_quality(c, fewest_is_best=True),
    ),
    "the boundary triggers": (lambda c: {}, lambda c: {"back": 0.55}),
    "the LR path does not": (lambda c: {"back": 0.55}, lambda c: {"back": c.lr_boundary + 0.05}),
    "decay must change": (stuck_unless_off, lambda c: {}),
}
"""For each claim how every run of its grid goes if it is true, and if it is false."""


@pytest.fixture(scope="module")
def composed() -> Iterator[Callable[[str], list[RunConfig]]]:
    """The configs that a command stands for, by way of the sweeper's own parts."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        parser = OverridesParser.create()

        def load(overrides: list[str]) -> DictConfig:
            config = loader.load_configuration("config", list(overrides), run_mode=RunMode.RUN)
            with open_dict(config):
                del config["hydra"]
            return config

        composer = Composer(load, lambda key: bool(loader.get_group_options(key)))

        @cache
        def compose(command: str) -> list[RunConfig]:
            words = shlex.split(command)
            assert words[:4] == ["python", "-m", "bitnet_sweep", "-m"]
            axes = read_axes(parser.parse_overrides(words[4:]), parser)
            return [config for _, config in make_grid(axes, sweep_settings(axes, load), composer).points]

        yield compose


def write_run(root: Path, config: RunConfig, story: Story) -> None:
    ids = stage_ids(config, "corpus")
    folder = root / "runs" / ids[-1]
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.dump(plain(config), Dumper=yaml.CSafeDumper))
    status = {"schema": 1, "run_id": ids[-1], "state": "finished", "stage_ids": ids}
    status |= {"parameters": {"total": story["parameters"]}} if "parameters" in story else {}
    (folder / "status.json").write_text(json.dumps(status))
    lines = [json.dumps(row) + "\n" for row in told_by(config, **story)]
    (folder / "records.jsonl").write_text("".join(lines))


def entries_of(evidence: Evidence, name: str) -> list[Entry]:
    return [entry for entry in ledger(Study.of(evidence).sections) if entry.claim.name == name]


def only(evidence: Evidence, keep: Callable[[Run], bool]) -> Evidence:
    return replace(evidence, runs={run_id: run for run_id, run in evidence.runs.items() if keep(run)})


@pytest.fixture(scope="module")
def world(composed, tmp_path_factory) -> Callable[[str, bool], Evidence]:
    """A claim's grid as its command would leave it in a store, in the world asked for."""

    @cache
    def build(name: str, as_claimed: bool) -> Evidence:
        root = tmp_path_factory.mktemp("world")
        story = OPPOSITES[name][0 if as_claimed else 1]
        for config in composed(CLAIMS[name].command):
            write_run(root, config, story(config))
        return read_stores([root])

    return build


def test_every_claim_has_its_opposite():
    assert set(OPPOSITES) == set(CLAIMS)
    assert len(CLAIMS) >= 18


@pytest.mark.parametrize("name", OPPOSITES)
@pytest.mark.parametrize("as_claimed", [True, False], ids=["true", "false"])
@pytest.mark.slow
@pytest.mark.few(8)
def test_three_seeds_of_its_own_grid_settle_a_claim(world, name, as_claimed):
    (entry,) = entries_of(world(name, as_claimed), name)
    n = 4 if CLAIMS[name].exact else 3
    assert entry.verdict == Verdict("reproduced" if as_claimed else "contradicted", n)
    assert entry.run_ids
    assert entry.setting.startswith("scale=")


def test_a_recovery_that_the_bend_sends_the_other_way_did_not_stay(composed, tmp_path):
    """A bend a fifth of the run earlier, a recovery a fifth later."""
    for config in composed(CLAIMS["the LR path does not"].command):
        if config.lr_boundary <= 0.5:
            write_run(tmp_path, config, {"back": 1.05 - config.lr_boundary})
    (entry,) = entries_of(read_stores([tmp_path]), "the LR path does not")
    assert entry.verdict == Verdict("contradicted", 3)
    found = [unit.found.value for unit in entry.units if isinstance(unit.found, Finding)]
    assert found == pytest.approx([-1.0] * 3)


@pytest.mark.parametrize("name", [name for name in OPPOSITES if not CLAIMS[name].exact])
@pytest.mark.parametrize("as_claimed", [True, False], ids=["true", "false"])
@pytest.mark.few(8)
def test_one_seed_only_leans(world, name, as_claimed):
    evidence = only(world(name, as_claimed), lambda run: run.config["seed"] == 1)
    (entry,) = entries_of(evidence, name)
    assert entry.verdict == Verdict("consistent" if as_claimed else "at odds", 1)


@pytest.mark.parametrize("name", [name for name in OPPOSITES if not CLAIMS[name].exact])
@pytest.mark.few(8)
def test_seeds_that_disagree_settle_nothing(world, name):
    """Seed 1 from the true world, the others from the false one."""
    true = only(world(name, True), lambda run: run.config["seed"] == 1)
    false = only(world(name, False), lambda run: run.config["seed"] != 1)
    (entry,) = entries_of(replace(true, runs=true.runs | false.runs), name)
    assert entry.verdict == Verdict("inconclusive", 3)


@pytest.mark.parametrize("name", CLAIMS)
def test_the_command_of_a_claim_can_be_planned(composed, tmp_path, name):
    configs = composed(CLAIMS[name].command)
    plan = make_plan([PlannedRun((), c, tuple(stage_ids(c, "corpus"))) for c in configs], Store(tmp_path))
    assert len(plan.runs) == len(configs) >= 3
    assert sum(unit.steps for unit in plan.todo) > 0


class TestVerdict:
    """The rule, on made-up observations."""

    @staticmethod
    def units(text: str) -> list[Unit]:
        """``a1+`` is cell a, seed 1, as claimed; ``-`` against, ``0`` undecided, ``?`` not judged."""
        ways: dict[str, Finding | Unjudged]
        ways = {"+": Finding(1), "-": Finding(-1), "0": Finding(0), "?": Unjudged("no reason")}
        return [Unit(word[0], int(word[1]), (), ways[word[2]]) for word in text.split()]

    @pytest.mark.parametrize(
        ("text", "verdict"),
        [
            pytest.param("", Verdict("not tested", 0), id="nothing"),
            pytest.param("a1? a2?", Verdict("inconclusive", 0), id="nothing that can be judged"),
            pytest.param("a1+ a2+ a3+", Verdict("reproduced", 3), id="three seeds"),
            pytest.param("a1- a2- a3-", Verdict("contradicted", 3), id="three against"),
            pytest.param("a1+ a2+", Verdict("consistent", 2), id="two"),
            pytest.param("a1- b1- c1- d1-", Verdict("at odds", 1), id="sizes are no replicates"),
            pytest.param("a1+ a2+ b1+", Verdict("consistent", 2), id="the cell with the most seeds"),
            pytest.param(
                "a1+ a2+ a3+ a4+ a5+ b1+ b2+", Verdict("reproduced", 5), id="a size more takes nothing away"
            ),
            pytest.param("a1+ a2+ a3+ b1+ b2+ b3+", Verdict("reproduced", 3), id="every cell has three"),
            pytest.param("a1- a2- a3- b1-", Verdict("contradicted", 3), id="more of it weakens nothing"),
            pytest.param("a1+ a2+ a3-", Verdict("inconclusive", 3), id="one against"),
            pytest.param("a1+ a2+ a3+ a40", Verdict("inconclusive", 4), id="one within the margin"),
            pytest.param(
                "a1+ a2+ a3+ a4+ a5+ a6+ a7+ a8+ a9+ a00", Verdict("reproduced", 9), id="one of ten undecided"
            ),
            pytest.param(
                "a1- a2- a3- a4- a5- a6- a7- a8- a9- a00", Verdict("contradicted", 9), id="and against it"
            ),
            pytest.param("a1- a2- a3- b40 b50", Verdict("contradicted", 3), id="undecided beside against"),
            pytest.param("a10 a20 a30", Verdict("inconclusive", 3), id="undecided alone"),
            pytest.param("a1+ a2+ a3+ a4- a50", Verdict("inconclusive", 5), id="both ways"),
            pytest.param("a1+ a2+ a3+ a4?", Verdict("reproduced", 3), id="one that says nothing"),
            pytest.param("a1+ a1+ a1+", Verdict("consistent", 1), id="one seed thrice"),
        ],
    )
    def test_rule(self, text, verdict):
        assert verdict_of(self.units(text)) == verdict

    @pytest.mark.parametrize(
        ("text", "verdict"),
        [
            pytest.param("a1+ a2+ a3+", Verdict("consistent", 3), id="one cell reproduces nothing"),
            pytest.param(
                "a1+ a2+ a3+ b1? b2?", Verdict("consistent", 3), id="nor one beside an unjudged one"
            ),
            pytest.param("a1- a2- a3-", Verdict("contradicted", 3), id="one cell contradicts"),
            pytest.param("a1+ a2+ a3+ b1+ b2+ b3+", Verdict("reproduced", 3), id="two cells"),
            pytest.param("a1+ a2+ a3+ b1+ b2+ b3+ c1+", Verdict("reproduced", 3), id="a third takes nothing"),
            pytest.param("a1+ a2+ a3+ b1+", Verdict("consistent", 1), id="the second cell has one seed"),
        ],
    )
    def test_a_claim_about_every_cell(self, text, verdict):
        assert verdict_of(self.units(text), cells=2) == verdict

    def test_claims_about_every_size_or_rate_ask_for_several(self):
        told = {name for name, claim in CLAIMS.items() if claim.cells > 1}
        every = {
            name for name, claim in CLAIMS.items() if re.search("[Ee]very size|all learning", claim.says)
        }
        assert told == every

    def test_what_compares_cells_counts_the_seeds_of_each(self):
        """Three seeds with two sizes, one of them with four: the third size has one seed."""
        covered = [(1, "abcd"), (2, "ab"), (3, "ab")]
        units = [Unit("", seed, (), Finding(1), covers=tuple(cells)) for seed, cells in covered]
        assert verdict_of(units, cells=3) == Verdict("consistent", 1)
        assert verdict_of(units, cells=2) == Verdict("reproduced", 3)
        more = [*units, *(Unit("", seed, (), Finding(1), covers=("a", "b", "c")) for seed in (4, 5))]
        assert verdict_of(more, cells=3) == Verdict("reproduced", 3)

    FOR, AGAINST = ("consistent", "reproduced"), ("at odds", "contradicted")
    OBSERVATIONS = st.builds(
        lambda cell, seed, way: Unit(cell, seed, (), Unjudged("no reason") if way is None else Finding(way)),
        st.sampled_from("abcd"),
        st.integers(0, 5),
        st.sampled_from([1, 1, 1, 0, None, -1, -1, -1]),
    )
    STORES = st.lists(OBSERVATIONS, max_size=30) | st.lists(
        OBSERVATIONS.filter(lambda unit: unit.found != Finding(-1)), max_size=30
    )
    """Half of them hold nothing against the claim, as few lists of both kinds are of one mind."""

    @given(STORES, OBSERVATIONS, st.integers(1, 5), st.booleans())
    def test_more_evidence_of_one_kind_never_weakens_a_verdict(self, units, more, cells, exact):
        ways: list[tuple[Direction, tuple[str, ...]]] = [(1, self.FOR), (-1, self.AGAINST)]
        for way, ranks in ways:
            before = verdict_of(units, cells=cells, exact=exact)
            after = verdict_of([*units, replace(more, found=Finding(way))], cells=cells, exact=exact)
            if before.word in ranks:
                assert after.word in ranks
                assert ranks.index(after.word) >= ranks.index(before.word)
                if before.word == ranks[1] or cells == 1:
                    assert after.n >= before.n
            elif before.word in ("not tested", "inconclusive"):
                assert after.word in (*ranks, "inconclusive", *(["contradicted"] if exact else []))

    @given(STORES, OBSERVATIONS, st.integers(1, 5))
    def test_what_decides_nothing_takes_nothing_from_what_is_against(self, units, more, cells):
        before = verdict_of(units, cells=cells)
        for silent in (Finding(0), Unjudged("no reason")):
            after = verdict_of([*units, replace(more, found=silent)], cells=cells)
            if before.word in self.AGAINST or (before.word in self.FOR and silent != Finding(0)):
                assert after == before

    @given(STORES, st.integers(1, 5), st.booleans(), st.randoms(use_true_random=False))
    def test_order_and_repetition_say_nothing(self, units, cells, exact, random):
        mixed = random.sample(units, len(units))
        assert verdict_of(mixed, cells=cells, exact=exact) == verdict_of(units, cells=cells, exact=exact)
        decided = [unit for unit in units if unit.found != Finding(0)]
        doubled = verdict_of([*decided, *decided], cells=cells, exact=exact)
        assert doubled == verdict_of(decided, cells=cells, exact=exact)

    @pytest.mark.parametrize(
        ("text", "verdict"),
        [
            ("a1-", Verdict("contradicted", 1)),
            ("a1+ b1+ c1-", Verdict("contradicted", 3)),
            ("a1+ b1+ c1+", Verdict("reproduced", 3)),
            ("a1+ a2+ a3+", Verdict("consistent", 1)),
        ],
    )
    def test_arithmetic_needs_no_seeds(self, text, verdict):
        assert verdict_of(self.units(text), exact=True) == verdict

    def test_margins_hold_for_decimals(self):
        assert [beyond(value, 0.1) for value in (8.3 - 8.2, 0.11, -0.11, 0.0)] == [0, 1, -1, 0]
        assert [within(v, 26, 32, 3) for v in (26, 32, 23, 35, 22.9, 35.1)] == [1, 1, 0, 0, -1, -1]


def rows_of(report: Report) -> dict[str, dict[str, str]]:
    """The ledger by claim; every claim must have one row."""
    csv = as_read(report, "claims")
    rows = [dict(zip(csv.columns, row, strict=True)) for row in csv.itertuples(index=False, name=None)]
    assert len({row["name"] for row in rows}) == len(rows)
    return {row["name"]: row for row in rows}


def verdicts(report: Report) -> dict[str, tuple[str, str]]:
    return {name: (row["verdict"], row["n"]) for name, row in rows_of(report).items()}


def test_the_notes_own_numbers(published_store):
    """One seed, no unigram loss, one arm a size: they lean at most, but for what arithmetic settles."""
    report = make_report([published_store])
    found = verdicts(report)
    tested = {name: verdict for name, verdict in found.items() if verdict[0] != "not tested"}
    assert tested == {
        "collapse": ("inconclusive", "n=0"),
        "collapse in tokens": ("consistent", "n=1"),
        "recovery": ("inconclusive", "n=0"),
        "loss drop": ("consistent", "n=1"),
        "token factor": ("consistent", "n=1"),
        "final tokens": ("consistent", "n=1"),
        "scale invariance": ("inconclusive", "n=0"),
        "parameter counts": ("contradicted", "n=4"),
    }
    rows = rows_of(report)
    assert "ref/unigram_loss is not on record" in rows["recovery"]["evidence"]
    assert rows["scale invariance"]["evidence"] == "1 seed not judged (no outcome is known)"
    assert rows["loss drop"]["evidence"].startswith(
        "4 of 4 runs as claimed; change of the held-out loss -29.2% to -28.4%"
    )
    assert rows["parameter counts"]["evidence"].startswith("1 of 4 runs as claimed, 3 against")
    assert rows["stuck at 0.05"]["evidence"] == "nothing in the store tests it"
    (part,) = report.table("claims").parts
    assert part.headings[-1] == "how to test it"
    for row, texts in zip(part.rows, part.texts, strict=True):
        is_untested = row["verdict"].value == "not tested"
        assert (texts[-1].startswith("python -m bitnet_sweep -m "), not row.run_ids) == (is_untested,) * 2


NUMBERS = ("collapse in tokens", "loss drop", "token factor", "final tokens")
"""Claims that quote a loss or a count of the notes."""
THEIRS: dict[str, Any] = {"steps": 10_000, "warmup_steps": 375, "tokenizer__vocab_size": 50257}
THEIR_LOSSES: dict[int, float | None] = {1: 9.0, 1000: 5.5, 5000: 8.0, 6000: 5.68, 10_000: 4.0}
THEIR_TOKENS = {1: 20, 1000: 9, 5000: 2, 6000: 9, 10_000: 12}
ANOTHER_TEXT = "another text than their WikiText-2"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"data__name": "wikitext2"}, None, id="their corpus"),
        pytest.param({"data__name": None}, None, id="a text that is not told"),
        pytest.param(
            {"data__path": ["a/wikitext-2-raw/valid.txt", "WikiText2/b.txt"]}, None, id="their files"
        ),
        pytest.param({"data__name": "world_factbook"}, ANOTHER_TEXT, id="another corpus"),
        pytest.param({"data__path": ["wikitext-2/a.txt", "b.txt"]}, ANOTHER_TEXT, id="one other file"),
        pytest.param({"data__path": "corpus/wikitext-20.txt"}, ANOTHER_TEXT, id="a name like theirs"),
        pytest.param({}, ANOTHER_TEXT, id="files that are not told"),
        pytest.param(
            {"data__name": "wikitext2", "tokenizer__vocab_size": 4096},
            "a vocabulary of 4096 and not their 50257",
            id="another vocabulary",
        ),
    ],
)
def test_numbers_of_the_notes_are_held_against_their_own_text_alone(store, change, reason):
    for seed in (1, 2, 3):
        place = THEIRS | {"seed": seed} | change
        store.run(f"a{seed}", THEIR_LOSSES, THEIR_TOKENS, **place)
    rows = rows_of(make_report([store.root]))
    for name in NUMBERS:
        assert (rows[name]["verdict"] == "not comparable") == (reason is not None), name
        assert reason is None or rows[name]["evidence"].startswith(f"{reason}; {CLAIMS[name].measure} ")
        assert reason is None or rows[name]["n"] == "n=0"
        assert reason is None or "as claimed" not in rows[name]["evidence"]
    assert rows["recovery"]["verdict"] == "consistent", "it compares a run with its own unigram loss"


def test_a_tenth_of_a_short_run_is_not_their_thousand_steps(store):
    for seed in (1, 2, 3):
        store.run(f"a{seed}", LOSSES, seed=seed, data__name="wikitext2", tokenizer__vocab_size=50257)
    rows = rows_of(make_report([store.root]))
    for name in ("recovery", "loss drop", "token factor"):
        assert rows[name]["verdict"] == "not comparable"
        assert rows[name]["evidence"].startswith("a tenth of the run is 10 steps and not their 1,000")
        assert rows[name]["run_ids"] == "a1 a2 a3"


def test_a_size_that_diverged_leaves_the_pattern_undecided(store):
    for hidden, losses in ((64, LOSSES), (128, LOSSES | {100: None})):
        store.run(f"h{hidden}", losses, model__hidden=hidden)
    row = rows_of(make_report([store.root]))["scale invariance"]
    assert (row["verdict"], row["evidence"]) == ("inconclusive", "1 seed not judged (a size diverged)")


def test_a_store_without_runs_tests_nothing(store):
    found = verdicts(make_report([store.root]))
    assert found == dict.fromkeys(CLAIMS, ("not tested", "n=0"))


LOSSES: dict[int, float | None] = {1: 9.0, 10: 5.5, 50: 8.0, 60: 5.7, 100: 4.0}
HEALTHY: dict[int, float | None] = {1: 9.0, 10: 5.5, 50: 5.0, 60: 4.9, 100: 4.0}


def test_settings_are_judged_apart(store):
    """Three seeds say yes at one vocabulary and three no at another: two rows, neither inconclusive."""
    for seed in (1, 2, 3):
        store.run(f"a{seed}", LOSSES, seed=seed)
        store.run(f"b{seed}", HEALTHY, seed=seed, tokenizer__vocab_size=400)
    csv = as_read(make_report([store.root]), "claims")
    rows = csv[csv["name"] == "collapse"]
    assert list(zip(rows["setting"], rows["verdict"], rows["n"], strict=True)) == [
        ("scale=small, steps=100, tokenizer.vocab_size=300", "consistent", "n=3"),
        ("scale=small, steps=100, tokenizer.vocab_size=400", "contradicted", "n=3"),
    ]
    assert rows.iloc[0]["run_ids"] == "a1 a2 a3"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"lr": 0.001}, id="another learning rate"),
        pytest.param({"wd1": 0.2}, id="another first decay"),
        pytest.param({"boundary": 0.4}, id="another boundary"),
        pytest.param({"optimizer__name": "adamw"}, id="decoupled"),
        pytest.param({"model__weights": "full"}, id="full precision"),
        pytest.param({"optimizer__clip": None}, id="no clipping"),
        pytest.param({"optimizer__decay": "matrices"}, id="decay of matrices alone"),
        pytest.param({"loss": {"label_smoothing": 0.1}}, id="smoothing"),
        pytest.param({"loss": {"z_loss": 1e-4}}, id="z-loss"),
        pytest.param({"lr_boundary": 0.7}, id="another bend"),
        pytest.param({"lr": None}, id="a learning rate that is not told"),
        pytest.param({"state": "running"}, id="not finished"),
    ],
)
def test_what_was_trained_otherwise_is_no_witness(store, change):
    """A healthy run of another kind beside collapsed ones of the notes' kind changes nothing."""
    for seed in (1, 2, 3):
        store.run(f"a{seed}", LOSSES, seed=seed)
    store.run("other", HEALTHY, seed=4, **change)
    row = rows_of(make_report([store.root]))["collapse"]
    assert (row["verdict"], row["run_ids"]) == ("consistent", "a1 a2 a3")


def test_arms_of_one_trunk_are_one_observation_of_the_first_stage(store):
    for wd2 in (0.0, 0.02, 0.05):
        store.run(f"a{wd2}", LOSSES, wd2=wd2)
    row = rows_of(make_report([store.root]))["collapse"]
    assert (row["verdict"], row["n"]) == ("consistent", "n=1")
    assert row["evidence"].startswith("1 of 1 run as claimed; loss at the boundary minus U (nats) +2.00")


@pytest.mark.parametrize(
    ("soon", "end", "verdict"),
    [
        pytest.param(5.8, 5.8, "consistent", id="below"),
        pytest.param(5.95, 6.05, "inconclusive", id="both within the margin"),
        pytest.param(5.8, 5.98, "inconclusive", id="the end within it"),
        pytest.param(5.98, 5.8, "inconclusive", id="a tenth later within it"),
        pytest.param(5.95, 6.5, "contradicted", id="up again"),
        pytest.param(6.5, 5.0, "contradicted", id="too late"),
    ],
)
def test_recovery_has_its_margin_at_both_places(store, soon, end, verdict):
    for seed in (1, 2, 3):
        losses = {1: 9.0, 1000: 5.5, 5000: 8.0, 6000: soon, 10_000: end}
        store.run(f"a{seed}", losses, seed=seed, steps=10_000, warmup_steps=375)
    assert rows_of(make_report([store.root]))["recovery"]["verdict"] == verdict


NEVER: dict[int, float | None] = {1: 9.0, 10: 8.5, 50: 8.0, 60: 7.9, 100: 7.0}


def test_a_setting_too_short_to_learn_in_settles_nothing_until_one_run_learns(store):
    """Not learned yet looks like collapse without recovery; a decoupled run that learns tells them apart."""
    for seed in (1, 2, 3):
        store.run(f"a{seed}", NEVER, dict.fromkeys(NEVER, 2), seed=seed)
    rows = rows_of(make_report([store.root]))
    assert {row["verdict"] for row in rows.values()} == {"inconclusive", "not comparable", "not tested"}
    assert "no run of the setting was ever below U" in rows["collapse"]["evidence"]
    store.run("b", HEALTHY, optimizer__name="adamw", seed=1)
    rows = rows_of(make_report([store.root]))
    assert rows["collapse"]["verdict"] == "consistent"
    assert rows["rival: decoupled decay"]["verdict"] == "consistent"


def test_a_diverged_run_is_not_passed_over(store):
    for seed in (1, 2, 3):
        store.run(f"a{seed}", LOSSES, seed=seed)
    store.run("b", {1: 9.0, 10: 5.5, 20: None}, seed=4)
    row = rows_of(make_report([store.root]))["collapse"]
    assert row["verdict"] == "inconclusive"
    assert row["evidence"].startswith("3 of 4 runs as claimed, 1 undecided")


@pytest.mark.parametrize(
    ("last", "status"),
    [
        pytest.param(None, {}, id="by its records"),
        pytest.param(8.0, {"outcome": "diverged"}, id="by its status"),
    ],
)
def test_a_run_that_diverged_before_it_could_recover_is_undecided(store, last, status):
    store.run("a", LOSSES)
    store.run("b", {1: 9.0, 10: 5.5, 50: 8.0, 60: 8.0, 70: last}, boundary=0.6, status=status)
    row = rows_of(make_report([store.root]))["the boundary triggers"]
    assert (row["verdict"], row["n"]) == ("inconclusive", "n=1")
    assert row["evidence"].startswith("0 of 1 pair as claimed, 1 undecided")


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        pytest.param(5.6, ("inconclusive", "n=0"), id="equal drops are no pattern"),
        pytest.param(4.0, ("at odds", "n=1"), id="unlike ones contradict"),
    ],
)
def test_drops_without_an_outcome(store, after, verdict):
    """8 to 5.6 is 30 %, and to 4 it is 50 %; no unigram loss is on record."""
    for hidden, loss in ((64, 5.6), (128, after)):
        store.run(f"a{hidden}", {50: 8.0, 60: loss, 100: 4.0}, unigram=None, model__hidden=hidden)
    assert verdicts(make_report([store.root]))["scale invariance"] == verdict


def test_a_refused_pair_is_told_with_its_reason(store):
    """Within a setting ``report.pairs`` has the word: without a seed nothing says that they began alike."""
    alone: dict[str, Any] = {"stage_ids": [], "parent_stage_id": None}
    store.run("a", LOSSES, status=alone, seed=None)
    store.run("b", HEALTHY, status=alone, seed=None, optimizer__name="adamw")
    row = rows_of(make_report([store.root]))["rival: decoupled decay"]
    assert (row["verdict"], row["n"]) == ("inconclusive", "n=0")
    assert row["evidence"] == "1 pair not judged (no pair: a seed is not on record)"


def test_arms_that_differ_in_more_or_in_their_text_are_not_compared(store):
    alone: dict[str, Any] = {"stage_ids": [], "parent_stage_id": None}
    store.run("a", LOSSES, status=alone)
    store.run("b", HEALTHY, status=alone, optimizer__name="adamw", model__activations="full")
    assert verdicts(make_report([store.root]))["rival: decoupled decay"][0] == "not tested"
    store.run("c", HEALTHY, status=alone, optimizer__name="adamw")
    assert verdicts(make_report([store.root]))["rival: decoupled decay"] == ("consistent", "n=1")
    store.run("d", HEALTHY, status=alone, optimizer__name="adamw", unigram=6.5, seed=1)
    store.run("e", LOSSES, status=alone, seed=1)
    csv = as_read(make_report([store.root]), "claims")
    assert list(csv[csv["name"] == "rival: decoupled decay"]["run_ids"]) == ["a c"]


def test_stages_of_ones_own_are_recognised(composed):
    (config, *_) = composed(CLAIMS["the boundary triggers"].command)
    flat = flatten(plain(config))
    assert follows_schedule(flat)
    assert follows_schedule({key: value for key, value in flat.items() if key != "stages"})
    other = json.loads(json.dumps(flat["stages"]))
    other[1]["lr"][0]["lr"] *= 1.01
    assert not follows_schedule(flat | {"stages": other})
    assert not follows_schedule(flat | {"lr": 0.001})
    assert not follows_schedule(flat | {"stages": flat["stages"][:1]})
    assert not follows_schedule(flat | {"steps": None})


def test_the_setting_is_told_and_text_is_escaped(store, tmp_path):
    store.run("a<b>|c", LOSSES, scale="<script>x</script>")
    store.run("d", LOSSES)
    write_report(make_report([store.root], claims="notes"), tmp_path)
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert "<script>x" not in page
    assert "<script" not in text
    assert "scale=&lt;script&gt;x&lt;/script&gt;, steps=100" in page
    assert 'id="claims"' in page
    assert "## The claims of the notes" in text


def test_claims_are_judged_only_when_asked_for_and_come_last(store, tmp_path, capsys):
    store.run("a", LOSSES)
    assert main([str(store.root), "--out", str(tmp_path), "--claims", "notes"]) == 0
    page = (tmp_path / "report.html").read_text()
    assert page.index('<section id="results">') < page.index('<section id="claims">')
    assert "The claims of the notes:" in capsys.readouterr().out
    assert main([str(store.root), "--out", str(tmp_path)]) == 0
    assert 'id="claims"' not in (tmp_path / "report.html").read_text()
    assert "claims of the notes" not in (tmp_path / "report.md").read_text()
    assert "laims of the notes" not in capsys.readouterr().out
    assert not (tmp_path / "tables" / "claims.csv").exists(), (
        "an earlier report's would be taken for this one's"
    )
    assert main([str(store.root), "--out", str(tmp_path), "--claims", "mine"]) == 2
    assert capsys.readouterr().err == (
        "--claims=mine: no such claims; allowed: notes, or a file of claims that ends in .yaml, .yml, .toml\n"
    )


class TestANewFile:
    """docs/claims.md: one short file, and the claim is in the ledger."""

    @pytest.fixture
    def example(self, tmp_path, monkeypatch) -> Claim:
        (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
        (tmp_path / "example_of_the_docs.py").write_text(code)
        monkeypatch.setattr(noted, "__path__", [*noted.__path__, str(tmp_path)])
        (new,) = [claim for claim in noted_claims() if claim.name not in CLAIMS]
        return new

    def test_it_is_judged(self, example, store):
        for seed in (1, 2, 3):
            store.run(f"a{seed}", LOSSES, seed=seed)
        (entry,) = entries_of(read_stores([store.root]), example.name)
        assert entry.verdict == Verdict("reproduced", 3)
        assert entry.run_ids == ["a1", "a2", "a3"]

    def test_it_can_fail_and_its_command_composes(self, example, store, composed):
        for seed in (1, 2, 3):
            store.run(f"a{seed}", LOSSES | {100: 5.9}, seed=seed)
        (entry,) = entries_of(read_stores([store.root]), example.name)
        assert entry.verdict == Verdict("contradicted", 3)
        assert len(composed(example.command)) >= 3

    @pytest.mark.parametrize(
        ("code", "error"),
        [
            pytest.param("CLAIM = 1\n", "must hold CLAIMS", id="none"),
            pytest.param("CLAIMS = [3]\n", "must hold CLAIMS", id="no claim"),
            pytest.param(
                "from bitnet_sweep.report.claims.noted.sizes import CLAIMS\n",
                "two claims are called parameter counts",
                id="twice",
            ),
        ],
    )
    def test_a_wrong_file_is_named(self, tmp_path, monkeypatch, request, code, error):
        module = f"wrong_{request.node.callspec.id.replace(' ', '_')}"
        (tmp_path / f"{module}.py").write_text(code)
        monkeypatch.setattr(noted, "__path__", [*noted.__path__, str(tmp_path)])
        with pytest.raises(ValueError, match=error):
            noted_claims()
