"""One job on real training: forks, interruptions and corruption change no bit of any result."""

import dataclasses
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from bitnet_sweep import identity
from bitnet_sweep.code import code
from bitnet_sweep.config import (
    Activations,
    Decay,
    DecayShape,
    Knot,
    LossConfig,
    LrShape,
    ModelConfig,
    OptimizerConfig,
    OptimizerName,
    Precision,
    ScheduleConfig,
    Stage,
    SweepConfig,
    Weights,
)
from bitnet_sweep.data import fingerprint
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.store import FAILED, FINISHED, INTERRUPTED, Store
from bitnet_sweep.store.lease import Lease
from bitnet_sweep.store.outcome import outcome_of
from bitnet_sweep.sweep import provenance
from bitnet_sweep.sweep.exits import InterruptedRunError
from bitnet_sweep.sweep.job import Hooks, Job
from bitnet_sweep.workload import Step
from tests.optimizers import config_of
from tests.repetition import EVERY


def complete(config, num_stages=None, **hooks):
    return Job(config, "group", [], Hooks(**hooks), num_stages).complete()


def at(config, store, **sweep):
    """The same run in another store."""
    return dataclasses.replace(config, store=str(store), sweep=dataclasses.replace(config.sweep, **sweep))


def run_folder(config):
    return Store(Path(config.store)).run(stage_ids(config, fingerprint(config))[-1])


def science(records):
    """Records without what time, memory or host decides."""
    return [{k: v for k, v in record.items() if not k.startswith("perf/")} for record in records]


def assert_same_result(one, other):
    a, b = run_folder(one), run_folder(other)
    assert science(a.records()) == science(b.records())
    assert a.samples() == b.samples()
    weights_a, weights_b = load_file(a.final_path), load_file(b.final_path)
    assert weights_a.keys() == weights_b.keys()
    assert all(weights_a[name].equal(weights_b[name]) for name in weights_a)


def assert_same_boundaries(one, other):
    """Weights and optimizer state at every trunk, by the checksums of their checkpoints."""
    for stage in stage_ids(one, fingerprint(one))[:-1]:
        read = [
            json.loads((Store(Path(c.store)).stage(stage).path / "boundary.json").read_text())
            for c in (one, other)
        ]
        assert read[0] == read[1]


def quantised(name, **changes):
    return ModelConfig(hidden=16, num_layers=2, num_heads=2, quantiser=name, **changes)


FULL = ModelConfig(hidden=16, num_layers=2, num_heads=2, weights=Weights.full)
ADAMW = OptimizerConfig(name=OptimizerName.adamw)
MATRICES = OptimizerConfig(decay=Decay.matrices, clip=None)
THREE = {"schedule": ScheduleConfig(lr_bend_from=0.5, lr_bend_to=0.3), "lr_boundary": 0.5, "boundary": 0.7}
COSINES = ScheduleConfig(lr_shape=LrShape.cosine, decay_shape=DecayShape.cosine)
FP32 = {"precision": Precision.fp32}
FOUR = {
    "stages": [Stage(5, decay, [Knot(0, 1e-3), Knot(5, 5e-4)]) for decay in (0.1, 0.2, 0.0, 0.05)],
    "wd2": 0.05,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": ADAMW},
        {"optimizer": config_of(OptimizerName.muon)},
        *(
            pytest.param({"optimizer": config_of(name)}, marks=EVERY)
            for name in (OptimizerName.sgd, OptimizerName.lion, OptimizerName.torch)
        ),
        pytest.param({"optimizer": MATRICES}, marks=EVERY),
        pytest.param({"micro_batches": 2}, marks=EVERY),
        {"ema": 0.9},
        {"model": FULL},
        pytest.param({"loss": LossConfig(label_smoothing=0.1, z_loss=1e-4)}, marks=EVERY),
        pytest.param({"probe_every_steps": 7}, marks=EVERY),
        pytest.param(THREE, marks=EVERY),
        FOUR,
        {"optimizer": ADAMW, "model": FULL, **THREE},
        FP32,
        pytest.param({"schedule": COSINES, "boundary": 0.3}, marks=EVERY),
        {"model": FULL, "loss": LossConfig(label_smoothing=0.1, z_loss=1e-4), **FP32},
        {
            "schedule": ScheduleConfig(set_after_update=True),
            "loss": LossConfig(ignore_end_of_text=True),
            **FP32,
        },
        {"model": quantised("lsq4")},
        {"model": quantised("seq2"), "optimizer": ADAMW, **FP32},
        {"model": quantised("tequila", activations=Activations.int4, hadamard=True)},
        pytest.param({"model": quantised("binary")}, marks=EVERY),
        pytest.param({"model": quantised("lsq3"), "optimizer": MATRICES}, marks=EVERY),
        pytest.param({"model": quantised("absmedian"), **FP32}, marks=EVERY),
        pytest.param({"model": quantised("absmean_channel")}, marks=EVERY),
    ],
    ids=[
        "default",
        "adamw",
        "muon",
        "sgd",
        "lion",
        "torch",
        "matrices",
        "micro-batches",
        "ema",
        "full",
        "smoothing",
        "odd probes",
        "3 stages",
        "4 stages",
        "several",
        "fp32",
        "cosines",
        "fp32, full, smoothing",
        "schedule set after the update",
        "lsq4",
        "seq2",
        "tequila, int4, hadamard",
        "binary",
        "lsq3",
        "absmedian",
        "absmean_channel",
    ],
)
@pytest.mark.few(5)
def test_forked_equals_straight(tiny, tmp_path, changes):
    """Alone in one go, through trunks in one process, and forked from trunks on disk: equal bits."""
    base = tiny(**changes)
    alone = at(base, tmp_path / "alone", share_stages=False)
    through = at(base, tmp_path / "through")
    forked = at(base, tmp_path / "forked")
    complete(alone)
    complete(through)
    for stage in range(1, len(base.stages)):
        complete(forked, num_stages=stage)
    complete(forked)
    assert_same_result(alone, through)
    assert_same_result(alone, forked)
    assert_same_boundaries(through, forked)
    assert not Store(Path(alone.store)).root.joinpath("stages").exists()


@pytest.mark.parametrize("precision", [Precision.mixed, pytest.param(Precision.fp32, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "share", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["trunks", "alone"]
)
def test_interrupted_anywhere_equals_undisturbed(tiny, tmp_path, share, precision):
    """Stopped after every third step and gone on with, from checkpoints in the middle of windows."""
    base = tiny(probe_every_steps=6, checkpoint_every_steps=4, precision=precision)
    calm = at(base, tmp_path / "calm", share_stages=share)
    complete(calm)
    broken = at(base, tmp_path / "broken", share_stages=share)
    starts: list[int] = []
    while True:
        seen: list[Step] = []
        try:
            status = complete(broken, should_stop=lambda seen=seen: len(seen) >= 3, on_step=seen.append)
        except InterruptedRunError:
            assert run_folder(broken).status().state == INTERRUPTED
            starts.append(seen[0].step)
            continue
        break
    assert starts == sorted(set(starts)), "no step is trained twice"
    assert len(starts) >= 6
    assert status.attempts == len(starts) + 1
    assert_same_result(calm, broken)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lsq4", "tequila"])
@pytest.mark.system
def test_a_quantiser_that_is_interrupted_goes_on_to_the_same(tiny, tmp_path, name):
    base = tiny(probe_every_steps=6, checkpoint_every_steps=4, model=quantised(name))
    calm, broken = at(base, tmp_path / "calm"), at(base, tmp_path / "broken")
    complete(calm)
    for _ in range(3):
        seen: list[Step] = []
        with pytest.raises(InterruptedRunError):
            complete(broken, should_stop=lambda seen=seen: len(seen) >= 5, on_step=seen.append)
    complete(broken)
    assert_same_result(calm, broken)
    weights = load_file(run_folder(calm).final_path)
    assert ("blocks.0.attention.qkv.quantiser.step" in weights) is (name == "lsq4")
    counted = sum(tensor.numel() for tensor in weights.values())
    assert run_folder(calm).status().parameters["total"] == counted


@pytest.mark.slow
@pytest.mark.parametrize("precision", list(Precision))
def test_probe_interval_does_not_change_weights(tiny, tmp_path, precision):
    rare = tiny(probe_every_steps=20, precision=precision, store=str(tmp_path / "rare"))
    often = tiny(probe_every_steps=1, precision=precision, store=str(tmp_path / "often"))
    complete(rare)
    complete(often)
    a, b = (load_file(run_folder(config).final_path) for config in (rare, often))
    assert all(a[name].equal(b[name]) for name in a)
    assert len(run_folder(often).records()) == 20


def test_records_are_complete(tiny):
    """Step 1, every interval, the boundary and the end; the boundary belongs to the stage it ends."""
    config = tiny(probe_every_steps=8)
    status = complete(config)
    records = run_folder(config).records()
    assert [(r["step"], r["stage"]) for r in records] == [(1, 1), (8, 1), (10, 1), (16, 2), (20, 2)]
    assert [r["optim/weight_decay"] for r in records] == [0.1, 0.1, 0.1, 0.0, 0.0]
    assert [r["ternary/window_steps"] for r in records] == [1, 7, 2, 6, 4]
    assert [r["tokens_seen"] for r in records] == [16, 128, 160, 256, 320]
    assert {row["step"] for row in run_folder(config).samples()} == {10, 20}
    assert status.state == FINISHED
    # 2 * 300 * 16 embedding and head, 2 layers of 10 * 16², 7 * 16 gains each and 16 at the end
    assert status.parameters == {"total": 14960, "ternary": 5120, "embedding": 9600}
    assert status.stage_ids == stage_ids(config, fingerprint(config))


@pytest.mark.slow
def test_mixed_repeats_itself_and_stays_near_fp32(tiny, tmp_path):
    """Two runs are equal to the last bit; the first losses differ from fp32's in rounding alone."""
    configs = [tiny(store=str(tmp_path / name)) for name in ("one", "other")]
    reference = tiny(store=str(tmp_path / "fp32"), **FP32)
    for config in (*configs, reference):
        complete(config)
    assert_same_result(*configs)
    mixed, fp32 = (run_folder(config).records() for config in (configs[0], reference))
    assert run_folder(configs[0]).id != run_folder(reference).id
    assert mixed[0]["train/loss_batch"] != fp32[0]["train/loss_batch"]
    for field in ("train/loss", "val/loss", "probe/entropy", "probe/logit_std", "optim/grad_norm"):
        assert mixed[0][field] == pytest.approx(fp32[0][field], rel=1e-2)


def test_train_loss_is_the_mean_since_the_last_record(tiny):
    config = tiny(probe_every_steps=5)
    losses: list[float] = []
    complete(config, on_step=lambda step: losses.append(step.loss))
    records = run_folder(config).records()
    assert records[1]["train/loss"] == pytest.approx(sum(losses[1:5]) / 4, rel=1e-12)
    assert [r["train/loss_batch"] for r in records] == [losses[s - 1] for s in (1, 5, 10, 15, 20)]


def test_finished_means_skip(tiny):
    config = tiny()
    before = complete(config)
    steps: list[Step] = []
    assert complete(config, on_step=steps.append) == before
    assert steps == []


def test_a_status_tells_the_science_version_and_the_code(tiny, monkeypatch):
    monkeypatch.setattr(identity, "SCIENCE_VERSION", 2)
    config = tiny()
    complete(config)
    trunk = Store(Path(config.store)).stage(stage_ids(config, fingerprint(config))[0])
    for status in (run_folder(config).status(), trunk.status()):
        assert status is not None
        assert (status.science_version, status.provenance["science_version"]) == (2, 2)
        assert status.code == code()


@pytest.mark.slow
def test_provenance_tells_what_went_before(tiny, monkeypatch):
    """Begun at one commit, gone on with at another one, and not what nothing is left of."""
    config = tiny(checkpoint_every_steps=5)

    def until(last):
        def stop(step):
            if step.step == last:
                raise ZeroDivisionError

        return stop

    def made_by(commit):
        monkeypatch.setattr(provenance, "machine", lambda: {"commit": commit})

    def told():
        return run_folder(config).status().provenance

    made_by("lost")
    with pytest.raises(ZeroDivisionError):
        complete(config, on_step=until(13))
    assert run_folder(config).status().attempts == 1
    made_by("first")
    with pytest.raises(ZeroDivisionError):
        complete(config, on_step=until(17))
    lost = {"commit": "lost"}  # its steps are, but for those of the trunk
    version = {"science_version": identity.SCIENCE_VERSION}
    assert told() == {"command": [], "threads": 1, "commit": "first", "earlier": [lost]} | version
    made_by("second")
    with pytest.raises(ZeroDivisionError):
        complete(config, on_step=until(18))
    config.threads = 2
    complete(config)
    assert told()["earlier"] == [lost, {"commit": "first"}, {"threads": 1}]
    assert (told()["commit"], told()["threads"]) == ("second", 2)


@pytest.mark.slow
def test_provenance_forgets_a_trunk_that_was_trained_again(tiny, monkeypatch):
    """The trunk of another commit turns out corrupt, so nothing of the run is left of it."""
    config = tiny()
    monkeypatch.setattr(provenance, "machine", lambda: {"commit": "first"})
    complete(config, num_stages=1)
    (tensors,) = Path(config.store).glob("stages/*/boundary-*.safetensors")
    tensors.write_bytes(b"")
    monkeypatch.setattr(provenance, "machine", lambda: {"commit": "second"})
    complete(config)
    told = run_folder(config).status().provenance
    assert (told["commit"], "earlier" in told) == ("second", False)


@pytest.mark.slow
def test_arm_added_later_forks_from_the_trunk(tiny):
    complete(tiny(wd2=0.0))
    steps: list[Step] = []
    complete(tiny(wd2=0.05), on_step=steps.append)
    assert [step.step for step in steps] == list(range(11, 21))


@pytest.mark.parametrize("weights", list(Weights))
@pytest.mark.slow
def test_a_run_says_what_its_loss_means(tiny, weights):
    """Every probe has the measures, so every mark is known; a trunk has none."""
    config = tiny(model=ModelConfig(hidden=16, num_layers=2, num_heads=2, weights=weights))
    status = complete(config)
    records = run_folder(config).records()
    for field in ("blocks/loss_without", "ref/bigram_loss", "probe/context_gain", "val/loss_tempered"):
        assert all(isinstance(record[field], float) for record in records), field
    assert len({record["ref/bigram_loss"] for record in records}) == 1
    shares = [value for name, value in records[-1].items() if name.startswith("ternary/zero_frac/")]
    assert len(shares) == 8
    assert (set(shares) == {None}) == (weights is Weights.full)
    judged = outcome_of(
        records, steps=20, boundary_step=config.boundary_step, warmup_steps=config.warmup_steps
    )
    assert status.marks == list(judged.marks.held)
    assert judged.marks.unknown == ()
    trunk = Store(Path(config.store)).stage(status.stage_ids[0]).status()
    assert trunk is not None
    assert trunk.marks is None


def test_divergence_is_a_result(tiny):
    """A rate that makes the weights infinite: finished as diverged, nothing retried, arms share it."""
    config = tiny(lr=1e38, optimizer=OptimizerConfig(name=OptimizerName.adamw, clip=None))
    status = complete(config)
    records = run_folder(config).records()
    assert (status.state, status.outcome) == (FINISHED, "diverged")
    assert status.diverged_step == records[-1]["step"] < 10
    assert records[-1]["train/loss_batch"] is None
    assert records[-1]["val/loss"] is None
    assert records[0]["train/loss_batch"] > 0
    other = tiny(lr=1e38, wd2=0.05, optimizer=config.optimizer)
    steps: list[Step] = []
    assert complete(other, on_step=steps.append).outcome == "diverged"
    assert steps == []
    assert science(run_folder(other).records()) == science(records)


def test_a_loss_that_is_not_finite_is_null_in_the_heartbeat(tiny, monkeypatch):
    """The JSON of a heartbeat takes no NaN: the heart would stop, and the folder be free to be taken."""
    told = []
    monkeypatch.setattr(Lease, "beat", lambda lease, progress: told.append(progress))
    complete(tiny(lr=1e38, optimizer=OptimizerConfig(name=OptimizerName.adamw, clip=None)))
    assert told[0]["loss"] > 0
    assert told[-1]["loss"] is None


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "json"])
@pytest.mark.few(2)
def test_corrupt_trunk_is_trained_again(tiny, tmp_path, damage):
    calm = tiny(wd2=0.05, store=str(tmp_path / "calm"))
    complete(calm)
    complete(tiny(wd2=0.0))
    config = tiny(wd2=0.05)
    trunk = Store(Path(config.store)).stage(stage_ids(config, fingerprint(config))[0]).path
    tensors = trunk / "boundary-10.safetensors"
    content = bytearray(tensors.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "flip":
        tensors.write_bytes(content)
    elif damage == "cut":
        tensors.write_bytes(content[:1000])
    elif damage == "gone":
        tensors.unlink()
    else:
        (trunk / "boundary.json").write_text("{")
    steps: list[Step] = []
    complete(config, on_step=steps.append)
    assert [step.step for step in steps] == list(range(1, 21))
    assert_same_result(calm, config)


@pytest.mark.slow
def test_failure_keeps_its_traceback_and_can_be_gone_on_with(tiny, tmp_path):
    calm = tiny(store=str(tmp_path / "calm"))
    complete(calm)
    config = tiny()

    def break_at_15(step):
        if step.step == 15:
            raise ArithmeticError("made up")

    with pytest.raises(ArithmeticError):
        complete(config, on_step=break_at_15)
    status = run_folder(config).status()
    assert status.state == FAILED
    assert "ArithmeticError: made up" in status.error
    again = complete(config)
    assert (again.state, again.error, again.attempts) == (FINISHED, None, 2)
    assert_same_result(calm, config)


@pytest.mark.slow
def test_seed_sets_weights_and_order_only(tiny, tmp_path):
    """Held-out tokens, references and probe contexts are the same for every seed."""
    records = []
    for seed in (0, 1):
        config = tiny(seed=seed, store=str(tmp_path / str(seed)))
        complete(config)
        records.append(run_folder(config).records())
    assert records[0][0]["ref/unigram_loss"] == records[1][0]["ref/unigram_loss"]
    assert records[0][0]["val/loss"] != records[1][0]["val/loss"]
    assert records[0][0]["train/loss_batch"] != records[1][0]["train/loss_batch"]


@pytest.mark.slow
def test_pairs_start_equal(tiny, tmp_path):
    """Ternary and full, coupled and decoupled, begin with the same weights and batches."""
    first_losses = set()
    for name, changes in {"coupled": {}, "decoupled": {"optimizer": ADAMW}}.items():
        config = tiny(store=str(tmp_path / name), **changes)
        complete(config)
        first_losses.add(run_folder(config).records()[0]["train/loss_batch"])
    assert len(first_losses) == 1


@pytest.mark.slow
def test_without_final_weights(tiny):
    config = tiny(sweep=SweepConfig(keep_final=False))
    complete(config)
    assert not run_folder(config).final_path.exists()
