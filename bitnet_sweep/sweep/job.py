"""One job: train one run, or one trunk that several runs fork from, from whatever is on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from bitnet_sweep.config import RunConfig
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.records import LogRow, Record, SampleRow, clean
from bitnet_sweep.runtime import prepare_process
from bitnet_sweep.stages import Timetable
from bitnet_sweep.store import BOUNDARY, LATEST, Status, Store, checkpoint
from bitnet_sweep.store.checkpoint import CorruptCheckpointError
from bitnet_sweep.store.folder import Past
from bitnet_sweep.store.lease import Lease
from bitnet_sweep.sweep.account import (
    Origin,
    accounted,
    note_divergence,
    note_outcome,
    note_trunk,
    waited_for,
)
from bitnet_sweep.sweep.exits import InterruptedRunError
from bitnet_sweep.sweep.memory import memory_told
from bitnet_sweep.sweep.node import Node, ResumePoint, node_of, resume_point, whole_past
from bitnet_sweep.sweep.sink import Sink, no_tracker
from bitnet_sweep.track import Tracker, open_tracker
from bitnet_sweep.workload import State, Step
from bitnet_sweep.workload.find import workload_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hooks:
    """How a job talks to whoever started it."""

    should_stop: Callable[[], bool] = lambda: False
    on_step: Callable[[Step], None] = lambda step: None


class Job:
    """A resolved config, where it is trained, and what is open meanwhile.

    Args:
        config: of the run.
        group: the sweep's name, for the mirror.
        command: the overrides it was started with, for the provenance.
        hooks: called while it trains.
        num_stages: the job ends behind this many stages of the run and leaves a trunk; None ends the run.

    Raises:
        ConfigError: the store or the corpus cannot be used.
    """

    def __init__(
        self,
        config: RunConfig,
        group: str | None,
        command: list[str],
        hooks: Hooks,
        num_stages: int | None = None,
    ) -> None:
        self._config = config
        self._command = command
        self._hooks = hooks
        self._store = Store(Path(config.store))
        self._store.open_for_writing()
        self._workload = workload_of(config)
        self._fingerprint = self._workload.fingerprint(config)
        self._timetable = Timetable.of(config)
        self._target = node_of(config, self._store, stage_ids(config, self._fingerprint), num_stages)
        self._group = group or self._target.folder.id  # Hydra's own sweeper gives its jobs no name
        self._leases: list[Lease] = []

    def complete(self) -> Status:
        """Train what is missing; the status of the run or trunk afterwards.

        Raises:
            InterruptedRunError: ``should_stop`` said so; everything up to now is on disk.
            Exception: training raised it; it also stands in the status.
        """
        with self._held(self._target):
            if not self._target.is_done():
                self._open()
                with self._accounted(self._target) as status, self._target_sink() as sink:
                    self._walk_until_sound(status, sink)
                    if self._target.is_run:
                        sink.summary = note_outcome(self._target, self._config, status)
            finished = self._target.folder.status()
        assert finished is not None, "a completed folder has a status"
        return finished

    def _open(self) -> None:
        config = self._config
        self._device = prepare_process(config.threads, config.device)
        self._training = self._workload.open(config, self._store.tokens, self._fingerprint, self._device)
        self._origin = Origin.of(config, self._command, self._device)

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
                origin=self._origin.mirrored(),
            )

        return Sink(self._target.folder, open_run_tracker if self._target.is_run else no_tracker)

    def _walk_until_sound(self, status: Status, sink: Sink) -> None:
        """Walk the chain; a node whose checkpoint turns out corrupt is trained again."""
        while True:
            try:
                return self._walk(status, sink)
            except CorruptCheckpointError as error:
                log.warning("%s; that part is trained again", error)
                self._drop(error.path)

    def _drop(self, path: Path) -> None:
        """Remove a checkpoint that is not sound, unless another process has put a sound one there."""
        (node,) = (node for node in self._target.chain() if node.folder.path == path.parent)
        with nullcontext() if node is self._target else self._held(node):
            try:
                self._restored(node, path.stem)
            except CorruptCheckpointError:
                path.unlink(missing_ok=True)

    def _walk(self, status: Status, sink: Sink) -> None:
        """Train every node from the last one that does not begin at its parent's end."""
        chain = self._target.chain()
        state: State | None = None
        begun = (i for i, node in enumerate(chain) if self._resume_point(node) is not ResumePoint.fork)
        for trunk in chain[max(begun) : -1]:
            state = self._train_trunk(trunk, state, sink)
            reached = trunk.folder.status()
            assert reached is not None, "a trunk that was reached has a status"
            if reached.diverged_step is not None:
                status.diverged_step = reached.diverged_step
                sink.catch_up(*trunk.folder.past())
                return
        self._train(self._target, state, status, [sink])

    def _train_trunk(self, trunk: Node, state: State | None, sink: Sink) -> State | None:
        """Train a trunk on the way, unless it is done; its state where it was trained here."""
        if trunk.is_done():
            return None
        with self._held(trunk):
            if trunk.is_done():  # by the process that held it
                return None
            with self._accounted(trunk) as status, Sink(trunk.folder) as trunk_sink:
                return self._train(trunk, state, status, [trunk_sink, sink])

    def _train(self, node: Node, state: State | None, status: Status, sinks: list[Sink]) -> State | None:
        """Train a node to its end; its state, or None where only its status was missing.

        Args:
            node: its folder is held.
            state: at its parent's end, where that was trained just now.
            status: of the node.
            sinks: take what was, and every step.
        """
        note_trunk(node, status)
        resumed, past = self._resumed(node, state)
        for sink in sinks:
            sink.catch_up(*past)
        if resumed is not None:
            self._raise_if_asked_to_stop()
            self._advance(node, resumed, sinks)
            self._publish(node, resumed)
        note_divergence(node, status)
        return resumed

    def _resume_point(self, node: Node) -> ResumePoint:
        status, past = node.folder.status(), whole_past(node.folder, self._timetable, node.end)
        return resume_point(node.on_disk(status, past, self._config.sweep.keep_final))

    def _resumed(self, node: Node, state: State | None) -> tuple[State | None, Past]:
        """Where training goes on, and what lies behind there; no state where nothing is left to train."""
        match self._resume_point(node):
            case ResumePoint.done | ResumePoint.publish:
                return None, node.folder.past(node.end)
            case ResumePoint.checkpoint:
                return self._restored(node, LATEST)
            case ResumePoint.fork:
                assert node.parent is not None, "what forks has a parent"
                if state is not None:
                    return state, node.parent.folder.past()
                return self._restored(node.parent, BOUNDARY)
            case ResumePoint.fresh:
                return self._training.fresh(), ([], [], [])

    def _restored(self, node: Node, name: str) -> tuple[State, Past]:
        """A checkpoint and the past that belongs to it.

        Raises:
            CorruptCheckpointError: one of them is not whole.
        """
        tensors, facts = checkpoint.load(node.folder.path, name)
        past = whole_past(node.folder, self._timetable, facts["step"])
        if past is None:
            raise CorruptCheckpointError(
                node.folder.path / f"{name}.json", f"{node.folder.records_path.name} is not whole"
            )
        return self._training.restored(tensors, facts), past

    def _advance(self, node: Node, state: State, sinks: list[Sink]) -> None:
        """Train a state to the node's end, with a checkpoint to resume from now and then."""
        with checkpoint.Saver(node.folder.path, LATEST) as saver:
            for step in self._training.steps(state, node.end):
                self._report(step)
                for sink in sinks:
                    sink.put(step.record, step.samples, step.log)
                if step.step < node.end and not state.diverged:
                    stop = self._hooks.should_stop()
                    if stop or step.step % (self._config.checkpoint_every_steps or node.end) == 0:
                        saver.save(*state.export())
                    if stop:
                        saver.wait()
                        raise InterruptedRunError

    def _publish(self, node: Node, state: State) -> None:
        """Leave behind what the node is for: a trunk to fork from, or the weights of a run."""
        if node.is_run:
            if self._config.sweep.keep_final:
                checkpoint.save_tensors(node.folder.final_path, state.weights())
        elif not state.diverged:
            checkpoint.save(node.folder.path, BOUNDARY, *state.export())

    def _report(self, step: Step) -> None:
        self._hooks.on_step(step)
        progress = clean({"step": step.step, "steps": self._config.steps, "loss": step.loss})
        for held in self._leases:
            held.beat(progress)

    def _raise_if_asked_to_stop(self) -> None:
        if self._hooks.should_stop():
            raise InterruptedRunError

    @contextmanager
    def _held(self, node: Node) -> Iterator[None]:
        """Hold the node's folder; its heartbeat shows how far training is."""
        with waited_for(node.folder.path, self._raise_if_asked_to_stop) as held:
            self._leases.append(held)
            try:
                yield
            finally:
                self._leases.remove(held)

    @contextmanager
    def _accounted(self, node: Node) -> Iterator[Status]:
        """The account of a node in its status; where memory did not suffice, it says what to lower."""
        work = self._workload.work(self._config)
        with (
            accounted(node, self._config, work.parameters, self._origin) as status,
            memory_told(work.smaller, self._device),
        ):
            yield status
