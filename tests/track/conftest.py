"""A loopback stand-in for the W&B server, and surroundings in which the real client meets nothing else.

The server speaks the two protocols a run needs: GraphQL (make or resume a run, where to put its files)
and file_stream (lines written at an offset of a file, as on the real server).
"""

from __future__ import annotations

import gc
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bitnet_sweep.config import RunConfig, TrackConfig, TrackMode, resolve
from bitnet_sweep.records import Record
from bitnet_sweep.store import Store
from bitnet_sweep.track import Tracker, open_tracker

API_KEY = "0123456789abcdef" * 2 + "01234567"
"""The form of a real key; searched for in every file that a run leaves behind."""

REPO = Path(__file__).parents[2]

HISTORY, SUMMARY = "wandb-history.jsonl", "wandb-summary.json"


@dataclass
class ServerRun:
    """What the server knows about one run."""

    fields: dict[str, Any] = field(default_factory=dict)
    """displayName, groupName, tags, config, ... as last sent."""
    streams: dict[str, dict[int, str]] = field(default_factory=dict)
    """For each streamed file: the text at each line offset."""
    received: Counter[str] = field(default_factory=Counter)
    """For each streamed file: the lines that came in, those written over included."""
    exit_code: int | None = None
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows of the run's history, in the order of their offsets."""
        return [json.loads(line) for line in self.lines(HISTORY)]

    @property
    def summary(self) -> dict[str, Any]:
        """The summary as last sent."""
        summary: dict[str, Any] = json.loads((self.lines(SUMMARY) or ["{}"])[-1])
        return summary

    @property
    def config(self) -> dict[str, Any]:
        """The run's config, out of W&B's ``{"value": ...}`` wrappers."""
        return {key: entry["value"] for key, entry in json.loads(self.fields["config"]).items()}

    def lines(self, name: str) -> list[str]:
        """A streamed file."""
        lines = self.streams.get(name, {})
        return [lines[offset] for offset in sorted(lines)]


class WandbServer:
    """A W&B on loopback that can ``hang`` (answer nothing), ``fail`` (answer an error) or ``stop``."""

    def __init__(self) -> None:
        self.runs: dict[str, ServerRun] = {}
        self.requests = 0
        self.unknown: list[str] = []
        """Requests it has no answer to; the client should make none."""
        self.status = 200
        self._answering = threading.Event()
        self._answering.set()
        self._stopped = False
        self._lock = threading.Lock()
        self._http = _HttpServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"wandb_server": self}))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def hang(self) -> None:
        """From now on, answer nothing."""
        self._answering.clear()

    def fail(self, status: int) -> None:
        """From now on, answer everything with an HTTP error."""
        self.status = status

    def recover(self) -> None:
        """Answer again."""
        self.status = 200
        self._answering.set()

    def stop(self) -> None:
        """From now on, refuse connections."""
        if not self._stopped:
            self._stopped = True
            self._answering.set()
            self._http.shutdown()
            self._http.server_close()
            self._thread.join()

    def fall_ill(self, how: str) -> None:
        """stop, hang, or refuse: answer 401, which makes the client give up at once."""
        {"stop": self.stop, "hang": self.hang, "refuse": lambda: self.fail(401)}[how]()

    def await_answering(self) -> bool:
        """Block while the server hangs; False if it has stopped."""
        self._answering.wait()
        return not self._stopped

    def receive(self, path: str, body: bytes) -> dict[str, Any]:
        """Answer a POST."""
        stream = re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", path)
        with self._lock:
            self.requests += 1
            if path == "/graphql":
                return {"data": self._graphql(json.loads(body))}
            if stream:
                return self._stream(self.runs[stream[1]], json.loads(body))
            self.unknown.append(path)
            return {}

    def store_file(self, path: str, body: bytes) -> None:
        """Take a file that is PUT to ``/upload/<run>/<name>``."""
        _, _, run_id, name = path.split("/", 3)
        with self._lock:
            self.runs[run_id].files[name] = body

    def _stream(self, run: ServerRun, message: dict[str, Any]) -> dict[str, Any]:
        for name, chunk in (message.get("files") or {}).items():
            for offset, line in enumerate(chunk["content"], start=chunk["offset"]):
                run.streams.setdefault(name, {})[offset] = line
                run.received[name] += 1
        if message.get("complete"):
            run.exit_code = message["exitcode"]
        return {"limits": {}}

    def _graphql(self, query: dict[str, Any]) -> dict[str, Any]:
        text, variables = query["query"], query.get("variables") or {}
        match = re.search(r"(?:query|mutation)\s+(\w+)", text)
        operation = match[1] if match else text
        if operation == "UpsertBucket":
            return self._upsert(variables)
        if operation == "RunResumeStatus":
            return self._resume_status(variables["name"])
        if operation == "CreateRunFiles":
            uploads = [
                {"name": name, "uploadUrl": f"{self.url}/upload/{variables['run']}/{name}"}
                for name in variables["files"]
            ]
            return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": uploads}}
        if operation == "RunStoppedStatus":  # asked now and then
            return {"project": {"run": {"stopped": False}}}
        self.unknown.append(operation)
        return {}

    def _upsert(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["name"] or variables["id"]
        inserted = name not in self.runs
        run = self.runs.setdefault(name, ServerRun())
        run.fields |= {key: value for key, value in variables.items() if value is not None}
        project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": "me"}}
        bucket = {
            "id": name,
            "name": name,
            "displayName": run.fields.get("displayName"),
            "description": "",
            "config": "{}",
            "sweepName": "",
            "historyLineCount": len(run.history),
            "project": project,
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _resume_status(self, name: str) -> dict[str, Any]:
        run = self.runs.get(name)
        bucket = run and {
            "id": name,
            "name": name,
            "summaryMetrics": json.dumps(run.summary),
            "displayName": run.fields["displayName"],
            "logLineCount": 0,
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "historyTail": json.dumps(run.lines(HISTORY)[-1:]),
            "eventsTail": "[]",
            "config": run.fields["config"],
            "tags": run.fields["tags"],
            "notes": None,
            "wandbConfig": json.dumps({"t": 1}),
        }
        return {"model": {"id": "p", "name": "p", "entity": {"id": "e", "name": "me"}, "bucket": bucket}}


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent: a client that goes away is what half of the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wandb_server: WandbServer

    def do_GET(self) -> None:
        self.wandb_server.unknown.append(self.path)
        self._answer(404, {})

    def do_PUT(self) -> None:
        body = self._body()
        if self.wandb_server.await_answering():
            self.wandb_server.store_file(self.path, body)
            self._answer(self.wandb_server.status, {})

    def do_POST(self) -> None:
        body = self._body()
        if not self.wandb_server.await_answering():
            self.close_connection = True
        elif self.wandb_server.status != 200:
            self._answer(self.wandb_server.status, {"errors": [{"message": "no"}]})
        else:
            self._answer(200, self.wandb_server.receive(self.path.split("?")[0], body))

    def _body(self) -> bytes:
        if (length := self.headers.get("Content-Length")) is not None:
            body = self.rfile.read(int(length))
        else:
            body = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):  # chunked
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Be silent."""


@pytest.fixture
def server() -> Iterator[WandbServer]:
    """A W&B server of the test's own; the client must not have asked it anything it cannot answer."""
    server = WandbServer()
    yield server
    server.stop()
    assert server.unknown == []


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home and a wandb-core of the test's own: the user's keys and settings are not read, nor written."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(home / name.lower()))
    yield home
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()


@pytest.fixture
def reaped() -> Iterator[None]:
    """Ask after what the test killed: the client leaves a dead wandb-core unasked for."""
    yield
    for thing in gc.get_objects():
        if type(thing) is subprocess.Popen:
            thing.poll()


@pytest.fixture
def api_key(monkeypatch: pytest.MonkeyPatch) -> str:
    """A key in the environment."""
    monkeypatch.setenv("WANDB_API_KEY", API_KEY)
    return API_KEY


@pytest.fixture
def config(server: WandbServer) -> RunConfig:
    """A run tracked offline; online, it would go to the loopback server."""
    track = TrackConfig(base_url=server.url, timeout_seconds=20.0, tags=["mine"])
    return resolve(RunConfig(seed=3, wd2=0.05, track=track))


@pytest.fixture
def online(config: RunConfig, api_key: str) -> RunConfig:
    """The same run, online."""
    config.track.mode = TrackMode.online
    return config


KILLED = """
import os, signal, sys
from pathlib import Path
from bitnet_sweep.config import RunConfig, TrackConfig, TrackMode, resolve
from tests.track.conftest import MirrorStore

root, url, mode = sys.argv[1:]
config = resolve(RunConfig(track=TrackConfig(base_url=url, mode=TrackMode[mode])))
MirrorStore(Path(root)).train(config, [1, 5, 10], samples_at=[5], state=None)
os.kill(os.getpid(), signal.SIGKILL)
"""


class MirrorStore:
    """A store with runs as the training side leaves them, and their trackers."""

    run_id = "0123456789abcdef"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.wandb = root / "wandb"

    @staticmethod
    def record(step: int) -> Record:
        return {"step": step, "val/loss": 8 / step, "ternary/absmean": None}

    @staticmethod
    def sample(step: int) -> dict[str, Any]:
        return {"step": step, "prompt": "The <b>", "continuation": f" after {step} é"}

    def train(
        self,
        config: RunConfig,
        steps: Iterable[int],
        *,
        run_id: str = run_id,
        samples_at: Collection[int] = (),
        state: str | None = "finished",
    ) -> Tracker:
        """Go on with a run from what the store has of it, over ``steps``; None leaves it open."""
        folder = Store(self.root).run(run_id)
        tracker = open_tracker(
            config,
            run_id=run_id,
            group="my-sweep",
            store=self.root,
            past=folder.records(),
            past_samples=folder.samples(),
        )
        folder.path.mkdir(parents=True, exist_ok=True)
        for step in steps:
            samples = [self.sample(step)] if step in samples_at else []
            folder.append(self.record(step), samples)
            tracker.log(self.record(step))
            if samples:
                tracker.samples(step, samples)
        if state is not None:
            tracker.finish(state, {"outcome": "stuck", "transition/loss_drop": -0.5})
        return tracker

    def train_and_be_killed(self, config: RunConfig) -> None:
        """Three records in a process of its own, which then dies without a word."""
        arguments = [str(self.root), config.track.base_url, config.track.mode.name]
        died = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=REPO, timeout=60)
        assert died.returncode == -signal.SIGKILL

    def inspect(self) -> list[dict[str, Any]]:
        """The records in the one offline file of the store, as ``wandb leet inspect`` prints them."""
        (path,) = self.wandb.glob("offline-run-*/*.wandb")
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
        printed = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in printed.stdout.splitlines()]

    def wandb_dirs(self) -> list[str]:
        """W&B's run directories, without their times."""
        return sorted(re.sub(r"run-[0-9_]+-", "run-", path.name) for path in self.wandb.glob("*run-*/"))


@pytest.fixture
def store(tmp_path: Path) -> MirrorStore:
    """An empty store."""
    return MirrorStore(tmp_path / "store")
