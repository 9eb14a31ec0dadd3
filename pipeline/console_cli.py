"""``kpv parse-console``: what a kernel console shows, for programs and for people."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.findings import Finding


def _record(finding: Finding) -> dict[str, object]:
    return {
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
        "executor": {"proc": finding.executor.proc, "id": finding.executor.id} if finding.executor else None,
        "report": finding.report,
    }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="kpv parse-console")
    parser.add_argument("--format", choices=("json", "jsonl", "text"), default="text")
    parser.add_argument("--known", metavar="FILE")
    parser.add_argument("files", nargs="+", metavar="FILE")
    args = parser.parse_args(argv)
    from pipeline.findings import scan

    found = False
    for name in args.files:
        data = sys.stdin.buffer.read() if name == "-" else open(name, "rb").read()
        findings = scan(data)
        found = found or bool(findings)
        print(json.dumps({"file": name, "findings": [_record(f) for f in findings]}))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
