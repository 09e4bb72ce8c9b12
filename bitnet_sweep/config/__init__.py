"""Every knob of a run, typed and checked; the schema Hydra composes against.

The one gateway from YAML is ``app.py``; past it only these dataclasses travel. Each ``__post_init__``
refuses what cannot be trained, with a :class:`ConfigError` that names the key and what is allowed.
Lengths that scale with the run are fractions of ``steps`` until ``stages.resolve`` makes them absolute.
"""

from bitnet_sweep.config.checks import ConfigError, check_float, check_number, check_whole, guess, path_text
from bitnet_sweep.config.data import (
    BYTE_ALPHABET,
    GPT2_VOCAB_SIZE,
    IGNORED,
    DataConfig,
    DataName,
    HeldOutText,
    Lines,
    Order,
    Targets,
    TokenizerConfig,
    TokenizerName,
)
from bitnet_sweep.config.engine import (
    MAX_TIMEOUT_SECONDS,
    Reuse,
    SweepConfig,
    TrackConfig,
    TrackMode,
    TrackName,
)
from bitnet_sweep.config.model import (
    Activations,
    GateActivation,
    ModelConfig,
    NormPlace,
    StraightThrough,
    Weights,
)
from bitnet_sweep.config.optimizer import Decay, LossConfig, MuonScale, OptimizerConfig, OptimizerName
from bitnet_sweep.config.plain import added_knobs, built, flatten, from_plain, plain, recorded, typed
from bitnet_sweep.config.run import (
    KNOBS,
    OPTIONS,
    Device,
    Precision,
    RunConfig,
    having,
    knobs_in,
    role_of,
    value_of,
)
from bitnet_sweep.config.schedule import DecayShape, Knot, LrShape, ScheduleConfig, Stage, interpolate

__all__ = [
    "BYTE_ALPHABET",
    "GPT2_VOCAB_SIZE",
    "IGNORED",
    "KNOBS",
    "MAX_TIMEOUT_SECONDS",
    "OPTIONS",
    "Activations",
    "ConfigError",
    "DataConfig",
    "DataName",
    "Decay",
    "DecayShape",
    "Device",
    "GateActivation",
    "HeldOutText",
    "Knot",
    "Lines",
    "LossConfig",
    "LrShape",
    "ModelConfig",
    "MuonScale",
    "NormPlace",
    "OptimizerConfig",
    "OptimizerName",
    "Order",
    "Precision",
    "Reuse",
    "RunConfig",
    "ScheduleConfig",
    "Stage",
    "StraightThrough",
    "SweepConfig",
    "Targets",
    "TokenizerConfig",
    "TokenizerName",
    "TrackConfig",
    "TrackMode",
    "TrackName",
    "Weights",
    "added_knobs",
    "built",
    "check_float",
    "check_number",
    "check_whole",
    "flatten",
    "from_plain",
    "guess",
    "having",
    "interpolate",
    "knobs_in",
    "path_text",
    "plain",
    "recorded",
    "role_of",
    "typed",
    "value_of",
]
