# SPDX-License-Identifier: GPL-3.0-or-later
"""What a PKCS#12 file held that an earlier run has imported, so that it need not be opened only to see that it is in place. No secrets.

Opening one takes tens of thousands of rounds of hashing, which is what keeps its key safe: as much as all else that an unchanged run does.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from ansible_collections.certlogon.core.plugins.module_utils.certificates import file_store
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load_one
from ansible_collections.certlogon.core.plugins.module_utils.certificates.pkcs12_file import KeyAndCertificate
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError

SUFFIX = ".pkcs12.json"


def load(place: str, content: bytes) -> KeyAndCertificate | None:
    """The certificate and the chain of this very file, without the key; None where nothing is remembered of it."""
    try:
        words = json.loads(Path(place + SUFFIX).read_bytes())
        if words["file"] != hashlib.sha256(content).hexdigest():
            return None
        certificate, *chain = (load_one(base64.b64decode(text)) for text in words["certificates"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, UserError):
        return None
    return KeyAndCertificate(None, certificate, tuple(chain))


def save(place: str, content: bytes, found: KeyAndCertificate) -> None:
    """Raises `UserError` where it cannot be kept."""
    certificates = [base64.b64encode(one.der).decode() for one in (found.certificate, *found.chain)]
    words = {"file": hashlib.sha256(content).hexdigest(), "certificates": certificates}
    try:
        Path(place).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UserError(f"folder: {Path(place).parent} cannot be made: {error.strerror}; give another folder, or path") from error
    file_store.write(place + SUFFIX, (json.dumps(words, indent=1) + "\n").encode(), file_store.Attributes(0o600))
