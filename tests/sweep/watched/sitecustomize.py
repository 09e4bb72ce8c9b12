"""Notes every publication of a process and its children: put this folder in front of PYTHONPATH.

A trunk is published as ``boundary.json``, a run as ``final.safetensors``; both are renamed into place, and
Python says so in an audit event. One line each is added to the file named by PUBLICATIONS_LOG.
"""

import os
import sys

_LOG = os.environ.get("PUBLICATIONS_LOG", "")


def _note(event, arguments):
    if event == "os.rename" and os.path.basename(arguments[1]) in ("boundary.json", "final.safetensors"):  # noqa: PTH119
        log = os.open(_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(log, f"{os.path.abspath(arguments[1])}\n".encode())  # noqa: PTH100
        os.close(log)


if _LOG:
    sys.addaudithook(_note)
