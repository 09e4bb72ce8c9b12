"""The typed config: what it refuses, and the stages that follow from its shorthands."""

import math

import pytest

from bitnet_sweep.config import (
    ConfigError,
    DataConfig,
    DataName,
    Knot,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    Stage,
    StraightThrough,
    SweepConfig,
    Targets,
    TokenizerConfig,
    TokenizerName,
    TrackConfig,
    plain,
)
from bitnet_sweep.stages import resolve, stage_ends


def test_notes_schedule():
    """The notes' path: 375 steps of warm-up to 1.5e-3, 2/3 of it at 5,000, 0.1 % of it at 10,000."""
    config = resolve(RunConfig(steps=10_000, wd2=0.05))
    assert [(stage.steps, stage.weight_decay) for stage in config.stages] == [(5000, 0.1), (5000, 0.05)]
    first, second = config.stages
    assert [k.step for stage in config.stages for k in stage.lr] == [0, 375, 5000, 0, 5000]
    assert [k.lr for k in first.lr] == pytest.approx([0.0, 1.5e-3, 1e-3], rel=1e-12)
    assert [k.lr for k in second.lr] == pytest.approx([1e-3, 1.5e-6], rel=1e-12)
    assert (config.warmup_steps, config.probe_every_steps, config.checkpoint_every_steps) == (375, 500, 1000)


@pytest.mark.parametrize(
    ("step", "rate"),
    [(1, 1e-3 / 10), (5, 5e-4), (10, 1e-3), (30, 1e-3 * 5 / 6), (50, 1e-3 * 2 / 3)],
    ids=["first", "in warm-up", "peak", "half way down", "bend"],
)
def test_learning_rate_of_a_step(step, rate):
    stage = resolve(RunConfig(steps=100, warmup_steps=10, lr=1e-3)).stages[0]
    assert stage.lr_at(step) == pytest.approx(rate, rel=1e-12)


def test_boundaries_move_alone():
    """Stages are cut at the union of both boundaries; each moves one thing."""
    config = resolve(RunConfig(steps=100, warmup_steps=10, lr=1.0, boundary=0.3, lr_boundary=0.5))
    assert stage_ends(config.stages) == [30, 50, 100]
    assert [stage.weight_decay for stage in config.stages] == [0.1, 0.0, 0.0]
    at_30 = 1.0 + (2 / 3 - 1.0) * (30 - 10) / (50 - 10)
    assert config.stages[0].lr[-1].lr == config.stages[1].lr[0].lr == pytest.approx(at_30)
    assert config.stages[1].lr[-1].lr == pytest.approx(2 / 3)


def test_cutting_a_path_does_not_change_it():
    """A boundary in the middle of a straight stretch leaves the learning rates as they were."""
    whole = resolve(RunConfig(steps=100, boundary=0.5))
    cut = resolve(RunConfig(steps=100, boundary=0.25))
    rates = [
        [stage.lr_at(step) for stage in config.stages for step in range(1, stage.steps + 1)]
        for config in (whole, cut)
    ]
    assert rates[0] == pytest.approx(rates[1], rel=1e-12)


def test_boundary_within_warm_up():
    config = resolve(RunConfig(steps=100, warmup_steps=20, lr=1.0, boundary=0.1))
    assert [(k.step, k.lr) for k in config.stages[0].lr] == [(0, 0.0), (10, 0.5)]
    assert [(k.step, k.lr) for k in config.stages[1].lr][:2] == [(0, 0.5), (10, 1.0)]


def test_trilm_has_three_stages_and_a_drop():
    shape = ScheduleConfig(name="trilm", lr_bend_from=0.5, lr_bend_to=0.3125, lr_final=0.0)
    config = resolve(RunConfig(steps=300, lr=1.0, boundary=2 / 3, lr_boundary=0.5, schedule=shape))
    assert stage_ends(config.stages) == [150, 200, 300]
    assert [stage.weight_decay for stage in config.stages] == [0.1, 0.1, 0.0]
    assert (config.stages[0].lr[-1].lr, config.stages[1].lr[0].lr) == (0.5, 0.3125)
    assert config.stages[2].lr[-1].lr == 0.0


def test_short_runs_have_lengths_of_at_least_one():
    config = resolve(RunConfig(steps=4))
    assert (config.warmup_steps, config.probe_every_steps, config.checkpoint_every_steps) == (1, 1, 1)


def test_absolute_lengths_override_fractions():
    config = resolve(RunConfig(steps=100, warmup_steps=7, probe_every_steps=3, checkpoint_every_steps=9))
    assert (config.warmup_steps, config.probe_every_steps, config.checkpoint_every_steps) == (7, 3, 9)


@pytest.mark.parametrize("boundary", [0.5, 0.3], ids=["one cut", "two cuts"])
@pytest.mark.parametrize("wd2", [0.0, 0.1], ids=["decay off", "decay kept"])
def test_resolve_is_idempotent(boundary, wd2):
    once = resolve(RunConfig(steps=100, boundary=boundary, wd2=wd2))
    assert plain(resolve(once)) == plain(once)


def _stage(steps, decay):
    return Stage(steps, decay, [Knot(0, 1e-3), Knot(steps, 1e-3)])


def test_written_stages_are_the_schedule():
    config = resolve(
        RunConfig(steps=60, stages=[_stage(10, 0.1), _stage(20, 0.0), _stage(30, 0.02)], wd2=0.02)
    )
    assert stage_ends(config.stages) == [10, 30, 60]
    assert config.boundary == pytest.approx(10 / 60)
    assert config.lr == 1e-3, "the peak of what is trained, not the default"


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: ModelConfig(hidden=0), "model.hidden"),
        (lambda: ModelConfig(hidden=-8), "model.hidden"),
        (lambda: ModelConfig(hidden=30, num_heads=4), "model.hidden"),
        (lambda: ModelConfig(hidden=12, num_heads=4), "model.num_heads"),
        (lambda: ModelConfig(num_layers=0), "model.num_layers"),
        (lambda: ModelConfig(ffn=0), "model.ffn"),
        (lambda: OptimizerConfig(clip=0.0), "optimizer.clip"),
        (lambda: OptimizerConfig(beta2=1.0), "optimizer.beta2"),
        (lambda: OptimizerConfig(eps=math.inf), "optimizer.eps"),
        (lambda: LossConfig(label_smoothing=1.0), "loss.label_smoothing"),
        (lambda: LossConfig(z_loss=-1.0), "loss.z_loss"),
        (lambda: DataConfig(name=DataName.text), "data.path"),
        (lambda: DataConfig(path="a.txt"), "data.path"),
        (lambda: DataConfig(name=DataName.text, path=[1]), "data.path"),
        (lambda: TokenizerConfig(vocab_size=256), "tokenizer.vocab_size"),
        (lambda: TokenizerConfig(name=TokenizerName.gpt2), "tokenizer.vocab_size"),
        (lambda: SweepConfig(name="../x"), "sweep.name"),
        (lambda: TrackConfig(project="a/b"), "track.project"),
        (lambda: TrackConfig(project=""), "track.project"),
        (lambda: TrackConfig(base_url="wandb.ai"), "track.base_url"),
        (lambda: TrackConfig(tags=["x" * 65]), "track.tags"),
        (lambda: TrackConfig(timeout_seconds=0.0), "track.timeout_seconds"),
        (lambda: SweepConfig(max_retries=-1), "sweep.max_retries"),
        (lambda: RunConfig(lr=0.0), "lr"),
        (lambda: RunConfig(lr=math.nan), "lr"),
        (lambda: RunConfig(wd1=-0.1), "wd1"),
        (lambda: RunConfig(wd2=math.inf), "wd2"),
        (lambda: RunConfig(seed=-1), "seed"),
        (lambda: RunConfig(steps=1), "steps"),
        (lambda: RunConfig(batch_size=0), "batch_size"),
        (lambda: RunConfig(micro_batches=3), "micro_batches"),
        (lambda: RunConfig(micro_batches=8), "micro_batches"),
        (lambda: RunConfig(micro_batches=0), "micro_batches"),
        (lambda: RunConfig(boundary=1.0), "boundary"),
        (lambda: RunConfig(boundary=0.0), "boundary"),
        (lambda: RunConfig(lr_boundary=1.5), "lr_boundary"),
        (lambda: RunConfig(probe_every_steps=0), "probe_every_steps"),
        (lambda: RunConfig(steps=10, probe_every_steps=11), "probe_every_steps"),
        (lambda: RunConfig(threads=0), "threads"),
        (lambda: RunConfig(store=" "), "store"),
        (lambda: RunConfig(sequence_length=1, data=DataConfig(targets=Targets.inside)), "sequence_length"),
        (lambda: RunConfig(loss=LossConfig(ignore_end_of_text=True)), "loss.ignore_end_of_text"),
        (
            lambda: RunConfig(model=ModelConfig(straight_through=StraightThrough.detached)),
            "model.straight_through",
        ),
        (lambda: resolve(RunConfig(steps=10, boundary=0.01)), "boundary"),
        (lambda: resolve(RunConfig(steps=10, lr_boundary=0.2, warmup_steps=5)), "lr_boundary"),
        (lambda: resolve(RunConfig(steps=9, stages=[_stage(5, 0.1), _stage(5, 0.0)])), "stages"),
        (lambda: resolve(RunConfig(steps=10, stages=[_stage(10, 0.1)])), "wd2"),
        (lambda: resolve(RunConfig(steps=2, stages=[Stage(2, 0.1, [Knot(0, 1.0)])])), "stages[0].lr"),
        (lambda: resolve(RunConfig(steps=2, stages=[Stage(2, 0.1, [])])), "stages[0].lr"),
    ],
)
def test_bad_values_name_their_key(make, key):
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.key == key
    assert str(caught.value).startswith(f"{key}=")
    assert "\n" not in str(caught.value)
