# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock-out guard as tables: what is there, what it would become, and what is said about it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.sign_in_guard import SignIn, Way, covers, judge, shadowed, ways

ADMINS = "Admin Users"
LOCAL: dict[str, Any] = {"servers": {"Administrators": "local", "Cards": "certificate", "Directory": "ldap"}}


def realm(server: str | None = "Administrators", **more: Any) -> dict[str, Any]:
    return {"name": "x", "authentication_server": server, **more}


def policy(url: str, *realms: str, kind: str = "admin", enabled: bool = True) -> dict[str, Any]:
    return {"url": url, "kind": kind, "enabled": enabled, "realms": list(realms)}


def state(realms: dict[str, Any], *policies: dict[str, Any], **more: Any) -> SignIn:
    return SignIn(**{**LOCAL, **more}, realms=realms, policies=policies)


ONE = state({ADMINS: realm()}, policy("*/admin/", ADMINS))
CARDS_ONLY = state({"Card admins": realm("Cards")}, policy("*/cards/", "Card admins"))
TWO = state({ADMINS: realm(), "Card admins": realm("Cards")}, policy("*/admin/", ADMINS), policy("*/cards/", "Card admins"))
REFUSED, OWN, FINE = "refused", "proved by a second login", "fine"

CASES = [
    # (why, before, after, the realm signed in with, what is said)
    ("nothing changes", ONE, ONE, ADMINS, FINE),
    ("last realm removed", ONE, state({}, policy("*/admin/", ADMINS)), ADMINS, REFUSED),
    ("last realm removed by one of another realm", ONE, state({}, policy("*/admin/", ADMINS)), "Other", REFUSED),
    ("last URL removed", ONE, state({ADMINS: realm()}), ADMINS, REFUSED),
    ("last URL disabled", ONE, state({ADMINS: realm()}, policy("*/admin/", ADMINS, enabled=False)), ADMINS, REFUSED),
    ("last URL without the realm", ONE, state({ADMINS: realm()}, policy("*/admin/")), ADMINS, REFUSED),
    ("last URL for users", ONE, state({ADMINS: realm()}, policy("*/admin/", ADMINS, kind="user")), ADMINS, REFUSED),
    ("last URL hidden", ONE, state({ADMINS: realm()}, policy("*/admin", "U", kind="user"), policy("*/admin/", ADMINS)), ADMINS, REFUSED),
    ("last realm without server", ONE, state({ADMINS: realm(None)}, policy("*/admin/", ADMINS)), ADMINS, REFUSED),
    ("last realm with unknown server", ONE, state({ADMINS: realm("Nobody")}, policy("*/admin/", ADMINS)), ADMINS, REFUSED),
    ("its server removed", ONE, state({ADMINS: realm()}, policy("*/admin/", ADMINS), servers={}), ADMINS, REFUSED),
    ("own realm to another server", ONE, state({ADMINS: realm("Cards")}, policy("*/admin/", ADMINS)), ADMINS, OWN),
    ("own realm with a restriction", ONE, state({ADMINS: realm(certificate_restriction=1)}, policy("*/admin/", ADMINS)), ADMINS, OWN),
    ("own server changed", ONE, state({ADMINS: realm()}, policy("*/admin/", ADMINS), servers={"Administrators": 2}), ADMINS, OWN),
    ("other's last realm to another server", ONE, state({ADMINS: realm("Cards")}, policy("*/admin/", ADMINS)), "Other", REFUSED),
    ("last way replaced by an unproven one", ONE, state({"New": realm("Cards")}, policy("*/admin/", "New")), "Other", REFUSED),
    ("own way replaced by an unproven one", TWO, state({ADMINS: realm(), "New": realm()}, policy("*/admin/", "New")), ADMINS, REFUSED),
    ("URL offers one realm more", ONE, state({ADMINS: realm(), "New": realm()}, policy("*/admin/", "New", ADMINS)), ADMINS, FINE),
    ("another realm added", ONE, TWO, ADMINS, FINE),
    ("another realm removed", TWO, ONE, ADMINS, FINE),
    ("own realm removed", TWO, CARDS_ONLY, ADMINS, REFUSED),
    ("second realm removed by itself", TWO, ONE, "Card admins", REFUSED),
    (
        "first realm removed by the second",
        TWO,
        state({"Card admins": realm("Cards")}, policy("*/cards/", "Card admins")),
        "Card admins",
        FINE,
    ),
    ("own URL moved, other kept", TWO, state(dict(TWO.realms), policy("*/new/", ADMINS), policy("*/cards/", "Card admins")), ADMINS, OWN),
    ("own last URL moved", ONE, state({ADMINS: realm()}, policy("*/new/", ADMINS)), ADMINS, REFUSED),
    ("nothing worked before", state({}), state({"New": realm()}), ADMINS, FINE),
]


@pytest.mark.parametrize(("why", "before", "after", "acting", "said"), CASES, ids=[case[0] for case in CASES])
def test_judged(why: str, before: SignIn, after: SignIn, acting: str, said: str) -> None:
    problems, touches_own = judge(before, after, acting)
    assert (REFUSED if problems else OWN if touches_own else FINE) == said


def test_refusal_says_what_would_go_and_what_to_do() -> None:
    [problem] = judge(ONE, state({ADMINS: realm()}), "Other").problems
    assert problem == (
        "no administrator could sign in any more: */admin/ with realm 'Admin Users' and server 'Administrators' would be the last to go; "
        "make another way first and prove it"
    )


def test_ways() -> None:
    assert ways(TWO) == [Way("*/admin/", ADMINS, "Administrators"), Way("*/cards/", "Card admins", "Cards")]


URLS = [
    # (pattern, url, covered)
    ("*/admin", "vpn.corp.example/admin/", True),
    ("*/admin/", "*/admin/", True),
    ("*/", "vpn.corp.example/", True),
    ("*/", "vpn.corp.example/admin/", False),
    ("vpn.corp.example/", "*/", False),
    ("*.corp.example/", "vpn.corp.example/", True),
    ("*.corp.example/", "corp.example/", False),
    ("*.corp.example/", "vpn.corp.example.evil/", False),
    ("VPN.corp.example/x", "vpn.corp.example/x/", True),
    ("*/x", "*.corp.example/x", True),
]


@pytest.mark.parametrize(("pattern", "url", "covered"), URLS)
def test_covers(pattern: str, url: str, covered: bool) -> None:
    assert covers(pattern, url) == covered


def test_a_disabled_policy_hides_nothing() -> None:
    host = policy("vpn.corp.example/", "Users", kind="user")
    assert shadowed(host, [policy("*/", "Users", kind="user", enabled=False)]) is None
    assert shadowed(host, [policy("*/", "Users", kind="user")]) == policy("*/", "Users", kind="user")
