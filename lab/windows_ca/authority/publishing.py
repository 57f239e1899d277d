# SPDX-License-Identifier: GPL-3.0-or-later
"""Revocation, and the CRLs that tell of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives import serialization

from lab.windows_ca.authority import crls, database, names, policy
from lab.windows_ca.authority import settings as registry
from lab.windows_ca.authority.errors import (
    BAD_STATUS,
    INVALID_ARGUMENT,
    NOT_SUPPORTED,
    PROPERTY_EMPTY,
    CertSrvError,
    DirectoryError,
)
from lab.windows_ca.authority.issuing import Issuing
from lab.windows_ca.authority.model import HASHES, CACertificate, Caller, normal_serial


class Publishing(Issuing):
    def revoke(self, serial: str, reason: int = 0, when: datetime | None = None, caller: Caller | None = None) -> None:
        """ICertAdmin::RevokeCertificate. `reason`: 0 to 6 as in RFC 5280 (6: hold); `when`: since when, now if not given."""
        with self._lock:
            if reason not in range(7):
                raise CertSrvError(INVALID_ARGUMENT, f"revocation reason {reason}")
            row = self._certificate_row(serial, caller)
            if row["disposition"] == database.REVOKED and row["revoked_reason"] != crls.HOLD:
                raise CertSrvError(BAD_STATUS, "The certificate is revoked already.")
            now = self.machine.now().replace(microsecond=0)
            columns = {"disposition": database.REVOKED, "disposition_message": f"Revoked by {caller.name if caller else 'SYSTEM'}"}
            columns |= {"revoked_reason": reason, "revoked_when": now, "revoked_effective_when": when or now, "released_when": None}
            self._db.update_request(row["request_id"], columns)

    def unrevoke(self, serial: str, caller: Caller | None = None) -> None:
        """Release a certificate from hold."""
        with self._lock:
            row = self._certificate_row(serial, caller)
            if row["disposition"] != database.REVOKED or row["revoked_reason"] != crls.HOLD:
                raise CertSrvError(BAD_STATUS, "The certificate is not on hold.")
            columns = {"disposition": database.ISSUED, "disposition_message": f"Unrevoked by {caller.name if caller else 'SYSTEM'}"}
            columns |= {"revoked_reason": None, "revoked_when": None, "revoked_effective_when": None}
            self._db.update_request(row["request_id"], {**columns, "released_when": self.machine.now().replace(microsecond=0)})

    def _certificate_row(self, serial: str, caller: Caller | None) -> dict[str, Any]:
        self._running()
        row = self._db.by_serial(normal_serial(serial))
        if row is None:
            raise CertSrvError(PROPERTY_EMPTY, f"No certificate of this CA has the serial number {serial}.")
        self._demand(caller, registry.MANAGE_CERTIFICATES, row)
        return row

    def publish_crls(self, base: bool = True, delta: bool = True, caller: Caller | None = None) -> None:
        """certutil -CRL. Every place is tried; what could not be written is the error."""
        with self._lock, self.machine.transaction():
            settings = self._running()
            self._demand(caller, registry.MANAGE_CA)
            if not base and not settings.delta.units:
                raise CertSrvError(NOT_SUPPORTED, "This CA publishes no delta CRLs (CRLDeltaPeriodUnits is 0).")
            now = self.machine.now()
            problems: list[str] = []
            for ca in self._keys(now):
                if base:
                    problems += self._publish(ca, now, delta=False)
                if delta and settings.delta.units:
                    problems += self._publish(ca, now, delta=True)
            if problems:
                raise CertSrvError(0x80070003, "; ".join(problems))

    def _keys(self, now: datetime) -> list[CACertificate]:
        """The newest certificate of each key that has not expired with all of its certificates."""
        newest: dict[int, CACertificate] = {}
        for ca in self._loaded:
            newest[ca.key_index] = ca
        current = self._current()
        return [ca for ca in newest.values() if ca is current or ca.certificate.not_valid_after_utc > now]

    def _publish_due(self) -> None:
        settings = self._running()
        now = self.machine.now()
        for ca in self._keys(now):
            for delta in (False, True) if settings.delta.units else (False,):
                last = self._db.last_crl(ca.key_index, delta)
                if last is None or now >= last["next_publish"] or (delta and not self._has_base(ca.key_index, last)):
                    with self.machine.transaction():
                        self.events += [f"{now.isoformat()} CRL: {text}" for text in self._publish(ca, now, delta=delta)]

    def _has_base(self, key_index: int, delta: Mapping[str, Any]) -> bool:
        base = self._db.last_crl(key_index, False)
        return base is not None and delta["base_number"] <= base["number"] <= delta["number"]

    def _publish(self, ca: CACertificate, now: datetime, *, delta: bool) -> list[str]:
        """Make and publish one CRL; returns what went wrong, a text a place."""
        settings = self._running()
        base = self._db.last_crl(ca.key_index, False)
        if delta and base is None:
            return ["a delta CRL needs a base CRL"]
        since = base["this_update"] if delta and base else None
        when = crls.times(settings, now, delta=delta)
        # the delta that goes out with its base has the base's number
        together = (
            delta and base is not None and base["number"] == self._db.next_crl_number() - 1 and not self._delta_of(ca.key_index, base)
        )
        number = base["number"] if together and base else self._db.next_crl_number()
        rows = self._db.requests("key_index = ? and (revoked_when is not null or released_when is not null)", [ca.key_index])
        entries = crls.revoked(rows, now, since=since)
        tokens, delta_tokens = self._tokens(ca), self._tokens(ca, delta=True)
        places = settings.crl_places
        assert ca.key is not None
        crl = crls.build(
            issuer=ca.certificate,
            key=ca.key,
            algorithm=HASHES[settings.hash_name](),
            when=when,
            number=number,
            base_number=base["number"] if delta and base else None,
            entries=entries,
            version=(ca.index, ca.key_index),
            freshest=[delta_tokens.expand(p.text, for_url=True) for p in places if p.flags & names.FRESHEST]
            if settings.delta.units
            else [],
            locations=[tokens.expand(p.text, for_url=True) for p in places if p.flags & names.IN_CRL],
            issuing_point=[tokens.expand(p.text, for_url=True) for p in places if p.flags & names.IN_IDP],
            disabled=policy.disabled(settings),
        ).public_bytes(serialization.Encoding.DER)
        written, problems = self._write_crl(ca, crl, delta=delta)
        self._db.add_crl(
            {
                "number": number,
                "key_index": ca.key_index,
                "delta": int(delta),
                "base_number": base["number"] if delta and base else None,
                "this_update": when.this_update,
                "next_update": when.next_update,
                "next_publish": when.next_publish,
                "crl": crl,
                "count": len(entries),
                "published": json.dumps(written),
            }
        )
        return problems

    def _delta_of(self, key_index: int, base: Mapping[str, Any]) -> bool:
        delta = self._db.last_crl(key_index, True)
        return delta is not None and delta["number"] >= base["number"]

    def _write_crl(self, ca: CACertificate, crl: bytes, *, delta: bool) -> tuple[list[str], list[str]]:
        settings = self._running()
        bit = names.PUBLISH_DELTA if delta else names.PUBLISH
        written, problems = [], []
        for place in settings.crl_places:
            if not place.flags & bit:
                continue
            target = self._tokens(ca, delta=delta).expand(place.text, for_url=False)
            try:
                self._write_crl_to(ca, target, crl, delta=delta)
                written.append(target)
            except (CertSrvError, DirectoryError, OSError, ValueError) as error:
                problems.append(f"{target}: {error}")
        return written, problems

    def _write_crl_to(self, ca: CACertificate, target: str, crl: bytes, *, delta: bool) -> None:
        kind = target.partition(":")[0].casefold()
        if kind == "ldap":
            if target.partition("?")[0].casefold() != f"ldap:///{self._publication().cdp(self.ca_key + ca.key_suffix)}".casefold():
                raise CertSrvError(NOT_SUPPORTED, "the stand-in publishes to this CA's own CDP object only")
            attribute = "deltaRevocationList" if delta else "certificateRevocationList"
            self._publication().write_crl(self.ca_key + ca.key_suffix, attribute, crl)
        elif kind in ("http", "https", "ftp") or kind == "file":
            raise CertSrvError(NOT_SUPPORTED, "the stand-in publishes to local paths and to the directory only")
        else:
            self.machine.files[target] = crl

    def crls(self) -> list[dict[str, Any]]:
        """The newest CRLs, base and delta of every key: name, number, dates, places where they were written and where clients find them."""
        with self._lock:
            settings = self._running()
            found = []
            for ca in self._keys(self.machine.now()):
                for delta in (False, True):
                    row = self._db.last_crl(ca.key_index, delta)
                    if row is None or (delta and not settings.delta.units):
                        continue
                    tokens = self._tokens(ca, delta=delta)
                    bit = names.FRESHEST if delta else names.IN_CERTIFICATE
                    urls = [tokens.expand(p.text, for_url=True) for p in settings.crl_places if p.flags & bit]
                    name = f"{self.ca_key}{ca.key_suffix}{'+' if delta else ''}.crl"
                    kept = ("number", "base_number", "this_update", "next_update", "next_publish", "count", "published", "key_index", "crl")
                    found.append({"name": name, "delta": delta, "urls": urls, **{column: row[column] for column in kept}})
            return found

    def crl_files(self) -> dict[str, bytes]:
        """What the folder CertEnroll holds, which IIS serves as /CertEnroll."""
        return {name: self.machine.files[f"{registry.CERTENROLL}\\{name}"] for name in self.machine.files.list(registry.CERTENROLL)}
