"""What every use of the real W&B client needs: bounded waits, one kind of error, no prompt for a key.

The client is a Python part and a process it starts, wandb-core, which writes the files and talks to the
server. Its waits have settings of their own; where they do not end, a timer kills wandb-core, and what
waits for it gives up (measured, wandb 0.31). Importing this module imports W&B, which takes a second.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import wandb
from wandb.sdk.lib import wbauth

from bitnet_sweep.config import MAX_TIMEOUT_SECONDS, TrackConfig
from bitnet_sweep.wandb_environment import leave_out, set_variable, settings_in_files

CONTACT_SECONDS = 2.5
"""The longest wait for a server's first answer to a question; WANDB_HTTP_TIMEOUT overrides it (assumed)."""


class WandbError(Exception):
    """W&B failed or did not answer in time. ``str()`` is one line."""


class NoAnswerError(WandbError):
    """It did not answer in time; asking for the next thing would wait as long."""


def start_client(mode: str) -> None:
    """Set W&B up with the documented settings of the user's and no others; ``mode`` is of what comes next."""
    leave_out([mode])
    os.environ["WANDB_SILENT"] = "true"  # a sweep has its own output
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else it sends telemetry of its own
    service = os.environ.get("WANDB_SERVICE", "").split("-")  # version, pid, ...
    if service[1:2] != [str(os.getpid())]:
        os.environ.pop("WANDB_SERVICE", None)  # a parent's wandb-core, perhaps gone
    settings = wandb.setup(wandb.Settings(sagemaker_disable=True)).settings
    standard = wandb.Settings()
    for key in {key for keys in settings_in_files().values() for key in keys}:
        if key in wandb.Settings.model_fields:
            setattr(settings, key, getattr(standard, key))


def require_credentials(server: str) -> None:
    """See to it that there is a key for the server in the environment or a netrc file; never asks for one.

    Raises:
        WandbError: there is none.
    """
    # wandb.login() would do as well, but writes the server into the user's settings file
    if wbauth.authenticate_session(host=server, source="bitnet_sweep", prompt=False) is None:
        raise WandbError(f"no API key for {server} (set WANDB_API_KEY or run `wandb login`)")


def server_url() -> str:
    """The server that WANDB_BASE_URL names, else W&B's own; never the client's default, which has changed."""
    return (set_variable("WANDB_BASE_URL") or TrackConfig().base_url).rstrip("/")


def open_api(server: str, entity: str | None) -> wandb.Api:
    """The public API, once the server has accepted the key.

    Raises:
        WandbError: no API key, a key that is refused, or no answer in time.
    """
    try:
        with bounded(_contact_seconds()):
            start_client("online")
            require_credentials(server)
            api = wandb.Api(overrides={"base_url": server, "entity": entity})
    except NoAnswerError as error:
        raise NoAnswerError(f"{error}, a limit that WANDB_HTTP_TIMEOUT sets") from error
    return api


def _contact_seconds() -> float:
    """Raises: WandbError: WANDB_HTTP_TIMEOUT is no such time."""
    said = set_variable("WANDB_HTTP_TIMEOUT", str(CONTACT_SECONDS))
    with suppress(ValueError):
        if 0 < float(said) < MAX_TIMEOUT_SECONDS:
            return float(said)
    raise WandbError(
        f"WANDB_HTTP_TIMEOUT={said}: must be seconds, greater than 0 and less than {MAX_TIMEOUT_SECONDS:g}"
    )


def stop_client(timeout: float) -> None:
    """End wandb-core, so that the next use begins with a new one."""
    with suppress(WandbError), bounded(timeout):
        wandb.teardown()
    os.environ.pop("WANDB_SERVICE", None)


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Make one error of all that can go wrong in here, and end it if it takes too long."""
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                if child.name() == "wandb-core":
                    child.kill()

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    except WandbError:
        raise
    except (Exception, SystemExit) as error:  # teardown() exits if wandb-core ended badly
        if not expired.is_set():
            raise WandbError(" ".join(str(error).split()) or type(error).__name__) from error
    finally:
        timer.cancel()
    if expired.is_set():
        raise NoAnswerError(f"no answer within {seconds:g} s")
