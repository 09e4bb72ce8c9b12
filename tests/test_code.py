"""The fingerprint of the source: what is computed is in it, what is said about it is not."""

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bitnet_sweep
from bitnet_sweep.code import FILES, FOLDERS, code, code_of, differing, fingerprints

PACKAGE = Path(bitnet_sweep.__file__).parent


@pytest.fixture
def copy(tmp_path):
    for name in (*FOLDERS, *FILES):
        source = PACKAGE / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    return tmp_path


def edited(copy, name, change):
    path = copy / name
    path.write_text(change(path.read_text()))
    return differing(code(), code_of(copy))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: f"# said\n{text}\n\n# more\n", id="comments and lines"),
        pytest.param(lambda text: ast.unparse(ast.parse(text)), id="layout"),
        pytest.param(lambda text: text.replace('"""', '"""Said otherwise. ', 1), id="the module's docstring"),
        pytest.param(lambda t: re.sub(r'^( +""")(?=\w)', r"\1Said. ", t, flags=re.M), id="other docstrings"),
        pytest.param(lambda text: f"{text}\n'a text that does nothing'\n", id="a text as a statement"),
    ],
)
@pytest.mark.parametrize("name", ["config/model.py", "model/quantisers.py", "train/loop.py"])
@pytest.mark.few(5)
@pytest.mark.slow
def test_what_is_said_is_not_in_it(copy, name, change):
    assert edited(copy, name, change) == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        pytest.param("model/quantisers.py", lambda text: text.replace("1e-5", "1e-6"), id="a number"),
        pytest.param("train/loop.py", lambda text: f"{text}\nSPEED = 2\n", id="a statement"),
        pytest.param("identity.py", lambda t: t.replace("_VERSION = 1", "_VERSION = 2"), id="the version"),
        pytest.param("measure/codes.py", lambda text: text.replace("True", "1", 1), id="a kind of constant"),
        pytest.param("data/new.py", None, id="a file more"),
    ],
)
def test_what_is_computed_is_and_the_file_is_told(copy, name, change):
    if change is None:
        (copy / name).write_text("")
        change = str
    assert edited(copy, name, change) == [name]


def test_a_file_less_is_told():
    assert differing({"a.py": "1", "b.py": "2"}, {"a.py": "1"}) == ["b.py"]


def test_all_that_training_imports_is_in_it_or_cannot_change_a_result():
    """Found by the import statements of the files themselves."""
    apart = {"records", "files", "explain", "exact", "code", "own_code", "paths", "wandb_environment"}
    imported = set()
    for name in code():
        for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bitnet_sweep"):
                imported |= {f"{node.module}.{alias.name}".split(".")[1] for alias in node.names}
    inside = {*FOLDERS, *(name.removesuffix(".py") for name in FILES)}
    names = {name for name in imported if importlib.util.find_spec(f"bitnet_sweep.{name}")}
    assert names - inside <= apart


def test_it_is_found_without_torch():
    program = "import sys; from bitnet_sweep.code import code; code(); print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "False"


@pytest.mark.parametrize("source", [b"x = = 1\n", b"\x00", b"\xff\n"])
def test_what_is_no_python_has_a_fingerprint_too(tmp_path, source):
    """A user's package may hold a file that is not ready, and that nothing imports."""
    (tmp_path / "one.py").write_bytes(source)
    (tmp_path / "two.py").write_bytes(source + b"\n")
    found = fingerprints(tmp_path, tmp_path.glob("*.py"))
    assert len(set(found.values())) == 2
