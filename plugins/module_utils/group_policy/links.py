# SPDX-License-Identifier: GPL-3.0-or-later
"""The links of a site, domain or organizational unit to its policies: `gPLink` ([MS-GPOL] 2.2.2).

The value is `[LDAP://<DN>;<options>]...`. The last entry of the text has link order 1 and the highest precedence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

DISABLED, ENFORCED = 1, 2

_LINK = re.compile(r"\s*\[(LDAP://([^;\]]+));\s*([0-9]{1,9})\s*\]\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Link:
    """One entry: the policy's DN, the options, and the entry's own text."""

    dn: str
    options: int
    text: str

    @property
    def enabled(self) -> bool:
        return not self.options & DISABLED

    @property
    def enforced(self) -> bool:
        return bool(self.options & ENFORCED)


def parse(value: str | None) -> list[Link]:
    """The links in the order of the text; a blank value, which Windows leaves behind, has none. Raises `FormatError`."""
    links: list[Link] = []
    position = 0
    rest = value if value and value.strip() else ""
    while position < len(rest):
        found = _LINK.match(rest, position)
        if not found:
            raise FormatError(f"gPLink: no '[LDAP://DN;options]' at character {position + 1}: {rest[position : position + 80]!r}")
        links.append(Link(found[2], int(found[3]), found[0]))
        position = found.end()
    return links


def serialise(links: Iterable[Link]) -> str:
    """The value; empty where there is no link, which is to be no value at all."""
    return "".join(link.text for link in links)


def place(links: list[Link], dn: str, *, order: int | None = None, enabled: bool = True, enforced: bool = False) -> list[Link]:
    """The links with one of this policy, so set and at this link order; the others keep their text and their order among themselves.

    Without `order` a link stays where it is, and a new one gets the lowest precedence, as in Windows' console; so does one whose order
    exceeds the number of links. Whoever places several places the smallest order first.
    """
    ours = [index for index, link in enumerate(links) if _same(link.dn, dn)]
    old = links[ours[-1]] if ours else None
    link = _set(old, dn, enabled, enforced)
    others = [other for index, other in enumerate(links) if index not in ours]
    kept = ours[-1] - len(ours) + 1 if ours else 0
    spot = kept if order is None else max(len(others) - max(order, 1) + 1, 0)
    return [*others[:spot], link, *others[spot:]]


def remove(links: list[Link], dn: str) -> list[Link]:
    """The links without those of this policy."""
    return [link for link in links if not _same(link.dn, dn)]


def _set(old: Link | None, dn: str, enabled: bool, enforced: bool) -> Link:
    options = (0 if enabled else DISABLED) | (ENFORCED if enforced else 0)
    if old is None:
        return Link(dn, options, f"[LDAP://{dn};{options}]")
    if (old.enabled, old.enforced) == (enabled, enforced):
        return old
    options |= old.options & ~(DISABLED | ENFORCED)
    found = _LINK.match(old.text)
    return Link(old.dn, options, f"[{found[1] if found else 'LDAP://' + old.dn};{options}]")


def _same(one: str, other: str) -> bool:
    """Whether two DNs are the same: without case, and without white space after the commas."""
    return _folded(one) == _folded(other)


def _folded(dn: str) -> str:
    return re.sub(r"(?<!\\)\s*,\s*", ",", dn.strip()).casefold()
