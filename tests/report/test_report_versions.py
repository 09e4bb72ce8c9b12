"""Runs of the same config that another program trained: never a pair with those of this one."""

from __future__ import annotations

from typing import Any

import pytest

from bitnet_sweep.report import make_report
from bitnet_sweep.report.arms import Arm
from bitnet_sweep.report.pairs import Pair, Refusal, pair_of
from bitnet_sweep.report.settings import science_version_of
from tests.report.conftest import as_read, in_file

COMMIT = "0e473194101d36519dd4b515bc56d30e74273893"
LOSSES: dict[int, float | None] = {1: 9.0, 50: 8.0, 100: 4.0}


def status(trunk: str, run_id: str, **told: Any) -> dict[str, Any]:
    return {"stage_ids": [trunk, run_id], "parent_stage_id": trunk, **told}


def arms_of(store: Any) -> dict[str, Arm]:
    return {arm.run_id: arm for arm in make_report([store.root]).study.arms}


def test_a_command_given_again_under_a_new_version_contrasts_like_with_like(store: Any) -> None:
    """Old code ends at 4.00 whatever the decay, new code at 4.07. By run_id, old and new lie crosswise."""
    for run_id, wd2, version in (("a", 0.0, 1), ("b", 0.0, 2), ("c", 0.05, 2), ("d", 0.05, 1)):
        told = status(f"trunk{version}", run_id, science_version=version)
        store.run(run_id, LOSSES | {100: 4.07 if version == 2 else 4.0}, wd2=wd2, status=told)
    report = make_report([store.root])
    rows = as_read(report, "stage2_contrast")
    assert sorted(zip(rows["section"], rows["Difference"], rows["Pair"], strict=True)) == [
        ("science_version=1", "0.00", "fork"),
        ("science_version=2", "0.00", "fork"),
    ]
    arms = {arm.run_id: arm for arm in report.study.arms}
    assert pair_of(arms["a"], arms["c"]) == Refusal("the science versions differ: 1 and 2")


@pytest.mark.parametrize(
    ("versions", "verdict"),
    [
        pytest.param((1, 1), Pair("matched", "lr"), id="equal"),
        pytest.param((1, 2), Refusal("the science versions differ: 1 and 2"), id="different"),
        pytest.param((2, None), Refusal("the science versions differ: 2 and unknown"), id="one unknown"),
        pytest.param((None, None), Pair("matched", "lr"), id="both unknown, as in every store of before"),
    ],
)
def test_only_equal_versions_are_a_pair(
    store: Any, versions: tuple[int | None, ...], verdict: object
) -> None:
    for run_id, lr, version in (("a", 0.0015, versions[0]), ("b", 0.003, versions[1])):
        told = {} if version is None else {"science_version": version}
        store.run(run_id, LOSSES, lr=lr, status=told)
    arms = arms_of(store)
    assert pair_of(arms["a"], arms["b"]) == verdict


@pytest.mark.parametrize(
    ("told", "version"),
    [
        pytest.param({"science_version": 3}, "3", id="told"),
        pytest.param({"science_version": None}, "unknown", id="null"),
        pytest.param({"provenance": {"commit": COMMIT}}, "1", id="a commit of before it was told"),
        pytest.param({"provenance": {"commit": f"{COMMIT}+"}}, "unknown", id="a changed source tree"),
        pytest.param({"provenance": {"commit": None}}, "unknown", id="no repository"),
        pytest.param({"provenance": "?"}, "unknown", id="not ours"),
        pytest.param({}, "unknown", id="nothing"),
    ],
)
def test_a_version_is_known_where_it_is_certain(told: dict[str, Any], version: str) -> None:
    assert science_version_of(told) == version


def test_a_stage_in_common_tells_the_version(store: Any) -> None:
    """Stage ids have the version in them, so a new arm of an old trunk is of the trunk's version."""
    store.run("old", LOSSES, status=status("trunk", "old"))
    store.run("new", LOSSES, wd2=0.05, status=status("trunk", "new", science_version=1))
    (section,) = make_report([store.root]).study.sections
    one, other = section.arms
    assert pair_of(one, other) == Pair("fork", "wd2")


def test_a_missing_run_is_of_its_sweeps_version(store: Any) -> None:
    store.run("a", LOSSES, status={"science_version": 2})
    store.run("c", LOSSES, seed=1, status={"science_version": 2})
    store.sweep("grid", ["a", "b", "c", "d"], overrides=["seed=0,1", "wd2=0.0,0.05"])
    assert len(make_report([store.root]).study.sections) == 1


def test_the_page_tells_the_code_in_one_column(store: Any) -> None:
    told = {"science_version": 1, "code": {"model/head.py": "1", "train/loop.py": "2"}}
    store.run("a", LOSSES, status=told)
    store.run("b", LOSSES, wd2=0.05, status=told | {"code": {"model/head.py": "3", "train/loop.py": "2"}})
    frame = make_report([store.root]).table("provenance").frame
    assert list(frame["science_version"]) == ["1", "1"]
    assert frame["code"].nunique() == 2
    assert not [name for name in frame if "head.py" in str(name)]


def test_runs_trained_anew_by_other_code_are_told_apart_by_it(store: Any) -> None:
    """By run_id old and new lie crosswise; wd2 makes no difference within a code."""
    for run_id, wd2, code, end in (
        ("a", 0.0, "1", 4.0),
        ("b", 0.0, "2", 4.1),
        ("c", 0.05, "2", 4.1),
        ("d", 0.05, "1", 4.0),
    ):
        told = status(f"trunk{code}", run_id, science_version=1, code={"train/loop.py": code})
        store.run(run_id, LOSSES | {100: end}, wd2=wd2, status=told)
    report = make_report([store.root])
    assert all(section.label.startswith("code=") for section in report.study.sections)
    assert list(as_read(report, "stage2_contrast")["Difference"]) == ["0.00", "0.00"]
    contrasts = in_file(report, "contrasts")
    assert sorted(zip(contrasts["factor"], contrasts["difference"], strict=True)) == [
        *[("code", "")] * 2,
        *[("wd2", "0")] * 2,
    ]


def test_code_makes_no_sections_where_every_run_is_there_once(store: Any) -> None:
    for seed, code in enumerate(("1", "2", "2")):
        told = status(f"trunk{seed}", f"a{seed}", code={"train/loop.py": code})
        store.run(f"a{seed}", LOSSES, seed=seed, status=told)
    assert len(make_report([store.root]).study.sections) == 1
