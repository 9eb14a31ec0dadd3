"""Ledgers: what a kernel at rest holds, read by a program between its rounds and judged here (docs/ledgers.md)."""

from pipeline.ledger.book import NO_BOOKS, Book, Books, parse, without
from pipeline.ledger.kmemleak import seen_twice
from pipeline.ledger.leak import Leak, absent, leaks, rank, unknown
from pipeline.ledger.table import LEDGERS, Ledger, Rule, ledger_of

__all__ = [
    "LEDGERS",
    "NO_BOOKS",
    "Book",
    "Books",
    "Leak",
    "Ledger",
    "Rule",
    "absent",
    "leaks",
    "ledger_of",
    "parse",
    "rank",
    "seen_twice",
    "unknown",
    "without",
]
