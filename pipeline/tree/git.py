"""git as kpv runs it: nobody's configuration but ours, no hook, no lock it need not take."""

import os
from collections.abc import Mapping
from pathlib import Path

from pipeline import proc
from pipeline.errors import InfraError

ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_AUTHOR_NAME": "kpv",
    "GIT_AUTHOR_EMAIL": "kpv@localhost",
    "GIT_AUTHOR_DATE": "1000000000 +0000",
    "GIT_COMMITTER_NAME": "kpv",
    "GIT_COMMITTER_EMAIL": "kpv@localhost",
    "GIT_COMMITTER_DATE": "1000000000 +0000",
    "LC_ALL": "C",
}
"""One author and one date, so that the same content is the same commit."""

SETTINGS = (
    "safe.directory=*",  # the user named the tree; hooks, filters and monitors of it never run
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.autocrlf=false",
    "core.compression=1",  # a kernel packs to 0.3 GB in the time that copying 1.4 GB takes
    "gc.auto=0",
    "maintenance.auto=false",
    "index.version=4",
    "checkout.workers=2",
    "fastimport.unpackLimit=1",  # see apply.py: loose objects would touch the alternates
    "advice.detachedHead=false",
)


def argv(*args: str, env: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the whole command line; variables that a git around us set (a hook's GIT_DIR) are removed."""
    stray = [name for name in os.environ if name.startswith("GIT_")]
    clean = [word for name in stray for word in ("-u", name)]
    ours = [f"{name}={value}" for name, value in {**ENVIRONMENT, **(env or {})}.items()]
    settings = [word for setting in SETTINGS for word in ("-c", setting)]
    return ("env", *clean, *ours, "git", *settings, *args)


def ask(
    repo: Path, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None, seconds: float = 600.0
) -> proc.Done:
    """Run git in the bare repository `repo`; the exit status is the caller's to judge."""
    return proc.run(argv(f"--git-dir={repo}", *args, env=env), stdin=stdin, seconds=seconds)


def run(
    repo: Path, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None, seconds: float = 600.0
) -> bytes:
    """Run git in `repo` where it has no reason to fail; return what it printed.  Raises InfraError."""
    done = ask(repo, *args, stdin=stdin, env=env, seconds=seconds)
    if not done.ok:
        message = f"git {args[0]} failed: {done.complaint}"
        raise InfraError(message, where=str(repo), detail=done.stderr.decode("utf-8", "replace"))
    return done.stdout


def word(repo: Path, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> str:
    """Run git in `repo` and return the one word it prints, a hash as a rule.  Raises InfraError."""
    return run(repo, *args, stdin=stdin, env=env).decode("utf-8", "surrogateescape").strip()


def init(folder: Path, *, sha: str = "sha1", objects: Path | None = None) -> None:
    """Make an empty bare repository, borrowing from `objects` (another repository's object folder)."""
    done = proc.run(argv("init", "-q", "--bare", "--template=", f"--object-format={sha}", str(folder)))
    if not done.ok:
        message = f"git init failed: {done.complaint}"
        raise InfraError(message, where=str(folder))
    if objects is not None:
        info = folder / "objects" / "info"
        info.mkdir(exist_ok=True)
        (info / "alternates").write_text(f"{objects}\n", encoding="utf-8", errors="surrogateescape")
