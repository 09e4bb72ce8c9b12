"""A model of a user's own in the transformer's loop, whatever it keeps and draws."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitnet_sweep import load_run, open_run
from bitnet_sweep.config import (
    Activations,
    ConfigError,
    Decay,
    ModelConfig,
    OptimizerConfig,
    OptimizerName,
    Precision,
    RunConfig,
    TokenizerConfig,
    Weights,
    from_plain,
    recorded,
)
from bitnet_sweep.conformance import model_checks
from bitnet_sweep.data import fingerprint
from bitnet_sweep.doors import settled
from bitnet_sweep.export.export import export_to_hf
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.model.bitlinear import BitLinear
from bitnet_sweep.model.own import Shape, counts_of, make_model
from bitnet_sweep.parts import known, register
from bitnet_sweep.stages import resolve
from bitnet_sweep.store import Store
from bitnet_sweep.sweep.job import Hooks, Job
from bitnet_sweep.track import run_name
from bitnet_sweep.train.fallback import fallback_lines


@dataclass
class Options:
    width: int = 8
    keeps: bool = False
    """It counts its steps outside of what a checkpoint has."""
    cheats: bool = False
    """It looks at the token that it is to predict."""


class Drawing(nn.Module):
    """Tied matrices, dropout, a running mean, a frozen table, a BitLinear, a part that idles at first."""

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__()
        width = options.width
        self.embedding = nn.Embedding(shape.vocab_size, width)
        self.place = nn.Parameter(torch.randn(shape.positions, width), requires_grad=False)
        self.mean = nn.BatchNorm1d(width)
        self.inner = BitLinear(width, width, Weights.ternary, Activations.full)
        self.inner.initialise(torch.Generator().manual_seed(0))
        self.idle = nn.Linear(width, width)
        self.head = nn.Linear(width, shape.vocab_size, bias=False)
        self.head.weight = self.embedding.weight
        self.constant: Tensor
        self.register_buffer("constant", torch.ones(width), persistent=False)
        self.options, self.calls = options, 0

    def forward(self, x_BT: Tensor) -> Tensor:
        x_BTD = self.embedding(x_BT) + self.place[: x_BT.shape[1]] * self.constant
        x_BTD = nn.functional.dropout(x_BTD, 0.2, self.training)
        x_BTD = x_BTD + self.inner(self.mean(x_BTD.transpose(1, 2)).transpose(1, 2))
        if self.options.cheats:
            x_BTD = x_BTD + x_BTD.roll(-1, 1)
        if self.training:
            self.calls += 1
        if int(self.mean.get_buffer("num_batches_tracked")) > 4:
            x_BTD = x_BTD + self.idle(x_BTD)
        if self.options.keeps:
            x_BTD = x_BTD * (1 + 0.1 * self.calls)
        logits_BTV: Tensor = self.head(x_BTD)
        return logits_BTV


@pytest.fixture(autouse=True)
def registered(own_parts: None) -> None:
    register("model", "drawing", Drawing, options=Options, version=3)
    register("model", "flat", lambda shape, options: nn.Embedding(shape.vocab_size, 5), version=1)
    register("model", "none", lambda shape, options: shape, version=1)


def config(name: str = "drawing", **changes: Any) -> RunConfig:
    model = ModelConfig(name=name, options=changes.pop("options", {}))
    return settled(resolve(RunConfig(model=model, tokenizer=TokenizerConfig(vocab_size=300), **changes)))


def test_parameters_are_counted_once_and_by_what_is_known() -> None:
    found = counts_of(config())
    assert found == {"total": 300 * 8 + 32 * 8 + 2 * 8 + (8 * 8 + 8) + (8 * 8 + 8), "ternary": 64}
    assert found["total"] == sum(p.numel() for p in make_model(config()).parameters())


def test_its_names_are_its_own() -> None:
    model = make_model(config())
    assert "embedding.weight" in dict(model.named_parameters())
    assert list(model.bitlinears()) == ["inner"]
    assert {"mean.running_mean", "mean.num_batches_tracked"} < model.kept().keys()
    assert "constant" not in model.kept()


def test_the_seed_alone_decides_its_weights() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (make_model(config(seed=seed)).kept()["place"] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.slow
def test_the_checks_find_what_no_checkpoint_keeps() -> None:
    part = known("model", "drawing")
    assert part is not None
    sound = model_checks(part, {})
    for name in ("construction", "order", "training"):
        sound[name]()
    with pytest.raises(AssertionError, match=r"from its trunk at precision=fp32, .* straight, .* here"):
        model_checks(part, {"keeps": True})["training"]()
    with pytest.raises(AssertionError, match=r"looks at tokens behind"):
        model_checks(part, {"cheats": True})["order"]()


@pytest.mark.slow
def test_a_finished_run_is_opened(tiny: Any) -> None:
    trained = settled(tiny(model=ModelConfig(name="drawing"), ema=0.9))
    Job(trained, "check", [], Hooks()).complete()
    run_id = stage_ids(trained, fingerprint(trained))[-1]
    run = open_run(trained.store, run_id)
    assert run.status is not None
    assert run.status.parameters == counts_of(trained)
    records = Store(Path(trained.store)).run(run_id).records()
    assert all(0 < float(str(record["ternary/zero_frac/inner"])) < 1 for record in records)
    assert {record["blocks/loss_without"] for record in records} == {None}
    averaged = load_run(trained.store, run_id, averaged=True)
    assert not torch.equal(run.model.kept()["embedding.weight"], averaged.kept()["embedding.weight"])
    assert torch.equal(run.model.kept()["mean.running_mean"], averaged.kept()["mean.running_mean"])
    assert run.generate("ab", 5) == run.generate("ab", 5), "in evaluation mode nothing is dropped"
    with pytest.raises(
        ConfigError, match=r"is of model\.name=drawing; only runs of the transformer have this"
    ):
        export_to_hf(Path(trained.store), run_id, Path(trained.store, "exported"))


def test_what_is_refused() -> None:
    def said(**changes: Any) -> str:
        with pytest.raises(ConfigError) as refused:
            config(**changes)
        return str(refused.value)

    assert said(name="nine").startswith(
        "model.name=nine: no such model; did you mean none? allowed: transformer, drawing"
    )
    assert said(options={"widht": 3}).startswith("model.options.widht=3: model drawing has no such option")
    told = said(optimizer=OptimizerConfig(decay=Decay.head))
    assert told == "optimizer.decay=head: model.name=drawing has no such part; allowed: all, matrices, gains"
    assert said(optimizer=OptimizerConfig(OptimizerName.muon)).startswith("optimizer=muon: takes another way")
    with pytest.raises(
        ConfigError, match=r"model.hidden=64: is the transformer's own; model.name=drawing takes"
    ):
        RunConfig(model=ModelConfig(hidden=64, name="drawing"))
    with pytest.raises(ConfigError, match=r"model.options.a=1: model transformer has no options"):
        settled(RunConfig(model=ModelConfig(options={"a": 1})))
    with pytest.raises(ConfigError, match=r"must make a torch.nn.Module; it made a Shape"):
        make_model(config("none"))
    with pytest.raises(
        ConfigError, match=r"must return logits of \(1, 2, 300\); it returned a tensor of \(1, 2, 5"
    ):
        make_model(config("flat"))(torch.zeros(1, 2, dtype=torch.long))


def test_what_a_config_says_of_it() -> None:
    own = config(options={"width": 16})
    assert recorded(own)["model"] == {
        "name": "drawing",
        "options": {"width": 16, "keeps": False, "cheats": False},
        "version": "3",
    }
    assert resolve(from_plain(recorded(own))) == own
    ids = {stage_ids(each, "corpus")[-1] for each in (own, config(), config(seed=1))}
    assert len(ids) == 3
    assert run_name(own) == "drawing wd2=0 lr=1.5e-3 s0 width=16 keeps=false cheats=false v3 vocab_size=300"


def test_a_plan_says_that_mixed_is_not_its_own() -> None:
    (line,) = fallback_lines([config(), config(seed=1), config(precision=Precision.fp32), RunConfig()])
    assert line.startswith("precision=mixed: model.name=drawing is computed by its own code")
    assert line.endswith("(2 runs)")
