"""The groups ``track`` and ``sweep``: how a grid is run and mirrored; no result depends on them."""

# ruff: noqa: RUF009 - knob() makes a field
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from bitnet_sweep.config.checks import ConfigError, settle
from bitnet_sweep.roles import Role, knob


class TrackName(Enum):
    """The mirror of the store."""

    wandb = "wandb"
    none = "none"


class TrackMode(Enum):
    """W&B without or with a server."""

    offline = "offline"
    online = "online"


class Reuse(Enum):
    """Which finished training counts: any of the same config, or only that of the same source code."""

    any = "any"
    same_code = "same_code"


MAX_TIMEOUT_SECONDS = 86_400.0
"""A day; timers of the operating system end somewhere."""


@dataclass
class TrackConfig:
    """W&B (https://wandb.ai) or nothing; the store is the truth either way."""

    name: TrackName = knob(TrackName.wandb, Role.operational)
    mode: TrackMode = knob(TrackMode.offline, Role.operational)
    project: str = knob("bitnet_sweep", Role.operational)
    """The W&B project that the runs go to."""
    entity: str | None = knob(None, Role.operational)
    """The W&B user or team that the project belongs to; null means your own."""
    base_url: str = knob("https://api.wandb.ai", Role.operational)
    """The W&B server."""
    tags: list[str] = knob([], Role.operational)
    """Tags of your own on every run."""
    timeout_seconds: float = knob(10.0, Role.operational, above=0.0, below=MAX_TIMEOUT_SECONDS)
    """The longest wait for the server, at start and at the end; then the run goes on offline."""

    def __post_init__(self) -> None:
        settle(self, "track.")
        if not 1 <= len(self.project) <= 128 or set(self.project) & set("/\\#?%:"):
            raise ConfigError("track.project", self.project, "1 to 128 characters, none of / \\ # ? % :")
        if not self.base_url.startswith(("http://", "https://")):
            raise ConfigError("track.base_url", self.base_url, "must start with http:// or https://")
        for tag in self.tags:
            if not 1 <= len(tag) <= 64:
                raise ConfigError("track.tags", tag, "a tag has 1 to 64 characters")


@dataclass
class SweepConfig:
    """How the engine runs a grid; nothing here changes a result (``reuse`` says which one counts)."""

    name: str | None = knob(None, Role.operational)
    """Folder name and W&B group; null means a hash of the grid."""
    share_stages: bool = knob(True, Role.operational)
    """Train a stage that several runs have in common once, and fork it."""
    dry_run: bool = knob(False, Role.operational)
    """Print the plan and stop."""
    max_retries: int = knob(0, Role.operational, minimum=0)
    """How often a failed run is tried again in the same sweep; a single run is tried again by hand."""
    keep_stages: bool = knob(True, Role.operational)
    """Keep the checkpoints of shared stages, from which a larger grid can fork later."""
    keep_final: bool = knob(True, Role.operational)
    """Keep the final weights of each run, which ``generate`` and ``open_run`` need."""
    reuse: Reuse = knob(Reuse.any, Role.operational)
    """same_code trains anew, under another id, what other source code has trained."""
    exclude: list[Any] = knob([], Role.operational)
    """Points to leave out: those at which every ``key: value`` of one of these dicts holds."""
    zip: list[Any] = knob([], Role.operational)
    """Swept keys that advance together instead of being combined; or several lists of such keys."""
    bisect: str | None = knob(None, Role.operational)
    """``key:low..high``: instead of a grid of this key, find where ``until`` begins or ends."""
    until: str = knob("recovered", Role.operational)
    """The outcome that a bisection looks for."""
    tolerance: float | None = knob(None, Role.operational, above=0.0)
    """How narrow a bisection's last interval is; null means a sixteenth of the first."""

    def __post_init__(self) -> None:
        settle(self, "sweep.")
        for conditions in self.exclude:
            if not (
                isinstance(conditions, dict) and conditions and all(isinstance(k, str) for k in conditions)
            ):
                raise ConfigError(
                    "sweep.exclude", conditions, "must be a list like [{model.hidden:64,wd2:0.05}]"
                )
        for keys in self.zip:
            if not isinstance(keys, str) and not (
                isinstance(keys, list) and keys and all(isinstance(key, str) for key in keys)
            ):
                raise ConfigError("sweep.zip", keys, "must be a list of keys, or of such lists")
        if self.bisect is None:
            for name in ("until", "tolerance"):
                if getattr(self, name) != getattr(SweepConfig, name):
                    raise ConfigError(f"sweep.{name}", getattr(self, name), "needs sweep.bisect")
        if self.name is not None and (
            not 1 <= len(self.name) <= _MAX_NAME_LENGTH
            or not set(self.name) <= _NAME_CHARACTERS
            or self.name.startswith(".")
        ):
            allowed = f"1 to {_MAX_NAME_LENGTH} letters, digits, '-', '_' or '.'; not starting with '.'"
            raise ConfigError("sweep.name", self.name, allowed)


_MAX_NAME_LENGTH = 128
"""What W&B takes for a group; a file name takes more."""
_NAME_CHARACTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
