"""Which trials are run: programs times repetitions, each with its seed."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.declare import Program


@dataclass(frozen=True, slots=True)
class Trial:
    """A program with its seed and its budget in seconds of guest time.

    `number` counts the trials of one cut from 1.  Base and patched kernel run the same trials, so a
    number means the same program and seed on both.
    """

    number: int
    program: Program
    seed: int
    budget: int


def plan(programs: Sequence[Program], trials: int, seed: int, budget: int | None = None) -> tuple[Trial, ...]:
    """Return `trials` rounds of all `programs`; round k has the seed ``seed + k``, counted from 0.

    `budget` replaces each program's own.  Rounds come one after another, so that whatever ends a plan
    early has still let every program run about equally often.
    """
    rows = [(program, seed + turn) for turn in range(trials) for program in programs]
    return tuple(
        Trial(number, program, seed, budget or program.budget) for number, (program, seed) in enumerate(rows, start=1)
    )
