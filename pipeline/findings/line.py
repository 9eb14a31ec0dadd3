"""One line of a console: what printk put before the message, and the message.

The prefixes are those of kernel/printk/printk.c: ``<6>`` (print_syslog), ``[   12.345678]``
(print_time) and, with CONFIG_PRINTK_CALLER, ``[  T123]`` or ``[   C1]`` (print_caller);
some vendors add ``[4:  system_server: 3344]``. A getty
prompt, a syslog daemon or a remark of printk ("printk messages dropped") may stand before them.
"""

import re
from dataclasses import dataclass

# A console line can be a megabyte of garbage. No report has lines that long: what is beyond is cut.
LINE_LIMIT = 4096

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LEVEL = re.compile(r"<\d{1,3}>")
_STAMP = re.compile(
    r"\[ {0,6}\d{1,7}\.\d{6}\](?P<caller>\[ {0,6}[TC]\d{1,8}\])? ?(?: ?\[\d{1,3}:[^\]:]{1,16}: *\d{1,7}\] ?)?"
)
# With kmemleak=verbose this stands before each line of a report (mm/kmemleak.c:pr_fmt).
_VERBOSE = "kmemleak: "
# How far into a line the time stamp may begin, after a prompt or a remark of printk.
_LEAD_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the console without its prefix.

    ``caller`` is the tag of CONFIG_PRINTK_CALLER (``T123``: task 123, ``C1``: interrupt on CPU 1). ``lead`` is
    what stood before the prefix: a prompt, or a line that another one cut short.
    """

    number: int
    message: str
    caller: str | None
    stamped: bool
    lead: str = ""


def clean(raw: bytes) -> str:
    """Return the text of a raw line: no colours, no control characters, undecodable bytes replaced."""
    text = raw[:LINE_LIMIT].decode("utf-8", "replace")
    if text.isprintable():
        return text
    text = text.replace("\t", " ")
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    return _CONTROL.sub("", text)


def parse(raw: bytes, number: int) -> Line:
    """Take a raw line apart."""
    text = clean(raw)
    stamp = _STAMP.match(text) or (_STAMP.search(text, 0, _LEAD_LIMIT + 32) if "[" in text else None)
    if stamp is None:
        message = _LEVEL.sub("", text, count=1) if text.startswith("<") else text
        return Line(number, message.removeprefix(_VERBOSE), None, stamped=False)
    caller = stamp["caller"]
    tag = caller.strip("[ ]") if caller else None
    message = text[stamp.end() :].removeprefix(_VERBOSE)
    return Line(number, message, tag, stamped=True, lead=text[: stamp.start()])
