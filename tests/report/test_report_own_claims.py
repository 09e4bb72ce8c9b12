"""Claims of a file of one's own: the whole example of docs/reports.md, each way to measure, and bad files."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

import bitnet_sweep as bs
from bitnet_sweep.commands.verbs import app
from bitnet_sweep.config import ConfigError
from bitnet_sweep.report import make_report
from bitnet_sweep.report.__main__ import main

DOCS = Path(__file__).parent.parent.parent / "docs" / "reports.md"
Losses = dict[int, float | None]
RECOVERED: Losses = {1: 9.0, 10: 5.5, 50: 8.0, 60: 5.7, 100: 4.0}
STUCK: Losses = {1: 9.0, 10: 5.5, 50: 8.0, 60: 8.0, 100: 7.5}
TOKENS = {1: 20, 10: 9, 50: 2, 60: 9, 100: 12}
SEEDS = (1, 2, 3)
GOOD: dict[str, Any] = {
    "name": "good",
    "says": "It ends below five nats.",
    "source": "me",
    "measure": "val/loss",
    "is": "<",
    "value": 5,
    "margin": 0.5,
}


def written(path: Path, *entries: object, **keys: object) -> Path:
    """A file with these entries, or with the good one changed in ``keys``; None leaves one out."""
    one = {key: value for key, value in (GOOD | keys).items() if value is not None}
    path.write_text(yaml.safe_dump({"claims": list(entries) or [one]}), encoding="utf-8")
    return path


def judged(root: Path, claims: Path) -> list[tuple[str, str, str]]:
    """Name, verdict and n of each row."""
    frame = bs.report(root, claims=claims).claims.frame
    return [(row["name"], row["verdict"], f"n={row['n']}") for _, row in frame.iterrows()]


def evidence(root: Path, claims: Path) -> list[str]:
    return list(bs.report(root, claims=str(claims)).claims.frame["evidence"])


class TestTheExampleOfTheDocs:
    @pytest.fixture
    def claims(self, tmp_path):
        (text,) = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
        path = tmp_path / "claims.yaml"
        path.write_text(text)
        return path

    def test_it_is_borne_out(self, store, claims):
        for seed in SEEDS:
            data = {"data__name": "wikitext2", "seed": seed}
            store.run(f"a{seed}", RECOVERED, TOKENS, **data)
            store.run(f"b{seed}", RECOVERED | {100: 3.2}, TOKENS, optimizer__name="adamw", **data)
            store.run(f"c{seed}", STUCK, TOKENS, wd2=0.05, **data)
        assert judged(store.root, claims) == [
            ("no decay brings it back", "reproduced", "n=3"),
            ("decoupled decay is better", "reproduced", "n=3"),
            ("some decay keeps it down", "reproduced", "n=3"),
            ("two tokens", "reproduced", "n=3"),
        ]
        assert evidence(store.root, claims) == [
            "6 of 6 runs as claimed; val/minus_unigram at the end -2.8 to -2; "
            "at optimizer.name=adam_l2, optimizer.name=adamw",
            "3 of 3 pairs as claimed; val/loss at the end, optimizer.name=adamw minus adam_l2 -0.8",
            "1 of 1 cell as claimed; share of stuck 1",
            "6 of 6 runs as claimed; probe/unique_tokens at the boundary 2; "
            "at optimizer.name=adam_l2, optimizer.name=adamw",
        ]

    def test_it_is_contradicted(self, store, claims):
        for seed in SEEDS:
            store.run(f"a{seed}", STUCK, {50: 9}, seed=seed)
            store.run(f"b{seed}", STUCK, {50: 9}, optimizer__name="adamw", seed=seed)
            store.run(f"c{seed}", RECOVERED, {50: 9}, wd2=0.05, seed=seed)
        assert [verdict for _, verdict, _ in judged(store.root, claims)] == [
            *("contradicted", "contradicted", "contradicted", "not comparable")
        ]
        assert "data.name is text and not wikitext2" in evidence(store.root, claims)[3]

    def test_nothing_tests_it(self, store, claims):
        frame = bs.report(store.root, claims=claims).claims.frame
        assert set(frame["verdict"]) == {"not tested"}
        commands = [shlex.split(command) for command in frame["how to test it"]]
        assert commands[1][4:] == ["wd2=0.0", "optimizer=adam_l2,adamw", "seed=1,2,3"]
        assert commands[3][4:] == ["data=wikitext2", "seed=1,2,3"]


def test_a_toml_file_says_the_same(store, tmp_path):
    for seed in SEEDS:
        store.run(f"a{seed}", RECOVERED, seed=seed)
    lines = [
        f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in GOOD.items()
    ]
    (tmp_path / "c.toml").write_text(
        "\n".join(["[[claims]]", *lines, "[claims.runs]", '"model.hidden" = [64, 128]'])
    )
    assert judged(store.root, tmp_path / "c.toml") == [("good", "reproduced", "n=3")]


@pytest.mark.parametrize(
    ("sign", "loss", "verdict"),
    [
        pytest.param("<", 4.4, "consistent", id="below"),
        pytest.param("<", 4.6, "inconclusive", id="in the margin below"),
        pytest.param("<", 5.6, "at odds", id="above"),
        pytest.param(">", 5.6, "consistent", id="above, as claimed"),
        pytest.param(">", 4.4, "at odds", id="below, against it"),
        pytest.param("within", 5.5, "consistent", id="within"),
        pytest.param("within", 5.9, "inconclusive", id="nearly"),
        pytest.param("within", 6.1, "at odds", id="outside"),
    ],
)
def test_a_number_is_held_against_the_expected_one(store, tmp_path, sign, loss, verdict):
    store.run("a", RECOVERED | {100: loss})
    assert judged(store.root, written(tmp_path / "c.yaml", **{"is": sign})) == [("good", verdict, "n=1")]


def test_a_firm_verdict_needs_as_many_seeds_and_cells_as_are_asked_for(store, tmp_path):
    for seed in SEEDS:
        store.run(f"a{seed}", RECOVERED, seed=seed)
    assert judged(store.root, written(tmp_path / "c.yaml", n=4)) == [("good", "consistent", "n=3")]
    assert judged(store.root, written(tmp_path / "c.yaml", cells=2)) == [("good", "consistent", "n=3")]
    for seed in SEEDS:
        store.run(f"b{seed}", RECOVERED, seed=seed, model__hidden=128)
    store.run("a4", RECOVERED, seed=4)
    assert judged(store.root, written(tmp_path / "c.yaml", n=4)) == [("good", "reproduced", "n=4")]
    assert judged(store.root, written(tmp_path / "c.yaml", cells=2)) == [("good", "reproduced", "n=3")]


def test_settings_that_nobody_contrasts_are_judged_apart(store, tmp_path):
    store.run("a", RECOVERED)
    store.run("b", STUCK, model__num_layers=3)
    assert sorted(verdict for _, verdict, _ in judged(store.root, written(tmp_path / "c.yaml"))) == [
        *("at odds", "consistent")
    ]


def test_a_difference_in_a_setting_that_makes_sections(store, tmp_path):
    """Layers shape the initial weights, so these are no pairs; z-loss does not, and these are."""
    for seed in SEEDS:
        store.run(f"a{seed}", RECOVERED, seed=seed, loss={"z_loss": 0.0})
        store.run(f"b{seed}", RECOVERED | {100: 3.0}, seed=seed, loss={"z_loss": 0.1})
        store.run(f"c{seed}", RECOVERED, seed=seed, loss={"z_loss": 0.0}, model__num_layers=3)
    claims = written(
        tmp_path / "c.yaml",
        value=-0.5,
        margin=0.1,
        difference={"factor": "loss.z_loss", "from": 0, "to": 0.1},
    )
    assert judged(store.root, claims) == [("good", "reproduced", "n=3")]
    claims = written(tmp_path / "c.yaml", difference={"factor": "model.num_layers", "from": 2, "to": 3})
    ((_, verdict, n),) = judged(store.root, claims)
    assert (verdict, n) == ("inconclusive", "n=0")
    assert "no pair: the initial weights differ: model.num_layers" in evidence(store.root, claims)[0]


def test_arms_of_one_trunk_are_one_observation_of_the_boundary(store, tmp_path):
    """A decay of the second stage makes neither a second cell nor a second pair before it begins."""
    for wd2 in (0.0, 0.05):
        store.run(f"a{wd2}", RECOVERED, wd2=wd2)
        store.run(f"b{wd2}", RECOVERED | {50: 4.0}, wd2=wd2, optimizer__name="adamw")
    claims = written(tmp_path / "c.yaml", {**GOOD, "at": "boundary", "cells": 2})
    assert evidence(store.root, claims)[0].startswith("1 of 2 runs as claimed, 1 against")
    pairs = {"at": "boundary", "difference": {"factor": "optimizer.name", "from": "adam_l2", "to": "adamw"}}
    assert evidence(store.root, written(tmp_path / "c.yaml", **pairs))[0].startswith("1 of 1 pair as claimed")


@pytest.mark.parametrize(
    ("outcome", "share"),
    [("stuck", "0.25"), (["stuck", "recovered"], "1"), ("at unigram", "0.25"), ("diverged", "0")],
)
def test_a_share_of_outcomes(store, tmp_path, outcome, share):
    store.run("a0", STUCK, seed=0)
    for seed in SEEDS:
        store.run(f"a{seed}", RECOVERED | ({100: 5.95} if seed == 1 else {}), seed=seed)
    claims = written(tmp_path / "c.yaml", measure="outcome share", outcome=outcome, value=0.5, margin=0.1)
    direction = "as claimed" if float(share) < 0.4 else "against"
    assert (
        f"share of {' or '.join([outcome] if isinstance(outcome, str) else outcome)} {share}"
        in (evidence(store.root, claims)[0])
    )
    assert direction in evidence(store.root, claims)[0]
    assert judged(store.root, claims)[0][2] == "n=4", "a share rests on its seeds"


def test_a_share_with_an_unknown_outcome_is_not_judged(store, tmp_path):
    store.run("a1", STUCK, seed=1)
    store.run("a2", {1: 9.0, 10: 5.5, 50: 8.0}, seed=2)
    claims = written(tmp_path / "c.yaml", measure="outcome share", outcome="stuck", value=0.5, margin=0.1)
    assert judged(store.root, claims) == [("good", "inconclusive", "n=0")]
    assert evidence(store.root, claims) == ["1 cell not judged (the outcome of 1 of its 2 runs is unknown)"]


def test_a_figure_of_the_transition(store, tmp_path):
    store.run("a", RECOVERED)
    claims = written(
        tmp_path / "c.yaml",
        measure="transition/loss_drop_percent",
        value=-28.75,
        margin=0.1,
        **{"is": "within"},
    )
    assert evidence(store.root, claims) == ["1 of 1 run as claimed; transition/loss_drop_percent -28.75"]


def test_what_is_not_on_record_is_not_judged(store, tmp_path):
    store.run("a", RECOVERED)
    claims = written(tmp_path / "c.yaml", measure="val/accuracy")
    assert evidence(store.root, claims) == ["1 run not judged (val/accuracy at step 100 is unknown)"]


def test_a_setting_of_another_program_can_be_named(store, tmp_path):
    """What a run's config has counts, though it is no key of this program."""
    store.run("a", RECOVERED, model__shape="round")
    store.run("b", STUCK, model__shape="square")
    claims = written(tmp_path / "c.yaml", runs={"model": {"shape": "round"}})
    assert judged(store.root, claims) == [("good", "consistent", "n=1")]


def test_all_that_is_shown_is_escaped(store, tmp_path, capsys):
    store.run("a", RECOVERED)
    evil = "<script>alert(1)</script> | `x` [a](javascript:b)"
    claims = written(tmp_path / "evil<b>.yaml", name=evil, says=f"={evil}", source=evil)
    assert main([str(store.root), "--out", str(tmp_path / "out"), "--claims", str(claims)]) == 0
    page, text = ((tmp_path / "out" / name).read_text() for name in ("report.html", "report.md"))
    assert "<script>alert" not in page
    assert "<script>alert" not in text
    assert "evil<b>" not in page + text
    assert "evil&lt;b&gt;" in page
    assert (tmp_path / "out" / "tables" / "claims.csv").read_text().count("'=<script>") == 1
    assert "Claims: 1 consistent" in capsys.readouterr().out


NO_NAME = {key: value for key, value in GOOD.items() if key != "name"}


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"name": None}, ", name=?: is missing"),
        ({"value": None}, ", value=?: is missing"),
        ({"name": 3}, ", name=3: must be text; a number or a date stands in quotes"),
        ({"says": "a\x1b[2Jb"}, r", says='a\x1b[2Jb': must be text; a number or a date stands in quotes"),
        ({"colour": "red"}, ", colour=red: no such key; allowed: name, says, source, measure, is"),
        ({"measure": "val/los"}, ", measure=val/los: allowed: val/loss, "),
        ({"measure": "perf/step_ms"}, ", measure=perf/step_ms: allowed: "),
        ({"at": "start"}, ", at=start: allowed: end, boundary, after"),
        (
            {"measure": "transition/loss_drop", "at": "end"},
            ", at=end: is no part of transition/loss_drop; leave",
        ),
        ({"is": "<="}, ", is=<=: allowed: <, >, within"),
        ({"value": "much"}, ", value=much: must be a number"),
        ({"value": float("nan")}, ", value=nan: must be a number"),
        ({"margin": -1}, ", margin=-1: must be a number, 0 or more"),
        ({"n": 2}, ", n=2: must be a whole number, 3 or more"),
        ({"cells": True}, ", cells=True: must be a whole number, 1 or more"),
        ({"runs": ["wd2"]}, ", runs=['wd2']: must be a mapping of settings to values"),
        ({"runs": {"wd3": 0}}, ", runs.wd3=0: no such setting; allowed: wd2, "),
        ({"runs": {"threads": 2}}, ", runs.threads=2: no such setting; "),
        ({"runs": {"wd2": []}}, ", runs.wd2=[]: must be one value, or a list of values"),
        ({"setting": {"lr": 0.1}}, ", setting.lr=0.1: may differ from run to run; it belongs under runs"),
        ({"outcome": "stuck"}, ", outcome=stuck: needs measure: outcome share"),
        ({"measure": "outcome share"}, ", outcome=?: is missing; allowed: healthy, recovered, "),
        ({"measure": "outcome share", "outcome": "dead"}, ", outcome=dead: allowed: healthy, recovered, "),
        ({"difference": "lr"}, ", difference=lr: must be a mapping with the keys factor, from and to"),
        (
            {"difference": {"factor": [], "from": 1, "to": 2}},
            ", difference.factor=[]: allowed: a setting but",
        ),
        (
            {"difference": {"factor": "seed", "from": 1, "to": 2}},
            ", difference.factor=seed: allowed: a setting",
        ),
        ({"difference": {"factor": "lr", "from": 1, "to": [2]}}, ", difference.to=[2]: must be one value"),
        (
            {"difference": {"factor": "lr", "from": 1, "to": 1.0}},
            ", difference.to=1.0: must be another value",
        ),
        (
            {"difference": {"factor": "lr", "from": 1, "to": 2}, "runs": {"lr": 1}},
            ", runs.lr=1: is what the difference varies; leave it out",
        ),
        (
            {
                "measure": "outcome share",
                "outcome": "stuck",
                "difference": {"factor": "lr", "from": 1, "to": 2},
            },
            ": there is none of an outcome share; leave one of them out",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_one_line_names_file_entry_and_key(store, tmp_path, capsys, keys, line):
    store.run("a", RECOVERED)
    one = {key: value for key, value in (GOOD | keys).items() if value is not None}
    claims = written(tmp_path / "c.yaml", GOOD | {"name": "another"}, one)
    assert main([str(store.root), "--out", str(tmp_path / "out"), "--claims", str(claims)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"--claims={claims}: claim 2{line}") or (
        line.startswith(": ") and told.startswith(f"--claims={claims}: claim 2, ") and line in told
    )
    assert told.count("\n") == 1
    assert len(told) < 2000
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match=re.escape(line)):
        bs.report(store.root, claims=claims)


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("c.yaml", "claims: [", ": is no YAML ("),
        ("c.yaml", "- 1\n", ": claims=None: must be a list of claims"),
        ("c.yaml", "claims: []\n", ": claims=[]: must be a list of claims"),
        ("c.yaml", "claims: [3]\nmore: 1\n", ": claims=[3]: must be a list of claims, and no other key"),
        ("c.yaml", "claims: [3]\n", ": claim 1=3: must be a mapping with the keys name, says"),
        (
            "c.yaml",
            "claims:\n - name: a\n   name: b\n",
            ": is no YAML (the key name stands twice in a mapping",
        ),
        ("c.yaml", "claims: !!python/object/apply:os.system ['touch pwned']\n", ": is no YAML ("),
        ("c.yaml", "claims: &a [*a]\n", ": claim 1=[[[[...]]]]: must be a mapping"),
        ("c.yml", "\x00", ": is no YAML ("),
        ("c.toml", "claims = 3", ": claims=3: must be a list"),
        ("c.toml", "[[claims]]\nname = 'a'\nname = 'b'\n", ": is no TOML ("),
        ("c.toml", "\ufffd\udcff", ": is no TOML ("),
    ],
)
def test_a_file_that_is_none(store, tmp_path, monkeypatch, name, text, line):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError) as error:
        make_report([store.root], claims=name)
    assert str(error.value).startswith(f"--claims={name}{line}"), str(error.value)
    assert "\n" not in str(error.value)
    assert not Path("pwned").exists()


def test_a_sign_without_quotes_is_told(store, tmp_path):
    """YAML takes a bare > for the beginning of a text over several lines."""
    text = written(tmp_path / "c.yaml").read_text().replace("is: <", "is: >")
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"claim 1, is=.*: allowed: <, >, within"):
        make_report([store.root], claims=tmp_path / "c.yaml")


def test_a_file_that_is_not_there_and_two_of_one_name(store, tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read \(No such file or directory\)"):
        make_report([store.root], claims=tmp_path / "gone.yaml")
    with pytest.raises(ConfigError, match=r"--claims=~nobody-x/c.yaml: ~nobody-x is nobody's home folder"):
        make_report([store.root], claims="~nobody-x/c.yaml")
    with pytest.raises(ConfigError, match="claim 2, name=good: another claim has this name"):
        make_report([store.root], claims=written(tmp_path / "c.yaml", GOOD, GOOD))


def test_the_verb_takes_them(store, tmp_path, read_table):
    store.run("a", RECOVERED)
    words = [
        "report",
        str(store.root),
        f"--out={tmp_path / 'out'}",
        f"--claims={written(tmp_path / 'c.yaml')}",
    ]
    assert app(words) == 0
    assert [row["verdict"] for row in read_table(tmp_path / "out", "claims")] == ["consistent"]
