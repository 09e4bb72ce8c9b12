"""The scripts that complete a command line, asked as the shells ask them."""

import shutil
import subprocess

import pytest

from bitnet_sweep.app import config_folder
from bitnet_sweep.commands import VERBS
from bitnet_sweep.config import RunConfig, plain
from bitnet_sweep.keys import completions
from tests.front.conftest import verb
from tests.test_keys import KEYS

pytestmark = pytest.mark.slow

ASKED = [
    ("doc", ["doctor"]),
    ("status --w", ["--watch"]),
    ("rm --s", ["--store"]),
    ("completion f", ["fish"]),
    ("run -m model.hid", ["model.hidden="]),
    ("model.hid", ["model.hidden="]),
    ("-m lr=1e-3 optimizer.bet", ["optimizer.beta1=", "optimizer.beta2="]),
    ("run optimizer=adam", ["optimizer=adam_l2", "optimizer=adamw"]),
    ("-m wd2=0.0,0.05 hydra/launcher=sl", ["hydra/launcher=slurm"]),
    ("run sweep.dry_run=t", ["sweep.dry_run=true"]),
    ("prove optimizer=adam", ["optimizer=adam_l2", "optimizer=adamw"]),
    ("prove --st", ["--steps"]),
    ("run nonsense", []),
]
"""What is typed behind ``bitnet-sweep``, and what may follow."""

ASK = {
    "bash": """
source ./script; COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
COMP_LINE="bitnet-sweep $TYPED" COMP_POINT=1000 COMPREPLY=()
_bitnet_sweep
printf '%s\\n' "${COMPREPLY[@]}"
""",
    "fish": 'source ./script; complete --do-complete="bitnet-sweep $TYPED" | cut -f1',
}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """A folder for each shell, with its script."""
    folders = {}
    for shell in ("bash", "zsh", "fish"):
        folders[shell] = tmp_path_factory.mktemp(shell)
        status, out, err = verb(folders[shell], "completion", shell)
        assert (status, err) == (0, "")
        (folders[shell] / "script").write_text(out)
    return folders


@pytest.mark.parametrize("shell", ASK)
@pytest.mark.parametrize(("typed", "expected"), ASKED)
def test_what_a_shell_completes(scripts, shell, typed, expected):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    done = subprocess.run(
        [shell, "-c", ASK[shell]],
        cwd=scripts[shell],
        env={"TYPED": typed, "PATH": "/usr/bin:/bin", "HOME": str(scripts[shell])},
        capture_output=True,
        text=True,
        check=True,
    )
    found = sorted(done.stdout.split())
    if shell == "bash":  # it is given what stands behind the "=" alone
        typed_key = typed.rpartition(" ")[2].rpartition("=")
        found = ["".join(typed_key[:2]) + word for word in found]
    assert found == expected


def test_a_shell_is_one_of_three(tmp_path):
    status, out, err = verb(tmp_path, "completion", "tcsh")
    assert (status, out) == (2, "")
    assert 'Choose from: "bash", "zsh", "fish"' in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_has_every_verb_key_and_group(scripts, shell):
    words = set((scripts[shell] / "script").read_text().replace("'", " ").replace('"', " ").split())
    assert set(VERBS) <= words
    groups = {f"{p.parent.name}={p.stem}" for p in config_folder().glob("*/*.yaml")}
    groups = {group for group in groups if group.partition("=")[0] in plain(RunConfig()) or "scale=" in group}
    assert groups <= words


def test_every_key_is_completed():
    told = {word.partition("=")[0] for word in completions(config_folder())}
    assert set(KEYS) <= told
