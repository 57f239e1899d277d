# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs of trusted client CAs: downloaded from their distribution points, judged, kept, and refused where they are not good.

Fail closed, as the product's notes say ("access denied if the CRL cannot be fetched or is expired"). Inferred: a CRL in hand serves
until it expires where its place cannot be reached, but a foreign or expired one that a place hands out denies at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lab.connect_secure.data.plan import Authority, Cdp

TIMEOUT = 10
LIMIT = 100_000_000
RETRIES_AN_HOUR = 60
LDAP_ATTRIBUTE = "certificateRevocationList"


class Unreachable(Exception):
    """Nothing came from a distribution point; the message names it and says why."""


class Unusable(Exception):
    """What came is no CRL that may be used; the message says why."""


@dataclass
class Memory:
    """Of one CA, over restarts. `fetched`, `tried`: UNIX times of the last good and of the last download; `bad`: why the CRL that was
    last handed out may not be used."""

    fetched: float = 0
    tried: float = 0
    url: str = ""
    error: str = ""
    bad: str = ""
    from_certificate: tuple[str, ...] = ()


class Crls:
    """`hour`: seconds that an hour of the download frequency takes. `log(reason)`: for the administrator."""

    def __init__(self, folder: Path, log: Callable[[str], None], hour: Callable[[], float] = lambda: 3600.0) -> None:
        self._folder, self._log, self._hour = folder, log, hour
        self._memory: dict[str, Memory] = {}
        self._crls: dict[str, x509.CertificateRevocationList] = {}
        self._verified: dict[str, x509.CertificateRevocationList] = {}
        self._lock = threading.RLock()
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.glob("*.json"):
            known = {name: value for name, value in json.loads(file.read_text()).items() if name in Memory.__dataclass_fields__}
            self._memory[file.stem] = Memory(**(known | {"from_certificate": tuple(known["from_certificate"])}))
            with contextlib.suppress(FileNotFoundError):
                self._crls[file.stem] = x509.load_der_x509_crl(file.with_suffix(".crl").read_bytes())

    def find(self, authority: Authority, now: datetime | None = None) -> x509.CertificateRevocationList | str:
        """The CA's CRL if it may be used, else why not."""
        memory, crl = self._memory.get(authority.fingerprint), self._crls.get(authority.fingerprint)
        if memory is not None and memory.bad:
            return memory.bad
        if crl is None:
            return memory.error if memory is not None and memory.error else "its CRL has not been downloaded yet"
        try:
            if self._verified.get(authority.fingerprint) is not crl:
                check_origin(crl, authority)
                self._verified[authority.fingerprint] = crl
            check_dates(crl, now or datetime.now(timezone.utc))
        except Unusable as error:
            late = f"; {memory.error}" if memory is not None and memory.error else ""
            return f"{error}{late}"
        return crl

    def in_hand(self, authority: Authority) -> x509.CertificateRevocationList | None:
        """Good or not."""
        return self._crls.get(authority.fingerprint)

    def find_for(self, authority: Authority, certificate: x509.Certificate) -> x509.CertificateRevocationList | str:
        """As `find`, for one who signs in: where the CDPs are those of client certificates, his are asked now if no good CRL is in hand."""
        if authority.cdp_source == "client_certificate":
            places = distribution_points(certificate)
            with self._lock:
                memory = self._memory.setdefault(authority.fingerprint, Memory())
                new = places != memory.from_certificate
                memory.from_certificate = places
            if new or isinstance(self.find(authority), str):
                self.update(authority)
        return self.find(authority)

    def due(self, authority: Authority, now: float | None = None) -> bool:
        memory = self._memory.get(authority.fingerprint, Memory())
        if authority.cdp_source == "client_certificate" and not memory.from_certificate:
            return False
        return authority.checks_crl and (now or time.time()) >= self._next(authority, memory)

    def _next(self, authority: Authority, memory: Memory) -> float:
        """When the next download is due: after the frequency; if something is wrong, after a sixtieth of an hour."""
        hour = self._hour()
        return memory.tried + (max(1, hour / RETRIES_AN_HOUR) if memory.bad or memory.error else authority.frequency * hour)

    def forget(self, authority: Authority) -> None:
        """Where its CRLs come from was changed: ask there at once. A CRL in hand stays."""
        with self._lock:
            memory = self._memory.setdefault(authority.fingerprint, Memory())
            memory.tried, memory.bad, memory.error = 0, "", ""

    def update(self, authority: Authority) -> str:
        """Download the CA's CRL now; empty, or what went wrong. The error is kept, and everyone of the CA denied if it must be so."""
        with self._lock:
            memory = self._memory.setdefault(authority.fingerprint, Memory())
            memory.tried = time.time()
            error = bad = ""
            for place in self._places(authority, memory):
                try:
                    data = download(place)
                except Unreachable as unreachable:
                    error = error or str(unreachable)
                    continue
                try:
                    self._take(authority, memory, place.url, data)
                except Unusable as unusable:
                    bad = bad or f"{unusable} (from {place.url})"
                    continue
                return ""
            if not error and not bad:
                error = f"its CRL cannot be downloaded: no distribution point is known ({authority.cdp_source})"
            if (bad or error) not in (memory.bad, memory.error):
                self._log(f"CRL of the CA {authority.name}: {bad or error}")
            memory.error, memory.bad = error, bad or memory.bad
            self._save(authority, memory)
            return bad or error

    def status(self, authority: Authority) -> dict[str, object]:
        """For the console's CRL status: metrics and log."""
        memory = self._memory.get(authority.fingerprint, Memory())
        found = self.find(authority)
        crl = self._crls.get(authority.fingerprint)
        return {
            "authority": authority.name,
            "status": authority.status,
            "usable": not isinstance(found, str),
            "reason": found if isinstance(found, str) else "",
            "url": memory.url,
            "fetched": memory.fetched,
            "next_download": self._next(authority, memory),
            "number": number(crl) if crl is not None else None,
            "next_update": crl.next_update_utc.isoformat() if crl is not None and crl.next_update_utc else None,
            "entries": len(crl) if crl is not None else 0,
        }

    def _places(self, authority: Authority, memory: Memory) -> Sequence[Cdp]:
        if authority.cdp_source == "manual":
            return authority.cdps
        urls = memory.from_certificate if authority.cdp_source == "client_certificate" else distribution_points(authority.certificate)
        login = authority.cdps[0] if authority.cdps else Cdp("")
        return [Cdp(url, login.user, login.password) for url in urls]

    def _take(self, authority: Authority, memory: Memory, url: str, data: bytes) -> None:
        crl = read_crl(data)
        check_origin(crl, authority)
        check_dates(crl, datetime.now(timezone.utc))
        news = self._crls.get(authority.fingerprint) != crl
        memory.fetched, memory.url, memory.error, memory.bad = time.time(), url, "", ""
        self._crls[authority.fingerprint] = crl
        replace(self._folder / f"{authority.fingerprint}.crl", crl.public_bytes(serialization.Encoding.DER))
        self._save(authority, memory)
        if news:
            until = f", good until {crl.next_update_utc:%Y-%m-%d %H:%M} UTC" if crl.next_update_utc else ""
            self._log(f"CRL of the CA {authority.name}: number {number(crl)} with {len(crl)} entries from {url}{until}")

    def _save(self, authority: Authority, memory: Memory) -> None:
        replace(self._folder / f"{authority.fingerprint}.json", json.dumps(asdict(memory)).encode())


def check_origin(crl: x509.CertificateRevocationList, authority: Authority) -> None:
    """Raise Unusable unless this is a complete CRL of this CA."""
    if crl.issuer != authority.certificate.subject:
        above = crl.issuer == authority.certificate.issuer
        hint = ", the CA above it: a CDP in a CA's certificate is for that certificate, not for those that the CA issues" if above else ""
        raise Unusable(f"its CRL is foreign: issued by {crl.issuer.rfc4514_string()}{hint}")
    try:
        signed = crl.is_signature_valid(authority.certificate.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError):
        signed = False
    if not signed:
        raise Unusable("its CRL is foreign: not signed with the CA's key")
    if any(isinstance(extension.value, x509.DeltaCRLIndicator) for extension in crl.extensions):
        raise Unusable("its CRL is a delta CRL, and no complete one")


def check_dates(crl: x509.CertificateRevocationList, now: datetime) -> None:
    """Raise Unusable unless the CRL is in its time."""
    if crl.next_update_utc is not None and crl.next_update_utc < now:
        raise Unusable(f"its CRL has expired at {crl.next_update_utc:%Y-%m-%d %H:%M:%S} UTC")
    if crl.last_update_utc > now:
        raise Unusable(f"its CRL is not valid before {crl.last_update_utc:%Y-%m-%d %H:%M} UTC")


def read_crl(data: bytes) -> x509.CertificateRevocationList:
    try:
        crl = x509.load_pem_x509_crl(data) if data.lstrip().startswith(b"-----BEGIN") else x509.load_der_x509_crl(data)
        list(crl.extensions)
    except ValueError:
        raise Unusable(f"what was downloaded is no CRL: {data[:40]!r}") from None
    return crl


def number(crl: x509.CertificateRevocationList) -> int | None:
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None


def distribution_points(certificate: x509.Certificate) -> tuple[str, ...]:
    """The URIs of a certificate's CRL distribution points, in order."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for point in points for name in point.full_name or () if isinstance(name, x509.UniformResourceIdentifier))


def download(place: Cdp) -> bytes:
    scheme = place.url.partition(":")[0].lower()
    if scheme == "ldap":
        return _by_ldap(place)
    if scheme != "http":
        raise Unreachable(f"its CRL cannot be downloaded from {place.url}: only http and ldap are modelled")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(place.url, timeout=TIMEOUT) as answer:
            return bytes(answer.read(LIMIT))
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise Unreachable(f"its CRL cannot be downloaded from {place.url}: {getattr(error, 'reason', None) or error}") from None


def _by_ldap(place: Cdp) -> bytes:
    """RFC 4516: ldap://host/dn?attribute?scope?filter; simple bind with the login of the CDP, if it has one."""
    import ldap3

    parts = urlsplit(place.url)
    if not parts.hostname:
        raise Unreachable(f"its CRL cannot be downloaded from {place.url}: the URL names no server")
    fields = [unquote(field) for field in parts.query.split("?")] + ["", "", ""]
    attribute, scope, condition = fields[0].partition(";")[0] or LDAP_ATTRIBUTE, fields[1] or "base", fields[2] or "(objectClass=*)"
    try:
        server = ldap3.Server(parts.hostname, parts.port or 389, connect_timeout=TIMEOUT, get_info=ldap3.NONE)
        with ldap3.Connection(server, place.user or None, place.password or None, auto_bind=True, receive_timeout=TIMEOUT) as connection:
            connection.search(
                unquote(parts.path.lstrip("/")),
                condition,
                {"base": ldap3.BASE, "one": ldap3.LEVEL, "sub": ldap3.SUBTREE}.get(scope, ldap3.BASE),
                attributes=[f"{attribute};binary", attribute],
            )
            for entry in connection.response or ():
                for found in entry.get("raw_attributes", {}).values():
                    if found and len(found[0]) > 1:
                        return bytes(found[0])
    except ldap3.core.exceptions.LDAPException as error:
        raise Unreachable(f"its CRL cannot be downloaded from {place.url}: {error}") from None
    raise Unreachable(f"its CRL cannot be downloaded from {place.url}: no CRL is there")


def replace(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(f"{path.suffix}.{threading.get_ident()}.tmp")
    temporary.touch(mode=0o600)
    temporary.write_bytes(data)
    # ocserv reads anew what is younger than its last look, in whole seconds: of two changes within one, it would keep the first
    ahead = time.time() + 2
    os.utime(temporary, (ahead, ahead))
    temporary.replace(path)
