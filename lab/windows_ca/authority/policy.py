# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy module: whether a request is granted, and what the certificate says ([MS-WCCE] 3.2.2.6.2.1.4). Pure: all it needs is given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NoReturn

from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier

from lab.windows_ca.authority import descriptors, extensions, names, templates
from lab.windows_ca.authority.errors import (
    BAD_SUBJECT,
    BAD_TAG,
    DNS_REQUIRED,
    EMAIL_REQUIRED,
    GUID_REQUIRED,
    ISSUANCE_POLICY_REQUIRED,
    KEY_LENGTH,
    NOT_SUPPORTED,
    ON_BEHALF_UNSIGNED,
    SIGNATURE_COUNT,
    SIGNATURE_POLICY_REQUIRED,
    SIGNATURE_REJECTED,
    TEMPLATE_DENIED,
    UPN_REQUIRED,
    CertSrvError,
)
from lab.windows_ca.authority.requests import ParsedRequest
from lab.windows_ca.authority.settings import (
    EDITF_ATTRIBUTE_SAN2,
    EDITF_BASIC_CONSTRAINTS_CA,
    EDITF_DISABLE_EXTENSION_LIST,
    REQUEST_PENDING_FIRST,
    Settings,
)
from lab.windows_ca.authority.templates import Template


@dataclass(frozen=True)
class Requester:
    """An account of the directory, as certificates need it."""

    name: str
    """CORP\\alice.andersson"""
    sid: str
    dn: str
    cn: str
    dns_domain: str
    groups: frozenset[str]
    """all SIDs of its token"""
    computer: bool = False
    upn: str | None = None
    mail: str | None = None
    dns_name: str | None = None
    guid: bytes | None = None


@dataclass(frozen=True)
class Signer:
    """Whose signature is around a request; its chain and validity are checked already."""

    certificate: x509.Certificate
    application_policies: frozenset[str]
    issuance_policies: frozenset[str]


@dataclass
class Contents:
    """What the policy module puts into a certificate; issuer, validity's end, CDP and AIA are the CA's to add."""

    subject: x509.Name
    extensions: list[tuple[x509.ExtensionType, bool]]
    validity: timedelta | None
    """None: only the CA's own limits"""
    pending: bool = False
    revocation_info: bool = True
    publish: bool = False
    template: str | None = None
    disabled: frozenset[str] = field(default_factory=frozenset)


def by_template(
    settings: Settings,
    template: Template,
    request: ParsedRequest,
    attributes: Mapping[str, str],
    *,
    caller: Requester,
    requester: Requester,
    signers: Collection[Signer],
    renewed: x509.Certificate | None,
) -> Contents:
    """An enterprise CA's decision. `renewed`: the valid certificate of the same template that this request renews, if it does."""
    on_behalf = requester.sid != caller.sid
    if not may_enroll(template, caller):
        raise CertSrvError(TEMPLATE_DENIED)
    if template.private_key & (templates.REQUIRE_ARCHIVAL | templates.ATTESTATION_REQUIRED):
        raise CertSrvError(NOT_SUPPORTED, f"template {template.cn}: key archival and attestation are not modelled by the stand-in")
    if request.key_bits < template.minimal_key:
        raise CertSrvError(KEY_LENGTH)
    check_signatures(template, signers, on_behalf=on_behalf, renewed=renewed is not None)
    subject, alternative = naming(template, request, requester, renewed)
    san = attributes.get("san")
    if san and settings.edit_flags & EDITF_ATTRIBUTE_SAN2:
        alternative = [*alternative, *extensions.attribute_names(san)]
    found: list[tuple[x509.ExtensionType, bool]] = list(usages(template))
    if alternative:
        found.append((x509.SubjectAlternativeName(alternative), not list(subject) or extensions.SAN in template.critical))
    if template.naming & templates.SUPPLIES_SUBJECT:
        if extensions.SID in request.extensions:
            found.append((extensions.raw(extensions.SID, request.extensions[extensions.SID]), False))
    elif not template.enrollment & templates.NO_SECURITY_EXTENSION:
        found.append((extensions.sid(requester.sid), False))
    if template.enrollment & templates.INCLUDE_SMIME and extensions.SMIME_CAPABILITIES in request.extensions:
        capabilities = request.extensions[extensions.SMIME_CAPABILITIES]
        found.append((extensions.raw(extensions.SMIME_CAPABILITIES, capabilities), False))
    approved_before = renewed is not None and bool(template.enrollment & templates.PREVIOUS_APPROVAL)
    return Contents(
        subject,
        found,
        template.validity,
        pending=bool(template.enrollment & templates.PEND_ALL) and not approved_before,
        revocation_info=not template.enrollment & templates.NO_REVOCATION_INFO,
        publish=bool(template.enrollment & templates.PUBLISH_TO_DS),
        template=template.cn if template.schema == 1 else template.oid,
        disabled=disabled(settings),
    )


def may_enroll(template: Template, who: Requester) -> bool:
    return template.descriptor.allows(who.groups, descriptors.CONTROL_ACCESS, descriptors.ENROLL)


def disabled(settings: Settings) -> frozenset[str]:
    return settings.disabled_extensions if settings.edit_flags & EDITF_DISABLE_EXTENSION_LIST else frozenset()


def check_signatures(template: Template, signers: Collection[Signer], *, on_behalf: bool, renewed: bool) -> None:
    """[MS-WCCE] 3.2.2.6.2.1.4.5.1 and .2."""
    if on_behalf:
        if template.schema > 1 and not template.signatures:
            raise CertSrvError(ON_BEHALF_UNSIGNED)
        if not any(extensions.REQUEST_AGENT in signer.application_policies for signer in signers):
            raise CertSrvError(SIGNATURE_REJECTED)
    if not template.signatures or renewed:
        return
    if not signers:
        raise CertSrvError(SIGNATURE_POLICY_REQUIRED)
    if len(signers) < template.signatures:
        raise CertSrvError(SIGNATURE_COUNT)
    wanted = set(template.signature_usages)
    if sum(wanted <= signer.application_policies for signer in signers) < template.signatures:
        raise CertSrvError(SIGNATURE_REJECTED)
    if template.signature_policies and not any(set(template.signature_policies) & signer.issuance_policies for signer in signers):
        raise CertSrvError(ISSUANCE_POLICY_REQUIRED)


def usages(template: Template) -> list[tuple[x509.ExtensionType, bool]]:
    found: list[tuple[x509.ExtensionType, bool]] = []
    if any(template.key_usage):
        found.append((extensions.key_usage(template.key_usage), extensions.KEY_USAGE in template.critical))
    if template.extended_usages:
        usage = x509.ExtendedKeyUsage([ObjectIdentifier(oid) for oid in template.extended_usages])
        found.append((usage, extensions.EKU in template.critical))
    if template.for_authorities:
        length = None if template.path_length < 0 else template.path_length
        found.append((x509.BasicConstraints(ca=True, path_length=length), True))
    elif template.enrollment & templates.BASIC_CONSTRAINTS:
        found.append((x509.BasicConstraints(ca=False, path_length=None), True))
    if template.schema == 1:
        found.append((extensions.template_name(template.cn), False))
    else:
        found.append((extensions.template(template.oid, template.major, template.minor), False))
        if template.application_policies:
            critical = extensions.APPLICATION_POLICIES in template.critical
            found.append((extensions.application_policies(template.application_policies), critical))
        if template.certificate_policies:
            policies = [x509.PolicyInformation(ObjectIdentifier(oid), None) for oid in template.certificate_policies]
            found.append((x509.CertificatePolicies(policies), extensions.CERTIFICATE_POLICIES in template.critical))
    if template.enrollment & templates.OCSP_NOCHECK:
        found.append((x509.OCSPNoCheck(), False))
    return found


def naming(
    template: Template, request: ParsedRequest, requester: Requester, renewed: x509.Certificate | None
) -> tuple[x509.Name, list[x509.GeneralName]]:
    """Subject and alternative names ([MS-WCCE] 3.2.2.6.2.1.4.5.9)."""
    flags = template.naming
    if flags & templates.OLD_CERTIFICATE_SUPPLIES and renewed is not None:
        return renewed.subject, alternative_of(renewed.extensions)
    if flags & templates.SUPPLIES_SUBJECT:
        alternative = requested_names(request)
        names.check_lengths(request.subject)
        if not list(request.subject) and not alternative:
            raise CertSrvError(BAD_SUBJECT)
        return request.subject, alternative
    return built_subject(flags, requester), built_alternative(flags, requester)


def built_subject(flags: int, who: Requester) -> x509.Name:
    parts: list[tuple[str, str]] = []
    if flags & templates.DIRECTORY_PATH:
        parts = names.directory_path(who.dn)
    elif flags & templates.DNS_AS_CN:
        parts = [("CN", who.dns_name or missing(DNS_REQUIRED))]
    elif flags & templates.COMMON_NAME:
        parts = [("CN", who.cn)]
    if flags & templates.SUBJECT_EMAIL:
        parts.append(("E", who.mail or missing(EMAIL_REQUIRED)))
    return names.name_of(parts)


def built_alternative(flags: int, who: Requester) -> list[x509.GeneralName]:
    if flags & templates.SAN_SPN:
        raise CertSrvError(NOT_SUPPORTED, "service principal names in the subject alternative name are not modelled by the stand-in")
    found: list[x509.GeneralName] = []
    if flags & templates.SAN_GUID:
        found.append(extensions.guid(who.guid or missing(GUID_REQUIRED)))
    if flags & templates.SAN_UPN:
        found.append(extensions.upn(who.upn or missing(UPN_REQUIRED)))
    if flags & templates.SAN_EMAIL:
        found.append(x509.RFC822Name(who.mail or missing(EMAIL_REQUIRED)))
    if flags & templates.SAN_DNS:
        found.append(x509.DNSName(who.dns_name or missing(DNS_REQUIRED)))
    if flags & templates.SAN_DOMAIN_DNS:
        found.append(x509.DNSName(who.dns_domain))
    return found


def missing(hresult: int) -> NoReturn:
    raise CertSrvError(hresult)


def requested_names(request: ParsedRequest) -> list[x509.GeneralName]:
    if extensions.SAN not in request.extensions:
        return []
    try:
        return alternative_of(request.pkcs10.extensions)
    except ValueError as error:
        raise CertSrvError(BAD_TAG) from error


def alternative_of(found: x509.Extensions) -> list[x509.GeneralName]:
    try:
        return list(found.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def standalone(settings: Settings, request: ParsedRequest, attributes: Mapping[str, str], custom: Callable[[str], bool]) -> Contents:
    """A stand-alone CA's decision: what the request asks for, held until an officer has looked at it (RequestDisposition).

    `custom`: whether an extension of the request that the builder has no class for may be copied.
    """
    found: list[tuple[x509.ExtensionType, bool]] = []
    authority = attributes.get("certificatetemplate", "").casefold() == "subca"
    names.check_lengths(request.subject)
    try:
        for extension in request.pkcs10.extensions:
            value = extension.value
            if isinstance(value, x509.BasicConstraints):
                authority = authority or (value.ca and bool(settings.edit_flags & EDITF_BASIC_CONSTRAINTS_CA))
            elif isinstance(value, (x509.SubjectAlternativeName, x509.ExtendedKeyUsage)) or (
                isinstance(value, x509.KeyUsage) and extensions.KEY_USAGE in settings.request_extensions
            ):
                found.append((value, extension.critical))
            elif isinstance(value, x509.UnrecognizedExtension) and custom(extension.oid.dotted_string):
                found.append((value, False))
    except ValueError as error:
        raise CertSrvError(BAD_TAG) from error
    if authority:
        found = [(value, critical) for value, critical in found if not isinstance(value, x509.KeyUsage)]
        found += [(x509.BasicConstraints(ca=True, path_length=None), True), (extensions.key_usage(b"\x86"), False)]
    san = attributes.get("san")
    if san and settings.edit_flags & EDITF_ATTRIBUTE_SAN2:
        already = [name for value, _ in found if isinstance(value, x509.SubjectAlternativeName) for name in value]
        found = [(value, critical) for value, critical in found if not isinstance(value, x509.SubjectAlternativeName)]
        found.append((x509.SubjectAlternativeName([*already, *extensions.attribute_names(san)]), not list(request.subject)))
    if not list(request.subject) and not any(isinstance(value, x509.SubjectAlternativeName) for value, _ in found):
        raise CertSrvError(BAD_SUBJECT)
    pending = bool(settings.request_disposition & REQUEST_PENDING_FIRST)
    return Contents(request.subject, found, None, pending=pending, disabled=disabled(settings))
