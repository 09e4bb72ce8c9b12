"""Whether a part keeps what the engine promises of every run."""

from bitnet_sweep.conformance.command import findings, main
from bitnet_sweep.conformance.other_parts import metric_checks, model_checks, task_checks

__all__ = ["findings", "main", "metric_checks", "model_checks", "task_checks"]
