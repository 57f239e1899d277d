# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates read wherever they are, and judged: expiry, chain, name, CRL."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import (
    chains,
    description,
    endpoints,
    file_store,
    keys,
    revocation,
)
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load
from ansible_collections.certlogon.core.plugins.module_utils.certificates.revocation import CrlSource
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import pkcs12, x509
from ansible_collections.certlogon.core.plugins.module_utils.resource import Plan, Resource, Warn, Words

SUFFIXES = (".pem", ".crt", ".cer", ".der", ".p7b", ".p7c")
"""What is read of a folder."""

_BEGIN = b"-----BEGIN CERTIFICATE-----"

OPTIONS: dict[str, Any] = {
    "paths": {"type": "list", "elements": "path"},
    "contents": {"type": "list", "elements": "str"},
    "pfx": {
        "type": "list",
        "elements": "dict",
        "options": {"path": {"type": "path", "required": True}, "passphrase": {"type": "str", "no_log": True}},
    },
    "tokens": {
        "type": "list",
        "elements": "dict",
        "no_log": False,
        "options": {"uri": {"type": "str", "required": True}, "pin": {"type": "str", "no_log": True}, "module": {"type": "path"}},
    },
    "endpoints": {
        "type": "list",
        "elements": "dict",
        "options": {
            "host": {"type": "str", "required": True},
            "port": {"type": "int"},
            "starttls": {"type": "str", "choices": ["none", "ldap"], "default": "none"},
            "server_name": {"type": "str"},
        },
    },
    "anchor_path": {"type": "path"},
    "crl_check": {"type": "bool", "default": False},
    "renew_before": {"type": "int", "default": 30},
    "details": {"type": "str", "choices": ["full", "due"], "default": "full"},
    "fail_on_error": {"type": "bool", "default": True},
    "timeout": {"type": "int", "default": 10},
}
SOURCES = ("paths", "contents", "pfx", "tokens", "endpoints")


@dataclass
class Reader:
    """Reads sources one after the other; what cannot be read is an error of that source alone."""

    params: Mapping[str, Any]
    crls: CrlSource
    anchors: Sequence[Any] | None
    now: datetime
    certificates: list[Words] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)
    count: int = 0
    due: int = 0
    expired: int = 0

    def read(self) -> None:
        for path in files(self.params.get("paths") or ()):
            self._file(path)
        for number, text in enumerate(self.params.get("contents") or ()):
            self._try(f"contents[{number}]", lambda source, text=text: self._all(source, _ders(load(text))))
        for pfx in self.params.get("pfx") or ():
            self._try(pfx["path"], lambda source, pfx=pfx: self._pfx(source, pfx))
        for token in self.params.get("tokens") or ():
            self._try(token["uri"], lambda source, token=token: self._token(source, token))
        for endpoint in self.params.get("endpoints") or ():
            port = endpoint.get("port") or (389 if endpoint.get("starttls") == "ldap" else 636)
            self._try(f"{endpoint['host']}:{port}", lambda source, one=endpoint, port=port: self._endpoint(source, one, port))

    def _try(self, source: str, read: Any) -> None:
        try:
            read(source)
        except UserError as error:
            text = str(error)
            self.errors.append({"source": source, "msg": text if text.startswith(source) else f"{source}: {text}"})

    # ---- files, by the thousand

    def _file(self, path: str) -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                data = os.read(descriptor, os.fstat(descriptor).st_size + 1)
            finally:
                os.close(descriptor)
        except OSError as error:
            self.errors.append({"source": path, "msg": f"{path}: cannot be read: {error.strerror}; may the account of this run read it?"})
            return
        if self.params.get("details") == "due" and self._unneeded(data):
            return
        self._try(path, lambda source: self._all(source, _ders(load(data))))

    def _unneeded(self, data: bytes) -> bool:
        """Whether this is one certificate that is long from expiry, found out in the quickest way; anything else takes the slow one."""
        try:
            if data[:1] == b"\x30":
                certificate = x509.load_der_x509_certificate(data)
            elif data.startswith(_BEGIN) and data.find(_BEGIN, len(_BEGIN)) < 0:
                certificate = x509.load_pem_x509_certificate(data)
            else:
                return False
        except ValueError:
            return False
        left = certificate.not_valid_after_utc - self.now
        # the window is never longer than renew_before
        if left <= timedelta(days=self.params.get("renew_before", 30)) or certificate.not_valid_before_utc > self.now:
            return False
        self.count += 1
        return True

    # ---- the other sources

    def _pfx(self, source: str, pfx: Mapping[str, Any]) -> None:
        data = file_store.read(source)
        if data is None:
            raise UserError("is not there; give the path of a PFX file")
        passphrase = pfx.get("passphrase")
        try:
            key, certificate, further = pkcs12.load_key_and_certificates(data, passphrase.encode() if passphrase else None)
        except ValueError as error:
            reason = (
                "its passphrase is wrong, or it is no PFX (PKCS#12)" if passphrase else "it needs its passphrase, or it is no PFX (PKCS#12)"
            )
            raise FormatError(f"cannot be opened: {reason}") from error
        except Exception as error:  # of foreign bytes the library makes more than it documents
            raise FormatError(f"is no PFX (PKCS#12): {type(error).__name__}") from error
        found = [chains.encoded(one) for one in (certificate, *further) if one is not None]
        if not found:
            raise FormatError("holds no certificate")
        has_key = key is not None and certificate is not None and chains.has_key(certificate, keys.identity(key.public_key()))
        self._all(source, found, has_private_key=has_key)

    def _token(self, source: str, token: Mapping[str, Any]) -> None:
        # a task without tokens must not pay for their import
        from ansible_collections.certlogon.core.plugins.module_utils.certificates import pkcs11 as tokens

        with tokens.open_token(token["uri"], token.get("pin"), token.get("module"), write=False) as opened:
            contents = opened.contents()
            known = {one.id for one in contents.keys}
            pool = [one.certificate.der for one in contents.certificates]
            for one in contents.certificates:
                further = {"label": one.label, "id": one.id.hex(), "has_private_key": one.id in known, "token": opened.label}
                self._one(source, one.certificate.der, pool, further)
            for text in contents.unreadable:
                self.errors.append({"source": source, "msg": f"{source}: {text}"})

    def _endpoint(self, source: str, endpoint: Mapping[str, Any], port: int) -> None:
        host, name = endpoint["host"], endpoint.get("server_name")
        shown = endpoints.show(
            host, port, start_tls=endpoint.get("starttls") == "ldap", server_name=name, timeout=self.params.get("timeout", 10)
        )
        if not shown.certificates:
            raise UserError("the server shows no certificate")
        leaf = x509.load_der_x509_certificate(shown.certificates[0])
        further = {"tls_version": shown.tls_version, "name_matches": name_matches(description.names(leaf), name or host)}
        self._one(source, shown.certificates[0], shown.certificates, further)

    # ---- one certificate

    def _all(self, source: str, ders: Sequence[bytes], **further: Any) -> None:
        for number, one in enumerate(ders):
            self._one(source, one, ders, further if number == 0 else {})

    def _one(self, source: str, der: bytes, pool: Sequence[bytes], further: Mapping[str, Any]) -> None:
        parsed = x509.load_der_x509_certificate(der)
        self.count += 1
        due = parsed.not_valid_after_utc - description.window(parsed, self.params.get("renew_before", 30)) <= self.now
        expired = parsed.not_valid_after_utc <= self.now
        self.due += due
        self.expired += expired
        early = parsed.not_valid_before_utc > self.now
        if self.params.get("details") == "due":
            if due or early:
                short = {**description.identity(parsed, der, self.now), "expired": expired, "not_yet_valid": early}
                self.certificates.append({"source": source, **short, "due": due, **further})
            return
        words = {"source": source, **description.describe(parsed, der, self.now), "due": due, **further}
        self.certificates.append({**words, **self._judged(parsed, pool)})

    def _judged(self, parsed: Any, pool: Sequence[bytes]) -> Words:
        others = [x509.load_der_x509_certificate(one) for one in pool]
        chain = chains.build(parsed, [one for one in others if one != parsed], self.anchors, self.now)
        judged: Words = {
            "chain": {
                "trusted": None if self.anchors is None else not chain.problems,
                "problems": list(chain.problems),
                "above": [one.subject.rfc4514_string() for one in chain.above],
            }
        }
        if self.params.get("crl_check"):
            judged["revocation"] = revocation.check(parsed, chain.issuer, self.crls, self.now).words
        return judged


def _ders(found: Sequence[Any]) -> list[bytes]:
    return [one.der for one in found]


def files(paths: Sequence[str]) -> Iterator[str]:
    """The files that paths, folders and patterns name; a folder stands for the certificate files in it."""
    for path in paths:
        if glob.has_magic(path):
            # Path.glob takes no absolute pattern
            yield from sorted(one for one in glob.glob(path, recursive=True) if Path(one).is_file())  # noqa: PTH207
        elif Path(path).is_dir():
            with os.scandir(path) as found:
                yield from sorted(one.path for one in found if one.name.lower().endswith(SUFFIXES) and one.is_file())
        else:
            yield path


def name_matches(names: Sequence[str], host: str) -> bool:
    """Whether a certificate is for this host name or address (RFC 6125 6.4; a wildcard stands for one label)."""
    wanted = host.lower().rstrip(".")
    for name in names:
        kind, _colon, value = name.partition(":")
        if kind == "IP" and value == wanted:
            return True
        if kind == "DNS" and (value == wanted or (value.startswith("*.") and _wildcard(value, wanted))):
            return True
    return False


def _wildcard(pattern: str, host: str) -> bool:
    return host.count(".") == pattern.count(".") and fnmatchcase(host.partition(".")[2], pattern.partition(".")[2])


class CertificateInfo(Resource[None, Reader]):
    """Reads only; there is no state and nothing to plan."""

    states = ("gathered",)
    constraints = {"required_one_of": [SOURCES]}

    @classmethod
    def argument_spec(cls) -> dict[str, Any]:
        return dict(OPTIONS)

    def check(self, params: Mapping[str, Any]) -> None:
        problems = Problems()
        if params["renew_before"] < 0:
            problems.add(f"renew_before: {params['renew_before']} is no number of days from 0 on")
        if params["timeout"] < 1:
            problems.add(f"timeout: {params['timeout']} is not a number of seconds from 1 on")
        for endpoint in params.get("endpoints") or ():
            if endpoint.get("port") is not None and not 0 < endpoint["port"] < 65536:
                problems.add(f"endpoints ({endpoint['host']}): port {endpoint['port']} is not a TCP port (1 to 65535)")
        problems.raise_any()

    @contextmanager
    def open(self, params: Mapping[str, Any], warn: Warn) -> Iterator[None]:
        yield

    def read(self, session: None, params: Mapping[str, Any]) -> Reader:
        reader = Reader(params, CrlSource(params["timeout"]), _anchors(params.get("anchor_path")), datetime.now(timezone.utc))
        reader.read()
        self._found = reader
        return reader

    def objects(self, current: Reader) -> dict[str, Words]:
        return {}

    def plan(self, params: Mapping[str, Any], current: Reader) -> Plan:
        return Plan()

    def apply(self, session: None, change: Any) -> None:
        raise AssertionError("there is nothing to apply")

    def complete(self, session: None, params: Mapping[str, Any], report: Words) -> Words:
        found = self._found
        summary = {"certificates": found.count, "due": found.due, "expired": found.expired, "errors": len(found.errors)}
        result: Words = {"changed": False, "certificates": found.certificates, "errors": found.errors, "summary": summary}
        if found.errors and params["fail_on_error"]:
            result.update(failed=True, msg="\n".join(one["msg"] for one in found.errors))
        return result


def _anchors(path: str | None) -> Sequence[Any] | None:
    if not path:
        return None
    data = file_store.read(path)
    if data is None:
        raise UserError(f"anchor_path: {path} is not there; give the PEM file of the trusted roots")
    try:
        return chains.parsed(load(data))
    except FormatError as error:
        raise FormatError(f"anchor_path ({path}): {error}") from error
