# SPDX-License-Identifier: GPL-3.0-or-later
"""A PassiveKey server: what a script that only reads brought from the host, and what its port shows, as facts. No opinion."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import chains, description
from ansible_collections.certlogon.core.plugins.module_utils.certificates import crl as crls
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load
from ansible_collections.certlogon.core.plugins.module_utils.compliance import seen
from ansible_collections.certlogon.core.plugins.module_utils.compliance.looking import reason
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Unread
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import users_port
from ansible_collections.certlogon.core.plugins.module_utils.compliance.read_only import Asked
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError

SCRIPT = "passivekey_state"
EXPECTED: dict[str, Any] = {
    "server_names": {"type": "list", "elements": "str", "default": []},
    "users_address": {"type": "str"},
    "users_port": {"type": "int", "default": 8443},
    "anchor_path": {"type": "path"},
}
"""What the inventory declares; what is left out is not compared."""

_ROOT = "root on the server (ansible_user=root, or become)"
_AS_BROUGHT = ("settings", "secrets", "keytab", "sqlite", "observed", "radius", "nginx", "site_secrets", "backups", "audit")


@cache
def script() -> str:
    """The text of the program that is run on the host."""
    return (Path(__file__).parent / "on_host" / f"{SCRIPT}.py").read_text(encoding="utf-8")


def observe(answer: str, params: Mapping[str, Any], observation: Observation, asked: Asked) -> None:
    """All facts, from the script's answer and the users' port. Raises `UserError` for an answer that is none."""
    brought = _brought(answer)
    expected = _declared(params.get("expected") or {})
    observation.set("expected", expected)
    observation.set("clock", _time(brought["now"]))
    for fact in ("processes", "container", "settings_file"):
        observation.set(fact, brought[fact])
    for fact in _AS_BROUGHT:
        observation.set(fact, _fact(brought[fact]))
    observation.set("keyring", _keyring(brought["keyring"]))
    observation.set("certificate", _certificates(brought["certificate"]))
    observation.set("crl", _crl(brought["crl"], observation))
    users_port.observe(observation, expected, "server", asked)
    _listed(observation)


def _brought(answer: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(answer)
        found["certificate"]  # the last of what there has to be
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"the host does not answer as the script does: {answer[:200]!r}; is that Python 3.11 or newer there?") from error
    return found


def _declared(expected: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in expected.items() if value is not None and name in EXPECTED}
    if path := found.get("anchor_path"):
        try:
            found["anchors"] = seen.pem(chains.parsed(load(Path(path).read_bytes())))
        except OSError as error:
            found["anchors_problem"] = f"{path} cannot be read: {error.strerror}"
        except FormatError as error:
            found["anchors_problem"] = f"{path}: {reason(error)}"
    return found


def _time(seconds: float) -> str:
    return description.time_text(datetime.fromtimestamp(seconds, timezone.utc))


def _fact(words: Any) -> Any:
    """`is`, or {"missing": true}, or unread."""
    if "is" in words or words.get("missing"):
        return words
    return Unread(str(words.get("reason")), _ROOT if words.get("denied") else "")


def _keyring(words: Mapping[str, Any]) -> Any:
    found = _fact(words)
    if isinstance(found, Unread) or "is" not in found:
        return found
    try:
        keys = [{name: one[name] for name in ("purpose", "kid", "created")} for one in found["is"]["keys"]]
        held = [_url_octets(one["certificate"]) for one in found["is"]["keys"] if one.get("certificate")]
        return {"is": {"keys": keys, "certificates": [_words(der) for der in held]}}
    except (KeyError, TypeError, ValueError, FormatError) as error:
        return Unread(f"the key file is not understood: {error}")


def _url_octets(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _words(content: bytes | str) -> dict[str, Any]:
    one = load(content)[0]
    return {"pem": seen.pem(chains.parsed([one])), "sha256": one.sha256, "subject": one.subject}


def _certificates(words: Mapping[str, Any]) -> Any:
    found = _fact(words)
    if isinstance(found, Unread) or "is" not in found:
        return found
    try:
        return {"is": [_words(seen.pem(chains.parsed([one]))) for one in load(found["is"])]}
    except FormatError as error:
        return Unread(f"the certificate is not understood: {reason(error)}")


def _crl(words: Mapping[str, Any], observation: Observation) -> Any:
    """The CRL that the server gives to everybody, and which of its CA certificates signed it."""
    found = _fact(words)
    if isinstance(found, Unread) or "is" not in found:
        return found
    holder, ring = observation.target.name, observation.facts["keyring"].get("is") or {"certificates": []}
    try:
        one = crls.load(base64.b64decode(found["is"]))
    except FormatError as error:
        return Unread(f"what the server gives as its CRL is none: {reason(error)}")
    signers = [ca["sha256"] for ca in ring["certificates"] for parsed in chains.parsed(load(ca["pem"])) if crls.signed_by(one, parsed)]
    # as a fact alone: logons by card do not rest on it, so the report does not draw it among their CRLs
    words = seen.crl(one, f"CRL of devices, on {holder}", holder, "good" if signers else "foreign")
    return {"is": {**words, "signed_by": signers}}


# ---- what the whole run is told


def _listed(observation: Observation) -> None:
    """The server's own certificate: its CA is no link of the chain that logons rest on."""
    own = [one for words in observation.facts["certificate"].get("is") or [] for one in chains.parsed(load(words["pem"]))]
    for parsed in own[:1]:
        observation.certificates.append(seen.certificate(parsed, seen.WEB, observation.target.name))
        issuer = next((one for one in own[1:] if chains.issued_by(parsed, one)), None)
        observation.cdps += seen.cdps(parsed, issuer, f"web certificate of {observation.target.name}")
