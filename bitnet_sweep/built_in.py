"""The parts that come with this package, registered as a user's own are; nothing of them is imported here."""

from __future__ import annotations

from dataclasses import dataclass

from bitnet_sweep.parts import register


@dataclass
class TequilaOptions:
    """What quantiser ``tequila`` takes."""

    reactivation: float = 1e-3
    """How much of a weight that rounds to 0 is added to its output (published: the script of its code)."""

    def __post_init__(self) -> None:
        if self.reactivation < 0:
            raise ValueError("reactivation must be 0 or more")


_QUANTISERS: dict[str, tuple[str, str, type | None]] = {
    "absmean": ("quantisers:AbsMean", "Ternary by the mean of |w|, as BitNet b1.58.", None),
    "absmedian": ("zoo:AbsMedian", "Ternary by the median of |w|.", None),
    "absmean_channel": ("zoo:AbsMeanChannel", "Ternary by the mean of |w| of each row.", None),
    "binary": ("zoo:Binary", "The sign of w minus its mean, times the mean of |w|.", None),
    "seq2": ("zoo:Seq2", "Two bits without a zero in a learned range (ParetoQ).", None),
    "lsq3": ("zoo:Lsq3", "Three bits with a learned step.", None),
    "lsq4": ("zoo:Lsq4", "Four bits with a learned step.", None),
    "tequila": ("zoo:Tequila", "absmean, whose zeros act on as a bias.", TequilaOptions),
}

for _name, (_place, _doc, _options) in _QUANTISERS.items():
    register("quantiser", _name, f"bitnet_sweep.model.{_place}", options=_options, version=None, doc=_doc)

register(
    "model",
    "transformer",
    "bitnet_sweep.model.transformer:Transformer",
    version=None,
    doc="A decoder-only transformer of BitLinears, by the keys of the group model.",
)
register(
    "task",
    "transformer",
    "bitnet_sweep.train.task:TransformerWorkload",
    version=None,
    doc="A decoder-only transformer on tokens, by the keys model, data, optimizer and so on.",
)
