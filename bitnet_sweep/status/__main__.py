"""The command line: ``python -m bitnet_sweep.status STORE [--sweep NAME] [--watch | --clean [--yes]]``.

Exit status: 0 the store was read; 2 the store or the sweep is not there, or nothing
can be freed where the store is read only.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Sequence

from tabulate import tabulate

from bitnet_sweep.config import ConfigError
from bitnet_sweep.paths import expanded
from bitnet_sweep.pipes import until_unread
from bitnet_sweep.status import Ledger, render
from bitnet_sweep.store import FINISHED, Store, check_is_no_archive, opened
from bitnet_sweep.store.housekeeping import KINDS, Freeable, find_freeable, free, in_bytes

WATCH_SECONDS = 2.0
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_CLEAR_SCREEN = "\x1b[2J"
_LINES_AROUND = 5
"""Lines of a watched screen that are not rows: two of heading, what is hidden, the counts, the cursor."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if (options.yes or options.keep) and not options.clean:
        parser.error("--yes and --keep go with --clean")
    try:
        if options.clean:
            check_is_no_archive("STORE", options.store)
        with opened(options.store) as folder:
            ledger = Ledger(Store(folder), options.sweep)
            if options.clean:
                _clean(ledger, Store(folder), set(KINDS) - set(options.keep), options.yes)
            elif options.watch:
                _watch(ledger)
            else:
                print(render(ledger.entries()))
    except ConfigError as error:
        print(f"bitnet_sweep.status: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if not options.clean:
            raise
        print(
            f"bitnet_sweep.status: STORE={options.store}: cannot be written ({error.strerror})",
            file=sys.stderr,
        )
        return 2
    return 0


def _watch(ledger: Ledger) -> None:
    """Redraw until every run is finished, or until Ctrl-C; a file gets one table after the other."""
    is_screen = sys.stdout.isatty()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell may have it ignored
    try:
        if is_screen:
            print(_CLEAR_SCREEN, end="")
        while True:
            entries = ledger.entries()
            if is_screen:
                columns, lines = shutil.get_terminal_size()
                text = render(entries, max(1, lines - _LINES_AROUND))
                rows = [line[:columns] + _CLEAR_LINE for line in text.splitlines()]
                print(_HOME + "\n".join(rows) + "\n" + _CLEAR_BELOW, end="", flush=True)
            else:
                print(render(entries) + "\n", flush=True)
            if entries and all(entry.state == FINISHED for entry in entries if entry.is_run):
                return
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        return


def _clean(ledger: Ledger, store: Store, kinds: set[str], confirmed: bool) -> None:
    """List what can be freed, and free it once that is confirmed."""
    names = {entry.id: entry.name for entry in ledger.entries()}
    parts = find_freeable(store, kinds, only=names)
    if not parts:
        print("Nothing to free.")
        return
    print(tabulate([_row(part, names) for part in parts], headers="keys", disable_numparse=True))
    total = sum(part.num_bytes for part in parts)
    if confirmed:
        freed = [free(part) for part in parts]
        print(f"Freed {in_bytes(sum(freed))} of {in_bytes(total)}.")
    else:
        print(
            f"{in_bytes(total)} can be freed; nothing was. Free it all with --yes, spare a kind with --keep."
        )


def _row(part: Freeable, names: dict[str, str]) -> dict[str, str]:
    return {
        "what": part.kind,
        "size": in_bytes(part.num_bytes),
        "in": f"{part.folder.path.parent.name}/{part.folder.id}",
        "name": names[part.folder.id],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bitnet_sweep.status",
        description="How every run and trunk of a store stands, from its files alone, wherever jobs run.",
        epilog="Exit status: 0 the store was read; 2 the store or the sweep is not there.",
    )
    parser.add_argument(
        "store",
        type=expanded,
        metavar="STORE",
        help="the folder that holds runs/ and stages/, or that folder as a .tar.gz",
    )
    parser.add_argument(
        "--sweep", metavar="NAME", help="only the runs of this recorded sweep, and their trunks"
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--watch", action="store_true", help="redraw every 2 s until all runs are finished, or until Ctrl-C"
    )
    action.add_argument(
        "--clean",
        action="store_true",
        help="list what can be freed: checkpoints of trunks that no unfinished recorded run needs, final "
        "weights, and leftovers of killed processes; records, configs and statuses always stay",
    )
    parser.add_argument("--yes", action="store_true", help="with --clean: free it")
    parser.add_argument(
        "--keep", action="append", default=[], choices=KINDS, help="with --clean: leave this kind out"
    )
    return parser


if __name__ == "__main__":
    sys.exit(until_unread(main))
