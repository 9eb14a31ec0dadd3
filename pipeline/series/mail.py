"""Mails of a series taken apart, as git's mailsplit and mailinfo do (Documentation/git-mailinfo.txt)."""

import email.header
import email.message
import email.parser
import re
from dataclasses import dataclass

from pipeline.errors import UserError

NO_PATCH = "there is no patch in it"
WRITERS = "give what `git format-patch --stdout` or `b4 am` writes"

MAIL_START = re.compile(
    rb"^From \S+ [^\n]{0,40}\d\d:\d\d[^\n]{0,12}\d{4}[^\n]{0,20}\n(?=[A-Za-z][A-Za-z0-9-]*:|>From )", re.MULTILINE
)
"""The separator of an mbox, and a header behind it: a sentence that begins with "From" has none."""

HEADER = re.compile(rb"(?:From [^\n]*\n)?[A-Za-z][A-Za-z0-9-]*:[ \t]")
TAGS = re.compile(r"^(?:\s*(?:re|fwd?):|\s*\[[^\]]*\])+\s*", re.IGNORECASE)
NUMBER = re.compile(r"\[[^\]]*?\b(\d+)/(\d+)[^\]]*\]")
DIFF_START = re.compile(rb"^(?:diff --git |--- [^\n]+\n\+\+\+ )", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail or bare diff before its diff is read; `head` is what stands in front of the diff."""

    where: str
    subject: str
    number: tuple[int, int] | None
    author: str
    name: str
    text: bytes
    head: bytes
    diff: bytes


def mails(where: str, data: bytes) -> list[Mail]:
    """Split one file and leave out what carries no patch."""
    if not data.strip():
        raise UserError("the file is empty", where=where, todo="write the patch with git format-patch")
    if b"\0" in data:
        todo = "unpack it, or save it as UTF-8"
        raise UserError("no text but binary data (it has NUL bytes)", where=where, todo=todo)
    data = data.replace(b"\r\n", b"\n")  # as mailsplit does unless told --keep-cr
    starts = [match.start() for match in MAIL_START.finditer(data)]
    if not starts or data[: starts[0]].strip():
        starts.insert(0, 0)
    mails = [_mail(where, data[a:b]) for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
    for mail in mails:
        if not mail.diff and mail.number and mail.number[0] > 0:
            message = f"patch {mail.number[0]}/{mail.number[1]} {mail.subject} has no diff: it is truncated"
            raise UserError(message, where=where, todo="fetch or write the series again")
    if not any(mail.diff or mail.number for mail in mails):
        raise UserError(NO_PATCH, where=where, todo=WRITERS)
    return [mail for mail in mails if mail.diff]


def _mail(where: str, text: bytes) -> Mail:
    """Take one mail (or bare diff) apart: headers, message, diff."""
    stem = where.rsplit("/", 1)[-1]
    body, headers = text, email.message.Message()
    if HEADER.match(text):
        block = text.partition(b"\n\n")[0]
        headers = email.parser.HeaderParser().parsestr(
            re.sub(r"\AFrom .*\n", "", block.decode("utf-8", "replace")), headersonly=True
        )
        parts = [part for part in email.parser.BytesParser().parsebytes(text).walk() if not part.is_multipart()]
        body = b"\n".join(_payload(part) for part in parts)
    begin = DIFF_START.search(body)
    cut = begin.start() if begin else len(body)
    raw = _header(headers, "Subject") or _header(headers, "Description")
    number = NUMBER.match(raw)
    name = _header(headers, "Message-Id").strip("<> ")
    # In a series from the mailing list the sender is not always the author; git am reads this line too.
    own = re.match(rb"\s*From: ([^\n]+)\n", body)
    author = own.group(1).decode("utf-8", "replace") if own else _header(headers, "From")
    return Mail(
        where=where,
        subject=TAGS.sub("", raw).strip() or re.sub(r"\.(patch|diff|mbox|mbx|eml)$", "", stem),
        number=(int(number[1]), int(number[2])) if number else None,
        author=author.strip(),
        name=name or stem,
        text=text,
        head=body[:cut],
        diff=body[cut:],
    )


def _payload(part: "email.message.Message[str, str]") -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _header(headers: "email.message.Message[str, str]", name: str) -> str:
    """Return one header on one line, decoded by RFC 2047; a charset nobody knows is read as UTF-8."""
    parts: list[str] = []
    for text, charset in email.header.decode_header(headers.get(name, "")):
        if isinstance(text, str):
            parts.append(text)
            continue
        try:
            parts.append(text.decode(charset or "utf-8", "replace"))
        except LookupError:
            parts.append(text.decode("utf-8", "replace"))
    return " ".join("".join(parts).split())
