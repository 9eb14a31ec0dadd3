"""Fixtures that more than one room's tests use."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def git(repo: Path, *args: str) -> str:
    """Run git in `repo` as somebody with a name; return what it printed."""
    who = ("-c", "user.name=Toy", "-c", "user.email=toy@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *args], cwd=repo, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def fakelinux(tmp_path: Path) -> Path:
    """Return a git repository with the toy kernel, which knows every symbol that kconfigs/ asks for."""
    repo = tmp_path / "linux"
    shutil.copytree(HERE / "fakelinux", repo, ignore=shutil.ignore_patterns("__pycache__", ".obj"))
    own = "".join(path.read_text() for path in repo.rglob("Kconfig*"))
    fragments = "".join(path.read_text() for path in sorted((HERE.parent / "kconfigs").glob("*.config")))
    kinds = {"y": "bool", "m": "tristate", '"': "string"}
    asked = dict(re.findall(r'^CONFIG_(\w+)=(y|m|"|0x|\d)', fragments, re.MULTILINE))
    asked |= dict.fromkeys(re.findall(r"^# CONFIG_(\w+) is not set", fragments, re.MULTILINE), "y")
    more = "".join(
        f'config {name}\n\t{kinds.get(start, "hex" if start == "0x" else "int")} "{name}"\n\n'
        for name, start in sorted(asked.items())
        if f"config {name}\n" not in own
    )
    (repo / "Kconfig.profiles").write_text(more)
    git(repo, "init", "-q", "-b", "main")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "Toy kernel")
    return repo
