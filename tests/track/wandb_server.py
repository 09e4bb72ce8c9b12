"""A loopback stand-in for the W&B server.

It speaks what the client needs of it: GraphQL (make, resume and read runs, where to put their files, alerts,
views) and file_stream (lines written at an offset of a file, as on the real server).
"""

from __future__ import annotations

import gzip
import io
import json
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

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
    state: str | None = None
    """Said when asked; None tells it by the exit code."""
    exported: int = 0
    """So many rows of the history are given as a Parquet file, as the real server does for finished runs."""

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
        self.alerts: list[tuple[str, str, str, str]] = []
        """Run, severity, title and text of each."""
        self.views: dict[str, dict[str, Any]] = {}
        """Workspaces and Reports by their id, as last sent, the specification read."""
        self.refused: set[str] = set()
        """GraphQL operations that are answered with an error; with ``upload``, files are too."""
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
                return self._graphql(json.loads(body))
            if stream:
                return self._stream(self.runs[stream[1]], json.loads(body))
            self.unknown.append(path)
            return {}

    def store_file(self, path: str, body: bytes) -> None:
        """Take a file that is PUT to ``/upload/<run>/<name>``."""
        _, _, run_id, name = path.split("/", 3)
        with self._lock:
            self.runs[run_id].files[name] = body

    def parquet(self, run_id: str) -> bytes:
        """The exported rows of a run's history, as the real server gives them out."""
        run = self.runs[run_id]
        rows = [{k: v for k, v in row.items() if not isinstance(v, dict)} for row in run.history]
        file = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows[: run.exported]), file)
        return file.getvalue()

    def _stream(self, run: ServerRun, message: dict[str, Any]) -> dict[str, Any]:
        for name, chunk in (message.get("files") or {}).items():
            for offset, line in enumerate(chunk["content"], start=chunk["offset"]):
                run.streams.setdefault(name, {})[offset] = line
                run.received[name] += 1
        if message.get("complete"):
            run.exit_code = message["exitcode"]
        return {"limits": {}}

    def _graphql(self, query: dict[str, Any]) -> dict[str, Any]:
        match = re.search(r"(?:query|mutation)\s+(\w+)", query["query"])
        operation = match[1] if match else query["query"]
        if operation in self.refused:
            return {"data": None, "errors": [{"message": "no"}]}
        answer = getattr(self, f"_answer_{operation}", None)
        if answer is None:
            self.unknown.append(operation)
            return {"data": {}}
        return {"data": answer(query.get("variables") or {})}

    def _answer_CreateRunFiles(self, variables: dict[str, Any]) -> dict[str, Any]:
        uploads = [
            {"name": name, "uploadUrl": f"{self.url}/upload/{variables['run']}/{name}"}
            for name in variables["files"]
        ]
        return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": uploads}}

    def _answer_RunStoppedStatus(self, variables: dict[str, Any]) -> dict[str, Any]:  # asked now and then
        return {"project": {"run": {"stopped": False}}}

    def _answer_NotifyScriptableRunAlert(self, variables: dict[str, Any]) -> dict[str, Any]:
        alert = (variables["runName"], variables["severity"], variables["title"], variables["text"])
        self.alerts.append(alert)
        return {"notifyScriptableRunAlert": {"success": True}}

    def _answer_Viewer(self, variables: dict[str, Any]) -> dict[str, Any]:
        teams: dict[str, Any] = {"edges": []}
        viewer = {"id": "u", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": teams}
        return {"viewer": viewer}

    def _answer_Runs(self, variables: dict[str, Any]) -> dict[str, Any]:
        names = [name for name, run in self.runs.items() if run.fields["project"] == variables["project"]]
        if not names:
            return {"project": None}
        start = names.index(variables["cursor"]) + 1 if variables.get("cursor") else 0
        page = names[start : start + variables["perPage"]]
        heavy = ("config", "summaryMetrics")  # asked for run by run
        nodes = {name: {k: v for k, v in self._described(name).items() if k not in heavy} for name in page}
        edges = [{"node": node, "cursor": name} for name, node in nodes.items()]
        info = {"endCursor": page[-1], "hasNextPage": page[-1] != names[-1]}
        return {"project": {"runCount": len(names), "runs": {"edges": edges, "pageInfo": info}}}

    def _answer_Run(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"run": self._described(variables["name"])}}

    def _answer_RunHistoryKeys(self, variables: dict[str, Any]) -> dict[str, Any]:
        steps = [row["_step"] for row in self.runs[variables["name"]].history]
        return {"project": {"run": {"historyKeys": {"lastStep": max(steps, default=-1)}}}}

    def _answer_RunParquetHistory(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["runName"]
        run = self.runs[name]
        urls = [f"{self.url}/parquet/{name}"] if run.exported else []
        history = {"parquetUrls": urls, "liveData": run.history[run.exported :]}
        return {"project": {"run": {"parquetHistory": history}}}

    def _answer_HistoryPage(self, variables: dict[str, Any]) -> dict[str, Any]:
        rows = self.runs[variables["run"]].history
        asked = [row for row in rows if variables["minStep"] <= row["_step"] < variables["maxStep"]]
        return {"project": {"run": {"history": [json.dumps(row) for row in asked]}}}

    def _answer_GetProjects(self, variables: dict[str, Any]) -> dict[str, Any]:
        names = {run.fields["project"] for run in self.runs.values()}
        fields = {"createdAt": "2026-01-01T00:00:00Z", "isBenchmark": False, "user": None}
        nodes = [fields | {"id": name, "name": name, "entityName": "me"} for name in sorted(names)]
        edges = [{"node": node, "cursor": node["id"]} for node in nodes]
        info = {"endCursor": None, "hasNextPage": False}
        return {"models": {"edges": edges, "pageInfo": info}}

    def _answer_ProjectInternalId(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"id": "p", "internalId": "1"}}

    def _answer_UpsertView2(self, variables: dict[str, Any]) -> dict[str, Any]:
        return self._answer_upsertView(variables)

    def _answer_upsertView(self, variables: dict[str, Any]) -> dict[str, Any]:
        view_id = variables.get("id") or f"view{len(self.views)}"
        inserted = view_id not in self.views
        self.views[view_id] = variables | {"spec": json.loads(variables["spec"])}
        project = {"id": "p", "name": variables["projectName"], "entityName": variables["entityName"]}
        names = {key: variables[key] for key in ("name", "displayName", "description", "type", "spec")}
        view = names | {"id": view_id, "project": project, "updatedAt": "2026-01-01T00:00:00Z"}
        return {"upsertView": {"view": view, "inserted": inserted}}

    def _described(self, name: str) -> dict[str, Any]:
        run = self.runs[name]
        ended = "running" if run.exit_code is None else "failed" if run.exit_code else "finished"
        return {
            "id": name,
            "name": name,
            "projectId": "1",
            "displayName": run.fields["displayName"],
            "group": run.fields.get("groupName"),
            "jobType": run.fields.get("jobType"),
            "tags": run.fields.get("tags", []),
            "state": run.state or ended,
            "config": run.fields["config"],
            "summaryMetrics": json.dumps(run.summary),
            "createdAt": "2026-01-01T00:00:00Z",
            "heartbeatAt": "2026-01-01T00:00:00Z",
        }

    def _answer_UpsertBucket(self, variables: dict[str, Any]) -> dict[str, Any]:
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

    def _answer_RunResumeStatus(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["name"]
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
            "tags": run.fields.get("tags", []),
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
        _, kind, run_id = self.path.split("/", 2)
        if kind == "parquet":
            self._send(200, self.wandb_server.parquet(run_id))
        else:
            self.wandb_server.unknown.append(self.path)
            self._answer(404, {})

    def do_PUT(self) -> None:
        body = self._body()
        if not self.wandb_server.await_answering():
            self.close_connection = True
        elif "upload" in self.wandb_server.refused:
            self._answer(403, {})
        else:
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
        self._send(status, json.dumps(document).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Be silent."""
