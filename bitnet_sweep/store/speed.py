"""How fast a run goes, by what its records say of time."""

from __future__ import annotations

from bitnet_sweep.records import Record
from bitnet_sweep.store.outcome import finite


def seconds_per_step(record: Record, probe_every_steps: float | None) -> float | None:
    """Seconds a step took since the record before, with its share of a probe; None where unknown.

    Args:
        record: of any step.
        probe_every_steps: over how many steps one probe is spread; None leaves probes out.
    """
    step, tokens, rate = (finite(record, key) for key in ("step", "tokens_seen", "perf/tokens_per_s"))
    step_ms = finite(record, "perf/step_ms")
    if step and tokens and rate:
        seconds = tokens / step / rate
    elif step_ms:  # of a task that counts no tokens
        seconds = 1e-3 * step_ms
    else:
        return None
    probe_ms = finite(record, "perf/probe_ms")
    probing = 1e-3 * probe_ms / probe_every_steps if probe_ms and probe_every_steps else 0.0
    return seconds + probing
