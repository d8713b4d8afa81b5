"""The ledger: the append-only record of a run, and the run folder around it.

With the profiles this is all that the acting and the judging half share.
"""

from quotalab.ledger.canonical import canonical_rows, ledger_sha256
from quotalab.ledger.folder import RunDescription, RunFolder
from quotalab.ledger.reader import LedgerTables, compact, read_ledger
from quotalab.ledger.schema import Call, Event, OAuthFacts, Operation
from quotalab.ledger.writer import LedgerWriter

__all__ = [
    "Call",
    "Event",
    "LedgerTables",
    "LedgerWriter",
    "OAuthFacts",
    "Operation",
    "RunDescription",
    "RunFolder",
    "canonical_rows",
    "compact",
    "ledger_sha256",
    "read_ledger",
]
