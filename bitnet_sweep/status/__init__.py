"""The ledger: how every run and trunk of a store stands, and what of it can be freed.

It reads the store's files alone, so it works while jobs run anywhere, and it never waits for one.
"""

from bitnet_sweep.status.ledger import Entry, Ledger
from bitnet_sweep.status.table import render

__all__ = ["Entry", "Ledger", "render"]
