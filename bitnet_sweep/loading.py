"""Opening the model of a finished run."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from bitnet_sweep.config import ConfigError, RunConfig
from bitnet_sweep.doors import needed_to_open
from bitnet_sweep.model.interface import Model
from bitnet_sweep.model.own import make_model
from bitnet_sweep.parts import look_for
from bitnet_sweep.store import Store
from bitnet_sweep.store.archive import unpacked
from bitnet_sweep.train.average import AVERAGE


def load_run(store: Path, run_id: str, averaged: bool = False) -> Model:
    """See :func:`bitnet_sweep.load_run`."""
    with unpacked(store) as root:
        folder = Store(root).run(run_id)
        config = folder.config()
        config.require_transformer(run_id)
        _require_parts(config, run_id)
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
    look_for("model", config.model.name)
    look_for("quantiser", config.model.quantiser)
    if missing := needed_to_open(config):
        modules = " ".join(config.plugins) or "PACKAGE"
        told = f"has the {missing[0]}, of a package that is not installed here; name its module"
        raise ConfigError("RUN", run_id, f"{told} (--plugins {modules}), or in Python import it first")
