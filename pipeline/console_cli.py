"""``kpv parse-console`` and ``kpv symbolize``: what a kernel console shows, for programs and for people.

Imports stand inside the commands: reading one small log is to take no longer than starting Python.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn

from pipeline.errors import PipelineError, UserError

if TYPE_CHECKING:
    from pipeline.findings import Finding
    from pipeline.findings.known import KnownIssue

_BLOCK = 1 << 20
"""Bytes read at once: a log of any size is read in little memory."""

_PARSE = """\
Read the reports of kernel problems out of console logs: KASAN, KCSAN, lockdep, hangs, oopses, warnings, leaks
and the rest of docs/titles.md. Each is named as the kernel community names it, so that the same bug has the same
title in every log."""
_PARSE_MORE = """\
examples:
  dmesg | kpv parse-console -
  kpv parse-console --format json console.log | jq -r '.findings[].title'
  kpv parse-console --known known.yaml results/*/console.log

exit status: 0 no finding, 1 findings, 2 a mistake in the arguments or the input.
What --known lists is shown, marked as known, and does not count."""

_SYMBOLIZE = """\
Add file and line to each stack frame of a console log, and the calls that the compiler inlined."""
_SYMBOLIZE_MORE = """\
example:
  kpv symbolize console.log --vmlinux vmlinux | kpv parse-console --format json -

exit status: 0, or 2 for a mistake in the arguments or the input."""


class _Parser(argparse.ArgumentParser):
    """argparse, with errors as everywhere in kpv: one line, what and what to do."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        self.exit(2, f"kpv: {message}; `{self.prog} --help` lists what there is\n")


def _parser(command: str, text: str, more: str) -> argparse.ArgumentParser:
    return _Parser(
        f"kpv {command}", description=text, epilog=more, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def _blocks(name: str) -> Iterator[bytes]:
    """Give the content of a file, or of standard input for ``-``, piece by piece."""
    try:
        if name == "-":
            while block := sys.stdin.buffer.read(_BLOCK):
                yield block
            return
        with open(name, "rb") as file:  # noqa: PTH123 - pathlib alone costs a tenth of the start-up
            while block := file.read(_BLOCK):
                yield block
    except OSError as error:
        raise UserError(error.strerror or str(error), where=_printable(name)) from None


def _printable(text: str) -> str:
    """Replace what a terminal would obey: text from a console is data."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _record(finding: "Finding", known: "KnownIssue | None") -> dict[str, object]:
    """Return a finding as JSON has it."""
    executor = finding.executor
    record: dict[str, object] = {
        "title": finding.title,
        "alt_titles": list(finding.alt_titles),
        "type": finding.kind.value,
        "start_line": finding.start_line,
        "end_line": finding.end_line,
        "corrupted": finding.corrupted,
        "frame": finding.frame,
        "guilty_file": finding.guilty_file,
        "suppressed": finding.suppressed,
        "panicked": finding.panicked,
        "executor": {"proc": executor.proc, "id": executor.id} if executor else None,
        "rule": finding.rule,
        "again": finding.again,
        "report": finding.report,
    }
    if known is not None:
        record["known"] = {"reason": known.reason, "link": known.link, "expires": known.expires.isoformat()}
    return record


def _lines(name: str, finding: "Finding", known: "KnownIssue | None") -> Iterator[str]:
    """Give a finding as people read it."""
    note = " (the report is damaged)" if finding.corrupted else ""
    yield f"{name}:{finding.start_line + 1}: {finding.title} [{finding.kind.value}]{note}"
    if finding.alt_titles:
        yield f"    also: {'; '.join(finding.alt_titles)}"
    if finding.again:
        yield f"    and {finding.again} more like it, not listed"
    if finding.guilty_file:
        yield f"    guilty file: {finding.guilty_file}"
    if known is not None:
        yield f"    known: {known.reason} ({known.link}, until {known.expires})"


def known_list(name: str) -> "tuple[KnownIssue, ...]":
    """Read a list of known issues; UserError for what is wrong with it, an expired row included."""
    from datetime import UTC, datetime

    import yaml

    from pipeline.findings.known import known_issues

    try:
        rows = yaml.load(b"".join(_blocks(name)), yaml.BaseLoader)  # noqa: S506 - the base loader makes text, lists and mappings only
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError("not YAML", where=name, detail=str(error)) from None
    return known_issues(rows, today=datetime.now(UTC).date(), where=name)


def parse_console(argv: Sequence[str]) -> int:
    """Run ``kpv parse-console``; return the exit status."""
    parser = _parser("parse-console", _PARSE, _PARSE_MORE)
    parser.add_argument(
        "--format",
        choices=("text", "json", "jsonl"),
        default="text",
        help="json: one object a log; jsonl: the same, one line each (default: text)",
    )
    parser.add_argument("--known", metavar="FILE", help="YAML list of issues that are shown but do not count")
    parser.add_argument("files", nargs="+", metavar="FILE", help="a console log; - is standard input")
    args = parser.parse_args(argv)
    from pipeline.findings import scan_blocks
    from pipeline.findings.known import find

    issues = known_list(args.known) if args.known else ()
    counted = False
    for name in args.files:
        found = [(finding, find(finding, issues)) for finding in scan_blocks(_blocks(name))]
        counted = counted or any(known is None for _, known in found)
        if args.format == "text":
            _print(line for finding, known in found for line in _lines(name, finding, known))
        else:
            indent = 1 if args.format == "json" else None
            print(json.dumps({"file": name, "findings": [_record(*row) for row in found]}, indent=indent), flush=True)
    return 1 if counted else 0


def symbolize(argv: Sequence[str]) -> int:
    """Run ``kpv symbolize``; return the exit status."""
    parser = _parser("symbolize", _SYMBOLIZE, _SYMBOLIZE_MORE)
    parser.add_argument("--vmlinux", metavar="FILE", required=True, help="the kernel that wrote the log, unstripped")
    parser.add_argument("log", metavar="LOG", help="a console log; - is standard input")
    args = parser.parse_args(argv)
    from pathlib import Path

    from pipeline.findings.line import clean
    from pipeline.symbols import load
    from pipeline.symbols import symbolize as with_places

    text = b"".join(_blocks(args.log))
    _print(with_places(load(Path(args.vmlinux)), (clean(line) for line in text.splitlines())))
    return 0


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(_printable(line))
    sys.stdout.flush()


_COMMANDS = {"parse-console": parse_console, "symbolize": symbolize}


def main(argv: Sequence[str]) -> int:
    """Run the command that `argv` begins with; return the exit status."""
    try:
        return _COMMANDS[argv[0]](argv[1:])
    except PipelineError as error:
        print(f"kpv: {_printable(str(error))}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        # Whoever read us has read enough; nothing is to be said when Python closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
