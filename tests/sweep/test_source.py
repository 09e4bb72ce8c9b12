"""Provenance names the commit of the program that ran, whatever git, Python and the owners of files say."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPO = Path(__file__).parents[2]
ASK = "import json; from bitnet_sweep.sweep.provenance import commit; print(json.dumps(commit()))"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTHON"))}
CLEAN |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def git(folder, *arguments):
    command = ["git", "-c", "user.name=n", "-c", "user.email=e@e", *arguments]
    said = subprocess.run(command, cwd=folder, env=CLEAN, check=True, capture_output=True, text=True)
    return said.stdout.strip()


def commit_all(folder, *init):
    git(folder, "init", "-q", *init)
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "-q", "-m", "all")
    return git(folder, "rev-parse", "HEAD")


def copy_program(folder):
    for name in ("bitnet_sweep", "hydra_plugins", "conf"):
        shutil.copytree(REPO / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "README.md").write_text("read me")
    (folder / ".gitignore").write_text("__pycache__\nignored*\n")
    return folder


def told(folder, **variables):
    """What the program in the folder says of itself."""
    environment = CLEAN | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"} | variables
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM"):
        environment = {key: value for key, value in environment.items() if key != name or name in variables}
    said = subprocess.run(
        [sys.executable, "-c", ASK], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(said.stdout)


@pytest.fixture
def tree(tmp_path):
    folder = copy_program(tmp_path / "tree")
    commit_all(folder)
    return folder


@pytest.fixture
def elsewhere(tmp_path):
    """Another repository, which has a program of the same names, and settings that lead to it."""
    folder = copy_program(tmp_path / "elsewhere")
    (folder / "bitnet_sweep" / "sweep" / "provenance.py").write_text("print('another')")
    commit_all(folder)
    (tmp_path / "gitconfig").write_text(
        f"[core]\nworktree = {folder}\nfsmonitor = false\nexcludesFile = {folder}/x\n[status]\nshort = true\n"
    )
    return folder


VARIABLES = [
    {"GIT_DIR": "ELSEWHERE/.git"},
    {"GIT_WORK_TREE": "ELSEWHERE"},
    {"GIT_DIR": "ELSEWHERE/.git", "GIT_WORK_TREE": "ELSEWHERE"},
    {"GIT_DIR": "/nowhere"},
    {"GIT_COMMON_DIR": "ELSEWHERE/.git"},
    {"GIT_INDEX_FILE": "ELSEWHERE/.git/index"},
    {"GIT_INDEX_FILE": "/nowhere"},
    {"GIT_OBJECT_DIRECTORY": "ELSEWHERE/.git/objects"},
    {"GIT_CEILING_DIRECTORIES": "HERE:HERE/bitnet_sweep"},
    {"GIT_NAMESPACE": "x"},
    {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.worktree", "GIT_CONFIG_VALUE_0": "ELSEWHERE"},
    {"GIT_CONFIG_COUNT": "nonsense"},
    {"GIT_CONFIG_PARAMETERS": "'core.bare'='true'"},
    {"GIT_CONFIG_GLOBAL": "ELSEWHERE/../gitconfig"},
    {"HOME": "/nowhere"},
    {"GIT_LITERAL_PATHSPECS": "0", "GIT_GLOB_PATHSPECS": "1", "GIT_ICASE_PATHSPECS": "1"},
    {"GIT_TRACE": "1", "GIT_TRACE_SETUP": "2"},
    {"GIT_DEFAULT_HASH": "sha256"},
    {"PYTHONOPTIMIZE": "2"},
    {"LC_ALL": "C", "PYTHONUTF8": "0"},
]


@pytest.mark.few(7)
@pytest.mark.parametrize(
    "variables", VARIABLES, ids=lambda variables: " ".join(map("=".join, variables.items()))
)
def test_no_variable_leads_elsewhere(tree, elsewhere, variables):
    head = git(tree, "rev-parse", "HEAD")
    filled = {
        k: v.replace("ELSEWHERE", str(elsewhere)).replace("HERE", str(tree)) for k, v in variables.items()
    }
    said = told(tree, **filled)
    assert said["commit"] == head
    assert "commit_unknown" not in said


def add_a_line(path):
    path.write_text(path.read_text() + "# x\n")


CHANGES = {
    "a line": lambda tree: add_a_line(tree / "bitnet_sweep" / "config" / "model.py"),
    "a config": lambda tree: add_a_line(tree / "conf" / "config.yaml"),
    "a plugin gone": lambda tree: (tree / "hydra_plugins" / "_launcher.py").unlink(),
    "a new module": lambda tree: (tree / "bitnet_sweep" / "new.py").write_text(""),
    "an ignored module": lambda tree: (tree / "bitnet_sweep" / "ignored.py").write_text(""),
    "an ignored config": lambda tree: (tree / "conf" / "ignored.yaml").write_text(""),
    "another file": lambda tree: (tree / "README.md").write_text("read this"),
    "staged": lambda tree: [(tree / "bitnet_sweep" / "x.py").write_text(""), git(tree, "add", "--all")],
}


@pytest.mark.few(9)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("hidden", [None, "--assume-unchanged", "--skip-worktree"])
def test_what_was_changed_is_marked(tree, change, hidden):
    if hidden is not None:
        git(tree, "update-index", hidden, "bitnet_sweep/config/model.py", "conf/config.yaml")
    head = git(tree, "rev-parse", "HEAD")
    change(tree)
    assert told(tree)["commit"] == f"{head}+"


def test_what_is_no_program_is_no_change(tree):
    (tree / "notes.txt").write_text("")
    (tree / "bitnet_sweep" / "notes.txt").write_text("")
    (tree / "README.md").touch()
    shutil.copytree(REPO / "conf" / "data", tree / "runs" / "conf")
    git(tree, "tag", "v1")
    assert told(tree)["commit"] == git(tree, "rev-parse", "HEAD")


def unknown(folder, why, **variables):
    said = told(folder, **variables)
    assert said["commit"] is None
    assert why in said["commit_unknown"]
    assert "\n" not in said["commit_unknown"]


def test_without_a_repository_it_says_so(tmp_path):
    unknown(copy_program(tmp_path), "no git repository around the program")


def test_an_installation_inside_another_repository_is_not_that(tmp_path):
    packages = tmp_path / "venv" / "site-packages"
    packages.mkdir(parents=True)
    (tmp_path / "theirs.py").write_text("")
    commit_all(tmp_path)
    copy_program(packages)
    unknown(packages, f"no part of the repository around it, {tmp_path}")


def test_a_program_inside_another_repository_that_has_it_is_of_that(tmp_path):
    inside = copy_program(tmp_path / "vendored")
    assert told(inside, GIT_DIR="")["commit"] is None
    head = commit_all(tmp_path)
    assert told(inside)["commit"] == head


def test_a_repository_inside_another_is_the_nearer_one(tree):
    outer = commit_all(tree.parent)
    head = git(tree, "rev-parse", "HEAD")
    assert told(tree)["commit"] == head != outer


def test_a_repository_without_a_commit(tmp_path):
    git(copy_program(tmp_path), "init", "-q")
    unknown(tmp_path, "HEAD")


def test_a_folder_that_is_no_repository(tree):
    inner = copy_program(tree / "inner")
    (inner / ".git").mkdir()
    unknown(inner, "not a git repository")


def test_without_git(tree):
    unknown(tree, "git cannot be asked", PATH="/nowhere")


def test_worktrees_and_other_hashes(tree, tmp_path):
    git(tree, "worktree", "add", "-q", "--detach", str(tmp_path / "second"))
    assert told(tmp_path / "second")["commit"] == git(tree, "rev-parse", "HEAD")
    other = copy_program(tmp_path / "sha256")
    head = commit_all(other, "--object-format=sha256")
    assert told(other)["commit"] == head


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(
    ("program", "repository", "known"),
    [(12345, 12345, True), (12345, 0, True), (0, 12345, False), (12345, 54321, False)],
)
def test_owners(tree, program, repository, known):
    """As in a container that mounts a user's checkout; git itself would refuse all that is not its user's."""
    for path in (tree, *tree.rglob("*")):
        owner = repository if ".git" in path.parts else program
        os.chown(path, owner, owner)
    if known:
        assert told(tree)["commit"] == git_as_root(tree)
    else:
        unknown(tree, "belongs to another user than the program")


def git_as_root(tree):
    return git(tree, "-c", f"safe.directory={tree}", "rev-parse", "HEAD")


def test_versions_are_of_what_was_imported(tree, tmp_path):
    false = tmp_path / "false"
    for name in ("bitnet_sweep", "numpy"):
        (false / f"{name}-9.9.dist-info").mkdir(parents=True)
        (false / f"{name}-9.9.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: 9.9\n")
    said = subprocess.run(
        [sys.executable, "-c", f"import numpy; {ASK.replace('commit', 'machine')}"],
        cwd=tree,
        env=CLEAN | {"PYTHONPATH": f"{false}:{tree}"},
        capture_output=True,
        text=True,
        check=True,
    )
    versions = json.loads(said.stdout)["versions"]
    assert "9.9" not in {versions["bitnet-sweep"], versions["numpy"]}
