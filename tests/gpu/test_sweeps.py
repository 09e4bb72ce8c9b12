"""Trainings on a device: forked, interrupted, side by side and too large."""

import json

import pytest
import torch

from bitnet_sweep.config import ModelConfig, Precision
from bitnet_sweep.store import FINISHED
from bitnet_sweep.sweep.exits import InterruptedRunError
from bitnet_sweep.workload import Step
from tests.sweep.command import GRID, TINY, run, science, states
from tests.sweep.test_faults import address_space
from tests.sweep.test_job import assert_same_boundaries, assert_same_result, at, complete, run_folder

pytestmark = [pytest.mark.gpu, pytest.mark.slow, pytest.mark.filterwarnings("default")]

SHAPES = {"tiny": (16, 2, 8), "notes": (64, 4, 32)}
"""Hidden size, sequences and tokens of a batch."""


@pytest.fixture(params=SHAPES, ids=str)
def config(request, on, tiny):
    """Makes configs at a shape that cuBLAS needs padding for, and at one that it takes as it is."""
    hidden, batch, length = SHAPES[request.param]
    model = ModelConfig(hidden=hidden, num_layers=2, num_heads=2)
    shape = {"model": model, "batch_size": batch, "sequence_length": length}
    return lambda **changes: tiny(device=on, **(shape | changes))


@pytest.mark.parametrize("precision", list(Precision))
def test_forked_equals_straight(config, device, tmp_path, precision):
    """Alone in one go, and forked from a trunk on disk: equal bits, under deterministic algorithms."""
    base = config(precision=precision)
    alone = at(base, tmp_path / "alone", share_stages=False)
    forked = at(base, tmp_path / "forked")
    torch.use_deterministic_algorithms(False)
    complete(alone)
    assert torch.are_deterministic_algorithms_enabled() is (device.type == "cuda")
    complete(forked, num_stages=1)
    complete(forked)
    assert_same_result(alone, forked)
    through = at(base, tmp_path / "through")
    complete(through)
    assert_same_result(alone, through)
    assert_same_boundaries(through, forked)


@pytest.mark.parametrize("precision", list(Precision))
def test_interrupted_equals_undisturbed(config, tmp_path, precision):
    """Stopped in either stage and gone on with from the checkpoint."""
    base = config(precision=precision)
    undisturbed = at(base, tmp_path / "undisturbed")
    complete(undisturbed)
    broken = at(base, tmp_path / "broken")
    for last in (3, 13):
        seen: list[Step] = []
        with pytest.raises(InterruptedRunError):
            complete(
                broken, on_step=seen.append, should_stop=lambda s=seen, n=last: s[-1:] and s[-1].step >= n
            )
    complete(broken)
    assert_same_result(undisturbed, broken)


def test_a_run_names_its_gpu(config, device):
    base = config()
    complete(base)
    status = run_folder(base).status()
    assert status is not None
    assert status.state == FINISHED
    assert ("gpu" in status.provenance) is (device.type == "cuda")


@pytest.fixture
def arguments(corpus_file, device):
    return [*TINY, f"data.path={corpus_file}", "steps=40", f"device={device.type}"]


def test_a_sweep_of_four_runs_with_two_jobs_on_one_device(arguments, tmp_path):
    """Side by side or one after the other, the results are the same bits."""
    for name, jobs in (("two", 2), ("one", 1)):
        (tmp_path / name).mkdir()
        status, out, err = run(tmp_path / name, *GRID, *arguments, f"hydra.launcher.n_jobs={jobs}")
        assert status == 0, err
        assert "4 runs sharing 2 trunks" in out
        assert states(tmp_path / name / "runs") == ["finished"] * 4
    assert science(tmp_path / "two" / "runs") == science(tmp_path / "one" / "runs")


TOO_LARGE = {
    "cuda": {"model.hidden": 64, "model.num_heads": 16, "batch_size": 1, "sequence_length": 65000},
    "cpu": {"model.hidden": 2048, "batch_size": 2, "sequence_length": 8},
}
"""The scores of its attention would take 270 GB; on the processor, of limited memory, 84 M weights 1.3 GB."""


@pytest.mark.parametrize("many", [False, True], ids=["one run", "sweep"])
def test_out_of_memory_is_told_in_one_line(arguments, device, tmp_path, many):
    sizes = TOO_LARGE[device.type]
    command = [*(["-m", "wd2=0.0,0.05"] if many else []), *arguments, *(f"{k}={v}" for k, v in sizes.items())]
    assert run(tmp_path, *command, "sweep.dry_run=true")[0] == 0, "token files, built without a limit"
    limited = {} if device.type == "cuda" else {"preexec_fn": address_space(900_000_000), "fresh": True}
    status, _, err = run(tmp_path, *command, **limited)
    assert status == 1, err
    hidden, batch, length = (sizes[key] for key in ("model.hidden", "batch_size", "sequence_length"))
    told = (
        f"OutOfMemoryError: out of memory on {device.type}: lower model.hidden={hidden} or batch_size={batch}"
    )
    assert sum(told in line for line in err.splitlines()) == 1, err
    assert "Traceback" not in err
    (failed,) = (tmp_path / "runs").glob("stages/*" if many else "runs/*")
    document = json.loads((failed / "status.json").read_text())
    assert document["state"] == "failed"
    last = document["error"].strip().splitlines()[-1]
    assert last.endswith(f"{told} (or sequence_length={length}), or raise micro_batches=1")
