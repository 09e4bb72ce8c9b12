"""The claims ledger: what the notes or a user's file say, claim by claim, and what a store says to it.

``claim`` is the type, ``verdict`` the rules, ``setting`` keeps unlike runs apart, ``look`` and ``measures``
find and read what a claim speaks of. Each file in ``noted/`` holds a claim or a few (docs/claims.md).
``from_file`` reads a file of claims, ``stated`` and ``named`` make claims of what stands in it.
"""

from bitnet_sweep.report.claims.ledger import Asked, asked_claims, claims_table, ledger, noted_claims

__all__ = ["Asked", "asked_claims", "claims_table", "ledger", "noted_claims"]
