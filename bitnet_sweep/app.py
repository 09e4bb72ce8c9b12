"""The Hydra entry: where a DictConfig becomes a RunConfig (for whole grids by way of compose.py)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import bitnet_sweep.wandb_environment  # noqa: F401  # what conf/track/wandb.yaml is read with
from bitnet_sweep.config import OPTIONS, ConfigError, RunConfig, SweepConfig
from bitnet_sweep.doors import settled
from bitnet_sweep.explain import as_config_error
from bitnet_sweep.keys import described
from bitnet_sweep.stages import resolve
from bitnet_sweep.sweep.exits import AloneError
from bitnet_sweep.sweep.typed import check_as_typed


def _schema() -> DictConfig:
    """The schema, in which the options of a part can have any name: its part checks them."""
    schema: DictConfig = OmegaConf.structured(RunConfig)
    for key in OPTIONS:
        OmegaConf.set_struct(OmegaConf.select(schema, key), False)
    return schema


ConfigStore.instance().store(name="run_config", node=_schema())


def _described(*, _root_: DictConfig) -> str:
    return described(_root_).replace("$", "$$")  # Hydra fills the text in as a string.Template


# what conf/hydra/help is read with
OmegaConf.register_new_resolver("described_keys", _described, replace=True)


def config_folder() -> Path:
    """``conf/``: inside the package where it was installed, else beside it in the source tree."""
    package = Path(__file__).resolve().parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def to_run_config(config: DictConfig) -> RunConfig:
    """The typed, checked and resolved config of one run.

    A composed config is made plain first: nodes that are typed already would keep keys that
    ``+model.hiden=3`` added.

    Raises:
        ConfigError: a key, a type or a value is wrong.
    """
    try:
        merged = OmegaConf.merge(
            OmegaConf.structured(RunConfig), OmegaConf.to_container(config, resolve=True)
        )
        typed = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise as_config_error(error) from error
    assert isinstance(typed, RunConfig), "the schema makes RunConfigs"
    return resolve(settled(typed))


def job(config: DictConfig, num_stages: Mapping[int, int] | None = None) -> None:
    """What Hydra calls for each job, in whatever process the launcher chose.

    Args:
        config: of the run.
        num_stages: by job number, for a job that ends behind so many stages of its run and leaves a trunk.

    Raises:
        ConfigError: the config cannot be used.
        Exception: training failed; the run's status says how.
        AloneError: either of them, of a run without ``-m``.
    """
    from bitnet_sweep.sweep.run import run_alone, run_job  # late: it imports torch

    hydra = HydraConfig.get()
    os.chdir(hydra.runtime.cwd)  # with hydra.job.chdir, relative paths would mean others than the plan's
    overrides = [str(override) for override in hydra.overrides.task]
    if not OmegaConf.is_missing(hydra.job, "num"):
        run_job(to_run_config(config), overrides, (num_stages or {}).get(hydra.job.num))
        return
    try:
        check_as_typed(OverridesParser.create().parse_overrides(overrides))
        run = to_run_config(config)
        _refuse_a_grid(getattr(hydra.sweeper, "params", None), run.sweep)
        run_alone(run, overrides)
    except Exception as error:
        raise AloneError from error


def _refuse_a_grid(params: Mapping[str, Any] | None, sweep: SweepConfig) -> None:
    """What says which points a sweep has, or what it does about failed ones, says nothing of one run."""
    told = {"hydra.sweeper.params": ",".join(params or ())}
    told |= {f"sweep.{name}": getattr(sweep, name) for name in ("exclude", "zip", "bisect", "max_retries")}
    for key, value in told.items():
        if value:
            raise ConfigError(key, value, "needs -m (it describes a sweep)")
