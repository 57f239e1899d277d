# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing DER (ITU-T X.690): the few kinds of values that requests need and the libraries do not write."""

from __future__ import annotations


def element(tag: int, content: bytes) -> bytes:
    """Tag, length and content (X.690 8.1)."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def sequence(*parts: bytes) -> bytes:
    return element(0x30, b"".join(parts))


def set_of(*parts: bytes) -> bytes:
    return element(0x31, b"".join(sorted(parts)))


def context(number: int, content: bytes) -> bytes:
    """A constructed element with a context-specific tag."""
    return element(0xA0 | number, content)


def integer(value: int) -> bytes:
    return element(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def oid(dotted: str) -> bytes:
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    return element(0x06, b"".join(_arc(arc) for arc in (first * 40 + second, *rest)))


def _arc(arc: int) -> bytes:
    octets = [arc & 0x7F]
    while arc := arc >> 7:
        octets.append(0x80 | arc & 0x7F)
    return bytes(reversed(octets))


def octet_string(content: bytes) -> bytes:
    return element(0x04, content)


def utf8_string(text: str) -> bytes:
    return element(0x0C, text.encode())


def bmp_string(text: str) -> bytes:
    return element(0x1E, text.encode("utf-16-be"))


def null() -> bytes:
    return b"\x05\x00"


def read(data: bytes, position: int = 0) -> tuple[int, bytes, int]:
    """Tag and content of the element at this position, and where the next one begins. Raises `ValueError`."""
    try:
        tag, size = data[position], data[position + 1]
    except IndexError:
        raise ValueError("is truncated DER") from None
    start = position + 2
    if size & 0x80:
        count = size & 0x7F
        size = int.from_bytes(data[start : start + count], "big")
        start += count
    if start + size > len(data):
        raise ValueError("is truncated DER")
    return tag, data[start : start + size], start + size


def dotted(content: bytes) -> str:
    """An object identifier's content as text. Raises `ValueError`."""
    arcs, value = [], 0
    for octet in content:
        value = value << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(value)
            value = 0
    if not arcs or content[-1] & 0x80:
        raise ValueError("is no object identifier")
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))
