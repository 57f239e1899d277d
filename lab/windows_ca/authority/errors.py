# SPDX-License-Identifier: GPL-3.0-or-later
"""AD CS's own errors: HRESULT and text as winerror.h has them ([MS-ERREF] 2.1.1)."""

from __future__ import annotations

TEXTS = {
    0x80004005: "Unspecified error",
    0x80070002: "The system cannot find the file specified.",
    0x80070003: "The system cannot find the path specified.",
    0x80070005: "Access is denied.",
    0x80070032: "The request is not supported.",
    0x80070057: "The parameter is incorrect.",
    0x80070070: "There is not enough space on the disk.",
    0x800700B7: "Cannot create a file when that file already exists.",
    0x8007052E: "The user name or password is incorrect.",
    0x80070534: "No mapping between account names and security IDs was done.",
    0x800706BA: "The RPC server is unavailable.",
    0x8007203A: "The server is not operational.",
    0x80072098: "Insufficient access rights to perform the operation.",
    0x80090006: "Invalid Signature.",
    0x80090008: "Invalid algorithm specified.",
    0x8009000F: "Object already exists.",
    0x80092004: "Cannot find object or property.",
    0x8009310B: "ASN1 bad tag value met.",
    0x80094001: "The request subject name is invalid or too long.",
    0x80094002: "The request does not exist.",
    0x80094003: "The request's current status does not allow this operation.",
    0x80094004: "The requested property value is empty.",
    0x80094005: "The certification authority's certificate contains invalid data.",
    0x80094008: (
        "The operation is denied. The user has multiple roles assigned and the certification authority is configured to enforce role "
        "separation."
    ),
    0x80094009: (
        "The operation is denied. It can only be performed by a certificate manager that is allowed to manage certificates for the current "
        "requester."
    ),
    0x8009400E: "The request contains an invalid renewal certificate attribute.",
    0x80094011: "The permissions on this certification authority do not allow the current user to enroll for certificates.",
    0x80094012: "The permissions on the certificate template do not allow the current user to enroll for this type of certificate.",
    0x80094014: "The request was denied by a certificate manager or CA administrator.",
    0x80094800: "The requested certificate template is not supported by this CA.",
    0x80094801: "The request contains no certificate template information.",
    0x80094802: "The request contains conflicting template information.",
    0x80094806: (
        "The request was made on behalf of a subject other than the caller. The certificate template must be configured to require at "
        "least one signature to authorize the request."
    ),
    0x80094808: "The template is missing a required signature policy attribute.",
    0x80094809: "The request is missing required signature policy information.",
    0x8009480A: "The request is missing one or more required signatures.",
    0x8009480B: (
        "One or more signatures did not include the required application or issuance policies. The request is missing one or more required "
        "valid signatures."
    ),
    0x8009480C: "The request is missing one or more required signature issuance policies.",
    0x8009480D: "The UPN is unavailable and cannot be added to the Subject Alternate name.",
    0x8009480E: "The Active Directory GUID is unavailable and cannot be added to the Subject Alternate name.",
    0x8009480F: "The Domain Name System (DNS) name is unavailable and cannot be added to the Subject Alternate name.",
    0x80094811: "The public key does not meet the minimum size required by the specified certificate template.",
    0x80094812: "The email name is unavailable and cannot be added to the Subject or Subject Alternate name.",
    0x800B0101: (
        "A required certificate is not within its validity period when verifying against the current system clock or the timestamp in the "
        "signed file."
    ),
    0x800B0109: "A certificate chain processed, but terminated in a root certificate which is not trusted by the trust provider.",
    0x800B010A: "A certificate chain could not be built to a trusted root authority.",
    0x800B010C: "A certificate was explicitly revoked by its issuer.",
    0x800B0110: "The certificate is not valid for the requested usage.",
}
E_ACCESSDENIED = 0x80070005
NOT_SUPPORTED = 0x80070032
INVALID_ARGUMENT = 0x80070057
ALREADY_EXISTS = 0x800700B7
SERVER_UNAVAILABLE = 0x800706BA
DS_SERVER_DOWN = 0x8007203A
DS_NO_RIGHTS = 0x80072098
BAD_SIGNATURE = 0x80090006
BAD_ALGORITHM = 0x80090008
KEY_EXISTS = 0x8009000F
NOT_FOUND = 0x80092004
BAD_TAG = 0x8009310B
BAD_SUBJECT = 0x80094001
NO_REQUEST = 0x80094002
BAD_STATUS = 0x80094003
PROPERTY_EMPTY = 0x80094004
BAD_CA_CERTIFICATE = 0x80094005
ROLE_CONFLICT = 0x80094008
RESTRICTED_OFFICER = 0x80094009
BAD_RENEWAL_ATTRIBUTE = 0x8009400E
ENROLL_DENIED = 0x80094011
TEMPLATE_DENIED = 0x80094012
ADMIN_DENIED = 0x80094014
UNSUPPORTED_TEMPLATE = 0x80094800
NO_TEMPLATE = 0x80094801
TEMPLATE_CONFLICT = 0x80094802
ON_BEHALF_UNSIGNED = 0x80094806
SIGNATURE_POLICY_REQUIRED = 0x80094809
SIGNATURE_COUNT = 0x8009480A
SIGNATURE_REJECTED = 0x8009480B
ISSUANCE_POLICY_REQUIRED = 0x8009480C
UPN_REQUIRED = 0x8009480D
GUID_REQUIRED = 0x8009480E
DNS_REQUIRED = 0x8009480F
KEY_LENGTH = 0x80094811
EMAIL_REQUIRED = 0x80094812
EXPIRED = 0x800B0101
UNTRUSTED_ROOT = 0x800B0109
NO_CHAIN = 0x800B010A
REVOKED = 0x800B010C
WRONG_USAGE = 0x800B0110


class CertSrvError(Exception):
    """What AD CS answers instead of doing it."""

    def __init__(self, hresult: int, text: str = "") -> None:
        self.hresult = hresult
        self.text = text or TEXTS[hresult]
        super().__init__(f"{self.text} 0x{hresult:08x}")


class DirectoryError(Exception):
    """An LDAP operation was refused; `code` is the LDAP result code."""

    NO_SUCH_ATTRIBUTE, ATTRIBUTE_EXISTS, NO_SUCH_OBJECT, INVALID_CREDENTIALS, NO_RIGHTS, EXISTS, UNAVAILABLE = 16, 20, 32, 49, 50, 68, 81

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        super().__init__(text)

    def as_adcs(self, doing: str) -> CertSrvError:
        """The error that AD CS shows for it."""
        known = {self.NO_RIGHTS: DS_NO_RIGHTS, self.INVALID_CREDENTIALS: 0x8007052E, self.UNAVAILABLE: DS_SERVER_DOWN}
        hresult = known.get(self.code, 0x80004005)
        return CertSrvError(hresult, f"{doing}: {TEXTS[hresult]} ({self})")
