# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests: taken, judged, held, issued or denied."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import AuthorityInformationAccessOID

from lab.windows_ca.authority import database, extensions, names, policy, requests, templates
from lab.windows_ca.authority import settings as registry
from lab.windows_ca.authority.ca import Foundation, restricted_allows
from lab.windows_ca.authority.errors import (
    ADMIN_DENIED,
    BAD_RENEWAL_ATTRIBUTE,
    BAD_STATUS,
    BAD_TAG,
    E_ACCESSDENIED,
    ENROLL_DENIED,
    EXPIRED,
    NO_CHAIN,
    NO_REQUEST,
    NO_TEMPLATE,
    REVOKED,
    TEMPLATE_CONFLICT,
    TEMPLATE_DENIED,
    UNSUPPORTED_TEMPLATE,
    CertSrvError,
    DirectoryError,
)
from lab.windows_ca.authority.model import HASHES, CACertificate, Caller, Disposition, issued_by, new_serial, serial_text

NEW = {"disposition": 8, "status_code": 0, "disposition_message": "Processing"}


class Issuing(Foundation):
    def submit(self, request: bytes, attributes: Mapping[str, str], caller: Caller) -> Disposition:
        """ICertRequest::Submit. Whatever becomes of it is in the database, but for who may not ask this CA at all."""
        with self._lock:
            settings = self._running()
            try:
                who = self._requester(caller)
                if not settings.security.allows(who.groups, registry.ENROLL):
                    raise CertSrvError(ENROLL_DENIED)
                given = {name.strip().lower(): value.strip() for name, value in attributes.items()}
                return self._process(None, request, given, caller, who, approved=False)
            except DirectoryError as error:
                raise error.as_adcs("Directory") from error

    def _process(
        self, request_id: int | None, request: bytes, attributes: dict[str, str], caller: Caller, who: policy.Requester, *, approved: bool
    ) -> Disposition:
        row: dict[str, Any] = {}
        stage = "Error Parsing Request"
        requester = who
        try:
            parsed = requests.parse(request)
            stage = "Denied by Policy Module"
            behalf = parsed.attributes.get("requestername") if parsed.signers else None
            if behalf:
                found = self._account(self.directory, behalf)
                if found is None:
                    raise CertSrvError(0x80070534, f"No mapping between account names and security IDs was done: {behalf}")
                requester = self._requester(found)
            contents = self._decide({**parsed.attributes, **attributes}, parsed, who, requester)
            row["certificate_template"] = contents.template
            if contents.pending and not approved:
                row |= {"disposition": database.PENDING, "status_code": 0, "disposition_message": "Taken Under Submission"}
                return self._record(request_id, request, attributes, caller, requester, row, parsed)
            stage = "Error Constructing or Publishing Certificate"
            request_id = request_id or self._record(request_id, request, attributes, caller, requester, row | NEW, parsed).request_id
            certificate = self._issue(request_id, contents, parsed)
            row |= issued_columns(certificate, self._current().key_index)
            if contents.publish:
                self._tolerating("Publishing to the directory", lambda: self._publish_to(requester.dn, row["certificate"]))
            return self._record(request_id, request, attributes, caller, requester, row, parsed)
        except CertSrvError as error:
            code = database.DENIED if stage.startswith("Denied") else database.FAILED
            message = f"{stage}  0x{error.hresult:08x}, {error.text}"
            row |= {"disposition": code, "status_code": error.hresult, "disposition_message": message}
            return self._record(request_id, request, attributes, caller, requester, row, None)

    def _record(
        self,
        request_id: int | None,
        request: bytes,
        attributes: dict[str, str],
        caller: Caller,
        requester: policy.Requester,
        row: dict[str, Any],
        parsed: requests.ParsedRequest | None,
    ) -> Disposition:
        now = self.machine.now()
        columns = dict(row)
        if columns["disposition"] not in (database.PENDING, 8):
            columns["resolved_when"] = now
        if parsed is not None:
            columns.setdefault("distinguished_name", names.shown(parsed.subject))
        if request_id is None:
            columns |= {"submitted_when": now, "requester_name": requester.name, "requester_sid": requester.sid, "caller_name": caller.name}
            columns |= {"request": request, "attributes": attributes}
            request_id = self._db.add_request(columns)
        else:
            self._db.update_request(request_id, columns)
        return self._disposition(self._db.request(request_id) or {})

    @staticmethod
    def _disposition(row: Mapping[str, Any]) -> Disposition:
        status = database.STATUS.get(row["disposition"], "pending")
        return Disposition(row["request_id"], status, row["status_code"], row["disposition_message"], row["certificate"])

    def _decide(
        self, attributes: Mapping[str, str], parsed: requests.ParsedRequest, caller: policy.Requester, requester: policy.Requester
    ) -> policy.Contents:
        settings = self._running()
        if not settings.enterprise:
            return policy.standalone(settings, parsed, attributes, lambda oid: oid == extensions.SID)
        template = self._template(attributes, parsed)
        renewed = self._renewed(parsed, template, requester)
        others = [der for der in parsed.signers if renewed is None or der != renewed.public_bytes(serialization.Encoding.DER)]
        signers = [self._signer(x509.load_der_x509_certificate(der)) for der in others]
        if requester.sid != caller.sid and settings.agent_rights is not None:
            if not policy.may_enroll(template, caller):
                raise CertSrvError(TEMPLATE_DENIED)
            if not restricted_allows(settings.agent_rights, caller.groups, requester.groups, frozenset({template.cn, template.oid})):
                raise CertSrvError(E_ACCESSDENIED, "The enrollment agent is not permitted to enroll on behalf of this account.")
        return policy.by_template(
            settings, template, parsed, attributes, caller=caller, requester=requester, signers=signers, renewed=renewed
        )

    def _template(self, attributes: Mapping[str, str], parsed: requests.ParsedRequest) -> templates.Template:
        name, oid = requests.requested_template(parsed)
        asked = [value for value in (attributes.get("certificatetemplate"), name, oid) if value]
        if not asked:
            raise CertSrvError(
                NO_TEMPLATE,
                "The request contains no certificate template information. The request does not contain a certificate template extension "
                "or the CertificateTemplate request attribute.",
            )
        publication = self._publication()
        entries = {value.casefold(): publication.template(value) for value in asked}
        found = [entry for entry in entries.values() if entry is not None]
        if len(found) < len(entries) or found[0].text("cn") not in publication.published():
            raise CertSrvError(
                UNSUPPORTED_TEMPLATE,
                "The request was for a certificate template that is not supported by the Active Directory Certificate Services policy: "
                f"{asked[0]}.",
            )
        if len({entry.dn for entry in found}) > 1:
            raise CertSrvError(TEMPLATE_CONFLICT)
        return templates.Template.of(found[0])

    def _renewed(
        self, parsed: requests.ParsedRequest, template: templates.Template, requester: policy.Requester
    ) -> x509.Certificate | None:
        """The certificate that a request renews; None for a request that is no renewal."""
        if parsed.renewal_of is None:
            return None
        if parsed.renewal_of not in parsed.signers:
            raise CertSrvError(BAD_RENEWAL_ATTRIBUTE)
        old = x509.load_der_x509_certificate(parsed.renewal_of)
        self._check_signer(old)
        row = self._db.by_serial(serial_text(old))
        if row is None or row["requester_sid"] != requester.sid or extensions.template_of(old) not in (template.cn, template.oid):
            raise CertSrvError(BAD_RENEWAL_ATTRIBUTE)
        return old

    def _signer(self, certificate: x509.Certificate) -> policy.Signer:
        self._check_signer(certificate)
        try:
            policies = certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value
            issuance = frozenset(policy.policy_identifier.dotted_string for policy in policies)
        except x509.ExtensionNotFound:
            issuance = frozenset()
        return policy.Signer(certificate, frozenset(extensions.application_policies_of(certificate)), issuance)

    def _check_signer(self, certificate: x509.Certificate) -> None:
        """A signer's certificate must be valid now, not revoked, and of this CA or of one in the NTAuth store."""
        if not certificate.not_valid_before_utc <= self.machine.now() <= certificate.not_valid_after_utc:
            raise CertSrvError(EXPIRED)
        if any(issued_by(certificate, ca.certificate) for ca in self._loaded):
            row = self._db.by_serial(serial_text(certificate))
            if row is None:
                raise CertSrvError(NO_CHAIN)
            if row["disposition"] == database.REVOKED:
                raise CertSrvError(REVOKED)
            return
        for der in self._publication().ntauth_certificates() if self.enterprise else ():
            if issued_by(certificate, x509.load_der_x509_certificate(der)):
                return
        raise CertSrvError(NO_CHAIN)

    def _issue(self, request_id: int, contents: policy.Contents, parsed: requests.ParsedRequest) -> x509.Certificate:
        settings, ca = self._running(), self._current()
        now = self.machine.now().replace(microsecond=0)
        end = min(settings.validity.after(now), ca.certificate.not_valid_after_utc)
        if contents.validity is not None:
            end = min(end, now + contents.validity)
        if end <= now:
            raise CertSrvError(EXPIRED, "The CA's own certificate has expired.")
        public = parsed.pkcs10.public_key()
        identifier = ca.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = x509.CertificateBuilder().subject_name(contents.subject).issuer_name(ca.certificate.subject).public_key(public)
        builder = builder.serial_number(new_serial(request_id, ca.index))
        builder = builder.not_valid_before(now - settings.skew).not_valid_after(end)
        carried = [*contents.extensions, (x509.SubjectKeyIdentifier.from_public_key(public), False)]
        if settings.edit_flags & registry.EDITF_AKI_KEY_ID:
            carried.append((x509.AuthorityKeyIdentifier(identifier.digest, None, None), False))
        if contents.revocation_info:
            carried += self._pointers(ca)
        for value, critical in carried:
            if value.oid.dotted_string not in contents.disabled:
                builder = builder.add_extension(value, critical)
        assert ca.key is not None
        try:
            return builder.sign(ca.key, HASHES[settings.hash_name]())
        except (ValueError, TypeError) as error:
            raise CertSrvError(BAD_TAG, f"The certificate cannot be encoded: {error}") from error

    def _pointers(self, ca: CACertificate) -> list[tuple[x509.ExtensionType, bool]]:
        settings = self._running()
        tokens = self._tokens(ca)
        found: list[tuple[x509.ExtensionType, bool]] = []
        cdp = [tokens.expand(place.text, for_url=True) for place in settings.crl_places if place.flags & names.IN_CERTIFICATE]
        if cdp:
            found.append((x509.CRLDistributionPoints(extensions.points(cdp)), False))
        access = []
        for bit, method in (
            (names.IN_CERTIFICATE, AuthorityInformationAccessOID.CA_ISSUERS),
            (names.OCSP, AuthorityInformationAccessOID.OCSP),
        ):
            for place in settings.certificate_places:
                if place.flags & bit:
                    location = x509.UniformResourceIdentifier(tokens.expand(place.text, for_url=True))
                    access.append(x509.AccessDescription(method, location))
        if access:
            found.append((x509.AuthorityInformationAccess(access), False))
        return found

    def _publish_to(self, dn: str, der: bytes) -> None:
        self.directory.modify(dn, [("add", "userCertificate", [der])])

    def retrieve(self, request_id: int, caller: Caller | None = None) -> Disposition:
        """ICertRequest::RetrievePending."""
        with self._lock:
            self._running()
            row = self._db.request(request_id)
            if row is None:
                raise CertSrvError(NO_REQUEST)
            return self._disposition(row)

    def resubmit(self, request_id: int, caller: Caller | None = None) -> Disposition:
        """An officer grants a pending (or once more a denied) request; the policy module decides again, approval apart."""
        with self._lock:
            row = self._handled(request_id, caller, (database.PENDING, database.DENIED, database.FAILED))
            who = self._caller_of(row["requester_sid"])
            asked_by = self.identify(row["caller_name"])
            try:
                asker = self._requester(asked_by)
                return self._process(
                    request_id,
                    row["request"],
                    row["attributes"],
                    asked_by,
                    asker if who != asked_by else self._requester(who),
                    approved=True,
                )
            except DirectoryError as error:
                raise error.as_adcs("Directory") from error

    def deny(self, request_id: int, caller: Caller | None = None) -> Disposition:
        with self._lock:
            self._handled(request_id, caller, (database.PENDING,))
            by = caller.name if caller else f"{self.machine.netbios}\\{self.machine.hostname.upper()}$"
            self._db.update_request(
                request_id,
                {
                    "disposition": database.DENIED,
                    "status_code": ADMIN_DENIED,
                    "disposition_message": f"Denied by {by}",
                    "resolved_when": self.machine.now(),
                },
            )
            return self._disposition(self._db.request(request_id) or {})

    def _handled(self, request_id: int, caller: Caller | None, dispositions: Sequence[int]) -> dict[str, Any]:
        self._running()
        row = self._db.request(request_id)
        if row is None:
            raise CertSrvError(NO_REQUEST)
        self._demand(caller, registry.MANAGE_CERTIFICATES, row)
        if row["disposition"] not in dispositions:
            raise CertSrvError(BAD_STATUS)
        return row

    def requests(self, **filter: Any) -> list[dict[str, Any]]:
        """Rows of the database whose columns have these values (text without case); all of them without a filter."""
        with self._lock:
            self._running()
            for name in filter:
                if not re.fullmatch("[a-z_]+", name):
                    raise ValueError(name)
            where = " and ".join(f"{name} = ? collate nocase" for name in filter) or "1"
            return self._db.requests(where, list(filter.values()))


def issued_columns(certificate: x509.Certificate, key_index: int) -> dict[str, Any]:
    common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return {
        "disposition": database.ISSUED,
        "status_code": 0,
        "disposition_message": "Issued",
        "common_name": str(common[0].value) if common else None,
        "distinguished_name": names.shown(certificate.subject),
        "serial_number": serial_text(certificate),
        "certificate_hash": certificate.fingerprint(hashes.SHA1()).hex(),
        "certificate": certificate.public_bytes(serialization.Encoding.DER),
        "key_index": key_index,
        "not_before": certificate.not_valid_before_utc,
        "not_after": certificate.not_valid_after_utc,
    }
