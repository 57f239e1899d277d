# SPDX-License-Identifier: GPL-3.0-or-later
"""What every CDP of the run serves: each address is fetched once, web servers in parallel. Reads only."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ansible_collections.certlogon.core.plugins.module_utils.adcs.crl_places import from_directory
from ansible_collections.certlogon.core.plugins.module_utils.certificates import cdp, chains, crl_source, der, description
from ansible_collections.certlogon.core.plugins.module_utils.certificates import crl as crls
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load
from ansible_collections.certlogon.core.plugins.module_utils.certificates.crl import Crl
from ansible_collections.certlogon.core.plugins.module_utils.compliance import observation, read_only, seen
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Target
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.read_only import Asked
from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import CONNECTION, ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, SessionLost, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import x509
from ansible_collections.certlogon.core.plugins.module_utils.resource import Warn

TARGET = Target("crls", "crls")
WORKERS = 8
NEXT_PUBLISH = "1.3.6.1.4.1.311.21.4"
"""szOID_CRL_NEXT_PUBLISH: when the CA will publish the next CRL, which is before this one ends."""

Fetch = Callable[[str], list[bytes]]
"""What an address serves. Raises `UserError`."""


_DEFAULTS = {name: line.get("default") for name, line in CONNECTION.items()}
"""Of a domain's connection, for what a task's option says nothing of."""


class _Absent(UserError):
    """Who must know says that there is no CRL; any other failure to fetch one tells nothing."""


_PLACE = re.compile(r"^ldaps?://[^/]+/", re.IGNORECASE)
_GONE = re.compile(r"answers HTTP (404|410)\b")


@dataclass
class Point:
    """An address. `issuers` are the CAs whose CRL should be there (the library's certificates, by SHA-256), `used_by` who goes by it.

    `delta`: whether a delta CRL is expected there.
    """

    url: str
    issuers: dict[str, Any] = field(default_factory=dict)
    used_by: list[str] = field(default_factory=list)
    delta: bool = False


@dataclass
class Fetched:
    """What became of a point. `absent`: somebody who must know has said that there is no CRL; otherwise a `reason` says nothing of it."""

    point: Point
    lists: list[Crl] = field(default_factory=list)
    reason: str = ""
    absent: bool = False
    wrong: str = ""
    seconds: float = 0.0


def observe(observations: Sequence[Observation], params: Mapping[str, Any], warn: Warn) -> Observation:
    """Look at all CDPs that the other observations of the run name.

    `params`: `timeout` (seconds an address), `size_limit` (bytes) and `directories`, each the connection options of a domain, which
    `ldap:///` is asked of. Facts: `crls`, `certificates` (docs/compliance.md).
    """
    now = datetime.now(timezone.utc)
    found = Observation(TARGET, description.time_text(now))
    asked = Asked(found.asked)
    given = points(observations)
    with _sources(params, warn, asked) as fetch:
        first = _fetched(given, fetch, asked)
        deltas = _deltas(first)
        fetched = [*first, *_fetched(deltas, fetch, asked)]
    found.servers = sorted({name for one in fetched if (name := _server(one.point.url))})
    found.set("crls", [_words(one, now) for one in fetched])
    found.set("certificates", [{**words, "target": one.target.words()} for one in observations for words in one.certificates])
    found.crls = [words for one in fetched for words in _timeline(one, now)]
    found.ended = description.time_text(datetime.now(timezone.utc))
    return found


def points(observations: Iterable[Observation]) -> list[Point]:
    """The addresses that the observations name, each once."""
    known: dict[str, Point] = {}
    for one in observations:
        for words in one.cdps:
            point = known.setdefault(words["url"], Point(words["url"]))
            for certificate in _issuers(words.get("issuer") or ""):
                point.issuers[_sha256(certificate)] = certificate
            used_by = str(words.get("used_by") or one.target.name)
            if used_by not in point.used_by:
                point.used_by.append(used_by)
    return list(known.values())


def _issuers(pem: str) -> list[Any]:
    try:
        return chains.parsed(load(pem)) if pem else []
    except FormatError:
        return []  # its own observer says what is wrong with a CA's certificate


def _sha256(certificate: Any) -> str:
    return load(chains.encoded(certificate))[0].sha256


def _deltas(fetched: Sequence[Fetched]) -> list[Point]:
    """Where the CRLs say that their delta CRLs are."""
    known: dict[str, Point] = {}
    there = {one.point.url for one in fetched}
    for one in fetched:
        for url in dict.fromkeys(url for found in one.lists for url in found.freshest):
            if url not in there:
                point = known.setdefault(url, Point(url, delta=True))
                point.issuers.update(one.point.issuers)
                point.used_by.append(f"the CRL at {one.point.url}")
    return list(known.values())


# ---- fetching


@contextmanager
def _sources(params: Mapping[str, Any], warn: Warn, asked: Asked) -> Iterator[Callable[[str], Fetch | None]]:
    """Which way leads to an address; None where there is none from here."""
    timeout, limit = float(params["timeout"]), int(params["size_limit"])
    members = _Members(params.get("directories") or (), warn, asked)

    def fetch(url: str) -> list[bytes]:
        try:
            return crl_source.fetch(cdp.parse(url), timeout, limit=limit)
        except UserError as error:
            raise _Absent(str(error)) if _GONE.search(str(error)) else error from error

    def in_directory(url: str) -> list[bytes]:
        """As somebody without an account; as this run's own account where the directory answers, but nobody without one."""
        try:
            return crl_source.fetch(cdp.parse(url), timeout, limit=limit)
        except UserError as error:
            if error.__cause__ is not None:  # it did not answer at all
                raise
            try:
                return members.fetch(_PLACE.sub("ldap:///", url))
            except UserError:
                raise error from None

    try:
        yield lambda url: members.fetch if url.casefold().startswith("ldap:///") else in_directory if _PLACE.match(url) else fetch
    finally:
        members.close()


class _Members:
    """`ldap:///` as members of a domain read it: from one of their own domain controllers, each domain asked by one session."""

    def __init__(self, directories: Iterable[Mapping[str, Any]], warn: Warn, asked: Asked) -> None:
        self._directories = list(directories)
        self._warn, self._asked = warn, asked
        self._open: list[Any] | None = None
        self._contexts: list[Any] = []
        self._failures: list[str] = []

    def fetch(self, url: str) -> list[bytes]:
        if not self._directories:
            raise UserError(f"CRL {url}: is asked of a member's own domain controller; no domain is in this run to ask")
        dn = url.partition(":///")[2].partition("?")[0].casefold()
        found = [one for one in self._sessions() if unquote(dn).endswith(one.configuration_dn.casefold())]
        if not found:
            why = f" ({'; '.join(self._failures)})" if self._failures else ""
            raise UserError(f"CRL {url}: no domain of this run has that part of the directory{why}")
        try:
            return [from_directory(found[0])(url)]
        except SessionLost:
            raise
        except UserError as error:
            raise _Absent(f"CRL {url}: {found[0].host} says: {error}") from error

    def _sessions(self) -> list[Any]:
        if self._open is None:
            self._open = []
            for options in self._directories:
                given = {name: value for name, value in options.items() if value is not None}
                try:
                    context = read_only.directory(ConnectionOptions.from_params({**_DEFAULTS, **given}), self._warn, self._asked)
                    self._open.append(context.__enter__())
                    self._contexts.append(context)
                except UserError as error:
                    self._failures.append(str(error))
        return self._open

    def close(self) -> None:
        for context in self._contexts:
            context.__exit__(None, None, None)


def _fetched(given: Sequence[Point], way: Callable[[str], Fetch | None], asked: Asked) -> list[Fetched]:
    """All of them; directories one after the other, since they share sessions, and everything else in parallel."""
    directories = [one for one in given if one.url.casefold().startswith(("ldap:", "ldaps:"))]
    others = [one for one in given if one not in directories]
    for point in given:
        _announce(point.url, asked)
    with ThreadPoolExecutor(WORKERS) as pool:
        running = pool.map(lambda point: _one(point, way(point.url)), others)
        done = {one.point.url: one for one in [*(_one(point, way(point.url)) for point in directories), *running]}
    return [done[point.url] for point in given]


def _announce(url: str, asked: Asked) -> None:
    scheme = url.partition(":")[0].casefold()
    if scheme in ("http", "https"):
        asked.ask(scheme, "GET")
    elif _PLACE.match(url):
        asked.ask("ldap", "bind")
        asked.ask("ldap", "search")


def _one(point: Point, fetch: Fetch | None) -> Fetched:
    begun = time.monotonic()
    found = Fetched(point)
    try:
        contents = fetch(point.url) if fetch else []
    except UserError as error:
        found.reason, found.absent = str(error), isinstance(error, _Absent)
    else:
        for content in contents:
            try:
                found.lists.append(crls.load(content))
            except FormatError as error:
                found.wrong = f"what is there {error}"
    found.seconds = time.monotonic() - begun
    return found


# ---- words


def _words(one: Fetched, now: datetime) -> dict[str, Any]:
    """The fact `crls` of one address."""
    return {
        "url": one.point.url,
        "delta": one.point.delta,
        "used_by": one.point.used_by,
        "issuers": [{"subject": ca.subject.rfc4514_string(), "sha256": digest} for digest, ca in one.point.issuers.items()],
        "reason": one.reason,
        "absent": one.absent,
        "wrong": one.wrong,
        "seconds": round(one.seconds, 3),
        "lists": [_list(found, one.point, now) for found in one.lists],
    }


def _list(found: Crl, point: Point, now: datetime) -> dict[str, Any]:
    next_publish = _next_publish(found)
    return {
        "issuer": found.issuer,
        "sha256": found.sha256,
        "number": found.number,
        "this_update": description.time_text(found.this_update),
        "next_update": description.time_text(found.next_update) if found.next_update else None,
        "next_publish": description.time_text(next_publish) if next_publish else None,
        "delta": found.is_delta,
        "base_number": _base_number(found),
        "entries": found.revoked,
        "size": len(found.der),
        "signed_by": [digest for digest, ca in point.issuers.items() if found.parsed.issuer == ca.subject and crls.signed_by(found, ca)],
        "partial": _partial(found, point, now),
    }


def _partial(found: Crl, point: Point, now: datetime) -> list[str]:
    """Why the CRL does not speak of all certificates of its CA."""
    ca = next(iter(point.issuers.values()), None)
    return [] if ca is None else [one.text for one in crls.judge(found, ca, now) if one.kind == crls.PARTIAL]


def _base_number(found: Crl) -> int | None:
    value = description.extension(found.parsed, x509.DeltaCRLIndicator)
    return None if value is None else int(value.crl_number)


def _next_publish(found: Crl) -> datetime | None:
    content = description.raw_extension(found.parsed, NEXT_PUBLISH)
    if not content:
        return None
    try:
        tag, text, _end = der.read(content)
        written = text.decode("ascii")
        return datetime.strptime(written, "%y%m%d%H%M%SZ" if tag == 0x17 else "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def _timeline(one: Fetched, now: datetime) -> list[dict[str, Any]]:
    """What the report draws."""
    held_by = ", ".join(one.point.used_by)
    if not one.lists:
        names = [seen.common_name(ca.subject) for ca in one.point.issuers.values()]
        nothing = dict.fromkeys(("number", "this_update", "next_update", "entries", "size"))
        status = "unreachable" if one.reason else "foreign"
        issuer = next((ca.subject.rfc4514_string() for ca in one.point.issuers.values()), "")
        return [{"url": one.point.url, "name": ", ".join(names), "issuer": issuer, **nothing, "status": status, "held_by": held_by}]
    return [seen.crl(found, one.point.url, held_by, _status(found, one.point, now)) for found in one.lists]


def _status(found: Crl, point: Point, now: datetime) -> str:
    if point.issuers and not any(crls.signed_by(found, ca) for ca in point.issuers.values()):
        return crls.FOREIGN
    if found.next_update is not None and found.next_update <= now:
        return crls.EXPIRED
    return crls.NOT_YET if found.this_update > now else "good"


def _server(url: str) -> str:
    found = re.match(r"[a-z]+://([^/?]+)", url, re.IGNORECASE)
    return found.group(1) if found else ""


def read(folder: Path) -> list[Observation]:
    """The observations of the run so far, but this one. Raises `FormatError`."""
    found = [observation.load(path) for path in sorted(folder.glob("*.json"))]
    return [one for one in found if one.target.kind != TARGET.kind]
