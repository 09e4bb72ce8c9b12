"""The command as :mod:`bitnet_sweep.api` starts it: it ends when the program that started it does."""

from __future__ import annotations

import os
import signal
import threading

from bitnet_sweep.__main__ import main


def _end_with_parent() -> None:
    """Stop at the next step, with a checkpoint, once our stdin is closed: nothing is ever written to it."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    main()
