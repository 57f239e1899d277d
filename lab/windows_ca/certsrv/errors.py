# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors as certificate services print them: `The text. 0x80094012 (-2146877422 CERTSRV_E_TEMPLATE_DENIED)`."""

from __future__ import annotations

import re

# names of winerror.h ([MS-ERREF] 2.1.1)
NAMES = {
    0x80070002: "ERROR_FILE_NOT_FOUND",
    0x80070005: "E_ACCESSDENIED",
    0x8007000D: "ERROR_INVALID_DATA",
    0x80070057: "E_INVALIDARG",
    0x80070070: "ERROR_DISK_FULL",
    0x800706BA: "RPC_S_SERVER_UNAVAILABLE",
    0x8009310B: "CRYPT_E_ASN1_BADTAG",
    0x80093102: "CRYPT_E_ASN1_EOD",
    0x80092012: "CRYPT_E_NO_REVOCATION_CHECK",
    0x80092013: "CRYPT_E_REVOCATION_OFFLINE",
    0x80094001: "CERTSRV_E_BAD_REQUESTSUBJECT",
    0x80094002: "CERTSRV_E_NO_REQUEST",
    0x80094003: "CERTSRV_E_BAD_REQUESTSTATUS",
    0x80094004: "CERTSRV_E_PROPERTY_EMPTY",
    0x80094006: "CERTSRV_E_SERVER_SUSPENDED",
    0x80094011: "CERTSRV_E_ENROLL_DENIED",
    0x80094012: "CERTSRV_E_TEMPLATE_DENIED",
    0x80094014: "CERTSRV_E_ADMIN_DENIED_REQUEST",
    0x80094800: "CERTSRV_E_UNSUPPORTED_CERT_TYPE",
    0x80094801: "CERTSRV_E_NO_CERT_TYPE",
    0x80094802: "CERTSRV_E_TEMPLATE_CONFLICT",
    0x80094803: "CERTSRV_E_SUBJECT_ALT_NAME_REQUIRED",
    0x80094808: "CERTSRV_E_TEMPLATE_POLICY_REQUIRED",
    0x80094809: "CERTSRV_E_SIGNATURE_POLICY_REQUIRED",
    0x8009480A: "CERTSRV_E_SIGNATURE_COUNT",
    0x8009480F: "CERTSRV_E_SUBJECT_DNS_REQUIRED",
    0x8009480E: "CERTSRV_E_SUBJECT_UPN_REQUIRED",
    0x80094811: "CERTSRV_E_KEY_LENGTH",
    0x80094812: "CERTSRV_E_SUBJECT_EMAIL_REQUIRED",
}


class Failure(Exception):
    """A page that shows an error instead of a certificate."""

    def __init__(self, hresult: int, text: str) -> None:
        super().__init__(hresult, text)
        self.hresult, self.text = hresult, text


def failure(hresult: int, text: str) -> Failure:
    return Failure(hresult & 0xFFFFFFFF, text)


def described(hresult: int, text: str) -> str:
    """The text with its code, unless it says the code itself."""
    if hresult == 0:
        return "The operation completed successfully. 0x0 (WIN32: 0)"
    if re.search(r"0x[0-9a-fA-F]{8} \(", text):
        return text
    name = NAMES.get(hresult, "")
    win32 = hresult >> 16 == 0x8007 and name not in ("E_ACCESSDENIED", "E_INVALIDARG")
    number = f"WIN32: {hresult & 0xFFFF}" if win32 else str(hresult - (1 << 32))
    return f"{text} 0x{hresult:08x} ({' '.join((number, name)).strip()})".strip()
