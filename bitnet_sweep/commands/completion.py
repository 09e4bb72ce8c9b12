"""``bitnet-sweep completion SHELL``: a script that completes verbs, options, keys and groups.

The script holds every word itself. So completing starts no Python, and takes no time.
"""

from __future__ import annotations

from pathlib import Path

from bitnet_sweep.commands import VERBS
from bitnet_sweep.commands.verbs import app
from bitnet_sweep.keys import completions

_SHELLS = ("bash", "zsh", "fish")
_RUN_FLAGS = ("-m", "--multirun", "--help", "--cfg", "--config-name", "--config-dir")
_LAUNCHERS = ("basic", "local", "ray", "slurm")

_BASH = """\
_bitnet_sweep() {{
    local line="${{COMP_LINE:0:$COMP_POINT}}" cur rest verb words
    cur="${{line##* }}" rest="${{line#* }}" verb=""
    [[ "$rest" == *" "* ]] && verb="${{rest%% *}}"
    case "$verb" in
{cases}
    esac
    COMPREPLY=( $(compgen -W "$words" -- "$cur") )
    # bash takes "=" for the end of a word, zsh does not
    if [[ "$cur" == *=* && "${{COMP_WORDBREAKS-}}" == *=* ]]; then
        COMPREPLY=( "${{COMPREPLY[@]#"${{cur%=*}}="}}" )
    fi
    if [[ -n "${{BASH_VERSION-}}" && "${{#COMPREPLY[@]}}" == 1 && "${{COMPREPLY[0]}}" == *= ]]; then
        compopt -o nospace 2> /dev/null
    fi
}}
complete -o default -F _bitnet_sweep bitnet-sweep
"""


def script(shell: str, conf: Path) -> str:
    """What the shell is to read, by ``eval`` or from a file.

    Args:
        shell: bash, zsh or fish.
        conf: the folder of the groups.
    """
    keys = completions(conf)
    options = {verb: _options(verb) for verb in VERBS if verb != "run"}
    options["prove"] += keys
    run = [*_RUN_FLAGS, *keys, *(f"hydra/launcher={name}" for name in _LAUNCHERS)]
    if shell == "fish":
        return _fish(options, run)
    cases = [f'        {verb}) words="{" ".join(words)}" ;;' for verb, words in options.items()]
    cases.append(f'        "") words="{" ".join([*VERBS, *run])}" ;;')
    cases.append(f'        *) words="{" ".join(run)}" ;;')
    made = _BASH.format(cases="\n".join(cases))
    return f"autoload -U +X bashcompinit && bashcompinit\n{made}" if shell == "zsh" else made


def _fish(options: dict[str, list[str]], run: list[str]) -> str:
    head = "complete -c bitnet-sweep"
    lines = [f"{head} -n '__fish_is_first_arg' -a '{' '.join(VERBS)}'"]
    for verb, words in options.items():
        lines.append(f"{head} -n '__fish_seen_subcommand_from {verb}' -a '{' '.join(words)}'")
    lines.append(f"{head} -n 'not __fish_seen_subcommand_from {' '.join(options)}' -a '{' '.join(run)}'")
    return "\n".join(lines) + "\n"


def _options(verb: str) -> list[str]:
    """Those that the verb's help names; of ``completion`` its shells, too."""
    arguments = app[verb].assemble_argument_collection()
    names = {name for argument in arguments for name in argument.names if name.startswith("--")}
    return [*sorted(names), "--help", *(_SHELLS if verb == "completion" else ())]
