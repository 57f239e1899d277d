# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs on a time line and certificates in a calendar (pure)."""

from __future__ import annotations

import calendar
import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Words = Mapping[str, Any]

SOON, LATER = 30, 90
"""Days before its end from which a certificate is marked red and yellow."""
MOST_MONTHS, FEWEST_MONTHS = 24, 12
HOUR, DAY = 3600.0, 86400.0
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
TICKS = (
    *((-365, "1 year"), (-30, "1 month"), (-7, "1 week"), (-1, "1 day"), (0, "now")),
    *((1, "1 day"), (7, "1 week"), (30, "1 month"), (365, "1 year")),
)


def moment(text: str | None) -> datetime.datetime | None:
    """ISO 8601; None where there is none, or none that can be read."""
    try:
        found = datetime.datetime.fromisoformat((text or "").replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.timezone.utc)


def span(seconds: float) -> str:
    """A length of time in the two units that matter: "5 d 3 h", "40 min"."""
    seconds = abs(seconds)
    if seconds >= 60 * DAY:
        return f"{seconds / DAY:,.0f} d"
    if seconds >= DAY:
        days, hours = divmod(round(seconds / HOUR), 24)
        return f"{days} d {hours} h" if hours else f"{days} d"
    if seconds >= HOUR:
        return f"{seconds / HOUR:.0f} h"
    return f"{seconds / 60:.0f} min"


# ---- CRLs


@dataclass(frozen=True)
class Lifetime:
    """A CRL's line: `begin`, `end` in percent of the width. `state`: good, soon (less than a fifth is left), over, unknown."""

    crl: Words
    begin: float
    end: float
    state: str
    text: str


@dataclass
class TimeLine:
    now: float
    ticks: list[tuple[float, str]] = field(default_factory=list)
    lives: list[Lifetime] = field(default_factory=list)


def time_line(crls: Sequence[Words], now: datetime.datetime) -> TimeLine:
    """Time runs slower the nearer it is to now (by the logarithm), so that a delta CRL and a root's CRL are readable on one line."""
    lives = [(crl, moment(crl["this_update"]), moment(crl["next_update"])) for crl in crls]
    away = [(each - now).total_seconds() for _crl, *both in lives for each in both if each]
    low, high = _place(min([*away, -2 * DAY])), _place(max([*away, 2 * DAY]))
    low, high = low - 0.02 * (high - low), high + 0.02 * (high - low)

    def percent(seconds: float) -> float:
        return round(100 * (_place(seconds) - low) / (high - low), 2)

    line = TimeLine(percent(0), [(percent(days * DAY), text) for days, text in TICKS if low <= _place(days * DAY) <= high])
    for crl, begin, end in lives:
        if begin is None or end is None:
            text = crl["status"] if crl["status"] != "good" else "no end is named" if begin else "not seen"
            line.lives.append(Lifetime(crl, line.now, line.now, "unknown" if begin is None else "soon", text))
            continue
        left, whole = (end - now).total_seconds(), (end - begin).total_seconds()
        state = "over" if left <= 0 else "soon" if left < whole / 5 or crl["status"] != "good" else "good"
        text = f"{span(left)} left of {span(whole)}" if left > 0 else f"ended {span(left)} ago"
        line.lives.append(Lifetime(crl, percent((begin - now).total_seconds()), percent(left), state, text))
    return line


def _place(seconds: float) -> float:
    return math.copysign(math.log1p(abs(seconds) / (6 * HOUR)), seconds)


# ---- certificates


@dataclass(frozen=True)
class Ending:
    certificate: Words
    at: datetime.datetime
    days: int
    state: str


@dataclass(frozen=True)
class Day:
    column: int
    row: int
    state: str
    title: str
    count: int


@dataclass(frozen=True)
class Month:
    title: str
    offset: int
    """The weekday of the first: Monday is 0."""
    length: int
    days: Sequence[Day]
    endings: Sequence[Ending]
    today: int

    @property
    def state(self) -> str:
        return min((ending.state for ending in self.endings), key=("over", "soon", "later", "good").index, default="")


def endings(certificates: Sequence[Words], now: datetime.datetime) -> list[Ending]:
    """The certificates, the next to end first; each once for every holder."""
    found: dict[tuple[str, str, str], Ending] = {}
    for certificate in certificates:
        at = moment(certificate["not_after"])
        if at is None:
            continue
        days = math.floor((at - now).total_seconds() / DAY)
        state = "over" if at <= now else "soon" if days < SOON else "later" if days < LATER else "good"
        found[certificate["sha256"], certificate["use"], certificate["held_by"]] = Ending(certificate, at, days, state)
    return sorted(found.values(), key=lambda ending: ending.at)


def months(found: Sequence[Ending], now: datetime.datetime) -> list[Month]:
    """The months from this one on: a year, or as many (at most two years) as have ends."""
    ends = [(ending.at.year - now.year) * 12 + ending.at.month - now.month for ending in found]
    last = max([number for number in ends if number < MOST_MONTHS], default=0)
    count = max(FEWEST_MONTHS, math.ceil((last + 1) / 6) * 6)
    by_month: dict[int, list[Ending]] = {}
    for number, ending in zip(ends, found, strict=True):
        by_month.setdefault(number, []).append(ending)
    return [_month(now, number, by_month.get(number, [])) for number in range(count)]


def _month(now: datetime.datetime, number: int, found: Sequence[Ending]) -> Month:
    year, month = now.year + (now.month - 1 + number) // 12, (now.month - 1 + number) % 12 + 1
    offset, length = calendar.monthrange(year, month)
    by_day: dict[int, list[Ending]] = {}
    for ending in found:
        by_day.setdefault(ending.at.day, []).append(ending)
    days = []
    for day, own in by_day.items():
        names = ", ".join(ending.certificate["name"] for ending in own[:5]) + (f" and {len(own) - 5} more" if len(own) > 5 else "")
        row, column = divmod(offset + day - 1, 7)
        days.append(Day(column, row, own[0].state, f"{year}-{month:02}-{day:02}: {names}", len(own)))
    return Month(f"{MONTHS[month - 1]} {year}", offset, length, days, found, now.day if number == 0 else 0)
