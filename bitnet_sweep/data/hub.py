"""Pinned files of the Hugging Face hub: from its cache, else downloaded, else refused within seconds.

The hub's own client takes 23 s to notice that there is no DNS and up to 390 s for a silent server
(measured), so nothing is asked of it before one bounded request has been answered.
"""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

ANSWER_SECONDS = 2.5
"""Assumed: a hub that can serve a file answers a HEAD request within this time."""


class HubError(RuntimeError):
    """A hub file that is neither cached nor to be had; ``str()`` says why."""


@dataclass(frozen=True)
class HubFile:
    """One file at one commit, so its bytes never change."""

    repo: str
    revision: str
    name: str
    repo_type: str = "model"


def cached(file: HubFile) -> Path | None:
    """The file in the hub's local cache (``HF_HOME``); asks no server."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(file.repo, file.name, revision=file.revision, repo_type=file.repo_type)
    return Path(found) if isinstance(found, str) else None


def require(file: HubFile) -> None:
    """Return if the file is cached or its server answers.

    Raises:
        HubError: neither; raised within about ``ANSWER_SECONDS``.
    """
    from huggingface_hub import constants, hf_hub_url

    if cached(file):
        return
    if constants.HF_HUB_OFFLINE:
        raise HubError(f"{file.repo} is not in the hub's cache and HF_HUB_OFFLINE is set")
    url = hf_hub_url(file.repo, file.name, revision=file.revision, repo_type=file.repo_type)
    if reason := silence(url):
        raise HubError(f"{file.repo} is not in the hub's cache and {constants.ENDPOINT} {reason}")


def fetch(file: HubFile) -> Path:
    """The local path of the file, downloaded first where it is not cached.

    Raises:
        HubError: no network (within about ``ANSWER_SECONDS``), or the download failed.
    """
    from huggingface_hub import hf_hub_download

    if path := cached(file):
        return path
    require(file)
    try:
        return Path(
            hf_hub_download(
                file.repo,
                file.name,
                revision=file.revision,
                repo_type=file.repo_type,
                etag_timeout=ANSWER_SECONDS,
            )
        )
    except Exception as error:  # the client raises its own, httpx's and xet's errors, with no common base
        cause = error.__cause__ or error  # it wraps what went wrong in advice about the connection
        reason = str(cause).strip().splitlines() or [type(cause).__name__]
        raise HubError(f"{file.repo}: {reason[0]}") from error


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Follows nowhere: a redirect is an answer, and reaches the caller as an HTTPError."""

    def redirect_request(self, *_: object) -> None:
        return None


def silence(url: str) -> str | None:
    """Why the server gives no answer at all to ``url``; None if it gives any, an error status included."""
    verdict: list[str | None] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - the hub's own address
            # longer than anyone waits for it: it only ends the thread
            urllib.request.build_opener(_StayHere).open(request, timeout=2 * ANSWER_SECONDS).close()
            verdict.append(None)
        except urllib.error.HTTPError as error:
            error.close()
            verdict.append(None)
        except (OSError, ValueError, HTTPException) as error:
            verdict.append(f"cannot be reached ({getattr(error, 'reason', error)})")

    # A thread, because a resolver that hangs cannot be given a timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    return verdict[0] if verdict else f"gave no answer within {ANSWER_SECONDS:g} s"
