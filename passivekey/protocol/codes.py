# SPDX-License-Identifier: GPL-3.0-or-later
"""Seeds, the sub-seeds of channels, and codes (protocol section 4; RFC 5869, RFC 6238)."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.twofactor.hotp import HOTP

SEED_LENGTH = 32
STEP = 30
"""Seconds."""

CHANNELS = ("enrollment", "web", "radius")
DIGITS = {"enrollment": 8, "web": 8, "radius": 6}
MOST_DRIFT = 2
"""Steps that a device's clock may be remembered to differ."""


def new_seed() -> bytes:
    return secrets.token_bytes(SEED_LENGTH)


def subseed(seed: bytes, channel: str, site: str = "") -> bytes:
    """The key of one channel's codes; for `web`, of one site's."""
    if channel not in CHANNELS or bool(site) != (channel == "web"):
        raise ValueError(f"channel {channel!r} with site {site!r}")
    info = f"passivekey/1/{channel}" + (f"/{site}" if site else "")
    return HKDF(SHA256(), 32, salt=None, info=info.encode()).derive(seed)


def code(key: bytes, counter: int, digits: int) -> str:
    """The code of a step; `key` is a sub-seed."""
    return HOTP(key, digits, SHA256()).generate(counter).decode()


def counter_at(time: float, step: int = STEP) -> int:
    return int(time) // step


@dataclass(frozen=True)
class Window:
    """The counters that are accepted, relative to the server's own; `drift` is how many steps the device's clock is known to differ."""

    back: int = 1
    ahead: int = 1
    drift: int = 0

    def counters(self, now: int) -> list[int]:
        """Nearest first, for a code that fits twice is the nearer step's."""
        middle = now + max(-MOST_DRIFT, min(MOST_DRIFT, self.drift))
        return sorted(range(max(0, middle - self.back), middle + self.ahead + 1), key=lambda counter: abs(counter - middle))


def find(key: bytes, given: str, digits: int, counters: list[int], after: int = -1) -> int | None:
    """The counter whose code was given, of those later than `after`; looks at all of them, so that time tells nothing."""
    found = None
    for counter in counters:
        same = hmac.compare_digest(code(key, counter, digits).encode(), given.encode("utf-8", "replace"))
        if same and found is None and counter > after:
            found = counter
    return found


@dataclass(frozen=True)
class Seed:
    """A device's seed with what codes are made by. It is never shown."""

    value: bytes = field(repr=False)
    step: int = STEP
    digits: dict[str, int] = field(default_factory=lambda: dict(DIGITS))

    def code(self, channel: str, counter: int, site: str = "") -> str:
        return code(subseed(self.value, channel, site), counter, self.digits[channel])

    def find(self, channel: str, given: str, counters: list[int], site: str = "", after: int = -1) -> int | None:
        return find(subseed(self.value, channel, site), given, self.digits[channel], counters, after)
