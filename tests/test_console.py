"""Progress: plain lines where nobody watches, and no text of others' that a terminal would obey."""

import io
import os
import pty
import re
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import console
from pipeline.console import Terminal, printable

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\x00\u202ered\u2028\ufeff"
"""Escape sequences of 7 and 8 bits, a carriage return, a right-to-left override, a line separator."""


@given(st.text())
def test_what_is_printable_moves_no_cursor(text: str) -> None:
    """One character stays one, and each is one that shows."""
    shown = printable(text)
    assert len(shown) == len(text)
    assert all(c.isprintable() for c in shown)
    assert printable(shown) == shown


def test_a_stage_is_a_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """With its outcome and how long it took; no bar, no escape sequence."""
    with Terminal() as screen:
        screen.begin("build cut 1", 100)
        for done in range(100):
            screen.step(done, "mm/memcontrol.o")
        screen.end("100 targets")
        screen.begin("quick and silent")
        screen.end()
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"  build cut 1: 100 targets \(\d+\.\d s\)\n", err)


def test_a_long_stage_speaks_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a CI job does not look dead."""
    monkeypatch.setattr(console, "EVERY", 0.0)
    with Terminal() as screen:
        screen.begin("build", 200)
        screen.step(50, "mm/vmscan.o")
        screen.begin("boot")
        screen.step(3, "Linux version")
        screen.end("ready")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "  build 25% 0 s mm/vmscan.o"
    assert lines[1] == "  boot 0 s Linux version"
    assert lines[2].startswith("  boot: ready (")


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Only results are printed, and those are others' to print."""
    monkeypatch.setattr(console, "EVERY", 0.0)
    with Terminal(quiet=True) as screen:
        screen.begin("build", 2)
        screen.step(1, "x")
        screen.end("done")
    assert capsys.readouterr() == ("", "")


def test_an_end_without_a_beginning_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A stage that was interrupted is ended by whoever ends first."""
    with Terminal() as screen:
        screen.step(1, "note")
        screen.end("outcome")
    assert capsys.readouterr().err == ""


def test_hostile_text_without_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a guest or a patch says reaches a log as text, on one line a message."""
    monkeypatch.setattr(console, "EVERY", 0.0)
    with Terminal() as screen:
        screen.begin(f"stage {HOSTILE} [red]", 10)
        screen.step(1, f"note {HOSTILE} [bold]\nnext")
        screen.end(f"outcome {HOSTILE}")
        screen.line(f"line {HOSTILE}")
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 3, err
    assert all(c.isprintable() or c == "\n" for c in err)
    assert "[red]" in err
    assert "[bold]" in err


def test_hostile_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar's own sequences pass, others' do not; the cursor is shown again at the end."""
    ours, theirs = pty.openpty()
    said = bytearray()

    def drain() -> None:
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:
                return
            said.extend(data)

    reader = threading.Thread(target=drain)
    reader.start()
    with io.TextIOWrapper(os.fdopen(theirs, "wb", buffering=0), encoding="utf-8", write_through=True) as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        with Terminal() as screen:
            screen.begin(f"stage {HOSTILE}", 10)
            screen.step(5, f"note {HOSTILE}")
            screen.end(f"outcome {HOSTILE}")
    reader.join(10)
    os.close(ours)
    text = said.decode()
    for sequence in ("\x1b]0;", "\x1b[2J", "\x9b", "\x07", "\x08", "\x00", "\u202e", "\u2028"):
        assert sequence not in text
    assert "outcome" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
