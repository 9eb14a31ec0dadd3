"""Where the kernel comes from: a bare repository of ours that holds, or borrows, its base commit.

A user's git tree is only read: our repository names its object folder in ``objects/info/alternates``
(gitrepository-layout(5)), so no worktree, ref, index or configuration of it is ever written.
"""

import contextlib
import difflib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline import proc
from pipeline.errors import UserError, nearest
from pipeline.progress import Progress
from pipeline.store import Store, key, require_space
from pipeline.tree import git, tarball

SOURCES = Path("/usr/src")
"""Where Debian's linux-source packages put their tarballs."""

KIND = "repos"
ROOM = 1_500_000_000
"""Bytes that the repository of an imported kernel needs at the most, with what is in flight."""

FORMS = "give debian:6.12, a git tree, a folder of kernel sources, or a tarball of them"
BUILT = (".config", "include/config", "include/generated", "vmlinux")
"""What a build leaves in the folder of its sources."""

TOP = ("Kconfig", "Makefile", "mm")
"""What every kernel has at its top."""


@dataclass(frozen=True, slots=True)
class Source:
    """A kernel to build on: `base` is a commit in `repo`, a bare repository in kpv's store."""

    repo: Path
    base: str
    tree: str
    """git's hash of the content: equal trees, equal kernels."""
    version: str
    """``6.12.117``, or ``6.13.0-rc3``, from the Makefile of the base."""
    spec: str
    dirty: bool = False
    """Whether the user's tree has changes that are not committed, and so are not tested."""


@dataclass(frozen=True, slots=True)
class UserRepo:
    """A user's repository, as far as it has to be known to read it."""

    path: Path
    objects: Path
    index: Path
    shallow: Path
    bare: bool
    sha: str
    partial: bool


def open_source(store: Store, spec: str, base: str | None, progress: Progress) -> Source:
    """Make `spec` ready: ``debian:6.12``, a git tree, a plain folder, a tarball.

    `base` is a revision of a git tree, HEAD when None.  Raises UserError when there is no kernel there.
    """
    found = re.fullmatch(r"debian:(.*)", spec)
    path = Path(spec).expanduser()
    if found:
        _no_base(base, spec)
        return _debian(store, found[1], spec, progress)
    if not path.exists():
        names = [] if re.match(r"\w+:", spec) else _beside(path)
        hint = nearest(path.name, names) if names else FORMS
        raise UserError("no such kernel tree", where=spec, todo=hint)
    path = path.resolve()
    if path.is_dir() and is_git(path):
        return _git_tree(store, path, spec, base or "HEAD")
    _no_base(base, spec)
    if path.is_dir():
        return _folder(store, path, spec, progress)
    if not path.is_file():
        raise UserError("neither a folder nor a file", where=spec, todo=FORMS)
    stat = path.stat()
    return _tarball(store, path, key("tarball", str(path), str(stat.st_size), str(stat.st_mtime_ns)), spec, progress)


def _no_base(base: str | None, spec: str) -> None:
    if base is not None:
        message = f"--base {base} means nothing here: this is no git tree"
        raise UserError(message, where=spec, todo="leave --base out, or point --kernel at a git tree")


def _beside(path: Path) -> list[str]:
    """Return the names beside a path that does not exist, when they are few enough to print."""
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
    except OSError:
        return []
    return names if len(names) <= 20 else difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)


def _debian(store: Store, version: str, spec: str, progress: Progress) -> Source:
    package = f"linux-source-{version}"
    path = SOURCES / f"{package}.tar.xz"
    if not re.fullmatch(r"\d+\.\d+", version) or not path.is_file():
        there = [f"debian:{p.name[13:-7]}" for p in SOURCES.glob("linux-source-*.tar.xz")]
        message = f"no {path}: package {package} is not installed"
        todo = f"`apt-get install {package}`; {nearest(spec, there)}"
        raise UserError(message, where=f"--kernel {spec}", todo=todo)
    stat = path.stat()
    mark = f"{stat.st_size} {stat.st_mtime_ns}"
    if shutil.which("dpkg-query"):
        asked = proc.run(("dpkg-query", "-W", "-f", "${Version}", package))
        mark = asked.text.strip() if asked.ok and asked.text.strip() else mark
    return _tarball(store, path, key("debian", package, mark), spec, progress)


@contextlib.contextmanager
def _locked(store: Store, name: str, progress: Progress) -> Iterator[None]:
    """Hold the lock of a repository, and say so while another kpv holds it."""
    waits: list[bool] = []

    def on_wait() -> None:
        progress.begin("wait for another kpv that reads the same kernel")
        waits.append(True)

    with store.lock(KIND, name, on_wait):
        if waits:
            progress.end("it is done")
        yield


def _tarball(store: Store, path: Path, name: str, spec: str, progress: Progress) -> Source:
    """Return the repository of a tarball, made once."""
    with _locked(store, name, progress):
        repo = store.find(KIND, name)
        if repo is None:
            require_space(store.root, ROOM, "the kernel's repository")
            with store.make(KIND, name) as new:
                git.init(new)
                _source(new, tarball.load(path, new, progress), spec)
            repo = store.path(KIND, name)
    return _source(repo, git.word(repo, "rev-parse", tarball.REF), spec)


def _folder(store: Store, path: Path, spec: str, progress: Progress) -> Source:
    """Return the repository of a plain folder, brought up to what the folder holds now."""
    missing = [name for name in TOP if not (path / name).exists()]
    if missing:
        raise _no_kernel(spec, missing)
    built = next((name for name in BUILT if (path / name).exists()), None)
    if built:
        message = f"the folder has been built in: it holds {built}"
        raise UserError(message, where=spec, todo="`make mrproper` in it cleans it (and removes its .config)")
    name = key("folder", str(path))
    with _locked(store, name, progress):
        repo = store.find(KIND, name)
        if repo is None:
            require_space(store.root, ROOM, "the kernel's repository")
            with store.make(KIND, name) as new:
                git.init(new)
                commit = _snapshot(new, path, progress)
                _source(new, commit, spec)
            return _source(store.path(KIND, name), commit, spec)
        return _source(repo, _snapshot(repo, path, progress), spec)


def _snapshot(repo: Path, folder: Path, progress: Progress) -> str:
    """Commit what `folder` holds; the index in `repo` knows what it held before, so that costs little."""
    for stray in (repo / "index.lock", *(repo / "objects" / "pack").glob("tmp_*")):
        stray.unlink(missing_ok=True)
    progress.begin(f"read {folder}")
    added = 0

    def on_line(_line: str) -> None:
        nonlocal added
        added += 1
        if added % tarball.EVERY == 0:
            progress.step(added, f"{added} files")

    # Above the threshold git streams a file into one pack; below it, into a file of its own, 85 thousand of them.
    line = git.argv("-c", "core.bigFileThreshold=1", f"--git-dir={repo}", f"--work-tree={folder}")
    done = proc.stream((*line, "-C", str(folder), "add", "-A", "-f", "-v", "."), on_line)
    if not done.ok:
        check = proc.run((*line, "-C", str(folder), "add", "-A", "-f", "-n", "."))
        message = f"the folder cannot be read: {check.complaint if not check.ok else f'git add: {done.status}'}"
        raise UserError(message, where=str(folder), todo="see who may read it")
    tree = git.word(repo, "write-tree")
    commit = git.word(repo, "commit-tree", "-m", "the folder as it was", tree)
    git.run(repo, "update-ref", f"{tarball.REF}/{commit}", commit)
    progress.end(f"{added} files changed" if added else "nothing changed")
    return commit


def is_git(path: Path) -> bool:
    """Whether `path` itself is a git tree or a bare repository; one somewhere above it does not count."""
    return (path / ".git").exists() or ((path / "HEAD").is_file() and (path / "objects").is_dir())


def user_repo(path: Path) -> UserRepo:
    """Read where a user's repository keeps what; works for worktrees.  Raises UserError if it is damaged."""
    asked = _ask_user(
        path,
        "--path-format=absolute",
        "--git-path",
        "objects",
        "--git-path",
        "index",
        "--git-path",
        "shallow",
        "--is-bare-repository",
        "--show-object-format",
    )
    if not asked.ok:
        message = f"git cannot read the repository: {asked.complaint}"
        raise UserError(message, where=str(path), todo="`git -C` it `fsck` says more")
    objects, index, shallow, bare, sha = asked.stdout.decode("utf-8", "surrogateescape").splitlines()
    pattern = r"^(remote\..*\.promisor|extensions\.partialclone)$"
    config = proc.run(git.argv("-C", str(path), "config", "--get-regexp", pattern))
    return UserRepo(path, Path(objects), Path(index), Path(shallow), bare == "true", sha, config.ok)


def _ask_user(path: Path, *args: str) -> proc.Done:
    """Run git rev-parse in a user's repository: it writes nothing and runs nothing."""
    return proc.run(git.argv("-C", str(path), "rev-parse", *args, env={"GIT_CEILING_DIRECTORIES": str(path.parent)}))


def resolve(user: UserRepo, revision: str) -> str:
    """Return the commit that `revision` names in a user's repository.  Raises UserError when none does."""
    asked = _ask_user(user.path, "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if asked.ok and revision:
        return asked.text.split()[-1]
    refs = proc.run(git.argv("-C", str(user.path), "for-each-ref", "--format=%(refname:short)")).text.split()
    close = difflib.get_close_matches(revision, refs, n=1, cutoff=0.5)
    message = f"no revision {revision or '(empty)'} in this tree"
    todo = f"did you mean {close[0]}?" if close else "name a branch, a tag or a commit that is there"
    raise UserError(message, where=str(user.path), todo=todo)


def borrow(repo: Path, user: UserRepo) -> None:
    """Make the bare repository `repo`, in an empty folder, see all that the user's repository holds."""
    if "\n" in str(user.objects):
        raise UserError("a line break in the folder's name", where=str(user.path), todo="rename the folder")
    git.init(repo, sha=user.sha, objects=user.objects)
    follow_shallow(repo, user)


def follow_shallow(repo: Path, user: UserRepo) -> None:
    """Copy where the user's history ends, which fetches can move, so that ours ends there too."""
    ours = repo / "shallow"
    if user.shallow.is_file():
        ours.write_bytes(user.shallow.read_bytes())
    else:
        ours.unlink(missing_ok=True)


def _git_tree(store: Store, path: Path, spec: str, revision: str) -> Source:
    user = user_repo(path)
    base = resolve(user, revision)
    name = key("git", str(user.objects), user.sha)
    with store.lock(KIND, name):
        repo = store.find(KIND, name)
        if repo is None:
            with store.make(KIND, name) as new:
                borrow(new, user)
                _check_partial(new, user, base, spec)
                _source(new, base, spec)
            repo = store.path(KIND, name)
        else:
            follow_shallow(repo, user)
            _check_partial(repo, user, base, spec)
        dirty = not user.bare and _dirty(repo, user, resolve(user, "HEAD"))
    return _source(repo, base, spec, dirty=dirty)


def _check_partial(repo: Path, user: UserRepo, base: str, spec: str) -> None:
    """Raise UserError when a partial clone has not all files of `base`: kpv fetches nothing for its user."""
    if not user.partial:
        return
    found = git.ask(repo, "rev-list", "--objects", "--no-walk", "--missing=print", base)
    if not found.ok or b"\n?" in b"\n" + found.stdout:
        message = f"a partial clone that lacks files of {base[:12]}"
        raise UserError(message, where=spec, todo=f"`git checkout {base[:12]}` in it fetches them")


def _dirty(repo: Path, user: UserRepo, head: str) -> bool:
    """Whether tracked files differ from HEAD, asked with a copy of the user's index.

    So neither its lock nor its filters and monitors are touched.  An index that cannot be
    copied (a split one) says nothing: False.
    """
    copy = repo / "user.index"
    (repo / "user.index.lock").unlink(missing_ok=True)
    try:
        shutil.copyfile(user.index, copy)
    except OSError:
        return False
    env = {"GIT_INDEX_FILE": str(copy), "GIT_WORK_TREE": str(user.path)}
    try:
        git.ask(repo, "-C", str(user.path), "update-index", "-q", "--refresh", env=env)
        return git.ask(repo, "-C", str(user.path), "diff-index", "--quiet", head, "--", env=env).status == 1
    finally:
        copy.unlink()


def _source(repo: Path, base: str, spec: str, *, dirty: bool = False) -> Source:
    """Return the Source of a base commit.  Raises UserError when that is no kernel."""
    names = git.run(repo, "ls-tree", "-z", "--name-only", base, "--", *TOP).decode().split("\0")
    missing = [name for name in TOP if name not in names]
    if missing:
        raise _no_kernel(spec, missing)
    makefile = (show_blob(repo, base, "Makefile") or b"").decode("utf-8", "replace")
    values = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*=[ \t]*(\S*)", makefile, re.MULTILINE))
    if not values.get("VERSION") or not values.get("PATCHLEVEL"):
        raise _no_kernel(spec, ["VERSION in Makefile"])
    numbers = (values["VERSION"], values["PATCHLEVEL"], values.get("SUBLEVEL") or "0")
    version = ".".join(numbers) + values.get("EXTRAVERSION", "")
    tree = git.word(repo, "rev-parse", f"{base}^{{tree}}")
    return Source(repo, base, tree, version, spec, dirty)


def _no_kernel(spec: str, missing: list[str]) -> UserError:
    return UserError(f"not a kernel tree: it has no {', no '.join(missing)}", where=spec, todo=FORMS)


def show_blob(repo: Path, commit: str, path: str) -> bytes | None:
    """Return a file of `commit`, None when it is not there."""
    done = git.ask(repo, "cat-file", "blob", f"{commit}:{path}")
    return done.stdout if done.ok else None


def show(source: Source, commit: str, path: str) -> bytes | None:
    """Return the content of `path` in `commit`, None when there is no such file."""
    return show_blob(source.repo, commit, path)


def changed_paths(source: Source, tree_a: str, tree_b: str) -> tuple[str, ...]:
    """Return the paths that differ between two trees (or commits), sorted; a rename is two paths."""
    out = git.run(source.repo, "diff-tree", "-r", "-z", "--name-only", "--no-renames", tree_a, tree_b)
    return tuple(out.decode("utf-8", "surrogateescape").split("\0")[:-1])
