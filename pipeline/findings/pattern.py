"""Patterns, written so that a table of them can be read."""

import re


def rx(pattern: str) -> re.Pattern[str]:
    """Return a pattern over the lines of a report: ``^`` and ``$`` are the ends of a line."""
    return re.compile(pattern, re.MULTILINE)


def any_of(*tables: str) -> re.Pattern[str]:
    """Return a pattern for any of the patterns that stand in `tables`, with white space between them."""
    return re.compile("|".join(f"(?:{pattern})" for table in tables for pattern in table.split()))


def begins(*phrases: str) -> re.Pattern[str]:
    """Return a pattern for messages that begin, after blanks, with one of these."""
    return re.compile(" *(?:" + "|".join(phrases) + ")")
