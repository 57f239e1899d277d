# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock-out guard: whether administrators can still sign in after a change (pure).

A way in is an enabled administrators' URL, a realm that the URL offers, and the server that the realm asks. A way is proven where it was
there before and nothing of it changes; the acting administrator's own realm can be proven by signing in a second time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ansible_collections.certlogon.core.plugins.module_utils.resource import Words


@dataclass(frozen=True)
class SignIn:
    """What decides who gets in: authentication servers and administrator realms by name, sign-in policies in the order of evaluation.

    A server is whatever describes it; two that are equal work alike.
    """

    servers: Mapping[str, Any] = field(default_factory=dict)
    realms: Mapping[str, Words] = field(default_factory=dict)
    policies: Sequence[Words] = ()


class Way(NamedTuple):
    """One way in."""

    url: str
    realm: str
    server: str

    def __str__(self) -> str:
        return f"{self.url} with realm {self.realm!r} and server {self.server!r}"


class Judgement(NamedTuple):
    """Why the change must not be made, and whether it touches how the acting administrator signs in."""

    problems: list[str]
    touches_own: bool


def ways(sign_in: SignIn) -> list[Way]:
    """The ways in that work: the URL is enabled, no earlier one takes its visitors, and realm and server are there."""
    found = []
    for position, policy in enumerate(sign_in.policies):
        if policy.get("kind") != "admin" or not policy.get("enabled") or shadowed(policy, sign_in.policies[:position]):
            continue
        for name in policy.get("realms") or ():
            server = sign_in.realms.get(name, {}).get("authentication_server")
            if server and server in sign_in.servers:
                found.append(Way(policy["url"], name, server))
    return found


def judge(before: SignIn, after: SignIn, acting: str) -> Judgement:
    """Whether `after` may come in the place of `before`; `acting` is the realm through which this very task has signed in."""
    return Judgement(_problems(before, after, acting), _own(before, acting) != _own(after, acting))


def _problems(before: SignIn, after: SignIn, acting: str) -> list[str]:
    if acting in before.realms and acting not in after.realms:
        return [f"realm {acting!r} is the one that this task itself signs in with; sign in through another one (option realm) to delete it"]
    had, have = ways(before), ways(after)
    if not had or any(_proven(way, before, after) for way in had if way in have):
        return []
    if not have:
        return [f"no administrator could sign in any more: {_listed(had)} would be the last to go; make another way first and prove it"]
    if any(way.realm == acting and (way.url, way.realm) in [(old.url, old.realm) for old in had] for way in have):
        return []  # a second login will tell; it proves realm and server, but no URL
    return [
        f"only {_listed(have)} would be left for administrators, which is new or changed, and nothing has proved that it works; "
        f"leave {_listed(had)} as it is, or sign in through the realm that is to stay (option realm)"
    ]


def _proven(way: Way, before: SignIn, after: SignIn) -> bool:
    return before.realms[way.realm] == after.realms.get(way.realm) and before.servers[way.server] == after.servers.get(way.server)


def _own(sign_in: SignIn, acting: str) -> Any:
    """Everything that decides about the acting administrator's login."""
    realm = sign_in.realms.get(acting)
    servers = [(realm or {}).get("authentication_server"), ((realm or {}).get("secondary_authentication") or {}).get("server")]
    return realm, [sign_in.servers.get(name) for name in servers if name], [way for way in ways(sign_in) if way.realm == acting]


def _listed(found: Sequence[Way]) -> str:
    return " or ".join(map(str, found[:3])) + (f" (and {len(found) - 3} more)" if len(found) > 3 else "")


# ---- URLs


def shadowed(policy: Words, earlier: Sequence[Words]) -> Words | None:
    """The first enabled policy before this one that takes all of its visitors."""
    return next((other for other in earlier if other.get("enabled") and covers(other["url"], policy["url"])), None)


def covers(pattern: str, url: str) -> bool:
    """Whether everybody who opens `url` is served by `pattern`: its host with `*` for any part of a name, and the same path."""
    (host, path), (other_host, other_path) = _split(pattern), _split(url)
    return path == other_path and bool(re.fullmatch(re.escape(host).replace(r"\*", ".*"), other_host))


def _split(url: str) -> tuple[str, str]:
    host, _slash, path = url.partition("/")
    return host.casefold(), path.strip("/")
