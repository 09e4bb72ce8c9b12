"""``--device``: what these tests run on."""

import pytest
import torch

from bitnet_sweep.config import Device
from bitnet_sweep.runtime import prepare_process


def pytest_addoption(parser):
    parser.addoption(
        "--device",
        choices=["cuda", "cpu"],
        default="cuda",
        help="what tests/gpu run on; cpu runs the same tests on the processor",
    )


@pytest.fixture
def device(request):
    """The device, as a training has it; the test is skipped where it is not there."""
    name = request.config.getoption("--device", "cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device is visible here (--device cpu runs the same on the processor)")
    if name == "cuda":
        prepare_process(1, Device.cuda)
    yield torch.device(name)
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def on(device) -> Device:
    """The same as a run's config has it."""
    return Device[device.type]
