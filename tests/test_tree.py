"""Trees: sources of every form, cuts, work trees; and a user's repository that nothing changes."""

import hashlib
import io
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline import series, tree
from pipeline.errors import PipelineError, TreeError, UserError
from pipeline.progress import Silent
from pipeline.store import Store
from pipeline.tree import source as source_room

MAKEFILE = "# SPDX\nVERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 7\nEXTRAVERSION = -rc1\nNAME = Test\n"
VMSCAN = "".join(f"int line{n};\n" for n in range(1, 31)) + "int shrink(int a)\n{\n\tint b = a;\n\n\treturn b;\n}\n"
FILES = {
    "Makefile": MAKEFILE,
    "Kconfig": "config X\n",
    "mm/vmscan.c": VMSCAN,
    "mm/list_lru.c": "one\ntwo\nthree\n",
    "scripts/run.sh": "#!/bin/sh\n",
    "Documentation/a b.rst": "text\n",
}


def git(folder: Path, *args: str) -> str:
    """Run git as a user does, with settings that would hurt if kpv read them."""
    env = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_AUTHOR_NAME": "Ann",
        "GIT_AUTHOR_EMAIL": "ann@k.org",
        "GIT_COMMITTER_NAME": "Ann",
        "GIT_COMMITTER_EMAIL": "ann@k.org",
    }
    argv = ["git", "-C", str(folder), *args]
    return subprocess.run(argv, check=True, capture_output=True, env=env, text=True).stdout


def fill(folder: Path, files: Mapping[str, str] = FILES) -> Path:
    """Write a tree shaped like a kernel."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "scripts/run.sh").chmod(0o755)
    if not (folder / "scripts/link").is_symlink():
        (folder / "scripts/link").symlink_to("../mm")
    return folder


def commit(folder: Path, message: str, files: Mapping[str, str | None] | None = None) -> str:
    """Commit these files, and whatever else changed; None removes one."""
    for name, text in (files or {}).items():
        path = folder / name
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    git(folder, "add", "-A", "-f")
    git(folder, "commit", "-qm", message)
    return git(folder, "rev-parse", "HEAD").strip()


@pytest.fixture(autouse=True)
def _nothing_lands_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run every test in an empty folder, and see that it stays so."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    yield
    assert list(here.iterdir()) == []


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """Make a user's git tree with one commit, tagged v6.12."""
    folder = fill(tmp_path / "linux")
    git(folder, "init", "-q", "-b", "master")
    commit(folder, "base")
    git(folder, "tag", "v6.12")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Make an empty store."""
    return Store(tmp_path / "cache")


def opened(store: Store, spec: object, base: str | None = None) -> tree.Source:
    """Open a source that nobody watches."""
    return tree.open_source(store, str(spec), base, Silent())


def patch_of(folder: Path, edits: Mapping[str, str | None], subject: str = "mm: change") -> str:
    """Return a mail for `edits` made on HEAD, which stays where it is."""
    head = git(folder, "rev-parse", "HEAD").strip()
    commit(folder, subject, files=edits)
    text = git(folder, "format-patch", "--stdout", "-1")
    git(folder, "reset", "-q", "--hard", head)
    return text


def saved(tmp_path: Path, text: str, name: str = "a.mbox") -> series.Series:
    """Load a series from text."""
    path = tmp_path / name
    path.write_text(text)
    return tree.load_series(path)


def state(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Everything about a tree that could change: bytes, modes and times of all files, names of folders."""
    found = {}
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = (hashlib.sha256(data).hexdigest(), stat.st_mode, stat.st_mtime_ns)
    return found


def hashes(made: Iterable[tree.Cut]) -> list[tuple[str, str]]:
    """Return commits and trees of cuts."""
    return [(cut.commit, cut.tree) for cut in made]


def left(store: Store) -> list[str]:
    """Names of what the store's repositories hold besides locks."""
    return sorted(p.name for p in (store.root / "repos").glob("*")) if (store.root / "repos").exists() else []


# Sources


def test_a_git_tree(store: Store, user: Path) -> None:
    """HEAD is the base when none is named; version and tree are those of the commit."""
    got = opened(store, user)
    assert got.base == git(user, "rev-parse", "HEAD").strip()
    assert got.tree == git(user, "rev-parse", "HEAD^{tree}").strip()
    assert got.version == "6.12.7-rc1"
    assert got.spec == str(user)
    assert got.repo.is_relative_to(store.root)
    assert not got.dirty
    assert opened(store, user) == got


def test_a_base_revision(store: Store, user: Path) -> None:
    """--base names any revision, and what comes later is seen without a second repository."""
    first = opened(store, user, "v6.12")
    second = commit(user, "next", files={"mm/list_lru.c": "one\n"})
    assert opened(store, user).base == second
    assert opened(store, user, "v6.12") == first
    assert opened(store, user, "HEAD~1").base == first.base
    assert left(store) == [first.repo.name]
    with pytest.raises(UserError, match=r"no revision v6\.13 .*did you mean v6\.12\?"):
        opened(store, user, "v6.13")
    for odd in ("--all", "", "HEAD:mm"):
        with pytest.raises(UserError, match="no revision"):
            source_room.resolve(source_room.user_repo(user), odd)


def test_other_kinds_of_git_tree(store: Store, user: Path, tmp_path: Path) -> None:
    """A worktree, a bare clone, one with alternates of its own, a shallow one, a detached HEAD, SHA-256."""
    base = git(user, "rev-parse", "HEAD").strip()
    commit(user, "next", files={"mm/list_lru.c": "one\n"})
    git(user, "worktree", "add", "-q", "--detach", str(tmp_path / "wt"), base)
    git(tmp_path, "clone", "-q", "--bare", str(user), "bare.git")
    git(tmp_path, "clone", "-q", "--shared", str(user), "shared")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{user}", "shallow")
    git(user, "checkout", "-q", "--detach", "v6.12")
    assert opened(store, tmp_path / "wt").base == base
    assert not opened(store, tmp_path / "wt").dirty
    (tmp_path / "wt/Kconfig").write_text("")
    assert opened(store, tmp_path / "wt").dirty
    assert opened(store, user).base == base
    for name in ("bare.git", "shared", "shallow"):
        got = opened(store, tmp_path / name)
        assert tree.show(got, got.base, "mm/list_lru.c") == b"one\n"
        edit = {"mm/list_lru.c": "one\nfour\n"}
        given = saved(tmp_path, patch_of(tmp_path / "shared", edit))
        assert tree.cuts(store, got, given)[1].patch == given.patches[0]
    fill(tmp_path / "sha256")
    git(tmp_path / "sha256", "init", "-q", "--object-format=sha256")
    commit(tmp_path / "sha256", "base")
    got = opened(store, tmp_path / "sha256")
    given = saved(tmp_path, patch_of(tmp_path / "sha256", {"mm/list_lru.c": "one\n"}))
    assert len(tree.cuts(store, got, given)[1].commit) == 64


def test_partial_clones(store: Store, user: Path, tmp_path: Path) -> None:
    """One that has all files of the base is a tree like any; one that lacks some is refused, nothing is fetched."""
    git(user, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--filter=blob:none", f"file://{user}", "has")
    git(tmp_path, "clone", "-q", "--filter=blob:none", "--no-checkout", f"file://{user}", "lacks")
    before = state(tmp_path / "lacks")
    with pytest.raises(UserError, match="a partial clone that lacks files"):
        opened(store, tmp_path / "lacks")
    assert state(tmp_path / "lacks") == before
    assert left(store) == []
    assert opened(store, tmp_path / "has").version == "6.12.7-rc1"


def test_uncommitted_changes_are_seen_and_not_tested(store: Store, user: Path) -> None:
    """Changed and staged files make it dirty; untracked and touched ones do not."""
    (user / "new.txt").write_text("x")
    os.utime(user / "mm/vmscan.c", (1, 1))
    assert not opened(store, user).dirty
    (user / "mm/vmscan.c").write_text("changed\n")
    got = opened(store, user)
    assert got.dirty
    assert tree.show(got, got.base, "mm/vmscan.c") == VMSCAN.encode()
    git(user, "add", "mm/vmscan.c")
    assert opened(store, user).dirty


def test_a_plain_folder(store: Store, tmp_path: Path) -> None:
    """Its content is the base; a change in it is another base in the same repository."""
    folder = fill(tmp_path / "src")
    before = state(folder)
    got = opened(store, folder)
    assert state(folder) == before
    assert got.version == "6.12.7-rc1"
    assert opened(store, folder) == got
    (folder / "mm/list_lru.c").write_text("other\n")
    (folder / ".gitignore").write_text("mm/*\n")
    again = opened(store, folder)
    assert again.base != got.base
    assert again.repo == got.repo
    assert tree.changed_paths(got, got.tree, again.tree) == (".gitignore", "mm/list_lru.c")
    out = tmp_path / "out"
    tree.checkout(again, again.base, out)
    assert (out / "scripts/link").readlink() == Path("../mm")
    assert os.access(out / "scripts/run.sh", os.X_OK)
    assert not os.access(out / "Makefile", os.X_OK)
    with pytest.raises(UserError, match=r"--base v6\.12 means nothing"):
        opened(store, folder, "v6.12")


def test_a_folder_that_was_built_in(store: Store, tmp_path: Path) -> None:
    """Objects and a .config in the sources would spoil every build."""
    folder = fill(tmp_path / "src")
    (folder / ".config").write_text("")
    with pytest.raises(UserError, match="mrproper"):
        opened(store, folder)
    assert left(store) == []


def packed(folder: Path, path: Path, mode: Any) -> Path:
    """Make a tarball of a folder as git archive and dpkg do: all under one folder."""
    with tarfile.open(path, mode) as tar:
        tar.add(folder, "linux-6.12")
    return path


@pytest.mark.parametrize("form", ["tar", "tar.gz", "tar.xz", "tar.zst", "tar.bz2"])
def test_tarballs(store: Store, tmp_path: Path, form: str) -> None:
    """Every compression gives the tree that the folder gives."""
    folder = fill(tmp_path / "src")
    os.link(folder / "mm/list_lru.c", folder / 'mm/hard "link".c')
    (folder / "empty").mkdir()
    if form == "tar.zst":
        plain = packed(folder, tmp_path / "l.tar", "w")
        subprocess.run(["zstd", "-q", str(plain)], check=True)
        path = tmp_path / "l.tar.zst"
    else:
        path = packed(folder, tmp_path / f"l.{form}", f"w:{form[4:]}")
    got = opened(store, path)
    assert got.tree == opened(store, folder).tree
    assert got.version == "6.12.7-rc1"
    assert opened(store, path) == got
    with pytest.raises(UserError, match="means nothing"):
        opened(store, path, "HEAD")


def test_a_tarball_without_a_top_folder(store: Store, tmp_path: Path) -> None:
    """Files at the top are the tree."""
    folder = fill(tmp_path / "src")
    with tarfile.open(tmp_path / "l.tar", "w") as tar:
        tar.add(folder, ".")
    assert opened(store, tmp_path / "l.tar").tree == opened(store, folder).tree


def evil(path: Path, kind: bytes, name: str, target: str = "") -> Path:
    """Make a tarball with one member nobody should unpack."""
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo(name)
        member.type = kind
        member.linkname = target
        tar.addfile(member, io.BytesIO(b""))
    return path


def test_tarballs_that_are_refused(store: Store, tmp_path: Path) -> None:
    """Damaged, no tarball, no kernel, unsafe members: one line each and an empty store."""
    folder = fill(tmp_path / "src")
    whole = packed(folder, tmp_path / "l.tar.xz", "w:xz").read_bytes()
    (tmp_path / "short.tar.xz").write_bytes(whole[: len(whole) // 2])
    plain = packed(folder, tmp_path / "l.tar", "w").read_bytes()
    (tmp_path / "short.tar").write_bytes(plain[:5000])
    (tmp_path / "text.tar").write_text("hello\n")
    (tmp_path / "none").mkdir()
    (tmp_path / "none/Makefile").write_text("all:\n")
    packed(tmp_path / "none", tmp_path / "none.tar", "w")
    evil(tmp_path / "up.tar", tarfile.REGTYPE, "../x")
    evil(tmp_path / "abs.tar", tarfile.REGTYPE, "/x")
    evil(tmp_path / "dev.tar", tarfile.CHRTYPE, "x/null")
    for name, want in {
        "short.tar.xz": "cannot be unpacked",
        "short.tar": "cannot be unpacked",
        "text.tar": "cannot be unpacked",
        "none.tar": "not a kernel tree: it has no Kconfig, no mm",
        "up.tar": "lies outside",
        "abs.tar": "lies outside",
        "dev.tar": "device",
    }.items():
        with pytest.raises(UserError, match=want) as caught:
            opened(store, tmp_path / name)
        assert caught.value.todo, name
        assert left(store) == [], name


def test_debian_packages(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's tarball is found by version; a missing one names the command that installs it."""
    monkeypatch.setattr(source_room, "SOURCES", tmp_path)
    packed(fill(tmp_path / "src"), tmp_path / "linux-source-6.12.tar.xz", "w:xz")
    got = opened(store, "debian:6.12")
    assert got.version == "6.12.7-rc1"
    assert opened(store, "debian:6.12") == got
    with pytest.raises(UserError, match=r"apt-get install linux-source-6\.13.*debian:6\.12"):
        opened(store, "debian:6.13")
    with pytest.raises(UserError, match="means nothing"):
        opened(store, "debian:6.12", "v6.12")


def test_paths_that_are_no_kernel(store: Store, tmp_path: Path, user: Path) -> None:
    """No such path, an empty folder, git trees without a kernel or without a commit, a folder within a tree."""
    with pytest.raises(UserError, match="did you mean linux"):
        opened(store, tmp_path / "linus")
    (tmp_path / "empty").mkdir()
    git(tmp_path, "init", "-q", "unborn")
    git(tmp_path, "init", "-q", "other")
    commit(tmp_path / "other", "x", files={"Makefile": "all:\n"})
    (tmp_path / "broken/.git").mkdir(parents=True)
    for path, want in {
        tmp_path / "empty": "not a kernel tree",
        tmp_path / "unborn": "no revision HEAD",
        tmp_path / "other": "no Kconfig, no mm",
        tmp_path / "broken": "git cannot read",
        user / "mm": "not a kernel tree",
        Path("/dev/null"): "neither a folder nor a file",
    }.items():
        with pytest.raises(UserError, match=want):
            opened(store, path)
        assert left(store) == []


def test_a_makefile_without_a_version(store: Store, user: Path) -> None:
    """A Makefile alone makes no kernel."""
    commit(user, "x", files={"Makefile": "all:\n"})
    with pytest.raises(UserError, match="no VERSION in Makefile"):
        opened(store, user)


def test_no_space(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is asked before the work."""
    monkeypatch.setattr(source_room, "ROOM", 1 << 60)
    with pytest.raises(UserError, match="GB are free"):
        opened(store, fill(tmp_path / "src"))
    assert left(store) == []


def test_an_interrupted_import_leaves_nothing(store: Store, tmp_path: Path) -> None:
    """Ctrl-C in the middle of a tarball."""
    path = packed(fill(tmp_path / "src"), tmp_path / "l.tar.gz", "w:gz")

    class Impatient(Silent):
        def step(self, done: float, note: str = "") -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tree.open_source(store, str(path), None, Impatient())
    assert left(store) == []
    assert opened(store, path).version == "6.12.7-rc1"


def test_two_at_once_import_once(store: Store, tmp_path: Path) -> None:
    """The second waits for the first and finds the entry."""
    path = packed(fill(tmp_path / "src"), tmp_path / "l.tar.gz", "w:gz")
    got = []
    threads = [threading.Thread(target=lambda: got.append(opened(store, path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 3
    assert len(set(got)) == 1


# Series


def test_series_of_every_form(tmp_path: Path, user: Path) -> None:
    """An mbox, a folder, a folder with a quilt list, the list itself, a range: the same patches."""
    commit(user, "mm: first", files={"mm/list_lru.c": "one\n"})
    commit(user, "mm: second", files={"mm/list_lru.c": "one\ntwo\n"})
    labels = ["1/2 mm: first", "2/2 mm: second"]
    (tmp_path / "x.mbox").write_text(git(user, "format-patch", "--stdout", "-2"))
    case = tmp_path / "case"
    case.mkdir()
    git(user, "format-patch", "-q", "-o", str(case), "--cover-letter", "-2")
    (case / "case.yaml").write_text("x: 1\n")
    quilt = tmp_path / "quilt"
    quilt.mkdir()
    for number, path in enumerate(sorted(case.glob("000[12]*")), 1):
        (quilt / f"z{9 - number}.patch").write_text(path.read_text())
    (quilt / "series").write_text("z8.patch\n# no\nz7.patch -p1\n")
    loaded = [tree.load_series(p) for p in (tmp_path / "x.mbox", case, quilt, quilt / "series")]
    loaded.append(tree.series_from_range(user, "v6.12..HEAD"))
    loaded.append(tree.series_from_range(user, "v6.12.."))
    for got in loaded:
        assert [p.label for p in got.patches] == labels
        assert [p.files[0].path for p in got.patches] == ["mm/list_lru.c"] * 2
    assert [got.name for got in loaded] == ["x.mbox", "case", "quilt", "quilt", "v6.12..HEAD", "v6.12.."]


@pytest.mark.parametrize("form", ["--attach", "--inline", "--no-stat", "--no-signature", "--full-index"])
def test_mails_of_every_shape(tmp_path: Path, user: Path, store: Store, form: str) -> None:
    """Whatever git format-patch can be told to write, and an author with an unusual name."""
    (user / "mm/list_lru.c").write_text("one\n/* grüße */\n")
    git(user, "commit", "-qam", "mm: grüße im März", "--author", "Jörg Ö <j@k.org>")
    given = saved(tmp_path, git(user, "format-patch", "--stdout", form, "-1"))
    assert given.patches[0].label == "1/1 mm: grüße im März"
    assert given.patches[0].author == "Jörg Ö <j@k.org>"
    made = tree.cuts(store, opened(store, user, "v6.12"), given)
    assert made[1].tree == git(user, "rev-parse", "HEAD^{tree}").strip()


def test_series_that_are_not_there(tmp_path: Path) -> None:
    """No file, nothing in the folder, a quilt list that names what is not there, no regular file."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "fixes.mbox").write_text("")
    (tmp_path / "q").mkdir()
    (tmp_path / "q/series").write_text("a1.patch\n")
    (tmp_path / "q/a2.patch").write_text("")
    for path, want in {
        tmp_path / "fixs.mbox": r"no such series.*did you mean fixes\.mbox",
        tmp_path / "nowhere/x": "no such series; give",
        tmp_path / "folder": r"no \*\.patch file",
        tmp_path / "fixes.mbox": "empty",
        tmp_path / "q": r"a1\.patch is not there.*did you mean a2\.patch",
        Path("/dev/zero"): "no regular file",
    }.items():
        with pytest.raises(UserError, match=want):
            tree.load_series(path)
    with (tmp_path / "big.mbox").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match="is no patch series"):
        tree.load_series(tmp_path / "big.mbox")


def test_ranges_that_are_refused(tmp_path: Path, user: Path) -> None:
    """No range, unknown ends, empty, a merge in it, no git tree."""
    git(user, "checkout", "-qb", "side")
    commit(user, "side", files={"mm/side.c": "x\n"})
    git(user, "checkout", "-q", "master")
    commit(user, "main", files={"mm/main.c": "x\n"})
    git(user, "merge", "-q", "--no-edit", "side")
    for span, want in {
        "v6.12": "no range",
        "v6.12...HEAD": "no range",
        "nope..HEAD": "no revision nope",
        "HEAD..v6.12": "no commit",
        "v6.12..HEAD": "holds a merge",
    }.items():
        with pytest.raises(UserError, match=want):
            tree.series_from_range(user, span)
    with pytest.raises(UserError, match="no git tree"):
        tree.series_from_range(tmp_path, "a..b")


def test_a_range_does_not_follow_the_users_settings(user: Path) -> None:
    """Settings for mails and diffs in the user's repository do not change the series."""
    commit(user, "mm: first", files={"mm/list_lru.c": "one\n"})
    plain = tree.series_from_range(user, "v6.12..HEAD")
    for name, value in {"diff.noprefix": "true", "format.attach": "xx", "format.signOff": "true"}.items():
        git(user, "config", name, value)
    assert tree.series_from_range(user, "v6.12..HEAD") == plain


# Cuts


def test_cuts(store: Store, user: Path, tmp_path: Path) -> None:
    """Cut k is the base with k patches, and equals what git am makes of it."""
    commit(user, "1", files={"mm/list_lru.c": "one\n", "mm/new.c": "new\n", "scripts/run.sh": None})
    commit(user, "2", files={"mm/renamed.c": VMSCAN, "mm/vmscan.c": None, "Documentation/a b.rst": "other\n"})
    (user / "mm/new.c").chmod(0o755)
    commit(user, "3")
    (user / "mm/l").symlink_to("new.c")
    commit(user, "4")
    trees = [git(user, "rev-parse", f"HEAD~{n}^{{tree}}").strip() for n in (4, 3, 2, 1, 0)]
    given = saved(tmp_path, git(user, "format-patch", "--stdout", "v6.12.."))
    got = tree.cuts(store, opened(store, user, "v6.12"), given)
    assert [cut.tree for cut in got] == trees
    assert [cut.index for cut in got] == [0, 1, 2, 3, 4]
    assert [cut.patch for cut in got] == [None, *given.patches]
    assert tree.changed_paths(opened(store, user), got[2].tree, got[4].tree) == ("mm/l", "mm/new.c")


def test_cuts_are_the_same_every_time(store: Store, user: Path, tmp_path: Path) -> None:
    """Other stores, other times, other ways to the same patches: the same commits, made once."""
    text = patch_of(user, {"mm/list_lru.c": "one\n"}) + patch_of(user, {"mm/vmscan.c": "int x;\n"})
    source = opened(store, user)
    first = tree.cuts(store, source, saved(tmp_path, text))
    packs = state(source.repo)
    assert hashes(tree.cuts(store, source, saved(tmp_path, text, "b.mbox"))) == hashes(first)
    assert state(source.repo) == packs
    other = Store(tmp_path / "other")
    assert tree.cuts(other, opened(other, user), saved(tmp_path, text)) == first
    assert not list(source.repo.glob("scratch-*"))
    git(source.repo, "fsck", "--strict", "--connectivity-only", first[-1].commit)


def test_an_empty_series_is_the_base(store: Store, user: Path) -> None:
    """Cut 0 alone."""
    source = opened(store, user)
    assert tree.cuts(store, source, series.Series("none", ())) == (tree.Cut(0, source.base, source.tree, None),)


def test_offsets_are_fine(store: Store, user: Path, tmp_path: Path) -> None:
    """Lines above a hunk may have moved, as with git am."""
    text = patch_of(user, {"mm/vmscan.c": VMSCAN.replace("b = a;", "b = a + 1;")})
    commit(user, "moved", files={"mm/vmscan.c": "int before;\n" * 5 + VMSCAN})
    source = opened(store, user)
    got = tree.cuts(store, source, saved(tmp_path, text))
    want = "int before;\n" * 5 + VMSCAN.replace("b = a;", "b = a + 1;")
    assert tree.show(source, got[1].commit, "mm/vmscan.c") == want.encode()


def test_three_way_fallback(store: Store, user: Path, tmp_path: Path) -> None:
    """Context that changed since is merged through the blob the patch was made on; plain apply refuses it."""
    text = patch_of(user, {"mm/vmscan.c": VMSCAN.replace("b = a;", "b = a + 1;")})
    moved = VMSCAN.replace("int shrink(int a)", "long shrink(int a)")
    commit(user, "context", files={"mm/vmscan.c": moved})
    plain = subprocess.run(
        ["git", "-C", str(user), "apply", "--check"], check=False, input=text.encode(), capture_output=True
    )
    assert plain.returncode != 0
    source = opened(store, user)
    before = state(user)
    got = tree.cuts(store, source, saved(tmp_path, text))
    assert state(user) == before
    assert tree.show(source, got[1].commit, "mm/vmscan.c") == moved.replace("b = a;", "b = a + 1;").encode()


def test_a_patch_that_does_not_apply(store: Store, user: Path, tmp_path: Path) -> None:
    """The patch, the file and the hunk are named; nothing is left of the try."""
    good = patch_of(user, {"mm/list_lru.c": "one\n"}, "mm: good")
    changed = VMSCAN.replace("line2;", "line2 = 1;").replace("b = a;", "b = a + 1;")
    bad = patch_of(user, {"mm/vmscan.c": changed}, "mm: bad")
    commit(user, "away", files={"mm/vmscan.c": VMSCAN.replace("b = a;", "b = a - 9;")})
    source = opened(store, user)
    given = saved(tmp_path, good + bad)
    for _ in range(2):
        with pytest.raises(TreeError) as caught:
            tree.cuts(store, source, given)
        error = caught.value
        assert error.patch == "2/2 mm: bad"
        assert error.file == "mm/vmscan.c"
        assert error.hunk.startswith("@@ -30,7 +30,7 @@")
        assert error.hunk in str(error)
        assert "patch failed: mm/vmscan.c:30" in error.detail
        assert not list(source.repo.glob("scratch-*"))
    assert tree.cuts(store, source, saved(tmp_path, good))[1].index == 1


def test_files_that_are_not_as_the_patch_says(store: Store, user: Path, tmp_path: Path) -> None:
    """A missing file, one that is there already, a folder in its place."""
    text = patch_of(user, {"mm/vmscan.c": "int x;\n"})
    gone = text.replace("mm/vmscan.c", "mm/nope.c")
    new = patch_of(user, {"mm/new.c": "x\n"}).replace("mm/new.c", "mm/list_lru.c")
    folder = patch_of(user, {"new": "x\n"}).replace("a/new b/new", "a/mm b/mm").replace("+++ b/new", "+++ b/mm")
    below = patch_of(user, {"new": "x\n"}).replace("a/new b/new", "a/Kconfig/x b/Kconfig/x")
    below = below.replace("+++ b/new", "+++ b/Kconfig/x")
    source = opened(store, user)
    for mail, file, want in (
        (gone, "mm/nope.c", "does not exist"),
        (new, "mm/list_lru.c", "already exists"),
        (folder, "mm", "is a folder"),
        (below, "Kconfig/x", "a file is where Kconfig/x needs a folder"),
    ):
        with pytest.raises(TreeError, match=want) as caught:
            tree.cuts(store, source, saved(tmp_path, mail))
        assert caught.value.file == file


def test_a_reversed_patch(store: Store, user: Path, tmp_path: Path) -> None:
    """What applies with -R only is the user's mistake; so is what the base has already."""
    edits: tuple[Mapping[str, str | None], ...] = (
        {"mm/vmscan.c": VMSCAN.replace("b = a;", "b = 2;")},
        {"mm/new.c": "x\n"},
        {"mm/list_lru.c": None},
    )
    for edit in edits:
        right = patch_of(user, edit, "mm: turned")
        head = git(user, "rev-parse", "HEAD").strip()
        commit(user, "mm: turned", files=edit)
        turned = git(user, "format-patch", "--stdout", "-1")
        diff = git(user, "diff", "HEAD", "HEAD~1")
        applied = opened(store, user)
        git(user, "reset", "-q", "--hard", head)
        turned = turned[: turned.index("diff --git")] + diff
        turned = "".join(line for line in turned.splitlines(keepends=True) if " changed, " not in line)
        for source, text in ((opened(store, user), turned), (applied, right)):
            with pytest.raises(UserError, match="patch 1/1 mm: turned: looks reversed or already applied"):
                tree.cuts(store, source, saved(tmp_path, text))


def test_a_patch_that_git_cannot_read(store: Store, user: Path, tmp_path: Path) -> None:
    """What our reading lets pass and git's does not is the user's mistake too."""
    text = patch_of(user, {"mm/list_lru.c": "one\n"}, "mm: odd").replace(
        "@@ -1,3 +1 @@", "@@ -1,3 +1 @@\n@@ -0,0 +0,0 @@"
    )
    with pytest.raises(UserError, match="patch 1/1 mm: odd"):
        tree.cuts(store, opened(store, user), saved(tmp_path, text))


def test_a_patch_given_twice(store: Store, user: Path, tmp_path: Path) -> None:
    """The second of two equal patches is already applied."""
    text = patch_of(user, {"mm/list_lru.c": "one\n"}, "mm: twice")
    with pytest.raises(UserError, match="patch 2/2 mm: twice: looks reversed or already applied"):
        tree.cuts(store, opened(store, user), saved(tmp_path, text * 2))


def test_a_write_through_a_symlink_of_the_base(store: Store, user: Path, tmp_path: Path) -> None:
    """scripts/link is a symlink in the base; nothing is written below it."""
    for text in (
        patch_of(user, {"mm/new.c": "x\n"}, "mm: through").replace("mm/new.c", "scripts/link/new.c"),
        patch_of(user, {"mm/list_lru.c": "x\n"}, "mm: through").replace("mm/list_lru.c", "scripts/link/list_lru.c"),
    ):
        with pytest.raises(UserError, match=r"patch 1/1 mm: through: .*through the symlink scripts/link of the base"):
            tree.cuts(store, opened(store, user), saved(tmp_path, text))


def test_a_series_may_turn_a_symlink_into_a_folder(store: Store, user: Path, tmp_path: Path) -> None:
    """What is below it afterwards is not written through it."""
    (user / "scripts/link").unlink()
    commit(user, "mm: no link")
    commit(user, "mm: folder", files={"scripts/link/new.c": "x\n"})
    want = git(user, "rev-parse", "HEAD^{tree}").strip()
    given = saved(tmp_path, git(user, "format-patch", "--stdout", "-2"))
    assert tree.cuts(store, opened(store, user, "v6.12"), given)[2].tree == want


# Work trees


def test_checkout_writes_only_what_differs(store: Store, user: Path, tmp_path: Path) -> None:
    """Files that are the same keep their times, so that make rebuilds little."""
    source = opened(store, user)
    text = patch_of(user, {"mm/list_lru.c": "one\n", "mm/new.c": "new\n"})
    base, patched = tree.cuts(store, source, saved(tmp_path, text))
    folder = store.root / "work/src"
    tree.checkout(source, base.commit, folder)
    assert (folder / "mm/vmscan.c").read_text() == VMSCAN
    assert not (folder / ".git").exists()
    for path in folder.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000), follow_symlinks=False)
    tree.checkout(source, base.commit, folder)
    times = {p: p.lstat().st_mtime for p in folder.rglob("*") if not p.is_dir()}
    tree.checkout(source, patched.commit, folder)
    after = {p: p.lstat().st_mtime for p in folder.rglob("*") if not p.is_dir()}
    assert {str(p.relative_to(folder)) for p in after if times.get(p) != after[p]} == {"mm/list_lru.c", "mm/new.c"}
    tree.checkout(source, base.commit, folder)
    assert not (folder / "mm/new.c").exists()


def test_checkout_mends_a_folder(store: Store, user: Path, tmp_path: Path) -> None:
    """Changed, removed, added and half-written files, a stale lock, a lost index: all gone."""
    source = opened(store, user)
    folder = store.root / "work/src"
    index = folder.with_name("src.index")

    def changed() -> None:
        (folder / "mm/vmscan.c").write_text("half")

    def removed() -> None:
        (folder / "Makefile").unlink()

    def added() -> None:
        (folder / "mm/extra.c").write_text("x")
        (folder / "include/config").mkdir(parents=True)
        (folder / "include/config/auto.conf").write_text("x")

    def nested() -> None:
        (folder / "mm/list_lru.c").unlink()
        (folder / "mm/list_lru.c").mkdir()
        (folder / "mm/list_lru.c/x").write_text("x")

    def repository() -> None:
        git(folder, "init", "-q", "nested")

    def mode() -> None:
        (folder / "scripts/run.sh").chmod(0o644)

    def link() -> None:
        (folder / "scripts/link").unlink()
        (folder / "scripts/link").symlink_to("/etc")

    def escaped() -> None:
        (folder / "mm").rename(tmp_path / "elsewhere")
        (folder / "mm").symlink_to(tmp_path / "elsewhere")

    def locked() -> None:
        changed()
        Path(f"{index}.lock").write_text("")

    def lost() -> None:
        changed()
        index.unlink()

    def broken() -> None:
        changed()
        index.write_bytes(b"DIRC nonsense")

    harms = (changed, removed, added, nested, repository, mode, link, escaped, locked, lost, broken)
    for harm in harms:
        tree.checkout(source, source.base, folder)
        harm()
        tree.checkout(source, source.base, folder)
        for name, text in FILES.items():
            assert (folder / name).read_text() == text, harm
        found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_symlink() or p.is_file()}
        assert found == {*FILES, "scripts/link"}, harm
        assert (folder / "scripts/link").readlink() == Path("../mm"), harm
        assert os.access(folder / "scripts/run.sh", os.X_OK), harm
        assert not (folder / "mm").is_symlink(), harm


def test_show(store: Store, user: Path) -> None:
    """A file of a commit, or None."""
    source = opened(store, user)
    assert tree.show(source, source.base, "Documentation/a b.rst") == b"text\n"
    assert tree.show(source, source.base, "nope") is None
    assert tree.show(source, source.base, "mm") is None


# The user's repository


def test_the_users_repository_is_not_changed(store: Store, user: Path, tmp_path: Path) -> None:
    """Not a byte, not a time, not a lock in it, whatever is done with it and however that ends."""
    hook = user / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    hook.chmod(0o755)
    git(user, "config", "core.fsmonitor", f"touch {tmp_path}/monitored; false")
    commit(user, "mm: first", files={"mm/list_lru.c": "one\n"})
    git(user, "-c", "core.fsmonitor=false", "repack", "-qad")
    second = commit(user, "mm: second", files={"mm/vmscan.c": VMSCAN.replace("b = a;", "b = 2;")})
    (user / "mm/vmscan.c").write_text("not committed\n")
    (tmp_path / "monitored").unlink(missing_ok=True)
    for path in (user, *user.rglob("*")):
        os.utime(path, (1_600_000_000, 1_600_000_000), follow_symlinks=False)
    git(user, "-c", "core.fsmonitor=false", "status", "--porcelain")
    before = state(user)

    given = tree.series_from_range(user, "v6.12..HEAD")
    source = opened(store, user, "v6.12")
    made = tree.cuts(store, source, given)
    for cut in made:
        tree.checkout(source, cut.commit, store.root / "work/src")
    assert made[-1].tree == git(user, "rev-parse", f"{second}^{{tree}}").strip()
    with pytest.raises(PipelineError):
        tree.cuts(store, opened(store, user), given)
    with pytest.raises(UserError):
        opened(store, user, "nope")

    assert state(user) == before
    assert not (tmp_path / "hooked").exists()
    assert not (tmp_path / "monitored").exists()
    assert git(user, "-c", "core.fsmonitor=false", "status", "--porcelain") == " M mm/vmscan.c\n"
    git(user, "fsck", "--strict")
    assert git(user, "worktree", "list").count("\n") == 1


def test_a_git_around_kpv_does_not_matter(
    store: Store, user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Called from a hook, kpv inherits GIT_DIR and friends, and does not follow them."""
    want = opened(store, user)
    git(tmp_path, "init", "-q", "trap")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(tmp_path / "trap/.git"))
    assert opened(store, user) == want
    tree.checkout(want, want.base, tmp_path / "out")
    assert (tmp_path / "out/Makefile").read_text() == MAKEFILE
