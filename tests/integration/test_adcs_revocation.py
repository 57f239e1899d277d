# SPDX-License-Identifier: GPL-3.0-or-later
"""adcs_revocation by ansible-playbook and WinRM on ca1: read back by openssl from the CRLs that clients fetch."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ansible_collections.certlogon.core.tests.integration.web_enrollment_lab import ready, reset

HTTP = "http://ca1.corp.example/CertEnroll/Corp%20Web%20CA.crl"


@pytest.fixture(scope="module")
def host(ca_lab: Any) -> Iterator[Any]:
    reset(ca_lab)
    yield ca_lab
    reset(ca_lab)


class Issued:
    def __init__(self, pem: str) -> None:
        self.pem = pem
        self.serial = x509.load_pem_x509_certificate(pem.encode()).serial_number
        self.text = f"{self.serial:x}".zfill(38)


@pytest.fixture
def issue(host: Any) -> Callable[..., list[Issued]]:
    def call(*wanted: tuple[str, str]) -> list[Issued]:
        script = "/srv/certlogon/tests/integration/on_ca1/issue.py"
        done = host.run("ca1", "env", "PYTHONPATH=/srv/certlogon", "/usr/bin/python3", script, stdin=json.dumps(wanted))
        return [Issued(pem) for pem in json.loads(done.stdout)]

    return call


@pytest.fixture
def revocation(host: Any, on_ca1: Callable[..., Any]) -> Callable[..., Any]:
    """`revocation(config, check=False, fails=False, **options)`: the task's result."""

    def call(config: Any = None, *, check: bool = False, fails: bool = False, **options: Any) -> Any:
        given = {} if config is None else {"config": config}
        return on_ca1([{"certlogon.core.adcs_revocation": {**given, **options}}], check=check, fails=fails).last

    return call


def listed(url: str = HTTP) -> dict[int, str]:
    """Serial number -> reason, as openssl reads the CRL."""
    der = subprocess.run(["curl", "-sf", url], capture_output=True, check=True).stdout
    text = subprocess.run(
        ["openssl", "crl", "-inform", "DER", "-noout", "-text"], input=der, capture_output=True, check=True
    ).stdout.decode()
    found = {}
    for block in text.split("Serial Number: ")[1:]:
        reason = re.search(r"CRL Reason Code:\s*\n\s*(.+)", block)
        found[int(block.split()[0], 16)] = reason[1].strip() if reason else ""
    return found


def test_by_serial_number(host: Any, on_ca1: Callable[..., Any], issue: Callable[..., Any], revocation: Callable[..., Any]) -> None:
    ready(host, on_ca1)
    (one,) = issue(("alice.andersson", "User"))
    config = [{"serial": one.text.upper(), "reason": "key_compromise"}]
    predicted = revocation(config, check=True)
    assert predicted.changed and predicted["rounds"] == 1
    assert predicted["diff"][0]["after"] == {"status": "revoked", "reason": "key_compromise", "on_crl": "key_compromise"}
    assert listed() == {}, "check mode revokes nothing"
    done = revocation(config)
    assert done.changed and done["rounds"] == 3
    assert listed() == {one.serial: "Key Compromise"}
    again = revocation(config)
    assert not again.changed and again["rounds"] == 1
    assert "cannot be taken back" in revocation([{"serial": one.text, "status": "valid"}], fails=True).msg


def test_hold_and_release(issue: Callable[..., Any], revocation: Callable[..., Any], tmp_path: Path) -> None:
    (one,) = issue(("bruno.bianchi", "User"))
    (tmp_path / "c.pem").write_text(one.pem)
    entry = {"certificate_path": str(tmp_path / "c.pem")}
    assert revocation([{**entry, "status": "on_hold"}]).changed
    assert listed()[one.serial] == "Certificate Hold"
    assert revocation(state="gathered")["gathered"][-1] == {"serial": one.text, "status": "on_hold"}
    assert revocation([{"certificate": one.pem, "status": "valid"}]).changed
    assert one.serial not in listed()
    assert not revocation([{**entry, "status": "valid"}]).changed


def test_all_of_an_account(host: Any, issue: Callable[..., Any], revocation: Callable[..., Any]) -> None:
    mine = issue(("chiara.conti", "User"), ("chiara.conti", "EFS"), ("alice.andersson", "User"))
    before = host.metrics().get("script_adcs_revoke", 0)
    done = revocation([{"user": "CORP\\chiara.conti", "reason": "cessation_of_operation"}])
    assert [change["name"] for change in done["changes"]] == [one.text for one in mine[:2]]
    assert host.metrics().get("script_adcs_revoke", 0) == before + 2
    found = listed()
    assert all(found[one.serial] == "Cessation Of Operation" for one in mine[:2]) and mine[2].serial not in found
    assert not revocation([{"user": "CORP\\chiara.conti", "reason": "cessation_of_operation"}]).changed


def test_an_unknown_serial_number_is_refused_before_the_first_write(issue: Callable[..., Any], revocation: Callable[..., Any]) -> None:
    (one,) = issue(("alice.andersson", "User"))
    before = listed()
    done = revocation([{"serial": one.text}, {"serial": "deadbeef"}], fails=True)
    assert "deadbeef" in done.msg and "issued no certificate with this serial number" in done.msg
    assert listed() == before
    assert revocation([{"serial": one.text}], state="gathered")["gathered"] == [{"serial": one.text, "status": "valid"}]


def test_what_was_not_published_is_published_by_the_next_run(issue: Callable[..., Any], revocation: Callable[..., Any]) -> None:
    (one,) = issue(("alice.andersson", "User"))
    assert revocation([{"serial": one.text}], publish=False).changed
    assert one.serial not in listed()
    assert revocation([{"serial": one.text}]).changed
    assert one.serial in listed()
    assert not revocation([{"serial": one.text}]).changed


def test_gathered_is_accepted_and_changes_nothing(revocation: Callable[..., Any]) -> None:
    gathered = revocation(state="gathered")["gathered"]
    assert len(gathered) >= 4
    again = revocation(gathered)
    assert not again.changed and again["rounds"] == 1
