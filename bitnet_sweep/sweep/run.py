"""One run as a user sees it: a progress bar, and closing lines that say where the result is."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bitnet_sweep.config import ConfigError, RunConfig
from bitnet_sweep.own_code import in_a_line
from bitnet_sweep.runtime import release_memory
from bitnet_sweep.sweep.display import new_bar
from bitnet_sweep.sweep.exits import FailedRunError, InterruptedRunError
from bitnet_sweep.sweep.forecast import forecast_lines
from bitnet_sweep.sweep.job import Hooks, Job
from bitnet_sweep.sweep.orchestrate import plan_runs
from bitnet_sweep.sweep.plan import make_plan
from bitnet_sweep.sweep.register import register, set_aside, sweep_name
from bitnet_sweep.sweep.results import next_lines, state_table, tidy
from bitnet_sweep.sweep.reuse import reuse_lines
from bitnet_sweep.sweep.schedule import schedule_lines
from bitnet_sweep.sweep.signals import stop_request
from bitnet_sweep.workload import Step
from bitnet_sweep.workload.find import remarks_on, workload_of


def run_job(config: RunConfig, overrides: list[str], num_stages: int | None = None) -> None:
    """Complete one job of a sweep, which says what there is to say.

    Args:
        config: of the run.
        overrides: of the job, for the provenance.
        num_stages: the job leaves a trunk that ends behind so many stages; None ends the run.

    Raises:
        ConfigError: the store or the corpus cannot be used, or nothing was to be trained.
        InterruptedRunError: a signal asked to stop.
        Exception: training failed.
    """
    if config.sweep.dry_run:
        raise ConfigError("sweep.dry_run", True, "needs hydra/sweeper=stage_tree, which makes the plan")
    stop = stop_request()
    if stop:  # a launcher that knows no stopping goes through all its jobs
        raise InterruptedRunError
    try:
        Job(config, config.sweep.name, overrides, Hooks(stop.__bool__), num_stages).complete()
    except Exception as error:
        traceback.clear_frames(error.__traceback__)  # they hold the model, and Hydra keeps the error
        raise
    finally:
        release_memory()


def run_alone(config: RunConfig, overrides: list[str]) -> None:
    """Complete one run, registered as a sweep of its own, with a progress bar.

    Raises:
        ConfigError: the store or the corpus cannot be used; nothing has started.
        InterruptedRunError: a signal asked to stop.
        FailedRunError: training failed.
    """
    store, [planned] = plan_runs([(tuple(overrides), config)])
    plan = make_plan([planned], store)
    if told := [*reuse_lines(plan.other_code), *remarks_on([planned.config])]:
        print("\n".join(told))
    if config.sweep.dry_run:
        print(
            "\n".join(
                [
                    plan.summary(),
                    *forecast_lines(plan, store, jobs_at_once=1),
                    plan.tree(),
                    *schedule_lines([planned]),
                ]
            )
        )
        return
    name = sweep_name([planned], config.sweep.name)
    set_aside(store, [planned], name)
    register(store, [planned], name, overrides, excluded=[])
    stop = stop_request()  # from here on; what comes before may be broken off anywhere
    try:
        if plan.todo:
            with _progress_bar(config) as on_step:
                Job(config, name, overrides, Hooks(stop.__bool__, on_step)).complete()
    except InterruptedRunError:
        raise
    except Exception as error:  # a ConfigError, too: what it says has become wrong since the run was planned
        raise FailedRunError(f"{planned.run_id}: {in_a_line(error)}") from error
    tidy(store, [planned])
    print(state_table(store, [planned]))
    print("\n".join(next_lines(store, [planned], name)))


@contextmanager
def _progress_bar(config: RunConfig) -> Iterator[Callable[[Step], None]]:
    """A bar over the steps of the run with loss, held-out loss, tokens/s and time left."""
    tokens = workload_of(config).work(config).tokens
    with new_bar(config.steps) as bar:
        shown: dict[str, str] = {}
        begin = [0, time.monotonic()]

        def on_step(step: Step) -> None:
            if bar.n == 0 and step.step > 1:  # going on from a checkpoint or a trunk
                bar.initial = bar.n = begin[0] = step.step - 1
            if step.record is not None and step.record.get("val/loss") is not None:
                shown["val/loss"] = f"{step.record['val/loss']:.2f}"
            shown["loss"] = f"{step.loss:.2f}"
            if tokens is not None:
                rate = (step.step - begin[0]) * tokens / max(time.monotonic() - begin[1], 1e-9)
                shown["tokens/s"] = f"{rate:,.0f}"
            bar.set_postfix(shown, refresh=False)
            bar.update(step.step - bar.n)

        yield on_step
