"""The claims ledger: what the notes say, predicate by predicate, and what a store says to it.

``claim`` is the type, ``verdict`` the rules, ``setting`` keeps unlike runs apart, ``look`` and ``measures``
find and read what a claim speaks of. Each file in ``noted/`` holds a claim or a few (docs/claims.md).
"""

from bitnet_sweep.report.claims.ledger import claims_table, ledger, noted_claims

__all__ = ["claims_table", "ledger", "noted_claims"]
