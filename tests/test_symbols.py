"""Frames to source lines, on a toy kernel of two files that gcc and binutils made."""

import subprocess
from bisect import bisect_right
from pathlib import Path

import pytest

from pipeline import console_cli
from pipeline.errors import UserError
from pipeline.findings import scan
from pipeline.symbols import Symbols, load, symbolize, symbolized

MAIN = """\
extern int list_lru_add(volatile int *item);
int start_kernel(volatile int *item) { return list_lru_add(item); }
int main(void) { volatile int item = 0; return start_kernel(&item); }
"""
LRU = """\
static inline __attribute__((always_inline)) int lock_list_lru(volatile int *item)
{
	*item = 42;
	return *item;
}
__attribute__((noinline)) int list_lru_add(volatile int *item)
{
	return lock_list_lru(item) + 1;
}
"""


@pytest.fixture(scope="module")
def vmlinux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a program with the functions, files and debug information of a very small kernel."""
    tree = tmp_path_factory.mktemp("linux")
    for name, text in (("init/main.c", MAIN), ("mm/list_lru.c", LRU)):
        (tree / name).parent.mkdir()
        (tree / name).write_text(text)
    argv = ["gcc", "-g", "-O2", "-no-pie", "-o", "vmlinux", "./init/main.c", "./mm/list_lru.c"]
    subprocess.run(argv, cwd=tree, check=True)
    return tree / "vmlinux"


def line(symbols: Symbols, function: str) -> str:
    """Return a frame in the middle of a function, as the kernel would print it."""
    (address,) = symbols.by_name[function]
    size = symbols.addresses[bisect_right(symbols.addresses, address)] - address
    return f"[   12.000000][  T1207]  {function}+0x3/{size:#x}"


def test_places_and_inlined_callers(vmlinux: Path) -> None:
    """A frame gets its file and line, relative to the tree, and the inlined call above it."""
    symbols = load(vmlinux)
    frame = line(symbols, "list_lru_add")
    log = ["[   12.000000][  T1207] Call Trace:", frame, "[   12.000000][  T1207]  no_such_function+0x1/0x2", "text"]
    assert symbolize(symbols, log) == [
        log[0],
        "[   12.000000][  T1207]  lock_list_lru mm/list_lru.c:3 [inline]",
        f"{frame} mm/list_lru.c:8",
        *log[2:],
    ]


def test_symbolizing_twice_changes_nothing(vmlinux: Path) -> None:
    """What has a place keeps it."""
    symbols = load(vmlinux)
    once = symbolize(symbols, [line(symbols, "list_lru_add")])
    assert symbolize(symbols, once) == once


def test_a_function_of_another_size_is_another_kernels(vmlinux: Path) -> None:
    """Better no line than a wrong one."""
    assert symbolize(load(vmlinux), [" list_lru_add+0x3/0x4000"]) == [" list_lru_add+0x3/0x4000"]


def test_a_finding_gets_its_guilty_file(vmlinux: Path) -> None:
    """The source file to blame follows from the places."""
    symbols = load(vmlinux)
    log = (
        f"[   12.000000][  T1207] WARNING: CPU: 1 PID: 2 at mm/list_lru.c:8 list_lru_add+0x3/0x9\n"
        f"[   12.000000][  T1207] Call Trace:\n{line(symbols, 'list_lru_add')}\n"
    )
    (finding,) = scan(log.encode())
    assert finding.guilty_file is None
    found = symbolized(finding, symbols)
    assert (found.title, found.guilty_file) == ("WARNING in list_lru_add", "mm/list_lru.c")
    assert "lock_list_lru mm/list_lru.c:3 [inline]" in found.report


def test_no_kernel(tmp_path: Path, vmlinux: Path) -> None:
    """A file that is no kernel, and a kernel without debug information, are the user's mistake."""
    (tmp_path / "x").write_text("no kernel")
    with pytest.raises(UserError, match="not a kernel"):
        load(tmp_path / "x")
    subprocess.run(["strip", "--strip-debug", "-o", tmp_path / "bare", vmlinux], check=True)
    with pytest.raises(UserError, match="no line numbers"):
        symbolize(load(tmp_path / "bare"), [line(load(vmlinux), "list_lru_add")])


def test_command(vmlinux: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``kpv symbolize`` prints the log with places."""
    log = tmp_path / "console.log"
    log.write_text(line(load(vmlinux), "list_lru_add") + "\n")
    assert console_cli.main(["symbolize", str(log), "--vmlinux", str(vmlinux)]) == 0
    assert "mm/list_lru.c:8" in capsys.readouterr().out
    assert console_cli.main(["symbolize", str(log), "--vmlinux", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
