"""The plain loop is the same model, and the programs give what they promise."""

import json
import sys

import pytest
import torch

from bench import budget, gpu, step, threads
from bench.arms import Arm, ArmError, Setting
from bench.large import LAYERS
from bench.plain import PlainLoop, PlainModel, copy_weights
from bench.tables import table
from bitnet_sweep.config import ModelConfig
from bitnet_sweep.model import head, mixed, products
from bitnet_sweep.model.quantisers import ACTIVATION_QUANTS
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.runtime import cpu_class
from tests.repetition import EVERY

TINY = Setting(hidden=8, batch=2, length=5, vocab_size=50)


def test_the_plain_model_is_this_model():
    """With the same weights it has the same logits and parameters, so the comparison is fair."""
    ours, plain = Transformer(ModelConfig(hidden=8), 50, seed=0), PlainModel(8, 50)
    copy_weights(ours, plain)
    ids = torch.randint(50, (2, 5), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(plain(ids), ours(ids), rtol=1e-4, atol=1e-4)


def test_made_up_stores_name_the_layers_of_the_model():
    assert list(Transformer(ModelConfig(hidden=8), 50, seed=0).bitlinears()) == LAYERS


@pytest.mark.slow
def test_the_plain_loop_learns():
    torch.manual_seed(0)
    loop = PlainLoop(PlainModel(8, 50))
    ids = torch.arange(12).reshape(2, 6)
    losses = [loop.step(ids[:, :-1], ids[:, 1:]) for _ in range(30)]
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.system
@pytest.mark.parametrize(
    ("anew", "name"),
    [([], "step_2x5"), pytest.param(["--anew"], "step_2x5_anew", marks=EVERY)],
)
def test_table_of_a_tiny_setting(tmp_path, monkeypatch, capsys, anew, name):
    monkeypatch.setitem(sys.modules, "bitlinear", None)  # as if it were not installed
    arguments = ["--hidden", "8", "--batch", "2x5", "--vocab-size", "50", "--rounds", "3"]
    arguments += ["--peers", "bitlinear", "--out", str(tmp_path), *anew]
    monkeypatch.setattr(sys, "argv", ["step", *arguments])
    step.main()
    name = f"{name}_{cpu_class().name}"
    document = json.loads((tmp_path / f"{name}.json").read_text())
    rows = {row["arm"]: row for row in document["rows"]}
    assert list(rows) == ["floor", "mixed", "fp32", "plain"]
    assert rows["plain"]["speed_up"] == rows["floor"]["floor_share"] == rows["mixed"]["mixed_faster"] == 1.0
    assert all(row["ms"] > 0 and row["peak_mb"] > row["base_mb"] > 50 for row in rows.values())
    assert len({row["parameters"] for row in rows.values()}) == 1
    assert {"cpu", "commit", "torch", "float32 product, GFLOP/s"} <= set(document["machine"])
    assert document["machine"]["cpu_class"] in name
    page, printed = (tmp_path / f"{name}.md").read_text(), capsys.readouterr().out
    assert table(document["rows"], step.COLUMNS) in page
    assert table(document["rows"], step.COLUMNS) in printed
    assert "`bitlinear` is left out: the package is not installed" in page
    assert "bitlinear is left out: the package is not installed" in printed
    picture = (tmp_path / f"{name}.svg").read_text()
    assert all(picture.count(f">{arm} ") == 1 for arm in rows)


@pytest.mark.system
def test_jobs_side_by_side(tmp_path, monkeypatch, capsys):
    arguments = ["--jobs", "2", "--hidden", "8", "--batch", "2x5", "--vocab-size", "50", "--steps", "2"]
    monkeypatch.setattr(sys, "argv", ["threads", *arguments, "--rounds", "3", "--out", str(tmp_path)])
    threads.main()
    document = json.loads((tmp_path / "threads.json").read_text())
    side, one = document["rows"]
    assert (side["way"], one["way"]) == ("2 jobs of 1 thread", "1 job of 2 threads")
    assert one["of_one_job"] == 1.0
    assert side["steps_per_s"] > 0
    assert side["peak_mb"] > 1.5 * one["peak_mb"]
    assert table(document["rows"], threads.COLUMNS) in (tmp_path / "threads.md").read_text()
    assert table(document["rows"], threads.COLUMNS) in capsys.readouterr().out


@pytest.mark.system
def test_budget_of_a_tiny_setting(monkeypatch):
    monkeypatch.setattr(mixed, "ternary_weights", mixed.ternary_weights)  # put back at the end
    for kind, quant in list(ACTIVATION_QUANTS.items()):
        monkeypatch.setitem(ACTIVATION_QUANTS, kind, quant)
    parts = budget.budget(TINY, steps=2)
    labels = [label for label, _ in parts[:-1]]
    optional = {"ternary products, forward"}  # where they are float32, the profiler does not tell them apart
    assert set(budget.PARTS.values()) - optional <= set(labels) <= set(budget.PARTS.values())
    assert all(ms > 0 for _, ms in parts)


@pytest.mark.system
def test_an_arm_that_cannot_take_its_step_is_left_out(tmp_path, monkeypatch, capsys):
    """As on a GPU whose memory it does not fit; what compares with it is missing, the others stand."""

    class Refusing(Arm):
        def run(self, steps, keep=True):
            if self.name == "plain":
                raise ArmError("OutOfMemoryError: CUDA out of memory.")
            super().run(steps, keep)

    monkeypatch.setattr(step, "Arm", Refusing)
    arguments = ["--hidden", "16", "8", "--batch", "2x5", "--vocab-size", "50", "--rounds", "2", "--peers"]
    monkeypatch.setattr(sys, "argv", ["step", *arguments, "--out", str(tmp_path)])
    step.main()
    name = f"step_2x5_{cpu_class().name}"
    rows = json.loads((tmp_path / f"{name}.json").read_text())["rows"]
    assert [(row["hidden"], row["arm"]) for row in rows] == [
        (hidden, arm) for hidden in (8, 16) for arm in ("floor", "mixed", "fp32")
    ]
    assert {row["speed_up"] for row in rows} == {None}
    for text in ((tmp_path / f"{name}.md").read_text(), capsys.readouterr().out):
        assert "out of memory" in text


@pytest.mark.system
def test_an_arm_says_in_one_line_why_it_cannot():
    arm = Arm("no such arm", TINY)
    with pytest.raises(ArmError, match=r"^KeyError: 'no such arm'$"):
        arm.run(1)


def test_no_setting_begins_once_the_time_is_over(tmp_path, monkeypatch, capsys):
    arguments = ["--hidden", "8", "--batch", "2x5", "--seconds", "0", "--peers", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["step", *arguments])
    step.main()
    assert "hidden 8, batch 2x5 is left out: the 0 seconds were over" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("program", [step, gpu])
def test_a_gpu_that_is_not_there_is_told_in_one_line(program, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["program", "--device", "cuda"])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 2
    assert "device=cuda: no CUDA device is visible here" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.system
def test_choices_of_a_tiny_setting(tmp_path, monkeypatch, capsys):
    """Everything but compiling, which takes minutes on a CPU."""
    arguments = ["--device", "cpu", "--hidden", "16", "--batch", "2x9", "--vocab-size", "50"]
    monkeypatch.setattr(
        sys, "argv", ["gpu", *arguments, "--no-compiled", "--rounds", "2", "--out", str(tmp_path)]
    )
    before = head.TILE, products.PRODUCTS.copy()
    gpu.main()
    assert before == (head.TILE, products.PRODUCTS), "what was tried is taken back"
    document = json.loads((tmp_path / "choices_cpu.json").read_text())
    assert {row["variant"] for row in document["rows"]} == {"as it is", *gpu.VARIANTS} - {"blocks compiled"}
    assert all(row["ms"] is None or row["ms"] > 0 for row in document["rows"])
    (failed,) = (row for row in document["rows"] if row["variant"] == "bfloat16 codes")
    assert "mm.dtype" in failed["failed"], "a CPU does not have it"
    page, printed = (tmp_path / "choices_cpu.md").read_text(), capsys.readouterr().out
    for variant in {row["variant"] for row in document["rows"]} - {"as it is"}:
        assert f"- {variant}: " in page
        assert f"- {variant}: " in printed
    assert page.count("| product of codes") == 1


def test_a_recommendation_needs_a_clear_gain_at_most_settings():
    assert gpu.verdict([1.25, 1.11, 0.83]).startswith("take it, 1.11 times")
    assert gpu.verdict([1.03, 1.01, 1.5]).startswith("leave it, 1.03 times")
    assert gpu.verdict([None, None]) == "cannot be had here"
    assert gpu.verdict([None, 2.0, None]).startswith("take it, 2.00 times as fast as it is, median of 1 of 3")
