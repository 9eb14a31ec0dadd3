"""The tree's own tests: built from the cut, told apart by what they are built from, handed on as KTAP."""

import os
import subprocess
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from pipeline import ktap, selftests, tree
from pipeline.declare import Program
from pipeline.guest import FLAGS, GUEST_TESTS, build_guest
from pipeline.ktap import Status
from pipeline.progress import Silent
from pipeline.store import Store

SUITE = "tools/testing/selftests/toy"
FILES = {
    "Makefile": "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 7\nheaders:\n\t@test -e usr/fine\n",
    "Kconfig": "config X\n",
    "mm/vmscan.c": "int x;\n",
    "usr/fine": "",
    "include/uapi/linux/x.h": "#define X 1\n",
    f"{SUITE}/Makefile": (
        "TESTS := good bad\n"
        "all: $(addprefix $(OUTPUT)/,$(TESTS))\n"
        "$(OUTPUT)/%: %.c\n\t$(CC) $(USERLDFLAGS) -o $@ $<\n"
        'emit_tests:\n\t@for t in $(TESTS) run.sh gone; do echo "$(COLLECTION):$$t"; done\n'
    ),
    f"{SUITE}/good.c": "int main(void)\n{\n\treturn 0;\n}\n",
    f"{SUITE}/bad.c": "int main(void)\n{\n\treturn nothing;\n}\n",
    f"{SUITE}/run.sh": "#!/bin/sh\n",
}
PROGRAM = Program("upstream", "upstream.c", "a suite", 10, 1, (), suite="toy")


class World:
    """A store, and a git tree to change."""

    def __init__(self, folder: Path) -> None:
        """Begin with one commit."""
        self.store = Store(folder / "store")
        self.linux = folder / "linux"
        self.linux.mkdir()
        self._git("init", "-q", "-b", "master")
        self.change(FILES)

    def _git(self, *args: str) -> None:
        name = {f"GIT_{who}_{what}": "k@k.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", **name}
        subprocess.run(["git", "-C", str(self.linux), *args], check=True, capture_output=True, env=env)

    def change(self, files: Mapping[str, str | None]) -> None:
        """Commit these contents; None removes a file."""
        for name, text in files.items():
            path = self.linux / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                path.unlink()
            else:
                path.write_text(text)
        self._git("add", "-A", "-f")
        self._git("commit", "-qm", "change")

    def suite(self, program: Program = PROGRAM) -> Path:
        """Build the suite of what is committed."""
        source = tree.open_source(self.store, str(self.linux), None, Silent())
        cut = tree.Cut(0, source.base, source.tree, None)
        return selftests.build(self.store, source, cut, program, jobs=2, progress=Silent())


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Make one."""
    return World(tmp_path)


def content(archive: Path) -> dict[str, bytes]:
    """Unpack an archive."""
    folder = archive.parent.parent / f"{archive.parent.name}.out"
    folder.mkdir()
    with archive.open("rb") as stdin:
        subprocess.run(["cpio", "-i", "--quiet", "-d"], stdin=stdin, cwd=folder, check=True)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_suite_is_its_tests_and_a_word_on_each_that_is_missing(world: World) -> None:
    """One that compiles runs anywhere; one that does not, or is a script, leaves the others alone."""
    archive = world.suite()
    found = content(archive)
    assert set(found) == {"suite/upstream/list", "suite/upstream/good"}
    good, bad, script, gone = found["suite/upstream/list"].decode().splitlines()
    assert good == "good"
    assert bad.startswith("bad does not build: bad.c:3:")
    assert script == "run.sh a script, and a guest has no shell"
    assert gone.startswith("gone does not build: ")
    segments = ELFFile(BytesIO(found["suite/upstream/good"])).iter_segments()
    assert not any(segment["p_type"] == "PT_INTERP" for segment in segments)
    assert [path.name for path in archive.parent.iterdir()] == [selftests.ARCHIVE]


@pytest.mark.parametrize(
    ("change", "suite", "said"),
    [
        ({}, "none", "! this tree has no tools/testing/selftests/none"),
        ({"usr/fine": None, "usr/x": ""}, "toy", "! the headers of this tree cannot be installed: "),
        ({f"{SUITE}/Makefile": "all:\n"}, "toy", f"! {SUITE} names no test: "),
    ],
)
def test_a_tree_without_the_suite_says_why(
    world: World, change: Mapping[str, str | None], suite: str, said: str
) -> None:
    """It is no error of anybody's: the list has the reason, and the program skips with it."""
    if change:
        world.change(change)
    program = Program("other", "upstream.c", "a suite", 10, 1, (), suite=suite)
    found = content(world.suite(program))
    assert set(found) == {"suite/other/list"}
    assert found["suite/other/list"].decode().startswith(said)


def test_only_what_it_is_built_from_makes_a_suite_anew(world: World) -> None:
    """A change of the kernel proper shares the entry, one of a test or of what user space sees does not."""
    first = world.suite()
    world.change({"mm/vmscan.c": "int y;\n"})
    assert world.suite() == first
    world.change({"include/uapi/linux/x.h": "#define X 2\n"})
    second = world.suite()
    assert second != first
    world.change({f"{SUITE}/good.c": "int main(void)\n{\n\treturn 1;\n}\n"})
    assert world.suite() not in {first, second}


def test_a_guest_without_a_suite_stays_what_it_is(world: World) -> None:
    """And one with a suite is another guest, the archive behind its own."""
    source = tree.open_source(world.store, str(world.linux), None, Silent())
    cut = tree.Cut(0, source.base, source.tree, None)
    plain = build_guest(world.store, [], with_shell=False, progress=Silent())
    assert selftests.guest_of(world.store, source, cut, plain, jobs=2, progress=Silent()) == plain
    image = build_guest(world.store, [PROGRAM], with_shell=False, progress=Silent())
    more = selftests.guest_of(world.store, source, cut, image, jobs=2, progress=Silent())
    assert more.key != image.key
    assert more.initramfs.read_bytes() == image.initramfs.read_bytes() + world.suite().read_bytes()


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the program that runs a suite, as the guest's is."""
    output = tmp_path_factory.mktemp("upstream") / "upstream"
    subprocess.run(["gcc", *FLAGS, "-o", str(output), str(GUEST_TESTS / "upstream.c")], check=True)
    return output


def read(upstream: Path, said: str) -> ktap.Report:
    """Let it hand on what a test said, and read that as the host does."""
    argv = [str(upstream), "--read", "test_x"]
    done = subprocess.run(argv, input=said, capture_output=True, text=True, timeout=60, check=False)
    report = ktap.parse(done.stdout.splitlines())
    assert report.problems == ()
    return report


def statuses(report: ktap.Report) -> list[tuple[str, Status]]:
    """Return every test with how it ended."""
    return [(path, test.status) for path, test in report.flat()]


def test_what_a_selftest_says_is_one_test_with_subtests(upstream: Path) -> None:
    """With or without a version line and a plan, and with the name on either side of the directive."""
    said = (
        "TAP version 13\n1..5\nok 1 test_a\n# why b is bad\nnot ok 2 test_b\nok 3 # SKIP test_c\n"
        "ok 4 - test_d # XFAIL known\nchatter of a child\n\x1b[1mnot ok 5 test_e\n# Totals: pass:1 fail:1\n"
    )
    report = read(upstream, said)
    assert statuses(report) == [
        ("test_x", Status.NOT_OK),
        ("test_x/test_a", Status.OK),
        ("test_x/test_b", Status.NOT_OK),
        ("test_x/test_c", Status.SKIP),
        ("test_x/test_d", Status.EXPECTED),
    ]
    assert report.tests[0].subtests[1].diagnostics == ("why b is bad",)
    assert statuses(read(upstream, "ok 1 test_a\nok 2 test_b\n"))[0] == ("test_x", Status.OK)


def test_numbers_that_are_wrong_do_not_matter(upstream: Path) -> None:
    """Children of a test print results too, and count for themselves."""
    assert statuses(read(upstream, "ok 1 a\nok 1 b\nnot ok 7 c\n1..2\n"))[1:] == [
        ("test_x/a", Status.OK),
        ("test_x/b", Status.OK),
        ("test_x/c", Status.NOT_OK),
    ]


def test_what_fails_only_now_and_then_speaks_neither_way(upstream: Path) -> None:
    """A subtest that was ok in one attempt and not in another is an expected failure; one that never was is not."""
    report = read(upstream, "ok 1 a\nnot ok 2 b\nnot ok 3 c\n\f1..3\nnot ok 1 a\nok 2 b\nnot ok 3 c\n")
    assert statuses(report)[1:] == [
        ("test_x/a", Status.EXPECTED),
        ("test_x/b", Status.EXPECTED),
        ("test_x/c", Status.NOT_OK),
    ]
    assert report.tests[0].subtests[0].note == "failed in 1 of 2 attempts"


def test_a_test_that_says_nothing_is_skipped_with_its_reason(upstream: Path) -> None:
    """``1..0 # SKIP`` is a plan of nothing."""
    report = read(upstream, "TAP version 13\n1..0 # SKIP Kernel without the memory controller\n")
    (test,) = report.tests
    assert (test.status, test.note) == (Status.SKIP, "Kernel without the memory controller")


def test_without_a_suite_there_is_nothing_to_run(upstream: Path) -> None:
    """On a machine that is no guest it says what is missing, and skips as kselftest does."""
    done = subprocess.run([str(upstream)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert ktap.parse(done.stdout.splitlines()).skipped == "needs /suite/upstream/list"


@pytest.mark.parametrize("args", [("--budget", "0"), ("--what",), ("more",), ("--ticks", "x")])
def test_bad_arguments_are_refused(upstream: Path, args: tuple[str, ...]) -> None:
    """Exit status 2 and one line that says why."""
    done = subprocess.run([str(upstream), *args], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("upstream: ")
