# SPDX-License-Identifier: GPL-3.0-or-later
"""adcs_web_enrollment by ansible-playbook and WinRM on ca1: read back by openssl and curl, and from the stand-in's own state.

The tests go on where the one before ended; the module begins with a host on which nothing is configured.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography import x509

from ansible_collections.certlogon.core.tests.integration.web_enrollment_lab import CA, authority_task, reset, saved, web_task

CERTSRV = "Default Web Site/CertSrv"
URL = "https://ca1.corp.example/certsrv/"


@pytest.fixture(scope="module")
def bare(ca_lab: Any) -> Iterator[Any]:
    reset(ca_lab)
    yield ca_lab
    reset(ca_lab)


def served() -> x509.Certificate:
    """The certificate of port 443, by openssl."""
    command = ["openssl", "s_client", "-connect", "ca1.corp.example:443", "-servername", "ca1.corp.example"]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=30, check=False)
    begin = done.stdout.index("-----BEGIN CERTIFICATE-----")
    return x509.load_pem_x509_certificate(done.stdout[begin:].encode())


def status(url: str, *options: str) -> str:
    command = ["curl", "-s", "-k", "-o", "/dev/null", "-w", "%{http_code}", *options, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout


def test_without_a_ca(bare: Any, on_ca1: Callable[..., Any]) -> None:
    predicted = on_ca1([web_task()], check=True)
    assert predicted.last.changed and "there is no certification authority on this host yet" in " ".join(predicted.output.split())
    assert "install it first (adcs_authority)" in on_ca1([web_task()], fails=True).last.msg
    assert saved(bare)["iis"] == {}


def test_check_then_run_then_again(bare: Any, on_ca1: Callable[..., Any]) -> None:
    on_ca1([authority_task(bare)])
    before = saved(bare)
    predicted = on_ca1([web_task("replaced")], check=True)
    assert predicted.last.changed and predicted.last["changes"] == [{"name": "Default Web Site", "action": "create"}]
    assert predicted.last["rounds"] == 1 and "known after apply" in predicted.output
    assert saved(bare)["iis"] == before["iis"] and status(URL) == "000", "check mode writes nothing"

    done = on_ca1([web_task("replaced")]).last
    assert done.changed and done["diff"][0]["after"] | {"certificate": None} == predicted.last["diff"][0]["after"] | {"certificate": None}
    settings = saved(bare)["iis"]["locations"]
    assert settings[CERTSRV]["tokenChecking"] == "Require" and settings[CERTSRV]["sslFlags"] == "Ssl"
    certificate = served()
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["ca1.corp.example"]
    assert CA in certificate.issuer.rfc4514_string() and certificate.fingerprint(certificate.signature_hash_algorithm)  # type: ignore[arg-type]
    assert status(URL) == "401" and status("http://ca1.corp.example/certsrv/") == "403"
    crl = "http://ca1.corp.example/CertEnroll/Corp%20Web%20CA.crl"
    assert status(crl) == "200" and status(crl.replace(".crl", "+.crl")) == "200"

    again = on_ca1([web_task("replaced"), web_task()])
    assert [(task.changed, task["rounds"]) for task in again.tasks] == [(False, 1), (False, 1)]
    assert again.last["certificate"]["days_left"] > 300


def test_gathered_is_accepted_and_changes_nothing(bare: Any, on_ca1: Callable[..., Any]) -> None:
    gathered = on_ca1([web_task("gathered")]).last["gathered"]
    assert gathered[0]["providers"] == ["negotiate", "ntlm"]
    task = {"certlogon.core.adcs_web_enrollment": {"config": gathered, "state": "replaced"}}
    assert not on_ca1([task]).last.changed


def test_renewed_inside_the_window_and_never_otherwise(bare: Any, on_ca1: Callable[..., Any]) -> None:
    old = served().serial_number
    assert not on_ca1([web_task(certificate={"renew_before": 300})]).last.changed and served().serial_number == old
    bare.faults(clock_offset=340 * 86400)
    warned = on_ca1([web_task()], check=True)
    assert warned.last.changed and "its clock is" in warned.output
    assert on_ca1([web_task()]).last.changed
    new = served().serial_number
    assert new != old
    bare.faults()  # the new one is not yet valid now; the old one is good again, and still there
    done = on_ca1([web_task(), web_task()])
    assert [task.changed for task in done.tasks] == [True, False] and served().serial_number == old
    assert "are issued for 36" in on_ca1([web_task(certificate={"renew_before": 400})], fails=True).last.msg


def test_another_hand_unbinds(bare: Any, on_ca1: Callable[..., Any]) -> None:
    on_ca1([web_task(require_ssl=False, extended_protection="allowed")])
    assert status("http://ca1.corp.example/certsrv/") == "401"
    repaired = on_ca1([web_task("replaced")])
    assert repaired.last.changed and '"extended_protection": "required"' in repaired.output
    assert status("http://ca1.corp.example/certsrv/") == "403"


def test_denied_says_who_lacks_what(bare: Any, on_ca1: Callable[..., Any]) -> None:
    """WebServer lets Domain Admins and Enterprise Admins alone enroll; the computer asks."""
    wish = {"certificate": {"template": "WebServer", "dns_names": ["ca1.corp.example", "pki.corp.example"]}}
    denied = on_ca1([web_task(**wish)], fails=True).last
    assert "0x80094012" in denied.msg and "needs the rights Read and Enroll" in denied.msg
    assert "0x80094800" in on_ca1([web_task(certificate={"template": "Workstation"})], fails=True).last.msg
    assert status(URL) == "401", "the old certificate serves on"


def test_examples(bare: Any, on_ca1: Callable[..., Any]) -> None:
    import yaml

    from ansible_collections.certlogon.core.plugins.modules.adcs_web_enrollment import EXAMPLES

    tasks = yaml.safe_load(EXAMPLES)
    assert len(on_ca1(tasks, check=True).tasks) == len(tasks)


def test_dies_half_way_and_is_taken_up(bare: Any, on_ca1: Callable[..., Any]) -> None:
    on_ca1([web_task("deleted")])
    assert status(URL) == "404"
    bare.faults(web_enrollment_dies="web_enrollment_install")
    assert "aborted" in on_ca1([web_task()], fails=True).last.msg
    bare.faults()
    done = on_ca1([web_task(), web_task()])
    assert [task.changed for task in done.tasks] == [True, False]
    assert saved(bare)["iis"]["locations"][CERTSRV]["tokenChecking"] == "Require", "merged, and yet safe: the first run was not finished"
