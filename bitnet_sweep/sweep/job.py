"""One job: train one run, or one trunk that several runs fork from, from whatever is on disk."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitnet_sweep import files, identity
from bitnet_sweep.code import code
from bitnet_sweep.config import RunConfig, recorded
from bitnet_sweep.doors import code_of_parts
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.records import LogRow, Record, SampleRow, clean
from bitnet_sweep.runtime import prepare_process
from bitnet_sweep.store import (
    BOUNDARY,
    FAILED,
    FINISHED,
    INTERRUPTED,
    LATEST,
    RUNNING,
    Status,
    Store,
    checkpoint,
)
from bitnet_sweep.store.checkpoint import CorruptCheckpointError
from bitnet_sweep.store.lease import HeldError, Lease, LostError, Watch, lease
from bitnet_sweep.store.outcome import outcome_of, transition_figures
from bitnet_sweep.sweep.ending import InterruptedRunError
from bitnet_sweep.sweep.legs import Leg, Past, diverged_step, legs_of
from bitnet_sweep.sweep.memory import memory_told
from bitnet_sweep.sweep.provenance import following, provenance
from bitnet_sweep.sweep.sink import Sink, no_tracker
from bitnet_sweep.track import Tracker, open_tracker
from bitnet_sweep.workload import State, Step
from bitnet_sweep.workload.find import workload_of

log = logging.getLogger(__name__)

_MIRRORED = ("commit", "cpu_class", "cpu", "gpu", "threads", "versions")
"""What of a run's provenance goes to its mirror; the host's name stays in the store."""

LEASE_POLL_SECONDS = 0.2
"""How often a job looks whether another one has finished the stage it needs."""


@dataclass(frozen=True)
class Hooks:
    """How a job talks to whoever started it."""

    should_stop: Callable[[], bool] = lambda: False
    on_step: Callable[[Step], None] = lambda step: None


class Job:
    """A resolved config, where it is trained, and what is open meanwhile.

    Raises:
        ConfigError: the store or the corpus cannot be used.
    """

    def __init__(self, config: RunConfig, group: str | None, command: list[str], hooks: Hooks) -> None:
        self._config = config
        self._command = command
        self._hooks = hooks
        self._store = Store(Path(config.store))
        self._store.open_for_writing()
        self._workload = workload_of(config)
        self._fingerprint = self._workload.fingerprint(config)
        self._legs = legs_of(config, self._store, stage_ids(config, self._fingerprint))
        self._target = self._legs[-1]
        self._group = group or self._target.folder.id  # Hydra's own sweeper gives its jobs no name
        self._leases: list[Lease] = []

    def complete(self) -> Status:
        """Train what is missing; the status of the run or trunk afterwards.

        Raises:
            InterruptedRunError: ``should_stop`` said so; everything up to now is on disk.
            Exception: training raised it; it also stands in the status.
        """
        with self._leased(self._target):
            if not self._target.is_done():
                self._open()
                with self._accounted(self._target) as status, self._target_sink() as sink:
                    self._walk_until_sound(status, sink)
                    if self._target.is_run:
                        sink.summary = self._conclude(status)
            finished = self._target.folder.status()
        assert finished is not None, "a completed folder has a status"
        return finished

    def _open(self) -> None:
        config = self._config
        self._device = prepare_process(config.threads, config.device)
        self._training = self._workload.open(config, self._store.tokens, self._fingerprint, self._device)

    def _target_sink(self) -> Sink:
        def open_run_tracker(records: list[Record], samples: list[SampleRow], log: list[LogRow]) -> Tracker:
            return open_tracker(
                self._config,
                run_id=self._target.folder.id,
                group=self._group,
                store=self._store.root,
                past=records,
                past_samples=samples,
                past_log=log,
                origin=self._origin(),
            )

        return Sink(self._target.folder, open_run_tracker if self._target.is_run else no_tracker)

    def _origin(self) -> dict[str, Any]:
        """What the mirror says of the program and the machine that train the run now."""
        now = provenance(self._command, self._config.threads, self._device)
        return {key: now.get(key) for key in _MIRRORED} | {"code": identity.digest(self._code())}

    def _code(self) -> dict[str, str]:
        """The fingerprints of all source that trains the run: of this program and of the user's parts."""
        return code() | code_of_parts(self._config)

    def _walk_until_sound(self, status: Status, sink: Sink) -> None:
        """Walk the legs; one whose checkpoint turns out corrupt is trained again."""
        while True:
            try:
                return self._walk(status, sink)
            except CorruptCheckpointError as error:
                log.warning("%s; that part is trained again", error)
                self._drop(error.path)

    def _drop(self, path: Path) -> None:
        """Remove a checkpoint that is not sound, unless another process has put a sound one there."""
        (leg,) = (leg for leg in self._legs if leg.folder.path == path.parent)
        with nullcontext() if leg is self._target else self._leased(leg):
            try:
                self._restored(leg, path.stem)
            except CorruptCheckpointError:
                path.unlink(missing_ok=True)

    def _walk(self, status: Status, sink: Sink) -> None:
        """Train every leg from the first one that has to be, and note where training diverged."""
        state: State | None = None
        for i in range(self._first_leg(), len(self._legs)):
            leg, parent = self._legs[i], self._legs[i - 1] if i else None
            if leg is self._target:
                _note_trunk(leg, parent, status)
                self._train(leg, parent, state, [sink])
                self._note_divergence(leg, status)
                return
            with self._leased(leg):
                if leg.is_done():
                    state = None
                else:
                    with self._accounted(leg) as trunk_status, Sink(leg.folder) as trunk_sink:
                        _note_trunk(leg, parent, trunk_status)
                        state = self._train(leg, parent, state, [trunk_sink, sink])
                        self._note_divergence(leg, trunk_status)
            reached = leg.folder.status()
            assert reached is not None, "a trunk that was reached has a status"
            if reached.diverged_step is not None:
                status.diverged_step = reached.diverged_step
                sink.catch_up(leg.folder.records(), leg.folder.samples(), leg.folder.log())
                return

    def _first_leg(self) -> int:
        """The last leg that was begun, or the one behind the last whole trunk, or the first."""
        for i in reversed(range(len(self._legs))):
            leg = self._legs[i]
            if leg.has(LATEST) or (not leg.is_done() and leg.left_behind()):
                return i
            if leg is not self._target and leg.is_done():
                return i + 1 if leg.has(BOUNDARY) else i  # a trunk that diverged ends the run
        return 0

    def _train(self, leg: Leg, parent: Leg | None, state: State | None, sinks: list[Sink]) -> State | None:
        """Train one leg from its own checkpoint, from memory, from its parent's end, or from step 0.

        Nothing is left to train, and None returned, where only the status did not say so yet.
        """
        left_behind = leg.left_behind()
        if left_behind is not None:
            for sink in sinks:
                sink.catch_up(*left_behind)
            return None
        if leg.has(LATEST):
            state, past = self._restored(leg, LATEST)
        elif parent is not None and state is not None:
            past = parent.folder.records(), parent.folder.samples(), parent.folder.log()
        elif parent is not None:
            state, past = self._restored(parent, BOUNDARY)
        else:
            state, past = self._training.fresh(), ([], [], [])
        for sink in sinks:
            sink.catch_up(*past)
        self._raise_if_asked_to_stop()
        with checkpoint.Saver(leg.folder.path, LATEST) as saver:
            for step in self._training.steps(state, leg.end):
                self._report(step)
                for sink in sinks:
                    sink.put(step.record, step.samples, step.log)
                if step.step < leg.end and not state.diverged:
                    stop = self._hooks.should_stop()
                    if stop or step.step % (self._config.checkpoint_every_steps or leg.end) == 0:
                        saver.save(*state.export())
                    if stop:
                        saver.wait()
                        raise InterruptedRunError
        self._publish(leg, state)
        return state

    def _restored(self, leg: Leg, name: str) -> tuple[State, Past]:
        """A checkpoint and the past that belongs to it.

        Raises:
            CorruptCheckpointError: one of them is not whole.
        """
        tensors, facts = checkpoint.load(leg.folder.path, name)
        past = leg.past(facts["step"])
        if past is None:
            raise CorruptCheckpointError(
                leg.folder.path / f"{name}.json", f"{leg.folder.records_path.name} is not whole"
            )
        return self._training.restored(tensors, facts), past

    def _publish(self, leg: Leg, state: State) -> None:
        """Leave behind what the leg is for: a trunk to fork from, or the weights of a run."""
        if leg.is_run:
            if self._config.sweep.keep_final:
                checkpoint.save_tensors(leg.folder.final_path, state.weights())
        elif not state.diverged:
            checkpoint.save(leg.folder.path, BOUNDARY, *state.export())

    def _note_divergence(self, leg: Leg, status: Status) -> None:
        status.diverged_step = diverged_step(leg.folder.records())
        status.outcome = "diverged" if status.diverged_step is not None else None

    def _conclude(self, status: Status) -> dict[str, Any]:
        """Judge the finished run; the figures for the tracker's summary."""
        config, records = self._config, self._target.folder.records()
        outcome = outcome_of(
            records,
            steps=config.steps,
            boundary_step=config.boundary_step,
            warmup_steps=config.warmup_steps,
            diverged=status.diverged_step is not None,
        )
        status.outcome, status.marks = outcome.kind, outcome.marks.noted
        figures = transition_figures(records, steps=config.steps, boundary_step=config.boundary_step)
        sizes = {f"parameters/{name}": count for name, count in status.parameters.items()}
        stage_ids = " ".join(status.stage_ids)  # what the report pairs arms by, also when it reads W&B
        told = {"science_version": status.science_version, "code": identity.digest(status.code)}
        marks = "unknown" if status.marks is None else ", ".join(status.marks) or "none"
        return figures | sizes | told | {"outcome": outcome.kind, "marks": marks, "stage_ids": stage_ids}

    def _report(self, step: Step) -> None:
        self._hooks.on_step(step)
        progress = clean({"step": step.step, "steps": self._config.steps, "loss": step.loss})
        for held in self._leases:
            held.beat(progress)

    def _raise_if_asked_to_stop(self) -> None:
        if self._hooks.should_stop():
            raise InterruptedRunError

    @contextmanager
    def _leased(self, leg: Leg) -> Iterator[None]:
        """Hold the leg's folder, waiting while another process trains there."""
        watch, wait = Watch(), files.Wait(leg.folder.path)
        with ExitStack() as stack:
            while True:
                try:
                    held = stack.enter_context(lease(leg.folder.path, watch))
                    break
                except HeldError as error:
                    self._raise_if_asked_to_stop()
                    wait.tell(str(error))
                    time.sleep(LEASE_POLL_SECONDS)
            self._leases.append(held)
            try:
                yield
            finally:
                self._leases.remove(held)

    @contextmanager
    def _accounted(self, leg: Leg) -> Iterator[Status]:
        """The leg's status: running in here, then finished, interrupted, or failed with its traceback.

        It says finished last of all, so nothing that a finished leg has no use for stays behind.
        """
        before, work = leg.folder.status(), self._workload.work(self._config)
        now = provenance(self._command, self._config.threads, self._device)
        status = Status(
            state=RUNNING,
            stage_ids=leg.stage_ids,
            run_id=leg.folder.id if leg.is_run else None,
            parent_stage_id=leg.stage_ids[-2] if len(leg.stage_ids) > 1 else None,
            attempts=before.attempts + 1 if before else 1,
            parameters=work.parameters,
            train_seconds=before.train_seconds if before else 0.0,
            provenance=following(now, before.provenance) if before and leg.has(LATEST) else now,
            science_version=identity.SCIENCE_VERSION,
            code=self._code(),
        )
        leg.folder.write_config(recorded(self._config))
        leg.folder.write_status(status)
        started = time.monotonic()
        try:
            with memory_told(work.smaller, self._device):
                yield status
            checkpoint.delete(leg.folder.path, LATEST)
        except LostError:
            raise  # the status is another process's now
        except BaseException as error:
            if isinstance(error, InterruptedRunError) or not isinstance(error, Exception):
                status.state = INTERRUPTED
            elif not isinstance(error, CorruptCheckpointError):  # those are mended, then it goes on
                status.state, status.error = FAILED, traceback.format_exc()
            status.train_seconds += time.monotonic() - started
            with suppress(OSError):  # a full disk must not hide what went wrong
                leg.folder.write_status(status)
            raise
        status.state = FINISHED
        status.train_seconds += time.monotonic() - started
        leg.folder.write_status(status)


def _note_trunk(leg: Leg, parent: Leg | None, status: Status) -> None:
    """Say in a leg's status where the trunk comes from that it forks from, if it does so now."""
    trunk = parent.folder.status() if parent is not None and not leg.has(LATEST) else None
    if trunk is not None:
        status.provenance = following(status.provenance, trunk.provenance)
