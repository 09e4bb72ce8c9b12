"""Whatever an allocator raises becomes one line that names what to lower; nothing else does."""

import gc
import subprocess
import sys
import weakref

import pytest
import torch

from bitnet_sweep.sweep.memory import OutOfMemoryError, memory_told

LINE = (
    "out of memory on cpu: lower model.hidden=16 or batch_size=2 (or sequence_length=8), "
    "or raise micro_batches=1"
)

REAL = f"""
import resource, numpy, torch
from bitnet_sweep.config import ModelConfig, RunConfig
from bitnet_sweep.sweep.memory import OutOfMemoryError, memory_told
config = RunConfig(model=ModelConfig(hidden=16), batch_size=2, sequence_length=8)
resource.setrlimit(resource.RLIMIT_AS, ({1 << 36}, {1 << 36}))
for ask in (lambda: torch.empty(1 << 40), lambda: numpy.empty(1 << 40), lambda: bytearray(1 << 40)):
    try:
        with memory_told(config, torch.device("cpu")):
            ask()
    except OutOfMemoryError as error:
        print(error)
"""


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
    ids=["cuda", "cublas", "cpu", "python"],
)
def test_what_allocators_raise_becomes_one_line(tiny, error):
    with pytest.raises(OutOfMemoryError) as told, memory_told(tiny(), torch.device("cpu")):
        raise error
    assert str(told.value) == LINE
    assert told.value.__cause__ is error


@pytest.mark.slow
def test_real_allocators_are_understood():
    run = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [LINE] * 3


@pytest.mark.parametrize("error", [RuntimeError("expected a tensor of 2 dimensions"), ValueError("memory")])
def test_other_errors_stay_what_they_are(tiny, error):
    with pytest.raises(type(error)) as told, memory_told(tiny(), torch.device("cpu")):
        raise error
    assert told.value is error


def test_what_did_not_fit_is_let_go(tiny):
    """The error lives on; the model in the frames that it came from must not."""
    kept = []

    def train():
        model = torch.nn.Linear(2, 2)
        kept.append(weakref.ref(model))
        raise MemoryError

    with pytest.raises(OutOfMemoryError) as told, memory_told(tiny(), torch.device("cpu")):
        train()
    gc.collect()
    assert kept[0]() is None
    assert told.value.__cause__ is not None
