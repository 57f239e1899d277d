# SPDX-License-Identifier: GPL-3.0-or-later
"""The port that users of a VPN gateway open: certificate, chain, versions of TLS; for gateways of any kind (pure)."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import chains, description
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, judge, load, load_one
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, NotRead, Verdict, failed, passed, unknown
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.device_certificate_words import covers, host_names

Verdicts = Iterator[Verdict]
Words = Mapping[str, Any]

OLD_VERSIONS = ("TLSv1", "TLSv1.1")


def days_left(subject: str, parsed: Any, now: datetime, parameters: Mapping[str, Any], **evidence: Any) -> Verdict:
    """At most half of a certificate's life counts, or else a short-lived one would never do."""
    left = (parsed.not_valid_after_utc - now).total_seconds() / 86400
    least = description.window(parsed, int(parameters["days_left"])).total_seconds() / 86400
    evidence |= {"not_after": description.time_text(parsed.not_valid_after_utc), "days_left": int(left // 1)}
    if left <= 0:
        return failed(subject, f"It expired on {parsed.not_valid_after_utc:%Y-%m-%d}: browsers and clients turn away", **evidence)
    if parsed.not_valid_before_utc > now:
        return failed(subject, f"It is not valid before {parsed.not_valid_before_utc:%Y-%m-%d}", **evidence)
    if left < least:
        return failed(subject, f"It expires in {int(left)} days", **evidence)
    return passed(subject, **evidence)


def strength(subject: str, certificate: Certificate, now: datetime) -> Verdict:
    evidence: dict[str, Any] = {"key": f"{certificate.key_type} {certificate.key_bits}", "signature_hash": certificate.signature_hash}
    weak = [one.text for one in judge(certificate, now) if one.kind == "weak"]
    return failed(subject, f"It {'; and '.join(weak)}", **evidence) if weak else passed(subject, **evidence)


def _port(one: Words) -> str:
    return f"users' port {one['server_name']}:{one['port']}"


def shown(port: Sequence[Words], mine: Mapping[str, str] | None) -> Verdicts:
    """The port shows one of the gateway's certificates (`mine`: names by SHA-256, None where these are not known), for the right name."""
    for one in port:
        leaf = _leaf(one)
        if isinstance(leaf, Verdict):
            yield leaf
            continue
        certificate, parsed = leaf
        evidence: dict[str, Any] = {"sha256": certificate.sha256, "names": host_names(parsed), "issuer": certificate.issuer}
        if not covers(parsed, one["server_name"]):
            yield failed(_port(one), f"It shows a certificate for {', '.join(host_names(parsed)) or certificate.subject}", **evidence)
        elif mine is None:
            yield unknown(_port(one), "Whether the certificate that it shows is the gateway's own is not known", **evidence)
        elif certificate.sha256 not in mine:
            yield failed(_port(one), "It shows a certificate that is none of the gateway's own: something else answers there", **evidence)
        else:
            yield passed(_port(one), **evidence)


def _leaf(one: Words) -> tuple[Certificate, Any] | Verdict:
    if "problem" in one:
        return unknown(_port(one), f"It was not reached from the control node: {one['problem']}")
    if not one["certificates"] or not one["certificates"][0]:
        return unknown(_port(one), "It shows no certificate that can be read")
    certificate = load_one(one["certificates"][0])
    return certificate, chains.parsed([certificate])[0]


def chain(facts: Facts) -> Verdicts:
    """What the port sends leads to a root that users' computers know: the declared one, else those of the domains of the run."""
    anchors, whose = _anchors(facts)
    for one in facts["users_port"]:
        leaf = _leaf(one)
        if isinstance(leaf, Verdict):
            yield leaf
            continue
        if not anchors:
            yield unknown(_port(one), f"No root is known that its chain should lead to: {whose}")
            continue
        sent = chains.parsed([each for pem in one["certificates"][1:] if pem for each in load(pem)])
        built = chains.build(leaf[1], sent, anchors, facts.now)
        evidence: dict[str, Any] = {"sent": [each.subject.rfc4514_string() for each in sent], "roots": whose}
        if built.problems:
            yield failed(_port(one), f"Browsers warn: {'; '.join(built.problems)}", **evidence)
        else:
            yield passed(_port(one), **evidence)


def _anchors(facts: Facts) -> tuple[list[Any], str]:
    """The roots, and where they are from or why there are none."""
    expected = facts["expected"]
    if expected.get("anchors"):
        return chains.parsed(load(expected["anchors"])), str(expected["anchor_path"])
    if expected.get("anchors_problem"):
        return [], str(expected["anchors_problem"])
    found = []
    for domain in facts.others("domain"):
        try:
            known = domain["pki_certificates"]
            found += [
                known[digest]["der"]
                for entry in domain["stores"]["root"] or ()
                for digest in entry["certificates"]
                if "der" in known[digest]
            ]
        except NotRead as error:
            return [], str(error)
    names = ", ".join(one.target.name for one in facts.others("domain"))
    anchors = chains.parsed([load_one(base64.b64decode(der)) for der in found])
    return anchors, f"the roots of {names}" if names else "no anchor_path is declared, and no domain is in this run"


def tls_versions(facts: Facts) -> Verdicts:
    versions: Mapping[str, bool | None] = facts["tls_versions"]
    taken = sorted(name for name, takes in versions.items() if takes)
    old = [name for name in OLD_VERSIONS if versions.get(name)]
    untold = [name for name in OLD_VERSIONS if versions.get(name) is None]
    if old:
        yield failed("users' port", f"It still takes {' and '.join(old)}", versions=taken)
    elif untold:
        yield unknown("users' port", f"Whether it takes {' or '.join(untold)} could not be tried from here", versions=taken)
    elif not taken:
        yield unknown("users' port", "It took no version of TLS that was tried", versions=taken)
    else:
        yield passed("users' port", versions=taken)
