# SPDX-License-Identifier: GPL-3.0-or-later
"""The web enrollment's plan, by tables; and the whole task against the stand-in's handlers, with an authority that does as it is told."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.certlogon.core.plugins.module_utils.adcs import web_enrollment_state
from ansible_collections.certlogon.core.plugins.module_utils.adcs.powershell import PowerShellSession
from ansible_collections.certlogon.core.plugins.module_utils.adcs.web_enrollment import KNOWN_LATER, SITE, WebEnrollment, planned
from ansible_collections.certlogon.core.plugins.module_utils.adcs.web_enrollment_state import MARK, Held, Host, moment
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from lab.windows_ca import scripts
from lab.windows_ca.iis_config import CERTENROLL, CERTSRV, Configuration
from lab.windows_ca.machine import Machine, Service

NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
KEY = ec.generate_private_key(ec.SECP256R1())
FQDN = "ca1.corp.example"
CA = "Corp CA"
CA_SUBJECT = "CN=Corp CA,DC=corp,DC=example"

AUTHORITY_CERTIFICATE = Held("CA", CA_SUBJECT, CA, frozenset(), NOW, NOW + timedelta(3650), True, True, None, True, CA_SUBJECT)
BOUND = Held("B0", CA_SUBJECT, CA, frozenset({FQDN}), NOW - timedelta(10), NOW + timedelta(300), True, True, "Machine")
BARE = Host(FQDN, NOW, timedelta(), {"ADCS-Web-Enrollment": False}, CA, [AUTHORITY_CERTIFICATE])
GOOD = replace(
    BARE,
    features=dict.fromkeys(("ADCS-Web-Enrollment", "Web-Windows-Auth", "Web-Scripting-Tools"), True),
    certificates=[AUTHORITY_CERTIFICATE, BOUND],
    configured=True,
    bound=BOUND,
    http=True,
    require_ssl=True,
    windows=True,
    token_checking="Require",
    providers=["Negotiate", "NTLM"],
    double_escaping=True,
)


def entry(**options: Any) -> dict[str, Any]:
    return {"site": SITE, **options}


def held(**changes: Any) -> Held:
    return replace(BOUND, thumbprint="C1", **changes)


# ---- tables


@pytest.mark.parametrize(
    ("state", "options", "host"),
    [
        ("merged", {}, GOOD),
        ("replaced", {}, GOOD),
        ("merged", {"certificate": {"template": "machine", "dns_names": ["CA1.corp.example"]}}, GOOD),
        ("merged", {}, replace(GOOD, token_checking="None", require_ssl=False)),
        ("merged", {"require_ssl": False}, replace(GOOD, require_ssl=False, double_escaping=False)),
        ("replaced", {}, replace(GOOD, bound=replace(BOUND, template=None))),
        ("replaced", {"certificate": {"thumbprint": "b0"}}, replace(GOOD, bound=replace(BOUND, issuer="CN=Others", not_after=NOW))),
        ("replaced", {}, replace(GOOD, bound=replace(BOUND, names=frozenset({FQDN, "ca1"})))),
        ("replaced", {"certificate": {"renew_before": 299}}, GOOD),
        ("deleted", {}, BARE),
    ],
)
def test_nothing_to_do(state: str, options: dict[str, Any], host: Host) -> None:
    assert planned(entry(**options), state, host)[0] is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (replace(GOOD, require_ssl=False), {"SslFlags": "Ssl"}),
        (replace(GOOD, token_checking="Allow"), {"TokenChecking": "Require"}),
        (replace(GOOD, providers=["NTLM"]), {"Providers": ["Negotiate", "NTLM"]}),
        (replace(GOOD, windows=False), {"Windows": True}),
        (replace(GOOD, anonymous=True), {"Anonymous": False}),
        (replace(GOOD, double_escaping=False), {"DoubleEscaping": True}),
        (replace(GOOD, certenroll_requires_ssl=True), {"CertEnrollSslFlags": "None"}),
        (replace(GOOD, basic=True, features={**GOOD.features, "Web-Basic-Auth": True}), {"Basic": False}),
    ],
)
def test_one_setting(host: Host, expected: dict[str, Any]) -> None:
    change = planned(entry(), "replaced", host)[0]
    assert change is not None and change.action == "update"
    steps = change.details
    assert steps.settings == expected
    assert not (steps.features or steps.install or steps.request or steps.bind or steps.http)
    before, after = change.before or {}, change.after or {}
    assert [name for name in {**before, **after} if before.get(name) != after.get(name)], "the diff shows it"


@pytest.mark.parametrize(
    "bad",
    [
        {"not_after": NOW + timedelta(30)},
        {"not_before": NOW + timedelta(1)},
        {"issuer": "CN=Other CA"},
        {"names": frozenset({"ca2.corp.example"})},
        {"private_key": False},
        {"server_authentication": False},
        {"template": "WebServer"},
    ],
)
def test_a_certificate_that_is_not_good_is_requested_again(bad: dict[str, Any]) -> None:
    other = replace(BOUND, **bad)
    host = replace(GOOD, bound=other, certificates=[AUTHORITY_CERTIFICATE, other])
    change = planned(entry(), "replaced", host)[0]
    assert change is not None and change.after is not None
    assert change.after["certificate"] == {"template": "Machine", "dns_names": [FQDN], "thumbprint": KNOWN_LATER}
    assert change.details.request and change.details.settings == {}
    waiting = held()
    change = planned(entry(), "replaced", replace(host, certificates=[*host.certificates, waiting]))[0]
    assert change is not None and change.after is not None
    assert change.after["certificate"]["thumbprint"] == "C1", "what an interrupted run has left is used"
    assert (change.details.request, change.details.bind) == (False, "C1")


def test_bare_host() -> None:
    change, warnings = planned(entry(), "merged", BARE)
    assert change is not None and change.action == "create" and change.after is not None and not warnings
    assert change.after["certificate"]["thumbprint"] == KNOWN_LATER and change.after["extended_protection"] == "required"
    steps = change.details
    assert steps.features == ["ADCS-Web-Enrollment", "Web-Windows-Auth", "Web-Scripting-Tools"]
    assert steps.install and steps.request and steps.http
    assert steps.settings["SslFlags"] == "Ssl" and steps.settings["Providers"] == ["Negotiate", "NTLM"] and "Basic" not in steps.settings


def test_pending_request_is_taken_up() -> None:
    host = replace(GOOD, bound=None, certificates=[AUTHORITY_CERTIFICATE], pending={"AA": "somebody's", "BB": f"{MARK}Machine"})
    change = planned(entry(), "merged", host)[0]
    assert change is not None and change.details.request and change.details.pending == "BB"
    change = planned(entry(certificate={"template": "Other"}), "merged", host)[0]
    assert change is not None and change.details.pending is None


def test_merged_renews_by_the_template_that_is_bound() -> None:
    old = replace(BOUND, template="CorpWeb", not_before=NOW - timedelta(360), not_after=NOW + timedelta(5))
    host = replace(GOOD, bound=old, certificates=[old])
    change = planned(entry(), "merged", host)[0]
    assert change is not None and change.details.wanted.template == "CorpWeb"
    change = planned(entry(), "replaced", host)[0]
    assert change is not None and change.details.wanted.template == "Machine"


def test_warnings() -> None:
    warnings = planned(entry(extended_protection="allowed"), "merged", replace(GOOD, authority=None, skew=timedelta(minutes=-9)))[1]
    assert [
        word for word in ("no certification authority", "9 minutes behind", "relayed") if not any(word in line for line in warnings)
    ] == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"basic_authentication": True, "require_ssl": False}, "in clear"),
        ({"certificate": {"renew_before": 310}}, "310 days, but certificates of template Machine are issued for 310 days only"),
        ({"certificate": {"thumbprint": "DD"}}, r"no certificate DD in the store LocalMachine\\My of ca1"),
    ],
)
def test_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        planned(entry(**options), "replaced", GOOD)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"providers": []}, "nobody could sign in"),
        ({"certificate": {"renew_before": 0}}, "at least 1"),
        ({"certificate": {"dns_names": []}}, "leave it out"),
        ({"certificate": {"dns_names": ["a b"]}}, "no DNS name"),
    ],
)
def test_checked_before_the_host_is_asked(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        WebEnrollment(NOBODY).check({"config": [entry(**options)]})


def test_rendered() -> None:
    shown = WebEnrollment(NOBODY).render({"config": [entry(providers=["kerberos"])]})[0]
    assert shown["certificate"] == {"template": "Machine", "renew_before": 30} and shown["providers"] == ["kerberos"]


NOBODY = PowerShellSession(lambda name, arguments, *_runas: {}, print)


# ---- what the host answers


def answer(**changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "fqdn": FQDN,
        "now": "2026-11-22T12:00:00.1234567Z",
        "features": {"ADCS-Web-Enrollment": True},
        "authority": CA,
        "certificates": [],
        "pending": [],
        "begun": False,
        "service": "Running",
        "iis": {
            "bindings": {"protocol": "http", "information": "*:80:", "thumbprint": ""},
            "certsrv": {
                "ssl_flags": "264",
                "anonymous": "False",
                "basic": False,
                "windows": True,
                "token_checking": "2",
                "providers": "Negotiate",
            },
            "certenroll": {"ssl_flags": "None", "double_escaping": True},
        },
    }
    return {**known, **changes}


def test_what_powershell_makes_of_values() -> None:
    """A list of one is one; flags and enumerations may come as numbers, truth values as text."""
    host = web_enrollment_state.parse(answer(), NOW)
    assert host.require_ssl and host.token_checking == "Require" and host.providers == ["Negotiate"] and host.http and not host.anonymous
    assert host.skew == timedelta(microseconds=123456)
    assert moment("2026-11-22T12:00:00Z") == NOW


@pytest.mark.parametrize(
    "broken", [{"now": "yesterday"}, {"features": None}, {"certificates": [{}]}, {"iis": {"bindings": [], "certsrv": {"ssl_flags": 0}}}]
)
def test_an_answer_that_is_not_understood(broken: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="not understood"):
        web_enrollment_state.parse(answer(**broken), NOW)


def test_odd_certificates_in_the_store_are_passed_over() -> None:
    odd = {"der": base64.b64encode(b"nonsense").decode(), "private_key": True, "friendly_name": ""}
    assert web_enrollment_state.parse(answer(certificates=[odd]), NOW).certificates == []


# ---- the whole task, on the stand-in


def issue(request: bytes | None, template: str, days: int = 365) -> bytes:
    issuer = x509.Name.from_rfc4514_string(CA_SUBJECT)
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder().issuer_name(issuer).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(minutes=10)).not_valid_after(now + timedelta(days=days))
    if request is None:
        builder = builder.subject_name(issuer).public_key(KEY.public_key())
        return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)
    builder = builder.subject_name(x509.Name([])).public_key(x509.load_der_x509_csr(request).public_key())
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(FQDN)]), critical=False)
    builder = builder.add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    name = template.encode("utf-16-be")
    kind = x509.ObjectIdentifier(web_enrollment_state.TEMPLATE_NAME)
    builder = builder.add_extension(x509.UnrecognizedExtension(kind, bytes([0x1E, len(name)]) + name), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


@dataclass
class Disposition:
    request_id: int
    status: str
    hresult: int = 0
    message: str = ""
    certificate: bytes | None = None


@dataclass
class Authority:
    configured: bool = True
    mode: str = "issued"
    asked: list[tuple[str, str]] = field(default_factory=list)
    last: bytes = b""

    def identify(self, account: str) -> str:
        return account

    def submit(self, request: bytes, attributes: dict[str, str], caller: str) -> Disposition:
        self.asked.append((caller, attributes["CertificateTemplate"]))
        self.last = request
        return self.retrieve(len(self.asked), caller)

    def retrieve(self, request_id: int, caller: str) -> Disposition:
        if self.mode == "issued":
            return Disposition(request_id, "issued", certificate=issue(self.last, self.asked[-1][1]))
        if self.mode == "pending":
            return Disposition(request_id, "pending", message="Taken Under Submission")
        text = "The permissions on the certificate template do not allow the current user to enroll for this type of certificate."
        return Disposition(request_id, "denied", 0x80094012, text)


@dataclass
class StandIn:
    machine: Machine
    authority: Authority
    rounds: list[str] = field(default_factory=list)

    def invoke(self, name: str, arguments: Mapping[str, Any], *_runas: Any) -> Mapping[str, Any]:
        if name == "ansible.windows.win_feature":
            self.rounds.append("win_feature")
            self.machine.features.update(dict.fromkeys([*arguments["name"], "Web-Server"], True))
            Configuration(self.machine).begin()
            return {"changed": True, "reboot_required": bool(self.machine.faults.get("reboot"))}
        script = scripts.recognise(arguments["script"])
        assert script is not None
        self.rounds.append(script.name)
        bound = script.parameters.bind(arguments["parameters"], {})
        try:
            return {"result": scripts.HANDLERS[script.name](self.machine, self.authority, bound, "CORP\\administrator")}
        except scripts.PowerShellError as error:
            return {"failed": True, "error": [{"exception": {"message": str(error), "hresult": error.hresult}}]}

    def task(self, state: str = "merged", check_mode: bool = False, **options: Any) -> dict[str, Any]:
        self.rounds.clear()
        arguments = {"state": state, **({} if state == "gathered" else {"config": [options]})}
        checked = ArgumentSpecValidator(WebEnrollment.argument_spec(), **WebEnrollment.rules()).validate(arguments)
        assert not checked.error_messages, checked.error_messages
        warnings: list[str] = []
        resource = WebEnrollment(PowerShellSession(self.invoke, warnings.append))
        result = run(resource, checked.validated_parameters, check_mode=check_mode, warn=warnings.append)
        return {**result, "warnings": warnings, **resource.returns(checked.validated_parameters)}


@pytest.fixture
def host(tmp_path: Path) -> StandIn:
    scripts.load_handlers()
    machine = Machine(tmp_path)
    machine.services["CertSvc"] = Service("CertSvc", "Active Directory Certificate Services", "auto", "running")
    thumbprint = machine.add_to_store(issue(None, ""), "the CA's key")
    root = r"HKLM\SYSTEM\CurrentControlSet\Services\CertSvc\Configuration"
    machine.registry.set(root, "Active", CA, "REG_SZ")
    machine.registry.set(rf"{root}\{CA}", "CACertHash", [" ".join(re.findall("..", thumbprint.lower()))], "REG_MULTI_SZ")
    return StandIn(machine, Authority())


STATE = "web_enrollment_state"


def test_rhythm(host: StandIn) -> None:
    predicted = host.task(check_mode=True)
    assert predicted["changed"] and predicted["changes"] == [{"name": SITE, "action": "create"}] and host.rounds == [STATE]
    assert predicted["diff"][0]["after"]["certificate"]["thumbprint"] == KNOWN_LATER
    assert not host.machine.iis and not host.authority.asked, "check mode writes nothing"
    done = host.task()
    assert done["changed"] and not done.get("failed"), done
    steps = ["win_feature", *(f"web_enrollment_{name}" for name in ("install", "certificate", "binding", "settings"))]
    assert host.rounds == [STATE, *steps, STATE]
    assert host.authority.asked == [("CORP\\CA1$", "Machine")], "the computer asks, whoever runs the task"
    settings = Configuration(host.machine).settings(CERTSRV)
    assert (settings["sslFlags"], settings["tokenChecking"], settings["providers"]) == ("Ssl", "Require", ["Negotiate", "NTLM"])
    assert not settings["basic"] and not settings["anonymous"] and Configuration(host.machine).settings(CERTENROLL)["allowDoubleEscaping"]
    assert Configuration(host.machine).certificate_of(443) == done["certificate"]["thumbprint"] and done["certificate"]["days_left"] == 364
    again = host.task()
    assert not again["changed"] and host.rounds == [STATE]
    gathered = host.task("gathered")["gathered"]
    assert not host.task("replaced", **gathered[0])["changed"]
    gone = host.task("deleted")
    assert gone["changed"] and not host.task("deleted")["changed"]


def test_options_both_ways(host: StandIn) -> None:
    host.task()
    for options in (
        {"require_ssl": False, "extended_protection": "none"},
        {"basic_authentication": True, "require_ssl": True},
        {"providers": ["kerberos"]},
        {"providers": ["ntlm", "negotiate"], "basic_authentication": False},
        {"crl_over_http": False},
        {"crl_over_http": True, "double_escaping": False},
    ):
        done = host.task(**options)
        assert done["changed"] and not done.get("failed"), (options, done)
        assert not host.task(**options)["changed"], options
    done = host.task("replaced")
    assert done["changed"] and len(host.authority.asked) == 1, "the certificate stays through all of it"


@pytest.mark.parametrize("script", ["install", "certificate", "binding", "settings"])
def test_taken_up_again(host: StandIn, script: str) -> None:
    host.machine.faults = {"web_enrollment_dies": f"web_enrollment_{script}"}
    died = host.task()
    assert died["failed"] and "aborted" in died["msg"]
    host.machine.faults = {}
    done = host.task()
    assert not done.get("failed") and done["changed"] == (script != "settings")
    assert not host.task()["changed"] and len(host.authority.asked) == 1, "nothing is requested twice"


def test_feature_wants_a_restart(host: StandIn) -> None:
    host.machine.faults = {"reboot": True}
    assert "win_reboot" in host.task()["msg"]
    assert host.rounds == [STATE, "win_feature"]


def test_pending_then_issued(host: StandIn) -> None:
    host.authority.mode = "pending"
    waits = host.task()
    assert waits["failed"] and "waits for approval" in waits["msg"]
    assert "waits for approval" in host.task()["msg"] and len(host.authority.asked) == 1
    host.authority.mode = "issued"
    assert host.task()["changed"] and not host.task()["changed"] and len(host.authority.asked) == 1


def test_denied(host: StandIn) -> None:
    host.authority.mode = "denied"
    denied = host.task()
    assert "0x80094012" in denied["msg"] and "needs the rights Read and Enroll on the template" in denied["msg"]
    host.machine.services["CertSvc"].state = "stopped"
    assert "CertSvc does not run" in host.task()["msg"]


def test_no_authority(host: StandIn) -> None:
    host.machine.registry.delete(r"HKLM\SYSTEM\CurrentControlSet\Services\CertSvc\Configuration", "Active")
    host.authority.configured = False
    predicted = host.task(check_mode=True)
    assert predicted["changed"] and "no certification authority" in predicted["warnings"][0]
    assert "install it first (adcs_authority)" in host.task()["msg"] and host.rounds == [STATE]


def test_a_certificate_of_another_template_than_asked_is_not_bound(host: StandIn) -> None:
    host.authority.asked.append(("", ""))
    done = host.task(certificate={"dns_names": ["pki.corp.example"]})
    assert "does not name pki.corp.example" in done["msg"] and Configuration(host.machine).certificate_of(443) is None
