# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered of a request beside its certificate: what was asked for, of whom, and what became of it. No secrets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import file_store
from ansible_collections.certlogon.core.plugins.module_utils.certificates.file_store import Attributes
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

SUFFIX = ".request.json"
ISSUED, PENDING, DENIED, REFUSED, SUBMITTED = "issued", "pending", "denied", "refused", "submitted"
_STATUSES = (ISSUED, PENDING, DENIED, REFUSED, SUBMITTED)


@dataclass(frozen=True)
class Memory:
    """`requested` is what the request asks for in the words of the options, `authority` the web enrolment's address or `file`.

    `key` is the SHA-256 of the SubjectPublicKeyInfo, `since` when it was submitted (ISO 8601, UTC), `reason` why it was denied or refused.
    `installed` is of the certificate in place, which an earlier request may have brought: its SHA-256, what was requested for it, and
    the authorities above it (base64 of DER).
    """

    status: str
    requested: Mapping[str, Any]
    authority: str
    key: str
    since: str
    request_id: int | None = None
    reason: str = ""
    installed: Mapping[str, Any] = field(default_factory=dict)

    def describes(self, sha256: str) -> bool:
        """Whether this certificate is the one that was installed."""
        return self.installed.get("sha256") == sha256

    @property
    def chain(self) -> list[str]:
        return list(self.installed.get("chain") or ())

    def became(self, status: str, **changes: Any) -> Memory:
        return replace(self, status=status, **changes)


def path(certificate_path: str) -> str:
    return certificate_path + SUFFIX


def load(certificate_path: str) -> Memory | None:
    """What is remembered; None where nothing is. Raises `UserError`, `FormatError` for a file that is no memory."""
    data = file_store.read(path(certificate_path))
    return None if data is None else parse(data, path(certificate_path))


def parse(data: bytes, where: str) -> Memory:
    try:
        words = json.loads(data)
        memory = Memory(**{name: words[name] for name in Memory.__dataclass_fields__ if name in words})
        good = memory.status in _STATUSES and isinstance(memory.requested, dict) and isinstance(memory.key, str)
        good = (
            good
            and isinstance(memory.request_id, (int, type(None)))
            and all(isinstance(text, str) for text in (memory.authority, memory.since))
        )
        good = good and isinstance(memory.reason, str) and isinstance(memory.installed, dict)
        good = good and isinstance(memory.installed.get("requested", {}), dict) and all(isinstance(one, str) for one in memory.chain)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        good = False
    if not good:
        raise FormatError(f"{where}: is no remembered request; remove the file, and a request that is pending has to be made again")
    return memory


def dump(memory: Memory) -> bytes:
    return (json.dumps(asdict(memory), indent=1, sort_keys=True) + "\n").encode()


def save(certificate_path: str, memory: Memory, wanted: Attributes) -> None:
    """Raises `UserError`."""
    file_store.write(path(certificate_path), dump(memory), wanted)
