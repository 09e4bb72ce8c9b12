"""CodeWatch by hand on one weight, and against a twin that keeps the codes of every step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from bitnet_sweep.config import Activations, ModelConfig, Weights
from bitnet_sweep.measure.codes import CodeWatch
from bitnet_sweep.model.bitlinear import BitLinear
from bitnet_sweep.model.mixed import MixedBitLinear
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.records import FIELDS, Value, clean


def layer_of(
    w_OI: Tensor, weights: Weights = Weights.ternary, kind: type[BitLinear] = BitLinear
) -> BitLinear:
    layer = kind(w_OI.shape[1], w_OI.shape[0], weights, Activations.int8)
    set_weights(layer, w_OI)
    return layer


def set_weights(layer: BitLinear, w_OI: Tensor) -> None:
    with torch.no_grad():
        layer.weight.copy_(w_OI)


def row(*codes: int) -> Tensor:
    """Latent weights with these codes; the two 1s at the end keep the absmean above 0."""
    return torch.tensor([[*map(float, codes), 1.0, 1.0]])


class Twin:
    """The definitions, read off a list of the codes of all steps."""

    def __init__(self, layers: dict[str, BitLinear]) -> None:
        self.layers = layers
        self.history: list[Tensor] = []
        self.record_step = 0
        self.after_step()

    def after_step(self) -> None:
        self.history.append(torch.cat([layer.codes().flatten() for layer in self.layers.values()]).long())

    def measures(self) -> dict[str, Value]:
        step, last = len(self.history) - 1, self.record_step
        start = max(last, step - 20)
        reversals = 0
        for codes in torch.stack(self.history[start:]).T.tolist():
            changes = [after - before for before, after in itertools.pairwise(codes) if after != before]
            reversals += sum(a * b < 0 for a, b in itertools.pairwise(changes))
        now, total = self.history[-1], len(self.history[-1])
        self.record_step = step
        return {
            "ternary/minus_frac": (now == -1).sum().item() / total,
            "ternary/zero_frac": (now == 0).sum().item() / total,
            "ternary/plus_frac": (now == 1).sum().item() / total,
            "ternary/flip_rate": (now != self.history[-2]).sum().item() / total,
            "ternary/flip_rate_window": (now != self.history[last]).sum().item() / total,
            "ternary/window_steps": step - last,
            "ternary/oscillation_freq": reversals / (total * (step - start)),
            "ternary/oscillation_steps": step - start,
        }


def code_fields(fields: dict[str, Value]) -> dict[str, Value]:
    """Those over all layers."""
    others = ("absmean", "clamped", "zero_frac/")
    return {name: value for name, value in fields.items() if not any(word in name for word in others)}


def test_one_weight_by_hand() -> None:
    layer = layer_of(row(0))
    watch = CodeWatch({"a": layer})
    # ups: 0>1, -1>0, 0>1; downs: 1>0, 0>-1. Reversals: at steps 2 and 5 (the pause at 4 does not count)
    for step, code in enumerate([1, 0, -1, -1, 0, 1], start=1):
        set_weights(layer, row(code))
        watch.after_step(step, next_record_step=6)
    got = watch.measures(6)
    assert code_fields(got) == {
        "ternary/minus_frac": 0.0,
        "ternary/zero_frac": 0.0,
        "ternary/plus_frac": 1.0,
        "ternary/flip_rate": 1 / 3,
        "ternary/flip_rate_window": 1 / 3,
        "ternary/window_steps": 6,
        "ternary/oscillation_freq": 2 / (3 * 6),
        "ternary/oscillation_steps": 6,
    }
    # the next interval starts afresh: back to 0 is a change, but no reversal of an earlier interval's
    set_weights(layer, row(0))
    watch.after_step(7, next_record_step=7)
    second = watch.measures(7)
    assert second["ternary/flip_rate"] == second["ternary/flip_rate_window"] == 1 / 3
    assert second["ternary/oscillation_freq"] == 0.0
    assert second["ternary/window_steps"] == second["ternary/oscillation_steps"] == 1


def test_a_code_that_returns_flips_in_the_step_but_not_in_the_window() -> None:
    layer = layer_of(row(0))
    watch = CodeWatch({"a": layer})
    for step, code in enumerate([1, 0], start=1):
        set_weights(layer, row(code))
        watch.after_step(step, next_record_step=2)
    got = watch.measures(2)
    assert (got["ternary/flip_rate"], got["ternary/flip_rate_window"]) == (1 / 3, 0.0)


def test_layers_are_weighted_by_their_weights() -> None:
    small, large = layer_of(torch.ones(1, 2)), layer_of(torch.ones(4, 2))
    watch = CodeWatch({"small": small, "large": large})
    set_weights(small, -torch.ones(1, 2))
    watch.after_step(1, next_record_step=1)
    got = watch.measures(1)
    assert got["ternary/flip_rate"] == 2 / 10
    assert got["ternary/minus_frac"] == 2 / 10


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([1, 5, 10, 15], id="every 5 steps"),
        pytest.param([1, 20, 40, 60, 61], id="every 20 steps, and the end"),
        pytest.param([1, 21, 42], id="just beyond the window"),
        pytest.param([1, 50, 90], id="far beyond the window"),
        pytest.param([1, 2, 3, 4], id="every step"),
    ],
)
@pytest.mark.parametrize("save_at", [None, 1, 11, 30, 31, 45, 50], ids=lambda step: f"saved at {step}")
def test_random_walks_equal_the_twin(records: list[int], save_at: int | None) -> None:
    generator = torch.Generator().manual_seed(0)

    def walk(layer: BitLinear) -> None:
        step_OI = torch.randn(layer.weight.shape, generator=generator)
        set_weights(layer, layer.weight.detach() + 0.4 * step_OI)

    layers = {name: layer_of(torch.randn(*shape, generator=generator)) for name, shape in SHAPES.items()}
    watch, twin = CodeWatch(layers), Twin(layers)
    for step in range(1, records[-1] + 1):
        for layer in layers.values():
            walk(layer)
        twin.after_step()
        watch.after_step(step, next_record_step=min(record for record in records if record >= step))
        if step in records:
            assert code_fields(watch.measures(step)) == twin.measures()
        if step == save_at:
            watch = through_a_file(watch, layers)


SHAPES = {"one": (3, 5), "two": (7, 2)}


def through_a_file(watch: CodeWatch, layers: dict[str, BitLinear]) -> CodeWatch:
    """As a checkpoint does it: the tensors as safetensors, which refuses those that share memory."""
    tensors, counters = watch.state()
    assert all(tensor.dtype == torch.int8 for tensor in tensors.values())
    assert all(type(counter) is int for counter in counters.values())
    restored = CodeWatch(layers)
    restored.load_state(load(save(tensors)), counters)
    return restored


def test_restored_state_is_the_saved_one() -> None:
    layers = {"a": layer_of(row(0, 1)), "b": layer_of(row(1))}
    watch = CodeWatch(layers)
    for step in (1, 2, 3):
        set_weights(layers["b"], row(-step % 2))
        watch.after_step(step, next_record_step=9)
    tensors, counters = watch.state()
    assert set(tensors) == {f"{part}/{name}" for part in ("record", "now", "direction") for name in "ab"}
    again, counters_again = through_a_file(watch, layers).state()
    assert counters_again == counters
    assert set(again) == set(tensors)
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)


def test_codes_are_computed_in_the_window_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = layer_of(row(0))
    seen: list[int] = []
    step = 0
    plain: Callable[[], Tensor] = layer.codes

    def counted() -> Tensor:
        seen.append(step)
        return plain()

    monkeypatch.setattr(layer, "codes", counted)
    watch = CodeWatch({"a": layer})
    for step in range(1, 101):
        watch.after_step(step, next_record_step=100)
    watch.measures(100)
    assert seen == [0, *range(80, 101)]


@pytest.mark.parametrize("last", [2, 3, 30, 31, 80, 81, 82, 99])
def test_a_record_before_its_time(last: int) -> None:
    """One at step 1, one due at 100, so codes are followed from 80 on; one weight goes to and fro.

    But not at the last step, which was not made: of that step nothing is said, and not that no code changed.
    """
    layer = layer_of(row(0))
    watch = CodeWatch({"a": layer})
    watch.after_step(1, next_record_step=1)
    watch.measures(1)
    for step in range(2, last):
        set_weights(layer, row(step % 2))
        watch.after_step(step, next_record_step=100)
    watch.cut_short(last)
    got = watch.measures(last)
    assert got["ternary/flip_rate"] is got["ternary/oscillation_freq"] is None
    assert got["ternary/oscillation_steps"] == 0
    changed = last > 2 and (last - 1) % 2 == 1
    assert got["ternary/flip_rate_window"] == (1 / 3 if changed else 0.0)
    assert got["ternary/plus_frac"] == (1.0 if changed else 2 / 3)
    assert got["ternary/window_steps"] == last - 1


def test_absmean_fields() -> None:
    dying = layer_of(torch.tensor([[4e-6, -2e-6]]))
    watch = CodeWatch({"x.qkv": layer_of(torch.tensor([[3.0, -1.0]])), "x.out": dying})
    watch.after_step(1, next_record_step=1)
    got = watch.measures(1)
    assert got["ternary/absmean/x.qkv"] == 2.0
    assert got["ternary/absmean/x.out"] == pytest.approx(3e-6, rel=1e-6)
    assert got["ternary/absmean"] == pytest.approx((2.0 + 3e-6) / 2)
    assert got["ternary/absmean_min"] == got["ternary/absmean/x.out"]
    assert got["ternary/clamped_layers"] == 1
    assert got["ternary/zero_frac"] == 3 / 4  # 4e-6 rounds to 0, 2e-6 too, and -1 is half of 2
    assert (got["ternary/zero_frac/x.qkv"], got["ternary/zero_frac/x.out"]) == (1 / 2, 1.0)


def test_full_weights_have_no_codes_but_an_absmean() -> None:
    layer = layer_of(torch.tensor([[3.0, -1.0]]), Weights.full)
    watch = CodeWatch({"a": layer})
    watch.after_step(1, next_record_step=1)
    got = watch.measures(1)
    assert set(code_fields(got).values()) == {None}
    assert got["ternary/absmean"] == got["ternary/absmean/a"] == 2.0
    assert got["ternary/zero_frac/a"] is None
    assert watch.state()[0] == {}
    restored = through_a_file(watch, {"a": layer})
    restored.after_step(2, next_record_step=2)
    assert restored.measures(2)["ternary/flip_rate"] is None


def test_every_field_has_its_name_and_meaning() -> None:
    model = Transformer(ModelConfig(8, 1, 2), 11, seed=0)
    watch = CodeWatch(model.bitlinears())
    watch.after_step(1, next_record_step=1)
    layers = {f"ternary/{of}/{name}" for of in ("absmean", "zero_frac") for name in model.bitlinears()}
    assert set(watch.measures(1)) == layers | {name for name in FIELDS if name.startswith("ternary/")}


@pytest.mark.parametrize("value", [math.nan, math.inf, 3e38], ids=["nan", "inf", "too large to sum"])
@pytest.mark.parametrize("kind", [BitLinear, MixedBitLinear])
def test_codes_of_weights_that_are_not_finite_are_not_counted(kind: type[BitLinear], value: float) -> None:
    """In one layer of two: what is over both is unknown, not 0, and the other's own absmean stands."""
    good, bad = (layer_of(row(0), kind=kind) for _ in range(2))
    watch = CodeWatch({"good": good, "bad": bad})
    set_weights(bad, torch.full((1, 3), value))
    watch.after_step(1, next_record_step=1)
    got = clean(watch.measures(1))
    steps = {"ternary/window_steps": 1, "ternary/oscillation_steps": 1}
    assert {name: got[name] for name in got if got[name] is not None} == steps | {
        "ternary/absmean/good": pytest.approx(2 / 3),
        "ternary/zero_frac/good": pytest.approx(1 / 3),
    }


def test_watching_changes_no_weight() -> None:
    model = Transformer(ModelConfig(8, 1, 2), 11, seed=0)
    before = {name: w.clone() for name, w in model.state_dict().items()}
    watch, rng = CodeWatch(model.bitlinears()), torch.get_rng_state()
    watch.after_step(1, next_record_step=1)
    watch.measures(1)
    assert all(torch.equal(w, before[name]) for name, w in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), rng)


def test_steps_left_out_and_records_out_of_turn_are_refused() -> None:
    watch = CodeWatch({"a": layer_of(row(0))})
    with pytest.raises(ValueError, match="cannot have a record"):
        watch.measures(0)
    watch.after_step(1, next_record_step=3)
    with pytest.raises(ValueError, match="step 3 follows step 1"):
        watch.after_step(3, next_record_step=3)
    with pytest.raises(ValueError, match="cannot have a record"):
        watch.measures(3)
    watch.measures(1)
    with pytest.raises(ValueError, match="cannot have a record"):
        watch.measures(1)


def test_a_state_of_other_layers_is_refused() -> None:
    tensors, counters = CodeWatch({"a": layer_of(row(0))}).state()
    with pytest.raises(KeyError, match="record/b"):
        CodeWatch({"b": layer_of(row(0))}).load_state(tensors, counters)
