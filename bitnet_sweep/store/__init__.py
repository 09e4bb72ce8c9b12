"""The truth on disk: run and trunk folders, their status, and who may write them."""

from bitnet_sweep.store.archive import opened
from bitnet_sweep.store.folder import BOUNDARY, LATEST, Folder, Status
from bitnet_sweep.store.states import FAILED, FINISHED, INTERRUPTED, RUNNING
from bitnet_sweep.store.store import Store, check_is_no_archive, check_is_store, is_archive

__all__ = [
    "BOUNDARY",
    "FAILED",
    "FINISHED",
    "INTERRUPTED",
    "LATEST",
    "RUNNING",
    "Folder",
    "Status",
    "Store",
    "check_is_no_archive",
    "check_is_store",
    "is_archive",
    "opened",
]
