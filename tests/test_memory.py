"""The guest's memory as the host reads it: a kernel in miniature (tests/memory/scene.c), page tables and all."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from pipeline import pin
from pipeline.memory import Kernel, Physical, UnreadableError, look
from pipeline.memory.paging import KERNEL_TEXT, Tables, UnmappedError
from pipeline.memory.physical import BLOCK, MissingError
from pipeline.pin import Holder, Look, Pin, Thing

SCENE = Path(__file__).parent / "memory" / "scene.c"
LINKED = ("-nostdlib", "-static", "-no-pie", "-Wl,-Ttext=0xffffffff81000000", "-Wl,-z,max-page-size=4096")
BARE = ("-DTYPES", "-fno-eliminate-unused-debug-types")
MEMORY = 32 << 20

Scene = Callable[..., Kernel]


def fetcher(image: Path) -> Callable[[int, int], bytes]:
    """Return physical memory with `image` loaded where it is linked, and nothing above."""
    memory = bytearray(MEMORY)
    with image.open("rb") as file:
        for segment in ELFFile(file).iter_segments("PT_LOAD"):
            at = segment["p_vaddr"] - KERNEL_TEXT
            memory[at : at + segment["p_filesz"]] = segment.data()
    return lambda address, size: bytes(memory[address : address + size])


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Return what makes a kernel of the scene, with the leaks that are named."""

    def build(*leaks: str) -> Kernel:
        image = tmp_path / "vmlinux"
        made = (*(f"-D{leak}" for leak in leaks), *LINKED, "-Wl,-e,0xffffffff81000000")
        options = (
            "-std=gnu11",
            "-gdwarf-4",
            "-O0",
            "-mcmodel=kernel",
            "-fno-pie",
            "-ffreestanding",
            "-Wall",
            "-Werror",
        )
        subprocess.run(("gcc", *options, *made, "-o", image, SCENE), check=True)
        types = tmp_path / "types.o"
        subprocess.run(("gcc", *options, *BARE, "-c", "-o", types, SCENE), check=True)
        return Kernel(image, types, Physical(fetcher(image)))

    return build


def held(seen: Look) -> dict[tuple[Holder, str], tuple[int, int]]:
    """Return what holds how many, and by how many references."""
    return {(p.holder, p.detail): (p.held, p.count) for p in seen.pins}


def test_what_there_is_is_counted(scene: Scene) -> None:
    """Memcgs by the tree, ids by their xarray, objcgs by the lists that inherit them."""
    seen = look(scene(), name=False)
    assert seen == Look(memcgs=4, dying=2, ids=3, objcgs=2, orphans=1)


@pytest.mark.parametrize("layout", [(), ("FLAT",)], ids=["6.12", "6.13"])
def test_every_holder_is_named(scene: Scene, layout: tuple[str, ...]) -> None:
    """Each reference of a sound scene is somebody's, with the name a reader knows it by; none is left over."""
    seen = look(scene(*layout), name=True)
    assert seen.unread == ""
    assert held(seen) == {
        (Holder.PAGE_CACHE, "inode 12 log on ext4 ram0"): (1, 2),
        (Holder.ANON, ""): (1, 1),
        (Holder.SWAP, ""): (1, 3),
        (Holder.STOCK, ""): (1, 1),
        (Holder.TASKS, "a css_set of 1 tasks"): (1, 1),
        (Holder.SLAB, "dentry"): (1, 2),
        (Holder.KERNEL_PAGES, ""): (1, 1),
        (Holder.TASKS, "sleeper"): (1, 1),
        (Holder.PERCPU, ""): (1, 1),
    }
    assert {p.first for p in seen.pins} == {"/a", "/b", "/"}
    assert pin.leaks((Look(), seen)) == ()


@pytest.mark.parametrize(
    ("leak", "expected", "title"),
    [
        (
            "CSS",
            Pin(Thing.MEMCG, Holder.CSS, 1, 3, "", "/a"),
            "memcg pinned by css references that nothing known holds",
        ),
        ("OBJCG", Pin(Thing.OBJCG, Holder.OBJCG, 1, 2, "", "/"), "objcg references that nothing known holds"),
        ("ID", Pin(Thing.MEMCG, Holder.UNCHARGED_ID, 1, 4, "", "/a"), "memcg pinned by swap that was never uncharged"),
        (
            "ENTRY",
            Pin(Thing.MEMCG, Holder.UNCHARGED_SWAP, 1, 1, "", "/a"),
            "memcg pinned by swap that was never uncharged",
        ),
        ("ITERATOR", Pin(Thing.MEMCG, Holder.ITERATOR, 1, 1, "of /", "/b"), "memcg pinned by a reclaim iterator"),
    ],
)
def test_what_nobody_holds_is_told(scene: Scene, leak: str, expected: Pin, title: str) -> None:
    """A reference too many is named for what it is, and it alone."""
    sound, broken = look(scene(), name=True), look(scene(f"LEAK_{leak}"), name=True)
    assert expected in broken.pins
    assert [found.title for found in pin.leaks((sound, broken))] == [title]
    assert pin.leaks((broken, broken)) == ()


def test_a_kernel_without_the_types_is_not_seen(scene: Scene, tmp_path: Path) -> None:
    """What cannot be read is said in one line, not raised."""
    scene()
    with pytest.raises(UnreadableError, match=r"there is no nothing\.o"):
        Kernel(tmp_path / "vmlinux", tmp_path / "nothing.o", Physical(fetcher(tmp_path / "vmlinux")))
    (tmp_path / "empty.o").write_bytes(b"")
    with pytest.raises(UnreadableError, match=r"empty\.o has no debug information"):
        Kernel(tmp_path / "vmlinux", tmp_path / "empty.o", Physical(fetcher(tmp_path / "vmlinux")))


def test_another_kernels_memory_is_unreadable(scene: Scene, tmp_path: Path) -> None:
    """Memory that holds no such kernel ends in one line."""
    scene()
    kernel = Kernel(tmp_path / "vmlinux", tmp_path / "types.o", Physical(lambda _, size: bytes(size)))
    assert look(kernel, name=True).unread.startswith("the guest's memory cannot be read: ")


def test_memory_is_fetched_once() -> None:
    """A block is asked for once, and again when the guest has run; what crosses a border is whole."""
    asked: list[int] = []

    def fetch(address: int, size: int) -> bytes:
        asked.append(address)
        return bytes(address // BLOCK for _ in range(size)) if address < 2 * BLOCK else b""

    memory = Physical(fetch)
    assert memory.read(BLOCK - 2, 4) == b"\0\0\1\1"
    assert memory.read(BLOCK, 2) == b"\1\1"
    assert asked == [0, BLOCK]
    memory.forget()
    assert memory.read(0, 1) == b"\0"
    assert asked == [0, BLOCK, 0]
    with pytest.raises(MissingError):
        memory.read(2 * BLOCK - 1, 2)


def test_page_tables_of_four_and_five_levels() -> None:
    """Pages of 4 KiB, 2 MiB and 1 GiB; a fifth level on top of the same tables."""
    memory = bytearray(1 << 16)

    def entry(table: int, index: int, value: int) -> None:
        memory[table + 8 * index : table + 8 * index + 8] = value.to_bytes(8, "little")

    entry(0x1000, 273, 0x2003)
    entry(0x2000, 0, 0x3003)
    entry(0x2000, 1, 0x40000083)
    entry(0x3000, 0, 0x4003)
    entry(0x3000, 1, 0x00600083)
    entry(0x4000, 5, 0x8000_0000_0000_7003)
    entry(0x5000, 511, 0x1003)
    whole = Physical(lambda address, size: bytes(memory[address:]).ljust(size, b"\0") if address < len(memory) else b"")
    base = 0xFFFF_8880_0000_0000
    for tables in (Tables(whole, 0x1000, 4), Tables(whole, 0x5000, 5)):
        assert tables.physical(base + 0x5123) == 0x7123
        assert tables.physical(base + 0x20_0456) == 0x60_0456
        assert tables.physical(base + 0x4123_4567) == 0x4123_4567
        with pytest.raises(UnmappedError):
            tables.physical(base + 0x6000)


def test_a_leak_needs_two_looks() -> None:
    """Without a look before, or with one that failed, nothing is said to have grown."""
    after = Look(memcgs=5, dying=1, pins=(Pin(Thing.MEMCG, Holder.CSS, 1, 1, "", "/x"),))
    assert pin.leaks((after,)) == ()
    assert pin.leaks((Look(unread="no drgn"), after)) == ()
    (found,) = pin.leaks((Look(), after))
    assert found.count == 1
    assert found.text == (
        "memcg pinned by css references that nothing known holds: "
        "1 dying memcg held by 1 css references that nothing known holds, the first is /x"
    )


def test_the_sentence_names_the_most_and_counts_the_rest() -> None:
    """What holds the dying ones, in a line."""
    pins = tuple(Pin(Thing.MEMCG, Holder.PAGE_CACHE, 1, 9 - i, f"inode {i} on ext4 ram0", "/x") for i in range(5))
    assert pin.sentence(Look(dying=3, pins=pins), most=2) == (
        "9 pages of page cache (inode 0 on ext4 ram0), 8 pages of page cache (inode 1 on ext4 ram0), and 3 kinds more"
    )
    assert pin.sentence(Look()) == ""
