# SPDX-License-Identifier: GPL-3.0-or-later
"""certificate_request and certificate_info by ansible-playbook, against the lab's authority; openssl, pkilint and curl read back.

The rhythm: check, read back (nothing changed), run, read back, run again (no change), and the predicted difference was true.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ansible_collections.certlogon.core.plugins.module_utils.certificates import keys, signing_request
from ansible_collections.certlogon.core.tests.integration.web_enrollment_lab import CA, ready, reset

URL = "https://ca1.corp.example/certsrv"
MODULE = "certlogon.core.certificate_request"
INFO = "certlogon.core.certificate_info"
OFFICER = "/srv/certlogon/tests/integration/on_ca1/officer.py"
ADMINISTRATORS = "Domain Admins"

Site = Any


@pytest.fixture(scope="module")
def prepared() -> dict[str, Any]:
    return {}


@pytest.fixture
def site(ca_lab: Any, on_ca1: Callable[..., Any], playbook: Callable[..., Any], prepared: dict[str, Any], tmp_path: Path) -> Iterator[Site]:
    if not prepared:
        reset(ca_lab)
        ready(ca_lab, on_ca1)
        playbook([{"certlogon.core.ad_certificate_templates": {"config": templates()}}])
        offered = ["CorpTestWeb", "CorpTestApproved", "EnrollmentAgent"]
        playbook([{"certlogon.core.ad_enrollment_services": {"config": [{"name": CA, "templates": offered}]}}])
        prepared["root"] = root_of(ca_lab)
    found = Enrollment(ca_lab, playbook, tmp_path, prepared["root"])
    yield found
    ca_lab.faults()


@pytest.fixture(scope="module", autouse=True)
def afterwards(ca_lab: Any) -> Iterator[None]:
    yield
    reset(ca_lab)


def templates() -> list[dict[str, Any]]:
    rights = [{"principal": ADMINISTRATORS, "rights": ["read", "enroll"]}]
    return [
        {"name": "CorpTestWeb", "based_on": "WebServer", "permissions": rights},
        {"name": "CorpTestApproved", "based_on": "WebServer", "manager_approval": True, "permissions": rights},
    ]


def root_of(lab: Any) -> bytes:
    base = f"CN=Certification Authorities,CN=Public Key Services,CN=Services,CN=Configuration,{lab.status['base_dn']}"
    (found,) = lab.ldbsearch(base, f"(cn={CA})", "cACertificate")
    text = base64.encodebytes(found["cacertificate"][0]).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n".encode()


class Enrollment:
    """Tasks against the authority, and other people's readers of what they wrote."""

    def __init__(self, lab: Any, playbook: Callable[..., Any], folder: Path, root: bytes) -> None:
        self.lab, self._playbook = lab, playbook
        self.folder = folder / "certificates"
        self.folder.mkdir()
        self.root = folder / "root.pem"
        self.root.write_bytes(root)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def entry(self, **changes: Any) -> dict[str, Any]:
        entry = {
            "path": self.path("web1.pem"),
            "subject": "CN=web1.corp.example",
            "subject_alt_names": ["DNS:web1.corp.example"],
            "template": "CorpTestWeb",
            "anchor_path": str(self.root),
            "key": {"type": "rsa"},
            **changes,
        }
        return {name: value for name, value in entry.items() if value is not None}

    def options(self, account: str = "domain.admin", **changes: Any) -> dict[str, Any]:
        who = self.lab.account(account)
        return {"url": URL, "username": who["upn"], "password": who["password"], "ca_path": str(self.root), **changes}

    def run(
        self, *entries: Mapping[str, Any], account: str = "domain.admin", check: bool = False, fails: bool = False, **changes: Any
    ) -> Any:
        options = {name: value for name, value in self.options(account, **changes).items() if value is not None}
        done = self._playbook([{MODULE: {"config": list(entries or (self.entry(),)), **options}}], check=check, fails=fails)
        assert self.lab.account(account)["password"] not in done.output
        return done.last

    def info(self, **options: Any) -> Any:
        return self._playbook([{INFO: options}]).last

    def officer(self, what: str, request: int) -> str:
        return str(self.lab.run("ca1", "env", "PYTHONPATH=/srv/certlogon", "/usr/bin/python3", OFFICER, what, str(request)).stdout)

    def files(self) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(self.folder.iterdir())}

    def text(self, name: str = "web1.pem") -> str:
        return openssl("x509", "-in", self.path(name), "-noout", "-text", "-nameopt", "RFC2253")

    def verify(self, name: str = "web1.pem", key: str = "web1.pem.key", passphrase: str = "") -> None:
        assert openssl("verify", "-CAfile", str(self.root), self.path(name)).strip().endswith("OK")
        assert openssl("x509", "-in", self.path(name), "-noout", "-pubkey") == openssl(
            "pkey", "-in", self.path(key), "-pubout", "-passin", f"pass:{passphrase}"
        )


def openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- the rhythm, by every way of signing in


@pytest.mark.parametrize("auth", ["negotiate", "kerberos", "ntlm"])
def test_check_run_again(site: Site, auth: str):
    before = site.lab.metrics()
    checked = site.run(check=True, auth=auth)
    assert checked.changed and site.files() == {} and checked["certificates"][0]["status"] == "due"
    assert site.lab.metrics().get("iis_requests") == before.get("iis_requests"), "check mode does not even ask"
    done = site.run(auth=auth)
    assert done.changed and done["certificates"][0]["status"] == "valid"
    # the first one is answered 401; NTLM takes one more; then one to submit and one to fetch
    assert done["authority"] == {"sign_ins": 1, "round_trips": 4 if auth == "ntlm" else 3}
    site.verify()
    text = site.text()
    assert "Subject: CN=web1.corp.example" in text and "DNS:web1.corp.example" in text and "TLS Web Server Authentication" in text
    predicted, actual = checked["diff"][0]["after"], done["diff"][0]["after"]
    assert all(actual[name] == value for name, value in predicted.items() if value != "known after apply"), (predicted, actual)
    assert predicted["serial_number"] == "known after apply" and actual["serial_number"].lower() in text.replace(":", "")
    before_again = site.files()
    again = site.run(auth=auth)
    assert not again.changed and site.files() == before_again and "authority" not in again.result


def test_all_files_and_a_session_for_all(site: Site):
    entries = [
        site.entry(
            path=site.path(f"web{number}.pem"), chain_path=site.path(f"chain{number}.pem"), pfx_path=site.path(f"web{number}.pfx"),
            pfx_passphrase="Pfx-1", key={"type": "rsa", "passphrase": "Key-1"} if number == 2 else {"type": "rsa"},
        )
        for number in range(3)
    ]  # fmt: skip
    done = site.run(*entries, auth="ntlm")
    assert done["authority"] == {"sign_ins": 1, "round_trips": 2 * 3 + 2}
    for number in range(3):
        site.verify(f"web{number}.pem", f"web{number}.pem.key", "Key-1")
        assert openssl("pkcs12", "-in", site.path(f"web{number}.pfx"), "-passin", "pass:Pfx-1", "-nokeys").count("BEGIN CERTIFICATE") == 2
    assert not site.run(*entries).changed


def test_users_certificate_from_the_directory(site: Site):
    entry = site.entry(subject=None, subject_alt_names=None, template="User")
    who = "alice.andersson"
    done = site.run(entry, account=who)
    assert done["certificates"][0]["status"] == "valid"
    found = site.info(paths=[site.path("web1.pem")], anchor_path=str(site.root), crl_check=True)["certificates"][0]
    assert f"UPN:{who}@corp.example" in found["subject_alt_names"] and found["sid"].startswith("S-1-5-21-")
    assert found["chain"] == {"trusted": True, "problems": [], "above": [f"CN={CA},DC=corp,DC=example"]}
    assert found["revocation"]["status"] == "good" and found["template"] == {"name": "User"}
    assert not site.run(entry, account=who).changed


def test_given_request(site: Site):
    key = keys.generate(keys.KeyKind("rsa", size=2048))
    csr = signing_request.pem(signing_request.build(key, subject_text="CN=dc9", names=["DNS:dc9.corp.example"]))
    entry = {"path": site.path("dc9.pem"), "csr_content": csr, "template": "CorpTestWeb", "anchor_path": str(site.root)}
    assert site.run(entry).changed and not site.run(entry).changed
    assert "DNS:dc9.corp.example" in site.text("dc9.pem")


def test_on_behalf_of_another(site: Site):
    agent = {"path": site.path("agent.pem"), "template": "EnrollmentAgent", "anchor_path": str(site.root)}
    site.run(agent)
    options = {"requester": "CORP\\alice.andersson", "agent_certificate_path": agent["path"], "agent_key_path": site.path("agent.pem.key")}
    entry = site.entry(subject=None, subject_alt_names=None, template="SmartcardUser", on_behalf_of=options)
    site._playbook([{"certlogon.core.ad_enrollment_services": {"config": [{"name": CA, "templates": ["SmartcardUser"]}]}}])
    done = site.run(entry)
    assert done["certificates"][0]["status"] == "valid" and "othername: UPN::alice.andersson@corp.example" in site.text()
    assert not site.run(entry).changed


def test_linter_finds_no_error(site: Site):
    pytest.importorskip("pkilint")
    site.run()
    program = Path(os.environ.get("VIRTUAL_ENV") or Path(__import__("sys").executable).parents[1]) / "bin/lint_pkix_cert"
    judged = subprocess.run([str(program), "lint", "-s", "ERROR", site.path("web1.pem")], capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout


def test_certsrv_gets_the_same(site: Site, monkeypatch: pytest.MonkeyPatch):
    """The client from PyPI and this one, for one request each with the same key: the same certificate but for number and dates."""
    certsrv = pytest.importorskip("certsrv")
    pytest.importorskip("requests_ntlm")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)  # both would go before the CA that certsrv is given
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    key = keys.generate(keys.KeyKind("rsa", size=2048))
    csr = signing_request.pem(signing_request.build(key, subject_text="CN=x", names=["DNS:x.corp.example"]))
    who = site.lab.account("domain.admin")
    theirs = certsrv.Certsrv("ca1.corp.example", who["netbios"], who["password"], auth_method="ntlm", cafile=str(site.root))
    other = x509.load_pem_x509_certificate(theirs.get_cert(csr, "CorpTestWeb"))
    site.run({"path": site.path("x.pem"), "csr_content": csr, "template": "CorpTestWeb"})
    mine = x509.load_pem_x509_certificate(Path(site.path("x.pem")).read_bytes())
    assert mine.subject == other.subject and list(mine.extensions) == list(other.extensions) and mine.public_key() == other.public_key()


# ---- what changes a request, and what does not


def test_changes_and_window(site: Site):
    site.run()
    serial = site.text().split("Serial Number:")[1].split("Signature")[0]
    changed = site.entry(subject_alt_names=["DNS:web1.corp.example", "IP:10.83.0.77"])
    assert "subject_alt_names changes" in site.run(changed, check=True)["certificates"][0]["reason"]
    assert site.run(changed).changed and "IP Address:10.83.0.77" in site.text() and serial not in site.text()
    site.verify()
    assert not site.run(changed).changed


# ---- bad days


def test_pending_for_days(site: Site):
    entry = site.entry(template="CorpTestApproved")
    first = site.run(entry)
    assert first.changed and first["certificates"][0]["status"] == "pending"
    number = first["certificates"][0]["request_id"]
    before = site.files()
    for language in ("en", "de"):
        site.lab.faults(certsrv_language=language)
        again = site.run(entry)
        assert not again.changed and site.files() == before and again["certificates"][0]["request_id"] == number
        assert again["certificates"][0]["status"] == "pending"
    site.lab.faults()
    site.officer("issue", number)
    done = site.run(entry)
    assert done.changed and done["certificates"][0]["status"] == "valid"
    site.verify()
    assert not site.run(entry).changed


@pytest.mark.parametrize("language", ["en", "de"])
def test_denied_after_days(site: Site, language: str):
    entry = site.entry(template="CorpTestApproved", subject=f"CN=denied-{language}")
    site.lab.faults(certsrv_language=language)
    number = site.run(entry)["certificates"][0]["request_id"]
    site.officer("deny", number)
    denied = site.run(entry, fails=True)
    assert f"request {number} was denied" in denied.msg and denied["certificates"][0]["status"] == "denied"
    assert not denied.changed


@pytest.mark.parametrize("language", ["en", "de"])
def test_pages_in_another_language(site: Site, language: str):
    site.lab.faults(certsrv_language=language)
    assert site.run(site.entry(subject=f"CN={language}"))["certificates"][0]["status"] == "valid"


@pytest.mark.parametrize("language", ["en", "de"])
def test_no_right_and_no_template(site: Site, language: str):
    site.lab.faults(certsrv_language=language)
    refused = site.run(account="plain.user", fails=True)
    assert "plain.user@corp.example lacks the right Enroll on template CorpTestWeb" in refused.msg and "0x80094012" in refused.msg
    (site.folder / "web1.pem.request.json").unlink()
    unpublished = site.run(site.entry(template="CodeSigning"), fails=True)
    assert "template CodeSigning is not published on this authority" in unpublished.msg and "0x80094800" in unpublished.msg
    again = site.run(site.entry(template="CodeSigning"), fails=True)
    assert "not asked again" in again.msg and list(site.files()) == ["web1.pem.request.json"]


def test_wrong_password_and_unknown_root(site: Site):
    assert "does not let" in site.run(password="Wrong-1", auth="ntlm", fails=True).msg
    assert "could not sign in" in site.run(password="Wrong-1", auth="kerberos", fails=True).msg
    assert "TLS failed" in site.run(ca_path=site.lab.files["ca_bundle"], fails=True).msg
    assert "no connection" in site.run(url="https://ca1.corp.example:4443/certsrv", fails=True).msg
    assert "there is no web enrolment at this address" in site.run(url="https://ca1.corp.example/elsewhere", fails=True).msg
    assert "Basic is not switched on" in site.run(auth="basic", fails=True).msg
    assert "web1.pem" not in site.files() and site.run()["certificates"][0]["status"] == "valid"


@pytest.mark.parametrize(
    ("fault", "message"), [({"certsrv_status": 403}, "may not use the web enrolment"), ({"authority_unreachable": True}, "start CertSvc")]
)
def test_authority_out_of_order(site: Site, fault: dict[str, Any], message: str):
    site.lab.faults(**fault)
    assert message in site.run(fails=True).msg
    site.lab.faults()
    assert site.run()["certificates"][0]["status"] == "valid"


def test_answer_lost_on_the_way(site: Site):
    site.lab.faults(certsrv_drop=True)
    assert "no connection" in site.run(fails=True).msg
    site.lab.faults()
    site.run()
    site.verify()


def test_clock_of_the_authority(site: Site):
    site.lab.faults(clock_offset=3 * 3600)
    ahead = site.run(fails=True)
    assert "is issued, but not valid before" in ahead.msg and "set the clocks" in ahead.msg and "web1.pem" not in site.files()


def test_two_runs_at_once(site: Site):
    site.run()
    changed = site.entry(subject="CN=web1,O=New")
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(site.run(changed))) for _run in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.changed for result in results) == [False, True]
    site.verify()


# ---- where certificates are


def test_domain_controllers_and_web_servers(site: Site):
    hosts = [{"host": "dc1.corp.example"}, {"host": "dc1.corp.example", "starttls": "ldap"}, {"host": "ca1.corp.example", "port": 443}]
    done = site.info(endpoints=hosts, anchor_path=str(site.root))
    ldaps, starttls, web = done["certificates"]
    shown = subprocess.run(
        ["openssl", "s_client", "-connect", "dc1.corp.example:636"], input="", capture_output=True, text=True, check=False
    ).stdout
    serial = x509.load_pem_x509_certificate(shown[shown.index("-----BEGIN") :].encode()).serial_number
    assert int(ldaps["serial_number"], 16) == serial and ldaps["sha256"] == starttls["sha256"] and ldaps["name_matches"]
    assert not ldaps["chain"]["trusted"] and web["chain"]["trusted"] and web["name_matches"] and web["tls_version"].startswith("TLSv1.")


def test_export_is_accepted(site: Site):
    site.run()
    gathered = site._playbook([{MODULE: {"config": [site.entry()], "state": "gathered", **site.options()}}]).last["gathered"]
    again = site.run(*json.loads(json.dumps(gathered)))
    assert not again.changed and re.fullmatch(r"CN=.*", gathered[0]["issuer"])
