"""What is built against a kernel is built once, with it or after it, and what does not compile is told as that."""

import shutil
from pathlib import Path

import pytest
from test_kernel import Bench

from pipeline import modules
from pipeline.modules import Modules
from pipeline.store import Store


@pytest.fixture
def bench(fakelinux: Path, tmp_path: Path) -> Bench:
    """Return a bench with a store of its own."""
    return Bench(fakelinux, Store(tmp_path / "cache"))


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the sources that a test may edit."""
    folder = tmp_path / "canary"
    shutil.copytree(modules.SOURCES, folder)
    monkeypatch.setattr(modules, "SOURCES", folder)
    return folder


def built(bench: Bench) -> Modules:
    """Build the head and return what was built against it."""
    found = bench.build().modules
    assert found is not None
    return found


def test_the_module_comes_with_the_kernel(bench: Bench) -> None:
    """Both parts are objects, and nothing of the making is left in the workspace."""
    found = built(bench)
    assert {path.name for path in found.folder.iterdir()} == {"canary.ko", "types.o"}
    assert found.canary.read_bytes().startswith(b"\x7fELF")
    assert found.types.read_bytes().startswith(b"\x7fELF")
    assert not found.why(found.canary)
    assert not found.why(found.types)
    assert not (bench.workspaces()[0] / "modules").exists()


def test_the_module_is_not_in_what_make_said_of_the_kernel(bench: Bench) -> None:
    """So no complaint about it can be taken for the series'."""
    image = bench.build()
    assert "canary" not in image.log.read_text()
    assert "canary" not in bench.workspaces()[0].joinpath("build.log").read_text()


def test_it_is_kept_with_the_kernel(bench: Bench) -> None:
    """The second time nothing is made at all."""
    found = built(bench)
    log = bench.workspaces()[0] / modules.LOG
    log.unlink()
    assert built(bench) == found
    assert not log.exists()


def test_an_edited_source_costs_no_kernel(bench: Bench, sources: Path) -> None:
    """The kernel is kept, its tree is checked out again, and only the module is made."""
    first = bench.build()
    bench.edit("mm/memcontrol.c", "root.usage += pages", "root.usage += pages + 1")
    bench.build()
    (sources / "canary.c").write_text("/* another one */\n" + (sources / "canary.c").read_text())
    old = bench.cuts(2)[0]
    again = bench.build(old)
    assert again.cached
    assert again.key == first.key
    assert again.modules is not None
    assert first.modules is not None
    assert again.modules.folder != first.modules.folder
    assert again.modules.canary.exists()
    assert "CC [M]" in (bench.workspaces()[0] / modules.LOG).read_text() or again.modules.types.exists()


def test_a_tree_that_does_not_take_the_module_builds_all_the_same(bench: Bench) -> None:
    """The kernel is there, the types are, and why the module is not stands in its place."""
    bench.commit({"broken-modules": ""})
    found = built(bench)
    assert not found.canary.exists()
    assert "this tree has no such thing" in found.why(found.canary)
    assert found.types.exists()
    assert found.why(found.canary) == built(bench).why(found.canary)
