"""Opening the model of a finished run."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from safetensors.torch import load_file

from bitnet_sweep.config import ConfigError, RunConfig
from bitnet_sweep.doors import code_of_parts, parts_of_model
from bitnet_sweep.model.interface import Model
from bitnet_sweep.model.own import make_model
from bitnet_sweep.parts import look_for
from bitnet_sweep.store import Folder, Store
from bitnet_sweep.store.archive import unpacked
from bitnet_sweep.train.average import AVERAGE

log = logging.getLogger(__name__)


def load_run(store: Path, run_id: str, averaged: bool = False) -> Model:
    """See :func:`bitnet_sweep.load_run`."""
    with unpacked(store) as root:
        folder = Store(root).run(run_id)
        config = folder.config()
        config.require_transformer(run_id)
        _require_parts(config, run_id)
        _tell_changes(config, folder)
        weights = load_file(folder.final_path)
    prefix = AVERAGE if averaged else ""
    if averaged and not any(name.startswith(AVERAGE) for name in weights):
        raise ConfigError("averaged", averaged, f"{run_id} kept no mean of its weights (ema={config.ema:g})")
    model = make_model(config).eval()
    with torch.no_grad():
        for name, tensor in model.kept().items():
            tensor.copy_(weights[prefix + name] if prefix + name in weights else weights[name])
    return model


def _require_parts(config: RunConfig, run_id: str) -> None:
    """Import what is installed of the packages that the model is made of; never by a name out of a store."""
    missing = [f"{kind} {name}" for kind, name in parts_of_model(config) if look_for(kind, name) is None]
    if missing:
        modules = " ".join(f"--plugins {name}" for name in config.plugins or ["PACKAGE"])
        told = f"has the {missing[0]}, of a package that is not installed here; name its module"
        raise ConfigError("RUN", run_id, f"{told} ({modules}), or in Python import it first")


def _tell_changes(config: RunConfig, folder: Folder) -> None:
    """Say where the source of a user's part is no more what it was when the run was trained."""
    status = folder.status()
    before = status.code if status is not None else {}
    changed = [
        file
        for file, now in code_of_parts(config).items()
        if file.startswith(("model ", "quantiser ")) and before.get(file, now) != now
    ]
    if changed:
        told = (
            "%s: what it is made of has changed since it was trained, so it may compute something else (%s)"
        )
        log.warning(told, folder.id, "; ".join(changed))
