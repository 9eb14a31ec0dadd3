"""What gcc, ld, objtool, modpost, Kconfig and make say is read for what it means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.diagnostic import Warning as BuildWarning
from pipeline.diagnostic import added, blocks, failure, target, tree_path, warnings

GCC = """\
In file included from ../include/linux/mm.h:5,
                 from ../mm/memcontrol.c:28:
../mm/memcontrol.c: In function 'mem_cgroup_iter':
../mm/memcontrol.c:1042:13: warning: unused variable 'gen' [-Wunused-variable]
 1042 |         int gen;
      |             ^~~
../mm/memcontrol.c:1050:9: warning: 'pos' may be used uninitialized [-Wmaybe-uninitialized]
 1050 |         css_put(pos);
      |         ^~~~~~~~~~~~
../mm/memcontrol.c:1040:30: note: 'pos' was declared here
../mm/memcontrol.c: At top level:
../mm/memcontrol.c:88:12: warning: 'forgotten' defined but not used [-Wunused-function]
""".splitlines()


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("  CC      mm/memcontrol.o", "mm/memcontrol.o"),
        ("  CC [M]  fs/ext4/ext4.o", "fs/ext4/ext4.o"),
        ("  LD      vmlinux", "vmlinux"),
        ("  HOSTCC  scripts/kconfig/conf.o", "scripts/kconfig/conf.o"),
        ("  BUILD   arch/x86/boot/bzImage", "arch/x86/boot/bzImage"),
        ("Kernel: arch/x86/boot/bzImage is ready  (#1)", None),
        ("make[1]: Entering directory '/x'", None),
        ("      |             ^~~", None),
        (" 1042 |         int gen;", None),
        ("", None),
    ],
)
def test_a_line_of_progress_names_its_target(line: str, named: str | None) -> None:
    """And nothing else does, be it as far to the right."""
    assert target(line) == named


def test_warnings_have_place_function_option_and_what_belongs_to_them() -> None:
    """Each with the function it is in, none at top level."""
    gen, pos, top = warnings(GCC)
    assert (gen.file, gen.line, gen.function, gen.option) == (
        "mm/memcontrol.c",
        1042,
        "mem_cgroup_iter",
        "-Wunused-variable",
    )
    assert str(gen) == "mm/memcontrol.c:1042: unused variable 'gen' [-Wunused-variable]"
    assert "note: 'pos' was declared here" in pos.detail
    assert (top.function, top.text) == ("", "'forgotten' defined but not used")


@pytest.mark.parametrize(
    ("line", "file", "text"),
    [
        ("ld: warning: vmlinux has a LOAD segment with RWX permissions", "", "vmlinux has a LOAD segment"),
        ("mm/slub.o: warning: objtool: foo+0x12: unreachable instruction", "mm/slub.o", "objtool: foo+0x12"),
        ("WARNING: modpost: vmlinux: section mismatch in reference: a+0x10", "", "vmlinux: section mismatch"),
        ("../mm/Makefile:12: warning: overriding recipe for target 'x'", "mm/Makefile", "overriding recipe"),
        ("mm/Kconfig:7:warning: config symbol defined without type", "mm/Kconfig", "config symbol defined"),
        ("../arch/x86/entry/e.S:5: Warning: stand-alone `data16' prefix", "arch/x86/entry/e.S", "stand-alone"),
    ],
)
def test_every_tool_of_a_build_is_heard(line: str, file: str, text: str) -> None:
    """The linker, objtool, modpost, make, Kconfig and the assembler warn each in its own way."""
    (found,) = warnings([line])
    assert found.file == file
    assert found.text.startswith(text)


def test_a_warning_that_moved_is_the_same() -> None:
    """Line, offset and count of bytes are no part of it; the function is."""
    assert _one("x.c", 5, "f", "frame of 1032 bytes").identity == _one("x.c", 9, "f", "frame of 1100 bytes").identity
    assert _one("x.o", 0, "", "objtool: f+0x12: odd").identity == _one("x.o", 0, "", "objtool: f+0x9a: odd").identity
    assert _one("x.c", 5, "f", "unused").identity != _one("x.c", 5, "g", "unused").identity


def test_of_several_alike_the_one_on_a_new_line_is_the_added_one() -> None:
    """So that the report points at the patch."""
    base = [_one("x.c", 5, "f", "unused"), _one("x.c", 7, "f", "unused")]
    assert added(base, [*base, _one("x.c", 6, "f", "unused")]) == (_one("x.c", 6, "f", "unused"),)


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3)))
def test_as_many_are_added_as_there_are_more(base: list[int], patched: list[int]) -> None:
    """Whatever the lines are; nothing is added by a tree that only lost some."""
    before, after = ([_one("x.c", line, "f", "unused") for line in lines] for lines in (base, patched))
    assert len(added(before, after)) == max(0, len(after) - len(before))


def test_output_is_split_by_target() -> None:
    """What comes before the first target belongs to none."""
    lines = ["make: Entering", "  CC      a.o", "a said", "  CC      b.o", "  AR      x.a"]
    assert list(blocks(lines)) == [("", ("make: Entering",)), ("a.o", ("a said",)), ("b.o", ()), ("x.a", ())]


@pytest.mark.parametrize(
    ("output", "says", "file", "line", "made"),
    [
        (
            [
                "  CC      mm/memcontrol.o",
                "../mm/memcontrol.c: In function 'f':",
                "../mm/memcontrol.c:9:2: error: 'x' undeclared (first use in this function)",
                "    9 |  x = 1;",
                "make[3]: *** [../scripts/Makefile.build:229: mm/memcontrol.o] Error 1",
                "make[2]: *** [../scripts/Makefile.build:478: mm] Error 2",
                "make: *** [Makefile:224: __sub-make] Error 2",
            ],
            "'x' undeclared (first use in this function)",
            "mm/memcontrol.c",
            9,
            "mm/memcontrol.o",
        ),
        (
            [
                "../mm/a.c:1:10: fatal error: linux/gone.h: No such file or directory",
                "compilation terminated.",
                "make[3]: *** [../scripts/Makefile.build:229: mm/a.o] Error 1",
            ],
            "linux/gone.h: No such file or directory",
            "mm/a.c",
            1,
            "mm/a.o",
        ),
        (
            [
                "ld: mm/memcontrol.o: in function `f':",
                "/c/work/1/src/.obj/../mm/memcontrol.c:12: undefined reference to `gone'",
                "make[2]: *** [../scripts/Makefile.vmlinux:34: vmlinux] Error 1",
            ],
            "undefined reference to `gone'",
            "mm/memcontrol.c",
            12,
            "vmlinux",
        ),
        (
            [
                "ld: mm/memcontrol.o:(.init.text+0x8): undefined reference to `gone'",
                "make[2]: *** [../scripts/Makefile.vmlinux:34: vmlinux] Error 1",
            ],
            "undefined reference to `gone'",
            "mm/memcontrol.o",
            0,
            "vmlinux",
        ),
        (
            ["make[3]: *** No rule to make target 'mm/gone.o', needed by 'mm/built-in.a'.  Stop."],
            "No rule to make target 'mm/gone.o', needed by 'mm/built-in.a'",
            "",
            0,
            "",
        ),
        (
            [
                'mm/Kconfig:7: unknown statement "selects"',
                "make: *** [../scripts/kconfig/Makefile:85: olddefconfig] Error 1",
            ],
            'unknown statement "selects"',
            "mm/Kconfig",
            7,
            "olddefconfig",
        ),
        (
            ['ERROR: modpost: "gone" [fs/x.ko] undefined!', "make[2]: *** [../scripts/x:145: Module.symvers] Error 1"],
            '"gone" [fs/x.ko] undefined!',
            "",
            0,
            "Module.symvers",
        ),
        (
            ["  GEN     x", "/bin/sh: 1: ../scripts/gone.sh: not found", "make[2]: *** [../scripts/x:9: x] Error 127"],
            "making x failed",
            "",
            0,
            "x",
        ),
        (["nothing to see"], "make failed and said nothing", "", 0, ""),
    ],
)
def test_the_first_error_says_why_make_failed(output: list[str], says: str, file: str, line: int, made: str) -> None:
    """Compiler, linker, Kconfig, modpost, a missing rule, a missing program."""
    found = failure(output)
    assert (found.text, found.file, found.line, found.target) == (says, file, line, made)
    assert not found.machine


@pytest.mark.parametrize(
    "line",
    [
        "fatal error: error writing to mm/a.o: No space left on device",
        "gcc: fatal error: Killed signal terminated program cc1",
        "ld: final link failed: No space left on device",
        "virtual memory exhausted: Cannot allocate memory",
        "/bin/sh: 1: bison: not found",
    ],
)
def test_a_machine_that_gave_out_is_not_the_trees_fault(line: str) -> None:
    """Such a failure must not become a verdict on a series."""
    assert failure([line, "make[3]: *** [../scripts/Makefile.build:229: mm/a.o] Error 1"]).machine


def test_paths_are_those_of_the_tree() -> None:
    """Seen from the objects' folder, or from a folder that ccache remembers from elsewhere."""
    assert tree_path("../mm/x.c") == "mm/x.c"
    assert tree_path("./include/generated/x.h") == "include/generated/x.h"
    assert tree_path("/a/b/.obj/../mm/x.c") == "mm/x.c"


def _one(file: str, line: int, function: str, text: str) -> BuildWarning:
    return BuildWarning(file, line, function, text, "-Wx")
