# SPDX-License-Identifier: GPL-3.0-or-later
"""The PassiveKey server itself: its secrets, keys, CA, port, database, log, backups, clock, and the devices that it vouches for (pure).

FreeRADIUS and nginx, which stand before it, are judged in `passivekey_fronts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import chains, description
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load, load_one
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
from ansible_collections.certlogon.core.plugins.module_utils.libraries import x509

Parameters = Mapping[str, Any]
Verdicts = Iterator[Verdict]
Words = Mapping[str, Any]

USER = "passivekey"
_READERS = {"root", USER, "freerad"}
_AES = (17, 18, 19, 20)
_AES_BITS = 0x8 | 0x10
"""msDS-SupportedEncryptionTypes ([MS-KILE] 2.2.7): AES128 and AES256 with SHA-1."""

_WEAK_BITS = 0x1 | 0x2 | 0x4
_DISABLED = 0x2
_NOT_LASTING = ("tmpfs", "ramfs", "nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs")
_CLIENT = "1.3.6.1.5.5.7.3.2"


def is_(facts: Facts, name: str) -> Any:
    """What a file or program of the server says. Raises `NotRead` where there is none."""
    found = facts[name]
    if "is" not in found:
        raise NotRead(name, Unread("there is none on the server; was it made by role passivekey_server?"))
    return found["is"]


def setting(facts: Facts, section: str, name: str, default: Any = None) -> Any:
    """A setting of server.toml, or the server's default for it."""
    return (is_(facts, "settings").get(section) or {}).get(name, default)


def _said(facts: Facts, part: str) -> Words:
    """A part of what the server said of itself. Raises `NotRead` with its reason where that failed."""
    found: Words = is_(facts, "observed").get(part) or {"error": "this version of the server does not tell it"}
    if "error" in found:
        raise NotRead(f"observed.{part}", Unread(str(found["error"])))
    return found


def sentence(parts: list[str]) -> str:
    """What is wrong, as one message."""
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]


# ---- running, and as whom


def answers(facts: Facts, _parameters: Parameters) -> Verdicts:
    running = [one for one in facts["processes"] if one["name"] == "server"]
    if not running:
        yield failed("server", "It does not run: nobody enrolls, and no code is accepted", processes=[])
    elif not facts.read("crl"):
        is_(facts, "settings")  # which say where its port is
        yield failed("server", "It runs, and gives no CRL at its own port")
    else:
        yield passed("server")


def service_user(facts: Facts, _parameters: Parameters) -> Verdicts:
    found = sorted({str(one["user"]) for one in facts["processes"] if one["name"] == "server"})
    if not found:
        yield unknown("server", "It does not run, so that nobody sees as whom")
    elif found != [USER]:
        yield failed("server", f"It runs as {', '.join(found)}: who takes it over has more than the server", users=found)
    else:
        yield passed("server", users=found)


# ---- secrets and keys


def secrets_protected(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Root, the service and FreeRADIUS read; nobody else reads, and nobody but the owner writes."""
    for one in is_(facts, "secrets"):
        subject = f"{one['holds']} ({one['path']})"
        if one.get("missing"):
            yield failed(subject, "The settings name it, and there is none", path=one["path"])
            continue
        if "reason" in one:
            yield unknown(subject, f"It cannot be looked at: {one['reason']}")
            continue
        evidence: dict[str, Any] = {"owner": one["owner"], "group": one["group"], "mode": f"{one['mode']:04o}"}
        wrong = []
        if one["owner"] not in _READERS:
            wrong.append(f"it belongs to {one['owner']}")
        if one["mode"] & 0o007:
            wrong.append("everybody on the host may use it")
        if one["mode"] & 0o020:
            wrong.append(f"the group {one['group']} may write it")
        elif one["mode"] & 0o040 and one["group"] not in _READERS:
            wrong.append(f"the group {one['group']} may read it")
        yield (failed(subject, f"{sentence(wrong)} (mode {one['mode']:04o})", **evidence) if wrong else passed(subject, **evidence))


def settings_protected(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Who writes the settings says who enrolls and who administers."""
    found = facts["settings_file"]
    if found.get("missing") or "reason" in found:
        yield unknown("server.toml", f"It cannot be looked at: {found.get('reason') or 'there is none'}")
        return
    evidence: dict[str, Any] = {"owner": found["owner"], "group": found["group"], "mode": f"{found['mode']:04o}"}
    if found["owner"] != "root" or found["mode"] & 0o022:
        yield failed("server.toml", "Others than root may write it, the server itself perhaps", **evidence)
    else:
        yield passed("server.toml", **evidence)


def passphrase_source(facts: Facts, _parameters: Parameters) -> Verdicts:
    source = str(setting(facts, "keys", "passphrase", ""))
    kind = source.partition(":")[0]
    if kind == "file":
        yield failed(
            "passphrase of the keys",
            "It is in a file beside the keys: whoever has a copy of this disk has the CA, and opens every seed",
            passphrase=source,
        )
    elif kind in ("credential", "pkcs11"):
        yield passed("passphrase of the keys", passphrase=kind)
    else:
        yield unknown("passphrase of the keys", f"Its source {kind!r} is none that is known", passphrase=kind)


def keys_rotated(facts: Facts, parameters: Parameters) -> Verdicts:
    newest: dict[str, int] = {}
    for one in is_(facts, "keyring")["keys"]:
        newest[one["purpose"]] = max(newest.get(one["purpose"], 0), one["created"])
    for purpose, created in sorted(newest.items()):
        most = parameters.get(f"{purpose}_days")
        if most is None:
            continue
        days = int((facts.now.timestamp() - created) // 86400)
        evidence: dict[str, Any] = {"days": days, "created": description.time_text(datetime.fromtimestamp(created, timezone.utc))}
        if days > int(most):
            yield failed(f"{purpose} key", f"It is {days} days old, more than {most}", mend=f"passivekey rotate {purpose}", **evidence)
        else:
            yield passed(f"{purpose} key", **evidence)


# ---- the CA of devices


def _cas(facts: Facts) -> Iterator[tuple[str, str, Any]]:
    """Subject, SHA-256 and the library's object of each certificate of the CA."""
    for words in is_(facts, "keyring")["certificates"]:
        (parsed,) = chains.parsed(load(words["pem"]))
        yield f"CA {words['subject']} ({words['sha256'][:16]})", words["sha256"], parsed


def ca_separate(facts: Facts, _parameters: Parameters) -> Verdicts:
    """What it signs opens nothing but PassiveKey: no directory and no gateway trusts it."""
    trusting = _trusting(facts)
    for subject, sha256, parsed in _cas(facts):
        found = sorted(place for place, known in trusting.items() if known is not None and sha256 in known)
        unseen = sorted(place for place, known in trusting.items() if known is None)
        evidence: dict[str, Any] = {"sha256": sha256, "looked_at": sorted(set(trusting) - set(unseen))}
        if not chains.self_issued(parsed):
            issuer = parsed.issuer.rfc4514_string()
            yield failed(subject, f"It was issued by {issuer}: who trusts that one trusts devices", issuer=issuer, **evidence)
        elif found:
            yield failed(
                subject, f"It is trusted by {', '.join(found)}: a device's certificate opens that, too", trusted_by=found, **evidence
            )
        elif unseen:
            yield unknown(subject, f"Who trusts it is not known of {', '.join(unseen)}", **evidence)
        else:
            yield passed(subject, **evidence)


def _trusting(facts: Facts) -> dict[str, set[str] | None]:
    """By place, the certificates that are trusted there; None where these were not read."""
    found: dict[str, set[str] | None] = {}
    domains = facts.others("domain")
    for domain in domains:
        try:
            stores = domain["stores"]
            found[f"the directory of {domain.target.name}"] = {
                digest for entries in stores.values() for entry in entries or () for digest in entry["certificates"]
            }
        except NotRead:
            found[f"the directory of {domain.target.name}"] = None
    if not domains:
        found["the directory (no domain is in this run)"] = None
    for kind in ("connect_secure", "ocserv"):
        for gate in facts.others(kind):
            found[f"the gateway {gate.target.name}"] = _trusted_by_gate(gate, kind)
    return found


def _trusted_by_gate(gate: Facts, kind: str) -> set[str] | None:
    try:
        words = gate["trusted_client_cas"] if kind == "connect_secure" else gate["trust"].get("is") or ()
        return {one["sha256"] for one in words if "sha256" in one}
    except NotRead:
        return None


def ca_constrained(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Whoever takes its key makes devices of this server, and nothing else (RFC 5280 4.2.1.9, 4.2.1.10)."""
    host = str(is_(facts, "settings").get("origin", "")).removeprefix("https://").partition(":")[0]
    for subject, sha256, parsed in _cas(facts):
        wrong = list(_too_wide(parsed, host))
        evidence: dict[str, Any] = {"sha256": sha256, "host": host}
        yield failed(subject, f"It {'; it '.join(wrong)}", **evidence) if wrong else passed(subject, **evidence)


def _too_wide(parsed: Any, host: str) -> Iterator[str]:
    basic, usages, names = (_extension(parsed, kind) for kind in (x509.BasicConstraints, x509.ExtendedKeyUsage, x509.NameConstraints))
    if basic is None or not basic.ca or basic.path_length != 0:
        yield "may make further CAs (no path length 0)"
    if usages is None or [one.dotted_string for one in usages] != [_CLIENT]:
        yield "may make certificates for more than clients (its extended key usage)"
    uris = [one.value for one in (names.permitted_subtrees or ()) if isinstance(one, x509.UniformResourceIdentifier)] if names else []
    if uris != [host]:
        yield f"is not bound to {host} by name constraints"
    excluded = {type(one) for one in (names.excluded_subtrees or ())} if names else set()
    if not {x509.DNSName, x509.IPAddress} <= excluded:
        yield "may name hosts (its name constraints exclude no DNS names or IP addresses)"


def _extension(parsed: Any, kind: Any) -> Any:
    try:
        return parsed.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def ca_days_left(facts: Facts, parameters: Parameters) -> Verdicts:
    found = list(_cas(facts))
    if not found:
        yield unknown("CA", "The key file holds no certificate of the CA")
        return
    subject, _sha256, parsed = found[-1]
    yield users_port.days_left(subject, parsed, facts.now, parameters)


def crl(facts: Facts, parameters: Parameters) -> Verdicts:
    """What the server gives to everybody is in force, new, and its own CA's."""
    found = is_(facts, "crl")
    evidence: dict[str, Any] = {name: found[name] for name in ("number", "this_update", "next_update", "entries")}
    if not found["signed_by"]:
        yield failed("CRL of devices", "None of the server's own CAs signed it", issuer=found["issuer"], **evidence)
        return
    age = (facts.now - moment(found["this_update"])).total_seconds() / 3600
    ends = moment(found["next_update"]) if found["next_update"] else None
    if ends is None or ends <= facts.now:
        yield failed("CRL of devices", "It is in force no more", **evidence)
    elif age > float(parameters["hours"]):
        yield failed("CRL of devices", f"It was made {age:.0f} hours ago; the server makes one each minute that it is asked", **evidence)
    else:
        yield passed("CRL of devices", **evidence)


# ---- devices and accounts


def device_life(facts: Facts, parameters: Parameters) -> Verdicts:
    devices, most = _said(facts, "devices"), int(parameters["days"])
    days = (devices["last_expiry"] - facts.now.timestamp()) / 86400
    if not devices["last_expiry"]:
        return
    evidence: dict[str, Any] = {"last_expiry": description.time_text(datetime.fromtimestamp(devices["last_expiry"], timezone.utc))}
    if days > most:
        yield failed("certificates of devices", f"One is valid for {days:.0f} more days, longer than {most}", **evidence)
    else:
        yield passed("certificates of devices", **evidence)


def orphaned(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Nothing of such an account is accepted; but all of it is, the moment that the account is enabled again."""
    devices = _said(facts, "devices")
    for one in devices["orphaned"]:
        yield failed(
            f"device {one['device']} of {one['account']}",
            f"It is in force, and its account is {one['is']}",
            mend=f"passivekey revoke --device {one['device']}",
            sid=one["sid"],
            account=one["account"],
        )
    if (more := devices["orphaned_count"] - len(devices["orphaned"])) > 0:
        yield failed(f"{more} further devices", "They are in force, and their accounts are disabled, expired or gone", count=more)
    if not devices["orphaned_count"] and devices["accounts"]:
        yield passed("devices", accounts=devices["accounts"])


def too_many(facts: Facts, _parameters: Parameters) -> Verdicts:
    devices = _said(facts, "devices")
    for one in devices["over"]:
        text = f"It has {one['devices']} devices in force, and policy allows {devices['allowed']}"
        yield failed(f"account {one['account']}", text, sid=one["sid"], devices=one["devices"])
    if (more := devices["over_count"] - len(devices["over"])) > 0:
        yield failed(
            f"{more} further accounts", f"They have more devices in force than the {devices['allowed']} that policy allows", count=more
        )
    if not devices["over_count"] and devices["accounts"]:
        yield passed("accounts", accounts=devices["accounts"], allowed=devices["allowed"])


def unused(facts: Facts, _parameters: Parameters) -> Verdicts:
    devices = _said(facts, "devices")
    for one in devices["unused"]:
        text = f"It is in force, and was not seen for {one['days']} days"
        yield failed(
            f"device {one['device']} of {one['account']}", text, mend=f"passivekey revoke --device {one['device']}", days=one["days"]
        )
    if (more := devices["unused_count"] - len(devices["unused"])) > 0:
        yield failed(f"{more} further devices", f"They are in force, and were not seen for {devices['unused_days']} days", count=more)
    if not devices["unused_count"] and devices["states"].get("active"):
        yield passed("devices", active=devices["states"]["active"])


def enrollment_groups(facts: Facts, parameters: Parameters) -> Verdicts:
    groups = setting(facts, "enrollment", "groups", [])
    wide = sorted(set(groups) & set(parameters["everybody"]))
    if not groups:
        yield failed("who enrolls", "Everybody with an account may, for no group is named (enrollment.groups)", groups=[])
    elif wide:
        yield failed("who enrolls", f"Everybody may: {', '.join(wide)} is among enrollment.groups", groups=groups)
    else:
        yield passed("who enrolls", groups=groups)


def second_factor(facts: Facts, _parameters: Parameters) -> Verdicts:
    kinds = setting(facts, "enrollment", "second_factor", [])
    if kinds:
        yield passed("enrolment", second_factor=kinds)
    else:
        yield failed(
            "enrolment",
            "Whoever has a user's password, or sits at an unlocked workstation, enrolls a device of that user",
            second_factor=[],
        )


def administrators(facts: Facts, _parameters: Parameters) -> Verdicts:
    groups = setting(facts, "administration", "groups", [])
    if not groups:
        return
    if setting(facts, "administration", "passwords", True):
        yield failed("administrators' pages", "A password alone opens them, and who is in issues enrolment tickets", groups=groups)
    else:
        yield passed("administrators' pages", groups=groups)


# ---- guessing


def lockout(facts: Facts, parameters: Parameters) -> Verdicts:
    found: dict[str, Any] = {
        name: int(setting(facts, "lockout", name, default))
        for name, default in (("account_failures", 8), ("source_failures", 40), ("within", 900), ("for", 900))
    }
    wrong = [
        f"{what} after {found[name]} failures (at most {most})"
        for name, what, most in (
            ("account_failures", "an account waits", int(parameters["account_failures"])),
            ("source_failures", "an address waits", int(parameters["source_failures"])),
        )
        if found[name] > most
    ]
    wrong += [
        f"{name} is {found[name]} s (at least {parameters['seconds']})"
        for name in ("within", "for")
        if found[name] < int(parameters["seconds"])
    ]
    yield failed("lock-out", f"Codes can be guessed: {'; '.join(wrong)}", **found) if wrong else passed("lock-out", **found)


def sources(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Who ends TLS for the server is named, and is this machine: else an address can be made up, or all users share one."""
    proxies, own = setting(facts, "tls", "proxies", []), bool(setting(facts, "tls", "certificate"))
    strange = [one for one in proxies if not one.startswith("127.") and one != "::1"]
    if not own and not proxies:
        yield failed("addresses of users", "All come from the proxy's: one guesser makes everybody wait", proxies=[], certificate=own)
    elif strange:
        yield failed(
            "addresses of users", f"What {', '.join(strange)} says of them is believed, over the network", proxies=proxies, certificate=own
        )
    else:
        yield passed("addresses of users", proxies=proxies, certificate=own)


# ---- log, database, backups


def audit_kept(facts: Facts, parameters: Parameters) -> Verdicts:
    found, days = is_(facts, "audit"), int(setting(facts, "audit", "days", 365))
    folder, files = found["folder"], [one for one in found["files"] if "mode" in one]
    evidence: dict[str, Any] = {"days": days, "files": len(files), "owner": folder.get("owner"), "mode": f"{folder.get('mode', 0):04o}"}
    wrong = []
    if days < int(parameters["days"]):
        wrong.append(f"it is kept for {days} days only, fewer than {parameters['days']}")
    if not files:
        wrong.append("there is no file")
    if folder.get("owner") not in ("root", USER) or folder.get("mode", 0) & 0o022:
        wrong.append("others may write into its folder")
    if folder.get("mode", 0) & 0o004 or any(one["mode"] & 0o006 for one in files):
        wrong.append("everybody on the host may read it")
    yield failed("audit log", sentence(wrong), **evidence) if wrong else passed("audit log", **evidence)


def database(facts: Facts, _parameters: Parameters) -> Verdicts:
    """What was accepted is accepted no second time, also after a power cut."""
    evidence: dict[str, Any]
    url = str(is_(facts, "settings").get("database", ""))
    if url.startswith("sqlite"):
        found = is_(facts, "sqlite")
        wrong = [] if found["wal"] else ["it has no write-ahead log: the server has never opened it, or something else did"]
        if found["filesystem"] in _NOT_LASTING:
            wrong.append(f"its file system ({found['filesystem']}) forgets it, or does not lock as SQLite needs")
        evidence = {"kind": "sqlite", **found}
    else:
        said = _said(facts, "database")
        evidence = dict(said)
        wrong = [f"{name} is off" for name in ("fsync", "full_page_writes", "synchronous_commit") if said.get(name) == "off"]
        if not said.get("local") and not said.get("tls"):
            wrong.append("it is on another host, and asked without TLS")
    yield failed("database", sentence(wrong), **evidence) if wrong else passed("database", **evidence)


def backup(facts: Facts, parameters: Parameters) -> Verdicts:
    found = is_(facts, "backups")
    files = [one for one in found["backups"] if one.get("size")]
    if not files:
        yield failed("backup", "There is none", folder=found["folder"]["path"])
        return
    newest = max(files, key=lambda one: float(one["changed"]))
    hours = (facts.now.timestamp() - newest["changed"]) / 3600
    evidence: dict[str, Any] = {"newest": newest["path"], "hours": round(hours, 1), "backups": len(files)}
    wide = [one["path"] for one in [*files, *found["keys"]] if one.get("mode", 0) & 0o007]
    if hours > float(parameters["hours"]):
        yield failed("backup", f"The newest is {hours:.0f} hours old", **evidence)
    elif not [one for one in found["keys"] if one.get("size")]:
        yield failed("backup", "The database is saved, and its keys are not: without them no seed is opened again", **evidence)
    elif wide:
        yield failed("backup", f"Everybody on the host may read {wide[0]}", **evidence)
    elif found["folder"].get("mode", 0) & 0o007 and not wide:
        yield failed("backup", "Everybody on the host may look into its folder", **evidence)
    else:
        yield passed("backup", **evidence)


# ---- the port


def _own(facts: Facts) -> Any:
    return chains.parsed(load(is_(facts, "certificate")[0]["pem"]))[0]


def certificate_days_left(facts: Facts, parameters: Parameters) -> Verdicts:
    yield users_port.days_left("TLS certificate", _own(facts), facts.now, parameters)


def certificate_strength(facts: Facts, _parameters: Parameters) -> Verdicts:
    yield users_port.strength("TLS certificate", load_one(is_(facts, "certificate")[0]["pem"]), facts.now)


def port_shown(facts: Facts, _parameters: Parameters) -> Verdicts:
    yield from users_port.shown(facts["users_port"], {is_(facts, "certificate")[0]["sha256"]: "TLS certificate"})


def port_chain(facts: Facts, _parameters: Parameters) -> Verdicts:
    yield from users_port.chain(facts)


def tls_versions(facts: Facts, _parameters: Parameters) -> Verdicts:
    yield from users_port.tls_versions(facts)


# ---- Kerberos and time


def _entries(facts: Facts) -> list[Words]:
    """The keytab's keys; none, where there is no keytab."""
    found: list[Words] = facts["keytab"].get("is") or []
    return found


def keytab_aes(facts: Facts, _parameters: Parameters) -> Verdicts:
    found = _entries(facts)
    weak = sorted({int(one["type"]) for one in found if one["type"] not in _AES})
    evidence: dict[str, Any] = {"types": sorted({int(one["type"]) for one in found})}
    if weak:
        yield failed(
            "keytab", f"It has keys that are no AES keys (types {', '.join(map(str, weak))}): RC4 and DES can be broken", **evidence
        )
    elif found:
        yield passed("keytab", **evidence)


def _holder(facts: Facts) -> tuple[str, Words | None, list[str]]:
    """The service's principal, the one account that has it, and the names of all that do."""
    said = _said(facts, "service")
    holders = said["holders"]
    return said["principal"], holders[0] if len(holders) == 1 else None, [str(one.get("sAMAccountName")) for one in holders]


def keytab_current(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Tickets are made with the account's newest key: the keytab must have that one."""
    found = _entries(facts)
    if not found:
        return
    principal, holder, names = _holder(facts)
    if holder is None:
        what = f"{len(names)} accounts have {principal} ({', '.join(names)})" if names else f"No account has {principal}"
        yield failed("keytab", f"{what}: no ticket is issued for it", accounts=names)
        return
    versions = sorted({int(one["version"]) for one in found if str(one["principal"]).partition("@")[0].lower() == principal.lower()})
    evidence: dict[str, Any] = {"account": names[0], "versions": versions, "directory": holder.get("msDS-KeyVersionNumber")}
    if int(holder.get("userAccountControl") or 0) & _DISABLED:
        yield failed("keytab", f"The account {names[0]} is disabled", **evidence)
    elif holder.get("msDS-KeyVersionNumber") is None:
        yield unknown("keytab", f"Which key of {names[0]} is the newest could not be read", right="Read msDS-KeyVersionNumber", **evidence)
    elif int(holder["msDS-KeyVersionNumber"]) not in versions:
        newest = holder["msDS-KeyVersionNumber"]
        yield failed("keytab", f"It has no key of {principal} of version {newest}, which tickets are made with", **evidence)
    else:
        yield passed("keytab", **evidence)


def service_account(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Whoever has the keytab is this account: it is nobody of weight, and the domain makes AES tickets for it alone."""
    if not _entries(facts):
        return
    _principal, holder, names = _holder(facts)
    if holder is None:
        yield unknown("service account", "Not exactly one account has the service's name", accounts=names)
        return
    bits = int(holder.get("msDS-SupportedEncryptionTypes") or 0)
    evidence: dict[str, Any] = {
        "account": names[0],
        "msDS-SupportedEncryptionTypes": bits,
        "adminCount": int(holder.get("adminCount") or 0),
    }
    wrong = ["it is, or was, in a group of administrators (adminCount)"] if evidence["adminCount"] else []
    if not bits & _AES_BITS:
        wrong.append("the domain may make RC4 tickets for it (msDS-SupportedEncryptionTypes says no AES)")
    elif bits & _WEAK_BITS:
        wrong.append("the domain may make RC4 or DES tickets for it (msDS-SupportedEncryptionTypes)")
    yield failed("service account", sentence(wrong), **evidence) if wrong else passed("service account", **evidence)


def clock(facts: Facts, parameters: Parameters) -> Verdicts:
    """Codes live 30 seconds, tickets of Kerberos are refused from five minutes on: held against a domain controller, else this machine."""
    most = float(parameters["seconds"])
    seen = (moment(facts["clock"]) - facts.now).total_seconds()
    try:
        ahead, whose = float(_said(facts, "clock")["ahead"]), "the domain controller's"
        ahead = 0.0 if -1 < ahead < 1 else ahead  # the directory tells whole seconds
    except NotRead as error:
        if abs(seen) <= most:
            yield unknown("clock", f"The domain controller's was not read: {error.unread.reason}", seconds_from_control_node=round(seen))
            return
        ahead, whose = seen, "the control node's"
    evidence: dict[str, Any] = {"clock": facts["clock"], "seconds": ahead}
    if abs(ahead) > most:
        yield failed("clock", f"It is {abs(ahead):.0f} seconds {'ahead of' if ahead > 0 else 'behind'} {whose}", **evidence)
    else:
        yield passed("clock", **evidence)


def time_service(facts: Facts, _parameters: Parameters) -> Verdicts:
    running = sorted({str(one["name"]) for one in facts["processes"] if one["name"] not in ("server", "nginx", "freeradius", "radiusd")})
    if running:
        yield passed("time service", running=running)
    elif facts["container"]:
        yield unknown("time service", "It is a container: its clock is the host's beneath, which was not looked at")
    else:
        yield failed("time service", "None runs (chrony, systemd-timesyncd, ntpd): the clock drifts away from workstations'", running=[])
