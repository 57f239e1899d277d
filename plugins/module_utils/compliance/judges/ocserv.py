# SPDX-License-Identifier: GPL-3.0-or-later
"""What lets people in to a VPN gateway with ocserv, held against what the inventory declares (pure).

ocserv alone lets everybody in with an expired CRL, takes the CRL of another CA of the same name, and does not look at a certificate's
purpose (docs/ocserv.md): what closes it is what certlogon-gateway writes, so that is what is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import chains, keys
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import attempt, load_one
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges import users_port
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges.crls import moment
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import (
    Facts,
    NotRead,
    Unread,
    Verdict,
    failed,
    passed,
    unknown,
)
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.device_certificate_words import covers, host_names

Parameters = Mapping[str, Any]
Verdicts = Iterator[Verdict]
Words = Mapping[str, Any]

FOLDER = "/var/lib/certlogon/vpn"
GATE = "/usr/local/lib/certlogon/ocserv-gate"
STOP = "stop"
_CURVES = {"prime256v1": "secp256r1", "P-256": "secp256r1", "P-384": "secp384r1", "P-521": "secp521r1"}


def _is(facts: Facts, name: str) -> Any:
    """What a file of the gateway says. Raises `NotRead` where there is none, or none that can be understood."""
    found = facts[name]
    if "is" not in found:
        raise NotRead(name, Unread(found.get("problem") or "there is no such file on the gateway; was it made by role ocserv_gateway?"))
    return found["is"]


def _authorities(facts: Facts) -> list[Words]:
    found: list[Words] = _is(facts, "settings")["authorities"]
    return found


def _ca(words: Words) -> str:
    return f"trusted client CA {words['name']}"


def _value(facts: Facts, directive: str) -> str | None:
    """The value that counts: ocserv takes the last."""
    values = _is(facts, "configuration").get(directive) or []
    return str(values[-1]) if values else None


# ---- who gets in


def certificate_required(facts: Facts, _parameters: Parameters) -> Verdicts:
    configuration = _is(facts, "configuration")
    evidence = {name: configuration.get(name, []) for name in ("auth", "enable-auth", "cisco-client-compat", "vhosts")}
    ways = [*evidence["auth"], *evidence["enable-auth"]]
    others = [way for way in evidence["enable-auth"] if not way.startswith("certificate")]
    if not _certificates_count(facts) or not _all_show_certificates(facts):
        yield _without_certificate(facts, ways, evidence)
    elif facts["expected"].get("sign_in") == "certificate_and_radius" and not any(way.startswith("radius") for way in evidence["auth"]):
        yield failed(
            "authentication",
            f"A card alone opens the gateway, and no RADIUS server is asked: auth is {', '.join(ways)}",
            directives=evidence,
        )
    elif not any(way.startswith("certificate") for way in evidence["auth"]):
        yield failed("authentication", f"Who has no certificate gets in: auth is {', '.join(ways) or 'not set'}", directives=evidence)
    elif others:
        yield failed("authentication", f"Who has no certificate gets in by {', '.join(others)} (enable-auth)", directives=evidence)
    elif _value(facts, "cisco-client-compat") == "true":
        yield failed("authentication", "A cookie opens a connection without the certificate (cisco-client-compat)", directives=evidence)
    elif evidence["vhosts"]:
        message = f"The virtual hosts {', '.join(evidence['vhosts'])} have settings of their own, which are not looked at"
        yield unknown("authentication", message, directives=evidence)
    else:
        yield passed("authentication", directives=evidence)


def _certificates_count(facts: Facts) -> bool:
    """Whether the inventory lets cards open the gateway at all."""
    return bool(facts["expected"].get("sign_in") != "radius")


def _all_show_certificates(facts: Facts) -> bool:
    return bool(facts["expected"].get("sign_in") != "certificate_or_radius")


def _without_certificate(facts: Facts, ways: list[str], evidence: Words) -> Verdict:
    """Where the inventory declares that the RADIUS server lets in people without a card."""
    asked = [way for way in ways if way.startswith("radius")]
    odd = [way for way in ways if way not in asked and not (way.startswith("certificate") and _certificates_count(facts))]
    if not asked:
        return failed("authentication", f"No RADIUS server is asked: auth is {', '.join(ways) or 'not set'}", directives=evidence)
    if odd:
        return failed(
            "authentication", f"Declared is {facts['expected']['sign_in']}, and there is {', '.join(odd)} too", directives=evidence
        )
    return passed("authentication", "As declared, whom the RADIUS server lets in needs no card", directives=evidence)


def authorities(facts: Facts, _parameters: Parameters) -> Verdicts:
    """The CAs that are declared are those that open the gateway, as long as their CRLs are good."""
    if not _certificates_count(facts):
        return
    if (path := _value(facts, "ca-cert")) != f"{FOLDER}/trust.pem":
        yield failed("ca-cert", f"ocserv trusts the CAs in {path}, which nobody closes when a CRL ends", ca_cert=path)
        return
    settled, trusted = _authorities(facts), {one["sha256"]: one for one in _is(facts, "trust")}
    known = {one["sha256"]: one for one in settled}
    declared = facts["expected"].get("trusted_client_cas")
    for fingerprint, one in trusted.items():
        if fingerprint not in known:
            subject = f"trusted client CA {one['subject']}"
            yield failed(subject, "It opens the gateway, and is in no configuration of certlogon-gateway", sha256=fingerprint)
    wanted, broken = _declared(facts)
    for fingerprint, one in known.items():
        evidence = {"sha256": fingerprint, "opens": fingerprint in trusted}
        if declared is None or fingerprint in wanted:
            yield passed(_ca(one), **evidence)
        elif broken:
            yield unknown(_ca(one), f"Whether it is declared is not known: {'; '.join(broken)}", **evidence)
        else:
            yield failed(_ca(one), "It is declared nowhere: whoever has a certificate of it gets in", **evidence)
    for fingerprint, entry in wanted.items():
        if fingerprint not in known:
            subject = f"trusted client CA {entry.get('name') or entry.get('subject') or fingerprint}"
            yield failed(subject, "It is not on the gateway, so that no card of it opens it", sha256=fingerprint)


def _declared(facts: Facts) -> tuple[dict[str, Words], list[str]]:
    """Declared CAs by SHA-256, and what of them cannot be read."""
    entries = facts["expected"].get("trusted_client_cas") or []
    return {one["sha256"]: one for one in entries if one.get("sha256")}, [str(one["problem"]) for one in entries if "problem" in one]


def purposes(facts: Facts, _parameters: Parameters) -> Verdicts:
    """ocserv does not look at the purpose (EKU): a CA for nothing else is the only help."""
    own = chains.parsed([load_one(one["pem"]) for one in _is(facts, "certificate")[:1]])
    for one in _is(facts, "trust"):
        subject = f"trusted client CA {one['subject']}"
        issued = any(chains.issued_by(each, chains.parsed([load_one(one["pem"])])[0]) for each in own)
        evidence = {"dedicated_ca": facts["expected"].get("dedicated_ca"), "issued_the_gateways_own": issued}
        if not evidence["dedicated_ca"]:
            message = "NOT ENFORCEABLE: ocserv looks at no purpose, so every certificate of this CA opens the gateway, a web server's too"
            yield failed(subject, message, **evidence)
        elif issued:
            message = "It is declared to issue for logon alone, but has issued the gateway's own certificate, which opens the gateway, too"
            yield failed(subject, message, **evidence)
        else:
            yield passed(subject, "It is declared to issue for logon alone", **evidence)


def user_names(facts: Facts, _parameters: Parameters) -> Verdicts:
    wanted, found = facts["expected"].get("user_name_attribute"), _value(facts, "cert-user-oid")
    if not wanted or not _certificates_count(facts):
        return
    if found == wanted:
        yield passed("user names", cert_user_oid=found)
    else:
        yield failed("user names", f"They are made from {found or 'no attribute'}, not from {wanted}", cert_user_oid=found, declared=wanted)


# ---- CRLs


def checked(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Revocations count."""
    if not _certificates_count(facts):
        return
    if (path := _value(facts, "crl")) != f"{FOLDER}/crl.pem":
        yield failed("crl", f"ocserv goes by the CRL in {path or 'no file'}, which nobody judges", crl=path)
        return
    for one in _authorities(facts):
        if not one["anchor"]:
            continue
        if one["checked"]:
            yield passed(_ca(one), urls=one["urls"], frequency=one["frequency"])
        else:
            yield failed(_ca(one), "Revoked certificates of it open the gateway: nothing is checked", checked=False)


def _crls(facts: Facts) -> list[Words]:
    """What ocserv goes by; nothing where what is there is no CRL."""
    found = facts["crls"]
    return [] if "problem" in found else list(_is(facts, "crls"))


def _of(facts: Facts, authority: Words) -> Words | None:
    """The newest CRL in use that this CA has signed."""
    mine = [one for one in _crls(facts) if authority["sha256"] in one["signed_by"] and not one["delta"]]
    return max(mine, key=lambda one: str(one["this_update"]), default=None)


def _good(crl: Words | None, facts: Facts) -> bool:
    return crl is not None and crl["next_update"] is not None and moment(crl["next_update"]) > facts.now


def in_force(facts: Facts, parameters: Parameters) -> Verdicts:
    """Each CA whose CRL counts has one that it signed, in force, for a while yet, and not older than what its CDP has."""
    trusted = {one["sha256"] for one in _is(facts, "trust")}
    for one in _authorities(facts):
        if not one["checked"]:
            continue
        crl, subject = _of(facts, one), f"CRL of {one['name']} in use"
        if crl is None:
            shut = "" if one["sha256"] in trusted else ": the CA is shut out, and with it all of its cards"
            yield failed(subject, f"There is none that this CA has signed{shut}", urls=one["urls"])
        else:
            yield _crl(subject, one, crl, facts, parameters)


def _crl(subject: str, authority: Words, crl: Words, facts: Facts, parameters: Parameters) -> Verdict:
    evidence = {name: crl[name] for name in ("issuer", "number", "this_update", "next_update", "entries")}
    if not _good(crl, facts):
        return failed(subject, f"It ended on {crl['next_update']}", **evidence)
    begins, ends = moment(crl["this_update"]), moment(crl["next_update"])
    left = (ends - facts.now).total_seconds() / 3600
    evidence["hours_left"] = round(left, 1)
    least = min(float(parameters["hours_left"]), (ends - begins).total_seconds() / 3600 * float(parameters["share_left"]) / 100)
    if left < least:
        return failed(subject, f"It ends in {left:.1f} hours, and the gateway has found no newer one", **evidence)
    allowed = float(authority["frequency"] or 0) + float(parameters["grace_hours"])
    for run in facts.others("crls"):
        for point in run["crls"] if run.read("crls") else ():
            for found in point["lists"]:
                newer = authority["sha256"] in found["signed_by"] and not found["delta"] and (found["number"] or 0) > (crl["number"] or 0)
                age = (facts.now - moment(found["this_update"])).total_seconds() / 3600
                if newer and age > allowed:
                    message = f"It is number {crl['number']}; number {found['number']} has been at {point['url']} for {age:.1f} hours"
                    return failed(subject, message, **evidence)
    return passed(subject, **evidence)


def closed_without(facts: Facts, _parameters: Parameters) -> Verdicts:
    """A CA without a good CRL opens nothing; with `without_crl: stop`, no CA at all means that ocserv does not run."""
    settings, trusted = _is(facts, "settings"), {one["sha256"] for one in _is(facts, "trust")}
    shut = []
    for one in settings["authorities"]:
        if not one["anchor"] or not one["checked"]:
            continue
        good = _good(_of(facts, one), facts)
        evidence: dict[str, Any] = {"opens": one["sha256"] in trusted}
        if one["sha256"] not in trusted:
            shut.append(one["name"])
            yield passed(_ca(one), "It is shut out, as it has to be without a good CRL" if not good else "It is shut out", **evidence)
        elif good:
            yield passed(_ca(one), **evidence)
        else:
            yield failed(_ca(one), "It opens the gateway, revoked cards included: ocserv goes on without a CRL in force", **evidence)
    if settings["without_crl"] == STOP and not trusted:
        if facts["running"]:
            yield failed("listener", "No CA has a good CRL, and ocserv is to be stopped then, but it runs", running=True)
        else:
            yield passed("listener", "It is stopped, as it has to be while no CA has a good CRL", running=False)


def gate(facts: Facts, _parameters: Parameters) -> Verdicts:
    """What closes to the second when the first CRL ends, whether or not anything else still works."""
    if not _certificates_count(facts) or not _all_show_certificates(facts):
        return
    path, script, until = _value(facts, "connect-script"), facts["connect_script"], facts["gate"]
    if path != GATE or not script.get("is", {}).get("gate"):
        yield failed("gate", f"ocserv asks {path or 'nobody'} before it opens a session, and not the gate {GATE}", connect_script=path)
        return
    if "is" not in until:
        yield failed("gate", f"Its time is not there ({until.get('problem') or 'no file'}), so that nobody gets in", connect_script=path)
        return
    verifying = any(one["verify"] for one in _authorities(facts))
    ends = [_of(facts, one) for one in _authorities(facts) if one["checked"] and (one["anchor"] or verifying)]
    first = min((moment(one["next_update"]).timestamp() for one in ends if one and one["next_update"]), default=None)
    evidence = {"until": until["is"], "first_crl_ends": first}
    if until["is"] <= facts.now.timestamp():
        yield failed("gate", "It is closed: nobody gets in, since a CRL has ended", **evidence)
    elif first is not None and until["is"] > first + 1:
        yield failed("gate", "It is open for longer than the first CRL in use is in force", **evidence)
    else:
        yield passed("gate", **evidence)


# ---- what keeps it so


def timer(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Something runs certlogon-gateway every minute."""
    evidence = {name: facts[name] for name in ("systemd", "timer_active", "timer_enabled", "cron_running")}
    if facts["program"].get("missing"):
        yield failed("certlogon-gateway", "It is not on the gateway, so that nothing fetches CRLs or shuts a CA out", **evidence)
    elif facts["timer_active"] and facts["timer_enabled"]:
        yield passed("certlogon-gateway", **evidence)
    elif facts["timer_active"]:
        yield failed("certlogon-gateway", "Its timer runs, but will not after the next boot", **evidence)
    elif facts["cron"].get("is", {}).get("tick") and facts["cron_running"]:
        yield passed("certlogon-gateway", **evidence)
    else:
        yield failed(
            "certlogon-gateway",
            "Neither its timer nor its cron job runs: CRLs grow old, and nobody is shut out but by the gate",
            **evidence,
        )


def last_run(facts: Facts, parameters: Parameters) -> Verdicts:
    found = facts["status"]
    if "is" not in found:
        yield failed("certlogon-gateway", f"It has never come to its end here ({found.get('problem') or 'no status.json'})")
        return
    status = found["is"]
    minutes = (moment(facts["clock"]) - moment(str(status["at"]))).total_seconds() / 60
    troubles = [
        f"{one['name']}: {one['problem'] or one['trouble']}" for one in status["authorities"] if one["problem"] or one.get("trouble")
    ]
    evidence = {"at": status["at"], "code": status["code"], "minutes_ago": round(minutes, 1), "troubles": troubles}
    if minutes > float(parameters["minutes"]):
        yield failed("certlogon-gateway", f"It last came to its end {minutes:.0f} minutes ago, but runs every minute", **evidence)
    elif status["code"]:
        yield failed(
            "certlogon-gateway", f"Its last run ended with {status['code']}: {'; '.join(troubles) or 'ocserv does not run'}", **evidence
        )
    else:
        yield passed("certlogon-gateway", **evidence)


def running(facts: Facts, _parameters: Parameters) -> Verdicts:
    """But where it is to be stopped."""
    evidence = {"running": facts["running"], "version": facts["version"]}
    if facts["running"]:
        yield passed("ocserv", **evidence)
    elif _is(facts, "settings")["without_crl"] == STOP and not _is(facts, "trust"):
        yield passed("ocserv", "It is stopped since no CA has a good CRL", **evidence)
    else:
        yield failed("ocserv", "It does not run", **evidence)


def clock(facts: Facts, parameters: Parameters) -> Verdicts:
    """CRLs and the gate go by it."""
    seconds = (moment(facts["clock"]) - facts.now).total_seconds()
    evidence = {"clock": facts["clock"], "seconds": round(seconds)}
    if abs(seconds) > float(parameters["seconds"]):
        yield failed("clock", f"It is {abs(seconds):.0f} seconds {'ahead' if seconds > 0 else 'behind'} of the control node's", **evidence)
    else:
        yield passed("clock", **evidence)


def sessions(facts: Facts, _parameters: Parameters) -> Verdicts:
    """No session of somebody who was revoked goes on. A session does not tell its certificate, so that others go by what cuts them."""
    revoked = {str(user).casefold() for user in facts["expected"].get("revoked_users") or ()}
    found: list[Words] = facts["sessions"]
    for one in found:
        if one["user"].casefold() in revoked:
            yield failed(f"session of {one['user']}", "The user was revoked, and the session goes on", since=one["since"])
    others = [one for one in found if one["user"].casefold() not in revoked]
    placed = facts["crls"].get("changed")
    older = [one["user"] for one in others if placed and one["since"] < placed]
    evidence = {"sessions": len(found), "crls_placed": placed, "cut_when_a_crl_grows": _is(facts, "settings")["prove_again"]}
    if evidence["cut_when_a_crl_grows"] or not older:
        yield passed("sessions", **evidence)
    else:
        message = f"{len(older)} began before the CRLs in use came, and none is cut when a CRL grows: whose they are is not known"
        yield unknown("sessions", message, **evidence)


# ---- its certificate and port


def _own(facts: Facts) -> tuple[Any, Any]:
    found = _is(facts, "certificate")
    if not found:
        raise NotRead("certificate", Unread("the gateway has no certificate"))
    certificate = load_one(found[0]["pem"])
    return certificate, chains.parsed([certificate])[0]


def certificate(facts: Facts, _parameters: Parameters) -> Verdicts:
    """For the declared names, with the declared key."""
    if facts["certificate"].get("missing"):
        yield failed("device certificate", "There is none, so that ocserv cannot start")
        return
    found, parsed = _own(facts)
    names = facts["expected"].get("server_names") or []
    wanted = facts["expected"].get("device_certificate") or {}
    kind = attempt("certificate whose kind of key is known", lambda: keys.kind_of(parsed.public_key()))
    evidence = {"sha256": found.sha256, "names": host_names(parsed), "key": str(kind), "not_after": f"{found.not_after:%Y-%m-%d}"}
    reasons = [f"is not for {name}" for name in names if not covers(parsed, name)]
    if wanted and not wanted.get("pkcs12_path"):
        declared = _kind(wanted)
        reasons += [] if kind == declared else [f"has a key of the kind {kind}, not {declared}"]
    if reasons:
        yield failed("device certificate", f"It {'; and '.join(reasons)}", **evidence)
    else:
        yield passed("device certificate", **evidence)


def _kind(wanted: Words) -> keys.KeyKind:
    if wanted.get("key_type") in ("ec", "ecc"):
        curve = str(wanted.get("curve") or "prime256v1")
        return keys.KeyKind("ec", curve=_CURVES.get(curve, curve))
    return keys.KeyKind("rsa", size=int(wanted.get("key_length") or 2048))


def days_left(facts: Facts, parameters: Parameters) -> Verdicts:
    yield users_port.days_left("device certificate", _own(facts)[1], facts.now, parameters)


def strength(facts: Facts, _parameters: Parameters) -> Verdicts:
    yield users_port.strength("device certificate", _own(facts)[0], facts.now)


def key_protected(facts: Facts, _parameters: Parameters) -> Verdicts:
    mode = facts["key_mode"]
    if mode is None:
        yield unknown("private key", "There is none where the role puts it")
    elif mode & 0o077:
        yield failed("private key", f"Others than root may read it (mode {mode:04o})", mode=f"{mode:04o}")
    else:
        yield passed("private key", mode=f"{mode:04o}")


def shown(facts: Facts, _parameters: Parameters) -> Verdicts:
    mine = {_own(facts)[0].sha256: "device certificate"} if "is" in facts["certificate"] else None
    yield from users_port.shown(facts["users_port"], mine)


def chain(facts: Facts, _parameters: Parameters) -> Verdicts:
    yield from users_port.chain(facts)


def tls_versions(facts: Facts, _parameters: Parameters) -> Verdicts:
    yield from users_port.tls_versions(facts)
