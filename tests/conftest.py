"""Fixtures that more than one room's tests use."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says more of the machine than of the code.
settings.register_profile("kpv", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kpv")

# A shell starts what it puts into the background with SIGINT ignored, and so would be every kpv that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

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


def running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def soon(what: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Wait until something holds, `seconds` at the longest; return whether it does."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not what():
        time.sleep(0.01)
    return what()


def processes_with(setting: str) -> list[int]:
    """Return the processes that have `setting` (``NAME=value``) in their environment and are no zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and setting.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue  # it has ended, or is not ours
    return [pid for pid in found if pid != os.getpid()]


@pytest.fixture
def fakeqemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Put the fake QEMU first on PATH; the function that is returned says what it plays.

    When the test is over no process that was started from here may be left.
    """
    folder, scenario = tmp_path / "fakebin", tmp_path / "scenario.json"
    folder.mkdir()
    program = folder / "qemu-system-x86_64"
    program.write_text(f"#!{sys.executable} -SE\n" + (HERE / "fakeqemu.py").read_text())
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKEQEMU", str(scenario))

    def play(**moments: object) -> None:
        scenario.write_text(json.dumps(moments))

    play()
    yield play
    left = processes_with(f"FAKEQEMU={scenario}")
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "processes were left behind"
