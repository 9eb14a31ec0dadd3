"""kmemleak's files of two scans: an object that only one of them shows is no leak.

A scan misses a pointer that is moved from one object to another while it looks (a list that is spliced, a value in
a register), and such an object is unreferenced once and no more.  Format: mm/kmemleak.c, print_unreferenced; an
object is the line that names its address and the indented ones after it.
"""

import re

_OBJECT = re.compile(
    r"^unreferenced object (?P<what>0x[0-9a-f]+ \(size \d+\)):\n"
    r"[ \t]+(?P<who>comm .*, pid \d+, jiffies \d+).*\n"  # older kernels: (age 5.3s)
    r"(?:[ \t].*\n?)*",
    re.MULTILINE,
)


def seen_twice(first: str, second: str) -> str:
    """Return those objects of `first` that stand in `second` too, by address, size, and who made them when.

    What cannot be read as objects is returned as it is: nothing can be taken from it.
    """
    objects = [(x[0], (x["what"], x["who"])) for x in _OBJECT.finditer(first)]
    again = {(x["what"], x["who"]) for x in _OBJECT.finditer(second)}
    return "".join(text for text, what in objects if what in again) if objects else first
