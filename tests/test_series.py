"""Series: what a mail, a folder, a quilt list say, and what is refused."""

import base64
import contextlib
import quopri
import random

import pytest

from pipeline import series
from pipeline.errors import UserError

DIFF = """\
diff --git a/mm/vmscan.c b/mm/vmscan.c
index 1111111..2222222 100644
--- a/mm/vmscan.c
+++ b/mm/vmscan.c
@@ -10,7 +10,8 @@ static int shrink_one(struct lruvec *lruvec, int n)
 {
 \tint a;
 \tint b;
-\tint c;
+\tint c = 0;
+\tint d;
\x20
 \treturn a;
 }
"""

SECOND = """\
diff --git a/mm/list_lru.c b/mm/list_lru.c
index 3333333..4444444 100644
--- a/mm/list_lru.c
+++ b/mm/list_lru.c
@@ -1,3 +1,2 @@
 one
-two
 three
"""


def mail(
    subject: str,
    diff: str,
    *,
    body: str = "Some reason.\n",
    headers: str = "",
    signature: str = "-- \n2.39.5\n\n",
    author: str = "Ann <ann@k.org>",
) -> str:
    """Write one mail as git format-patch does."""
    return (
        "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\n"
        f"From: {author}\nDate: Tue, 1 Oct 2024 10:00:00 +0200\nSubject: {subject}\n{headers}\n"
        f"{body}---\n{diff}{signature}"
    )


def one(diff: str, **more: str) -> series.Patch:
    """Read a series of one patch with this diff."""
    return series.parse_mbox(mail("[PATCH] x", diff, **more).encode(), "x.mbox").patches[0]


def refused(text: str | bytes, where: str = "x.mbox") -> str:
    """Return the message with which a text is refused."""
    with pytest.raises(UserError) as caught:
        series.parse_mbox(text if isinstance(text, bytes) else text.encode(), where)
    assert "\n" not in str(caught.value)
    assert caught.value.todo
    return str(caught.value)


def test_mbox_in_order_without_its_cover_letter() -> None:
    """Patches keep the order of the mbox; the cover letter carries none."""
    text = mail("[PATCH 0/2] cover", "") + mail("[PATCH 1/2] mm: one", DIFF) + mail("[PATCH v3 2/2] [lru] two", SECOND)
    got = series.parse_mbox(text.encode(), "dir/x.mbox")
    assert [p.label for p in got.patches] == ["1/2 mm: one", "2/2 two"]
    assert got.total == 2
    first = got.patches[0]
    assert (first.author, first.index, first.total) == ("Ann <ann@k.org>", 1, 2)
    assert first.text.startswith(b"From 0123")
    assert b"[PATCH v3 2/2]" not in first.text
    assert first.diff.startswith(b"diff --git a/mm/vmscan.c")


def test_hunks_functions_and_lines() -> None:
    """A change knows its hunk, its function and the lines of the new file."""
    (change,) = one(DIFF).files
    (hunk,) = change.hunks
    assert (change.path, change.old_path, change.preimage) == ("mm/vmscan.c", None, "1111111")
    assert hunk.header == "@@ -10,7 +10,8 @@ static int shrink_one(struct lruvec *lruvec, int n)"
    assert (hunk.old_start, hunk.old_len, hunk.new_start, hunk.new_len) == (10, 7, 10, 8)
    assert hunk.function == "shrink_one"
    assert change.functions == {"shrink_one"}
    assert change.lines == ((13, 14),)


def test_functions_are_those_with_a_changed_line() -> None:
    """The header's function ends at its brace; definitions in the hunk take over; declarations do not count."""
    diff = """\
diff --git a/mm/a.c b/mm/a.c
--- a/mm/a.c
+++ b/mm/a.c
@@ -10,8 +10,14 @@ static void before(void)
 \tx();
 }
\x20
+static __printf(1, 2) struct foo *added(int a,
+\t\t\t\t\tint b)
+{
+}
+
 void declared(int x);
 SYSCALL_DEFINE2(reclaim, int, a, int, b)
 {
+\ty();
 \treturn 0;
 }
"""
    (change,) = one(diff).files
    assert change.functions == {"added", "__do_sys_reclaim"}
    assert one(diff).functions == change.functions


def test_a_removal_is_the_line_that_closed_the_gap() -> None:
    """A range of the new file also says where something went away."""
    assert one(SECOND).files[0].lines == ((2, 2),)


@pytest.mark.parametrize(
    ("subject", "want"),
    [
        ("=?utf-8?q?=5BPATCH=5D_mm=3A_gr=C3=BC=C3=9Fe?=", "mm: grüße"),
        ("=?UTF-8?B?W1BBVENIXSBtbTogxJtq?=", "mm: ěj"),
        ("[PATCH] mm: grüße", "mm: grüße"),
        ("Re: [PATCH v2 RESEND] mm: long\n and folded", "mm: long and folded"),
        ("=?nosuch?q?a=20b?=", "a b"),
    ],
)
def test_subjects(subject: str, want: str) -> None:
    """Subjects come encoded by RFC 2047, as plain UTF-8, folded, tagged."""
    got = series.parse_mbox(mail(subject, DIFF).encode(), "x")
    assert got.patches[0].subject == want


@pytest.mark.parametrize("encoding", ["quoted-printable", "base64"])
def test_encoded_bodies(encoding: str) -> None:
    """A diff in an encoded mail is the same diff."""
    diff = DIFF.replace("int d;", "int d; /* ü = 1 */")
    body = f"Reason.\n---\n{diff}-- \n2.39\n".encode()
    coded = base64.encodebytes(body) if encoding == "base64" else quopri.encodestring(body)
    head = (
        "From: Ann <a@k.org>\nSubject: [PATCH] x\nMessage-Id: <12@k.org>\nMIME-Version: 1.0\n"
        f"Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: {encoding}\n\n"
    )
    patch = series.parse_mbox(head.encode() + coded, "x.mbox").patches[0]
    assert patch.name == "12@k.org"
    assert patch.diff == f"{diff}-- \n2.39\n".encode()
    assert patch.files[0].functions == {"shrink_one"}


def test_line_ends_of_the_mail_do_not_matter() -> None:
    """A mail with CRLF is read as git's mailsplit reads it."""
    text = mail("[PATCH] x", DIFF).replace("\n", "\r\n")
    assert b"\r" not in series.parse_mbox(text.encode(), "x").patches[0].diff


def test_a_sentence_that_begins_with_from_is_no_separator() -> None:
    """Only a separator with a header behind it starts a mail."""
    text = mail("[PATCH] x", DIFF, body="so\n\nFrom here on, since 10:00 in 2024\nit is so\n")
    assert series.parse_mbox(text.encode(), "x").total == 1


def test_the_author_of_a_forwarded_patch() -> None:
    """A From line at the top of the message beats the sender."""
    assert one(DIFF, body="From: Bob <bob@k.org>\n\nSo.\n").author == "Bob <bob@k.org>"


def test_a_bare_diff_is_a_series_of_one() -> None:
    """Without mail headers the file's name is the subject."""
    patch = series.parse_mbox(DIFF.encode(), "some/fix-it.diff").patches[0]
    assert (patch.label, patch.name) == ("1/1 fix-it", "fix-it.diff")
    plain = "Index: mm/vmscan.c\n=====\n" + DIFF.split("\n", 2)[2]
    (change,) = series.parse_mbox(plain.encode(), "a.patch").patches[0].files
    assert change.path == "mm/vmscan.c"


def test_other_bytes_than_utf8_in_a_source() -> None:
    """A Latin-1 source is carried as it is."""
    data = mail("[PATCH] x", DIFF).encode().replace(b"int d;", b"int d; /* \xe9 */")
    assert b"/* \xe9 */" in series.parse_mbox(data, "x").patches[0].diff


def test_renames_modes_and_missing_newlines() -> None:
    """Extended headers are understood."""
    diff = """\
diff --git a/mm/old name.c b/mm/new name.c
similarity index 90%
rename from mm/old name.c
rename to mm/new name.c
diff --git a/scripts/x.sh b/scripts/x.sh
old mode 100644
new mode 100755
diff --git a/mm/gone.c b/mm/gone.c
deleted file mode 100644
index 1111111..0000000
--- a/mm/gone.c
+++ /dev/null
@@ -1 +0,0 @@
-x
\\ No newline at end of file
diff --git "a/mm/f\\303\\274.c" "b/mm/f\\303\\274.c"
new file mode 100644
index 0000000..1111111
--- /dev/null
+++ "b/mm/f\\303\\274.c"
@@ -0,0 +1 @@
+x
\\ No newline at end of file
"""
    files = one(diff).files
    assert [(f.path, f.old_path) for f in files] == [
        ("mm/new name.c", "mm/old name.c"),
        ("scripts/x.sh", None),
        ("mm/gone.c", None),
        ("mm/fü.c", None),
    ]
    assert files[0].paths == {"mm/new name.c", "mm/old name.c"}
    assert [len(f.hunks) for f in files] == [0, 0, 1, 1]


def test_trailing_space_lost_on_empty_context_lines() -> None:
    """GNU diff and some editors write an empty context line without its space; git apply takes it."""
    assert one(DIFF.replace("\n \n", "\n\n")).files[0].lines == ((13, 14),)


@pytest.mark.parametrize("path", ["a/../etc/passwd", "a//etc/passwd", "/etc/passwd", "a/.git/config", "a/x/.GIT/y"])
def test_paths_that_leave_the_tree(path: str) -> None:
    """Nothing outside the tree, nothing in .git, absolute or relative."""
    diff = f"--- {path}\n+++ {path}\n@@ -1 +1 @@\n-a\n+b\n"
    message = refused(mail("[PATCH] evil", diff))
    assert "x.mbox: patch 1/1 evil" in message
    assert path in message


def test_a_rename_out_of_the_tree() -> None:
    """The paths of a rename are judged too."""
    diff = "diff --git a/mm/a b/mm/b\nsimilarity index 100%\nrename from mm/a\nrename to ../b\n"
    assert "leaves the tree" in refused(mail("[PATCH] x", diff))


def test_a_path_without_prefix() -> None:
    """Level -p1 needs something to strip."""
    assert "vmscan.c" in refused("--- vmscan.c\n+++ vmscan.c\n@@ -1 +1 @@\n-a\n+b\n")


def link(path: str, target: str) -> str:
    """Write the diff that makes a symlink."""
    return (
        f"diff --git a/{path} b/{path}\nnew file mode 120000\nindex 0000000..1111111\n--- /dev/null\n+++ b/{path}\n"
        f"@@ -0,0 +1 @@\n+{target}\n\\ No newline at end of file\n"
    )


@pytest.mark.parametrize("target", ["/etc", "../..", "../mm/../../x", "a/../../../x"])
def test_symlinks_out_of_the_tree(target: str) -> None:
    """A symlink may point within the tree only."""
    message = refused(mail("[PATCH] x", link("mm/l", target)))
    assert "mm/l" in message
    assert target in message


def test_symlinks_within_the_tree() -> None:
    """Such a one is fine, until something is written below it."""
    assert one(link("mm/l", "../fs")).files[0].link == "../fs"
    below = "diff --git a/mm/l/x b/mm/l/x\nnew file mode 100644\n--- /dev/null\n+++ b/mm/l/x\n@@ -0,0 +1 @@\n+a\n"
    text = mail("[PATCH 1/2] link", link("mm/l", "../fs")) + mail("[PATCH 2/2] below", below)
    message = refused(text)
    assert "patch 2/2 below" in message
    assert "symlink mm/l" in message


def test_submodules_are_refused() -> None:
    """A submodule is no file."""
    diff = (
        "diff --git a/sub b/sub\nnew file mode 160000\n--- /dev/null\n+++ b/sub\n@@ -0,0 +1 @@\n+Subproject commit 1\n"
    )
    assert "submodule" in refused(mail("[PATCH] x", diff))


@pytest.mark.parametrize(
    "body",
    ["GIT binary patch\nliteral 3\nKcmZQz\n\nliteral 0\nHcmV?d00001\n", "Binary files a/x.png and b/x.png differ\n"],
)
def test_binary_patches_are_refused(body: str) -> None:
    """Both ways in which git writes a binary change."""
    diff = f"diff --git a/x.png b/x.png\nindex 1111111..2222222 100644\n{body}"
    message = refused(mail("[PATCH] x", diff))
    assert "x.png" in message
    assert "binary" in message


@pytest.mark.parametrize("keep", range(5, 12))
def test_truncated_in_a_hunk(keep: int) -> None:
    """A hunk shorter than its header says is named with its file, with or without a signature behind it."""
    cut = "".join(DIFF.splitlines(keepends=True)[:keep])
    for signature in ("", "-- \n2.39.5\n"):
        message = refused(mail("[PATCH] x", cut, signature=signature))
        assert "truncated" in message
        assert "mm/vmscan.c, hunk @@ -10,7 +10,8 @@" in message


def test_truncated_before_another_file() -> None:
    """The next file's header does not fill up a hunk."""
    cut = "".join(DIFF.splitlines(keepends=True)[:8])
    assert "mm/vmscan.c, hunk @@ -10,7 +10,8 @@" in refused(mail("[PATCH] x", cut + SECOND))


def test_truncated_in_a_line() -> None:
    """The last line of the last hunk has to be whole."""
    assert "middle of a line" in refused(mail("[PATCH] x", DIFF[:-1], signature=""))


def test_truncated_between_files() -> None:
    """What the diffstat promises has to be there, unless the signature shows that the end is the end."""
    stat = " mm/list_lru.c | 1 -\n mm/vmscan.c   | 3 ++-\n 2 files changed, 2 insertions(+), 2 deletions(-)\n\n"
    assert "diffstat says 2 files" in refused(mail("[PATCH] x", stat + DIFF, signature=""))
    assert len(one(stat + DIFF).files) == 1
    assert len(one(stat + DIFF + SECOND, signature="").files) == 2


def test_a_numbered_patch_that_lost_its_diff() -> None:
    """Patch 2/2 without a diff is no cover letter."""
    assert "2/2 two" in refused(mail("[PATCH 1/2] one", DIFF) + mail("[PATCH 2/2] two", "", signature=""))


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (b"\0" * 1_000_000, "NUL"),
        (b"\x1f\x8b\x08\0\0", "binary"),
        (b"<html>no</html>\n", "no patch"),
        (mail("[PATCH 0/3] cover only", "").encode(), "no patch"),
        (mail("hello", "").encode(), "no patch"),
        (mail("[PATCH] x", "--- a/x\n+++ b/x\n").encode(), "x"),
    ],
)
def test_no_patch_at_all(data: bytes, want: str) -> None:
    """Each kind of nothing has its line."""
    message = refused(data)
    assert message.startswith("x.mbox: ")
    assert want in message


def test_quilt_lists() -> None:
    """Comments and -p1 are understood."""
    text = "# head\n\na.patch\nsub/b.patch -p1 # why\n c.patch\t#-p2\n"
    assert series.parse_quilt(text, "series") == ("a.patch", "sub/b.patch", "c.patch")


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("a.patch -p0\n", "series:1"),
        ("a.patch\nb.patch -R\n", "series:2"),
        ("../a.patch\n", "outside"),
        ("/a.patch\n", "outside"),
        ("a.patch\na.patch\n", "twice"),
        ("# nothing\n", "no patch"),
    ],
)
def test_quilt_refusals(text: str, want: str) -> None:
    """Another level, a reversed patch, a name outside, nothing."""
    with pytest.raises(UserError, match=want):
        series.parse_quilt(text, "series")


def test_named_patches_make_a_series() -> None:
    """Files in their order, each with its name; a cover letter among them is left out."""
    texts = [
        ("p/0000-cover.patch", mail("[PATCH 0/2] c", "").encode()),
        ("p/0001-a.patch", mail("[PATCH 1/2] a", DIFF).encode()),
        ("p/0002-b.patch", SECOND.encode()),
    ]
    got = series.parse_patches("p", texts)
    assert [(p.label, p.name) for p in got.patches] == [("1/2 a", "0001-a.patch"), ("2/2 0002-b", "0002-b.patch")]
    with pytest.raises(UserError, match=r"p/0003-c\.patch: there is no patch in it"):
        series.parse_patches("p", [*texts, ("p/0003-c.patch", b"nothing\n")])


def test_damage_never_ends_in_anything_but_a_user_error() -> None:
    """Whatever bytes are lost or changed, it is a series or one clear line."""
    dice = random.Random(6)
    whole = (mail("[PATCH 1/2] one", DIFF) + mail("=?utf-8?q?=5BPATCH_2/2=5D?= two", SECOND)).encode()
    refusals = 0
    totals = set()
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(data))
            data[at : at + dice.choice((0, 1, 1, 30))] = bytes(
                dice.choices(b'\n -+@"\\/.d\xff\x00=?', k=dice.randint(0, 2))
            )
        with contextlib.suppress(UserError):
            totals.add(series.parse_mbox(bytes(data), "x").total)
            continue
        refusals += 1
    assert refusals > 100
    assert 2 in totals
