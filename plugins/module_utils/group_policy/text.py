# SPDX-License-Identifier: GPL-3.0-or-later
"""Text files of a policy as Windows reads them: their encoding, and lines that keep their ends."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_UTF16, _UTF8 = b"\xff\xfe", b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Text:
    """A file's lines, each with its end, and how they are encoded. ANSI text is taken as Latin-1, which keeps every byte."""

    lines: tuple[str, ...]
    encoding: str = "latin-1"
    mark: bytes = b""


def decode(data: bytes, what: str) -> Text:
    """A text file with or without byte order mark. Raises `FormatError`, which names `what`."""
    if data[:2] == b"\xfe\xff":
        raise FormatError(f"{what}: is UTF-16 big-endian, which Windows does not read here; save it as UTF-16LE")
    if data[:2] == _UTF16:
        mark, encoding = _UTF16, "utf-16-le"
    elif data[:3] == _UTF8:
        mark, encoding = _UTF8, "utf-8"
    else:
        mark, encoding = b"", "utf-16-le" if data[1:2] == b"\0" and data[:1] != b"\0" else "latin-1"
    body = data[len(mark) :]
    if encoding == "utf-16-le" and len(body) % 2:
        raise FormatError(f"{what}: UTF-16 with an odd number of bytes ({len(data)}); the file is truncated")
    try:
        return Text(tuple(_LINE.findall(body.decode(encoding))), encoding, mark)
    except UnicodeDecodeError as error:
        raise FormatError(f"{what}: no valid {encoding.upper()} at byte {error.start + len(mark)}: {error.reason}") from None


def encode(text: Text, what: str) -> bytes:
    """The file's bytes. Raises `UserError` for new text that the file's encoding lacks."""
    try:
        return text.mark + "".join(text.lines).encode(text.encoding)
    except UnicodeEncodeError as error:
        raise UserError(
            f"{what}: the file is {'ANSI' if text.encoding == 'latin-1' else text.encoding.upper()} and cannot hold "
            f"{error.object[error.start : error.end]!r}; save it as UTF-16LE with byte order mark first"
        ) from None


def line_end(lines: tuple[str, ...]) -> str:
    """The line end that a file uses."""
    return next((line[len(line.rstrip("\r\n")) :] for line in lines if line.endswith(("\r", "\n"))), "\r\n")
