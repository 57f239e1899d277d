# SPDX-License-Identifier: GPL-3.0-or-later
"""The certification authority of a Windows host: read, planned, installed and configured by thin scripts."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.adcs import authority_plan as planning
from ansible_collections.certlogon.core.plugins.module_utils.adcs import authority_words as words
from ansible_collections.certlogon.core.plugins.module_utils.adcs.authority_plan import Known, Local, Work
from ansible_collections.certlogon.core.plugins.module_utils.adcs.authority_state import State
from ansible_collections.certlogon.core.plugins.module_utils.adcs.powershell import (
    Credential,
    HostResource,
    PowerShellSession,
    with_remedy,
)
from ansible_collections.certlogon.core.plugins.module_utils.certificates import certificate as certificates
from ansible_collections.certlogon.core.plugins.module_utils.certificates import crl as crls
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import crypto, x509
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Words

FEATURE = "ADCS-Cert-Authority"
INSTALLED, WAITS_FOR_CERTIFICATE = 0, 398
"""What Install-AdcsCertificationAuthority answers as ErrorId when it has done its part."""

_REMEDIES = {
    "0x80070005": "install_username must be an Enterprise Admin for an enterprise CA, an administrator of the host for a stand-alone one",
    "0x8007052e": "install_username or install_password is wrong",
    "0x8007054b": "the host cannot reach a domain controller; check its DNS and its domain membership",
    "0x80072098": "the CA's certificate is published in the directory by an Enterprise Admin; give install_username and install_password",
    "0x8009000f": "somebody else's installation left a key of this CA on the host; see certutil -key, and remove it if nobody needs it",
    "0x800700b7": "what somebody else's installation left is in the way; take it away: Uninstall-AdcsCertificationAuthority -Force",
    "0x80070522": "the account that Ansible logs on with must be an administrator of the host",
    "0x800b0109": "the root is not trusted on the host; put its certificate into certificate_path too, or publish it in the directory",
    "0x800b010a": "a parent's certificate is missing on the host; put all of them into certificate_path",
    "0x80092013": "the parent's CRL cannot be reached from the host; publish it where its certificates say",
    "0x80092012": "the parent publishes no CRL that the host finds; publish it where its certificates say",
}

_LOCATION = {"url": {"type": "str", "required": True}}
_RESTRICTED = {"templates": {"type": "list", "elements": "str"}, "allow": {"type": "bool", "default": True}}


class CertificationAuthority(HostResource[Known]):
    states = ("merged", "replaced", "gathered", "rendered")
    options = {
        "name": {"type": "str", "required": True},
        "type": {"type": "str", "choices": list(words.TYPES)},
        "distinguished_name_suffix": {"type": "str"},
        "key": {
            "type": "dict",
            "no_log": False,
            "options": {
                "algorithm": {"type": "str", "choices": ["RSA", "ECDSA"]},
                "size": {"type": "int"},
                "provider": {"type": "str"},
            },
        },
        "hash": {"type": "str", "choices": ["SHA256", "SHA384", "SHA512"]},
        "validity": {"type": "str"},
        "database_path": {"type": "str"},
        "log_path": {"type": "str"},
        "capolicy": {
            "type": "dict",
            "options": {
                "content": {"type": "str"},
                "policies": {
                    "type": "list",
                    "elements": "dict",
                    "options": {
                        "name": {"type": "str", "required": True},
                        "oid": {"type": "str", "required": True},
                        "notice": {"type": "str"},
                        "url": {"type": "str"},
                    },
                },
                "renewal_key_size": {"type": "int", "no_log": False},
                "renewal_validity": {"type": "str"},
                "crl_period": {"type": "str"},
                "crl_delta_period": {"type": "str"},
                "load_default_templates": {"type": "bool"},
                "alternate_signature_algorithm": {"type": "bool"},
                "path_length": {"type": "int"},
            },
        },
        "cdp": {
            "type": "list",
            "elements": "dict",
            "options": {**_LOCATION, "flags": {"type": "list", "elements": "str", "choices": list(words.CDP), "default": []}},
        },
        "aia": {
            "type": "list",
            "elements": "dict",
            "options": {**_LOCATION, "flags": {"type": "list", "elements": "str", "choices": list(words.AIA), "default": []}},
        },
        "crl_period": {"type": "str"},
        "crl_overlap": {"type": "str"},
        "crl_delta_period": {"type": "str"},
        "crl_delta_overlap": {"type": "str"},
        "issued_validity": {"type": "str"},
        "audit_filter": {"type": "list", "elements": "str", "choices": ["all", *words.AUDIT]},
        "interface_flags": {"type": "list", "elements": "str"},
        "edit_flags": {"type": "list", "elements": "str"},
        "disabled_extensions": {"type": "list", "elements": "str"},
        "role_separation": {"type": "bool"},
        "permissions": {
            "type": "list",
            "elements": "dict",
            "options": {
                "principal": {"type": "str", "required": True},
                "rights": {"type": "list", "elements": "str", "choices": list(words.RIGHTS), "required": True},
            },
        },
        "officer_restrictions": {
            "type": "list",
            "elements": "dict",
            "options": {"officer": {"type": "str", "required": True}, "requesters": {"type": "list", "elements": "str"}, **_RESTRICTED},
        },
        "enrollment_agent_restrictions": {
            "type": "list",
            "elements": "dict",
            "options": {"agent": {"type": "str", "required": True}, "subjects": {"type": "list", "elements": "str"}, **_RESTRICTED},
        },
    }
    extra = {
        "install_username": {"type": "str"},
        "install_password": {"type": "str", "no_log": True},
        "parent_ca": {"type": "str"},
        "request_path": {"type": "path"},
        "certificate_path": {"type": "path"},
        "trust_parents": {"type": "bool", "default": True},
        "renewal": {
            "type": "dict",
            "options": {
                "when": {"type": "str", "choices": ["never", "before_expiry", "now"], "default": "never"},
                "days": {"type": "int", "default": 365},
                "key": {"type": "str", "choices": ["new", "same"], "default": "new", "no_log": False},
            },
        },
        "backup": {
            "type": "dict",
            "options": {
                "path": {"type": "str", "required": True},
                "password": {"type": "str", "required": True, "no_log": True},
                "when": {"type": "str", "choices": ["before_renewal", "always"], "default": "before_renewal"},
            },
        },
        "certenroll_files": {"type": "list", "elements": "path", "default": []},
        "warn_before": {"type": "int", "default": 180},
        "crl_warn_before": {"type": "int", "default": 24},
    }

    def __init__(self, session: PowerShellSession) -> None:
        super().__init__(session)
        self._readings: list[Known] = []
        self._params: Mapping[str, Any] = {}
        self._steps: list[str] = []
        self._backup: str | None = None
        self._reboot = False

    # ---- the four parts of every resource

    def check(self, params: Mapping[str, Any]) -> None:
        planning.check(params)

    def read(self, session: PowerShellSession, params: Mapping[str, Any]) -> Known:
        config = params.get("config") or []
        names = planning.principals(config)
        answer = session.run("adcs_state", {"Principals": names} if names else {}, doing="reading the CA's state")
        self._params = params
        known = Known(State.parse(answer), _local(params), datetime.now(timezone.utc))
        if not self._readings:
            for warning in planning.warnings(known, params):
                session.warn(warning)
        self._readings.append(known)
        return known

    @property
    def _known(self) -> Known:
        """What was read last."""
        return self._readings[-1]

    def objects(self, current: Known) -> dict[str, Words]:
        found = current.host.words() if current.host.configured else {}
        return {found["name"]: found} if found else {}

    def plan(self, params: Mapping[str, Any], current: Known) -> Plan:
        given = planning.normalized(params["config"][0])
        host = current.host
        warnings = planning.choices(given)
        if host.active is not None:
            planning.fixed(given, host)
        change = self._update(given, params, current) if host.configured else self._create(given, params, current)
        return Plan([change] if change else [], warnings)

    def apply(self, session: PowerShellSession, change: Change) -> None:
        work: Work = change.details
        for step in work.steps:
            getattr(self, f"_do_{step}")(session, work, change)
            self._steps.append(step)
            if self._reboot:
                return
        self._planned = ()

    def settled(self, change: Change, params: Mapping[str, Any], current: Known) -> bool:
        """Windows adds much by itself, and a host that must restart has not come to the end: nothing may be left to do."""
        if self._reboot:
            return True
        work: Work = change.details
        host = current.host
        if not host.configured or ("certificate" in work.steps and host.pending):
            return False
        try:
            planning.fixed(work.given, host)
            left = planning.settings(work.given, host, replaced=params["state"] == "replaced")
        except UserError:
            return False
        return (
            not left
            and not planning.unserved(current)
            and work.given.get("capolicy", host.words().get("capolicy")) == host.words().get("capolicy")
        )

    def render(self, params: Mapping[str, Any]) -> list[Words]:
        return [planning.normalized(entry) for entry in params["config"]]

    def returns(self, params: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if params["state"] in ("merged", "replaced"):
            found |= {"steps": self._steps or list(self._planned), "reboot_required": self._reboot}
        elif params["state"] == "gathered":
            found["reboot_required"] = False
        if self._backup:
            found["backup"] = self._backup
        if self._readings and self._known.host.configured:
            found |= _report(self._known.host, params)
        return found

    # ---- planning with the files of the control node at hand

    _planned: tuple[str, ...] = ()

    def _create(self, given: Words, params: Mapping[str, Any], known: Known) -> Change:
        host = known.host
        planning.install_problems(given, known, params)
        planning.target(
            {name: given[name] for name in ("name", "permissions", *planning.RESTRICTIONS) if name in given}, host, replaced=False
        )
        steps = ["feature"] if not host.feature else []
        if "capolicy" in given and host.capolicy != given["capolicy"]["content"]:
            steps.append("capolicy")
        steps += ["install", "settings"]
        if planning.unserved(known):
            steps.append("files")
        self._planned = tuple(steps)
        return Change(given["name"], None, {**given, "certificate": "known after apply"}, Work(steps, given))

    def _update(self, given: Words, params: Mapping[str, Any], known: Known) -> Change | None:
        host, have = known.host, known.host.words()
        replaced = params["state"] == "replaced"
        after = planning.target(given, host, replaced=replaced)
        steps, shown, chain = [], dict[str, tuple[Any, Any]](), list[Certificate]()
        if after.get("capolicy") != have.get("capolicy"):
            steps.append("capolicy")
        if host.pending and host.request is not None:
            answer = planning.came_back(known)
            if answer is not None:
                certificate, parents = planning.fitting(answer, host.request, f"certificate_path: {params['certificate_path']}")
                chain = [certificate, *parents]
                steps.append("certificate")
                shown["certificate"] = ("waits to be signed", str(certificate))
            elif params["request_path"] and known.local.request != host.request.pem.encode():
                steps.append("request")
                shown["request"] = (None, params["request_path"])
        if planning.settings(given, host, replaced=replaced):
            steps.append("settings")
        missing = planning.unserved(known)
        if missing:
            steps.append("files")
            shown["certenroll_files"] = ([name for name in missing if name.casefold() in host.served], missing)
        due = planning.due(host, params.get("renewal"))
        if params.get("backup") and (due or params["backup"]["when"] == "always"):
            steps.append("backup")
            shown["backup"] = (None, self._backup_path(params, host))
        if due:
            steps.append("renew")
            shown["certificate"] = (str(host.certificates[-1]), "renewed; known after apply")
        if not steps:
            return None
        self._planned = tuple(steps)
        before = {**have, **{name: pair[0] for name, pair in shown.items() if pair[0] is not None}}
        after = {**after, **{name: pair[1] for name, pair in shown.items()}}
        return Change(str(host.name), before, after, Work(steps, given, chain))

    @staticmethod
    def _backup_path(params: Mapping[str, Any], host: State) -> str:
        return f"{params['backup']['path'].rstrip(chr(92))}\\{host.now:%Y%m%dT%H%M%SZ}"

    # ---- the steps

    def _installer(self) -> Credential | None:
        """The account whose logon reaches the directory."""
        username = self._params.get("install_username")
        return Credential(username, self._params["install_password"]) if username else None

    def _writes_to_directory(self) -> Credential | None:
        """certutil takes no credential: where it writes to the directory, all of it runs as the account that may."""
        return self._installer() if self._known.host.is_enterprise else None

    def _do_feature(self, session: PowerShellSession, work: Work, change: Change) -> None:
        arguments = {"name": [FEATURE], "state": "present", "include_management_tools": True}
        answer = session.module("ansible.windows.win_feature", arguments, doing=f"installing the role service {FEATURE}")
        if answer.get("reboot_required"):
            self._reboot = True
            session.warn(
                f"{change.name}: the role service {FEATURE} wants a restart of the host (ansible.windows.win_reboot); then run again"
            )

    def _do_capolicy(self, session: PowerShellSession, work: Work, change: Change) -> None:
        content = base64.b64encode(work.given["capolicy"]["content"].encode()).decode()
        session.run("adcs_capolicy", {"Content": content}, doing="writing CAPolicy.inf")

    def _do_install(self, session: PowerShellSession, work: Work, change: Change) -> None:
        doing = "installing the CA"
        parameters = planning.install_parameters(work.given, self._known.host, self._params)
        installer = self._installer()
        secrets = {"Credential": installer} if installer else None
        answer = session.run("adcs_install", parameters, secrets, doing=doing, remedies=_REMEDIES)
        if answer["error_id"] not in (INSTALLED, WAITS_FOR_CERTIFICATE):
            reason = " ".join(str(answer["error"]).split())
            raise UserError(f"{doing}: {with_remedy(reason, _REMEDIES)}; what is half done is taken up by the next run")
        # the CA's own key in the registry, its policy module and its request are known only now
        self.read(session, self._params)
        self._hand_over_request()

    def _do_settings(self, session: PowerShellSession, work: Work, change: Change) -> None:
        host = self._known.host
        values = planning.settings(work.given, host, replaced=self._params["state"] == "replaced")
        if values:
            parameters = {"Authority": host.active, "Values": values}
            session.run("adcs_settings", parameters, doing="writing the CA's settings", remedies=_REMEDIES)

    def _do_certificate(self, session: PowerShellSession, work: Work, change: Change) -> None:
        certificate, *parents = work.chain
        if not self._params["trust_parents"]:
            parents = []
        parameters = {
            "Certificate": base64.b64encode(certificate.der).decode(),
            "Roots": [base64.b64encode(one.der).decode() for one in parents if one.self_signed],
            "Intermediates": [base64.b64encode(one.der).decode() for one in parents if not one.self_signed],
        }
        doing, runas = "installing the CA's certificate", self._writes_to_directory()
        session.run("adcs_certificate", parameters, doing=doing, remedies=_REMEDIES, runas=runas)

    def _do_request(self, session: PowerShellSession, work: Work, change: Change) -> None:
        self._hand_over_request()

    def _do_files(self, session: PowerShellSession, work: Work, change: Change) -> None:
        served = self._known.local.served
        files = [{"name": name, "content": base64.b64encode(served[name]).decode()} for name in planning.unserved(self._known)]
        session.run("adcs_file", {"Files": files}, doing=f"putting {', '.join(served)} into the CertEnroll folder")

    def _do_backup(self, session: PowerShellSession, work: Work, change: Change) -> None:
        path = self._backup_path(self._params, self._known.host)
        secrets: dict[str, str | Credential] = {"Password": self._params["backup"]["password"]}
        session.run("adcs_backup", {"Path": path}, secrets, doing=f"backing up the CA to {path}")
        self._backup = path

    def _do_renew(self, session: PowerShellSession, work: Work, change: Change) -> None:
        parameters = {"ReuseKeys": self._params["renewal"]["key"] == "same", "ParentCA": self._params.get("parent_ca")}
        doing, runas = "renewing the CA's certificate", self._writes_to_directory()
        session.run("adcs_renew", parameters, doing=doing, remedies=_REMEDIES, runas=runas)
        if not self._known.host.is_root:
            self.read(session, self._params)
            self._hand_over_request()

    def _hand_over_request(self) -> None:
        request, path = self._known.host.request, self._params.get("request_path")
        if request is not None and path:
            write_file(Path(path), request.pem.encode(), f"request_path: {path}")


def write_file(path: Path, content: bytes, where: str) -> None:
    """Replace a file as a whole, or leave the old one as it is."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise UserError(
            f"{where}: cannot be written: {error.strerror}; nothing that was there is lost, run again when it can be"
        ) from error


def _local(params: Mapping[str, Any]) -> Local:
    return Local(_file(params, "request_path"), _certificates(params), dict(map(_served, params.get("certenroll_files") or ())))


def _served(path: str) -> tuple[str, bytes]:
    """Name and DER of a CRL or a certificate that the host is to serve."""
    where = f"certenroll_files: {path}"
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{where} cannot be read: {error.strerror}") from error
    try:
        if Path(path).suffix.casefold() != ".crl":
            return Path(path).name, certificates.load_one(content).der
        crl = crls.load(content)
    except UserError as error:
        raise UserError(f"{where} {error}; name CRLs .crl and certificates .crt or .cer") from error
    if crl.next_update is not None and crl.next_update < datetime.now(timezone.utc):
        raise UserError(f"{where}: the CRL of {crl.issuer} ended {_time(crl.next_update)}; have its CA make a new one and carry it here")
    return Path(path).name, crl.der


def _file(params: Mapping[str, Any], option: str) -> bytes | None:
    path = params.get(option)
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{option}: {path} cannot be read: {error.strerror}") from error


def _certificates(params: Mapping[str, Any]) -> list[Certificate] | None:
    content = _file(params, "certificate_path")
    if content is None:
        return None
    try:
        return certificates.load(content)
    except UserError as error:
        raise UserError(f"certificate_path: {params['certificate_path']} {error}") from error


def _report(host: State, params: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "config_string": host.config_string,
        "pending": host.pending,
        "certificates": [
            {
                "pem": _pem(one),
                "subject": one.subject,
                "not_after": _time(one.not_after),
                "days_left": (one.not_after - host.now).days,
                "sha256": one.sha256,
            }
            for one in host.certificates
        ],
        "crls": [
            {
                "file": crl.file,
                "this_update": _time(crl.this_update),
                "next_update": None if crl.next_update is None else _time(crl.next_update),
                "hours_left": None if crl.next_update is None else int((crl.next_update - host.now).total_seconds() // 3600),
            }
            for crl in host.crls
        ],
    }
    found["report"] = list(_lines(host, found))
    if host.request is not None:
        found["request"] = {"path": params.get("request_path"), "pem": host.request.pem}
    return found


def _lines(host: State, found: Mapping[str, Any]) -> Iterator[str]:
    """What ends when, for people."""
    if host.pending:
        yield f"{host.config_string} waits for its certificate"
    for one in found["certificates"]:
        yield f"{host.config_string}: certificate {one['sha256'][:16]} until {one['not_after']}, {one['days_left']} days left"
    for crl in found["crls"]:
        left = "no end" if crl["next_update"] is None else f"until {crl['next_update']}, {crl['hours_left']} hours left"
        yield f"{host.fqdn}: {crl['file']} {left}"


def _pem(one: Certificate) -> str:
    encoded: bytes = x509.load_der_x509_certificate(one.der).public_bytes(crypto.serialization.Encoding.PEM)
    return encoded.decode()


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
