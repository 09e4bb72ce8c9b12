"""Where a result comes from: command, commit, versions, machine."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

from bitnet_sweep import identity
from bitnet_sweep.sweep.source import UnknownError, commit_of

_LIBRARIES = {
    "bitnet-sweep": "bitnet_sweep",
    "torch": "torch",
    "numpy": "numpy",
    "tokenizers": "tokenizers",
    "hydra-core": "hydra",
    "wandb": "wandb",
}
"""By the name they are installed under, the module."""


def provenance(command: list[str], threads: int, device: torch.device) -> dict[str, Any]:
    """What a reader needs to repeat a run; JSON scalars and lists, nothing from the environment.

    Args:
        command: the job's overrides.
        threads: of the job.
        device: it trains on.
    """
    version = {"science_version": identity.SCIENCE_VERSION}
    return {"command": command, "threads": threads} | version | machine() | accelerator(device)


def accelerator(device: torch.device) -> dict[str, Any]:
    """The name of the GPU; nothing where the device is none."""
    if device.type != "cuda":
        return {}
    import torch  # here, since it takes long

    return {"gpu": torch.cuda.get_device_name(device)}


def following(now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """``now``, of training that goes on from what ``before`` has made and from nothing else.

    Where that was another program or machine, ``earlier`` says in what, the first one first.
    """
    now = {key: value for key, value in now.items() if key != "earlier"}
    other = {key: before[key] for key in before.keys() & now.keys() - {"command"} if before[key] != now[key]}
    earlier = [*before.get("earlier", []), *([other] if other else [])]
    return now | ({"earlier": earlier} if earlier else {})


@functools.cache
def machine() -> dict[str, Any]:
    """The part that does not change while a process lives."""
    from bitnet_sweep.model.products import cpu_class  # here, since it imports torch

    return {
        **commit(),
        "python": platform.python_version(),
        "versions": {name: _version(name, module) for name, module in _LIBRARIES.items()},
        "cpu": _cpu_model(),
        "cpu_class": cpu_class().name,
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
    }


def _version(name: str, module: str) -> str | None:
    """The version of what was imported: PYTHONPATH may show another installation's metadata first."""
    imported = getattr(sys.modules.get(module), "__version__", None)
    if imported is not None:
        return str(imported)
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit() -> dict[str, str | None]:
    """The commit of the program that runs; where there is none, why."""
    try:
        return {"commit": commit_of(Path(__file__))}
    except (UnknownError, OSError) as error:
        return {"commit": None, "commit_unknown": str(error)}


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
