"""RunConfig: every knob of a run, typed and checked; the schema Hydra composes against.

The one gateway from YAML is ``app.py``; past it only these dataclasses travel. Each ``__post_init__``
refuses what cannot be trained, with a :class:`ConfigError` that names the key and what is allowed.
Lengths that scale with the run are fractions of ``steps`` until ``stages.resolve`` makes them absolute.
"""

# ruff: noqa: RUF009 - knob() makes a field
from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import operator
import typing
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from types import UnionType
from typing import Any

from bitnet_sweep.exact import read_number, word
from bitnet_sweep.paths import expanded
from bitnet_sweep.roles import Knob, Role, knob, knobs_of, types_of, words_for


class ConfigError(ValueError):
    """A value that cannot be used. ``str()`` is one line: the key, the value, what is allowed."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        shown = value.name if isinstance(value, Enum) else value
        super().__init__(f"{key}={shown}: {allowed}")
        self.key = key


class Weights(Enum):
    """What the matrices of the forward pass hold."""

    ternary = "ternary"
    full = "full"


class Activations(Enum):
    """What the inputs of the BitLinears are rounded to."""

    int8 = "int8"
    int4 = "int4"
    full = "full"


class OptimizerName(Enum):
    """What updates the weights, and its form of weight decay: coupled (L2 in the gradient) or decoupled."""

    adam_l2 = "adam_l2"
    adamw = "adamw"
    sgd = "sgd"
    lion = "lion"
    muon = "muon"
    torch = "torch"


class MuonScale(Enum):
    """By what Muon multiplies the learning rate of a matrix, which depends on its shape: so that updates are
    about as large as AdamW's, or as in Keller Jordan's own code."""

    match_rms_adamw = "match_rms_adamw"
    original = "original"


class Decay(Enum):
    """Which parameters decay: all, one of the model's four parts alone, or all but one of them.

    A tied matrix is the embedding. ``matrices`` is all but the gains of the norms.
    """

    all = "all"
    matrices = "matrices"
    embedding = "embedding"
    head = "head"
    bitlinears = "bitlinears"
    gains = "gains"
    all_but_embedding = "all_but_embedding"
    all_but_head = "all_but_head"
    all_but_bitlinears = "all_but_bitlinears"


class DataName(Enum):
    """Where the text comes from."""

    world_factbook = "world_factbook"
    text = "text"
    wikitext2 = "wikitext2"
    own = "own"


class Order(Enum):
    """Windows drawn at random, or read one after the other as the notes' trainer did."""

    random = "random"
    sequential = "sequential"


class Lines(Enum):
    """How a document becomes ids: as one text with the separator behind it, or each of its lines for itself,
    stripped, empty ones left out, with nothing between or behind them."""

    whole = "whole"
    stripped = "stripped"


class Targets(Enum):
    """What a row of a batch predicts: the token behind each of its tokens, or only tokens inside the row, one
    less."""

    next = "next"
    inside = "inside"


class HeldOutText(Enum):
    """Which documents are held out: some of everywhere, by their hashes, or the last ones of the text."""

    anywhere = "anywhere"
    end = "end"


class StraightThrough(Enum):
    """What a quantised value is in the forward pass: itself, or ``w + (q - w)``, which rounds."""

    exact = "exact"
    detached = "detached"


class NormPlace(Enum):
    """Where the norms of a block stand: before each sublayer and inside each BitLinear, or only inside."""

    both = "both"
    inside = "inside"


class GateActivation(Enum):
    """What the gate of the feed-forward goes through: ReLU², or SiLU."""

    relu2 = "relu2"
    silu = "silu"


class LrShape(Enum):
    """How the learning rate falls behind the warm-up: along straight lines with a bend at ``lr_boundary``, or
    along half a cosine from the peak to the end of the run."""

    linear = "linear"
    cosine = "cosine"


class DecayShape(Enum):
    """The weight decay until ``boundary``: ``wd1`` throughout, or half a cosine from ``wd1`` to zero."""

    constant = "constant"
    cosine = "cosine"


class TokenizerName(Enum):
    """Byte-level BPE trained on the corpus, or GPT-2's own."""

    bpe = "bpe"
    gpt2 = "gpt2"


class TrackName(Enum):
    """The mirror of the store."""

    wandb = "wandb"
    none = "none"


class TrackMode(Enum):
    """W&B without or with a server."""

    offline = "offline"
    online = "online"


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


class Reuse(Enum):
    """Which finished training counts: any of the same config, or only that of the same source code."""

    any = "any"
    same_code = "same_code"


IGNORED = -100
"""Stands among a batch's targets where nothing is to be predicted; torch's cross entropy leaves it out."""
GPT2_VOCAB_SIZE = 50257
BYTE_ALPHABET = 256
"""A byte-level vocabulary holds every byte and the document separator, so it has at least 257 entries."""


def check_whole(key: str, value: int, minimum: int = 1) -> None:
    """``minimum <= value``, else a ConfigError."""
    if value < minimum:
        raise ConfigError(key, value, f"must be a whole number, {minimum} or more")


def check_number(
    key: str,
    value: float,
    *,
    above: float | None = None,
    minimum: float = 0.0,
    below: float = math.inf,
) -> None:
    """``minimum <= value < below``, finite, else a ConfigError; with ``above`` the lower bound is strict."""
    fits = math.isfinite(value) and value < below
    fits = fits and (value > above if above is not None else value >= minimum)
    if not fits:
        low = f"greater than {above:g}" if above is not None else f"{minimum:g} or more"
        high = f" and less than {below:g}" if math.isfinite(below) else ""
        if (above, below) == (0, 1):
            raise ConfigError(key, value, "must lie strictly between 0 and 1")
        raise ConfigError(key, value, f"must be a finite number, {low}{high}")


def path_text(key: str, path: str) -> str:
    """The path with its ``~`` or ``~user`` replaced, else a ConfigError."""
    if not path.startswith("~"):
        return path
    try:
        return str(expanded(path))
    except ValueError as error:
        raise ConfigError(key, path, str(error)) from error


def check_float(key: str, value: int) -> None:
    """A float holds ``value``, else a ConfigError."""
    try:
        nearest = float(value)
    except OverflowError:
        nearest = math.inf
    if value != nearest:
        allowed = f"has more digits than such a number can have; the nearest is {nearest!r}"
        raise ConfigError(key, value, allowed)


def _settle(config: Any, prefix: str = "") -> None:
    """Check numbers, and give equal ones one form, so that equal configs have equal ids: -0.0 becomes 0.0."""
    kind: Any = type(config)
    for name, is_float, limits in _numbers_of(kind):
        value = getattr(config, name)
        if value is None:
            continue
        try:
            held: Any = float(value) + 0.0 if is_float else operator.index(value)
        except (TypeError, ValueError, OverflowError):
            held = None
        if held is None or isinstance(value, bool | str):
            raise ConfigError(prefix + name, value, f"must be a {'' if is_float else 'whole '}number")
        if type(value) is int and is_float:
            check_float(prefix + name, value)
        if limits is not None:
            (check_number if is_float else check_whole)(prefix + name, held, **limits)
        setattr(config, name, held)


@functools.cache
def _numbers_of(kind: type) -> list[tuple[str, bool, dict[str, Any] | None]]:
    """The fields of a dataclass that are numbers; whether they are floats, and the limits of a knob."""
    kinds = {"int": False, "int | None": False, "float": True, "float | None": True}
    numbers = [f for f in dataclasses.fields(kind) if f.type in kinds]
    return [(f.name, kinds[str(f.type)], f.metadata.get("limits")) for f in numbers]


@dataclass
class ModelConfig:
    """A decoder-only transformer of BitLinears, as in docs/notes.md, or a model of your own."""

    hidden: int = knob(256, Role.in_id | Role.weights | Role.axis | Role.head | Role.basic, label="h", rank=1)
    """Width of the model: the length of the vector that stands for a token."""
    num_layers: int = knob(4, Role.in_id | Role.weights)
    """Blocks, each of attention and a feed-forward."""
    num_heads: int = knob(4, Role.in_id)
    """Attention heads of a block; they share the width evenly."""
    ffn: int | None = knob(None, Role.in_id | Role.weights)
    """Width of the gated feed-forward; null means 2 x hidden."""
    tied: bool = knob(False, Role.in_id | Role.weights)
    """Share the embedding matrix with the head."""
    weights: Weights = knob(Weights.ternary, Role.in_id | Role.basic, label="", rank=5)
    activations: Activations = knob(Activations.int8, Role.in_id, rank=6)
    straight_through: StraightThrough = knob(StraightThrough.exact, Role.in_id | Role.added | Role.fp32_only)
    norm: NormPlace = knob(NormPlace.both, Role.in_id | Role.added)
    quantiser: str = knob("absmean", Role.in_id | Role.added, label="")
    """How ternary weights are rounded: a built-in quantiser, or one of your own (docs/extend.md)."""
    quantiser_options: dict[str, Any] = knob({}, Role.in_id | Role.added | Role.follows, label="")
    """Options that the quantiser declares, each a key of its own: ``model.quantiser_options.NAME=VALUE``."""
    quantiser_version: str | None = knob(None, Role.in_id | Role.added | Role.follows, label="v")
    """The version that a quantiser of your own declares, noted by itself; null where it is built in."""
    hadamard: bool = knob(False, Role.in_id | Role.added)
    """Turn the inputs of the two BitLinears that end a sublayer by a Hadamard matrix, behind their norm and
    before they are rounded (BitNet v2); in blocks of the largest power of two that divides their width."""
    activation: GateActivation = knob(GateActivation.relu2, Role.in_id | Role.added)
    name: str = knob("transformer", Role.in_id | Role.weights | Role.added | Role.any_model, label="")
    """The transformer, or a model of your own (docs/extend.md): of these keys it has ``options`` alone."""
    options: dict[str, Any] = knob({}, Role.in_id | Role.weights | Role.added | Role.any_model, label="")
    """Options that a model of your own declares, each a key of its own: ``model.options.NAME=VALUE``."""
    version: str | None = knob(None, Role.in_id | Role.added | Role.any_model | Role.follows, label="v")
    """The version that a model of your own declares, noted by itself; null where it is built in."""

    def __post_init__(self) -> None:
        _settle(self, "model.")
        if self.hidden % self.num_heads:
            allowed = f"must be divisible by model.num_heads={self.num_heads}"
            raise ConfigError("model.hidden", self.hidden, allowed)
        width = self.hidden // self.num_heads
        if width % 2:
            allowed = "must be even (rotary positions turn pairs)"
            allowed = f"the head width model.hidden/model.num_heads={width} {allowed}"
            raise ConfigError("model.num_heads", self.num_heads, allowed)
        if self.hadamard and self.ffn is not None and self.ffn % 2:
            raise ConfigError("model.hadamard", self.hadamard, f"needs an even model.ffn, not {self.ffn}")
        if self.quantiser != ModelConfig.quantiser:
            if self.weights is Weights.full:
                raise ConfigError("model.quantiser", self.quantiser, "needs model.weights=ternary")
            if self.straight_through is not StraightThrough.exact:
                raise ConfigError("model.quantiser", self.quantiser, "needs model.straight_through=exact")

    @property
    def ffn_width(self) -> int:
        """The width of the gated feed-forward: ``ffn``, by default twice the hidden width."""
        return 2 * self.hidden if self.ffn is None else self.ffn


@dataclass
class OptimizerConfig:
    """What updates the weights. The strength of the decay is the stage's; docs/optimizers.md says how each
    applies it. A key that the chosen optimizer does not use is refused."""

    name: OptimizerName = knob(OptimizerName.adam_l2, Role.in_id | Role.preset | Role.basic, label="", rank=4)
    beta1: float = knob(0.9, Role.in_id, below=1.0)
    """Decay of Adam's mean of gradients; of Lion the share of the mean in the direction of a step."""
    beta2: float = knob(0.95, Role.in_id, below=1.0)
    """Decay of Adam's mean of squared gradients, and of Lion's mean of gradients."""
    eps: float = knob(1e-8, Role.in_id, above=0.0)
    """What Adam adds to the root it divides by."""
    decay: Decay = knob(Decay.all, Role.in_id)
    clip: float | None = knob(1.0, Role.in_id, null="off", above=0.0)
    """Largest global gradient norm; null switches clipping off."""
    momentum: float = knob(0.95, Role.in_id | Role.added, below=1.0)
    """Decay of what SGD and Muon remember of earlier gradients."""
    matrix_lr: float = knob(1.0, Role.in_id | Role.added, above=0.0)
    """The learning rate of the matrices that Muon makes orthogonal, as a multiple of ``lr``."""
    muon_scale: MuonScale = knob(MuonScale.match_rms_adamw, Role.in_id | Role.added)
    torch_class: str | None = knob(None, Role.in_id | Role.added)
    """For optimizer=torch: the name of a class of torch.optim, or of one of your own (docs/extend.md)."""
    options: Any = knob(None, Role.in_id | Role.added)
    """For optimizer=torch: a mapping of what the class is called with, apart from learning rate and decay."""
    version: str | None = knob(None, Role.in_id | Role.added | Role.follows)
    """The version that an optimizer of your own declares, noted by itself; null of any other."""

    def __post_init__(self) -> None:
        _settle(self, "optimizer.")
        for own in sorted(_OWN - USED_BY[self.name]):
            key, value = f"optimizer.{own}", getattr(self, own)
            if value != (default := KNOBS[key].default):
                allowed = f"optimizer={self.name.name} does not use it; allowed here: {word(plain(default))}"
                raise ConfigError(key, value, allowed)
        if self.name is OptimizerName.torch and not self.torch_class:
            raise ConfigError("optimizer.torch_class", None, "optimizer=torch needs the name of a class")
        self.options = self.options or None
        if not isinstance(self.options, dict | None) or not all(
            isinstance(k, str) for k in self.options or ()
        ):
            raise ConfigError("optimizer.options", self.options, "must be a mapping like {key:value}")
        for name in {"params", "lr", "weight_decay"} & (self.options or {}).keys():
            raise ConfigError("optimizer.options", name, "the run sets it; use lr, wd1 and wd2")


_ADAM = frozenset({"beta1", "beta2", "eps"})
USED_BY = {
    OptimizerName.adam_l2: _ADAM,
    OptimizerName.adamw: _ADAM,
    OptimizerName.sgd: frozenset({"momentum"}),
    OptimizerName.lion: frozenset({"beta1", "beta2"}),
    OptimizerName.muon: _ADAM | {"momentum", "matrix_lr", "muon_scale"},
    OptimizerName.torch: frozenset({"torch_class", "options", "version"}),
}
"""The keys that some optimizers do not use, by those that do."""
_OWN = frozenset[str]().union(*USED_BY.values())


@dataclass
class LossConfig:
    """What is added to the plain negative log-likelihood in training (never in ``val/loss``)."""

    label_smoothing: float = knob(0.0, Role.in_id, below=1.0)
    """Share of the target's probability that is spread over the vocabulary."""
    z_loss: float = knob(0.0, Role.in_id)
    """Weight of the mean squared log-partition function (PaLM uses 1e-4)."""
    ignore_end_of_text: bool = knob(False, Role.in_id | Role.added | Role.fp32_only)
    """Leave targets that are the document separator out of the mean."""

    def __post_init__(self) -> None:
        _settle(self, "loss.")


@dataclass
class DataConfig:
    """The corpus. A share of its documents is held out, the same whatever the seed."""

    name: DataName = knob(DataName.world_factbook, Role.in_corpus | Role.data | Role.preset, label="")
    path: Any = knob(None, Role.in_corpus | Role.data)
    """For data=text: a file, a glob, or a list of them (.txt, .jsonl, .parquet)."""
    text_field: str = knob("text", Role.in_corpus | Role.data)
    """For .jsonl and .parquet: the field that holds a document."""
    order: Order = knob(Order.random, Role.in_id | Role.data, label="")
    heldout_fraction: float = knob(0.05, Role.in_corpus | Role.data, above=0.0, below=1.0)
    """Share of the documents that is never trained on."""
    lines: Lines = knob(Lines.whole, Role.in_id | Role.in_corpus | Role.data | Role.added)
    targets: Targets = knob(Targets.next, Role.in_id | Role.data | Role.added)
    heldout: HeldOutText = knob(HeldOutText.anywhere, Role.in_id | Role.in_corpus | Role.data | Role.added)
    """With ``end`` the text before the held-out documents is unbroken; a WikiText article in a .txt file is a
    document there."""
    source: str | None = knob(None, Role.in_corpus | Role.data | Role.added)
    """For data=own: a source of your own (docs/extend.md); ``data=NAME`` sets both."""
    options: dict[str, Any] = knob({}, Role.in_corpus | Role.data | Role.added, label="")
    """Options that the source declares, each a key of its own: ``data.options.NAME=VALUE``."""
    version: str | None = knob(None, Role.in_corpus | Role.data | Role.added | Role.follows, label="v")
    """The version that the source declares, noted by itself; null where there is none."""

    def __post_init__(self) -> None:
        _settle(self, "data.")
        if isinstance(self.path, str):
            self.path = path_text("data.path", self.path)
        elif isinstance(self.path, list):
            self.path = [path_text("data.path", p) if isinstance(p, str) else p for p in self.path]
        paths = [self.path] if isinstance(self.path, str) else self.path
        if self.name is DataName.text and not paths:
            raise ConfigError("data.path", self.path, "data=text needs a file, a glob or a list of them")
        if (self.name is DataName.own) != (self.source is not None):
            raise ConfigError("data.source", self.source, "data=own needs one, and nothing else has one")
        if self.name is not DataName.text and self.path is not None:
            raise ConfigError("data.path", self.path, "only data=text reads files; allowed here: null")
        if paths is not None and not (
            isinstance(paths, list) and all(isinstance(path, str) and path for path in paths)
        ):
            raise ConfigError("data.path", self.path, "must be a file, a glob or a list of them")

    @property
    def paths(self) -> list[str]:
        """The files and globs asked for; empty unless data=text."""
        return [self.path] if isinstance(self.path, str) else list(self.path or [])


@dataclass
class TokenizerConfig:
    """How text becomes token ids."""

    name: TokenizerName = knob(TokenizerName.bpe, Role.in_corpus | Role.data | Role.preset, label="")
    vocab_size: int = knob(4096, Role.in_id | Role.in_corpus | Role.data | Role.weights)
    """How many different tokens there are."""

    def __post_init__(self) -> None:
        _settle(self, "tokenizer.")
        if self.name is TokenizerName.gpt2 and self.vocab_size != GPT2_VOCAB_SIZE:
            raise ConfigError(
                "tokenizer.vocab_size", self.vocab_size, f"tokenizer=gpt2 has {GPT2_VOCAB_SIZE}"
            )
        if self.vocab_size <= BYTE_ALPHABET:
            allowed = f"must be {BYTE_ALPHABET + 1} or more (every byte and the document separator)"
            raise ConfigError("tokenizer.vocab_size", self.vocab_size, allowed)


@dataclass
class ScheduleConfig:
    """The shape of a run: lengths as fractions of ``steps``, learning rates as multiples of ``lr``.

    The learning rate warms up linearly to ``lr``, runs linearly to ``lr_bend_from`` at
    ``lr_boundary``, goes on from ``lr_bend_to`` (lower: a drop) and runs linearly to ``lr_final``;
    or ``lr_shape`` has it run to ``lr_final`` along a cosine.
    """

    name: str = knob("two_stage", Role.preset | Role.any_task, label="", rank=9)
    """What names call this schedule; its numbers are the keys below."""
    warmup: float = knob(0.0375, Role.in_stages, above=0.0, below=1.0)
    """Length of the linear warm-up of the learning rate."""
    probe_every: float = knob(0.05, Role.in_length, above=0.0, below=1.0)
    """Distance of two probes, each of which writes a record."""
    checkpoint_every: float = knob(0.1, Role.operational, above=0.0, below=1.0)
    """Distance of two checkpoints, from which an interrupted run goes on."""
    lr_bend_from: float = knob(2 / 3, Role.in_stages)
    """The learning rate at which the path arrives at ``lr_boundary``."""
    lr_bend_to: float = knob(2 / 3, Role.in_stages | Role.later)
    """The learning rate with which it goes on from there."""
    lr_final: float = knob(0.001, Role.in_stages | Role.later)
    """The learning rate at the end of the run."""
    lr_shape: LrShape = knob(LrShape.linear, Role.in_stages | Role.added)
    decay_shape: DecayShape = knob(DecayShape.constant, Role.in_stages | Role.added)
    function: str | None = knob(None, Role.in_stages | Role.added)
    """A function of your own that makes the stages (docs/extend.md); ``schedule=NAME`` sets it."""
    options: dict[str, Any] = knob({}, Role.in_stages | Role.added, label="")
    """Options that the function declares, each a key of its own: ``schedule.options.NAME=VALUE``."""
    version: str | None = knob(None, Role.in_stages | Role.added | Role.follows, label="v")
    """The version that the function declares, noted by itself; null where there is none."""
    set_after_update: bool = knob(False, Role.in_id | Role.added | Role.any_task)
    """Set learning rate and decay behind each update, not before it: update k has those of k - 1, and the
    first one the peak ``lr``."""

    def __post_init__(self) -> None:
        _settle(self, "schedule.")


MAX_TIMEOUT_SECONDS = 86_400.0
"""A day; timers of the operating system end somewhere."""


@dataclass
class TrackConfig:
    """W&B (https://wandb.ai) or nothing; the store is the truth either way."""

    name: TrackName = knob(TrackName.wandb, Role.operational)
    mode: TrackMode = knob(TrackMode.offline, Role.operational)
    project: str = knob("bitnet_sweep", Role.operational)
    """The W&B project that the runs go to."""
    entity: str | None = knob(None, Role.operational)
    """The W&B user or team that the project belongs to; null means your own."""
    base_url: str = knob("https://api.wandb.ai", Role.operational)
    """The W&B server."""
    tags: list[str] = knob([], Role.operational)
    """Tags of your own on every run."""
    timeout_seconds: float = knob(10.0, Role.operational, above=0.0, below=MAX_TIMEOUT_SECONDS)
    """The longest wait for the server, at start and at the end; then the run goes on offline."""

    def __post_init__(self) -> None:
        _settle(self, "track.")
        if not 1 <= len(self.project) <= 128 or set(self.project) & set("/\\#?%:"):
            raise ConfigError("track.project", self.project, "1 to 128 characters, none of / \\ # ? % :")
        if not self.base_url.startswith(("http://", "https://")):
            raise ConfigError("track.base_url", self.base_url, "must start with http:// or https://")
        for tag in self.tags:
            if not 1 <= len(tag) <= 64:
                raise ConfigError("track.tags", tag, "a tag has 1 to 64 characters")


@dataclass
class SweepConfig:
    """How the engine runs a grid; nothing here changes a result (``reuse`` says which one counts)."""

    name: str | None = knob(None, Role.operational)
    """Folder name and W&B group; null means a hash of the grid."""
    share_stages: bool = knob(True, Role.operational)
    """Train a stage that several runs have in common once, and fork it."""
    dry_run: bool = knob(False, Role.operational)
    """Print the plan and stop."""
    max_retries: int = knob(0, Role.operational, minimum=0)
    """How often a failed run is tried again in the same sweep; a single run is tried again by hand."""
    keep_stages: bool = knob(True, Role.operational)
    """Keep the checkpoints of shared stages, from which a larger grid can fork later."""
    keep_final: bool = knob(True, Role.operational)
    """Keep the final weights of each run, which ``generate`` and ``open_run`` need."""
    reuse: Reuse = knob(Reuse.any, Role.operational)
    """same_code trains anew, under another id, what other source code has trained."""
    exclude: list[Any] = knob([], Role.operational)
    """Points to leave out: those at which every ``key: value`` of one of these dicts holds."""
    zip: list[Any] = knob([], Role.operational)
    """Swept keys that advance together instead of being combined; or several lists of such keys."""
    bisect: str | None = knob(None, Role.operational)
    """``key:low..high``: instead of a grid of this key, find where ``until`` begins or ends."""
    until: str = knob("recovered", Role.operational)
    """The outcome that a bisection looks for."""
    tolerance: float | None = knob(None, Role.operational, above=0.0)
    """How narrow a bisection's last interval is; null means a sixteenth of the first."""

    def __post_init__(self) -> None:
        _settle(self, "sweep.")
        for conditions in self.exclude:
            if not (
                isinstance(conditions, dict) and conditions and all(isinstance(k, str) for k in conditions)
            ):
                raise ConfigError(
                    "sweep.exclude", conditions, "must be a list like [{model.hidden:64,wd2:0.05}]"
                )
        for keys in self.zip:
            if not isinstance(keys, str) and not (
                isinstance(keys, list) and keys and all(isinstance(key, str) for key in keys)
            ):
                raise ConfigError("sweep.zip", keys, "must be a list of keys, or of such lists")
        if self.bisect is None:
            for name in ("until", "tolerance"):
                if getattr(self, name) != getattr(SweepConfig, name):
                    raise ConfigError(f"sweep.{name}", getattr(self, name), "needs sweep.bisect")
        if self.name is not None and (
            not 1 <= len(self.name) <= _MAX_NAME_LENGTH
            or not set(self.name) <= _NAME_CHARACTERS
            or self.name.startswith(".")
        ):
            allowed = f"1 to {_MAX_NAME_LENGTH} letters, digits, '-', '_' or '.'; not starting with '.'"
            raise ConfigError("sweep.name", self.name, allowed)


_MAX_NAME_LENGTH = 128
"""What W&B takes for a group; a file name takes more."""
_NAME_CHARACTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def _left_out_as(value: Any) -> Any:
    """A field of a stage that came after runs had been made: with this value it is not written."""
    return field(default=value, metadata={"left_out_as": value})


@dataclass
class Knot:
    """A corner of a learning-rate path."""

    step: int
    """Completed steps of the stage."""
    lr: float
    """The learning rate there."""
    phase: float | None = _left_out_as(None)
    """Between two corners that both have one the path is no straight line but a part of half a cosine: that
    from the one phase to the other, where 0 is its crest and 1 its trough."""

    def __post_init__(self) -> None:
        _settle(self, "stages[?].lr[?].")


@dataclass
class Stage:
    """A stretch of training with one decay and one learning-rate path."""

    steps: int
    """Its length in updates of the optimizer."""
    weight_decay: float
    """The same for all of it, unless it has phases."""
    lr: list[Knot]
    """The first knot at step 0, the last at ``steps``."""
    decay_phase: float | None = _left_out_as(None)
    """With this and ``decay_phase_end`` the decay is ``weight_decay`` times a part of half a cosine: from the
    one phase to the other, where 0 is all of it and 1 nothing."""
    decay_phase_end: float | None = _left_out_as(None)

    def __post_init__(self) -> None:
        _settle(self, "stages[?].")

    def lr_at(self, step_in_stage: int) -> float:
        """The learning rate of the update that completes ``step_in_stage`` (1 .. ``steps``)."""
        return interpolate(self.lr, step_in_stage)

    def decay_at(self, step_in_stage: int) -> float:
        """The weight decay of that update."""
        if self.decay_phase is None or self.decay_phase_end is None:
            return self.weight_decay
        share = step_in_stage / self.steps
        return self.weight_decay * _cosine(
            self.decay_phase + (self.decay_phase_end - self.decay_phase) * share
        )


def interpolate(path: Sequence[Knot], step: int) -> float:
    """The learning rate at ``step`` of a path; exact at its corners."""
    for left, right in pairwise(path):
        if left.step <= step <= right.step:
            if step == right.step:
                return right.lr
            share = (step - left.step) / (right.step - left.step)
            if left.phase is not None and right.phase is not None:
                high, low = _cosine(left.phase), _cosine(right.phase)
                share = (high - _cosine(left.phase + (right.phase - left.phase) * share)) / (high - low)
            return left.lr + (right.lr - left.lr) * share
    raise ValueError(f"step {step} lies outside the path {path}")


def _cosine(phase: float) -> float:
    """From 1 at phase 0 to 0 at phase 1."""
    return (1 + math.cos(math.pi * phase)) / 2


@dataclass
class RunConfig:
    """One run. ``lr``, ``wd1``, ``wd2``, ``boundary`` and ``lr_boundary`` are shorthands for stages."""

    task: str = knob("transformer", Role.in_id | Role.added | Role.any_task | Role.data, label="")
    """What is trained: the transformer, or a loop of your own (docs/extend.md), which has ``task_options``
    where the transformer has keys of its own."""
    task_options: dict[str, Any] = knob({}, Role.in_id | Role.added | Role.any_task, label="")
    """Options that the task declares, each a key of its own: ``task_options.NAME=VALUE``."""
    task_version: str | None = knob(None, Role.in_id | Role.added | Role.any_task | Role.follows, label="v")
    """The version that a task of your own declares, noted by itself; null where it is built in."""
    scale: str = knob("small", Role.preset | Role.basic | Role.any_task, label="", rank=3)
    """Which size of everything was chosen; what names call it."""
    model: ModelConfig = field(default_factory=ModelConfig)
    lr: float = knob(1.5e-3, Role.in_stages | Role.head | Role.basic, rank=7, above=0.0)
    """The peak of the learning rate."""
    wd1: float = knob(0.1, Role.in_stages | Role.basic, rank=8)
    """The weight decay until ``boundary``."""
    wd2: float = knob(0.0, Role.in_stages | Role.later | Role.axis | Role.head | Role.basic, rank=2)
    """The weight decay from ``boundary`` on."""
    seed: int = knob(
        0, Role.in_id | Role.axis | Role.head | Role.basic | Role.any_task, label="s", rank=13, minimum=0
    )
    """Decides the initial weights and the order of the data."""
    steps: int = knob(2000, Role.in_stages | Role.later | Role.basic, rank=12, minimum=2)
    """Length of the run in updates of the optimizer."""
    boundary: float = knob(0.5, Role.in_stages | Role.later | Role.basic, rank=10, above=0.0, below=1.0)
    """Where the decay changes from wd1 to wd2, as a fraction of the run."""
    lr_boundary: float = knob(0.5, Role.in_stages | Role.later, rank=11, above=0.0, below=1.0)
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
    metric_versions: list[str] = knob([], Role.in_id | Role.added | Role.follows, label="v")
    """The versions that they declare, in their order, noted by themselves."""
    threads: int = knob(1, Role.operational)
    """CPU threads of each job."""
    plugins: list[str] = knob([], Role.operational)
    """Modules of yours that register parts, imported where a part is named that is not built in."""
    store: str = knob("runs", Role.operational)
    """The folder that holds the runs."""
    track: TrackConfig = field(default_factory=lambda: TrackConfig(name=TrackName.none))
    """What ``conf/`` asks for is ``track=wandb``; where ``~track`` takes that away, there is no mirror."""
    sweep: SweepConfig = field(default_factory=SweepConfig)

    def __post_init__(self) -> None:
        _settle(self)
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
        if not self.is_of_transformer:
            return knob.is_of_any_task
        return self.has_built_in_model or knob.is_of_any_model

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
_MAPPINGS = {*OPTIONS, *(key for key, each in KNOBS.items() if each.kind is Any)}
"""Those whose value may be a mapping, which is then no group of knobs."""


@functools.cache
def having(role: Role) -> list[Knob]:
    """The knobs that have every flag of ``role``."""
    return [each for each in KNOBS.values() if role in each.role]


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
    """The role of a dotted key; one that is not known, as of another program's config, has what all knobs of
    its group have."""
    if key in KNOBS:
        return KNOBS[key].role
    group = [each.role for other, each in KNOBS.items() if other.startswith(f"{key.partition('.')[0]}.")]
    return functools.reduce(operator.and_, group) if group else Role(0)


def added_knobs(config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The knobs that were added, by dotted key, with what configs of before stand for.

    Args:
        config: of a run, by dotted key: of a model of a user's own those of ours are left out.
    """
    is_own = (config or {}).get("model.name", ModelConfig.name) != ModelConfig.name
    added = having(Role.added)
    return {each.key: plain(each.default) for each in added if each.is_of_any_model or not is_own}


def plain(config: object) -> Any:
    """The config as dicts, lists and scalars, enums by name: what YAML, JSON and hashes take."""
    if config is None or isinstance(config, str | int | float):
        return config
    if isinstance(config, Enum):
        return config.name
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        values = ((f, getattr(config, f.name)) for f in dataclasses.fields(config))
        return {
            f.name: plain(v) for f, v in values if v != f.metadata.get("left_out_as", dataclasses.MISSING)
        }
    if isinstance(config, dict):
        return {key: plain(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [plain(value) for value in config]
    return config


def recorded(config: RunConfig) -> dict[str, Any]:
    """:func:`plain` as a store and its mirror keep it, without what says nothing of the run."""
    document: dict[str, Any] = plain(config)
    for own in () if config.has_built_in_model else KNOBS.values():
        group, dot, name = own.key.partition(".")
        if not config.has(own):
            del (document[group] if dot else document)[name or group]
    return {key: value for key, value in document.items() if value != {} or key in OPTIONS}


def from_plain(document: object) -> RunConfig:
    """The inverse of :func:`plain`, checked as a command line is; keys left out have their defaults.

    Args:
        document: of groups, or of dotted keys.

    Raises:
        ConfigError: a key, a type or a value is wrong.
    """
    if not isinstance(document, Mapping):
        raise ConfigError("config", document, f"must be {words_for(RunConfig)}")
    values = flatten(document)
    if unknown := [key for key in values if key not in KNOBS]:
        close = difflib.get_close_matches(unknown[0], KNOBS, n=1)
        guess = f"; did you mean {close[0]}?" if close else ""
        raise ConfigError(unknown[0], values[unknown[0]], f"no such key{guess}")
    found = {key: typed(KNOBS[key].kind, value, key) for key, value in values.items()}
    config: RunConfig = built(RunConfig, found)
    return config


def built(kind: Any, values: Mapping[str, Any]) -> Any:
    """The config of these typed values by dotted key, checked by its own ``__post_init__``."""
    own: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        group, dot, name = key.partition(".")
        (groups.setdefault(group, {}) if dot else own)[name or group] = value
    kinds = types_of(kind)
    return kind(**own, **{group: built(kinds[group], under) for group, under in groups.items()})


def typed(kind: Any, value: Any, key: str) -> Any:
    """A plain value as one of an annotated type.

    Raises:
        ConfigError: it is none.
    """
    origin, arguments, kinds = typing.get_origin(kind), typing.get_args(kind), types_of(kind)
    if origin in (typing.Union, UnionType):
        for one in sorted(arguments, key=lambda each: each is str):  # text takes numbers, too
            with suppress(ConfigError):
                return typed(one, value, key)
    elif origin is list:
        if isinstance(value, list | tuple):
            return [typed(arguments[0], item, f"{key}[{i}]") for i, item in enumerate(value)]
    elif origin is dict:
        if isinstance(value, Mapping):
            return dict(value)  # what may stand in it only its part knows
    elif origin is typing.Literal:
        if any(value == one and type(value) is type(one) for one in arguments):
            return value
    elif kinds:
        if isinstance(value, Mapping) and _required(kind) <= set(value) <= set(kinds):
            return kind(**{name: typed(kinds[name], item, f"{key}.{name}") for name, item in value.items()})
    elif kind in (int, float):
        found = read_number(value)
        if kind is float and isinstance(found, int):
            check_float(key, found)
        if found is not None and (kind is float or found == int(found)):
            return kind(found)
    elif kind is Any or isinstance(value, kind):
        return value
    elif isinstance(value, str) and value in getattr(kind, "__members__", ()):
        return kind[value]
    raise ConfigError(key, value, f"must be {words_for(kind)}")


def _required(kind: Any) -> set[str]:
    """The fields of a dataclass that have no default."""
    return {f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING}


def flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys, the options of a part as one; dotted keys are left as they are."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping) and value and f"{prefix}{key}" not in _MAPPINGS:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
