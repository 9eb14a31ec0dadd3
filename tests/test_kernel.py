"""A tree and settings become a kernel, once; what is wrong with either is named to the line."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from conftest import git

from pipeline import diagnostic, dotconfig, kbuild, kernel, tree
from pipeline.declare import Profile
from pipeline.errors import UserError
from pipeline.kconfig import Kconfig, parse
from pipeline.kernel import KernelImage
from pipeline.progress import Silent
from pipeline.store import Store
from pipeline.tree import Cut, Source

PROFILE = Profile("toy", "a toy", (), 1.0, 9, (), ())
FRAGMENT = "CONFIG_64BIT=y\nCONFIG_MEMCG=y\nCONFIG_SWAP=y\nCONFIG_KASAN=y\n"


class Bench:
    """A toy kernel's repository and a store to build it in."""

    def __init__(self, repo: Path, store: Store) -> None:
        """Start from the toy's first commit."""
        self.repo, self.store = repo, store
        self.wanted = FRAGMENT
        self.progress = Silent()

    def commit(self, changes: dict[str, str | None], subject: str = "A change") -> None:
        """Write files (None removes one) and commit them."""
        for name, text in changes.items():
            path = self.repo / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        git(self.repo, "add", "-A")
        git(self.repo, "commit", "-q", "--allow-empty", "-m", subject)

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace text in a file and commit it."""
        text = (self.repo / name).read_text()
        assert old in text
        self.commit({name: text.replace(old, new)})

    @property
    def source(self) -> Source:
        """The repository as a kernel source, at its head."""
        return tree.open_source(self.store, str(self.repo), None, Silent())

    @property
    def kconfig(self) -> Kconfig:
        """The settings asked for."""
        return Kconfig.merge([parse(self.wanted, "toy.config")])

    def cuts(self, count: int) -> tuple[Cut, ...]:
        """Return the last `count` commits as cuts 0 to count - 1."""
        lines = git(self.repo, "log", "-n", str(count), "--format=%H %T", "--reverse").splitlines()
        hashes = [line.partition(" ") for line in lines]
        return tuple(Cut(index, commit, tree_hash, None) for index, (commit, _, tree_hash) in enumerate(hashes))

    def build(self, cut: Cut | None = None) -> KernelImage:
        """Build a cut, the head when none is given."""
        one = cut if cut is not None else self.cuts(1)[0]
        return kernel.build(self.store, self.source, one, self.kconfig, PROFILE, jobs=2, progress=self.progress)

    def workspaces(self) -> list[Path]:
        """Return the folders that kernels are built in."""
        return sorted((self.store.root / "work").glob("*"))

    def made(self) -> list[str]:
        """Return the targets that the last make named."""
        log = (self.workspaces()[0] / "build.log").read_text()
        return [name for line in log.splitlines() if (name := diagnostic.target(line)) is not None]


@pytest.fixture
def bench(fakelinux: Path, tmp_path: Path) -> Bench:
    """Return a bench with a store of its own."""
    return Bench(fakelinux, Store(tmp_path / "cache"))


def test_a_kernel_is_built_and_kept(bench: Bench) -> None:
    """An image has what QEMU, the symboliser and a reader need."""
    image = bench.build()
    assert not image.cached
    assert image.release == "6.12.0"
    assert {path.name for path in image.folder.iterdir()} == {
        "bzImage", "vmlinux", ".config", "System.map", "build.log", "meta.json",
    }  # fmt: skip
    assert b"start_kernel" in image.vmlinux.read_bytes()
    assert "CONFIG_KASAN=y" in image.config_text_path.read_text()
    assert "CC      mm/memcontrol.o" in image.log.read_text()


def test_the_same_kernel_is_never_built_twice(bench: Bench) -> None:
    """Nor configured, nor checked out: the content says it is there."""
    first = bench.build()
    log = bench.workspaces()[0] / "build.log"
    log.unlink()
    again = bench.build()
    assert again.cached
    assert (again.key, again.warnings, again.release) == (first.key, first.warnings, first.release)
    assert not log.exists()


def test_a_commit_that_changes_nothing_is_the_same_kernel(bench: Bench) -> None:
    """A tree is its content and not its history."""
    first = bench.build()
    bench.commit({}, "Nothing")
    assert bench.build().key == first.key


def test_a_changed_file_is_rebuilt_and_nothing_else(bench: Bench) -> None:
    """The second cut takes one object and the link, and no configuration."""
    first = bench.build()
    bench.edit("mm/memcontrol.c", "root.usage += pages", "root.usage += pages + 1")
    second = bench.build()
    assert second.key != first.key
    assert bench.made() == ["mm/memcontrol.o", "vmlinux.a", "vmlinux", "arch/x86/boot/bzImage"]
    assert first.vmlinux.read_bytes() != second.vmlinux.read_bytes()


def test_an_image_in_the_store_outlives_the_next_build(bench: Bench) -> None:
    """What make writes in place later is not what was kept."""
    first = bench.build()
    kept = (first.vmlinux.read_bytes(), first.bzimage.read_bytes())
    bench.edit("mm/memcontrol.c", "root.usage += pages", "root.usage += pages + 1")
    bench.build()
    assert (first.vmlinux.read_bytes(), first.bzimage.read_bytes()) == kept


def test_another_workspace_gives_the_same_bits_from_ccache(bench: Bench, tmp_path: Path) -> None:
    """Neither the folder nor the time is in a kernel, so another checkout hits the cache."""
    first = bench.build()
    other = Bench(tmp_path / "clone", Store(tmp_path / "cache" / "nested"))
    git(tmp_path, "clone", "-q", str(bench.repo), "clone")
    (tmp_path / "cache" / "nested").mkdir()
    (tmp_path / "cache" / "nested" / "ccache").symlink_to(tmp_path / "cache" / "ccache")
    second = other.build()
    assert (second.key, second.cached) == (first.key, False)
    assert second.bzimage.read_bytes() == first.bzimage.read_bytes()
    stats = subprocess.run(
        ["ccache", "--print-stats"], env={**os.environ, "CCACHE_DIR": str(tmp_path / "cache/ccache")},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    counts = dict(line.split("\t") for line in stats.splitlines())
    assert int(counts["direct_cache_hit"]) + int(counts["preprocessed_cache_hit"]) == 5


def test_warnings_are_those_of_the_tree_not_of_the_last_make(bench: Bench) -> None:
    """A file that is not compiled again still warns; one that is repaired does not."""
    bench.edit("mm/vmscan.c", "return memcg", "int a; return memcg")
    first = bench.build()
    assert sorted(one.file for one in first.warnings) == ["fs/dcache.c", "mm/vmscan.c"]
    bench.edit("mm/memcontrol.c", "root.usage += pages", "root.usage += pages + 1")
    second = bench.build()
    assert second.warnings == first.warnings
    assert kernel.added_warnings(first, second) == ()
    bench.edit("mm/vmscan.c", "int a; ", "")
    assert [one.file for one in bench.build().warnings] == ["fs/dcache.c"]
    bench.commit({"fs/dcache.c": None, "fs/Makefile": "obj-y :=\n", "init/main.c": "void start_kernel(void);\n"
                  "void start_kernel(void) { }\n"})  # fmt: skip
    assert bench.build().warnings == ()


def test_added_warnings_are_named_with_function_and_option(bench: Bench) -> None:
    """A warning that moved down is no new one; a second of its kind is."""
    bench.commit({})
    bench.edit("fs/dcache.c", "int dcache_shrink", "\n\nint dcache_shrink")
    bench.edit("fs/dcache.c", "int unused;", "int unused; int more;")
    base, moved, more = (bench.build(cut) for cut in bench.cuts(3))
    assert [one.line for one in base.warnings] != [one.line for one in moved.warnings]
    assert kernel.added_warnings(base, moved) == ()
    (new,) = kernel.added_warnings(base, more)
    assert (new.file, new.function, new.option) == ("fs/dcache.c", "dcache_shrink", "-Wunused-variable")
    assert str(new).startswith("fs/dcache.c:8: unused variable 'more'")
    assert "int unused; int more;" in new.detail


def test_a_tree_that_does_not_compile_says_what_and_where(bench: Bench) -> None:
    """The compiler's words, the file in the tree, the line, and the object."""
    bench.edit("mm/memcontrol.c", "return root.usage", "return root.usages")
    with pytest.raises(kbuild.CompileError) as caught:
        bench.build()
    error = caught.value
    assert (error.file, error.line, error.target) == ("mm/memcontrol.c", 10, "mm/memcontrol.o")
    assert str(error) == ("mm/memcontrol.c:10: 'struct mem_cgroup' has no member named 'usages'; did you mean 'usage'?")
    assert "return root.usages" in error.detail
    assert error.exit_status == 1


def test_a_tree_that_does_not_link_says_so(bench: Bench) -> None:
    """The line that refers to what is not there."""
    bench.edit("include/linux/mm.h", "#endif", "long gone(void);\n#endif")
    bench.edit("mm/memcontrol.c", "root.usage += pages", "root.usage += gone()")
    with pytest.raises(kbuild.CompileError, match="undefined reference to `gone'") as caught:
        bench.build()
    assert (caught.value.file, caught.value.line) == ("mm/memcontrol.c", 9)
    assert caught.value.target == "vmlinux"


def test_a_workspace_that_lost_its_records_starts_again(bench: Bench) -> None:
    """Objects whose warnings nobody knows any more are not trusted."""
    bench.build()
    (bench.workspaces()[0] / "state.json").write_text('{"of": "another kpv"}')
    bench.edit("mm/memcontrol.c", "root.usage += pages", "root.usage += pages + 1")
    assert [one.file for one in bench.build().warnings] == ["fs/dcache.c"]


def test_workspaces_do_not_pile_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes when there are enough, unless somebody is in it; kernels stay."""
    monkeypatch.setattr(kbuild, "KEPT_WORKSPACES", 2)
    first = bench.build()
    (oldest,) = bench.workspaces()
    for number, symbol in enumerate(("SMP", "EXPERT", "MODULES"), start=2):
        bench.wanted += f"CONFIG_{symbol}=y\n"
        with bench.store.lock("work", oldest.name if symbol == "EXPERT" else "none"):
            bench.build()
        assert oldest.exists() == (symbol != "MODULES")
        assert len(bench.workspaces()) == min(number, 3 if symbol == "EXPERT" else 2)
    assert first.vmlinux.exists()


def test_after_a_failure_the_next_build_is_right(bench: Bench) -> None:
    """A failed make leaves a workspace that the next cut builds in, warnings included."""
    first = bench.build()
    bench.edit("mm/vmscan.c", "return memcg", "int a; return memcg")
    bench.edit("mm/memcontrol.c", "return root.usage", "return root.usages")
    with pytest.raises(kbuild.CompileError):
        bench.build()
    bench.edit("mm/memcontrol.c", "return root.usages", "return root.usage")
    second = bench.build()
    assert [one.file for one in kernel.added_warnings(first, second)] == ["mm/vmscan.c"]


def test_the_patch_that_broke_the_build_is_found(bench: Bench) -> None:
    """Of eight cuts the fifth breaks one file, others change around it."""
    bench.commit({})
    for number in range(1, 5):
        bench.edit("mm/vmscan.c", "return memcg", f"/* {number} */ return memcg")
    bench.edit("mm/memcontrol.c", "return root.usage", "return root.usages")
    for number in range(6, 9):
        bench.edit("mm/vmscan.c", "return memcg", f"/* {number} */ return memcg")
    cuts = bench.cuts(9)
    bench.build(cuts[0])
    with pytest.raises(kbuild.CompileError) as caught:
        bench.build(cuts[-1])
    found = kernel.first_broken_cut(
        bench.store, bench.source, cuts, bench.kconfig, PROFILE, caught.value, jobs=2, progress=Silent()
    )
    assert found.cut.index == 5
    assert found.error.file == "mm/memcontrol.c"


def test_an_earlier_break_elsewhere_is_the_one_that_counts(bench: Bench) -> None:
    """The last cut fails in one file, but a cut before it already did not build because of another."""
    bench.commit({})
    bench.edit("fs/dcache.c", "return nr", "return nrr")
    bench.edit("mm/vmscan.c", "return memcg", "/* */ return memcg")
    bench.edit("include/linux/mm.h", "long usage", "long used")
    cuts = bench.cuts(4)
    bench.build(cuts[0])
    with pytest.raises(kbuild.CompileError) as caught:
        bench.build(cuts[-1])
    found = kernel.first_broken_cut(
        bench.store, bench.source, cuts, bench.kconfig, PROFILE, caught.value, jobs=2, progress=Silent()
    )
    assert (found.cut.index, found.error.file) == (1, "fs/dcache.c")


def test_a_new_file_that_does_not_compile_is_blamed_on_its_patch(bench: Bench) -> None:
    """Before that patch there is no such object: it is not missing, it is not there yet."""
    bench.commit({})
    bench.edit("mm/vmscan.c", "return memcg", "/* */ return memcg")
    bench.commit(
        {"mm/new.c": "int x = y;\n", "mm/Makefile": (bench.repo / "mm/Makefile").read_text() + "obj-y += new.o\n"}
    )
    bench.edit("mm/vmscan.c", "return memcg", "/* */ return memcg")
    cuts = bench.cuts(4)
    bench.build(cuts[0])
    with pytest.raises(kbuild.CompileError) as caught:
        bench.build(cuts[-1])
    found = kernel.first_broken_cut(
        bench.store, bench.source, cuts, bench.kconfig, PROFILE, caught.value, jobs=2, progress=Silent()
    )
    assert (found.cut.index, found.error.file) == (2, "mm/new.c")


def test_a_setting_that_does_not_survive_is_explained(bench: Bench) -> None:
    """Symbol, fragment and line, what came out, and the dependency that is unmet."""
    bench.wanted = "CONFIG_64BIT=y\nCONFIG_SLUB_TINY=y\n\nCONFIG_KASAN=y\n"
    with pytest.raises(UserError) as caught:
        bench.build()
    assert str(caught.value).startswith(
        "toy.config:4: CONFIG_KASAN=y came out as n: depends on !SLUB_TINY (SLUB_TINY=y);"
    )
    assert not list((bench.store.root / "config").glob("*"))
    assert not (bench.store.root / "kernels").exists()


@pytest.mark.parametrize(
    ("fragment", "says"),
    [
        ("CONFIG_EXT4_FS=y\n# CONFIG_SWAP is not set\n", "depends on SWAP || EXPERT (EXPERT=n, SWAP=n)"),
        ("CONFIG_MEMCG=y\n# CONFIG_PAGE_COUNTER is not set\n", "selected by MEMCG"),
        ("CONFIG_PAGE_COUNTER=y\n", "it has no prompt"),
        ("CONFIG_SMP=y\nCONFIG_NR_CPUS=500\n", "the range is 2 to 64"),
        ("CONFIG_QUOTA=m\n", "there are no modules in a guest: ask for y"),
    ],
)
def test_every_reason_is_told_apart(bench: Bench, fragment: str, says: str) -> None:
    """What to do about a mismatch depends on what stands against it."""
    bench.wanted = fragment
    with pytest.raises(UserError, match=re.escape(says)):
        bench.build()


def test_an_unknown_symbol_is_refused(bench: Bench) -> None:
    """With the nearest that the tree knows."""
    bench.wanted = "CONFIG_KASSAN=y\n"
    with pytest.raises(UserError, match=r"toy.config:1: this kernel has no CONFIG_KASSAN; did you mean KASAN\?"):
        bench.build()


def test_where_kconfiglib_cannot_read_the_tree_the_mismatch_still_stands(bench: Bench) -> None:
    """A construct of a newer kernel costs the explanation, not the error."""
    bench.edit("scripts/conf.py", '"help", "modules"', '"help", "modules", "novelty"')
    bench.edit("mm/Kconfig", 'bool "Swap"', 'bool "Swap"\n\tnovelty')
    bench.wanted = "CONFIG_KASAN=y\n"
    with pytest.raises(UserError, match=r"CONFIG_KASAN=y came out as n: .*kconfiglib does not read this tree"):
        bench.build()


def test_a_patch_that_breaks_kconfig_is_a_build_error(bench: Bench) -> None:
    """It is the tree's fault, with file and line."""
    bench.edit("mm/Kconfig", "select PAGE_COUNTER", "selects PAGE_COUNTER")
    with pytest.raises(kbuild.CompileError, match=r'mm/Kconfig:7: unknown statement "selects"'):
        bench.build()


def test_a_change_in_kconfig_configures_anew(bench: Bench) -> None:
    """And a change anywhere else does not."""
    bench.build()
    bench.edit("mm/vmscan.c", "return memcg", "/* */ return memcg")
    bench.build()
    bench.edit("mm/Kconfig", 'config SLUB_TINY\n\tbool "A small slab allocator"', "config SLUB_TINY\n\tdef_none y")
    with pytest.raises(kbuild.CompileError, match="def_none"):
        bench.build()


def test_the_shell_of_the_user_does_not_leak_in(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that mean something to kbuild, make and gcc are not inherited."""
    bad = {"ARCH": "arm64", "CROSS_COMPILE": "none-", "KCFLAGS": "-nonsense", "CC": "false", "CFLAGS": "-nonsense",
           "MAKEFLAGS": "n", "KBUILD_OUTPUT": "/nonexistent", "O": "/nonexistent", "CPATH": "/nonexistent",
           "LOCALVERSION": "-mine", "KCONFIG_CONFIG": "/nonexistent", "LC_ALL": "de_DE.UTF-8"}  # fmt: skip
    for name, value in bad.items():
        monkeypatch.setenv(name, value)
    assert bench.build().release == "6.12.0"


def test_two_at_once_build_once(bench: Bench) -> None:
    """The second waits and takes what the first has made."""
    script = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parent.parent)]!r}
        from test_kernel import Bench
        from pipeline.store import Store
        print(Bench(Path({str(bench.repo)!r}), Store(Path({str(bench.store.root)!r}))).build().cached)
    """)
    both = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(one.communicate()[0].strip() for one in both) == ["False", "True"]


def _slow(bench: Bench) -> None:
    """Make the toy's last object take long."""
    bench.edit(
        "Makefile", "\t@echo '  AR      $@'\n", "\t@echo '  AR      $@'\n\t@touch $(srctree)/../here; exec sleep 600\n"
    )


def test_a_kpv_that_is_killed_takes_its_make_along(bench: Bench) -> None:
    """Even by kill -9; the next build finds the workspace free, and knows all warnings."""
    _slow(bench)
    script = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parent.parent)]!r}
        from test_kernel import Bench
        from pipeline.store import Store
        Bench(Path({str(bench.repo)!r}), Store(Path({str(bench.store.root)!r}))).build()
    """)
    with subprocess.Popen([sys.executable, "-c", script]) as child:
        while not list(bench.store.root.glob("work/*/here")):
            assert child.poll() is None
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
    bench.edit("Makefile", "; exec sleep 600", "")
    image = bench.build()
    assert not image.cached
    assert [one.file for one in image.warnings] == ["fs/dcache.c"]


def test_ctrl_c_ends_make_and_what_it_started(bench: Bench) -> None:
    """An interrupt unwinds: no process is left, and the next build goes on."""
    _slow(bench)
    left = []

    def interrupt() -> None:
        while not list(bench.store.root.glob("work/*/here")):
            time.sleep(0.05)
        left.extend(_below(bench.store.root))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        bench.build()
    thread.join()
    assert left
    assert _below(bench.store.root) == []
    bench.edit("Makefile", "; exec sleep 600", "")
    assert [one.file for one in bench.build().warnings] == ["fs/dcache.c"]


def _below(folder: Path) -> list[str]:
    """Return the processes that work in a folder below `folder`."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if link.readlink().is_relative_to(folder):
                found.append(link.parent.name)
    return found


def test_no_disk_space_is_said_before_anything_is_made(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is needed and what is free."""
    monkeypatch.setattr(kernel, "FULL_BUILD", 10**18)
    with pytest.raises(UserError, match=r"a kernel build needs 1000000000.0 GB on disk"):
        bench.build()
    assert not (bench.workspaces() and (bench.workspaces()[0] / "src").exists())


def test_a_cache_where_make_cannot_work_is_refused(bench: Bench, tmp_path: Path) -> None:
    """Kbuild takes no spaces and no colons in a path (Makefile, abs_srctree)."""
    bench.store = Store(tmp_path / "my cache")
    with pytest.raises(UserError, match="spaces, colons or quotes"):
        bench.build()


class Recorder(Silent):
    """Progress that remembers the totals and the steps of what was built."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.totals: list[float | None] = []
        self.steps: list[float] = []

    def begin(self, what: str, total: float | None = None) -> None:
        """Note a build."""
        if what.startswith("build"):
            self.totals.append(total)
            self.steps.append(0)

    def step(self, done: float, note: str = "") -> None:
        """Note how far it came."""
        self.steps[-1] = done


def test_progress_knows_how_much_is_left(bench: Bench) -> None:
    """The first total is the profile's, the next are counted: what depends on the change, and the link."""
    bench.progress = recorder = Recorder()
    bench.build()
    bench.edit("mm/memcontrol.c", "root.usage += pages", "root.usage += pages + 1")
    bench.build()
    bench.edit("include/linux/mm.h", "long usage", "long long usage")
    bench.build()
    assert recorder.totals[0] == PROFILE.objects
    link, folders = 3, {"mm": 2, "all": 4}
    assert recorder.totals[1:] == [1 + link + folders["mm"], 5 + link + folders["all"]]
    assert recorder.steps == [9, 1 + link, 5 + link]


def test_an_entry_of_the_cache_is_whole(bench: Bench) -> None:
    """The configuration is kept under the settings, the tree and the compiler."""
    bench.build()
    name = dotconfig.entry(bench.kconfig, bench.cuts(1)[0].tree, kbuild.compiler())
    assert "CONFIG_MEMCG=y" in (dotconfig.kept(bench.store, name) or "")
