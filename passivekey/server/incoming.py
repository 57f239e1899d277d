# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request holds, within limits."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from passivekey.protocol import messages
from passivekey.protocol.errors import Refused


async def content(request: Request) -> bytes:
    """Of at most 64 KiB, that comes within ten seconds."""
    try:
        return await asyncio.wait_for(_content(request), 10)
    except asyncio.TimeoutError as error:
        raise Refused("malformed", "the request does not come to its end") from error


async def _content(request: Request) -> bytes:
    found = b""
    async for chunk in request.stream():
        found += chunk
        if len(found) > messages.LONGEST:
            raise Refused("malformed", "the request is too long")
    return found


def address(told: str) -> str:
    """What somebody else says of where a user is: printable, and no longer than an address."""
    return "".join(character for character in told[:45] if character.isascii() and character.isprintable())


def source(request: Request, *, forwarded: bool = False) -> str:
    """The address that asks; what a site's proxy says of the browser's, once the proxy is known to be one."""
    told = request.headers.get("x-real-ip", "") if forwarded else ""
    return address(told) or (request.client.host if request.client else "")
