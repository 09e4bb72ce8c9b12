"""``make test-gpu`` as it is run where there is a GPU, on the processor and at tiny sizes."""

import subprocess
import sys
from pathlib import Path

import pytest

from bitnet_sweep.runtime import cpu_class

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parent.parent.parent
CHOICES = "--hidden 16 --batch 2x9 --vocab-size 50 --rounds 2 --no-compiled"
STEP = "--hidden 8 --batch 2x5 --vocab-size 50 --rounds 2 --peers"


def test_all_of_it_on_a_processor(tmp_path):
    sizes = [f"GPU_CHOICES={CHOICES}", f"GPU_STEP={STEP}", "GPU_TESTS_SECONDS=800"]
    sizes += [f"GPU_OUT={tmp_path}", "DEVICE=cpu"]
    environment = [
        f"BIN={Path(sys.executable).parent}",
        "--old-file=.venv/.dev",
    ]  # with what runs these tests
    made = subprocess.run(
        ["make", "test-gpu", *sizes, *environment], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-3000:]
    assert " passed" in (tmp_path / "tests.txt").read_text().splitlines()[-1]
    names = ["choices_cpu", f"step_2x5_{cpu_class().name}"]
    assert all((tmp_path / f"{name}.{kind}").stat().st_size for name in names for kind in ("md", "json"))
