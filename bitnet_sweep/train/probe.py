"""The probe of a run: every measure of a record, over tokens and contexts fixed beforehand."""

from __future__ import annotations

from bitnet_sweep.config import RunConfig
from bitnet_sweep.data import Corpus, heldout_windows, prompts, text_contexts
from bitnet_sweep.measure.diversity import CONTEXT_LENGTH, NUM_CONTEXTS, DiversityProbe
from bitnet_sweep.measure.losses import HeldOut
from bitnet_sweep.measure.own import measure, metrics_of
from bitnet_sweep.measure.samples import continuations, sample_measures
from bitnet_sweep.measure.weights import weight_rms
from bitnet_sweep.records import SampleRow, Value
from bitnet_sweep.train.loop import Probe
from bitnet_sweep.train.state import TrainState

NUM_PROMPTS, PROMPT_TOKENS = 4, 16
"""Size of the samples (chosen: few enough to read)."""


def build_probe(config: RunConfig, corpus: Corpus) -> Probe:
    """The probe of a resolved config; nothing in it depends on the seed."""
    windows = heldout_windows(corpus, config.row_targets)
    heldout = HeldOut(windows, corpus.unigram_counts, corpus.vocab_size, corpus.train)
    contexts, next_ids = text_contexts(corpus, NUM_CONTEXTS, CONTEXT_LENGTH)
    diversity = DiversityProbe(corpus.vocab_size, contexts, next_ids)
    metrics = metrics_of(config)
    prompts_NT = prompts(corpus, NUM_PROMPTS, min(PROMPT_TOKENS, config.row_targets))

    def probe(state: TrainState, with_samples: bool) -> tuple[dict[str, Value], list[SampleRow]]:
        with state.measured():
            return measured(state, with_samples)

    def measured(state: TrainState, with_samples: bool) -> tuple[dict[str, Value], list[SampleRow]]:
        values = heldout.measure(state.model) | diversity.measure(state.model)
        if state.average is not None:
            values["val/loss_ema"] = heldout.loss(state.average)
        values |= state.watch.measures(state.step) | weight_rms(state.model)
        if not state.diverged:
            values |= measure(metrics, state.model, windows)
        if not with_samples:
            return values, []
        ids = continuations(state.model, prompts_NT, sequence_length=config.row_targets)
        values |= sample_measures(ids)
        if ids is None:
            return values, []
        rows: list[SampleRow] = [
            {"step": state.step, "prompt": corpus.decode(prompt), "continuation": corpus.decode(continued)}
            for prompt, continued in zip(prompts_NT, ids, strict=True)
        ]
        return values, rows

    return probe
