"""What one probe writes: a flat Record, and the names and meanings of its fields.

Everything that time, memory or host decides is named ``perf/...``; every other field is equal bit for
bit when a run is repeated with the same threads, CPU model and torch. Losses are in nats per token.
Not applicable or not finite is null (``None``), never 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Value = int | float | None
Record = dict[str, Value]
SampleRow = dict[str, Any]
"""A continuation that a probe wrote: ``step``, ``prompt``, ``continuation``."""

LogRow = dict[str, Value]
"""A row of the training log, which stands beside the records and is denser: the fields of ``LOG_FIELDS``."""

FIELDS: dict[str, str] = {
    "step": "completed optimizer updates; a diverged run's last record counts the one that was not made, too",
    "stage": "1, 2, ...; the boundary record belongs to the stage that ends there",
    "tokens_seen": "training targets so far",
    "train/loss": "training objective, mean over the steps since the last record",
    "train/loss_batch": "training objective of the last batch alone, as the notes logged it",
    "val/loss": "negative log-likelihood on the fixed held-out tokens, through the run's own precision path",
    "val/loss_ema": "val/loss of the running mean of the weights; only in runs with ema",
    "ref/ln_vocab": "loss of a uniform predictor, ln V",
    "ref/unigram_loss": "loss on the same tokens of train-split token counts + 1",
    "ref/bigram_loss": "loss on the same tokens of train-split pair counts, backed off to token counts + 1",
    "val/loss_tempered": "loss of logits/tau on half of the held-out tokens, by the other half's best tau",
    "blocks/loss_without": "val/loss with all blocks bypassed: embedding, final norm, head",
    "val/minus_ln_vocab": "val/loss minus ref/ln_vocab",
    "val/minus_unigram": "val/loss minus ref/unigram_loss; below 0 the context is used",
    "val/accuracy": "share of held-out tokens that are the argmax prediction; at mixed of its own logits",
    "probe/unique_tokens": "distinct argmax predictions at the last position of 20 contexts of 8 random ids",
    "probe/unique_tokens_text": "the same over 20 held-out contexts of 8 tokens",
    "probe/unique_tokens_human": "distinct true next tokens of those 20 held-out contexts",
    "probe/context_gain": "loss with each target behind another window's context, as long, minus val/loss",
    "probe/entropy": "mean predictive entropy on the held-out tokens, nats",
    "probe/argmax_tokens": "distinct argmax predictions on the held-out tokens, by the same logits",
    "probe/human_tokens": "distinct true tokens among the held-out tokens",
    "probe/logit_std": "standard deviation of the logits over the vocabulary, mean over held-out tokens",
    "ternary/minus_frac": "share of codes below 0, so that are -1 if they are ternary",
    "ternary/zero_frac": "share of codes that are 0",
    "ternary/plus_frac": "share of codes above 0, so that are +1 if they are ternary",
    "ternary/flip_rate": "share of codes changed by the last step",
    "ternary/flip_rate_window": "share of codes that differ from those at the last record",
    "ternary/window_steps": "steps since the last record",
    "ternary/oscillation_freq": "reversals of a code's last change, per weight and step (Nagel et al. 2022)",
    "ternary/oscillation_steps": "steps the oscillation frequency was counted over (at most 20)",
    "ternary/absmean": "mean |latent weight|, mean over BitLinears",
    "ternary/absmean_min": "the smallest of the BitLinears' absmeans",
    "ternary/clamped_layers": "BitLinears whose absmean is below the clamp of 1e-5 that their quantiser has",
    "weights/embedding_rms": "root mean square of the embedding matrix",
    "weights/head_rms": "root mean square of the head matrix",
    "optim/lr": "learning rate of the update that completed this step",
    "optim/weight_decay": "weight decay of that update",
    "optim/grad_norm": "global gradient norm before clipping, mean over the steps since the last record",
    "sample/seq_rep_4": "1 - distinct/total 4-grams, mean over greedy continuations (Welleck et al. 2020)",
    "sample/distinct_2": "distinct/total bigrams over all continuations (Li et al. 2016)",
    "perf/tokens_per_s": "training targets per second of training time since the last record, probes apart",
    "perf/step_ms": "training milliseconds per step since the last record",
    "perf/probe_ms": "milliseconds this probe took",
    "perf/peak_memory_mb": "largest resident memory of the process so far",
}
"""Fields with a fixed name; ``ternary/absmean/<layer>`` and ``ternary/zero_frac/<layer>`` stand beside them,
one of each for each BitLinear; the second is null where its weights are not ternary."""

ZERO_SHARE = "ternary/zero_frac/"
"""How the field of a layer's own share of zeros begins; its name follows."""

LAYERS = ("ternary/absmean/", ZERO_SHARE)
"""How the fields of single layers begin."""


def own_fields(record: Iterable[str]) -> list[str]:
    """The fields of a record that are none of ours: of metrics and tasks of somebody's own."""
    return [field for field in record if field not in FIELDS and not field.startswith(LAYERS)]


LOG = "log/"
"""How the fields of the training log begin, and no field of a record."""
LOG_LOSS, LOG_LR = "log/train_loss", "log/lr"
LOG_FIELDS: dict[str, str] = {
    "step": "completed optimizer updates",
    LOG_LOSS: "training objective, mean over the steps since the last row",
    LOG_LR: "learning rate of the update that completed this step",
}


def in_order(
    records: Sequence[Record], log: Sequence[LogRow]
) -> Iterator[tuple[Record | None, LogRow | None]]:
    """What each step has left, by step: its record, its row of the log, or both."""
    found: dict[Value, tuple[Record | None, LogRow | None]] = {row["step"]: (row, None) for row in records}
    for row in log:
        found[row["step"]] = (found.get(row["step"], (None, None))[0], row)
    yield from (pair for _, pair in sorted(found.items(), key=lambda item: item[0] or 0))


def clean(record: Mapping[str, Value]) -> Record:
    """The record with every number that is not finite made null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }


def to_json_line(record: Mapping[str, Value]) -> str:
    """One line of JSON without its newline."""
    return json.dumps(clean(record), allow_nan=False)
