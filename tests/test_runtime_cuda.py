"""What a process is set to on CUDA, as far as a CPU can tell: a training step obeys the same settings."""

import os
from typing import Any

import pytest
import torch

from bitnet_sweep.config import LossConfig, ModelConfig, OptimizerConfig, Precision
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.runtime import repeat_on_cuda
from bitnet_sweep.train.backward import backward
from bitnet_sweep.train.optimizer import Adam, update

KERNELS = ("math", "flash", "mem_efficient", "cudnn")


@pytest.fixture
def as_on_cuda(monkeypatch):
    """The settings, taken back at the end."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    cuda = torch.backends.cuda
    before = {kernel: getattr(cuda, f"{kernel}_sdp_enabled")() for kernel in KERNELS}
    reduced = cuda.matmul.allow_bf16_reduced_precision_reduction
    deterministic: Any = torch.utils.deterministic
    filled = deterministic.fill_uninitialized_memory
    repeat_on_cuda()
    yield
    torch.use_deterministic_algorithms(False)
    deterministic.fill_uninitialized_memory = filled
    cuda.matmul.allow_bf16_reduced_precision_reduction = reduced
    for kernel, enabled in before.items():
        getattr(cuda, f"enable_{kernel}_sdp")(enabled)


@pytest.mark.usefixtures("as_on_cuda")
def test_settings_for_cuda():
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    enabled = [kernel for kernel in KERNELS if getattr(torch.backends.cuda, f"{kernel}_sdp_enabled")()]
    assert enabled == ["math"]


@pytest.mark.usefixtures("as_on_cuda")
@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("precision", list(Precision))
def test_a_step_has_a_deterministic_form(precision, micro_batches):
    """torch refuses an operation that has none, where it knows of it on this device."""
    model = Transformer(ModelConfig(hidden=8, num_layers=1, num_heads=2), 30, 0, precision)
    optimizer = Adam(model, OptimizerConfig())
    ids = torch.arange(12).reshape(2, 6)
    backward(model, ids[:, :-1], ids[:, 1:], LossConfig(label_smoothing=0.1, z_loss=1e-3), micro_batches)
    update(model, optimizer, clip=1.0, learning_rate=1e-3, weight_decay=0.1)
