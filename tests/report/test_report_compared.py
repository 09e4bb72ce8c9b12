"""Any factor is compared within each cell of the rest, seed by seed; cells are ranked by where they ended."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from bitnet_sweep.config import role_of
from bitnet_sweep.report import make_report, write_report
from bitnet_sweep.report.factors import Factor, factors_of, ordered, placed_arms
from bitnet_sweep.report.page.charts import chart_data
from bitnet_sweep.roles import Role
from tests.report.conftest import in_file

BOUNDS = ("low", "high", "interval")
T = 12.706204736
"""t(0.975, 1): of two differences d and e the interval is their mean ± T |d - e| / 2."""


def run(store: Any, run_id: str, end: float | None, **config: Any) -> None:
    config.setdefault("status", {"stage_ids": [], "parent_stage_id": None})
    store.run(run_id, {1: 9.0, 50: 8.0} | ({} if end is None else {100: end}), **config)


def rows_of(store: Any, table: str = "contrasts") -> list[dict[str, str]]:
    return [dict(row) for _, row in in_file(make_report([store.root]), table).iterrows()]


def told(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in ("factor", "a", "b", "n", "difference", "pair"))


SWEPT = [
    pytest.param(
        {"lr": 0.003}, {"lr": 0.0015}, ("lr", "0.003", "0.0015"), id="a number: the larger one first"
    ),
    pytest.param(
        {"optimizer__name": "adam_l2"},
        {"optimizer__name": "adamw"},
        ("optimizer", "adam_l2", "adamw"),
        id="a word: the default first",
    ),
    pytest.param(
        {"optimizer": {"name": "adam_l2", "beta1": 0.9, "beta2": 0.95}},
        {"optimizer": {"name": "adamw", "beta1": 0.9, "beta2": 0.999}},
        ("optimizer", "adam_l2", "adamw"),
        id="a group with its betas is one factor",
    ),
    pytest.param(
        {"schedule": {"name": "two_stage", "lr_bend_to": 0.7}, "lr_boundary": 0.5},
        {"schedule": {"name": "trilm", "lr_bend_to": 0.3}, "lr_boundary": 0.6},
        ("schedule", "two_stage", "trilm"),
        id="a schedule with its boundary is one factor",
    ),
    pytest.param(
        {"model__weights": "ternary", "model__activations": "int8"},
        {"model__weights": "full", "model__activations": "full"},
        ("model", "activations=int8, weights=ternary", "activations=full, weights=full"),
        id="a model without a name is told by its keys",
    ),
    pytest.param(
        {"model__weights": "ternary"},
        {"model__weights": "full"},
        ("model.weights", "ternary", "full"),
        id="weights",
    ),
    pytest.param(
        {"optimizer__clip": 1.0}, {"optimizer__clip": None}, ("optimizer.clip", "1", "off"), id="off"
    ),
    pytest.param(
        {"precision": "mixed"}, {"precision": "fp32"}, ("precision", "mixed", "fp32"), id="precision"
    ),
    pytest.param({"wd2": 0.05}, {"wd2": 0.0}, ("wd2", "0.05", "0"), id="wd2"),
    pytest.param(
        {"steps": 100, "warmup_steps": 8},
        {"steps": 100, "warmup_steps": 4},
        ("warmup_steps", "8", "4"),
        id="what follows from others elsewhere",
    ),
]


@pytest.mark.parametrize(("a", "b", "expected"), SWEPT)
def test_any_factor_is_compared_by_seed(
    store: Any, a: dict[str, Any], b: dict[str, Any], expected: tuple[str, ...]
) -> None:
    """Ends of 4 and 6 under a, of 3 and 4 under b: differences -1 and -2."""
    for seed, (end_a, end_b) in enumerate([(4.0, 3.0), (6.0, 4.0)]):
        run(store, f"a{seed}", end_a, seed=seed, **a)
        run(store, f"b{seed}", end_b, seed=seed, **b)
    (row,) = rows_of(store)
    assert told(row)[:5] == (*expected, "2", "-1.5")
    assert row["pair"] == "matched"
    assert [float(row[name]) for name in ("low", "high")] == pytest.approx([-1.5 - T / 2, -1.5 + T / 2])
    assert (row["loss a"], row["loss b"], row["cell"]) == ("5", "3.5", "")


def test_wd2_is_contrasted_as_in_stage2_contrast(store: Any) -> None:
    for seed, end in enumerate((7.0, 9.0, 7.5)):
        store.run(f"old{seed}", {1: 9.0, 50: 8.0, 100: end}, seed=seed, wd2=0.05)
        store.run(f"new{seed}", {1: 9.0, 50: 8.0, 100: 4.0}, seed=seed)
    (row,) = rows_of(store)
    last = rows_of(store, "stage2_contrast")[-1]
    assert told(row) == ("wd2", "0.05", "0", "3", "-3.833333", "fork")
    assert last["Difference"] == row["difference"]
    assert [last[f"Difference_{name}"] for name in BOUNDS] == [row[name] for name in BOUNDS]


def test_every_two_levels_in_each_cell_of_the_rest(store: Any) -> None:
    """Ends are 1000 lr + 10 wd2, so differences are those of the levels, in every cell."""
    for lr in (0.001, 0.002, 0.004):
        for wd2 in (0.0, 0.05):
            run(store, f"{lr}-{wd2}", 1000 * lr + 10 * wd2, lr=lr, wd2=wd2)
    rows = rows_of(store)
    assert {(row["factor"], row["a"], row["b"], row["cell"], row["difference"]) for row in rows} == {
        *(("lr", "0.004", "0.002", f"wd2={wd2}", "-2") for wd2 in ("0", "0.05")),
        *(("lr", "0.004", "0.001", f"wd2={wd2}", "-3") for wd2 in ("0", "0.05")),
        *(("lr", "0.002", "0.001", f"wd2={wd2}", "-1") for wd2 in ("0", "0.05")),
        *(("wd2", "0.05", "0", f"lr={lr}", "-0.5") for lr in ("0.001", "0.002", "0.004")),
    }
    assert {(row["n"], row["low"], row["high"]) for row in rows} == {("1", "", "")}


@pytest.mark.parametrize(
    ("change", "factor", "reason"),
    [
        pytest.param({"model__hidden": 128}, "model.hidden", "the initial weights differ", id="size"),
        pytest.param(
            {"tokenizer__vocab_size": 400}, "tokenizer.vocab_size", "the data differ", id="vocabulary"
        ),
        pytest.param(
            {"tokenizer": {"name": "gpt2", "vocab_size": 400}, "scale": "seed", "steps": 90},
            "scale",
            "the data differ",
            id="a scale with its tokenizer and steps",
        ),
        pytest.param(
            {"status": {"stage_ids": [], "parent_stage_id": None, "science_version": 2}},
            "science_version",
            "the science versions differ",
            id="science version",
        ),
        pytest.param({"unigram": 7.0}, "ref/unigram_loss", "the data differ", id="another text of that name"),
        pytest.param({}, "copy", "no setting on record differs", id="nothing on record"),
    ],
)
def test_what_is_no_pair_has_its_row_and_the_reason(
    store: Any, change: dict[str, Any], factor: str, reason: str
) -> None:
    same: dict[str, Any] = {"status": {"stage_ids": [], "parent_stage_id": None, "science_version": 1}}
    run(store, "a", 4.0, **same)
    run(store, "b", 3.0, **(same | change))
    (row,) = rows_of(store)
    assert (row["factor"], row["n"], row["pairs"], row["difference"]) == (factor, "0", "1", "")
    assert row["pair"].startswith(f"refused: {reason}")


def test_seeds_are_replicates_and_no_factor(store: Any) -> None:
    for seed, end in enumerate((4.0, 5.0)):
        run(store, f"a{seed}", end, seed=seed)
    assert rows_of(store) == []
    (row,) = rows_of(store, "leaderboard")
    assert (row["rank"], row["cell"], row["n"], row["mean"]) == ("1", "", "2", "4.5")
    assert float(row["high"]) == pytest.approx(4.5 + T / 2)


def test_only_seeds_that_both_levels_have_are_paired(store: Any) -> None:
    run(store, "a0", 4.0)
    run(store, "b0", 3.0, lr=0.001)
    run(store, "b1", 1.0, lr=0.001, seed=1)
    run(store, "c2", 2.0, lr=0.0005, seed=2)
    assert [told(row) for row in rows_of(store)] == [
        ("lr", "0.0015", "0.001", "1", "-1", "matched"),
        ("lr", "0.0015", "0.0005", "0", "", "refused: no seed in common"),
        ("lr", "0.001", "0.0005", "0", "", "refused: no seed in common"),
    ]


def test_a_pair_without_an_end_loss_is_counted_and_not_averaged(store: Any) -> None:
    run(store, "a0", 4.0)
    run(store, "b0", 3.0, lr=0.001)
    run(store, "a1", 4.0, seed=1)
    run(store, "b1", None, lr=0.001, seed=1, state="running")
    (row,) = rows_of(store)
    assert (row["n"], row["pairs"], row["difference"]) == ("1", "2", "-1")
    assert row["outcome b"].endswith("; 1 running")


def test_a_missing_run_says_so(store: Any) -> None:
    run(store, "a", 4.0)
    store.sweep("grid", ["a", "b"], overrides=["wd2=0.0,0.05"])
    (row,) = rows_of(store)
    assert told(row) == ("wd2", "0.05", "0", "0", "", "missing")


def test_stages_written_out_by_hand_are_a_factor(store: Any) -> None:
    for run_id, rate, end in (("a", 1e-3, 4.0), ("b", 2e-3, 3.0)):
        line = [{"step": 0, "lr": rate}, {"step": 50, "lr": rate}]
        stages = [{"steps": 50, "weight_decay": decay, "lr": line} for decay in (0.1, 0.0)]
        run(store, run_id, end, stages=stages)
    (row,) = rows_of(store)
    assert (row["factor"], row["n"]) == ("stages", "1")


def test_keys_that_vary_apart_stay_apart_though_they_are_of_one_group(store: Any) -> None:
    for name in ("adam_l2", "adamw"):
        for beta2 in (0.95, 0.999):
            run(store, f"{name}{beta2}", 4.0, optimizer={"name": name, "beta2": beta2})
    factors = factors_of(placed_arms(make_report([store.root]).study.sections))
    assert {factor.name: factor.keys for factor in factors} == {
        "optimizer": ("optimizer.name",),
        "optimizer.beta2": ("optimizer.beta2",),
    }


def options_swept(store: Any, *options: dict[str, int]) -> None:
    """Runs of a task with these options, each with two second decays."""
    for own in options:
        for wd2 in (0.05, 0.0):
            name = "-".join(map(str, own.values()))
            run(store, f"{name}-{wd2}", 5.0 + wd2, task="line", task_options=own, wd2=wd2)


def test_options_of_a_task_that_vary_together_are_one_factor(store: Any) -> None:
    options_swept(store, {"depth": 1, "width": 4}, {"depth": 2, "width": 8})
    rows = [row for row in rows_of(store) if row["factor"] == "task_options"]
    assert {(row["a"], row["b"]) for row in rows} == {("depth=2, width=8", "depth=1, width=4")}
    keys = "task_options.depth, task_options.width"
    assert {row["pair"] for row in rows} == {
        f"refused: whether weights and data begin alike is not known: {keys}"
    }
    compared = [row for row in rows_of(store) if row["factor"] == "wd2"]
    assert [row["cell"] for row in compared] == [f"task_options=depth={w // 4}, width={w}" for w in (4, 8)]
    assert {row["n"] for row in compared} == {"1"}


def test_options_of_a_task_that_vary_apart_are_factors_of_their_own(store: Any) -> None:
    options_swept(store, *({"depth": depth, "width": width} for depth in (1, 2) for width in (4, 8)))
    rows = rows_of(store)
    assert {row["factor"] for row in rows} == {"wd2", "task_options.depth", "task_options.width"}
    told = {(row["a"], row["b"], row["cell"]) for row in rows if row["factor"] == "task_options.width"}
    assert told == {
        ("8", "4", f"task_options.depth={depth}, wd2={wd2}") for wd2 in ("0.05", "0") for depth in (1, 2)
    }


@pytest.mark.parametrize(
    ("key", "role"),
    [
        ("task_options.width", role_of("task_options")),
        ("model.options.width", Role.weights),
        ("data.options.corpus", Role.data),
        ("model.quantiser_options.cut", Role.follows),
        ("metric_options.margin.share", Role.follows),
    ],
)
def test_an_option_has_the_role_of_all_of_them(key: str, role: Role) -> None:
    assert role in role_of(key)
    assert role_of(key) == role_of(key.rpartition(".")[0])


def test_metrics_are_no_factor_beside_another(store: Any) -> None:
    for lr, metrics in ((0.003, []), (0.0015, ["margin", "share"])):
        run(store, f"lr{lr}", lr, lr=lr, metrics=metrics, metric_versions=["1"] * len(metrics))
    assert [row["factor"] for row in rows_of(store)] == ["lr"]
    assert [row["n"] for row in rows_of(store)] == ["1"]


def test_levels_in_order() -> None:
    numbers = [("0.0005",), ("1e-05",), ("0.003",), ("unknown",)]
    assert ordered(numbers) == [("0.003",), ("0.0005",), ("1e-05",), ("unknown",)]
    assert ordered([("full",), ("unknown",), ("ternary",)]) == [("ternary",), ("full",), ("unknown",)]


def test_many_levels_are_compared_with_their_neighbours(store: Any) -> None:
    for k in range(40):
        run(store, f"r{k:02}", float(k), wd2=k / 1000)
    rows = rows_of(store)
    assert len(rows) == 39
    assert {row["difference"] for row in rows} == {"-1"}


def test_cells_are_ranked_by_their_mean_at_the_end(store: Any) -> None:
    """U is 6.0. Means: 5.5 under 0.0015, 4 under 0.001; of 0.0005 nothing has ended."""
    for run_id, lr, seed, end in (
        ("a0", 0.0015, 0, 5.0),
        ("a1", 0.0015, 1, 6.0),
        ("b0", 0.001, 0, 4.0),
        ("c0", 0.0005, 0, None),
    ):
        run(store, run_id, end, lr=lr, seed=seed, state="finished" if end else "failed")
    rows = rows_of(store, "leaderboard")
    names = ("rank", "cell", "n", "runs", "mean", "low", "outcome")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("1", "lr=0.001", "1", "1", "4", "", "recovered 1/1"),
        ("2", "lr=0.0015", "2", "2", "5.5", f"{5.5 - T / 2:.7g}", rows[1]["outcome"]),
        ("", "lr=0.0005", "0", "1", "", "", "1 failed"),
    ]
    assert rows[1]["outcome"].startswith("recovered 1/2 [1-99%], stuck 1/2 [1-99%]")


def test_losses_on_different_texts_are_not_ranked_together(store: Any) -> None:
    run(store, "a", 5.0)
    run(store, "b", 4.0, data__name="wikitext2", unigram=7.0)
    run(store, "c", 4.5, lr=0.003)
    rows = rows_of(store, "leaderboard")
    assert sorted((row["text"], row["rank"], row["mean"]) for row in rows) == [
        ("6", "1", "4.5"),
        ("6", "2", "5"),
        ("7", "1", "4"),
    ]


@pytest.mark.slow
def test_both_are_read_in_the_report(store: Any, tmp_path: Any, read_table: Any) -> None:
    for hidden in (64, 128):
        run(store, f"a{hidden}", 4.0, model__hidden=hidden)
        run(store, f"b{hidden}", 3.0, model__hidden=hidden, lr=0.001)
    write_report(make_report([store.root]), tmp_path)
    assert len(read_table(tmp_path, "contrasts")) == 4
    assert len(read_table(tmp_path, "leaderboard")) == 4
    text = (tmp_path / "report.md").read_text()
    cells = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    assert ["0.0015", "0.001", "model.hidden=64", "1/1", "4.00", "3.00", "-1.00"] in [c[1:8] for c in cells]
    assert "Not compared: the initial weights differ: model.hidden (2)" in text
    assert "## Leaderboard" in text


def test_an_empty_store_has_both_tables_empty(store: Any) -> None:
    assert rows_of(store) == rows_of(store, "leaderboard") == []


def chart(store: Any) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = chart_data(make_report([store.root]).study.sections)["panels"]
    return panels


@pytest.mark.parametrize(
    ("a", "b", "names"),
    [
        pytest.param({}, {"lr": 0.001}, ["lr=0.001 wd2=0.0", "lr=0.0015 wd2=0.0"], id="lr"),
        pytest.param(
            {},
            {"optimizer__name": "adamw"},
            ["optimizer=adam_l2 wd2=0.0", "optimizer=adamw wd2=0.0"],
            id="optimizer",
        ),
        pytest.param(
            {},
            {"model__weights": "full"},
            ["model.weights=full wd2=0.0", "model.weights=ternary wd2=0.0"],
            id="weights",
        ),
        pytest.param({}, {"wd2": 0.05}, ["wd2=0.0", "wd2=0.05"], id="wd2"),
    ],
)
def test_arms_of_any_factor_share_a_panel(
    store: Any, a: dict[str, Any], b: dict[str, Any], names: list[str]
) -> None:
    run(store, "a", 4.0, **a)
    run(store, "b", 3.0, **b)
    (panel,) = chart(store)
    assert panel["name"] == "hidden 64"
    assert sorted(arm["name"] for arm in panel["arms"]) == [f"{name}, seed 0" for name in names]
    assert len({arm["style"] for arm in panel["arms"]}) == 2


@pytest.mark.parametrize(
    ("change", "names"),
    [
        pytest.param({"model__hidden": 128}, ["hidden 128", "hidden 64"], id="sizes"),
        pytest.param(
            {"data__name": "wikitext2"},
            ["hidden 64, data=text", "hidden 64, data=wikitext2"],
            id="texts",
        ),
        pytest.param({"steps": 90}, ["hidden 64, steps=100", "hidden 64, steps=90"], id="lengths"),
    ],
)
def test_what_is_no_picture_together_has_panels_of_its_own(
    store: Any, change: dict[str, Any], names: list[str]
) -> None:
    run(store, "a", 4.0)
    run(store, "b", 3.0, **change)
    assert sorted(panel["name"] for panel in chart(store)) == names


def test_a_panel_that_nobody_could_read_is_parted_by_the_widest_factor(store: Any) -> None:
    for k in range(8):
        for wd2 in (0.0, 0.05):
            run(store, f"{k}-{wd2}", 4.0, lr=0.001 * (k + 1), wd2=wd2)
    panels = chart(store)
    assert len(panels) == 8
    assert {len(panel["arms"]) for panel in panels} == {2}


def test_arms_part_where_their_stages_do(store: Any) -> None:
    """Three stages of 20, 30 and 50 steps: a and b share two of them, c only the first one."""
    for run_id, ids, rates in (
        ("a", ["x", "y", "a"], (1.0, 2.0, 3.0)),
        ("b", ["x", "y", "b"], (1.0, 2.0, 4.0)),
        ("c", ["x", "z", "c"], (1.0, 5.0, 3.0)),
    ):
        stages = [
            {
                "steps": steps,
                "weight_decay": decay,
                "lr": [{"step": 0, "lr": rate}, {"step": steps, "lr": rate}],
            }
            for steps, decay, rate in zip((20, 30, 50), (0.1, 0.1, 0.0), rates, strict=True)
        ]
        losses = dict.fromkeys((1, 20, 50, 100), 8.0)
        store.run(run_id, losses, stages=stages, status={"stage_ids": ids})
    (panel,) = chart(store)
    assert panel["changes"] == [20, 50]
    runs = [arm["run"] for arm in panel["arms"]]
    lines = [("".join(sorted(runs[i] for i in line["arms"])), line["steps"]) for line in panel["lines"]]
    assert sorted(lines) == [
        ("a", [50, 100]),
        ("ab", [20, 50]),
        ("abc", [1, 20]),
        ("b", [50, 100]),
        ("c", [20, 50, 100]),
    ]


@pytest.mark.parametrize(("task", "has"), [("line", False), ("transformer", True)])
def test_what_no_run_of_another_task_tells_is_not_read(store: Any, task: str, has: bool) -> None:
    for seed in (0, 1):
        run(store, f"s{seed}", 5.0, task=task, seed=seed, model__hidden=256 if has else None)
    parts = make_report([store.root]).table("token_transition").parts
    assert len(parts) == has
    (part,) = make_report([store.root]).table("loss_transition").parts
    assert "Loss before" in [column.key for column in part.columns]
    assert {part.columns[0].text(row) for row in part.rows} == {"256" if has else "line"}


@pytest.mark.parametrize(
    ("keys", "level", "said"),
    [
        (
            ("optimizer.name", "optimizer.torch_class", "optimizer.options"),
            ("torch", "signum", "{}"),
            "signum",
        ),
        (
            ("optimizer.name", "optimizer.torch_class", "optimizer.options"),
            ("adamw", "null", "null"),
            "adamw",
        ),
        (("data.name", "data.source"), ("own", "sums"), "sums"),
        (("optimizer.name", "optimizer.eps"), ("torch", "1e-8"), "torch"),
        (("optimizer.name",), ("lion",), "lion"),
    ],
)
def test_a_choice_of_a_users_own_is_called_what_is_typed(keys, level, said):
    assert Factor(keys[0].split(".")[0], keys).text(level) == said


def test_settings_that_a_model_of_a_users_own_does_not_have_are_no_differences(store: Any) -> None:
    """They are not unknown: such a model has none."""
    ours = {"model__name": "transformer", "model__version": None, "model__num_layers": 4}
    own = dict.fromkeys(("model__hidden", "model__num_layers", "model__weights"))
    own |= {"model__name": "bag", "model__version": "1", "model__options": {"width": 8}}
    for seed in (0, 1):
        for end, hidden in ((5.0, 256), (4.5, 512)):
            run(store, f"ours{hidden}{seed}", end, **ours, model__hidden=hidden, seed=seed)
        run(store, f"own{seed}", 6.0, **own, seed=seed)
    for path in store.root.glob("runs/own*/config.yaml"):
        document = yaml.safe_load(path.read_text())
        model = {key: value for key, value in document["model"].items() if value is not None}
        path.write_text(yaml.safe_dump(document | {"model": model}))
    report = make_report([store.root])
    assert [section.label for section in report.study.sections] == [
        "model.name=bag",
        "model.name=transformer",
    ]
    (care,) = [line for line in report.summary.remarks if "differ in" in line]
    assert care.endswith("they differ in: model.name, model.version.")
    assert [verdict.sizes for verdict in report.summary.verdicts] == [["bag"], ["hidden 256", "hidden 512"]]
    (board,) = report.table("leaderboard").parts
    cells = [row["cell"].value for row in board.rows]
    assert cells == [
        "model=transformer, model.hidden=512",
        "model=transformer, model.hidden=256",
        "model=bag",
    ]
    (sizes,) = report.table("model_sizes").parts
    assert [texts[0] for texts in sizes.texts] == ["bag", "256", "512"]


def test_an_option_that_one_run_of_a_part_tells_is_unknown_of_another_run_of_it(store: Any) -> None:
    """Such as of a class of torch, whose defaults are not recorded: the two are never averaged."""
    torch = {"optimizer__name": "torch", "optimizer__torch_class": "NAdam"}
    run(store, "a", 5.0, **torch, optimizer__options={"momentum_decay": 0.01})
    run(store, "b", 4.0, **torch, optimizer__options=None)
    run(store, "c", 3.0, optimizer__name="adamw")
    labels = [section.label for section in make_report([store.root]).study.sections]
    assert labels == [
        "optimizer.name=NAdam, optimizer.options.momentum_decay=0.01",
        "optimizer.name=NAdam, optimizer.options.momentum_decay=unknown",
        "optimizer.name=adamw",
    ]


def test_quantisers_with_options_are_compared_beside_a_model_that_has_none(store: Any) -> None:
    ours: dict[str, Any] = {"model__name": "transformer"}
    stages: dict[str, Any] = {"stage_ids": [], "parent_stage_id": None}
    trim = {"model__quantiser": "trim"}
    run(store, "a", 5.0, **ours, model__quantiser="absmean")
    run(store, "b", 4.5, **ours, **trim, model__quantiser_options={"cut": 0.2})
    run(store, "c", 4.0, **ours, **trim, model__quantiser_options={"cut": 0.6})
    path = store.run("d", {1: 9.0, 50: 8.0, 100: 6.0}, model__name="gru", status=stages)
    document = yaml.safe_load((path / "config.yaml").read_text())
    document["model"] = {"name": "gru", "options": {"width": 8}}
    (path / "config.yaml").write_text(yaml.safe_dump(document))
    found = [(told(row), row["cell"]) for row in rows_of(store)]
    rest = "model=transformer"
    assert sorted(found)[1:] == [
        (
            ("model.quantiser", "absmean", "trim, model.quantiser_options.cut=0.2", "1", "-0.5", "matched"),
            rest,
        ),
        (
            ("model.quantiser", "absmean", "trim, model.quantiser_options.cut=0.6", "1", "-1", "matched"),
            rest,
        ),
        (
            ("model.quantiser_options.cut", "0.6", "0.2", "1", "0.5", "matched"),
            f"{rest}, model.quantiser=trim",
        ),
    ]
    (first, _) = sorted(found)[0]
    assert first[:3] == ("model", "transformer, model.quantiser=absmean", "gru")
    assert first[5].startswith("refused: the initial weights differ: model.name")
