# SPDX-License-Identifier: GPL-3.0-or-later
"""What domain controllers show to their clients, whom their KDC believes, and how it maps certificates to accounts (pure)."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import chains
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import WEAK_HASHES, Certificate, load_one
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import (
    Facts,
    NotRead,
    Unread,
    Verdict,
    failed,
    passed,
    unknown,
)

Parameters = Mapping[str, Any]
Verdicts = Iterator[Verdict]

PURPOSES = {
    "1.3.6.1.5.2.3.5": "KDC authentication",
    "1.3.6.1.5.5.7.3.1": "server authentication",
    "1.3.6.1.5.5.7.3.2": "client authentication",
    "1.3.6.1.4.1.311.20.2.2": "smart card logon",
    "2.5.29.37.0": "any purpose",
}
KDC, ANY = "1.3.6.1.5.2.3.5", "2.5.29.37.0"
PKINIT = 16
"""PA-PK-AS-REQ (RFC 4556 3.1.3)."""

SAMBA, WINDOWS, NONE = "samba", "windows", "none"

ENFORCING = {14393: 7785, 17763: 6893, 20348: 3207, 26100: 3194}
"""Of Windows' builds, the first revision that demands strong mappings where nothing is set (February 2025)."""
IGNORING = {14393: 8422, 17763: 7792, 20348: 4171, 26100: 6584}
"""The first that demands them whatever is set (September 2025)."""
NEWER_BUILD = 26101

SCHANNEL_DEFAULT = 0x18
SCHANNEL_WEAK = {0x1: "subject and issuer", 0x2: "issuer", 0x4: "user principal name"}
SCHANNEL_STRONG = {0x8: "S4U2Self", 0x10: "explicit S4U2Self"}


def _subject(facts: Facts) -> str:
    return str(facts["expected"]["host"])


def _leaf(facts: Facts) -> Mapping[str, Any]:
    """The certificate that LDAPS shows."""
    shown: Mapping[str, Any] = facts["ldaps"]
    if "problem" in shown:
        raise NotRead("ldaps", Unread(shown["problem"]))
    leaf: Mapping[str, Any] = shown["leaf"]
    return leaf


# ---- all there are


def looked_at(facts: Facts, _parameters: Parameters) -> Verdicts:
    """For each domain controller of the directory, whether this run has looked at it; and whether the inventory knows any that is none."""
    there = {str(other["expected"]["host"]).casefold(): other for other in facts.others("domain_controller") if other.read("expected")}
    for one in facts["domain_controllers"]:
        host = one["host"] or one["name"]
        other = there.get(host.casefold())
        evidence = {"dn": one["dn"], "site": one["site"], "system": one["system"]}
        if other is None:
            yield unknown(
                host, "the domain controller is in the directory, but not in the inventory, so nothing is known of it", **evidence
            )
        elif other["expected"]["kind"] == NONE:
            yield unknown(host, "only the domain controller's ports were looked at, for the inventory has no way to its host", **evidence)
        else:
            yield passed(host, **evidence)
    known = {str(one["host"] or one["name"]).casefold() for one in facts["domain_controllers"]}
    dns = str(facts["domain"]["dns"]).casefold()
    for host, other in there.items():
        if host not in known and str(other["expected"]["domain"]).casefold() == dns:
            yield failed(
                host,
                f"The inventory has it as a domain controller, and the directory of {dns} does not know it as one",
                known=sorted(known),
            )


# ---- its certificate


def served(facts: Facts, _parameters: Parameters) -> Verdicts:
    shown = facts["ldaps"]
    if "problem" not in shown:
        leaf = shown["leaf"]
        evidence = {"tls": shown["tls_version"], "certificate": leaf["subject"], "issuer": leaf["issuer"], "sha256": leaf["sha256"]}
        if leaf["self_signed"]:
            yield failed(
                _subject(facts), "LDAPS shows a certificate that the domain controller made for itself, which no client trusts", **evidence
            )
        else:
            yield passed(_subject(facts), **evidence)
    elif facts["answers"]:
        yield failed(_subject(facts), f"The domain controller does not serve LDAPS: {shown['problem']}", problem=shown["problem"])
    else:
        yield unknown(_subject(facts), f"the domain controller does not answer at all: {shown['problem']}")


def same_by_starttls(facts: Facts, _parameters: Parameters) -> Verdicts:
    leaf, shown = _leaf(facts), facts["starttls"]
    if "problem" in shown:
        yield failed(_subject(facts), f"LDAPS is served, StartTLS is not: {shown['problem']}", problem=shown["problem"])
    elif shown["leaf"]["sha256"] != leaf["sha256"]:
        yield failed(
            _subject(facts), "StartTLS and LDAPS show different certificates", ldaps=leaf["sha256"], starttls=shown["leaf"]["sha256"]
        )
    else:
        yield passed(_subject(facts), sha256=leaf["sha256"])


def chain(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Up to a root that the directory publishes, as members of the domain trust it."""
    _leaf(facts)
    domain = _domain(facts, "stores")
    certificates = _certificates(domain)
    roots = chains.parsed(_held(domain, certificates, "root"))
    shown = chains.parsed(load_one(pem) for pem in facts["ldaps"]["certificates"])
    built = chains.build(shown[0], [*shown[1:], *chains.parsed(certificates.values())], roots, facts.now)
    evidence: dict[str, Any] = {"chain": [one.subject.rfc4514_string() for one in (shown[0], *built.above)]}
    if built.problems:
        yield failed(_subject(facts), f"Clients do not trust the certificate of LDAPS: {'; '.join(built.problems)}", **evidence)
    else:
        yield passed(_subject(facts), **evidence)


def issuer_in_ntauth(facts: Facts, _parameters: Parameters) -> Verdicts:
    leaf = _leaf(facts)
    domain = _domain(facts, "stores")
    ntauth = chains.parsed(_held(domain, _certificates(domain), "ntauth"))
    own = chains.parsed([load_one(facts["ldaps"]["certificates"][0])])[0]
    evidence: dict[str, Any] = {"issuer": leaf["issuer"], "NTAuthCertificates": [one.subject.rfc4514_string() for one in ntauth]}
    if any(chains.issued_by(own, one) for one in ntauth):
        yield passed(_subject(facts), **evidence)
    else:
        yield failed(
            _subject(facts),
            "The CA of the domain controller's certificate is not in NTAuthCertificates, so cards are not answered",
            **evidence,
        )


def purposes(facts: Facts, parameters: Parameters) -> Verdicts:
    found = _leaf(facts)["purposes"]
    evidence: dict[str, Any] = {"extended_key_usages": found}
    missing = [] if found is None or ANY in found else [oid for oid in parameters["purposes"] if oid not in found]
    if found is None and KDC in parameters["purposes"]:
        # a certificate for everything names no purpose, and the KDC's has to be named (RFC 4556 3.2.4)
        missing = [KDC]
    if missing:
        names = ", ".join(f"{PURPOSES.get(oid, 'purpose')} ({oid})" for oid in missing)
        yield failed(_subject(facts), f"The certificate is not for {names}", missing=missing, **evidence)
    else:
        yield passed(_subject(facts), **evidence)


def names(facts: Facts, _parameters: Parameters) -> Verdicts:
    found = _leaf(facts)["dns_names"]
    missing = [name for name in facts["expected"]["names"] if name.casefold() not in found]
    evidence: dict[str, Any] = {"dns_names": found, "expected": facts["expected"]["names"]}
    if missing:
        yield failed(_subject(facts), f"The certificate does not name {', '.join(missing)}", missing=missing, **evidence)
    else:
        yield passed(_subject(facts), **evidence)


def days_left(facts: Facts, parameters: Parameters) -> Verdicts:
    leaf = _leaf(facts)
    days = (_time(leaf["not_after"]) - facts.now).days
    evidence: dict[str, Any] = {
        "not_before": leaf["not_before"],
        "not_after": leaf["not_after"],
        "days_left": days,
        "serial": leaf["serial"],
    }
    if days < 0:
        yield failed(_subject(facts), f"The certificate expired on {leaf['not_after'][:10]}", **evidence)
    elif _time(leaf["not_before"]) > facts.now + timedelta(minutes=5):
        yield failed(_subject(facts), f"The certificate is not valid before {leaf['not_before']}", **evidence)
    elif days < parameters["days_left"]:
        yield failed(_subject(facts), f"The certificate ends in {days} days, on {leaf['not_after'][:10]}", **evidence)
    else:
        yield passed(_subject(facts), **evidence)


def strength(facts: Facts, parameters: Parameters) -> Verdicts:
    leaf = _leaf(facts)
    evidence: dict[str, Any] = {name: leaf[name] for name in ("key_type", "key_bits", "signature_hash")}
    least = {"rsa": parameters["rsa_bits"], "ec": parameters["ec_bits"]}.get(leaf["key_type"])
    if leaf["signature_hash"] in WEAK_HASHES:
        yield failed(_subject(facts), f"The certificate is signed with {leaf['signature_hash'].upper()}", **evidence)
    elif least is None:
        yield unknown(_subject(facts), f"the strength of {leaf['key_type']} keys is not known here", **evidence)
    elif leaf["key_bits"] < least:
        yield failed(_subject(facts), f"The {leaf['key_type'].upper()} key has {leaf['key_bits']} bits, less than {least}", **evidence)
    else:
        yield passed(_subject(facts), **evidence)


def revocation_named(facts: Facts, _parameters: Parameters) -> Verdicts:
    leaf = _leaf(facts)
    evidence: dict[str, Any] = {"crl": leaf["crl"], "ocsp": leaf["ocsp"]}
    if not leaf["crl"] and not leaf["ocsp"]:
        yield failed(
            _subject(facts),
            "The certificate does not say where its revocation is to be asked, so Windows' clients refuse the KDC",
            **evidence,
        )
    else:
        yield passed(_subject(facts), **evidence)


# ---- its KDC


def kdc_answers(facts: Facts, _parameters: Parameters) -> Verdicts:
    kdc = facts["kdc"]
    if "problem" not in kdc:
        yield passed(_subject(facts), answer=kdc["name"])
    elif facts["answers"]:
        yield failed(_subject(facts), f"The KDC does not answer: {kdc['problem']}", problem=kdc["problem"])
    else:
        yield unknown(_subject(facts), f"the domain controller does not answer at all: {kdc['problem']}")


def kdc_takes_cards(facts: Facts, _parameters: Parameters) -> Verdicts:
    """What the KDC offers shows that it knows PKINIT, not that it can: for that it needs a certificate of its own, and its key."""
    kdc = facts["kdc"]
    offered = kdc.get("preauthentication")
    evidence: dict[str, Any] = {"preauthentication": offered}
    if offered is not None and PKINIT not in offered:
        yield failed(_subject(facts), "The KDC does not offer logon by certificates (PKINIT)", **evidence)
        return
    certificates = facts["kdc_certificates"]
    if facts["system"]["kind"] == SAMBA:
        yield _samba_takes_cards(facts, certificates, evidence)
        return
    held = [one for one in certificates["held"] if one["private_key"] and _in_force(one, facts.now) and KDC in (one["purposes"] or ())]
    evidence["certificates"] = [f"{one['subject']}, until {one['not_after'][:10]}" for one in held]
    if not facts["system"]["running"]:
        yield failed(_subject(facts), "The service Kdc does not run", **evidence)
    elif not held:
        yield failed(_subject(facts), f"The KDC has no certificate with a key for {PURPOSES[KDC]} ({KDC}) that is in force", **evidence)
    else:
        yield passed(_subject(facts), **evidence)


def _samba_takes_cards(facts: Facts, certificates: Mapping[str, Any], evidence: dict[str, Any]) -> Verdict:
    settings = facts["kdc_settings"]
    identity = settings.get("pkinit_identity", "")
    evidence |= {
        "enable_pkinit": settings.get("enable_pkinit"),
        "pkinit_identity": identity,
        "pkinit_anchors": settings.get("pkinit_anchors"),
    }
    if settings.get("enable_pkinit", "").casefold() not in ("yes", "true", "1", "t", "on"):
        return failed(_subject(facts), "Logon by certificates is not switched on in the KDC's configuration (enable-pkinit)", **evidence)
    if not identity or not settings.get("pkinit_anchors"):
        return failed(_subject(facts), "The KDC's configuration names no certificate of its own or no authorities to believe", **evidence)
    if settings["foreign"]:
        return failed(
            _subject(facts), f"The KDC's configuration has several settings of PKINIT: {'; '.join(settings['foreign'])}", **evidence
        )
    if certificates["problems"]:
        return failed(_subject(facts), f"The KDC's certificate will not do: {'; '.join(certificates['problems'])}", **evidence)
    return passed(_subject(facts), **evidence)


def kdc_believes(facts: Facts, _parameters: Parameters) -> Verdicts:
    """The authorities that the KDC believes are those of NTAuthCertificates: no more, and none is missing."""
    believed = facts["ntauth"]
    found = {str(one).casefold() for one in believed["fingerprints"]}
    domain = _domain(facts, "stores")
    held = _held(domain, _certificates(domain), "ntauth")
    wanted = {(one.thumbprint if believed["hash"] == "sha1" else one.sha256).casefold(): one for one in held if one.not_after > facts.now}
    expired = {(one.thumbprint if believed["hash"] == "sha1" else one.sha256).casefold() for one in held}
    missing = [str(one.subject) for fingerprint, one in wanted.items() if fingerprint not in found]
    extra = sorted(found - expired)
    evidence: dict[str, Any] = {"believed": sorted(found), "missing": missing, "not_in_NTAuthCertificates": extra}
    if extra:
        yield failed(_subject(facts), f"The KDC believes {len(extra)} authorities that are not in NTAuthCertificates", **evidence)
    elif missing:
        yield failed(
            _subject(facts), f"The KDC does not believe {', '.join(missing)} of NTAuthCertificates, whose cards do not log on", **evidence
        )
    else:
        yield passed(_subject(facts), **evidence)


def kdc_crls(facts: Facts, parameters: Parameters) -> Verdicts:
    """Samba's KDC: an expired or missing CRL refuses every card, and without CRLs a revoked one logs on."""
    found = facts["kdc_crls"]
    if "none" in found:
        return
    if not found["checked"]:
        yield failed(_subject(facts), "The KDC asks no CRL, so revoked cards log on (pkinit_revoke)", pkinit_revoke="")
        return
    for one in found["files"]:
        subject = f"{_subject(facts)}: {one['path']}"
        evidence = {"issuer": one["issuer"], "next_update": one["next_update"], "pkinit_revoke": found["checked"]}
        if one["path"] not in found["checked"]:
            yield failed(subject, f"The KDC does not ask the CRL of {one['issuer']}", **evidence)
        elif one["problem"]:
            yield failed(subject, f"The CRL of {one['issuer']} that the KDC reads is {one['problem']}: no card logs on", **evidence)
        else:
            hours = (_time(one["next_update"]) - facts.now).total_seconds() / 3600
            evidence["hours_left"] = round(hours, 1)
            if hours <= 0:
                yield failed(subject, f"The CRL of {one['issuer']} that the KDC reads has ended: no card logs on", **evidence)
            elif hours < parameters["hours_left"]:
                yield failed(
                    subject, f"The CRL of {one['issuer']} that the KDC reads ends in {hours:.0f} hours, and was not renewed", **evidence
                )
            else:
                yield passed(subject, **evidence)


def kdc_crls_distinct(facts: Facts, _parameters: Parameters) -> Verdicts:
    found = facts["kdc_crls"]
    if "none" in found:
        return
    if found["ambiguous"]:
        yield failed(
            _subject(facts),
            f"NTAuthCertificates has several keys of {' and '.join(found['ambiguous'])}; Samba's KDC mistakes their CRLs for one another",
            authorities=found["ambiguous"],
        )
    else:
        yield passed(_subject(facts))


def kdc_current(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Samba reads its certificates and settings when it starts."""
    changed = facts["kdc_changes"]
    if isinstance(changed, Mapping):
        return
    settings = facts["kdc_settings"]
    if changed:
        yield failed(_subject(facts), f"Samba was not restarted since {', '.join(changed)} changed", changed=changed)
    else:
        yield passed(_subject(facts), reads=settings["read_by_samba"])


# ---- mapping


def strong_binding(facts: Facts, _parameters: Parameters) -> Verdicts:
    """ESC10, first half: whether the KDC takes a certificate that only a name binds to the account."""
    mapping = facts["mapping"]
    value = mapping["kerberos"]
    evidence: dict[str, Any] = {"StrongCertificateBindingEnforcement": value, "system": mapping["system"]}
    if facts["system"]["kind"] == SAMBA:
        yield _samba_binding(facts, value, mapping["system"])
        return
    build, revision = _version(mapping)
    if _since(IGNORING, build, revision):
        yield passed(_subject(facts), "This Windows demands strong mappings, whatever is set", **evidence)
    elif value == 2:
        yield passed(_subject(facts), **evidence)
    elif value is not None:
        what = "not at all" if value == 0 else "only where there are any (compatibility mode)"
        yield failed(_subject(facts), f"The KDC demands strong mappings of certificates {what}", **evidence)
    elif _since(ENFORCING, build, revision):
        yield passed(_subject(facts), "This Windows demands strong mappings where nothing is set", **evidence)
    elif _since(ENFORCING, build, revision) is None:
        yield unknown(_subject(facts), "nothing is set, and what this Windows does then is not known here", **evidence)
    else:
        yield failed(_subject(facts), "Nothing is set, and this Windows takes weak mappings then (compatibility mode)", **evidence)


def _samba_binding(facts: Facts, value: Any, system: str) -> Verdict:
    evidence: dict[str, Any] = {"strong certificate binding enforcement": value, "system": system}
    if value is None:
        return unknown(
            _subject(facts),
            f"{system} has no setting for strong mappings: it maps a card by the user principal name alone, so no CA in NTAuthCertificates "
            "may issue names that requesters choose",
            **evidence,
        )
    if str(value).casefold() == "full":
        return passed(_subject(facts), **evidence)
    return failed(_subject(facts), f"The KDC demands strong mappings of certificates in the mode {value}, not full", **evidence)


def backdating(facts: Facts, _parameters: Parameters) -> Verdicts:
    mapping = facts["mapping"]
    value = mapping["backdating"]
    if value is None and facts["system"]["kind"] == SAMBA:
        return  # without strong mappings there is nothing to except
    evidence: dict[str, Any] = {"CertificateBackdatingCompensation": value, "system": mapping["system"]}
    if facts["system"]["kind"] == WINDOWS and _since(IGNORING, *_version(mapping)):
        yield passed(_subject(facts), "This Windows does not look at the setting any more", **evidence)
    elif value not in (None, 0, "0"):
        yield failed(
            _subject(facts),
            "Certificates that are older than their account are taken for it, if not by too much (backdating compensation)",
            **evidence,
        )
    else:
        yield passed(_subject(facts), **evidence)


def schannel_mapping(facts: Facts, _parameters: Parameters) -> Verdicts:
    """ESC10, second half: how TLS client certificates, those of LDAPS among them, become accounts."""
    if facts["system"]["kind"] != WINDOWS:
        return
    value = facts["mapping"]["schannel"]
    methods = SCHANNEL_DEFAULT if value is None else value
    weak = [name for bit, name in SCHANNEL_WEAK.items() if methods & bit]
    strong = [name for bit, name in SCHANNEL_STRONG.items() if methods & bit]
    evidence: dict[str, Any] = {"CertificateMappingMethods": f"0x{methods:x}", "set": value is not None, "weak": weak, "strong": strong}
    if weak:
        yield failed(_subject(facts), f"A client certificate becomes an account by {', '.join(weak)} alone", **evidence)
    else:
        yield passed(_subject(facts), **evidence)


# ---- LDAP and clock


def ldap_signing(facts: Facts, _parameters: Parameters) -> Verdicts:
    policy = facts["ldap_policy"]
    if policy["kind"] == SAMBA:
        value = policy["ldap server require strong auth"]
        evidence: dict[str, Any] = {"ldap server require strong auth": value}
        if _strong_auth(value) == "no":
            yield failed(_subject(facts), "The directory takes passwords and unsigned sessions without encryption", **evidence)
        else:
            yield passed(_subject(facts), **evidence)
        return
    value = policy.get("LDAPServerIntegrity")
    evidence = {"LDAPServerIntegrity": value}
    if value == 2:
        yield passed(_subject(facts), **evidence)
    elif value is None:
        yield unknown(
            _subject(facts),
            "nothing is set by policy, and whether this Windows demands signing then is not known",
            **evidence,
        )
    else:
        yield failed(_subject(facts), "The directory takes sessions that are not signed, which can be relayed", **evidence)


def channel_binding(facts: Facts, _parameters: Parameters) -> Verdicts:
    policy = facts["ldap_policy"]
    if policy["kind"] == SAMBA:
        value = policy["ldap server require strong auth"]
        evidence: dict[str, Any] = {"ldap server require strong auth": value}
        if _strong_auth(value) == "yes":
            yield passed(_subject(facts), "A sign-in over TLS without its channel binding is refused", **evidence)
        else:
            yield failed(_subject(facts), "A sign-in that is relayed to LDAPS is taken", **evidence)
        return
    value = policy.get("LdapEnforceChannelBinding")
    evidence = {"LdapEnforceChannelBinding": value}
    if value == 2:
        yield passed(_subject(facts), **evidence)
    elif value is None:
        yield unknown(_subject(facts), "nothing is set by policy, and what this Windows does then is not known here", **evidence)
    else:
        what = "is not asked for" if value == 0 else "is only asked of clients that have it"
        yield failed(_subject(facts), f"Channel binding {what}, so a sign-in can be relayed to LDAPS", **evidence)


def _strong_auth(value: Any) -> str:
    text = str(value).casefold()
    return {"true": "yes", "1": "yes", "false": "no", "0": "no"}.get(text, text)


def clock(facts: Facts, parameters: Parameters) -> Verdicts:
    directory = facts["directory"]
    seconds = directory["clock_seconds"]
    evidence: dict[str, Any] = {"time": directory["time"], "clock_seconds": seconds}
    if abs(seconds) > parameters["seconds"]:
        where = "ahead of" if seconds > 0 else "behind"
        yield failed(
            _subject(facts), f"The domain controller's clock is {abs(seconds)} seconds {where} that of the control node", **evidence
        )
    else:
        yield passed(_subject(facts), **evidence)


# ---- what the domain has


def _domain(facts: Facts, fact: str) -> Facts:
    """The domain of this domain controller, as this run has seen it. Raises `NotRead`."""
    own = str(facts["expected"]["domain"]).casefold()
    domains = facts.others("domain")
    of_it = [one for one in domains if one.read("domain") and str(one["domain"]["dns"]).casefold() == own]
    # the stores are the forest's, so another domain of it will do
    found = next(iter([*of_it, *domains]), None)
    if found is None:
        raise NotRead(fact, Unread(f"the domain {own} was not looked at in this run"))
    found[fact]  # raises where it was not read
    return found


def _certificates(domain: Facts) -> dict[str, Certificate]:
    """Every CA certificate of the directory that is one, by its SHA-256."""
    return {fingerprint: load_one(base64.b64decode(one["der"])) for fingerprint, one in domain["pki_certificates"].items() if "der" in one}


def _held(domain: Facts, certificates: Mapping[str, Certificate], store: str) -> list[Certificate]:
    """What a store of the directory holds. Raises `NotRead` where it is not there or hidden."""
    entries: Sequence[Mapping[str, Any]] | None = domain["stores"][store]
    if entries is None:
        raise NotRead("stores", Unread(f"the store {store} is not in the directory, or is hidden from the account"))
    return [certificates[one] for entry in entries for one in entry["certificates"] if one in certificates]


# ---- figures


def _version(mapping: Mapping[str, Any]) -> tuple[int | None, int | None]:
    try:
        return int(mapping["build"]), None if mapping["revision"] is None else int(mapping["revision"])
    except (KeyError, TypeError, ValueError):
        return None, None


def _since(first: Mapping[int, int], build: int | None, revision: int | None) -> bool | None:
    """Whether a Windows is as new as the first revision of its build that is meant; None where that is not known."""
    if build is None:
        return None
    if build >= NEWER_BUILD:
        return True
    known = first.get(build)
    return None if known is None or revision is None else revision >= known


def _in_force(certificate: Mapping[str, Any], now: datetime) -> bool:
    return _time(certificate["not_before"]) <= now < _time(certificate["not_after"])


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
