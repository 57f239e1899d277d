# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs fetched now and sessions ended, on an appliance that is a few lines of Python."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.information import users
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.revocation import Revocation
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.table import Table
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from ansible_collections.certlogon.core.tests.unit.adcs.revocation_lists import make_crl

ALICE, BRUNO = "Alice Andersson", "Bruno Bianchi"


class Played:
    """An appliance with one CA that checks CRLs and one that does not; `published` is what the next download brings."""

    def __init__(self, *, in_use: bytes, published: bytes, tells: bool = True, users: tuple[str, ...] = (ALICE, BRUNO)) -> None:
        self.table, self.options = Table.load(), type("Options", (), {"node": None})()
        self.in_use, self.published, self.tells = in_use, published, tells
        self.users = {f"sid{place}": user for place, user in enumerate(users)}
        self.calls: list[tuple[str, str | None]] = []
        self.ends_sessions = self.keeps_sessions = False

    def list(self, resource: str) -> list[dict[str, Any]]:
        assert resource == "trusted_client_ca"
        kinds = {"Corp CA": "Use CRLs", "Old CA": "None"}
        return [{"name": name, "client-certificate-status-checking": kind} for name, kind in kinds.items()]

    def raw(self, method: str, path: str) -> dict[str, str] | None:
        assert (method, path) == ("GET", "system/certificates/trusted-client-cas/Corp%20CA/crl")
        return {"crl": base64.b64encode(self.in_use).decode()} if self.tells else None

    def call(self, operation: str, name: str | None = None, query: Any = None) -> Any:
        if operation == "active_users":
            found = [{"active-user-name": user, "session-id": sid} for sid, user in self.users.items()]
            page = found[query["start"] : query["start"] + query["number"]]
            return {"active-users": {"active-user-records": {"active-user-record": page}, "total-matched-record-number": len(found)}}
        self.calls.append((operation, name))
        if operation == "update_crl":
            self.in_use = self.published
            if self.ends_sessions:
                self.users.clear()
        elif name in self.users and not self.keeps_sessions:
            del self.users[name]
        else:
            raise UserError(f"DELETE {name}: HTTP 404")
        return None


def refresh(played: Played, *, check_mode: bool = False, **options: Any) -> dict[str, Any]:
    class There(Revocation):
        @contextmanager
        def open(self, params: Any, warn: Any) -> Iterator[Any]:
            yield played

    params = {"trusted_client_cas": None, "serials": [], "users": [], "state": "refreshed", **options}
    warnings: list[str] = []
    return run(There(), params, check_mode=check_mode, warn=warnings.append) | {"warnings": warnings}


def test_the_crl_is_fetched_once_and_the_session_ends() -> None:
    played = Played(in_use=make_crl(1), published=make_crl(2, {0x2A: "key_compromise"}))
    wish = {"serials": ["2A"], "users": [ALICE.upper(), "nobody"]}
    foreseen = refresh(played, check_mode=True, **wish)
    names = ["CRL of Corp CA", f"session sid0 of {ALICE}"]
    assert [change["name"] for change in foreseen["changes"]] == names and played.calls == [] and not foreseen["proven"]
    done = refresh(played, **wish)
    assert played.calls == [("update_crl", "Corp CA"), ("end_session", "sid0")] and done["proven"] and not done.get("failed")
    assert [change["name"] for change in done["changes"]] == names
    assert [session["user"] for session in done["sessions"]] == [BRUNO] and done["crls"][0]["number"] == 2
    again = refresh(played, **wish)
    assert not again["changed"] and again["proven"]


def test_a_session_that_ended_by_itself_is_ended_and_one_that_stays_is_not() -> None:
    wish = {"serials": ["2a"], "users": [ALICE]}
    played = Played(in_use=make_crl(1), published=make_crl(2, {0x2A: "superseded"}))
    played.ends_sessions = True
    assert not refresh(played, **wish).get("failed") and played.users == {}
    played = Played(in_use=make_crl(1), published=make_crl(2, {0x2A: "superseded"}))
    played.keeps_sessions = True
    done = refresh(played, **wish)
    assert done["failed"] and "HTTP 404" in done["msg"] and done["proven"]


def test_a_crl_that_does_not_say_so_is_a_failure() -> None:
    played = Played(in_use=make_crl(1), published=make_crl(1))
    done = refresh(played, serials=["2a"], users=[ALICE])
    assert done["failed"] and "2a is on none of the CRLs" in done["msg"] and "number 1" in done["msg"] and not done["proven"]
    assert list(played.users.values()) == [BRUNO], "the session is ended all the same"


def test_an_appliance_that_does_not_tell_is_no_proof() -> None:
    played = Played(in_use=make_crl(1), published=make_crl(2, {0x2A: "superseded"}), tells=False)
    done = refresh(played, serials=["2a"])
    assert done["changed"] and not done.get("failed") and not done["proven"]
    assert any("nothing is proven" in warning for warning in done["warnings"])


def test_more_sessions_than_fit_a_page() -> None:
    names = tuple(f"user{number}" for number in range(450))
    assert len(refresh(Played(in_use=make_crl(1), published=make_crl(1), users=names), state="gathered")["sessions"]) == 450


@pytest.mark.parametrize(("most", "told"), [(200, {}), (100, {"total": True}), (200, {"last": True}), (200, {"pages": False})])
def test_no_session_is_missed_whatever_the_appliance_tells_of_pages(most: int, told: dict[str, bool]) -> None:
    """A session that is not seen is one that is not ended."""
    found = [{"active-user-name": f"user{number}", "session-id": f"sid{number}"} for number in range(200 if "pages" in told else 450)]

    class Session:
        def call(self, operation: str, query: dict[str, int]) -> dict[str, Any]:
            start = query["start"] if told.get("pages", True) else 0
            page = found[start : start + most]
            extra = {"total-matched-record-number": str(len(found))} if "total" in told else {}
            last = {"is-last-record": "true" if start + most >= len(found) else "false"} if "last" in told else {}
            return {"active-users": {"active-user-records": {"active-user-record": page}, **extra, **last}}

    assert users(Session()) == found  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"serials": ["x1"]}, "'x1' is no serial number"),
        ({"trusted_client_cas": ["Corp Ca"]}, "no trusted client CA 'Corp Ca'; it has Corp CA, Old CA"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        refresh(Played(in_use=make_crl(1), published=make_crl(1)), **options)
