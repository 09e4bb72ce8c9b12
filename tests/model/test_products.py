"""Every native kernel on the path at its smallest and oddest shapes, against values that are exact.

The memory that a kernel might read by mistake is filled first: ``torch._int_mm`` with one input column
gave the right sums in fresh memory and wrong ones behind other work.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bitnet_sweep import runtime
from bitnet_sweep.config import ConfigError, OptimizerConfig
from bitnet_sweep.cpu import SWITCH, CpuClass
from bitnet_sweep.model.norm import OneStepRMSNorm
from bitnet_sweep.model.products import Products, code_sums, padded_int_mm
from bitnet_sweep.train.optimizer import Adam
from tests.repetition import repeated

ROWS = (0, 1, 2, 3, 7, 16, 17, 33)
INPUTS = (1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 33, 64, 65)
OUTPUTS = (1, 2, 3, 5, 8, 15, 16, 17, 33, 64)


def filled_memory() -> None:
    """Leave blocks of many sizes behind that hold anything but zeros."""
    blocks = [torch.full((2**power,), 117, dtype=torch.int8) for power in range(4, 16) for _ in range(3)]
    del blocks


def whole(*shape: int, low: int, high: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high + 1, shape, generator=generator).double()


@pytest.mark.parametrize("inputs", INPUTS)
def test_codes_times_codes_is_exact_at_every_shape(inputs: int, each_class: Products) -> None:
    for rows, outputs in itertools.product(ROWS, OUTPUTS):
        a_NI = whole(rows, inputs, low=-128, high=127, seed=rows)
        b_OI = whole(outputs, inputs, low=-1, high=1, seed=outputs)
        filled_memory()
        got = code_sums(a_NI.to(each_class.codes), b_OI.to(each_class.codes))
        assert torch.equal(got.double(), a_NI @ b_OI.T), (rows, inputs, outputs)


@pytest.mark.parametrize("inputs", INPUTS)
def test_integer_products_padded_for_cuda_are_exact(inputs: int) -> None:
    for rows, outputs in itertools.product(ROWS, OUTPUTS):
        a_NI = whole(rows, inputs, low=-128, high=127, seed=rows).to(torch.int8)
        b_OI = whole(outputs, inputs, low=-1, high=1, seed=outputs).to(torch.int8)
        assert torch.equal(padded_int_mm(a_NI, b_OI).double(), a_NI.double() @ b_OI.double().T)


@pytest.mark.parametrize("inputs", INPUTS)
def test_operand_products_are_exact_at_every_shape(inputs: int, each_class: Products) -> None:
    """Small whole numbers, whose products and sums bfloat16 holds, in the three directions of a layer."""
    for rows, outputs in itertools.product(ROWS, OUTPUTS):
        x_NI = whole(rows, inputs, low=-1, high=1, seed=rows)
        w_OI = whole(outputs, inputs, low=-1, high=1, seed=outputs)
        g_NO = whole(rows, outputs, low=-1, high=1, seed=inputs)
        filled_memory()
        x, w, g = (operand.to(each_class.operands) for operand in (x_NI, w_OI, g_NO))
        assert torch.equal((x @ w.T).double(), x_NI @ w_OI.T), (rows, inputs, outputs)
        assert torch.equal((g @ w).double(), g_NO @ w_OI), (rows, inputs, outputs)
        assert torch.equal((g.T @ x).double(), g_NO.T @ x_NI), (rows, inputs, outputs)


def test_the_largest_sums_do_not_overflow(each_class: Products) -> None:
    codes = torch.full((17, 4096), -128, dtype=each_class.codes)
    ternary = torch.ones(8, 4096, dtype=each_class.codes)
    for signed in (ternary, -ternary):
        assert code_sums(codes, signed).unique().tolist() == [-128 * 4096 * int(signed[0, 0])]


@pytest.mark.parametrize("width", [2, 4, 6, 10, 16, 34])
@pytest.mark.parametrize("positions", [1, 2, 3, 17, 33])
@pytest.mark.parametrize("heads", [1, 3])
def test_attention_equals_its_formula(heads: int, positions: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(3, 2, heads, positions, width, generator=generator)).unbind(0)
    q, k, v = (part.clone().requires_grad_() for part in (q, k, v))
    filled_memory()
    got = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    gradients = torch.autograd.grad(got.square().sum(), (q, k, v))
    scores = (q @ k.transpose(-1, -2)).double() / width**0.5
    hidden = torch.ones(positions, positions, dtype=torch.bool).triu(1)
    expected = scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v.double()
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(gradients, torch.autograd.grad(expected.square().sum(), (q, k, v)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 1), (15,), (16,), (17,), (1, 33), (5, 7), (129,)], ids=str)
@pytest.mark.parametrize("divisor", [None, 4.0], ids=["whole", "divided"])
def test_adam_equals_its_formula(shape: tuple[int, ...], divisor: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    model = torch.nn.ParameterList([torch.nn.Parameter(torch.randn(shape, generator=generator))])
    (parameter,) = model
    optimizer, config = Adam(model, OptimizerConfig()), OptimizerConfig()
    w = parameter.detach().double()
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    for step in (1, 2, 3):
        parameter.grad = torch.randn(shape, generator=generator)
        g = parameter.grad.double() / (divisor or 1.0) + 0.1 * w
        filled_memory()
        optimizer.step(1e-2, 0.1, None if divisor is None else torch.tensor(divisor))
        m = config.beta1 * m + (1 - config.beta1) * g
        v = config.beta2 * v + (1 - config.beta2) * g.square()
        corrected = (v / (1 - config.beta2**step)).sqrt() + config.eps
        w = w - 1e-2 * (m / (1 - config.beta1**step)) / corrected
        torch.testing.assert_close(parameter.detach().double(), w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("width", [1, 2, 3, 15, 16, 17, 33])
@pytest.mark.parametrize("rows", [1, 2, 17])
def test_the_norm_equals_its_formula(rows: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    norm = OneStepRMSNorm(width, eps=1e-5)
    x = torch.randn(rows, width, generator=generator).requires_grad_()
    filled_memory()
    got = norm(x)
    expected = x.double() / (x.double().square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-6)
    (one,) = torch.autograd.grad(got.square().sum(), x)
    (other,) = torch.autograd.grad(expected.square().sum(), x)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_switch_takes_features_away_and_adds_none(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = list(CpuClass)
    for native, asked in itertools.product(classes, classes):
        monkeypatch.setattr(runtime, "native_class", lambda native=native: native)
        monkeypatch.setenv(SWITCH, asked.name)
        runtime.cpu_class.cache_clear()
        chosen = runtime.cpu_class()
        assert classes.index(chosen) == max(classes.index(native), classes.index(asked))
    runtime.cpu_class.cache_clear()


@pytest.mark.parametrize("value", ["", None])
def test_without_the_switch_the_processor_decides(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    if value is not None:
        monkeypatch.setenv(SWITCH, value)
    runtime.cpu_class.cache_clear()
    assert runtime.cpu_class() is runtime.native_class()


def test_an_unknown_class_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "avx10")
    runtime.cpu_class.cache_clear()
    with pytest.raises(
        ConfigError, match="BITNET_SWEEP_CPU=avx10: allowed: avx512_bf16, avx512_vnni, portable"
    ):
        runtime.cpu_class()
    runtime.cpu_class.cache_clear()


AS_ON = {
    "AVX-512 with VNNI, without bfloat16": {
        "BITNET_SWEEP_CPU": "avx512_vnni",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI",
    },
    "AVX-512 without VNNI": {"BITNET_SWEEP_CPU": "portable", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
    "no vector extension": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
}
"""Processors that a richer one can play: the libraries read these before they choose their kernels."""


def has_more_than(name: str) -> bool:
    """Whether this processor has what is taken away there; else the test has been run on it already."""
    if name == "AVX-512 with VNNI, without bfloat16":
        return runtime.native_class() is CpuClass.avx512_bf16
    capability = torch.backends.cpu.get_cpu_capability()
    return capability != "DEFAULT" if name == "no vector extension" else capability == "AVX512"


@pytest.mark.system  # half a minute each
@pytest.mark.parametrize("name", repeated(AS_ON, [*AS_ON][::2]))
def test_a_poorer_processor_passes_the_same_tests(name: str) -> None:
    """Kernels, equality with the reference, forks, resume and determinism, with features taken away."""
    if not has_more_than(name):
        pytest.skip("this processor has nothing of what is taken away")
    held = ["model", "train", "measure", "sweep/test_job.py"]
    chosen = ["-m", "not slow and not system", "-k", "not avx512_bf16"]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *chosen]
    finished = subprocess.run(
        [*command, *(f"tests/{part}" for part in held)],
        env=os.environ | AS_ON[name],
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-3000:]
