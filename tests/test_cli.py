"""kpv as its users run it: real processes, the toy kernel, a fake QEMU; what it prints, exits with and leaves."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import git, processes_with, soon

from pipeline import catalog, guest, trust
from pipeline.progress import Silent
from pipeline.store import Store

HOUSE = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Kpv:
    """A cache, a folder to stand in, and a fake machine to run kpv on."""

    folder: Path
    env: dict[str, str]

    @property
    def cache(self) -> Path:
        """Its own cache."""
        return self.folder / "cache"

    @property
    def here(self) -> Path:
        """The folder it is run in."""
        return self.folder / "here"

    def start(self, *words: str | Path) -> "subprocess.Popen[str]":
        """Start kpv."""
        argv = [sys.executable, "-m", "pipeline", *map(str, words)]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            argv, cwd=self.here, env=self.env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        )

    def __call__(self, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        """Run kpv to its end."""
        with self.start(*words) as child:
            out, err = child.communicate(timeout=120)
        return subprocess.CompletedProcess(child.args, child.returncode, out, err)

    def refuses(self, *words: str | Path) -> str:
        """Run kpv, which must find a mistake: one line, exit status 2, nothing left.  Return the line."""
        before = self.entries()
        done = self(*words)
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        *progress, line = done.stderr.splitlines()
        assert re.fullmatch(r"kpv: .+", line), done.stderr
        assert all(x.startswith("  ") for x in progress), done.stderr
        assert not (self.here / "results").exists()
        assert self.entries() <= before | self.whole()
        assert list(self.here.iterdir()) == []
        assert not processes_with(f"KPV_CACHE={self.cache}")
        return line.removeprefix("kpv: ")

    def entries(self) -> set[str]:
        """Return the entries of the cache; locks are no entries."""
        found = {f"{x.parent.name}/{x.name}" for x in self.cache.glob("*/*")}
        return {x for x in found if not x.startswith("locks/")}

    def whole(self) -> set[str]:
        """Return what a run may leave in the cache whatever comes of it: entries that are whole."""
        return {x for x in self.entries() if not x.partition("/")[2].startswith(".")}

    def latest(self) -> Path:
        """Return the folder of the last run."""
        return self.here / "results" / "latest"


@pytest.fixture(scope="session")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with the guest image that the tests below boot, so that it is compiled once."""
    store = Store(tmp_path_factory.mktemp("guests"))
    programs = [x for x in catalog.load().programs if x.name == "memcg_churn"]
    guest.build_guest(store, (*programs, trust.PROGRAM), with_shell=False, progress=Silent())
    return store.root


@pytest.fixture
def kpv(tmp_path: Path, fakeqemu: Callable[..., None], guests: Path) -> Kpv:
    """Return kpv with a cache and a folder of its own."""
    command = tmp_path / "fakebin" / "kpv"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m pipeline "$@"\n')
    command.chmod(0o755)
    env = {"KPV_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(HOUSE), "KPV": str(command)}
    made = Kpv(tmp_path, {**os.environ, **env})
    made.here.mkdir()
    shutil.copytree(guests / "guest", made.cache / "guest")
    return made


def change(linux: Path, body: str, subject: str, path: str = "mm/memcontrol.c") -> bytes:
    """Return a patch that puts `body` at the end of a file of the toy kernel."""
    target = linux / path
    target.write_text(target.read_text() + body)
    git(linux, "commit", "-qam", subject)
    mail = subprocess.run(["git", "format-patch", "-1", "--stdout"], cwd=linux, check=True, capture_output=True).stdout
    git(linux, "reset", "-q", "--hard", "HEAD~1")
    return mail


def behaving(linux: Path, how: str) -> bytes:
    """Return a patch that makes the toy kernel play a scenario of the fake QEMU."""
    return change(
        linux, f'\nextern const char toy_{how}[];\nconst char toy_{how}[] = "fakeqemu:{how}:";\n', f"mm: {how}"
    )


def commit_to_base(linux: Path, body: str) -> None:
    """Put `body` at the end of a file that the series does not touch, in the kernel that it is based on."""
    target = linux / "mm" / "page_alloc.c"
    target.write_text(target.read_text() + body)
    git(linux, "commit", "-qam", "the base")


def outcome(folder: Path) -> str:
    """Return the verdict that a run wrote down."""
    return str(json.loads((folder / "verdict.json").read_text())["verdict"]["outcome"])


@pytest.fixture
def series(tmp_path: Path, fakelinux: Path) -> Path:
    """Return an mbox with a patch that changes nothing that matters."""
    path = tmp_path / "sound.mbox"
    path.write_bytes(change(fakelinux, "\n/* sound */\n", "mm: say that it is sound"))
    return path


def plain(linux: Path, series: Path, *more: str | Path) -> tuple[str | Path, ...]:
    """Return the arguments of a short validation on the toy kernel."""
    quick = ("--profile", "plain", "--program", "memcg_churn", "--budget", "1", "--accel", "tcg", "--jobs", "2")
    return ("validate", "--kernel", linux, "--series", series, *quick, *more)


# --- the whole way ----------------------------------------------------------------------------------------


def test_a_sound_series_passes(kpv: Kpv, fakelinux: Path, series: Path) -> None:
    """PASS, exit 0, every file of a run is there, and reproduce.sh says the same from anywhere."""
    done = kpv(*plain(fakelinux, series))
    assert done.returncode == 0, done.stderr + done.stdout
    assert "PASS" in done.stdout
    folder = kpv.latest()
    assert outcome(folder) == "PASS"
    assert "canaries: 5 of 5 seen" in done.stdout
    assert (folder / "boot-1.1" / "canary-5.json").exists()
    for name in ("junit.xml", "report.html", "boot-0.1/console.log", "boot-1.1/console.log"):
        assert (folder / name).stat().st_size > 0
    for cut in (0, 1):
        assert (folder / "build" / f"cut-{cut}.log").exists()
    out = kpv.folder / "again"
    again = subprocess.run(
        [folder / "reproduce.sh", "--out", out], cwd="/", env=kpv.env, capture_output=True, check=False, text=True
    )
    assert again.returncode == 0, again.stderr
    assert outcome(out / "latest") == "PASS"
    assert git(fakelinux, "status", "--porcelain") == ""
    git(fakelinux, "fsck", "--strict")


def test_a_use_after_free_fails(kpv: Kpv, fakelinux: Path, tmp_path: Path) -> None:
    """FAIL, exit 1: with what the kernel said, the function and the patch; reproduce.sh says the same."""
    path = tmp_path / "broken.mbox"
    path.write_bytes(behaving(fakelinux, "kasan"))
    done = kpv(*plain(fakelinux, path))
    assert done.returncode == 1, done.stderr + done.stdout
    assert "KASAN: slab-use-after-free Read in mem_cgroup_iter" in done.stdout
    folder = kpv.latest()
    assert outcome(folder) == "FAIL"
    text = (folder / "verdict.json").read_text()
    assert "mem_cgroup_iter" in text
    assert "1/1 mm: kasan" in text
    assert "KASAN" in (folder / "junit.xml").read_text()
    assert "KASAN" in (folder / "boot-1.1" / "console.log").read_text()
    assert "KASAN" not in (folder / "boot-0.1" / "console.log").read_text()
    again = subprocess.run([folder / "reproduce.sh"], cwd=kpv.folder, env=kpv.env, capture_output=True, check=False)
    assert again.returncode == 1


ENDS = {
    "late": (1, "KASAN: slab-use-after-free Read in mem_cgroup_iter"),
    "panic": (1, "panic"),
    "reset": (1, "triple fault"),
    "nottest": (1, "walk is not ok"),
    "deadboot": (1, "panic"),
    "die": (3, "QEMU died: qemu: out of luck"),
}
"""What a patched kernel does (fakeqemu.PRESETS): exit status, and what the user reads of it."""


@pytest.mark.parametrize("how", ENDS)
def test_how_the_patched_kernel_ends(kpv: Kpv, fakelinux: Path, tmp_path: Path, how: str) -> None:
    """The kernel's own failures are FAIL; what we lost is BROKEN."""
    path = tmp_path / "s.mbox"
    path.write_bytes(behaving(fakelinux, how))
    done = kpv(*plain(fakelinux, path))
    status, words = ENDS[how]
    assert (done.returncode, words.lower() in done.stdout.lower()) == (status, True), done.stdout + done.stderr


@pytest.mark.parametrize("how", ["deadboot", "die"])
def test_a_base_that_does_not_run_is_broken(kpv: Kpv, fakelinux: Path, series: Path, how: str) -> None:
    """BROKEN, exit 3: nothing can be said about the series."""
    commit_to_base(fakelinux, f'\nextern const char toy[];\nconst char toy[] = "fakeqemu:{how}:";\n')
    done = kpv(*plain(fakelinux, series))
    assert done.returncode == 3, done.stdout + done.stderr
    assert outcome(kpv.latest()) == "BROKEN"


def test_what_the_base_shows_too_is_known(kpv: Kpv, fakelinux: Path, series: Path) -> None:
    """A report of the base is listed and not counted against the series."""
    commit_to_base(fakelinux, '\nextern const char toy[];\nconst char toy[] = "fakeqemu:kasan:";\n')
    done = kpv(*plain(fakelinux, series))
    assert done.returncode not in {1, 2}, done.stdout + done.stderr
    assert "known" in (kpv.latest() / "verdict.json").read_text()


def test_what_is_planted_never_counts(kpv: Kpv, fakelinux: Path, series: Path, fakeqemu: Callable[..., None]) -> None:
    """A canary that is not seen is BROKEN; whatever else comes up once faults are planted is nobody's."""
    fakeqemu(**{"plant:soft-lockup": [["kasan"], ["panic"]]})
    done = kpv(*plain(fakelinux, series))
    assert done.returncode == 3, done.stderr + done.stdout
    reasons = json.loads((kpv.latest() / "verdict.json").read_text())["verdict"]["reasons"]
    missing = [x["title"] for x in reasons if x["outcome"] == "BROKEN"]
    assert missing == ["canary soft-lockup was not seen", "canary workqueue was not seen"]
    assert not any(x["outcome"] == "FAIL" for x in reasons)
    assert "3 of 5 seen; not soft-lockup, workqueue" in done.stdout


def test_a_tree_that_does_not_take_the_module(kpv: Kpv, fakelinux: Path, series: Path) -> None:
    """The series is tried, and what it is worth cannot be told: nobody saw a detector at work."""
    (fakelinux / "broken-modules").touch()
    git(fakelinux, "add", "-A")
    git(fakelinux, "commit", "-qm", "no modules")
    done = kpv(*plain(fakelinux, series))
    assert done.returncode == 3, done.stderr + done.stdout
    assert "its module does not build" in done.stdout
    assert "this tree has no such thing" in done.stdout
    assert outcome(kpv.latest()) == "BROKEN"


def test_a_base_that_does_not_build_is_broken(kpv: Kpv, fakelinux: Path, series: Path) -> None:
    """BROKEN, exit 3, with the compiler's words."""
    commit_to_base(fakelinux, "\nint broken(void) { return no_such_name; }\n")
    done = kpv(*plain(fakelinux, series))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "no_such_name" in done.stdout


def test_a_patch_that_does_not_build_fails(kpv: Kpv, fakelinux: Path, tmp_path: Path) -> None:
    """FAIL, exit 1, with the compiler's words and the patch."""
    path = tmp_path / "s.mbox"
    path.write_bytes(change(fakelinux, "\nint broken(void) { return no_such_name; }\n", "mm: break it"))
    done = kpv(*plain(fakelinux, path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "no_such_name" in done.stdout
    assert "1/1 mm: break it" in done.stdout


def test_a_patch_that_does_not_apply_fails(kpv: Kpv, fakelinux: Path, series: Path) -> None:
    """FAIL, exit 1, with patch and file."""
    (fakelinux / "mm" / "memcontrol.c").write_text("int other;\n")
    git(fakelinux, "commit", "-qam", "another kernel")
    done = kpv(*plain(fakelinux, series))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "mm: say that it is sound" in done.stdout
    assert "mm/memcontrol.c" in (kpv.latest() / "verdict.json").read_text()


# --- bad input ----------------------------------------------------------------------------------------------

HEADER = "From: Toy <t@example.org>\nSubject: [PATCH] mm: x\nDate: Mon, 17 Sep 2001 00:00:00 +0000\n\ntext\n---\n"


def mail(diff: str) -> str:
    """Return an mbox with one patch."""
    return f"From {'0' * 40} Mon Sep 17 00:00:00 2001\n{HEADER}{diff}-- \n2.39\n"


def created(path: str) -> str:
    """Return a diff that creates a file called `path`."""
    return f"diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+hello\n"


GOOD = created("mm/new.c")
LINK = (
    "diff --git a/mm/l b/mm/l\nnew file mode 120000\n--- /dev/null\n+++ b/mm/l\n"
    "@@ -0,0 +1 @@\n+/tmp\n\\ No newline at end of file\n"
)
BINARY = (
    "diff --git a/mm/x.bin b/mm/x.bin\nindex 0000000..1111111 100644\nBinary files a/mm/x.bin and b/mm/x.bin differ\n"
)
MBOXES = {
    "empty": ("", ""),
    "without a patch": (mail(""), "patch"),
    "no mail at all": ("hello\n", "patch"),
    "truncated": (mail(created("mm/new.c").replace("+1 @@", "+1,9 @@")), ""),
    "above the tree": (mail(created("../../outside")), r"\.\."),
    "absolute": (mail(created("/etc/outside").replace("b//etc", "/etc").replace("a//etc", "/etc")), "etc/outside"),
    "into .git": (mail(created(".git/hooks/post-checkout")), r"\.git"),
    "through a symlink": (mail(LINK + created("mm/l/outside")), "mm/l"),
    "binary": (mail(BINARY), "binary"),
}
"""Series that cannot be: the text, and what the line names."""


@pytest.mark.parametrize("what", MBOXES)
def test_a_series_that_cannot_be(kpv: Kpv, fakelinux: Path, what: str) -> None:
    """It is refused before anything is built."""
    text, named = MBOXES[what]
    path = kpv.folder / "series.mbox"
    path.write_text(text)
    line = kpv.refuses(*plain(fakelinux, path))
    assert re.search(named, line, re.IGNORECASE), line
    assert "series.mbox" in line
    assert not Path("/etc/outside").exists()
    assert not (kpv.folder / "outside").exists()


def test_a_reversed_patch(kpv: Kpv, fakelinux: Path, series: Path) -> None:
    """One that is applied already, or the wrong way round."""
    git(fakelinux, "am", "-q", str(series))
    line = kpv.refuses(*plain(fakelinux, series))
    assert "mm: say that it is sound" in line


WRONG = {
    "no such series": ({"--series": "nowhere.mbox"}, "nowhere.mbox"),
    "no such kernel": ({"--kernel": "nowhere"}, "nowhere: no such kernel tree"),
    "no kernel": ({"--kernel": "/usr/share"}, "not a kernel tree"),
    "no such package": ({"--kernel": "debian:9.99"}, "debian:9.99"),
    "no such revision": ({"--base": "mian"}, "did you mean main"),
    "no such profile": ({"--profile": "kasn"}, "kasn.*did you mean kasan"),
    "no such machine": ({"--machine": "2nod"}, "2nod.*did you mean 2node"),
    "no such program": ({"--program": "memcg_chrun"}, "memcg_chrun.*did you mean memcg_churn"),
    "no such fragment": ({"--fragment": "fs-xsf"}, "fs-xsf.*did you mean fs-xfs"),
    "no such settings": ({"--kconfig": "nowhere.config"}, "nowhere.config"),
    "no such machines": ({"--machines": "nowhere.yaml"}, "nowhere.yaml"),
    "no number": ({"--trials": "0"}, "trials"),
    "no accelerator": ({"--accel": "xen"}, "xen"),
    "two series": ({"--range": "HEAD~1..HEAD"}, "--series and --range"),
}
"""Arguments that name what is not there: what is given, and what the line says."""


@pytest.mark.parametrize("what", WRONG)
def test_a_name_that_is_not_there(kpv: Kpv, fakelinux: Path, series: Path, what: str) -> None:
    """The nearest known name is offered."""
    given, said = WRONG[what]
    words = list(plain(fakelinux, series))
    for option, value in given.items():
        if option in words:
            words[words.index(option) + 1] = value
        else:
            words += [option, value]
    line = kpv.refuses(*words)
    assert re.search(said, line), line


FILES = {
    "a key twice": (
        "--machines",
        "m:\n  description: x\n  nodes: [{memory_mb: 512, cpus: 1}]\n  nodes: []\n",
        r":4:3: key nodes",
    ),
    "an unknown key": (
        "--machines",
        "m:\n  description: x\n  nods: []\n",
        r":3:3: unknown key nods; did you mean nodes",
    ),
    "no YAML": ("--machines", "m: [\n", "not YAML"),
    "a machine that QEMU refuses": (
        "--machines",
        "m:\n  description: x\n  nodes: [{memory_mb: 1, cpus: 1}]\n",
        "1 MiB",
    ),
    "an unknown symbol": ("--kconfig", "CONFIG_NO_SUCH_THING=y\n", r":1: .*NO_SUCH_THING"),
    "no setting": ("--kconfig", "hello\n", ":1:"),
}
"""Files of the user's that are wrong: the option, the content, and what the line says behind the file's name."""


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_is_wrong(kpv: Kpv, fakelinux: Path, series: Path, what: str) -> None:
    """File, line and, in YAML, column are named."""
    option, text, said = FILES[what]
    path = kpv.folder / "the.file"
    path.write_text(text)
    line = kpv.refuses(*plain(fakelinux, series, option, path))
    assert re.search(rf"the\.file.*{said}" if not said.startswith(":") else rf"the\.file{said}", line), line


@pytest.mark.parametrize("out", ["/proc/kpv", "file", "file/below"])
def test_an_output_folder_that_cannot_be_written(kpv: Kpv, fakelinux: Path, series: Path, out: str) -> None:
    """It is known before anything is built."""
    (kpv.folder / "file").write_text("x")
    line = kpv.refuses(*plain(fakelinux, series, "--out", kpv.folder / out))
    assert "results cannot be written here" in line
    assert "work" not in {x.partition("/")[0] for x in kpv.entries()}


def test_a_cache_that_cannot_be_written(kpv: Kpv, fakelinux: Path, series: Path) -> None:
    """KPV_CACHE is what to change."""
    (kpv.folder / "file").write_text("x")
    kpv.env["KPV_CACHE"] = str(kpv.folder / "file")
    assert "KPV_CACHE" in kpv.refuses(*plain(fakelinux, series))


def test_no_qemu(kpv: Kpv, fakelinux: Path, series: Path) -> None:
    """It is known before anything is built."""
    path = kpv.folder / "path"
    path.mkdir()
    for folder in os.environ["PATH"].split(":"):
        for program in Path(folder).glob("*") if Path(folder).is_dir() else ():
            if not program.name.startswith("qemu-system") and not (path / program.name).exists():
                (path / program.name).symlink_to(program)
    kpv.env["PATH"] = str(path)
    assert "qemu-system-x86 is not installed" in kpv.refuses(*plain(fakelinux, series))
    assert "work" not in {x.partition("/")[0] for x in kpv.entries()}


def test_no_disk_space(kpv: Kpv, fakelinux: Path, series: Path) -> None:
    """It is known before the build and not in the middle of it."""
    small = f'mount -t tmpfs -o size=80m none {kpv.folder}/small && exec "$@"'
    (kpv.folder / "small").mkdir()
    unshare = ["unshare", "-rm", "sh", "-c", small, "sh"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    argv = [*unshare, sys.executable, "-m", "pipeline", *map(str, plain(fakelinux, series))]
    env = kpv.env | {"KPV_CACHE": f"{kpv.folder}/small"}
    done = subprocess.run(argv, cwd=kpv.here, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    line = done.stderr.splitlines()[-1]
    assert re.fullmatch(r"kpv: .*/small: .* needs [\d.]+ GB on disk, 0\.\d GB are free; .*KPV_CACHE", line), line
    assert list(kpv.here.iterdir()) == []


def test_nothing_to_do(kpv: Kpv) -> None:
    """No command prints what there is and is a mistake; an unknown one is named."""
    done = kpv()
    assert (done.returncode, "validate" in done.stdout) == (2, True)
    assert "valdate" in kpv.refuses("valdate")


# --- interrupts -----------------------------------------------------------------------------------------------


def said(path: Path, text: str) -> bool:
    """Whether a file is there and holds a text."""
    with contextlib.suppress(OSError):
        return text in path.read_text(errors="replace")
    return False


STAGES: dict[str, Callable[[Kpv], bool]] = {
    "source": lambda kpv: (kpv.cache / "repos").exists(),
    "build": lambda kpv: any(kpv.cache.glob("work/*/src/.obj/init/main.o")),
    "base": lambda kpv: said(kpv.latest() / "boot-0.1" / "console.log", "kpv: begin t1"),
}
"""Stages of a run, and what shows that one is reached."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda x: x.name)
@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupt(
    kpv: Kpv, fakelinux: Path, fakeqemu: Callable[..., None], tmp_path: Path, stage: str, number: signal.Signals
) -> None:
    """At once nothing runs any more; the cache is whole; what there is of results says that it is partial."""
    fakeqemu(run=[["begin"], ["stall"]])
    slow = tmp_path / "s.mbox"
    slow.write_bytes(change(fakelinux, "\n/* slow */\n", "mm: slow"))
    commit_to_base(
        fakelinux, "".join(f"\nlong f{n}(long x);\nlong f{n}(long x) {{ return x * {n}; }}\n" for n in range(3000))
    )
    with kpv.start(*plain(fakelinux, slow)) as child:
        assert soon(lambda: STAGES[stage](kpv) or child.poll() is not None)
        assert child.poll() is None, "it was over before it could be interrupted"
        child.send_signal(number)
        _, err = child.communicate(timeout=120)
        assert soon(lambda: not processes_with(f"KPV_CACHE={kpv.cache}"))
    assert child.returncode == (-9 if number is signal.SIGKILL else 130)
    if number is not signal.SIGKILL:
        assert err.endswith("kpv: interrupted\n")
        assert "Traceback" not in err
        assert f"interrupted while it was at the stage: {stage}" in (kpv.latest() / "verdict.json").read_text()
        assert kpv.entries() == kpv.whole()
    fakeqemu()
    done = kpv(*plain(fakelinux, slow))
    assert done.returncode == 0, done.stdout + done.stderr
    assert kpv.entries() == kpv.whole()


# --- the steps alone --------------------------------------------------------------------------------------------


def test_build_prints_where_the_kernel_is(kpv: Kpv, fakelinux: Path, series: Path) -> None:
    """The folder of the image and nothing else on standard output; with --quiet, nothing at all beside it."""
    words = ("build", "--kernel", fakelinux, "--series", series, "--profile", "plain", "--jobs", "1")
    done = kpv("--quiet", *words)
    assert (done.returncode, done.stderr) == (0, "")
    folder = Path(done.stdout.removesuffix("\n"))
    assert (folder / "bzImage").stat().st_size > 0
    assert "cut 2" in kpv.refuses(*words, "--cut", "2")


def test_boot_prints_what_the_program_said(kpv: Kpv, fakelinux: Path, tmp_path: Path) -> None:
    """KTAP, and the reports of the one kernel there is: exit 1 when there are some."""
    words = plain(fakelinux, tmp_path / "s.mbox")[1:]
    (tmp_path / "s.mbox").write_bytes(behaving(fakelinux, "late"))
    done = kpv("boot", *words)
    assert done.returncode == 1, done.stderr
    assert "ok 1 part 1" in done.stdout
    assert "KASAN: slab-use-after-free Read in mem_cgroup_iter" in done.stdout
    (tmp_path / "s.mbox").write_bytes(change(fakelinux, "\n/* x */\n", "mm: x"))
    done = kpv("boot", *words)
    assert done.returncode == 0, done.stderr
    assert "KASAN" not in done.stdout


def library(folder: Path, linux: Path, rows: dict[str, tuple[bytes, str]]) -> Path:
    """Make a library of cases on the toy kernel: name → patch, and what it is to come to."""
    for name, (patch, expect) in rows.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "0001-it.patch").write_bytes(patch)
        text = f"title: {name}\nkernel: {linux}\nprograms: [memcg_churn]\ntrials: 2\nbudget: 1\nexpect: {expect}\n"
        (folder / name / "case.yaml").write_text(text)
    return folder


def test_cases_are_held_against_what_they_must_come_to(kpv: Kpv, fakelinux: Path, tmp_path: Path) -> None:
    """A row a case: due, seen, in how many trials it was shown; one that differs makes the exit status."""
    broken = behaving(fakelinux, "kasan")
    rows = {
        "sound": (change(fakelinux, "\n/* sound */\n", "mm: sound"), "{outcome: PASS}"),
        "broken": (broken, "{outcome: FAIL, title: 'KASAN: .* in mem_cgroup_iter', function: mem_cgroup_iter}"),
    }
    folder = library(tmp_path / "library", fakelinux, rows)
    done = kpv("cases", "--folder", folder)
    assert done.returncode == 0, done.stderr
    lines = {line.split(" | ")[0].strip("| "): line for line in done.stdout.splitlines()}
    assert "| PASS | PASS |" in lines["sound"]
    assert "| FAIL | FAIL | 2 of 2 |" in lines["broken"]
    assert len(list((kpv.here / "results").glob("*-broken/verdict.json"))) == 1

    expect = rows["broken"][1].replace("function: mem_cgroup_iter", "function: css_put")
    (folder / "broken" / "case.yaml").unlink()
    (folder / "broken" / "0001-it.patch").unlink()
    (folder / "broken").rmdir()
    library(folder, fakelinux, {"broken": (broken, expect)})
    done = kpv("cases", "--folder", folder, "broken")
    assert done.returncode == 1
    assert "'css_put' is due, mem_cgroup_iter is named" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("memcg_churn", "memcg_chrun", "unknown program memcg_chrun; did you mean memcg_churn"),
        (
            "KASAN: x",
            "KCSAN: x",
            "expects 'KCSAN: x', but KCSAN is what detector kcsan reports; profile kasan arms kasan,",
        ),
        ("budget: 1", "budgets: 1", "unknown key budgets"),
    ],
)
def test_a_case_that_cannot_be_is_refused(
    kpv: Kpv, fakelinux: Path, tmp_path: Path, old: str, new: str, says: str
) -> None:
    """A name that is not there, and what no detector can give, are said before anything is built."""
    folder = library(tmp_path / "library", fakelinux, {"odd": (b"", "{outcome: FAIL, title: 'KASAN: x'}")})
    path = folder / "odd" / "case.yaml"
    path.write_text(path.read_text().replace(old, new))
    assert says in kpv.refuses("cases", "--folder", folder)


def test_an_unknown_case_is_refused(kpv: Kpv) -> None:
    """With the nearest one that is there."""
    assert kpv.refuses("cases", "iter-lok").startswith("unknown case iter-lok; did you mean iter-lock?")


def test_programs_are_told_with_what_they_need_and_decide(kpv: Kpv) -> None:
    """Needs and cases of each."""
    told = kpv("programs").stdout
    assert "memcg_churn: " in told
    assert "/sys/fs/cgroup/memory.reclaim" in told
    assert "iter-generation" in told
