# SPDX-License-Identifier: GPL-3.0-or-later
"""What lets people in to an ocserv gateway: what a script that only reads brought from the host, as facts. No opinion."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import chains, description
from ansible_collections.certlogon.core.plugins.module_utils.certificates import crl as crls
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, load
from ansible_collections.certlogon.core.plugins.module_utils.certificates.crl import Crl
from ansible_collections.certlogon.core.plugins.module_utils.compliance import seen
from ansible_collections.certlogon.core.plugins.module_utils.compliance.looking import reason
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Unread
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import users_port
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers.connect_secure import (
    declared_authorities,
    without_secrets,
)
from ansible_collections.certlogon.core.plugins.module_utils.compliance.read_only import Asked
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Words

SCRIPT = "ocserv_state"
EXPECTED: dict[str, Any] = {
    "server_names": {"type": "list", "elements": "str", "default": []},
    "users_address": {"type": "str"},
    "users_port": {"type": "int", "default": 443},
    "device_certificate": {"type": "dict"},
    "trusted_client_cas": {"type": "list", "elements": "dict"},
    "crl_download_frequency": {"type": "float"},
    "user_name_attribute": {"type": "str"},
    "dedicated_ca": {"type": "bool"},
    "sign_in": {"type": "str"},
    "revoked_users": {"type": "list", "elements": "str", "default": []},
}
"""What the inventory declares; what is left out is not compared."""

_ROOT = "root on the gateway (ansible_user=root, or become)"
_DIRECTIVES = (
    "auth",
    "enable-auth",
    "ca-cert",
    "crl",
    "connect-script",
    "cert-user-oid",
    "cisco-client-compat",
    "server-cert",
    "server-key",
    "tls-priorities",
    "tcp-port",
)


@cache
def script() -> str:
    """The text of the program that is run on the host."""
    return (Path(__file__).parent / "on_host" / f"{SCRIPT}.py").read_text(encoding="utf-8")


def observe(answer: str, params: Mapping[str, Any], observation: Observation, asked: Asked) -> None:
    """All facts, from the script's answer and the users' port. Raises `UserError` for an answer that is none."""
    brought = _brought(answer)
    expected = params.get("expected") or {}
    observation.set("expected", _declared(expected))
    observation.set("clock", _time(brought["now"]))
    for fact in ("running", "systemd", "timer_active", "timer_enabled", "cron_running", "relay_running", "version", "key_mode"):
        observation.set(fact, brought[fact])
    observation.set("sessions", _sessions(brought["sessions"]))
    files = brought["files"]
    _from_file(observation, "configuration", files["configuration"], _configuration)
    _from_file(observation, "settings", files["settings"], _settings)
    _from_file(observation, "status", files["status"], _status)
    _from_file(observation, "certificate", files["certificate"], _certificates)
    _from_file(observation, "trust", files["trust"], _certificates)
    _from_file(observation, "gate", files["gate"], _gate)
    _from_file(observation, "connect_script", files["connect_script"], lambda text: {"gate": "/gate" in text})
    _from_file(observation, "program", files["program"], lambda text: {"there": True})
    _from_file(
        observation, "cron", files["cron"], lambda text: {"tick": bool(re.search(r"^\*( \*){4} root \S+ tick\b", text, re.MULTILINE))}
    )
    _from_file(observation, "radius", files["radius"], _radius)
    _crls(observation, files["crls"])
    users_port.observe(observation, expected, "gateway", asked)
    _listed(observation)


def _brought(answer: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(answer)
        found["files"]["crls"]  # the last of what there has to be
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"the host does not answer as the script does: {answer[:200]!r}; is that Python 3.8 or newer there?") from error
    return found


def _declared(expected: Mapping[str, Any]) -> Words:
    found: Words = {name: value for name, value in expected.items() if value is not None and name in EXPECTED}
    if found.get("trusted_client_cas") is not None:
        # the rest of an entry is more than the appliances' words: parts of an hour, CRLs in files
        own = ("name", "certificate", "allow_expired", "allow_weak")
        entries = [{name: entry[name] for name in own if name in entry} for entry in expected["trusted_client_cas"]]
        found["trusted_client_cas"] = declared_authorities(entries)
    return dict(without_secrets(found))


def _time(seconds: float) -> str:
    return description.time_text(datetime.fromtimestamp(seconds, timezone.utc))


def _sessions(found: Mapping[str, Any]) -> Any:
    if "reason" in found:
        return Unread(found["reason"], _ROOT)
    return [{"user": str(one["user"]), "since": _time(float(one["since"] or 0))} for one in found["sessions"]]


# ---- files


def _text(file: Mapping[str, Any]) -> str:
    return zlib.decompress(base64.b64decode(file["content"])).decode("utf-8", "replace")


def _from_file(observation: Observation, fact: str, file: Mapping[str, Any], read: Callable[[str], Any]) -> None:
    """A file as a fact: what it says, `changed` and `mode`; {"missing": true} where there is none; unread where it is not to be had."""
    if file.get("missing"):
        observation.set(fact, {"missing": True})
    elif "content" not in file:
        observation.set(fact, Unread(str(file.get("reason")), _ROOT if file.get("denied") else ""))
    else:
        try:
            observation.set(fact, {"is": read(_text(file)), "changed": _time(file["changed"]), "mode": file["mode"]})
        except FormatError as error:
            observation.set(fact, {"problem": reason(error), "changed": _time(file["changed"]), "mode": file["mode"]})


def _configuration(text: str) -> dict[str, list[str]]:
    """The directives that decide about who gets in, with all their values; those of [vhost] sections are not ours."""
    own = re.split(r"^\s*\[vhost:", text, maxsplit=1, flags=re.MULTILINE)[0]
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^[ \t]*([a-z-]+)[ \t]*=[ \t]*(.*?)[ \t]*$", own, re.MULTILINE):
        if name in _DIRECTIVES:
            found.setdefault(name, []).append(value.strip('"'))
    found["vhosts"] = re.findall(r"^\s*\[vhost:([^\]]+)\]", text, re.MULTILINE)
    return found


def _settings(text: str) -> Words:
    words = _json(text)
    kept = ("name", "pem", "subject", "checked", "anchor", "verify", "points", "urls", "frequency")
    try:
        authorities = [{name: one.get(name) for name in kept} | {"sha256": _sha256(one.get("pem") or "")} for one in words["authorities"]]
        return {name: words.get(name) for name in ("warn_hours", "unreachable_hours", "without_crl", "prove_again")} | {
            "authorities": authorities
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"is no configuration of certlogon-gateway: {error!r}") from error


def _status(text: str) -> Words:
    words = _json(text)
    try:
        authorities = [{name: str(one.get(name) or "") for name in ("name", "problem", "trouble")} for one in words["authorities"]]
        return {"at": _time(datetime.fromisoformat(words["at"]).timestamp()), "code": int(words["code"]), "authorities": authorities}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"is no status of certlogon-gateway: {error!r}") from error


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise FormatError(f"is no JSON: {error}") from error


def _sha256(pem: str) -> str:
    try:
        return load(pem)[0].sha256
    except FormatError:
        return ""


def _certificates(text: str) -> list[Words]:
    return [_words(one) for one in load(text)] if text.strip() else []


def _words(one: Certificate) -> Words:
    (parsed,) = chains.parsed([one])
    return {"pem": seen.pem([parsed]), "sha256": one.sha256, "subject": one.subject, "issuer": one.issuer}


def _gate(text: str) -> int:
    """Until when the gate is open, in seconds since 1970."""
    try:
        return int(text)
    except ValueError:
        raise FormatError(f"is no time: {text[:40]!r}") from None


def _radius(text: str) -> list[str]:
    """The addresses that ocserv's library asks, without ports."""
    found = re.findall(r"^[ \t]*authserver[ \t]+(\S+)", text, re.MULTILINE)
    return [_without_port(one) for value in found for one in value.split(",")]


def _without_port(address: str) -> str:
    """Of `name:port`, `[address]:port`, or a bare IPv6 address, which has no port."""
    bracketed = re.fullmatch(r"\[([^\]]*)\](:\d+)?", address)
    return bracketed[1] if bracketed else re.sub(r"^([^:]*):\d+$", r"\1", address)


# ---- CRLs


def _crls(observation: Observation, file: Mapping[str, Any]) -> None:
    """The CRLs that ocserv goes by: each with the CAs of `trust` and of the settings that signed it."""
    authorities = _pool(observation)
    look: Callable[[str], Any] = lambda text: [_crl(one, authorities) for one in _lists(text)]  # noqa: E731
    _from_file(observation, "crls", file, look)
    found = observation.facts["crls"].get("is") or []
    for words in found:
        ended = words["next_update"] is not None and words["next_update"] <= observation.at
        status = "foreign" if not words["signed_by"] else "expired" if ended else "good"
        shown = {name: words[name] for name in ("name", "issuer", "number", "this_update", "next_update", "entries", "size")}
        holder = observation.target.name
        observation.crls.append({"url": f"in use on {holder} for {words['name']}", **shown, "status": status, "held_by": holder})


def _lists(text: str) -> list[Crl]:
    blocks = re.findall(r"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", text, re.DOTALL)
    return [crls.load(block) for block in blocks]


def _pool(observation: Observation) -> list[Any]:
    """The CAs of the gateway, those that are shut out included."""
    settings = observation.facts["settings"].get("is") or {}
    pems = [str(one["pem"]) for one in settings.get("authorities", ()) if one["sha256"]]
    known = {one.sha256: one for pem in pems for one in load(pem)}
    return [*_parsed(observation, "trust"), *chains.parsed(known.values())]


def _crl(found: Crl, authorities: Sequence[Any]) -> Words:
    words = seen.crl(found, "", "", "")
    signers = [ca for ca in authorities if found.parsed.issuer == ca.subject and crls.signed_by(found, ca)]
    return {**words, "delta": found.is_delta, "signed_by": sorted({load(chains.encoded(ca))[0].sha256 for ca in signers})}


def _parsed(observation: Observation, fact: str) -> list[Any]:
    words = observation.facts[fact].get("is") or []
    return chains.parsed([one for entry in words for one in load(entry["pem"])])


# ---- what the whole run is told


def _listed(observation: Observation) -> None:
    holder = observation.target.name
    own, trusted = _parsed(observation, "certificate"), _parsed(observation, "trust")
    pool = [*own[1:], *trusted]
    for parsed in own[:1]:
        observation.certificates.append(seen.certificate(parsed, seen.DEVICE, holder))
        issuer = next((one for one in pool if chains.issued_by(parsed, one)), None)
        observation.cdps += seen.cdps(parsed, issuer, f"device certificate of {holder}")
    for parsed in trusted:
        use = seen.ROOT if chains.self_issued(parsed) else seen.CA
        observation.certificates.append(seen.certificate(parsed, use, holder))
    settings = observation.facts["settings"].get("is") or {}
    pems = {load(chains.encoded(one))[0].sha256: seen.pem([one]) for one in _pool(observation)}
    for authority in settings.get("authorities", ()):
        used_by = f"trusted client CA {authority['name']} of {holder}"
        for url in authority.get("urls") or ():
            if not str(url).startswith("file:"):
                observation.cdps.append({"url": url, "issuer": pems.get(authority["sha256"], ""), "used_by": used_by})
