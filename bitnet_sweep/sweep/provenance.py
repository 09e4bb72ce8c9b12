"""Where a result comes from: command, commit, versions, machine."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_LIBRARIES = ("bitnet-sweep", "torch", "numpy", "tokenizers", "hydra-core", "wandb")


def provenance(command: list[str], threads: int, device: torch.device) -> dict[str, Any]:
    """What a reader needs to repeat a run; JSON scalars and lists, nothing from the environment.

    Args:
        command: the job's overrides.
        threads: of the job.
        device: it trains on.
    """
    return {"command": command, "threads": threads} | machine() | accelerator(device)


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
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _LIBRARIES},
        "cpu": _cpu_model(),
        "cpu_class": cpu_class().name,
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the source tree, with ``+`` where it was changed; None for an installed package."""
    here = Path(__file__).resolve().parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],  # noqa: S607
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        tracked = subprocess.run(
            ["git", "ls-files", "--error-unmatch", Path(__file__).name],  # noqa: S607
            cwd=here,
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() or None if tracked.returncode == 0 else None


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
