"""Runs as data: they survive being stored, and a damaged one is refused."""

import json
from dataclasses import replace

import pytest

from pipeline.errors import UserError
from pipeline.machine import Accel
from pipeline.run import (
    Boot,
    Ended,
    Proof,
    Run,
    Scan,
    boot_from_json,
    run_from_json,
    to_json,
)

RUN = Run(
    cut=2,
    kernel="k1",
    guest="g1",
    machine="2node",
    accel=Accel.TCG,
    program="memcg_churn",
    seed=2**64 - 1,
    budget=30,
    number=1,
    argv=("qemu-system-x86_64", "-smp", "2"),
    cmdline=("console=ttyS0",),
    ended=Ended.HANG,
    detail="soft lockup",
    seconds=12.5,
    exit_status=-9,
    cycles=None,
    ktap=("KTAP version 1", "not ok 1 \u20ac \x1b[31m \ud800"),
    console=("[    1.000000] BUG",),
    first_line=7,
    log="console.log",
    proofs=(Proof("kasan", alive=True, evidence="initialized"),),
    kmemleak=Scan(1, "unreferenced object"),
)
BOOT = Boot(0, "k1", "g1", "2node", Accel.KVM, ("qemu",), ("a",), Ended.DONE, "", 3.0, "6.12.0", ("line",))


def test_a_run_starts_lost() -> None:
    """Nothing is assumed of a trial nobody has seen end."""
    run = Run(0, "k", "g", "m", Accel.TCG, "p", 1, 30, 1, (), ())
    assert (run.ended, run.exit_status, run.proofs, run.kmemleak) == (Ended.LOST, None, (), None)
    assert Boot(0, "k", "g", "m", Accel.TCG, (), ()).ended is Ended.LOST


def test_what_is_stored_comes_back() -> None:
    """Equal in every field, whatever the console printed."""
    assert run_from_json(to_json(RUN), "run.json") == RUN
    assert run_from_json(to_json(replace(RUN, kmemleak=None, cycles=3)), "r").cycles == 3
    assert boot_from_json(to_json(BOOT), "boot.json") == BOOT


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 99}, "format 99"),
        ({"type": "boot"}, "no stored run"),
        ({"ended": "fine"}, "run.ended is 'fine'"),
        ({"seed": "1"}, "run.seed is no int"),
        ({"seed": True}, "run.seed is no int"),
        ({"ktap": "x"}, "run.ktap is no list"),
        ({"proofs": [{"detector": "kasan"}]}, "differs in alive, evidence"),
        ({"kmemleak": []}, "run.kmemleak differs"),
        ({"new": 1}, "run differs in new"),
    ],
)
def test_a_damaged_run_is_refused(change: dict[str, object], said: str) -> None:
    """With the file and the field."""
    body = json.loads(to_json(RUN)) | change
    with pytest.raises(UserError) as error:
        run_from_json(json.dumps(body), "results/run-1.json")
    assert str(error.value).startswith("results/run-1.json: ")
    assert said in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "[" * 100000])
def test_what_is_no_run(text: str) -> None:
    """A cut-off file, another kind of file."""
    with pytest.raises(UserError, match=r"^x: no stored run"):
        run_from_json(text, "x")
