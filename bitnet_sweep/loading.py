"""Opening the model of a finished run."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from bitnet_sweep.config import ConfigError
from bitnet_sweep.model.interface import Model
from bitnet_sweep.model.own import make_model
from bitnet_sweep.store import Store
from bitnet_sweep.store.archive import unpacked
from bitnet_sweep.train.average import AVERAGE


def load_run(store: Path, run_id: str, averaged: bool = False) -> Model:
    """See :func:`bitnet_sweep.load_run`."""
    with unpacked(store) as root:
        folder = Store(root).run(run_id)
        config = folder.config()
        config.require_transformer(run_id)
        weights = load_file(folder.final_path)
    prefix = AVERAGE if averaged else ""
    if averaged and not any(name.startswith(AVERAGE) for name in weights):
        raise ConfigError("averaged", averaged, f"{run_id} kept no mean of its weights (ema={config.ema:g})")
    model = make_model(config).eval()
    with torch.no_grad():
        for name, tensor in model.kept().items():
            tensor.copy_(weights[prefix + name] if prefix + name in weights else weights[name])
    return model
