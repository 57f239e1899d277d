# SPDX-License-Identifier: GPL-3.0-or-later
"""adcs_crl by ansible-playbook and WinRM on ca1: read back by curl, openssl and Samba's own tool.

The tests go on where the one before ended; the module begins with a host on which nothing is configured.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.certlogon.core.tests.integration.web_enrollment_lab import CA, authority_task, ready, reset

HTTP = "http://ca1.corp.example/CertEnroll/Corp%20Web%20CA.crl"
PLACES = [
    {
        "url": r"C:\Windows\system32\CertSrv\CertEnroll\<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl",
        "flags": ["publish_base", "publish_delta"],
    },
    {
        "url": "ldap:///CN=<CATruncatedName><CRLNameSuffix>,CN=<ServerShortName>,CN=CDP,CN=Public Key Services,CN=Services,"
        "<ConfigurationContainer><CDPObjectClass>",
        "flags": ["publish_base", "publish_delta", "include_in_certificates", "include_freshest"],
    },
    {
        "url": "http://ca1.corp.example/CertEnroll/<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl",
        "flags": ["include_in_certificates", "include_freshest"],
    },
]


@pytest.fixture(scope="module")
def host(ca_lab: Any) -> Iterator[Any]:
    reset(ca_lab)
    yield ca_lab
    reset(ca_lab)


@pytest.fixture
def crl(host: Any, on_ca1: Callable[..., Any], connection: dict[str, Any]) -> Callable[..., Any]:
    """`crl(config, check=False, fails=False, directory=True, **options)`: the task's result."""

    def call(config: Any = None, *, directory: bool = True, check: bool = False, fails: bool = False, **options: Any) -> Any:
        where = {name: connection[name] for name in ("server", "username", "password", "ca_path")} if directory else {}
        given = {} if config is None else {"config": config}
        done = on_ca1([{"certlogon.core.adcs_crl": {**where, **given, **options}}], check=check, fails=fails)
        assert connection["password"] not in done.output
        done.last.result["shown"] = " ".join(done.output.split())
        return done.last

    return call


def fetched(url: str = HTTP) -> dict[str, str]:
    """A CRL as curl and openssl see it."""
    der = subprocess.run(["curl", "-sf", url], capture_output=True, check=True).stdout
    command = ["openssl", "crl", "-inform", "DER", "-noout", "-crlnumber", "-lastupdate", "-nextupdate"]
    text = subprocess.run(command, input=der, capture_output=True, check=True).stdout.decode()
    return dict(line.split("=", 1) for line in text.splitlines()) | {"der": der.hex()}


def number(url: str = HTTP) -> int:
    return int(fetched(url)["crlNumber"], 16)


def in_directory(lab: Any, attribute: str = "certificateRevocationList") -> str:
    base = f"CN={CA},CN=ca1,CN=CDP,CN=Public Key Services,CN=Services,CN=Configuration,{lab.status['base_dn']}"
    found: bytes = lab.ldbsearch(base)[0][attribute.lower()][0]
    return found.hex()


def test_without_a_ca(host: Any, crl: Callable[..., Any]) -> None:
    assert "no certification authority is configured" in crl([{"kind": "base"}], fails=True).msg


def test_a_ca_that_publishes_everywhere(host: Any, on_ca1: Callable[..., Any], crl: Callable[..., Any]) -> None:
    ready(host, on_ca1)
    on_ca1([authority_task(host, cdp=PLACES)])
    result = crl([{"kind": "base"}])
    assert result["rounds"] in (1, 3)
    found = {one["name"]: one for one in result["crls"]}
    assert set(found) == {f"{CA}.crl", f"{CA}+.crl"}
    assert {place["status"] for one in result["crls"] for place in one["places"]} == {"current"}
    assert len(found[f"{CA}.crl"]["places"]) == 2 == len(found[f"{CA}+.crl"]["places"])


def test_nothing_to_do_is_one_round(crl: Callable[..., Any]) -> None:
    before = fetched()
    result = crl([{"kind": "base"}, {"kind": "delta"}])
    assert not result.changed and result["rounds"] == 1
    assert fetched() == before


def test_check_run_and_again(host: Any, crl: Callable[..., Any]) -> None:
    before = number()
    config = [{"kind": "base", "minimum_validity": 24 * 30}]
    predicted = crl(config, check=True)
    assert predicted.changed and number() == before, "check mode publishes nothing"
    assert predicted["diff"][0]["after"]["lists"] == {f"{CA}.crl": "known after apply"}
    always = [{"kind": "base", "publish": "always"}]
    done = crl(always)
    assert done.changed and done["rounds"] == 3
    found = next(one for one in done["crls"] if one["kind"] == "base")
    assert found["number"] == number() == before + 1
    assert in_directory(host) == fetched()["der"]
    assert in_directory(host, "deltaRevocationList") == fetched(HTTP.replace(".crl", "+.crl"))["der"]
    assert not crl([{"kind": "base"}]).changed


def test_a_delta_alone(crl: Callable[..., Any]) -> None:
    base = number()
    done = crl([{"kind": "delta", "publish": "always"}])
    assert done.changed and number() == base and number(HTTP.replace(".crl", "+.crl")) > base


def test_a_place_that_was_overwritten_is_repaired(host: Any, crl: Callable[..., Any]) -> None:
    base = f"CN={CA},CN=ca1,CN=CDP,CN=Public Key Services,CN=Services,CN=Configuration,{host.status['base_dn']}"
    host.ldbmodify(f"dn: {base}\nchangetype: modify\nreplace: certificateRevocationList\ncertificateRevocationList:: AA==\n")
    seen = crl(state="gathered")
    assert not seen.changed and "has no certificateRevocationList yet" in seen["shown"]
    assert crl([{"kind": "base"}]).changed
    assert in_directory(host) == fetched()["der"]
    assert not crl([{"kind": "base"}]).changed


def test_an_expired_crl_is_reported_and_replaced(host: Any, crl: Callable[..., Any]) -> None:
    host.faults(clock_offset=30 * 86400)
    done = crl([{"kind": "base"}])
    host.faults()
    assert all(one["hours_left"] > 0 for one in done["crls"])


def test_without_a_directory_ldap_is_not_looked_at(crl: Callable[..., Any]) -> None:
    result = crl(state="gathered", directory=False)
    assert "give server or domain to look there" in result["shown"]
    assert {place["status"] for place in result["crls"][0]["places"]} == {"current", "not_checked"}


def test_an_account_without_the_right(host: Any, on_ca1: Callable[..., Any]) -> None:
    task = {"certlogon.core.adcs_crl": {"config": [{"kind": "base", "publish": "always"}]}}
    done = on_ca1([task], account="plain.user", fails=True)
    assert "plain.user" in done.output or "credentials were rejected" in done.output or "denied" in done.output.lower()


def test_a_stopped_service(host: Any, on_ca1: Callable[..., Any], crl: Callable[..., Any]) -> None:
    on_ca1([{"ansible.windows.win_service": {"name": "CertSvc", "state": "stopped"}}])
    assert "CertSvc does not run" in crl([{"kind": "base"}], fails=True).msg
    on_ca1([{"ansible.windows.win_service": {"name": "CertSvc", "state": "started"}}])
    crl([{"kind": "base"}])
