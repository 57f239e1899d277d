# SPDX-License-Identifier: GPL-3.0-or-later
"""What an entry of `certificate_request` asks for, checked, and with the files that it names read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import (
    alternative_names,
    chains,
    description,
    file_store,
    signing_request,
)
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, load, load_one
from ansible_collections.certlogon.core.plugins.module_utils.certificates.enrollment_agent import AGENT_PURPOSE
from ansible_collections.certlogon.core.plugins.module_utils.certificates.file_store import Attributes
from ansible_collections.certlogon.core.plugins.module_utils.certificates.keys import SIZES, KeyKind
from ansible_collections.certlogon.core.plugins.module_utils.certificates.signing_request import Given
from ansible_collections.certlogon.core.plugins.module_utils.directory.names import same_dn
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import x509

IN_FILE, ON_TOKEN, ELSEWHERE = "file", "token", "elsewhere"
"""Where the private key is; elsewhere when the request was given."""


@dataclass(frozen=True)
class Wanted:
    """An entry of `config`. `requested` is what a request for it says, in canonical words, which the memory is compared with."""

    entry: Mapping[str, Any]
    label: str
    path: str
    method: str
    key_place: str
    key_path: str | None
    key_kind: KeyKind | None
    requested: Mapping[str, Any]
    names: tuple[str, ...]
    purposes: tuple[str, ...]
    public: Attributes
    secret: Attributes
    csr: Given | None = None
    anchors: Sequence[Any] | None = field(default=None, repr=False)
    agent: Certificate | None = None

    @property
    def key_options(self) -> Mapping[str, Any]:
        return self.entry.get("key") or {}

    @property
    def staged_key_path(self) -> str:
        return f"{self.key_path}.new"

    @property
    def reuses_key(self) -> bool:
        return self.key_place != IN_FILE or bool(self.key_options.get("reuse"))

    @property
    def request_path(self) -> str:
        return self.entry.get("request_path") or f"{self.path}.csr"

    @property
    def answer_path(self) -> str:
        return self.entry.get("answer_path") or f"{self.path}.answer"

    @property
    def outputs(self) -> dict[str, str]:
        """The files without secrets besides the certificate, by what they hold."""
        return {
            name: self.entry[option]
            for name, option in (("chain", "chain_path"), ("fullchain", "fullchain_path"))
            if self.entry.get(option)
        }


def label(entry: Mapping[str, Any]) -> str:
    return str(entry.get("name") or entry["path"])


def wish(entry: Mapping[str, Any], method: str) -> Wanted:
    """Raises `UserError` that names everything that is wrong with the entry, before anything is sent or written."""
    return _Reader(entry, method).wanted()


def places(entry: Mapping[str, Any], method: str) -> Wanted:
    """Only where the files are, for reading and removing them."""
    key = entry.get("key") or {}
    given = entry.get("csr_path") or entry.get("csr_content")
    place = ELSEWHERE if given else ON_TOKEN if key.get("uri") else IN_FILE
    key_path = (key.get("path") or f"{entry['path']}.key") if place == IN_FILE else None
    nothing = Attributes(0o600)
    return Wanted(entry, label(entry), entry["path"], method, place, key_path, None, {}, (), (), nothing, nothing)


class _Reader:
    """Reads one entry, collecting what is wrong with it."""

    def __init__(self, entry: Mapping[str, Any], method: str) -> None:
        self._entry = entry
        self._method = method
        self._where = f"config ({label(entry)})"
        self._problems = Problems()

    def wanted(self) -> Wanted:
        entry = self._entry
        self._check_relations()
        self._check_folders()
        csr = self._csr()
        place = ELSEWHERE if csr or self._gives_csr else ON_TOKEN if (entry.get("key") or {}).get("uri") else IN_FILE
        names = self._each("subject_alt_names", alternative_names.canonical)
        purposes = self._each("extended_key_usage", signing_request.purpose)
        kind = None if place == ELSEWHERE else self._key_kind()
        key_options = entry.get("key") or {}
        result = {
            "label": label(entry),
            "path": entry["path"],
            "method": self._method,
            "key_place": place,
            "key_path": (key_options.get("path") or f"{entry['path']}.key") if place == IN_FILE else None,
            "key_kind": kind,
            "names": tuple(names) or (csr.names if csr else ()),
            "purposes": tuple(purposes),
            "public": self._attributes(entry.get("mode") or "0644", secret=False),
            "secret": self._attributes(key_options.get("mode") or "0600", secret=True),
            "csr": csr,
            "anchors": self._anchors(),
            "agent": self._agent(),
            "requested": self._requested(csr, names, purposes),
        }
        self._problems.raise_any()
        return Wanted(entry=entry, **result)

    @property
    def _gives_csr(self) -> bool:
        return bool(self._entry.get("csr_path") or self._entry.get("csr_content"))

    def _try(self, call: Any, *arguments: Any, otherwise: Any = None) -> Any:
        try:
            return call(*arguments)
        except UserError as error:
            text = str(error)
            self._problems.add(text if text.startswith(self._where) else f"{self._where}: {text}")
            return otherwise

    def _problem(self, text: str) -> None:
        self._problems.add(f"{self._where}: {text}")

    # ---- relations

    def _check_relations(self) -> None:
        entry = self._entry
        if entry.get("pfx_path") and not entry.get("pfx_passphrase"):
            self._problem("pfx_passphrase: a PFX holds the private key, so it needs a passphrase; set it")
        if entry.get("pfx_path") and (self._gives_csr or (entry.get("key") or {}).get("uri")):
            self._problem("pfx_path: a PFX needs the key in a file, but it is on a token or not here at all; leave it out")
        if entry.get("csr_path") and entry.get("csr_content"):
            self._problem("csr_path and csr_content: give one of them")
        if self._gives_csr:
            for option in ("key", "subject", "subject_alt_names", "sid"):
                if entry.get(option):
                    self._problem(f"{option}: the request is given finished, with its own; leave it out")
        if entry.get("on_behalf_of") and self._method == "file":
            self._problem("on_behalf_of: it is a message for AD CS; use method=web_enrollment")
        if (entry.get("key") or {}).get("uri") and (entry.get("key") or {}).get("reuse") is False:
            self._problem("key.reuse: a key on a token is kept; name another label in key.uri for another key")
        if (entry.get("renew_before") or 0) < 0:
            self._problem(f"renew_before: {entry['renew_before']} is no number of days from 0 on")

    def _check_folders(self) -> None:
        paths = {option: self._entry.get(option) for option in ("path", "chain_path", "fullchain_path", "pfx_path")}
        paths["key.path"] = (self._entry.get("key") or {}).get("path")
        if self._method == "file":
            paths.update({option: self._entry.get(option) for option in ("request_path", "answer_path")})
        seen: dict[str, str] = {}
        for option, path in paths.items():
            if not path:
                continue
            if not Path(path).parent.is_dir():
                self._problem(f"{option}: the folder {Path(path).parent} is not there; create it first")
            elif Path(path).is_dir():
                self._problem(f"{option}: {path} is a folder; name a file")
            place = str(Path(path).absolute())
            if place in seen:
                self._problem(f"{option}: {path} is also {seen[place]}; give each its own file")
            seen[place] = option

    # ---- parts

    def _each(self, option: str, read: Any) -> list[str]:
        found = [self._try(lambda text=text: _prefixed(option, read, text)) for text in self._entry.get(option) or ()]
        return sorted({one for one in found if one is not None})

    def _key_kind(self) -> KeyKind:
        options = self._entry.get("key") or {}
        if options.get("type") == "ec":
            return KeyKind("ec", curve=options.get("curve") or "secp256r1")
        size = options.get("size") or 2048
        if size not in SIZES:
            self._problem(f"key.size: {size} is no size of an RSA key; use one of {', '.join(map(str, SIZES))}")
        return KeyKind("rsa", size=size)

    def _csr(self) -> Given | None:
        content, path = self._entry.get("csr_content"), self._entry.get("csr_path")
        found: Given | None = None
        if content:
            found = self._try(lambda: _prefixed("csr_content", signing_request.load, content))
        elif path:
            found = self._try(lambda: _prefixed(f"csr_path ({path})", lambda one: signing_request.load(_content(one)), path))
        return found

    def _anchors(self) -> Sequence[Any] | None:
        path = self._entry.get("anchor_path")
        if not path:
            return None
        return self._try(lambda: _prefixed(f"anchor_path ({path})", lambda one: chains.parsed(load(_content(one))), path))  # type: ignore[no-any-return]

    def _agent(self) -> Certificate | None:
        agent = self._entry.get("on_behalf_of")
        if not agent:
            return None
        where = f"on_behalf_of.agent_certificate_path ({agent['agent_certificate_path']})"
        if "\\" not in agent["requester"]:
            self._problem(f"on_behalf_of.requester: {agent['requester']!r} is not of the form DOMAIN\\user, which AD CS wants")
        found = self._try(lambda: _prefixed(where, lambda path: load_one(_content(path)), agent["agent_certificate_path"]))
        if found:
            self._check_agent(where, found)
        return found  # type: ignore[no-any-return]

    def _check_agent(self, where: str, certificate: Certificate) -> None:
        purposes = description.purposes(x509.load_der_x509_certificate(certificate.der))
        if purposes is not None and AGENT_PURPOSE not in purposes:
            self._problem(
                f"{where}: is no enrollment agent's certificate (purpose {AGENT_PURPOSE}); request one of template EnrollmentAgent"
            )

    def _attributes(self, mode: str, *, secret: bool) -> Attributes:
        where = f"{self._where}: key" if secret else self._where
        wanted: Attributes = self._try(
            lambda: file_store.attributes(where, mode, self._entry.get("owner"), self._entry.get("group"), secret=secret),
            otherwise=Attributes(0o600),
        )
        return wanted

    def _requested(self, csr: Given | None, names: Sequence[str], purposes: Sequence[str]) -> dict[str, Any]:
        entry = self._entry
        attributes = {str(name): str(value) for name, value in sorted((entry.get("request_attributes") or {}).items())}
        given = {
            "subject": self._subject(entry.get("subject")),
            "subject_alt_names": list(names),
            "sid": self._try(lambda: _prefixed("sid", alternative_names.sid, entry["sid"])) if entry.get("sid") else None,
            "extended_key_usage": list(purposes),
            "template": entry.get("template"),
            "request_attributes": attributes,
            "requester": (entry.get("on_behalf_of") or {}).get("requester"),
            "csr_sha256": csr.sha256 if csr else None,
        }
        for name, value in attributes.items():
            if any(mark in name + value for mark in "\r\n") or ":" in name:
                self._problem(f"request_attributes: {name!r} has a line break or colon in it, which would make another attribute of it")
        if any(mark in (entry.get("template") or "") for mark in "\r\n:"):
            self._problem(f"template: {entry['template']!r} is no name of a template (its cn, such as WebServer)")
        return {name: value for name, value in given.items() if value}

    def _subject(self, text: str | None) -> str:
        if not text:
            return ""
        name = self._try(lambda: _prefixed("subject", signing_request.subject, text))
        return str(name.rfc4514_string()) if name is not None else ""


def _prefixed(where: str, read: Any, value: Any) -> Any:
    try:
        return read(value)
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from error
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _content(path: str) -> bytes:
    data = file_store.read(path)
    if data is None:
        raise UserError("is not there; give the path of a file that is")
    return data


def same_issuer(wanted: str, certificate: Any) -> bool:
    """Whether a certificate's issuer is the one wanted, by its whole name or its common name."""
    names = [str(part.value).casefold() for part in certificate.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    if wanted.casefold() in names:
        return True
    try:
        return bool(certificate.issuer == signing_request.subject(wanted)) or same_dn(wanted, certificate.issuer.rfc4514_string())
    except UserError:
        return False
