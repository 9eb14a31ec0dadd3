"""The cache: entries whole or not there, locks that outlive us, room asked for beforehand."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import proc
from pipeline.errors import UserError
from pipeline.store import KEY_LENGTH, Store, key, require_space, write_atomic

HOUSE = Path(__file__).parent.parent


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return Store(tmp_path / "cache")


def entry(store: Store, name: str, text: str = "x") -> Path:
    """Make an entry with one file."""
    with store.lock("things", name), store.make("things", name) as new:
        (new / "file").write_text(text)
    return store.path("things", name)


def python(script: str) -> "subprocess.Popen[str]":
    """Start a kpv of its own that runs `script`."""
    text = f"import os, sys, time\nfrom pathlib import Path\nfrom pipeline.store import Store\n{script}"
    return subprocess.Popen([sys.executable, "-c", text], cwd=HOUSE, stdout=subprocess.PIPE, text=True)


parts = st.lists(st.text() | st.binary(), max_size=4)


@given(parts, parts)
def test_a_key_knows_where_its_parts_end(a: list[str | bytes], b: list[str | bytes]) -> None:
    """Equal keys come of equal parts: "a", "b" is not "ab", and "ab", "" is neither."""
    same = [x.encode() if isinstance(x, str) else x for x in a] == [x.encode() if isinstance(x, str) else x for x in b]
    assert (key(*a) == key(*b)) is same


def test_a_key_is_a_file_name() -> None:
    """Short, hexadecimal, and the same tomorrow."""
    assert key("a", b"b") == key(b"a", "b") == "facdde7abf1eac5b3012"
    assert len(key()) == KEY_LENGTH
    assert set(key("x")) <= set("0123456789abcdef")


def test_an_entry_is_found_when_it_is_whole(store: Store) -> None:
    """Not before the block has ended."""
    assert store.find("things", "a") is None
    with store.lock("things", "a"), store.make("things", "a") as new:
        (new / "file").write_text("x")
        assert store.find("things", "a") is None
    found = store.find("things", "a")
    assert found == store.path("things", "a")
    assert [x.name for x in store.path("things", "a").parent.iterdir()] == ["a"]


def test_a_maker_that_fails_leaves_nothing(store: Store) -> None:
    """Nor one that is interrupted."""

    def fail(error: type[BaseException]) -> None:
        with store.lock("things", "a"), store.make("things", "a") as new:
            (new / "file").write_text("x")
            raise error

    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error):
            fail(error)
        assert list((store.root / "things").iterdir()) == []


def test_an_entry_is_never_replaced(store: Store) -> None:
    """Whoever uses it may rely on it."""
    path = entry(store, "a", "first")
    with pytest.raises(OSError, match="not empty"):
        entry(store, "a", "second")
    assert (path / "file").read_text() == "first"
    assert [x.name for x in path.parent.iterdir()] == ["a"]


def test_a_killed_maker_leaves_no_half_entry(store: Store) -> None:
    """What it leaves is not found, and goes when the entry is made."""
    script = f"""
store = Store(Path({str(store.root)!r}))
with store.lock("things", "a"), store.make("things", "a") as new:
    (new / "half").write_text("x")
    print("made", flush=True)
    time.sleep(60)
"""
    with python(script) as maker:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "made\n"
        maker.kill()
    assert store.find("things", "a") is None
    assert [x.name for x in (store.root / "things").iterdir()] == [".new-a"]
    path = entry(store, "a")
    assert [x.name for x in path.iterdir()] == ["file"]
    assert [x.name for x in path.parent.iterdir()] == ["a"]


def test_two_kpvs_make_an_entry_once(store: Store, tmp_path: Path) -> None:
    """The second waits for the first, is told so, and finds it made."""
    script = f"""
store = Store(Path({str(store.root)!r}))
print("ready", flush=True)
with store.lock("things", "a", lambda: print("waits", flush=True)):
    if store.find("things", "a") is None:
        with store.make("things", "a") as new:
            with open({str(tmp_path / "made")!r}, "a") as made:
                made.write(f"{{os.getpid()}}\\n")
            time.sleep(0.3)
            (new / "file").write_text("x")
"""
    makers = [python(script) for _ in range(3)]
    said = [maker.communicate(timeout=60)[0] for maker in makers]
    assert len((tmp_path / "made").read_text().splitlines()) == 1
    assert all(text.startswith("ready\n") for text in said)
    assert (store.path("things", "a") / "file").read_text() == "x"


def test_somebody_who_waits_is_told_once(store: Store) -> None:
    """`on_wait` is for a line of progress."""
    waits: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        with store.lock("things", "a"):

            def second() -> bool:
                with store.lock("things", "a", lambda: waits.append(1)):
                    return True

            waiting = pool.submit(second)
            while not waits:
                time.sleep(0.01)
            assert not waiting.done()
        assert waiting.result(timeout=10)
    assert waits == [1]
    with store.lock("things", "a", lambda: waits.append(2)), store.lock("things", "b", lambda: waits.append(3)):
        pass
    assert waits == [1], "a free lock and another entry's are no reason to wait"


def test_a_lock_outlives_us_in_a_child(store: Store) -> None:
    """A build that goes on after its kpv was killed keeps others out of its folder until it has ended."""
    script = f"""
from pipeline import proc
store = Store(Path({str(store.root)!r}))
with store.lock("work", "a") as lock:
    script = ("sh", "-c", "trap '' TERM; echo $$; sleep 0.5")
    with proc.start(script, stdout=sys.stdout, pass_fds=(lock,), on_death="TERM"):
        time.sleep(60)
"""
    with python(script) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        holder.kill()
        holder.wait()
        waits: list[bool] = []
        with store.lock("work", "a", lambda: waits.append(Path(f"/proc/{child}").exists())):
            assert waits == [True]


def test_a_lock_is_free_when_its_holder_is_killed(store: Store) -> None:
    """Nothing has to be cleaned up by hand."""
    script = f"""
with Store(Path({str(store.root)!r})).lock("work", "a"):
    print("held", flush=True)
    time.sleep(60)
"""
    with python(script) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    with store.lock("work", "a"):
        pass


def test_children_do_not_inherit_locks_unasked(store: Store) -> None:
    """A git that outlives us must not keep a kernel locked."""
    with store.lock("work", "a") as lock:
        said = proc.run(("sh", "-c", f"test -e /proc/self/fd/{lock} && echo there || echo gone")).text
    assert said == "gone\n"


def test_write_is_all_or_nothing(tmp_path: Path) -> None:
    """The folder is made; nothing is left beside the file; the old content goes at once."""
    path = tmp_path / "a" / "b"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [x.name for x in path.parent.iterdir()] == ["b"]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").touch()
    with pytest.raises(OSError, match="directory"):
        write_atomic(tmp_path / "folder", b"three")
    assert sorted(x.name for x in tmp_path.iterdir()) == ["a", "folder"]


def test_room_is_asked_for_before_the_work(tmp_path: Path) -> None:
    """Also where the folder is not there yet; the message has both figures."""
    require_space(tmp_path / "not" / "there", 1, "a build")
    with pytest.raises(UserError, match=r"a build needs 1000000000\.0 GB on disk, .* free; free some space"):
        require_space(tmp_path / "not" / "there", 10**18, "a build")


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    """It is named, with what to do."""
    (tmp_path / "cache").write_text("a file")
    store = Store(tmp_path / "cache")
    with (
        pytest.raises(UserError, match=r"the cache cannot be written: Not a directory; .*KPV_CACHE"),
        store.lock("a", "b"),
    ):
        pass
    with pytest.raises(UserError, match=r"the cache cannot be written: Not a directory"), store.make("a", "b"):
        pass


def used(path: Path, ago: float) -> None:
    """Say that a folder was used `ago` seconds ago."""
    os.utime(path, (time.time() - ago, time.time() - ago))


def test_trim_removes_what_was_used_longest_ago(store: Store) -> None:
    """Nothing that was used lately, and nothing beyond what is asked."""
    for name, ago in (("old", 9e6), ("older", 9.1e6), ("oldest", 9.2e6), ("new", 10.0)):
        used(entry(store, name), ago)
    assert store.trim("things", most=2) == 2
    assert sorted(x.name for x in (store.root / "things").iterdir()) == ["new", "old"]
    assert store.find("things", "old") is not None, "which counts as use"
    assert store.trim("things", most=0) == 0
    assert store.trim("nothing", most=0) == 0


def test_trim_sweeps_what_the_killed_have_left(store: Store) -> None:
    """After the same time, so that nothing that is being made goes."""
    entry(store, "a")
    for name, ago in ((".new-b", 9e6), (".gone-c", 9e6), (".new-d", 10.0)):
        (store.root / "things" / name / "deep").mkdir(parents=True)
        used(store.root / "things" / name, ago)
    assert store.trim("things", most=5) == 0
    assert sorted(x.name for x in (store.root / "things").iterdir()) == [".new-d", "a"]


def test_dropping_leaves_nothing(store: Store) -> None:
    """Nor does it mind that there is nothing."""
    entry(store, "a")
    store.drop("things", "a")
    store.drop("things", "a")
    assert list((store.root / "things").iterdir()) == []
