# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetching CRLs as clients do, from every address that certificates and CRLs name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from ansible_collections.certlogon.core.plugins.module_utils.adcs.crl_state import RevocationList
from ansible_collections.certlogon.core.plugins.module_utils.certificates import crl as crls
from ansible_collections.certlogon.core.plugins.module_utils.certificates.revocation import CrlSource, Fetch
from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Directory, connect
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Warn

CURRENT, OLDER, EXPIRED, UNREACHABLE, NOT_CHECKED = "current", "older", "expired", "unreachable", "not_checked"


@dataclass(frozen=True)
class Place:
    """What a client finds at an address. `number` and `next_update` are of the CRL there."""

    url: str
    status: str
    number: int | None = None
    next_update: datetime | None = None
    msg: str = ""

    @property
    def good(self) -> bool:
        return self.status in (CURRENT, NOT_CHECKED)


class Places:
    """Looks at addresses; each is fetched once. `ldap` is None where no directory is to be asked."""

    def __init__(self, http: Fetch, ldap: Fetch | None) -> None:
        self._http, self._ldap = http, ldap
        self._found: dict[str, bytes | UserError] = {}

    def look(self, one: RevocationList, now: datetime) -> list[Place]:
        return [self._look(url, one, now) for url in one.urls]

    def _look(self, url: str, one: RevocationList, now: datetime) -> Place:
        fetch = self._fetcher(url)
        if fetch is None:
            why = "give server or domain to look there" if url.casefold().startswith("ldap:") else "only http and ldap can be looked at"
            return Place(url, NOT_CHECKED, msg=why)
        try:
            found = crls.load(self._once(url, fetch))
        except UserError as error:
            return Place(url, UNREACHABLE, msg=str(error))
        number, due = found.number, found.next_update
        if found.issuer != one.crl.issuer:
            return Place(url, OLDER, number, due, f"is a CRL of {found.issuer}")
        if due is not None and due < now:
            return Place(url, EXPIRED, number, due, f"ended {due:%Y-%m-%d %H:%M} UTC")
        if found.sha256 != one.crl.sha256 and (number or 0) <= (one.crl.number or 0):
            return Place(url, OLDER, number, due, f"has number {number}, the CA's newest has {one.crl.number}")
        return Place(url, CURRENT, number, due)

    def _fetcher(self, url: str) -> Fetch | None:
        scheme = url.partition(":")[0].casefold()
        return self._http if scheme in ("http", "https") else self._ldap if scheme == "ldap" else None

    def _once(self, url: str, fetch: Fetch) -> bytes:
        if url not in self._found:
            try:
                self._found[url] = fetch(url)
            except UserError as error:
                self._found[url] = error
        found = self._found[url]
        if isinstance(found, UserError):
            raise found
        return found


@contextmanager
def looking(params: Mapping[str, Any], warn: Warn) -> Iterator[Places]:
    """With the connection options of the task: a directory is asked where they name one."""
    http = CrlSource(params["timeout"]).fetch
    if not (params.get("server") or params.get("domain")):
        yield Places(http, None)
        return
    try:
        with connect(ConnectionOptions.from_params(params), warn) as directory:
            yield Places(http, from_directory(directory))
    except UserError as error:
        reason = UserError(f"directory: {error}")

        def unreachable(url: str) -> bytes:
            raise reason

        yield Places(http, unreachable)


def from_directory(directory: Directory) -> Callable[[str], bytes]:
    """Fetches ldap:///DN?attribute?base?… as Windows does: from a domain controller of its own choice."""

    def fetch(url: str) -> bytes:
        dn, attribute = f"{url.partition(':///')[2]}?".split("?")[:2]
        attribute = attribute or "certificateRevocationList"
        found = directory.get(unquote(dn), [attribute])
        value = found.raw(attribute) if found else None
        if value is None or value == b"\0":
            raise UserError(
                f"{unquote(dn)}: has no {attribute} yet; let the CA publish there (flag publish_base or publish_delta of that CDP)"
            )
        return value

    return fetch
