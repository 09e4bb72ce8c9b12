"""``bitnet-sweep doctor``: what this machine has that training uses, a line each with what it means."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from bitnet_sweep import files
from bitnet_sweep.config import ConfigError
from bitnet_sweep.exact import counted

_WIDTH = 14


@dataclass(frozen=True)
class Line:
    """One thing looked at."""

    what: str
    found: str
    meaning: str
    is_fine: bool = True
    """False of what keeps a default run from training."""

    def __str__(self) -> str:
        return f"{self.what:{_WIDTH}}{self.found}: {self.meaning}"


def told(store: Path) -> list[Line]:
    """Everything, nothing of it changed.

    Raises:
        ConfigError: ``BITNET_SWEEP_CPU`` names no class of processor.
    """
    return [_cpu(), _cores(), _torch(), _gpu(), _wandb(), _slurm(), _ray(), _store(store)]


def _cpu() -> Line:
    from bitnet_sweep.model.products import PRODUCTS
    from bitnet_sweep.runtime import cpu_class

    found = cpu_class()
    products = PRODUCTS[found]
    forward, backward = (str(kind).removeprefix("torch.") for kind in (products.codes, products.operands))
    slower = "" if backward == "bfloat16" else "; slower than with native bfloat16"
    meaning = f"precision=mixed multiplies {forward} forward and {backward} backward{slower}"
    return Line("CPU class", found.name, meaning)


def _cores() -> Line:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Line(
        "cores", str(usable), f"a sweep trains {counted(usable, 'run')} at once on the CPU, with threads=1"
    )


def _torch() -> Line:
    import torch

    build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for the CPU alone"
    return Line("torch", torch.__version__, build)


def _gpu() -> Line:
    import torch

    if not torch.cuda.is_available():
        return Line("GPU", "none", "device=auto trains on the CPU")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Line("GPU", ", ".join(names), f"device=auto trains there, {counted(len(names), 'run')} at once")


def _wandb() -> Line:
    from bitnet_sweep.wandb_client import WandbError, bounded, require_credentials, server_url, start_client

    server = server_url()
    try:
        with bounded(_WANDB_SECONDS):
            start_client("offline")
            require_credentials(server)
    except WandbError as error:
        meaning = "runs are mirrored offline, which is the default; to upload them, log in"
        return Line("W&B login", f"none ({error})", meaning)
    return Line("W&B login", f"a key for {server}", "track.mode=online and sync can use it; it was not tried")


_WANDB_SECONDS = 10.0


def _slurm() -> Line:
    if shutil.which("sbatch") is None:
        return Line("SLURM", "none", "hydra/launcher=slurm needs sbatch on this machine")
    if importlib.util.find_spec("submitit") is None:
        return Line(
            "SLURM", "sbatch, no submitit", "pip install 'bitnet-sweep[slurm]' for hydra/launcher=slurm"
        )
    return Line("SLURM", "sbatch and submitit", "hydra/launcher=slurm can be used")


def _ray() -> Line:
    if importlib.util.find_spec("ray") is None:
        return Line("Ray", "none", "pip install 'bitnet-sweep[ray]' for hydra/launcher=ray")
    return Line("Ray", importlib.metadata.version("ray"), "hydra/launcher=ray can be used")


def _store(store: Path) -> Line:
    """Tried in the store, or where it would be made."""
    there = store.absolute()
    while not there.exists():
        there = there.parent
    try:
        if not there.is_dir():
            raise ConfigError("--store", there, "is no folder")
        files.try_out(there)
    except OSError as error:
        return Line("store", f"{store} cannot be written ({error.strerror})", "nothing can be trained", False)
    except ConfigError as error:
        return Line("store", str(error), "nothing can be trained", False)
    free = shutil.disk_usage(there).free / 1e9
    made = "can be written" if there == store.absolute() else f"can be made in {there}"
    return Line("store", f"{store} {made}", f"runs go there; {free:.1f} GB are free")
