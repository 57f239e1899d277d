# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain controller as its clients see it, and, where its host can be asked, as it is set. Facts only, no opinion."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import chains, description, endpoints
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, attempt, load, load_one
from ansible_collections.certlogon.core.plugins.module_utils.compliance import seen
from ansible_collections.certlogon.core.plugins.module_utils.compliance.looking import Looking, left, now, reason
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Target, Unread
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import kdc
from ansible_collections.certlogon.core.plugins.module_utils.compliance.read_only import Asked
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Warn, Words

SAMBA, WINDOWS, NONE = "samba", "windows", "none"
LDAP, LDAPS = 389, 636
SCRIPT = "domain_controller_state"
MARKER = "certlogon: PKINIT"
DOMAIN_CONTROLLER_ROLES = (4, 5)
"""DomainRole of Win32_ComputerSystem: backup and primary domain controller."""

HOST_FACTS = ("system", "mapping", "ldap_policy", "ntauth", "kdc_certificates", "kdc_settings", "kdc_crls", "kdc_changes")
RIGHTS = {
    SAMBA: "a logon by SSH to the domain controller as root (or with become)",
    WINDOWS: "a logon by WinRM to the domain controller as an administrator",
}

Script = Callable[[str, Asked], Mapping[str, Any]]
"""Runs the one script that reads a host of this kind, with what it is to be told, and returns its answer. Raises `UserError`."""


@dataclass(frozen=True)
class Host:
    """How the domain controller's host is asked: its kind, the way, and who asks; without a way only its ports are looked at."""

    kind: str
    ask: Script | None
    account: str = ""
    why_not: str = ""


class DomainControllerObservation(Looking[Host]):
    """Reads; never writes anything but the observation's file."""

    extra = {
        "name": {"type": "str", "required": True},
        "parameters": {"type": "dict", "default": {}},
        "address": {"type": "str", "default": ""},
        "host": {"type": "str", "default": ""},
        "domain": {"type": "str", "default": ""},
        "kind": {"type": "str", "choices": [SAMBA, WINDOWS, NONE]},
        "timeout": {"type": "int", "default": 10},
        "samba_python": {"type": "str", "default": "/usr/bin/python3"},
        "samba_conf": {"type": "str", "default": "/etc/samba/smb.conf"},
        "krb5_conf": {"type": "str", "default": "/etc/krb5.conf"},
        "certificate_folder": {"type": "str", "default": "/etc/samba/certlogon"},
        "crl_folder": {"type": "str", "default": "/var/lib/certlogon/crl"},
        "names": {"type": "list", "elements": "str", "default": []},
    }

    def __init__(self, host: Host) -> None:
        self._host = host

    @contextmanager
    def open(self, params: Mapping[str, Any], warn: Warn) -> Iterator[Host]:
        yield self._host

    def read(self, session: Host, params: Mapping[str, Any]) -> Words:
        observation = Observation(Target("domain_controller", params["name"]), now(), account=session.account)
        look(session, params, observation)
        observation.ended = now()
        return left(params["folder"], observation)


@cache
def program() -> str:
    """The text of the program that reads a Samba domain controller: the role's own."""
    collection = Path(__file__).resolve().parents[4]
    return (collection / "roles/domain_controller_certificates/files" / f"{SCRIPT}.py").read_text(encoding="utf-8")


def look(host: Host, params: Mapping[str, Any], observation: Observation) -> None:
    """What the ports show first, then what the host says."""
    asked = Asked(observation.asked)
    address = params["address"] or params["host"] or params["name"]
    try:
        directory: dict[str, Any] | Unread = _root(address, params["timeout"], asked)
    except UserError as error:
        directory = Unread(reason(error))
    observation.set("directory", directory)
    known = {} if isinstance(directory, Unread) else directory
    # an inventory may have short names; the directory tells the whole one
    fqdn = params["host"] or known.get("host") or params["name"]
    domain = params["domain"] or known.get("domain") or fqdn.partition(".")[2]
    names = params["names"] or [fqdn, domain]
    observation.set("expected", {"host": fqdn, "domain": domain, "names": names, "address": address, "kind": host.kind})
    observation.servers = [fqdn]
    _ports(observation, address, fqdn, domain, params["timeout"], asked)
    if host.ask is None:
        _unread(observation, Unread(host.why_not))
        return
    try:
        answer = host.ask(_question(params) if host.kind == SAMBA else "", asked)
        (_of_samba if host.kind == SAMBA else _of_windows)(answer, observation)
    except UserError as error:
        _unread(observation, Unread(reason(error), RIGHTS[host.kind]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        _unread(observation, Unread(f"the host does not answer as the script does ({type(error).__name__}: {error})"))


def _unread(observation: Observation, why: Unread) -> None:
    for fact in HOST_FACTS:
        if fact not in observation.facts:
            observation.set(fact, why)


# ---- the ports


def _ports(observation: Observation, address: str, fqdn: str, domain: str, timeout: int, asked: Asked) -> None:
    observation.set("ldaps", _shown(address, LDAPS, fqdn, timeout, asked))
    observation.set("starttls", _shown(address, LDAP, fqdn, timeout, asked))
    try:
        observation.set("kdc", kdc.offered(address, domain.upper(), f"{fqdn.partition('.')[0].upper()}$", timeout, asked))
    except UserError as error:
        observation.set("kdc", {"problem": reason(error)})
    found = observation.facts
    observation.set("answers", any("problem" not in found[port] for port in ("ldaps", "starttls", "kdc")) or "time" in found["directory"])
    shown = found["ldaps"].get("certificates")
    if shown:
        parsed = chains.parsed(load("".join(shown)))
        template = description.template(parsed[0])
        words = {"name": fqdn, "template": str(template.get("name") or template.get("oid") or "")}
        observation.certificates.append(seen.certificate(parsed[0], seen.DOMAIN_CONTROLLER, observation.target.name, **words))
        issuer = next((one for one in parsed[1:] if chains.issued_by(parsed[0], one)), None)
        observation.cdps += seen.cdps(parsed[0], issuer, f"the certificate of {fqdn}")


def _shown(address: str, port: int, fqdn: str, timeout: int, asked: Asked) -> dict[str, Any]:
    """`certificates` (PEM, the server's own first) and what the first says, or the `problem`."""
    asked.ask("tls", "handshake")
    try:
        found = endpoints.show(address, port, start_tls=port == LDAP, server_name=fqdn, timeout=timeout)
        certificates = [one for content in found.certificates for one in load(content)]
        if not certificates:
            return {"problem": f"{address}:{port}: shows no certificate"}
        pems = [seen.pem(chains.parsed([one])) for one in certificates]
        return {"port": port, "tls_version": found.tls_version, "certificates": pems, "leaf": described(certificates[0])}
    except UserError as error:
        return {"problem": reason(error)}


def described(certificate: Certificate) -> dict[str, Any]:
    """What judges want to know of it. Raises `FormatError`."""
    return attempt("certificate", lambda: _described(certificate))


def _described(certificate: Certificate) -> dict[str, Any]:
    parsed = chains.parsed([certificate])[0]
    names = [name.removeprefix("DNS:").lower() for name in description.names(parsed) if name.startswith("DNS:")]
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": description.serial(certificate.serial),
        "sha256": certificate.sha256,
        "not_before": description.time_text(certificate.not_before),
        "not_after": description.time_text(certificate.not_after),
        "dns_names": names,
        "purposes": description.purposes(parsed),
        "key_type": certificate.key_type,
        "key_bits": certificate.key_bits,
        "signature_hash": certificate.signature_hash,
        "self_signed": certificate.self_signed,
        "crl": description.addresses(parsed, "crl"),
        "ocsp": description.addresses(parsed, "ocsp"),
    }


def _root(address: str, timeout: int, asked: Asked) -> dict[str, Any]:
    """The root of the directory, which everybody may read ([MS-ADTS] 3.1.1.3.2). Raises `UserError`."""
    from ansible_collections.certlogon.core.plugins.module_utils.libraries import ldap3, ldap3_exceptions

    asked.ask("ldap", "bind")
    asked.ask("ldap", "search")
    try:
        server = ldap3.Server(address, LDAP, get_info=ldap3.NONE, connect_timeout=timeout)
        connection = ldap3.Connection(server, receive_timeout=timeout, read_only=True, auto_referrals=False, check_names=False)
        try:
            connection.bind()
            connection.search("", "(objectClass=*)", ldap3.BASE, attributes=["currentTime", "dnsHostName", "defaultNamingContext"])
            here = _moment()
            response = connection.response or []
        finally:
            connection.unbind()
    except (ldap3_exceptions.LDAPException, OSError, UnicodeError) as error:  # the last for a name that can be none
        raise UserError(f"{address}:{LDAP}: the directory does not answer: {' '.join(str(error).split())[:200]}") from error
    values = {name.casefold(): value for entry in response for name, value in (entry.get("raw_attributes") or {}).items() if value}
    try:
        there = datetime.datetime.strptime(values["currenttime"][0].decode("ascii")[:14], "%Y%m%d%H%M%S")
    except (KeyError, ValueError) as error:
        raise UserError(f"{address}:{LDAP}: the directory does not tell its time to everybody") from error
    skew = there.replace(tzinfo=datetime.timezone.utc) - here.replace(microsecond=0)
    return {
        "time": f"{there:%Y-%m-%dT%H:%M:%SZ}",
        "clock_seconds": int(skew.total_seconds()),
        "host": values.get("dnshostname", [b""])[0].decode("utf-8", "replace"),
        "domain": _dns(values.get("defaultnamingcontext", [b""])[0].decode("utf-8", "replace")),
    }


def _dns(dn: str) -> str:
    """`DC=corp,DC=example` -> `corp.example`."""
    return ".".join(part[3:] for part in dn.split(",") if part.casefold().startswith("dc="))


# ---- Samba


def _question(params: Mapping[str, Any]) -> str:
    return json.dumps(
        {
            "read": {
                "folder": params["certificate_folder"],
                "smb_conf": params["samba_conf"],
                "krb5_conf": params["krb5_conf"],
                "dns_names": params["names"],
                "renew_before": 0,
                "key_size": 2048,
                "crl_folder": params["crl_folder"],
                "marker": MARKER,
                "audit": True,
            }
        }
    )


def _of_samba(answer: Mapping[str, Any], observation: Observation) -> None:
    audit = answer["audit"]
    kdc_settings, settings = audit["kdc"], audit["settings"]
    system = f"Samba {audit['version']}"
    observation.set("system", {"kind": SAMBA, "name": system, "running": answer["running"]})
    observation.set(
        "mapping",
        {
            "kerberos": settings["strong certificate binding enforcement"],
            "backdating": settings["certificate backdating compensation"],
            "system": system,
        },
    )
    observation.set("ldap_policy", {"kind": SAMBA, "ldap server require strong auth": settings["ldap server require strong auth"]})
    observation.set(
        "ntauth",
        Unread("the KDC's pkinit_anchors name no file of certificates")
        if audit["believed"] is None
        else {"hash": "sha256", "fingerprints": audit["believed"], "directory": [one["sha256"] for one in answer["anchors"]]},
    )
    current = answer["current"]
    observation.set("kdc_certificates", {"current": current["certificate"], "problems": current["problems"]})
    observation.set("kdc_settings", {**kdc_settings, "read_by_samba": answer["reads_krb5_conf"], "foreign": answer["foreign_settings"]})
    observation.set(
        "kdc_crls", {"checked": kdc_settings.get("pkinit_revoke", ""), "files": answer["crls"], "ambiguous": answer["ambiguous"]}
    )
    observation.set("kdc_changes", answer["stale"])


# ---- Windows


def _of_windows(answer: Mapping[str, Any], observation: Observation) -> None:
    if answer["role"] not in DOMAIN_CONTROLLER_ROLES:
        raise UserError(
            f"{answer['fqdn']} is no domain controller (DomainRole {answer['role']}); take it out of the group domain_controllers"
        )
    windows = answer["windows"]
    system = f"{windows['name']} {windows['build']}.{windows['revision']}"
    observation.set("system", {"kind": WINDOWS, "name": system, "running": answer["service"] == "Running"})
    observation.set(
        "mapping",
        {
            "kerberos": answer["kdc"].get("StrongCertificateBindingEnforcement"),
            "backdating": answer["kdc"].get("CertificateBackdatingCompensation"),
            "schannel": answer["schannel"].get("CertificateMappingMethods"),
            "build": windows["build"],
            "revision": windows["revision"],
            "system": system,
        },
    )
    observation.set("ldap_policy", {"kind": WINDOWS, "build": windows["build"], **answer["ntds"]})
    observation.set("ntauth", {"hash": "sha1", "fingerprints": sorted(str(one).upper() for one in _listed(answer["ntauth"]))})
    held = []
    for entry in _listed(answer["certificates"]):
        try:
            held.append({**described(load_one(base64.b64decode(entry["der"]))), "private_key": bool(entry["private_key"])})
        except FormatError:
            continue  # others' certificates in the store may be as odd as they like
    observation.set("kdc_certificates", {"held": held})
    for fact, why in (
        ("kdc_settings", "Windows' KDC needs no settings for certificates"),
        ("kdc_crls", "Windows fetches CRLs itself when it needs them"),
        ("kdc_changes", "Windows takes changes up by itself"),
    ):
        observation.set(fact, {"none": why})


def _listed(value: Any) -> Sequence[Any]:
    """PowerShell makes one of a list of one, and nothing of an empty one."""
    return [] if value is None else value if isinstance(value, (list, tuple)) else [value]


def _moment() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
