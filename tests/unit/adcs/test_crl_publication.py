# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.certlogon.core.plugins.module_utils.adcs import crl_publication
from ansible_collections.certlogon.core.plugins.module_utils.adcs.crl_places import Places
from ansible_collections.certlogon.core.plugins.module_utils.adcs.crl_publication import CrlPublication
from ansible_collections.certlogon.core.plugins.module_utils.adcs.crl_state import CrlState
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from ansible_collections.certlogon.core.tests.unit.adcs.revocation_lists import FakeSession, answer, make_crl

HTTP = "http://ca1.corp.example/CertEnroll/Corp%20CA.crl"
HTTP_DELTA = "http://ca1.corp.example/CertEnroll/Corp%20CA+.crl"
LDAP = (
    "ldap:///CN=Corp%20CA,CN=ca1,CN=CDP,CN=Public%20Key%20Services,CN=Services,CN=Configuration,DC=corp,DC=example"
    "?certificateRevocationList?base?objectClass=cRLDistributionPoint"
)


class World:
    """What clients find at the addresses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.content: dict[str, bytes] = {}
        self.ldap = True
        monkeypatch.setattr(crl_publication, "looking", self._looking)

    def fetch(self, url: str) -> bytes:
        if url not in self.content:
            raise UserError(f"CRL {url}: nobody there")
        return self.content[url]

    @contextmanager
    def _looking(self, params: Mapping[str, Any], warn: Any) -> Iterator[Places]:
        yield Places(self.fetch, self.fetch if self.ldap else None)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def task(session: FakeSession, config: list[dict[str, Any]] | None = None, *, check: bool = False, **options: Any) -> tuple[Any, Any]:
    arguments = {**({} if config is None else {"config": config}), **options}
    checked = ArgumentSpecValidator(CrlPublication.argument_spec(), **CrlPublication.rules()).validate(arguments)
    assert not checked.error_messages, checked.error_messages
    resource = CrlPublication(session)  # type: ignore[arg-type]
    result = run(resource, checked.validated_parameters, check_mode=check, warn=session.warn)
    return result, resource.returns(checked.validated_parameters)["crls"]


def test_addresses_as_clients_have_them():
    state = CrlState.parse(answer(make_crl(3), make_crl(3, base=3)))
    urls = {one.name: one.urls for one in state.lists}
    assert urls["Corp CA.crl"] == (LDAP, HTTP)
    assert urls["Corp CA+.crl"] == (LDAP.replace("certificateR", "deltaR"), HTTP_DELTA)


def test_nothing_is_published_that_need_not_be(world: World):
    base = make_crl(3)
    world.content = {HTTP: base, LDAP: base}
    session = FakeSession(answer(base))
    result, crls = task(session, [{"kind": "base"}])
    assert not result["changed"] and session.calls == []
    assert crls[0]["number"] == 3 and crls[0]["hours_left"] == 168
    assert [place["status"] for place in crls[0]["places"]] == ["current", "current"]


@pytest.mark.parametrize(
    ("entry", "found", "needed"),
    [
        ({"publish": "always"}, 3, True),
        ({"minimum_validity": 24 * 8}, 3, True),
        ({"minimum_validity": 24 * 6}, 3, False),
        ({}, None, True),
        ({}, 2, True),
        ({}, 3, False),
    ],
)
def test_when_it_is_needed(world: World, entry: dict[str, Any], found: int | None, needed: bool):
    old, new = make_crl(3), make_crl(4, days=14)
    there = {2: make_crl(2), 3: old}.get(found or 0)
    session = FakeSession(answer(old), answer(new))
    world.content = {LDAP: old, **({HTTP: there} if there else {})}
    result = task(session, [{"kind": "base", **entry}], check=True)[0]
    assert result["changed"] is needed and session.calls == []
    if not needed:
        return
    assert result["diff"][0]["after"]["lists"] == {"Corp CA.crl": "known after apply"}
    session = FakeSession(answer(old), answer(new))
    publish = session.run

    def published(script: str, *arguments: Any, **named: Any) -> dict[str, Any]:
        if script == "adcs_crl_publish":
            world.content = {LDAP: new, HTTP: new}
        return publish(script, *arguments, **named)

    session.run = published  # type: ignore[method-assign]
    result, crls = task(session, [{"kind": "base", **entry}])
    assert not result.get("failed"), result
    assert session.calls == [("adcs_crl_publish", {"Base": True, "Delta": False})]
    assert crls[0]["number"] == 4


def test_a_place_that_stays_behind_is_a_failure(world: World):
    old = make_crl(3)
    world.content = {LDAP: old, HTTP: old}
    result, crls = task(FakeSession(answer(old), answer(make_crl(4))), [{"kind": "base", "publish": "always"}])
    assert result["failed"] and HTTP in result["msg"] and "has number 3, the CA's newest has 4" in result["msg"]
    assert {place["status"] for place in crls[0]["places"]} == {"older"}


def test_a_publication_that_did_not_happen_is_a_failure(world: World):
    old = make_crl(3)
    world.content = {LDAP: old, HTTP: old}
    result = task(FakeSession(answer(old)), [{"kind": "base", "publish": "always"}])[0]
    assert result["failed"]


def test_a_base_takes_its_delta_along(world: World):
    session = FakeSession(answer(make_crl(3), make_crl(3, base=3)), answer(make_crl(4), make_crl(4, base=4)))
    result = task(session, [{"kind": "base", "publish": "always"}], check_places=False)[0]
    assert not result.get("failed"), result
    assert session.calls == [("adcs_crl_publish", {"Base": True, "Delta": True})]
    assert [change["name"] for change in result["changes"]] == ["base", "delta"]


def test_a_delta_alone(world: World):
    session = FakeSession(answer(make_crl(3), make_crl(3, base=3)), answer(make_crl(3), make_crl(4, base=3)))
    result = task(session, [{"kind": "delta", "publish": "always"}], check_places=False)[0]
    assert not result.get("failed") and session.calls == [("adcs_crl_publish", {"Base": False, "Delta": True})]


def test_a_ca_without_deltas():
    with pytest.raises(UserError, match="makes no delta CRLs"):
        task(FakeSession(answer()), [{"kind": "delta"}], check_places=False)


def test_gathered_reports_and_warns(world: World):
    base = make_crl(3)
    world.content, world.ldap = {HTTP: make_crl(2, days=-1)}, False
    session = FakeSession(answer(base))
    result, crls = task(session, state="gathered")
    assert result["gathered"] == [{"kind": "base"}] and not result["changed"]
    assert [place["status"] for place in crls[0]["places"]] == ["not_checked", "expired"]
    assert len(session.warnings) == 2 and any("server or domain" in warning for warning in session.warnings)
    assert not task(FakeSession(answer(base)), result["gathered"], check_places=False)[0]["changed"]


def test_certificates_without_cdp(world: World):
    session = FakeSession(answer(places=[r"65:C:\x\%3%8%9.crl"]))
    task(session, [{"kind": "base"}])
    assert any("no CDP" in warning for warning in session.warnings)


def test_what_is_no_crl_at_an_address(world: World):
    base = make_crl(3)
    world.content = {LDAP: base, HTTP: b"<html>not here</html>"}
    crls = task(FakeSession(answer(base)), state="gathered")[1]
    assert [place["status"] for place in crls[0]["places"]] == ["current", "unreachable"]


def test_bad_requests():
    with pytest.raises(UserError, match="not a number of hours"):
        task(FakeSession(answer()), [{"kind": "base", "minimum_validity": -1}])
    with pytest.raises(UserError, match="listed twice"):
        task(FakeSession(answer()), [{"kind": "base"}, {"kind": "base"}])
