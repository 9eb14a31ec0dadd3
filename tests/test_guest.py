"""Programs compile without a warning, their library keeps its promises, and the image is the same each time."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from pipeline import declare, guest, ledger
from pipeline.declare import Program
from pipeline.errors import UserError
from pipeline.guest import FLAGS, GUEST_TESTS, build_guest
from pipeline.progress import Silent
from pipeline.store import Store

SELFTEST = Program("selftest", "selftest.c", "the library", 1, 2, ("/proc",))


def declared() -> tuple[Program, ...]:
    """Return the programs that come with kpv."""
    path = GUEST_TESTS / "programs.yaml"
    return declare.programs(path.read_text(), str(path))


@pytest.fixture(scope="module")
def selftest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the library's own program for this machine."""
    output = tmp_path_factory.mktemp("selftest") / "selftest"
    library = sorted(str(path) for path in (GUEST_TESTS / "lib").glob("*.c"))
    subprocess.run(["gcc", *FLAGS, "-o", str(output), str(GUEST_TESTS / "selftest.c"), *library], check=True)
    return output


def run(program: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run([str(program), *args], capture_output=True, text=True, timeout=120, check=False)


def extracted(image: Path, folder: Path) -> Path:
    """Unpack what needs no root."""
    folder.mkdir()
    patterns = ("init", "bin/*", "etc/*", "share/*", "bin", "etc", "share")
    with image.open("rb") as stdin:
        subprocess.run(["cpio", "-i", "--quiet", "-d", *patterns], stdin=stdin, cwd=folder, check=True)
    return folder


def test_two_builds_are_the_same_to_the_byte(tmp_path: Path) -> None:
    """Every declared program compiles (warnings are errors), and two stores get the same image."""
    programs = declared()
    one = build_guest(Store(tmp_path / "one"), programs, with_shell=False, progress=Silent())
    two = build_guest(Store(tmp_path / "two"), programs, with_shell=False, progress=Silent())
    assert one.key == two.key
    assert one.initramfs.read_bytes() == two.initramfs.read_bytes()
    names = subprocess.run(["cpio", "-t", "--quiet"], input=one.initramfs.read_bytes(), capture_output=True, check=True)
    found = set(names.stdout.decode().splitlines())
    assert {"init", "dev/console", "dev/null", "etc/programs", *(f"bin/{x.name}" for x in programs)} <= found
    assert [path.name for path in one.initramfs.parent.iterdir()] == [guest.IMAGE]


def test_what_is_kept_is_not_built_again(tmp_path: Path) -> None:
    """The second build of one store leaves the file alone; other programs are another guest."""
    store = Store(tmp_path)
    first = build_guest(store, [SELFTEST], with_shell=False, progress=Silent())
    before = first.initramfs.stat().st_mtime_ns
    assert build_guest(store, [SELFTEST], with_shell=False, progress=Silent()) == first
    assert first.initramfs.stat().st_mtime_ns == before
    other = Program("selftest", "selftest.c", "the library", 1, 3, ("/proc",))
    assert build_guest(store, [other], with_shell=False, progress=Silent()).key != first.key


def test_the_agent_gets_the_table(tmp_path: Path) -> None:
    """Workers and needs reach the agent as they were declared; the ext4 holds a superblock."""
    image = build_guest(Store(tmp_path / "store"), [SELFTEST], with_shell=False, progress=Silent())
    folder = extracted(image.initramfs, tmp_path / "out")
    assert (folder / "etc/programs").read_text() == "selftest 2 /proc\n"
    blocks = (folder / "share/ext4").read_bytes()
    size = 8 + guest.EXT4_BLOCK
    assert len(blocks) % size == 0
    table = {
        int.from_bytes(blocks[at : at + 8], "little"): blocks[at + 8 : at + size] for at in range(0, len(blocks), size)
    }
    # The superblock stands at byte 1024, its magic at 56 of it (fs/ext4/ext4.h).
    assert table[1][56:58] == b"\x53\xef"


def test_a_shell_comes_when_asked(tmp_path: Path) -> None:
    """Busybox is in the image for `kpv shell`, and only then."""
    image = build_guest(Store(tmp_path / "store"), [SELFTEST], with_shell=True, progress=Silent())
    folder = extracted(image.initramfs, tmp_path / "out")
    done = subprocess.run([folder / "bin/busybox", "echo", "alive"], capture_output=True, check=True)
    assert done.stdout == b"alive\n"


def copied(tmp_path: Path) -> Path:
    """Return a folder with the agent and the library, for a program of the user's."""
    folder = tmp_path / "programs"
    (folder / "lib").mkdir(parents=True)
    for name in ("agent.c", *(f"lib/{path.name}" for path in (GUEST_TESTS / "lib").iterdir())):
        (folder / name).write_bytes((GUEST_TESTS / name).read_bytes())
    return folder


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("int main(void)\n{\n\treturn nothing;\n}\n", "bad.c:3: 'nothing' undeclared"),
        ("static int unused;\n", "bad.c:1: 'unused' defined but not used"),
        ('#include "lib/missing.h"\n', "bad.c:1: lib/missing.h: No such file"),
        ("int number;\n", "bad.c: does not link: "),
    ],
)
def test_a_compile_error_has_its_place(tmp_path: Path, source: str, complaint: str) -> None:
    """What the compiler says comes with file and line, and nothing is kept."""
    folder = copied(tmp_path)
    (folder / "bad.c").write_text(source)
    bad = Program("bad", "bad.c", "does not compile", 1, 1, ())
    store = Store(tmp_path / "store")
    with pytest.raises(UserError, match=re.escape(complaint)) as caught:
        build_guest(store, [bad], with_shell=False, progress=Silent(), folder=folder)
    assert "\n" not in str(caught.value)
    assert list((store.root / "guest").iterdir()) == []


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    """A row of programs.yaml without its file says which."""
    gone = Program("gone", "gone.c", "not there", 1, 1, ())
    with pytest.raises(UserError, match=r"gone\.c: cannot be read: No such file"):
        build_guest(Store(tmp_path), [gone], with_shell=False, progress=Silent())


def test_ktap_and_plan(selftest: Path) -> None:
    """The plan comes first and every result of it follows; cycles are counted."""
    done = run(selftest, "--budget", "1", "--workers", "3")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert lines[0] == "KTAP version 1"
    plan = int(lines[1].removeprefix("1.."))
    results = [line for line in lines if re.match(r"(not )?ok \d+ ", line)]
    assert [int(line.removeprefix("ok ").split()[0]) for line in results] == list(range(1, plan + 1))
    listed = run(selftest, "--list").stdout.splitlines()
    assert [line.split(maxsplit=2)[2] for line in results] == [x.split()[1] for x in listed if x.startswith("check ")]
    assert re.search(r"^# cycles=[1-9]\d* per_second=\d+\.\d$", done.stdout, re.MULTILINE)


def test_a_seed_is_a_seed(selftest: Path) -> None:
    """The same seed draws the same numbers in all workers, another one others."""

    def total(seed: int) -> str:
        out = run(selftest, "--budget", "1", "--seed", str(seed)).stdout
        return next(line for line in out.splitlines() if line.startswith("# sum="))

    assert total(7) == total(7)
    assert len({total(seed) for seed in range(4)}) == 4


@pytest.mark.parametrize(
    "args", [("--seed", "x"), ("--seed", "-1"), ("--budget", "0"), ("--workers", "65"), ("--what",), ("more",)]
)
def test_bad_arguments(selftest: Path, args: tuple[str, ...]) -> None:
    """Exit status 2 and a word why, before anything is started."""
    done = run(selftest, *args)
    assert done.returncode == 2
    assert "usage:" in done.stderr
    assert done.stdout == ""


def test_a_missing_need_is_a_skip(selftest: Path) -> None:
    """Without what it needs nothing runs, and KTAP says so."""
    done = run(selftest, "--need", "/proc", "--need", "/no/such/file")
    assert done.stdout.splitlines() == ["KTAP version 1", "1..0 # SKIP needs /no/such/file"]
    assert done.returncode == 4


def test_a_window_counts_how_often_its_sides_met(selftest: Path) -> None:
    """Both sides meet each other time and again, and it is said how often each ran and how often both did at once."""
    out = run(selftest, "--budget", "2", "--workers", "2").stdout
    assert "ok 4 windows_reached\n" in out
    found = re.search(r"^# window meeting even=(\d+) odd=(\d+) overlap=(\d+)$", out, re.MULTILINE)
    assert found is not None
    even, odd, overlap = map(int, found.groups())
    assert min(even, odd) >= overlap > 0


def test_a_window_that_was_never_reached_is_no_pass(selftest: Path) -> None:
    """A worker alone meets nobody, and the run says so."""
    out = run(selftest, "--budget", "1", "--workers", "1").stdout
    assert "ok 4 windows_reached # SKIP even never met odd (meeting)" in out
    assert re.search(r"^# window meeting even=[1-9]\d* odd=0 overlap=0$", out, re.MULTILINE)


def test_the_books_are_read_before_the_first_round_and_after_each(selftest: Path) -> None:
    """Growth is told from what is made once by reading the books three times while the program runs."""
    out = run(selftest, "--budget", "1").stdout
    books = ledger.parse(out.splitlines())
    assert books.problems == ()
    assert [book.round for book in books.books] == [0, 1, 2, 3]
    assert [book.cycles for book in books.books] == sorted({book.cycles for book in books.books})
    # This machine's counters have the same names as a guest's, and each has its ledger.
    assert "slab.dentry" in books.rows or os.geteuid() != 0
    assert "cgroups.hierarchies" in books.rows
    assert ledger.unknown(books) == ()
    assert all(len(line) < 480 for line in out.splitlines())


def test_workers_go_with_the_program(selftest: Path) -> None:
    """When the program is killed, so are its workers, whatever process group they are in."""
    with subprocess.Popen([str(selftest), "--budget", "600", "--workers", "3"], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        while b"# program=" not in program.stdout.readline():
            pass
        program.send_signal(signal.SIGKILL)
        # End of file: nobody holds the pipe any more.
        program.stdout.read()


def test_a_killed_worker_is_not_ok(selftest: Path) -> None:
    """A worker that dies is said, and the run goes on to its end."""
    with subprocess.Popen([str(selftest), "--budget", "2"], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        while "ok 1 setup" not in program.stdout.readline():
            pass
        children = Path(f"/proc/{program.pid}/task/{program.pid}/children")
        while len(children.read_text().split()) < 2:
            pass
        os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
        out = program.stdout.read()
    assert "# worker 0 (drawer) ended with signal 9" in out
    assert "not ok 3 workers_ended" in out
    assert program.returncode == 1
