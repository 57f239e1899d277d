# SPDX-License-Identifier: GPL-3.0-or-later
"""Why AD CS refuses a request, by its code ([MS-ERREF] 2.1.1), and what mends it."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.certlogon.core.plugins.module_utils.errors import SessionLost

_SERVICE_DOWN = (0x800706BA, 0x800706B5, 0x80094006, 0x80094015)

_REASONS = {
    0x80070005: "the authority denied access; on the authority, {account} needs the permission Request Certificates",
    0x80092013: (
        "the authority could not check a certificate for revocation, since a CRL is unreachable or stale; publish its CRLs (adcs_crl)"
    ),
    0x80094001: "the authority takes the subject for invalid; write config.subject as the template wants it",
    0x80094005: "the authority's own certificate is invalid; renew it (adcs_authority)",
    0x80094009: "an enrollment agent restriction of the authority does not let {account} enroll {template} for {requester}",
    0x80094011: "{account} lacks the permission Request Certificates on the authority; grant it there",
    0x80094012: (
        "{account} lacks the right Enroll on template {template}; grant it with ad_certificate_templates, or request as an account that "
        "has it (a group that was joined lately counts after the next sign-in)"
    ),
    0x80094014: "an officer of the authority denied the request; ask there, then set retry_denied=true",
    0x80094800: (
        "template {template} is not published on this authority; publish it with ad_enrollment_services, or mend config.template "
        "(its cn, not its display name)"
    ),
    0x80094801: "an enterprise authority needs a template; set config.template",
    0x80094802: "the request names another template than config.template; make both the same",
    0x80094803: "template {template} wants alternative names; set config.subject_alt_names",
    0x80094807: "the request asks for another version of template {template}; make the request anew",
    0x80094808: "template {template} wants a policy in the signature of the request; use on_behalf_of with a fitting agent's certificate",
    0x80094809: "template {template} wants the request signed by an enrollment agent; set config.on_behalf_of",
    0x8009480A: "template {template} wants more signatures on the request than it has",
    0x8009480B: "the authority rejects the enrollment agent's signature; is the agent's certificate valid, and trusted by the authority?",
    0x8009480C: "template {template} wants an issuance policy that the agent's certificate lacks",
    0x8009480D: "the account has no user principal name (userPrincipalName), which template {template} puts into the certificate; set it",
    0x8009480E: "the account has no objectGUID that template {template} could put into the certificate",
    0x8009480F: "the account has no DNS name (dNSHostName), which template {template} puts into the certificate; set it",
    0x80094811: "the key is smaller than the least size of template {template}; raise config.key.size",
    0x80094812: (
        "the account has no e-mail address (mail), which template {template} puts into the certificate; set it, or take the flag off "
        "the template"
    ),
    0x80094813: "the authority does not know the kind of certificate {template}",
}


def explain(code: int | None, message: str, facts: Mapping[str, str]) -> str:
    """Reason and remedy, then the authority's own words. `facts` are account, template and requester."""
    known = _REASONS.get(code or 0)
    own = f"the authority says: {message}" if message else ""
    return "; ".join(part for part in (known.format(**facts) if known else "", own) if part) or "the authority gives no reason"


def raise_if_down(code: int | None, url: str, message: str) -> None:
    """Raise `SessionLost` where the code means that no authority answers behind the web pages."""
    if code in _SERVICE_DOWN:
        raise SessionLost(
            f"{url}: the web enrolment answers, but its certification authority does not (0x{code:08X}); start CertSvc: {message}"
        )
