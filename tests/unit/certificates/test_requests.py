# SPDX-License-Identifier: GPL-3.0-or-later
"""certificate_request as a task runs it, against a small authority on the loopback; openssl reads what was written."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7

from ansible_collections.certlogon.core.plugins.module_utils.certificates import file_store, keys, request_session, signing_request
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate_request import CertificateRequest
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from ansible_collections.certlogon.core.tests.unit.certificates.enrollment_server import DER, PEM, Authority, Server

KNOWN_LATER = "known after apply"


class Site:
    """A folder of certificates and the authority that they come from."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self.server, self.authority = folder, server, server.authority

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def entry(self, **changes: Any) -> dict[str, Any]:
        entry = {
            "path": self.path("web1.pem"),
            "key": {"type": "ec"},
            "subject": "CN=web1",
            "subject_alt_names": ["DNS:web1.corp.example"],
            **changes,
        }
        return {name: value for name, value in entry.items() if value is not None}

    def run(self, *entries: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        result = self.run_unchecked(*entries, **options)
        assert not list(self.folder.glob("*.tmp")) and not list(self.folder.glob(".*"))
        return result

    def run_unchecked(self, *entries: Mapping[str, Any], state: str = "merged", check: bool = False, **options: Any) -> dict[str, Any]:
        resource = CertificateRequest()
        arguments = {**self.server.options(), "config": [dict(entry) for entry in entries or (self.entry(),)], "state": state, **options}
        checked = ArgumentSpecValidator(resource.argument_spec(), **resource.rules()).validate(arguments)
        assert not checked.error_messages, checked.error_messages
        warnings: list[str] = []
        result = run(resource, checked.validated_parameters, check_mode=check, warn=warnings.append)
        return {**result, "warnings": warnings}

    def files(self) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(self.folder.iterdir())}

    def certificate(self, name: str = "web1.pem") -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.folder / name).read_bytes())

    def memory(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "web1.pem.request.json").read_text()))

    def fits(self, certificate: str = "web1.pem", key: str = "web1.pem.key") -> bool:
        return openssl("x509", "-in", self.path(certificate), "-noout", "-pubkey") == openssl("pkey", "-in", self.path(key), "-pubout")


def openssl(*arguments: str, check: bool = True) -> str:
    """What openssl says; names as OpenSSL 3.5 writes them, earlier ones put spaces there."""
    done = subprocess.run(["openssl", *arguments], capture_output=True, check=False, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.replace("CN = ", "CN=")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "tls").mkdir()
    (tmp_path / "certificates").mkdir()
    server = Server(Authority(), tmp_path / "tls")
    yield Site(tmp_path / "certificates", server)
    server.close()


# ---- first, again, changed


def test_check_run_again(site: Site):
    checked = site.run(check=True)
    assert checked["changed"] and site.files() == {} and site.authority.requests == []
    assert checked["certificates"][0]["status"] == "due" and checked["certificates"][0]["reason"] == "there is no certificate"
    done = site.run()
    assert done["changed"] and done["certificates"][0]["status"] == "valid" and done["certificates"][0]["request_id"] == 1
    assert site.fits() and openssl("x509", "-in", site.path("web1.pem"), "-noout", "-subject").strip() == "subject=CN=web1"
    predicted, actual = checked["diff"][0]["after"], done["diff"][0]["after"]
    assert {name for name in predicted if predicted[name] != actual[name]} == {name for name in predicted if predicted[name] == KNOWN_LATER}
    before = site.files()
    again = site.run()
    assert not again["changed"] and site.files() == before and len(site.authority.requests) == 1
    assert "authority" not in again and again["certificates"][0]["serial_number"] == actual["serial_number"]


def test_all_files_with_modes(site: Site):
    entry = site.entry(
        chain_path=site.path("chain.pem"), fullchain_path=site.path("full.pem"), pfx_path=site.path("web1.pfx"), pfx_passphrase="Pfx-1",
        mode="0640", key={"path": site.path("own.key"), "type": "rsa", "size": 2048, "passphrase": "Key-1"},
    )  # fmt: skip
    site.run(entry)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in site.folder.iterdir()}
    assert modes == {
        "web1.pem": 0o640, "chain.pem": 0o640, "full.pem": 0o640, "web1.pem.request.json": 0o640, "own.key": 0o600, "web1.pfx": 0o600,
    }  # fmt: skip
    subjects = openssl("crl2pkcs7", "-nocrl", "-certfile", site.path("chain.pem"), "-out", site.path("p7")) + openssl(
        "pkcs7", "-in", site.path("p7"), "-print_certs", "-noout"
    )
    Path(site.path("p7")).unlink()
    assert subjects.index("CN=Test CA") < subjects.index("CN=Test Root")
    (site.folder.parent / "root.pem").write_bytes(site.authority.root.public_bytes(PEM))
    verified = openssl(
        "verify", "-CAfile", str(site.folder.parent / "root.pem"), "-untrusted", site.path("full.pem"), site.path("web1.pem")
    )
    assert verified.strip().endswith("OK")
    assert "BEGIN ENCRYPTED" in Path(site.path("own.key")).read_text()
    shown = openssl("pkcs12", "-in", site.path("web1.pfx"), "-passin", "pass:Pfx-1", "-nodes")
    assert shown.count("BEGIN CERTIFICATE") == 3 and "BEGIN PRIVATE KEY" in shown
    assert "Pfx-1" not in json.dumps(site.memory()) and "Key-1" not in json.dumps(site.memory())
    assert not site.run(entry)["changed"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"subject_alt_names": ["DNS:web1.corp.example", "DNS:web2"]}, "subject_alt_names changes from ['DNS:web1.corp.example'] to"),
        ({"subject": "CN=web2"}, "subject changes from CN=web1 to CN=web2"),
        ({"template": "Other"}, "template changes from nothing to Other"),
        ({"key": {"type": "ec", "curve": "secp384r1"}}, "key is EC secp256r1, not EC secp384r1"),
        ({"key": {"type": "rsa"}}, "key is EC secp256r1, not RSA 2048"),
        ({"extended_key_usage": ["serverAuth"]}, "extended_key_usage changes from nothing"),
        ({"sid": "S-1-5-21-1-2-3-4"}, "sid changes"),
        ({"renew_before": 400}, None),
        ({"force": True}, "force is true"),
        ({"subject_alt_names": ["dns:WEB1.corp.example"]}, None),
        ({"issuer": "Test CA"}, None),
        ({"issuer": "CN=Test CA"}, None),
        ({"digest": "sha512"}, None),
    ],
)
def test_what_asks_anew(site: Site, change: dict[str, Any], reason: str | None):
    site.run()
    before = site.certificate()
    checked = site.run(site.entry(**change), check=True)
    assert checked["changed"] == (reason is not None)
    done = site.run(site.entry(**change))
    assert done["changed"] == (reason is not None) and (site.certificate() != before) == (reason is not None)
    if reason is None:
        return
    assert checked["certificates"][0]["reason"].startswith(reason) and site.fits()
    assert keys.identity(site.certificate().public_key()) != keys.identity(before.public_key())
    if "force" not in change:
        assert not site.run(site.entry(**change))["changed"]


def test_renewed_inside_the_window_only(site: Site):
    site.authority.lifetime = timedelta(days=100)
    site.run()
    assert not site.run(site.entry(renew_before=40))["changed"]
    site.authority.lifetime = timedelta(days=365)
    result = site.run(site.entry(renew_before=50), check=True)
    assert not result["changed"], "half of the lifetime has not passed"
    old = site.authority.issued[1]
    past = datetime.now(timezone.utc) - timedelta(days=95)
    (site.folder / "web1.pem").write_bytes(
        site.authority.sign(x509.load_pem_x509_csr(site.authority.requests[0][0]), start=past, end=past + timedelta(days=100)).public_bytes(
            PEM
        )
    )
    result = site.run()
    assert result["changed"] and site.certificate() not in (old,) and site.fits()
    assert not site.run()["changed"]


def test_short_lived_certificates_are_not_renewed_on_every_run(site: Site):
    site.authority.lifetime = timedelta(days=7)
    site.run()
    again = site.run()
    assert not again["changed"] and "renew_before (30 days) is more than half" in again["warnings"][0]


def test_key_is_kept_when_told(site: Site):
    entry = site.entry(key={"type": "ec", "reuse": True})
    site.run(entry)
    before = site.certificate().public_key()
    assert site.run({**entry, "force": True})["changed"] and site.certificate().public_key() == before


def test_key_made_beforehand_is_used(site: Site):
    made = keys.generate(keys.KeyKind("ec", curve="secp256r1"))
    Path(site.path("web1.pem.key")).write_bytes(keys.pem(made, None))
    before = site.files()["web1.pem.key"]
    site.run()
    assert site.fits() and site.files()["web1.pem.key"] == before


@pytest.mark.parametrize("lost", ["web1.pem", "web1.pem.key", "web1.pem.request.json"])
def test_lost_files(site: Site, lost: str):
    site.run()
    (site.folder / lost).unlink()
    again = site.run()
    assert again["changed"] == (lost != "web1.pem.request.json") and site.fits()
    assert not site.run()["changed"]


def test_key_of_another_pair(site: Site):
    site.run()
    Path(site.path("web1.pem.key")).write_bytes(keys.pem(keys.generate(keys.KeyKind("ec", curve="secp256r1")), None))
    assert site.run()["certificates"][0]["status"] == "valid" and site.fits()


def test_passphrases_are_not_guessed(site: Site):
    entry = site.entry(key={"type": "ec", "passphrase": "right"})
    site.run(entry)
    before = site.files()
    with pytest.raises(UserError, match=r"key.path .*cannot be decrypted") as caught:
        site.run(site.entry(key={"type": "ec", "passphrase": "wrong-secret"}))
    assert "wrong-secret" not in str(caught.value) and site.files() == before


def test_foreign_file_at_the_place_of_the_key_survives(site: Site):
    Path(site.path("web1.pem.key")).write_text("somebody's notes")
    with pytest.raises(UserError, match=r"is no private key in PEM or DER.*left as it is"):
        site.run()
    assert Path(site.path("web1.pem.key")).read_text() == "somebody's notes" and site.authority.requests == []


def test_given_request(site: Site):
    own = keys.generate(keys.KeyKind("ec", curve="secp256r1"))
    content = signing_request.pem(signing_request.build(own, subject_text="CN=dc1", names=["DNS:dc1.corp.example"]))
    entry = {"path": site.path("dc1.pem"), "csr_content": content, "template": "KerberosAuthentication"}
    assert site.run(entry)["changed"] and not site.run(entry)["changed"]
    assert site.certificate("dc1.pem").public_key() == own.public_key() and sorted(site.files()) == ["dc1.pem", "dc1.pem.request.json"]
    other = signing_request.pem(signing_request.build(keys.generate(keys.KeyKind("ec", curve="secp256r1")), subject_text="CN=dc1"))
    assert site.run({**entry, "csr_content": other})["certificates"][0]["status"] == "valid"
    assert len(site.authority.requests) == 2


def test_on_behalf_of(site: Site):
    agent = keys.generate(keys.KeyKind("rsa", size=2048))
    request = x509.load_der_x509_csr(signing_request.build(agent, subject_text="CN=agent", purposes=["1.3.6.1.4.1.311.20.2.1"]))
    Path(site.path("agent.pem")).write_bytes(site.authority.sign(request).public_bytes(PEM))
    Path(site.path("agent.key")).write_bytes(keys.pem(agent, "Agent-1"))
    site.authority.disposition = "pending"
    options = {
        "agent_certificate_path": site.path("agent.pem"),
        "agent_key_path": site.path("agent.key"),
        "agent_key_passphrase": "Agent-1",
    }
    site.run(site.entry(on_behalf_of={"requester": "CORP\\alice", **options}))
    assert site.authority.requests[0][0].startswith(b"-----BEGIN PKCS7-----") and site.memory()["requested"]["requester"] == "CORP\\alice"
    useless = x509.load_der_x509_csr(signing_request.build(agent, purposes=["1.3.6.1.5.5.7.3.2"]))
    Path(site.path("agent.pem")).write_bytes(site.authority.sign(useless).public_bytes(PEM))
    with pytest.raises(UserError, match="is no enrollment agent's certificate"):
        site.run(site.entry(on_behalf_of={"requester": "CORP\\alice", **options}))


# ---- pending, denied, unfit


def test_pending_for_days_then_issued(site: Site):
    site.authority.disposition = "pending"
    first = site.run()
    assert first["changed"] and first["certificates"][0]["status"] == "pending" and first["certificates"][0]["request_id"] == 1
    assert sorted(site.files()) == ["web1.pem.key.new", "web1.pem.request.json"]
    before = site.files()
    for _day in range(3):
        again = site.run()
        assert not again["changed"] and site.files() == before and len(site.authority.requests) == 1
        assert len(again["warnings"]) == 1 and "request 1 waits at" in again["warnings"][0]
    site.authority.issue(1)
    checked = site.run(check=True)
    assert checked["changed"] and site.files() == before
    assert checked["diff"][0]["after"]["serial_number"] != KNOWN_LATER, "the certificate is there already"
    done = site.run()
    assert done["diff"] == checked["diff"] and done["certificates"][0]["status"] == "valid" and site.fits()
    assert sorted(site.files()) == ["web1.pem", "web1.pem.key", "web1.pem.request.json"] and not site.run()["changed"]


def test_old_pair_stays_while_the_renewal_is_pending(site: Site):
    site.run()
    before = site.files()
    site.authority.disposition = "pending"
    changed = site.entry(subject="CN=web1,O=New")
    assert site.run(changed)["certificates"][0]["status"] == "pending"
    assert {name: site.files()[name] for name in ("web1.pem", "web1.pem.key")} == {
        name: before[name] for name in ("web1.pem", "web1.pem.key")
    }
    site.authority.issue(2)
    site.run(changed)
    assert site.fits() and site.certificate().subject.rfc4514_string() == "CN=web1,O=New"


def test_denied_is_said_and_not_asked_again(site: Site):
    site.authority.disposition = "denied"
    first = site.run(site.entry(template="Unpublished"))
    assert first["failed"] and first["certificates"][0]["status"] == "denied"
    assert first["msg"].count("template Unpublished is not published on this authority") == 1 and "0x80094800" in first["msg"]
    for _run in range(2):
        again = site.run(site.entry(template="Unpublished"))
        assert again["failed"] and not again["changed"] and "not asked again" in again["msg"] and len(site.authority.requests) == 1
    site.authority.disposition = "issued"
    assert site.run(site.entry(template="Unpublished", retry_denied=True))["certificates"][0]["status"] == "valid"


def test_denied_request_is_asked_again_once_it_changes(site: Site):
    site.authority.disposition = "denied"
    site.run(site.entry(template="A"))
    site.authority.disposition = "issued"
    assert site.run(site.entry(template="B"))["certificates"][0]["status"] == "valid" and sorted(site.files())[1] == "web1.pem.key"


def test_denied_renewal_with_a_good_certificate_left(site: Site):
    site.run()
    site.authority.disposition = "denied"
    assert site.run(site.entry(template="A"))["failed"]
    again = site.run(site.entry(template="A"))
    assert not again.get("failed") and "the present certificate lasts until" in again["warnings"][0] and site.fits()


def test_denied_by_an_officer_after_days(site: Site):
    site.authority.disposition = "pending"
    site.run()
    site.authority.states[1] = "denied"
    site.authority.denial = "Denied by CORP\\\\officer"
    again = site.run()
    assert again["failed"] and "request 1 was denied" in again["msg"] and not again["changed"]
    site.authority.disposition = "issued"
    assert site.run(site.entry(retry_denied=True))["certificates"][0]["status"] == "valid"


def test_names_that_the_authority_ignores(site: Site):
    site.run()
    before = site.files()
    site.authority.names_from_request = False
    changed = site.entry(subject_alt_names=["DNS:other.corp.example"], template="Fixed")
    first = site.run(changed)
    assert first["failed"] and "lacks the alternative names DNS:other.corp.example, which template Fixed does not take" in first["msg"]
    assert {name: site.files()[name] for name in ("web1.pem", "web1.pem.key")} == {
        name: before[name] for name in ("web1.pem", "web1.pem.key")
    }
    assert not site.run(changed).get("failed") and len(site.authority.requests) == 2, "no serial number is burnt on every run"


def test_issued_by_another_authority(site: Site):
    result = site.run(site.entry(issuer="Other CA"))
    assert result["failed"] and "was issued by CN=Test CA, not Other CA" in result["msg"] and "web1.pem" not in site.files()


def test_anchors(site: Site):
    good, bad = site.folder.parent / "good.pem", site.folder.parent / "bad.pem"
    good.write_bytes(site.authority.root.public_bytes(PEM))
    bad.write_bytes(Authority().root.public_bytes(PEM))
    refused = site.run(site.entry(anchor_path=str(bad)))
    assert refused["failed"] and "leads to none of the trusted roots (CN=Test Root)" in refused["msg"]
    assert site.run(site.entry(anchor_path=str(good)))["certificates"][0]["status"] == "valid", "taken up, not asked again"
    assert len(site.authority.requests) == 1


# ---- clocks and CRLs


def test_not_yet_valid(site: Site):
    site.authority.start = timedelta(hours=2)
    first = site.run()
    assert first["failed"] and "not valid before" in first["msg"] and "set the clocks" in first["msg"] and "web1.pem" not in site.files()


def test_authority_in_another_time(site: Site, monkeypatch: pytest.MonkeyPatch):
    later = datetime.now(timezone.utc) + timedelta(hours=3)
    monkeypatch.setattr(request_session.RequestSession, "now", lambda _self: later - timedelta(hours=3))
    from ansible_collections.certlogon.core.tests.unit.certificates import enrollment_server

    monkeypatch.setattr(enrollment_server._Handler, "date_time_string", lambda _self: f"{later:%a, %d %b %Y %H:%M:%S} GMT")
    result = site.run()
    assert any("its clock is 180 minutes ahead of this machine's" in warning for warning in result["warnings"])


@pytest.mark.parametrize(
    ("crl", "problem"),
    [
        (None, "the server answers HTTP"),
        ({"following": timedelta(hours=-1), "last": timedelta(days=-8)}, "is stale"),
        ({"last": timedelta(hours=1)}, "is not valid before"),
        ("html", "publish it anew"),
        ("foreign", "was not made by the key of CN=Test CA"),
        ({}, None),
    ],
)
def test_crls(site: Site, crl: Any, problem: str | None):
    site.authority.crl_url = f"{site.server.plain_url}/Test.crl"
    now = datetime.now(timezone.utc)
    if crl == "html":
        site.server.files["/Test.crl"] = b"<html>login</html>"
    elif crl == "foreign":
        site.server.files["/Test.crl"] = Authority().crl()
    elif crl is not None:
        site.server.files["/Test.crl"] = site.authority.crl(**{name: now + value for name, value in crl.items()})
    warned = site.run()
    assert warned["certificates"][0]["status"] == "valid" and not warned.get("failed")
    matching = [warning for warning in warned["warnings"] if problem and problem in warning]
    assert len(matching) == (1 if problem else 0), warned["warnings"]
    strict = site.run(site.entry(crl_check="fail"))
    assert bool(strict.get("failed")) == (problem is not None) and not strict["changed"]
    assert site.run(site.entry(crl_check="ignore"))["warnings"] == []


@pytest.mark.parametrize("url", ["ldap:///CN=Test%20CA,CN=CDP,DC=corp,DC=example?certificateRevocationList", "https://ca1/Test.crl"])
def test_crls_that_cannot_be_fetched(site: Site, url: str):
    site.authority.crl_url = url
    first = site.run(site.entry(crl_check="fail"))
    assert first["failed"] and "the certificate is issued, but" in first["msg"] and "web1.pem" not in site.files()
    for expected_change in (True, False):
        warned = site.run()
        assert warned["changed"] == expected_change and not warned.get("failed")
        (warning,) = [warning for warning in warned["warnings"] if "CRL" in warning]
        assert url in warning and "only http://" in warning and "HTTP CDP" in warning
    strict = site.run(site.entry(crl_check="fail"))
    assert strict["failed"] and not strict["changed"]
    assert url in strict["msg"] and "give the CA an HTTP CDP; or set crl_check=warn" in strict["msg"]
    assert [warning for warning in site.run(site.entry(crl_check="ignore"))["warnings"] if "CRL" in warning] == []


def test_a_certificate_without_cdp_has_no_crl_to_check(site: Site):
    assert not site.run(site.entry(crl_check="fail")).get("failed")


def test_revoked_certificates_are_asked_anew(site: Site):
    site.authority.crl_url = f"{site.server.plain_url}/Test.crl"
    site.server.files["/Test.crl"] = site.authority.crl()
    site.run()
    old = site.certificate().serial_number
    site.server.files["/Test.crl"] = site.authority.crl(old, reason=x509.ReasonFlags.key_compromise)
    result = site.run()
    assert result["changed"] and site.certificate().serial_number != old and not site.run()["changed"]
    site.server.files["/Test.crl"] = site.authority.crl(site.certificate().serial_number, reason=x509.ReasonFlags.certificate_hold)
    held = site.run()
    assert held["failed"] and not held["changed"] and "is on hold" in held["msg"]


# ---- a person's hands


@pytest.mark.parametrize("form", ["pem", "der-pkcs7", "pem-pkcs7", "crlf"])
def test_by_file(site: Site, form: str):
    entry = site.entry(request_path=site.path("out.csr"), answer_path=site.path("in.answer"), chain_path=site.path("chain.pem"))
    first = site.run(entry, method="file")
    assert first["certificates"][0]["status"] == "pending" and first["certificates"][0]["request_path"] == site.path("out.csr")
    command = ["openssl", "req", "-in", site.path("out.csr"), "-verify", "-noout"]
    read = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "verify OK" in read.stderr + read.stdout, "on which of the two depends on the version"
    waiting = site.run(entry, method="file")
    assert not waiting["changed"] and "put its answer into" in waiting["warnings"][0]
    issued = site.authority.sign(x509.load_pem_x509_csr(Path(site.path("out.csr")).read_bytes()))
    every = [site.authority.root, issued, site.authority.certificate]
    joined = b"".join(one.public_bytes(PEM) for one in every)
    answer = {
        "pem": joined,
        "crlf": joined.replace(b"\n", b"\r\n"),
        "der-pkcs7": pkcs7.serialize_certificates(every, DER),
        "pem-pkcs7": pkcs7.serialize_certificates(every, PEM),
    }[form]
    Path(site.path("in.answer")).write_bytes(answer)
    done = site.run(entry, method="file")
    assert done["changed"] and site.certificate() == issued and site.fits() and not site.run(entry, method="file")["changed"]
    assert site.authority.requests == []


def test_answers_that_are_none(site: Site):
    entry = site.entry(anchor_path=None)
    site.run(entry, method="file")
    answer = Path(site.path("web1.pem.answer"))
    answer.write_bytes(site.authority.root.public_bytes(PEM))
    assert "holds no certificate of the requested key, but of CN=Test Root" in site.run(entry, method="file")["warnings"][0]
    answer.write_text("see attachment")
    with pytest.raises(UserError, match=r"answer_path .*; save the authority's answer as PEM, DER or PKCS#7"):
        site.run(entry, method="file")
    issued = site.authority.sign(x509.load_pem_x509_csr(Path(site.path("web1.pem.csr")).read_bytes()))
    answer.write_bytes(issued.public_bytes(DER))
    assert "put the authorities' certificates into the answer file too" in site.run(entry, method="file")["msg"]
    root = site.folder.parent / "root.pem"
    root.write_bytes(site.authority.certificate.public_bytes(PEM))
    assert site.run({**entry, "anchor_path": str(root)}, method="file")["certificates"][0]["status"] == "valid"


# ---- mode, content, removal


def test_repairs_without_asking(site: Site):
    entry = site.entry(chain_path=site.path("chain.pem"), pfx_path=site.path("web1.pfx"), pfx_passphrase="a")
    site.run(entry)
    requests = len(site.authority.requests)
    Path(site.path("web1.pem.key")).chmod(0o644)
    Path(site.path("chain.pem")).unlink()
    checked = site.run(entry, check=True)
    assert checked["changed"] and not Path(site.path("chain.pem")).exists()
    assert site.run({**entry, "pfx_passphrase": "b"})["changed"]
    assert stat.S_IMODE(Path(site.path("web1.pem.key")).stat().st_mode) == 0o600 and len(site.authority.requests) == requests
    assert "BEGIN PRIVATE KEY" in openssl("pkcs12", "-in", site.path("web1.pfx"), "-passin", "pass:b", "-nodes")
    assert "CN=Test CA" in openssl("x509", "-in", site.path("chain.pem"), "-noout", "-subject")
    assert not site.run({**entry, "pfx_passphrase": "b"})["changed"]


def test_gathered_is_what_config_accepts(site: Site):
    site.run(site.entry(template="Web"))
    (gathered,) = site.run(site.entry(), state="gathered")["gathered"]
    assert gathered["subject"] == "CN=web1" and gathered["template"] == "Web" and gathered["key"]["type"] == "ec"
    assert not site.run(gathered)["changed"]


def test_deleted(site: Site):
    entry = site.entry(chain_path=site.path("chain.pem"), pfx_path=site.path("p.pfx"), pfx_passphrase="x")
    site.run(entry)
    (site.folder / "other").write_text("mine")
    before = site.files()
    assert site.run(entry, state="deleted", check=True)["changed"] and site.files() == before
    assert site.run(entry, state="deleted")["changed"] and list(site.files()) == ["other"]
    assert not site.run(entry, state="deleted")["changed"]


# ---- disks, races, interruptions


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
@pytest.mark.parametrize("left", [0, 2, 4, 6, 8, 12, 16])
def test_disk_full(site: Site, left: int):
    """The disk has `left` kilobytes when the renewal begins: whatever cannot be written, the old pair stays whole."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(site.folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no right to mount here")
    try:
        entry = site.entry(chain_path=site.path("chain.pem"), key={"type": "rsa"})
        site.run(entry)
        old = site.certificate()
        free = os.statvfs(site.folder).f_bavail * os.statvfs(site.folder).f_frsize
        (site.folder / "ballast").write_bytes(bytes(max(0, free - left * 1024)))
        result = site.run({**entry, "subject": "CN=web1,O=New"})
        assert site.fits(), "key and certificate belong together"
        if result.get("failed"):
            assert site.certificate() == old and "No space left" in result["msg"] and "Make room" in result["msg"]
        (site.folder / "ballast").unlink()
        done = site.run({**entry, "subject": "CN=web1,O=New"})
        assert not done.get("failed") and site.fits() and site.certificate().subject.rfc4514_string() == "CN=web1,O=New"
        assert len(site.authority.requests) <= 3
    finally:
        subprocess.run(["umount", str(site.folder)], check=True)


def test_two_runs_at_once(site: Site):
    site.run()
    results: list[dict[str, Any]] = []

    def renew() -> None:
        results.append(site.run_unchecked(site.entry(subject="CN=web1,O=New")))

    threads = [threading.Thread(target=renew) for _run in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result["changed"] for result in results) == [False, False, False, True]
    assert len(site.authority.requests) == 2 and site.fits()


@pytest.mark.parametrize("step", ["submit", "retrieve", "commit-1", "commit-2", "commit-3"])
def test_interrupted(site: Site, monkeypatch: pytest.MonkeyPatch, step: str):
    """The run dies (no cleaning up) at a step; the next one goes on, and old and new are never mixed for good."""
    from ansible_collections.certlogon.core.plugins.module_utils.certificates import web_enrollment

    site.run(site.entry(chain_path=site.path("chain.pem")))

    class Killed(BaseException):
        pass

    def die(*_arguments: Any, **_options: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        if step.startswith("commit"):
            count = int(step[-1])
            original = Path.replace

            def replace(self: Path, target: Any) -> Any:
                nonlocal count
                # the memory is written before; only the last files of the pair count here
                if str(target).endswith((".key", "web1.pem", "chain.pem")):
                    count -= 1
                    if count == 0:
                        raise Killed
                return original(self, target)

            patched.setattr(Path, "replace", replace)
        else:
            patched.setattr(web_enrollment.WebEnrollment, step, die)
        patched.setattr(file_store.Staged, "__exit__", lambda *_arguments: None)
        with pytest.raises(Killed):
            site.run_unchecked(site.entry(chain_path=site.path("chain.pem"), subject="CN=web1,O=New"))
    for leftover in site.folder.glob("*.tmp"):
        leftover.unlink()
    done = site.run(site.entry(chain_path=site.path("chain.pem"), subject="CN=web1,O=New"))
    assert not done.get("failed") and site.fits() and site.certificate().subject.rfc4514_string() == "CN=web1,O=New"
    assert not site.run(site.entry(chain_path=site.path("chain.pem"), subject="CN=web1,O=New"))["changed"]
    assert len(site.authority.requests) == 2


def test_one_that_fails_does_not_keep_the_others(site: Site):
    site.authority.disposition = "issued"
    entries = [site.entry(path=site.path(f"{name}.pem"), issuer="Test CA" if name != "b" else "Other") for name in "abc"]
    result = site.run(*entries)
    assert result["failed"] and [one["status"] for one in result["certificates"]] == ["valid", "refused", "valid"]
    assert result["authority"]["round_trips"] == 6


# ---- refused before anything is written


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subject_alt_names": ["web1"]}, "subject_alt_names: 'web1' is no alternative name; write its kind before it"),
        ({"subject": "web1"}, "subject: 'web1' is no subject"),
        ({"key": {"size": 1000}}, "key.size: 1000 is no size of an RSA key"),
        ({"key": {"mode": "0644"}}, "mode 0644 would let others read the private key"),
        ({"mode": "rw"}, "mode 'rw' is no octal mode"),
        ({"owner": "nobody-at-all"}, "owner 'nobody-at-all' is not known here"),
        ({"pfx_path": "x.pfx"}, "pfx_passphrase: a PFX holds the private key"),
        ({"csr_content": "no request"}, "csr_content: is neither PEM nor DER nor base64"),
        ({"chain_path": "/nowhere/chain.pem"}, "chain_path: the folder /nowhere is not there"),
        ({"extended_key_usage": ["logon"]}, "extended_key_usage: 'logon' is no purpose"),
        ({"anchor_path": "/nowhere.pem"}, "anchor_path .*is not there"),
        ({"sid": "S-1"}, "sid: 'S-1' is no SID"),
        ({"template": "a\r\nSAN:dns=evil"}, "is no name of a template"),
        ({"request_attributes": {"a": "b\r\nSAN:dns=evil"}}, "has a line break or colon in it"),
        ({"on_behalf_of": {"requester": "alice", "agent_certificate_path": "/x", "agent_key_path": "/x"}}, "is not of the form DOMAIN"),
    ],
)
def test_refused_before_anything(site: Site, change: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        site.run(site.entry(**change))
    assert site.files() == {} and site.server.log == []


def test_refused_without_an_authority(site: Site):
    with pytest.raises(UserError, match=r"url: .*web1.pem has to be requested, but there is no authority"):
        site.run(url=None)
    site.run()
    assert not site.run(url=None)["changed"], "a good certificate needs no authority"
