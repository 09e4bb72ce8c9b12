"""What a plan says where ``mixed`` has no product of codes."""

from __future__ import annotations

import pytest

from bitnet_sweep.config import Activations, ModelConfig, Precision, RunConfig
from bitnet_sweep.train.fallback import fallback_lines


def config(
    name: str, precision: Precision = Precision.mixed, activations: Activations = Activations.int8
) -> RunConfig:
    model = ModelConfig(quantiser=name, activations=activations)
    return RunConfig(precision=precision, model=model)


@pytest.mark.parametrize("name", ["absmean", "absmedian", "binary", "tequila"])
def test_codes_that_share_a_scale_are_multiplied(name: str) -> None:
    assert fallback_lines([config(name), config(name, activations=Activations.int4)]) == []


def test_others_are_told_once_for_each_quantiser() -> None:
    configs = [config("lsq4"), config("absmean"), config("absmean_channel"), config("lsq4")]
    assert fallback_lines(configs) == [
        "precision=mixed: model.quantiser=lsq4 has no product of codes, so its BitLinears multiply "
        "float32 numbers forward, as full weights do (2 runs)",
        "precision=mixed: model.quantiser=absmean_channel has no product of codes, so its BitLinears "
        "multiply float32 numbers forward, as full weights do (1 run)",
    ]


def test_where_float32_is_asked_for_nothing_falls_back() -> None:
    full = config("lsq4", activations=Activations.full)
    assert fallback_lines([config("lsq4", Precision.fp32), full]) == []
