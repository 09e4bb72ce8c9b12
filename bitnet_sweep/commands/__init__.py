"""The console script ``bitnet-sweep``: a verb, or without one the same as ``python -m bitnet_sweep``.

Exit status: 0 done, 1 it could not be done whole, 2 the command is wrong (the last line says what is
allowed), 130 interrupted.
"""

from __future__ import annotations

import sys

VERBS: tuple[str, ...] = (
    *("run", "report", "status", "sync", "dashboard", "show", "generate"),
    *("export", "evaluate", "prove", "rm", "doctor", "completion"),
)
HELP = ("--help", "-h")


def main() -> None:
    """Run the command line; ends by SystemExit.

    ``run`` has Hydra's own grammar, so its words go to Hydra as they are, and nothing else is imported first.
    """
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    if first in VERBS[1:] or (first in HELP and len(sys.argv) == 2) or _is_misspelt(first):
        from bitnet_sweep.commands.verbs import run_verb
        from bitnet_sweep.pipes import until_unread

        sys.exit(until_unread(run_verb))
    if first == "run":
        del sys.argv[1]  # the register of sweeps notes the command as the module form has it
    from bitnet_sweep.__main__ import main as run

    run()


def _is_misspelt(word: str) -> bool:
    """Whether the first word is neither a flag nor an override of Hydra's."""
    return bool(word) and not word.startswith(("-", "~")) and "=" not in word and word not in VERBS
