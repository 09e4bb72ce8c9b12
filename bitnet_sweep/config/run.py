"""RunConfig: every knob of a run, and the list of them with their roles."""

# ruff: noqa: RUF009 - knob() makes a field
from __future__ import annotations

import functools
import operator
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from bitnet_sweep.config.checks import ConfigError, check_whole, path_text, settle
from bitnet_sweep.config.data import DataConfig, Targets, TokenizerConfig
from bitnet_sweep.config.engine import SweepConfig, TrackConfig, TrackName
from bitnet_sweep.config.model import ModelConfig
from bitnet_sweep.config.optimizer import Decay, LossConfig, OptimizerConfig, OptimizerName
from bitnet_sweep.config.schedule import ScheduleConfig, Stage
from bitnet_sweep.roles import Knob, Role, knob, knobs_of


class Precision(Enum):
    """fp32: the readable reference. mixed: exact ternary products forward; bfloat16 operands backward and in
    the head where the processor multiplies them natively, else float32 ones (docs/precision.md). ``full``
    weights or activations keep float32 products forward."""

    fp32 = "fp32"
    mixed = "mixed"


class Device(Enum):
    """Where to train; auto takes CUDA where there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


@dataclass
class RunConfig:
    """One run. ``lr``, ``wd1``, ``wd2``, ``boundary`` and ``lr_boundary`` are shorthands for stages."""

    task: str = knob("transformer", Role.in_id | Role.added | Role.any_task | Role.data, label="", rank=1)
    """What is trained: the transformer, or a loop of your own (docs/extend.md), which has ``task_options``
    where the transformer has keys of its own."""
    task_options: dict[str, Any] = knob({}, Role.in_id | Role.added | Role.any_task, label="")
    """Options that the task declares, each a key of its own: ``task_options.NAME=VALUE``."""
    task_version: str | None = knob(None, Role.in_id | Role.added | Role.any_task | Role.follows, label="v")
    """The version that a task of your own declares, noted by itself; null where it is built in."""
    scale: str = knob("small", Role.preset | Role.basic | Role.any_task, label="", rank=5)
    """Which size of everything was chosen; what names call it."""
    model: ModelConfig = field(default_factory=ModelConfig)
    lr: float = knob(1.5e-3, Role.in_stages | Role.head | Role.basic, rank=9, above=0.0)
    """The peak of the learning rate."""
    wd1: float = knob(0.1, Role.in_stages | Role.basic, rank=10)
    """The weight decay until ``boundary``."""
    wd2: float = knob(0.0, Role.in_stages | Role.later | Role.axis | Role.head | Role.basic, rank=4)
    """The weight decay from ``boundary`` on."""
    seed: int = knob(
        0, Role.in_id | Role.axis | Role.head | Role.basic | Role.any_task, label="s", rank=15, minimum=0
    )
    """Decides the initial weights and the order of the data."""
    steps: int = knob(2000, Role.in_stages | Role.later | Role.basic, rank=14, minimum=2)
    """Length of the run in updates of the optimizer."""
    boundary: float = knob(0.5, Role.in_stages | Role.later | Role.basic, rank=12, above=0.0, below=1.0)
    """Where the decay changes from wd1 to wd2, as a fraction of the run."""
    lr_boundary: float = knob(0.5, Role.in_stages | Role.later, rank=13, above=0.0, below=1.0)
    """Where the learning-rate path bends, as a fraction of the run."""
    batch_size: int = knob(4, Role.in_id | Role.data)
    """Rows of a batch."""
    micro_batches: int = knob(1, Role.in_id | Role.added)
    """Parts that a batch is split into, whose gradients are summed: less memory, and rounding of its own."""
    sequence_length: int = knob(32, Role.in_id | Role.data)
    """Tokens of a row."""
    ema: float = knob(0.0, Role.in_id | Role.added, below=1.0)
    """Decay of a running mean of the weights, such as 0.999; its held-out loss is recorded. 0 keeps none."""
    warmup_steps: int | None = knob(None, Role.in_stages | Role.follows)
    """Length of the warm-up; null means ``schedule.warmup`` of the run."""
    probe_every_steps: int | None = knob(None, Role.in_id | Role.follows | Role.any_task)
    """Distance of two probes; null means ``schedule.probe_every`` of the run."""
    checkpoint_every_steps: int | None = knob(None, Role.operational)
    """Distance of two checkpoints; null means ``schedule.checkpoint_every`` of the run."""
    log_every_steps: int | None = knob(None, Role.operational)
    """Distance of two rows of the log of the training loss; null means 1 % of the run."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    stages: list[Stage] = knob([], Role.in_stages | Role.follows)
    """Left empty, the stages follow from the schedule; written out, they are the schedule."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    precision: Precision = knob(Precision.mixed, Role.in_id, label="")
    device: Device = knob(Device.auto, Role.operational)
    metrics: list[str] = knob([], Role.in_id | Role.added | Role.follows)
    """Metrics of your own, measured at each probe (docs/extend.md). They change no weight, so they are no
    factor; but a run without them lacks their fields, so they are in the id."""
    metric_options: dict[str, Any] = knob({}, Role.in_id | Role.added | Role.follows, label="")
    """Options that the metrics declare, each a key of its own: ``metric_options.METRIC.NAME=VALUE``."""
    metric_versions: list[str] = knob([], Role.in_id | Role.added | Role.follows, label="v")
    """The versions that they declare, in their order, noted by themselves."""
    threads: int = knob(1, Role.operational)
    """CPU threads of each job."""
    plugins: list[str] = knob([], Role.operational)
    """Modules of yours that register parts, imported where a part is named that is not built in."""
    store: str = knob("runs", Role.operational | Role.path)
    """The folder that holds the runs."""
    track: TrackConfig = field(default_factory=lambda: TrackConfig(name=TrackName.none))
    """What ``conf/`` asks for is ``track=wandb``; where ``~track`` takes that away, there is no mirror."""
    sweep: SweepConfig = field(default_factory=SweepConfig)

    def __post_init__(self) -> None:
        settle(self)
        if self.seed >= 2**63:
            raise ConfigError("seed", self.seed, "must be less than 2**63")
        for name in ("warmup_steps", "probe_every_steps", "checkpoint_every_steps", "log_every_steps"):
            value = getattr(self, name)
            if value is not None and value > self.steps:
                raise ConfigError(name, value, f"must not be longer than the run (steps={self.steps})")
        if self.batch_size % self.micro_batches:
            raise ConfigError(
                "micro_batches", self.micro_batches, f"must divide batch_size={self.batch_size}"
            )
        if self.precision is Precision.mixed:
            _refuse_fp32_only(self)
        if not self.has_built_in_model:
            _refuse_the_transformers_own(self)
        if not self.store.strip():
            raise ConfigError("store", repr(self.store), "must name a folder")
        self.store = path_text("store", self.store)
        self.metrics = sorted(set(self.metrics))  # whose order changes nothing
        if self.model.tied and self.optimizer.decay in (Decay.head, Decay.all_but_head):
            allowed = "needs model.tied=false: a tied matrix is the embedding, and there is no head beside it"
            raise ConfigError("optimizer.decay", self.optimizer.decay, allowed)
        if self.is_of_transformer and not self.has_built_in_model:
            _refuse_with_own_model(self)
        if self.data.targets is Targets.inside:
            check_whole("sequence_length", self.sequence_length, 2)

    @property
    def is_of_transformer(self) -> bool:
        """Whether it trains the built-in task."""
        return self.task == RunConfig.task

    @property
    def has_built_in_model(self) -> bool:
        """Whether it trains the built-in model."""
        return self.is_of_transformer and self.model.name == ModelConfig.name

    def has(self, knob: Knob) -> bool:
        """Whether a knob says something of this run: of its task, and of its model."""
        return _says_something(knob, self.task, self.model.name)

    def require_transformer(self, run_id: str, *, built_in: bool = False) -> None:
        """Refuse what only a run of the transformer's task has, or only one of the built-in model.

        Raises:
            ConfigError: this is the config of another one.
        """
        if not self.is_of_transformer or (built_in and not self.has_built_in_model):
            told = f"model.name={self.model.name}" if self.is_of_transformer else f"task={self.task}"
            raise ConfigError("RUN", run_id, f"is of {told}; only runs of the transformer have this")

    @property
    def row_targets(self) -> int:
        """Targets of a row of a batch, and as many inputs."""
        return self.sequence_length - (self.data.targets is Targets.inside)

    @property
    def boundary_step(self) -> int:
        """The completed step behind which the decay is another."""
        return round(self.boundary * self.steps)


def _says_something(knob: Knob, task: str, model: str) -> bool:
    if task != RunConfig.task:
        return knob.is_of_any_task
    return model == ModelConfig.name or knob.is_of_any_model


def _refuse_fp32_only(config: RunConfig) -> None:
    for fp32_only in having(Role.fp32_only):
        value = fp32_only.of(config)
        if value != fp32_only.default:
            raise ConfigError(fp32_only.key, value, "needs precision=fp32; mixed does not compute it")


def _refuse_the_transformers_own(config: RunConfig) -> None:
    for own in KNOBS.values():
        if not config.has(own) and (value := own.of(config)) != own.default:
            takes = f"task={config.task} takes task_options"
            if config.is_of_transformer:
                takes = f"model.name={config.model.name} takes model.options"
            if config.scale != RunConfig.scale:
                takes += f"; scale={config.scale} may have set it, so write what else it sets by itself"
            raise ConfigError(own.key, value, f"is the transformer's own; {takes}")


def _refuse_with_own_model(config: RunConfig) -> None:
    """Refuse what asks for a part of the model: of another one than ours they are not known."""
    decays = (Decay.all, Decay.matrices, Decay.gains)
    model, optimizer = f"model.name={config.model.name}", config.optimizer
    if optimizer.decay not in decays:
        allowed = f"{model} has no such part; allowed: {', '.join(decay.name for decay in decays)}"
        raise ConfigError("optimizer.decay", optimizer.decay, allowed)
    if optimizer.name is OptimizerName.muon:
        allowed = f"takes another way for some matrices, and of {model} it is not known which"
        raise ConfigError("optimizer", optimizer.name, allowed)


KNOBS = {each.key: each for each in knobs_of(RunConfig)}
"""Every knob by its dotted key, in the order of the config."""
OPTIONS = [key for key, each in KNOBS.items() if typing.get_origin(each.kind) is dict]
"""The knobs that hold the options of a part, by names that the part declares."""
MAPPINGS = {*OPTIONS, *(key for key, each in KNOBS.items() if each.kind is Any)}
"""Those whose value may be a mapping, which is then no group of knobs."""


@functools.cache
def having(role: Role) -> list[Knob]:
    """The knobs that have every flag of ``role``."""
    return [each for each in KNOBS.values() if role in each.role]


def knobs_in(config: Mapping[str, Any], role: Role) -> list[Knob]:
    """Those of :func:`having` that say something of a run, by its config with dotted keys, which may be of
    before there were other tasks and models."""
    task, model = config.get("task", RunConfig.task), config.get("model.name", ModelConfig.name)
    return [each for each in having(role) if _says_something(each, task, model)]


def value_of(config: object, key: str) -> Any:
    """The value of a dotted key, which may name an option of a part, too.

    Raises:
        AttributeError: there is none.
    """
    for name in key.split("."):
        config = config[name] if isinstance(config, dict) else getattr(config, name)
    return config


@functools.cache
def role_of(key: str) -> Role:
    """The role of a dotted key: of an option of a part, that of all of them; of one that is not known, as of
    another program's config, what all knobs of its group have."""
    known = key
    while known and known not in KNOBS:
        known = known.rpartition(".")[0]
    if known:
        return KNOBS[known].role
    group = [each.role for other, each in KNOBS.items() if other.startswith(f"{key.partition('.')[0]}.")]
    return functools.reduce(operator.and_, group) if group else Role(0)
