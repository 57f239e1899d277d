# SPDX-License-Identifier: GPL-3.0-or-later
"""What the forest trusts: NTAuth, roots, the CAs between, and whether all domain controllers have the same (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import chains
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import judge as defects
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges.directory_facts import (
    Certificates,
    certificate_subject,
    described,
    failure,
)
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Verdict, failed, passed, unknown
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_weaknesses import logs_on

Parameters = Mapping[str, Any]
Judge = Callable[[Facts, Parameters], Iterator[Verdict]]

_STORES = {"ntauth": "CN=NTAuthCertificates", "root": "CN=Certification Authorities", "intermediate": "CN=AIA"}
_WORDS = {"ntauth": "the NTAuth store", "root": "the trusted roots", "intermediate": "the AIA container"}


def _entries(facts: Facts, store: str) -> dict[str, str]:
    """Fingerprints in the store, with the DN of the object that holds each."""
    return {fingerprint: item["dn"] for item in facts["stores"][store] or () for fingerprint in item["certificates"]}


def _hidden(facts: Facts, store: str) -> Iterator[Verdict]:
    """The verdict for a store that the account cannot see, or that is not there."""
    if facts["stores"][store] is None and store != "ntauth":
        name = f"{_STORES[store]},CN=Public Key Services"
        yield unknown(f"object {_STORES[store]}", f"{name} is not there, or is hidden from this account.", right=f"Read on {name}")


# ---- what is in a store


def _unknown_entries(store: str) -> Judge:
    def judge(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
        yield from _hidden(facts, store)
        certificates = Certificates(facts)
        entries = _entries(facts, store)
        declared = set(facts["declared"].get(store, ())) if entries else set()
        allowed = {str(pin).replace(":", "").lower() for pin in parameters["known"]}
        for fingerprint, dn in entries.items():
            found = certificates.get(fingerprint)
            subject = certificate_subject(found) if found else f"certificate ({fingerprint[:16]})"
            evidence = {**(described(found) if found else {"sha256": fingerprint}), "object": dn}
            if fingerprint in declared | allowed:
                yield passed(subject)
            elif not declared and not allowed:
                yield unknown(
                    subject,
                    f"It is in {_WORDS[store]}; whether it should be is not known, for the inventory names nothing for this store.",
                    right="certlogon_trusted_certificates or certlogon_authority_name in the inventory",
                    sha256=fingerprint,
                )
            else:
                yield failure(subject, f"It is in {_WORDS[store]}, and the inventory does not name it.", evidence)

    return judge


def _sound(store: str, kind: str) -> Judge:
    """The judge of one kind of defect (`expired`, `weak`, `not_a_ca`) of a store's entries."""

    def judge(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
        yield from _hidden(facts, store)
        certificates = Certificates(facts)
        for fingerprint, dn in _entries(facts, store).items():
            found = certificates.get(fingerprint)
            if found is None:
                if kind == "not_a_ca":
                    message = f"What is in {_WORDS[store]} is no certificate: it {certificates.broken(fingerprint)}."
                    yield failed(f"certificate ({fingerprint[:16]})", message, sha256=fingerprint, object=dn)
                continue
            wrong = [defect.text for defect in defects(found, facts.now) if defect.kind == kind]
            if kind == "not_a_ca" and store == "root" and not found.self_signed:
                wrong.append("is not self-signed, so that it is no root")
            if wrong:
                evidence: dict[str, Any] = {**described(found), "object": dn, "key": f"{found.key_type} {found.key_bits}"}
                evidence["hash"] = found.signature_hash
                yield failure(certificate_subject(found), f"In {_WORDS[store]} is a certificate that {'; '.join(wrong)}.", evidence)
            else:
                yield passed(certificate_subject(found))

    return judge


ntauth_unknown = _unknown_entries("ntauth")
ntauth_expired = _sound("ntauth", "expired")
ntauth_weak = _sound("ntauth", "weak")
ntauth_not_a_ca = _sound("ntauth", "not_a_ca")
root_unknown = _unknown_entries("root")
root_expired = _sound("root", "expired")
root_weak = _sound("root", "weak")
root_not_a_ca = _sound("root", "not_a_ca")


# ---- chains


def ntauth_chain(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """A CA that may log people on chains up to a root that the directory has everybody trust."""
    yield from _hidden(facts, "root")
    certificates = Certificates(facts)
    roots = {one.der for fingerprint in _entries(facts, "root") if (one := certificates.get(fingerprint))}
    for fingerprint in _entries(facts, "ntauth"):
        found = certificates.get(fingerprint)
        if found is None:
            continue
        chain = _chain(found, certificates.all)
        evidence = {**described(found), "chain": [str(one) for one in chain]}
        if chain[-1].der in roots:
            yield passed(certificate_subject(found))
        elif chain[-1].self_signed:
            message = f"It chains up to {chain[-1]}, which is not among the trusted roots of the directory."
            yield failure(certificate_subject(found), message, evidence)
        else:
            message = f"The certificate of its issuer {chain[-1].issuer} is neither in CN=AIA nor among the trusted roots."
            yield failure(certificate_subject(found), message, evidence)


def _chain(certificate: Certificate, pool: list[Certificate]) -> list[Certificate]:
    chain = [certificate]
    while not chain[-1].self_signed and len(chain) < chains.LONGEST:
        issuer = next((one for one in pool if one not in chain and one.subject == chain[-1].issuer and _issued(one, chain[-1])), None)
        if issuer is None:
            break
        chain.append(issuer)
    return chain


@lru_cache(maxsize=4096)
def _issued(issuer: Certificate, certificate: Certificate) -> bool:
    above, below = chains.parsed([issuer, certificate])
    return chains.issued_by(below, above)


def _of_services(store: str) -> Judge:
    """The judge of whether a store holds the certificate that each enrollment service signs with."""

    def judge(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
        yield from _hidden(facts, store)
        certificates = Certificates(facts)
        entries = _entries(facts, store)
        exempt = {name.casefold() for name in parameters.get("except", ())}
        for service in facts["enrollment_services"]:
            subject = f"service {service['name']}"
            found = [one for one in map(certificates.get, service["certificates"]) if one]
            if service["name"].casefold() in exempt or not found:
                continue
            if store == "ntauth" and not _logs_on(facts, service):
                yield passed(subject, "It publishes no template whose certificates log on.")
                continue
            newest = max(found, key=lambda one: one.not_before)
            if newest.sha256 in entries:
                yield passed(subject)
            elif facts["stores"][store] is None and store == "ntauth":
                message = "The directory shows this account no NTAuth store, without which no CA may log anybody on."
                yield failure(subject, message, described(newest))
            elif facts["stores"][store] is not None:
                yield failure(subject, f"The CA's newest certificate is not in {_WORDS[store]}.", described(newest))

    return judge


def _logs_on(facts: Facts, service: Mapping[str, Any]) -> bool:
    """Whether it may issue certificates for logon; a template that cannot be seen may be one."""
    words = {template["name"].casefold(): template["words"] for template in facts["templates"]}
    return any(name.casefold() not in words or logs_on(words[name.casefold()]) for name in service["templates"])


service_in_ntauth = _of_services("ntauth")
service_in_aia = _of_services("intermediate")


# ---- replication


def replicas(facts: Facts, parameters: Parameters) -> Iterator[Verdict]:
    """All domain controllers have the same PKI objects."""
    found = facts["replicas"]
    if len(found) < 2:
        return
    reference = next((item["host"] for item in found if item["reference"]), "the one asked first")
    for item in found:
        subject = f"controller {item['host']}"
        if item["reference"]:
            continue
        if not item["answered"]:
            yield unknown(subject, f"It did not answer: {item['error']}.")
        elif not item["count"]:
            yield passed(subject)
        for difference in item["differences"]:
            yield _difference(subject, reference, difference)
        if more := item["count"] - len(item["differences"]):
            yield failed(f"{subject}: further objects", f"{more} more objects differ from {reference}.", count=item["count"])


def _difference(subject: str, reference: str, difference: Mapping[str, Any]) -> Verdict:
    what = {
        "missing": f"It does not have {difference['dn']}, which {reference} has",
        "extra": f"It has {difference['dn']}, which {reference} does not have",
        "differs": f"{', '.join(difference['attributes'])} of {difference['dn']} differ from {reference}",
    }[difference["what"]]
    return failed(
        f"{subject}: {difference['dn']}",
        f"{what}.",
        mend="Look at replication (repadmin /showrepl, or samba-tool drs showrepl); look again if it was changed just now.",
        attributes=difference["attributes"],
        compared_with=reference,
    )
