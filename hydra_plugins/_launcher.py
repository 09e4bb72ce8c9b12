"""What our launchers share: Hydra's interface on one side, jobs that wait for their trunk on the other."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Self

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

WorkArguments = tuple[HydraContext, TaskFunction, DictConfig]
"""The arguments of :func:`bitnet_sweep.sweep.worker.work`."""


class TreeLauncher(Launcher):
    """A launcher that starts a job as soon as the one it comes after has ended well."""

    trains_here: ClassVar[bool] = True
    """Whether the jobs run on this machine."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra."""
        read_once(hydra_context.config_loader)
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config: DictConfig = config

    def require_backend(self) -> None:  # most need none
        """Look whether what runs the jobs is there; asked before a sweep is registered, and not for a plan.

        Raises:
            ConfigError: it is not.
        """

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run independent jobs; a failed one is marked as failed and takes no other with it."""
        return self.launch_after(job_overrides, [None] * len(job_overrides), initial_job_idx)

    def launch_after(
        self,
        job_overrides: Sequence[Sequence[str]],
        after: Sequence[int | None],
        initial_job_idx: int = 0,
    ) -> Sequence[JobReturn]:
        """Run jobs in order, each once the job it comes after has ended well."""
        from bitnet_sweep.sweep.exits import EXIT_INTERRUPTED, FailedRunError, InterruptedRunError

        setup_globals()
        jobs = _Jobs(self, job_overrides, initial_job_idx)
        returns = []
        for overrides, status in zip(job_overrides, self._run(jobs, after), strict=True):
            returned = JobReturn(overrides=list(overrides))
            returned.status = JobStatus.COMPLETED if status == 0 else JobStatus.FAILED
            # One that was not started met a request to stop, or comes after one with an error of its own.
            if status in (None, EXIT_INTERRUPTED):
                returned.return_value = InterruptedRunError()
            elif status != 0:
                returned.return_value = FailedRunError(f"exit status {status}")
            returns.append(returned)
        return returns

    @abstractmethod
    def _run(self, jobs: Sequence[WorkArguments], after: Sequence[int | None]) -> Sequence[int | None]:
        """Run each job once the one it comes after has ended well.

        Args:
            jobs: each is composed when it is looked up, so that is to be done when it starts.
            after: the job that each comes after, or None.

        Returns:
            Exit status by job; None where it was not started.
        """

    def compose(self, overrides: Sequence[str], index: int) -> WorkArguments:
        """The job of that number in the sweep."""
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = str(index)
            config.hydra.job.num = index
        OmegaConf.resolve(config)  # where it runs, the time and the environment may be others
        return self.hydra_context, self.task_function, config


class ReadOnce(CachingConfigRepository):
    """The files of ``conf/`` as they were when first read: for the plan, or at the first composition.

    Jobs are composed when they start: what is edited while a sweep runs must not change those that wait.
    Hydra has such a cache for the length of one composition, and copies what lies behind it each time.
    """

    def __init__(self, delegate: IConfigRepository) -> None:
        super().__init__(delegate)
        self._answers: dict[tuple[object, ...], Any] = {}

    def load_config(self, config_path: str) -> ConfigResult | None:
        """A copy, for a composition may change it."""
        return copy.deepcopy(super().load_config(config_path))

    def group_exists(self, config_path: str) -> bool:
        return bool(self._once("group", config_path, lambda: self.delegate.group_exists(config_path)))

    def config_exists(self, config_path: str) -> bool:
        return bool(self._once("config", config_path, lambda: self.delegate.config_exists(config_path)))

    def get_group_options(
        self, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG
    ) -> list[str]:
        ask = partial(self.delegate.get_group_options, group_name, results_filter)
        return list(self._once(results_filter, group_name, ask))

    def _once(self, what: object, path: str, ask: Callable[[], Any]) -> Any:
        if (what, path) not in self._answers:
            self._answers[what, path] = ask()
        return self._answers[what, path]

    def __deepcopy__(self, memo: object) -> Self:
        return self


def read_once(loader: ConfigLoader) -> None:
    """Have a loader read each file of ``conf/`` once; again does nothing."""
    if isinstance(loader, ConfigLoaderImpl) and not isinstance(loader.repository, ReadOnce):
        loader.repository = ReadOnce(loader.repository)  # type: ignore[assignment]  # the same interface


class _Jobs(Sequence[WorkArguments]):
    """Jobs, each composed when it is looked up: Hydra takes 50 ms for one, minutes for 10,000."""

    def __init__(
        self, launcher: TreeLauncher, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> None:
        self._launcher = launcher
        self._job_overrides = job_overrides
        self._initial_job_idx = initial_job_idx

    def __len__(self) -> int:
        return len(self._job_overrides)

    def __getitem__(self, index: Any) -> Any:  # of Sequence's two signatures only int -> WorkArguments
        return self._launcher.compose(self._job_overrides[index], self._initial_job_idx + index)
