#!/usr/bin/env python3
"""A fuzzer for the console parser, guided by coverage (atheris, libFuzzer).

    python -m venv /tmp/fuzz && /tmp/fuzz/bin/pip install atheris==3.0.0 hyperscan==0.9.1
    PYTHONPATH=. nice -n 19 /tmp/fuzz/bin/python tests/fuzz_findings.py CORPUS tests/golden/console -max_total_time=3600

The golden logs are the seeds. Every input has to go through without an exception, give the same findings
however it is cut into pieces, and every finding has to lie within it. What reached something new is kept
under tests/golden/fuzz and is a test from then on. To reduce it, libFuzzer starts this file by itself, so the
environment has to be the one on PATH:

    PATH=/tmp/fuzz/bin:$PATH PYTHONPATH=. python3 tests/fuzz_findings.py -merge=1 tests/golden/fuzz CORPUS
"""

import sys

import atheris

with atheris.instrument_imports(include=["pipeline.findings"]):
    from pipeline.findings import Finding, Scanner, scan
    from pipeline.findings.title import normalise


def scanned(data: bytes, size: int) -> list[Finding]:
    """Feed a console to a scanner, `size` bytes at a time."""
    scanner = Scanner()
    findings: list[Finding] = []
    for start in range(0, len(data), size):
        findings += scanner.feed(data[start : start + size])
    return findings + scanner.close()


def one_input(data: bytes) -> None:
    """Check what has to hold for any console."""
    whole = scanned(data, max(1, len(data)))
    lines = data.count(b"\n") + 1
    for finding in whole:
        assert 0 <= finding.start_line < finding.end_line <= lines
        assert finding.title == normalise(finding.title)
        assert finding.title.isascii()
        assert finding.title.isprintable()
    assert scanned(data, max(1, len(data) // 7)) == whole
    assert sum(1 + finding.again for finding in scan(data)) == len(whole)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
