"""The verbs and their options; each does its work elsewhere, and imports that when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from bitnet_sweep.config import ConfigError
from bitnet_sweep.paths import expanded

EXIT_FAILED, EXIT_WRONG, EXIT_INTERRUPTED = 1, 2, 130

app = App(
    name="bitnet-sweep",
    help="When does the training of a ternary language model collapse, and what brings it back?",
    help_epilogue=(
        "Without a verb it is `bitnet-sweep run`. What every key of a run means: `bitnet-sweep run --help`. "
        "RUN is a run's id, the beginning of its id, its name, or words of its name that tell it apart."
    ),
    help_formatter="plain",
    version_flags=[],
    print_error=False,
    exit_on_error=False,
    result_action="return_value",
)

_Path = Annotated[Path, Parameter(converter=lambda _, tokens: expanded(tokens[0].value))]
Run = Annotated[str, Parameter(help="Its id, the beginning of its id, or its name.")]
StoreFolder = Annotated[_Path, Parameter(name="--store", help="The folder that holds the runs.")]
Flag = Parameter(negative="")
_RUNS = Path("runs")


def run_verb() -> int:
    """Run the verb of the command line; the exit status."""
    try:
        result = app(sys.argv[1:])
    except (ConfigError, CycloptsError) as error:
        print(f"bitnet_sweep: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_WRONG
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return int(result or 0)


@app.command(name="run", help_flags=[])
def run_(*words: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]) -> None:
    """Train one run, or with -m a sweep: `bitnet-sweep run -m model.hidden=256,512 wd2=0.0,0.05`."""
    raise AssertionError(f"its words go to Hydra: {words}")


@app.command
def report(
    *stores: Annotated[_Path, Parameter(help="Stores, or W&B projects as wandb:ENTITY/PROJECT.")],
    store: Annotated[list[_Path] | None, Parameter(help="The same. [default: runs]", negative="")] = None,
    out: _Path = Path("report"),
    sweep: str | None = None,
    claims: str | None = None,
    check: Annotated[bool, Flag] = False,
) -> int:
    """Write tables, figures and one HTML page about stores of runs.

    Parameters
    ----------
    out
        The folder that the report goes to.
    sweep
        Only the runs of this recorded sweep.
    claims
        Judge claims as well: `notes`, a YAML or TOML file of your own, or the name of one in your package.
    check
        Exit 1 while a run is missing, unfinished or failed.
    """
    from bitnet_sweep.report.__main__ import main

    chosen = [*stores, *(store or [])] or [_RUNS]
    return main([*map(str, chosen), f"--out={out}", *_options(sweep=sweep, claims=claims, check=check)])


@app.command
def status(
    folder: Annotated[_Path | None, Parameter(show=False)] = None,
    /,
    *,
    store: StoreFolder = _RUNS,
    sweep: str | None = None,
    watch: Annotated[bool, Flag] = False,
    clean: Annotated[bool, Flag] = False,
    yes: Annotated[bool, Flag] = False,
    keep: Annotated[list[str] | None, Parameter(negative="")] = None,
) -> int:
    """Say how every run of a store stands; or free what the runs need no more.

    Parameters
    ----------
    sweep
        Only the runs of this recorded sweep.
    watch
        Draw it again every 2 s until all runs are finished.
    clean
        List what can be freed.
    yes
        With --clean: free it.
    keep
        With --clean: leave this kind out (trunks, weights or leftovers).
    """
    from bitnet_sweep.status.__main__ import main

    options = _options(sweep=sweep, watch=watch, clean=clean, yes=yes)
    return main([str(folder or store), *options, *(f"--keep={kind}" for kind in keep or [])])


@app.command
def sync(
    folder: Annotated[_Path | None, Parameter(show=False)] = None,
    /,
    *,
    store: StoreFolder = _RUNS,
    timeout: float = 60.0,
) -> int:
    """Upload to W&B the runs that it does not have yet.

    Parameters
    ----------
    timeout
        Seconds: the longest wait for a run.
    """
    from bitnet_sweep.track.sync import main

    return main([str(folder or store), f"--timeout={timeout}"])


@app.command
def dashboard(
    project: Annotated[str, Parameter(help="The W&B project that has the runs, ENTITY/PROJECT.")],
    folder: Annotated[_Path | None, Parameter(show=False)] = None,
    /,
    *,
    store: StoreFolder = _RUNS,
    sweep: str | None = None,
) -> int:
    """Save a W&B workspace with live panels, and a W&B Report.

    Parameters
    ----------
    sweep
        Only the runs of this recorded sweep.
    """
    from bitnet_sweep.dashboard.__main__ import main

    return main([project, str(folder or store), *_options(sweep=sweep)])


@app.command
def show(run: Run, /, *, store: StoreFolder = _RUNS) -> None:
    """Tell all about one run: how it stands, its config, its folder, how to open it and run it again."""
    from bitnet_sweep.commands.show import shown

    print(shown(store, run))


@app.command
def generate(
    run: Run,
    /,
    *,
    prompt: str,
    store: StoreFolder = _RUNS,
    max_tokens: int = 40,
    only: Annotated[bool, Flag] = False,
    plugins: Annotated[list[str] | None, Parameter(negative="")] = None,
) -> None:
    """Have a finished run go on with a text.

    Parameters
    ----------
    prompt
        The text; an empty one is the start of a document.
    max_tokens
        How many tokens to add.
    only
        Print what was added without the prompt before it.
    plugins
        A module of yours that has the run's model or quantiser, as of `run`; may be given several times.
    """
    from bitnet_sweep.api.runs import open_run
    from bitnet_sweep.own_code import import_plugin

    for module in plugins or []:
        import_plugin(module)
    made = open_run(store, run).generate(prompt, max_tokens)
    print(made if only else prompt + made)


@app.command
def export(
    run: Run,
    where: Annotated[_Path, Parameter(help="The folder (hf) or file (gguf) to make.")],
    /,
    *,
    to: Literal["hf", "gguf"],
    store: StoreFolder = _RUNS,
    check: bool = True,
    packing: Literal["tq2_0", "tq1_0"] | None = None,
) -> int:
    """Write a finished run's model for another program, and prove there that it is the same model.

    Parameters
    ----------
    to
        hf: a folder that stock transformers opens; gguf: a file for llama.cpp.
    check
        Ask that program for the held-out loss and logits; where they differ, nothing is exported.
    packing
        Of a gguf: tq2_0 (the default) stores 256 ternary codes in 66 bytes, tq1_0 in 54.
    """
    from bitnet_sweep.commands.export import exported

    return exported(run, where, to=to, store=store, check=check, packing=packing)


@app.command
def evaluate(
    run: Run,
    /,
    *,
    tasks: Annotated[list[_Path], Parameter(negative="")],
    store: StoreFolder = _RUNS,
    online: Annotated[bool, Flag] = False,
    check: bool = True,
) -> int:
    """Ask lm-evaluation-harness what a finished run's exported model can do, and keep the answer.

    Parameters
    ----------
    tasks
        A JSON file with tasks of the harness on local documents; may be given several times.
    online
        Allow the harness to download what the tasks name.
    check
        Prove first that the exported model is the same one, as export does.
    """
    from bitnet_sweep.commands.evaluate import evaluated

    return evaluated(run, tasks, store=store, online=online, check=check)


@app.command
def prove(
    *words: Annotated[str, Parameter(help="KEY=VALUE, as of `run`; one value a key.")],
    steps: int = 40,
) -> int:
    """Train a config in a few steps straight, twice, forked and killed, and compare every bit.

    Parameters
    ----------
    steps
        The length of the run that is trained, in stages of the config's proportions.
    """
    from bitnet_sweep.commands.prove import proved

    return proved(words, steps)


@app.command
def rm(run: Run, /, *, store: StoreFolder = _RUNS, yes: Annotated[bool, Flag] = False) -> int:
    """Remove one run, so that the command that trained it trains it again; never one that is being trained.

    Parameters
    ----------
    yes
        Do not ask.
    """
    from bitnet_sweep.commands.remove import remove

    return 0 if remove(store, run, confirmed=yes) else EXIT_FAILED


@app.command
def doctor(*, store: StoreFolder = _RUNS) -> int:
    """Say what this machine has that training uses, and what each of it means."""
    from bitnet_sweep.commands.doctor import told

    lines = told(store)
    print("\n".join(str(line) for line in lines))
    return 0 if all(line.is_fine for line in lines) else EXIT_FAILED


@app.command
def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print what completes verbs, options, keys and groups in a shell.

    For bash, add this line to ~/.bashrc: eval "$(bitnet-sweep completion bash)".

    Parameters
    ----------
    shell
        The shell that is to read it.
    """
    from bitnet_sweep.app import config_folder
    from bitnet_sweep.commands.completion import script

    print(script(shell, config_folder()), end="")


def _options(**values: Any) -> Sequence[str]:
    """Those that were given, as argparse reads them."""
    given = [(name, value) for name, value in values.items() if value is not None and value is not False]
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in given]
