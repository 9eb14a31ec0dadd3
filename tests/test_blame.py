"""Findings held against the patches of a series."""

from dataclasses import replace

from pipeline.blame import blamer
from pipeline.findings import Finding, Frame, Kind, Role
from pipeline.series import Series, parse_mbox

MAIL = b"""\
From 0 Mon Sep 17 00:00:00 2001
From: A <a@example.org>
Subject: [PATCH %(n)d/2] %(subject)s

---
diff --git a/mm/x.c b/mm/x.c
--- a/mm/x.c
+++ b/mm/x.c
@@ -%(line)d,3 +%(line)d,4 @@ static int %(function)s(void)
 a;
 b;
+c;
 d;
"""

FINDING = Finding("KASAN: slab-use-after-free Read in used", Kind.KASAN_UAF_READ, "kasan", 0, 9)


def two_patches() -> Series:
    """Return a series whose patches change first_touched and second_touched."""
    mails = [
        MAIL % {b"n": 1, b"subject": b"first", b"line": 10, b"function": b"first_touched"},
        MAIL % {b"n": 2, b"subject": b"second", b"line": 90, b"function": b"second_touched"},
    ]
    return parse_mbox(b"".join(mails), "two.mbox")


def test_the_frame_nearest_to_the_fault_convicts() -> None:
    """Of two touched functions on the stack, the inner one names the patch, with its depth."""
    frames = (Frame("kasan_report"), Frame("helper"), Frame("second_touched"), Frame("first_touched"))
    blame = blamer(two_patches())(replace(FINDING, frame="helper", frames=frames))
    assert blame is not None
    assert (blame.number, blame.patch) == (2, "2/2 second")
    assert blame.text == "patch 2/2 touches second_touched, frame 1"


def test_who_freed_counts_after_who_read() -> None:
    """The call trace is asked before the free stack, and the free stack is named as such."""
    frames = (Frame("reader"), Frame("first_touched", role=Role.FREE))
    blame = blamer(two_patches())(replace(FINDING, frames=frames))
    assert blame is not None
    assert blame.number == 1
    assert "free stack" in blame.text


def test_untrusted_and_untouched_frames_convict_nobody() -> None:
    """A frame the unwinder does not vouch for is no evidence, nor is one no patch touches."""
    frames = (Frame("second_touched", trusted=False), Frame("elsewhere"))
    assert blamer(two_patches())(replace(FINDING, frames=frames)) is None


def test_the_compilers_endings_do_not_hide_a_function() -> None:
    """A frame is printed with .isra.0, the patch does not know that."""
    blame = blamer(two_patches())(replace(FINDING, frames=(Frame("second_touched.isra.0"),)))
    assert blame is not None
    assert blame.number == 2


def test_a_guess_is_called_a_guess() -> None:
    """A patch that only touches the file of a frame is named with less than certainty."""
    frames = (Frame("other", file="mm/x.c", line=7), Frame("elsewhere", file="mm/y.c", line=1))
    blame = blamer(two_patches())(replace(FINDING, frames=frames))
    assert blame is not None
    assert blame.text == "a guess: patch 2/2 touches mm/x.c, the file of other"
