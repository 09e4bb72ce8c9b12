"""One Hydra job in a process of its own."""

from __future__ import annotations

import sys

from hydra import version
from hydra.core.utils import JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from bitnet_sweep.own_code import in_a_line
from bitnet_sweep.sweep.exits import EXIT_FAILED, EXIT_INTERRUPTED, InterruptedRunError


def work(hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> int:
    """Run the job; the exit status says whether it ended well, failed, or was interrupted.

    Args:
        hydra_context: of the sweep.
        task_function: of the sweep.
        config: composed for this job.
    """
    version.setbase("1.3")
    setup_globals()
    returned = run_job(
        hydra_context=hydra_context,
        task_function=task_function,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    if returned.status is JobStatus.COMPLETED:
        return 0
    error = returned._return_value  # the property would print and raise it
    if isinstance(error, InterruptedRunError):
        return EXIT_INTERRUPTED
    print(f"bitnet_sweep: {in_a_line(error)}", file=sys.stderr, flush=True)
    return EXIT_FAILED
