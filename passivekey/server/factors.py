# SPDX-License-Identifier: GPL-3.0-or-later
"""What an enrolment may need beside the sign-in: a code of another device, a ticket, a token of privacyIDEA (protocol 3.1)."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import Protocol

from passivekey.protocol import messages
from passivekey.protocol.errors import Refused
from passivekey.server.accounts import Account

KINDS = ("device", "ticket", "privacyidea")
LONGEST_CODE = 256
LONGEST_PROMPT = 200

_BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's: no letter that is read as a digit."""

_LENGTH = 16
"""Characters of a ticket, 5 bits each: too many to try even for who has the database's hashes."""

_READ_AS = str.maketrans("OIL", "011", "- \t\r\n")
_TRANSACTION = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True)
class Factor:
    """What the user gave."""

    kind: str
    code: str = field(repr=False)
    transaction: str = ""


@dataclass(frozen=True)
class Verdict:
    """Of another system: accepted, or refused, or (with `transaction`) it asks for something more."""

    accepted: bool = False
    transaction: str = ""
    prompt: str = ""
    why: str = ""
    """For the audit log; nothing of it is the user's."""


class Backend(Protocol):
    """Raises `Refused("unavailable")` where the other system does not answer: then nobody is in."""

    def check(self, account: Account, code: str, transaction: str = "") -> Verdict:
        """Whether the code is good for this account now."""

    def pretend(self) -> None:
        """Take the time of a check, and fail as it does, for who is not asked about."""

    def reach(self) -> None:
        """Whether it can be reached."""


def read(words: object) -> Factor | None:
    """The member `second_factor` of a request."""
    if words is None:
        return None
    if not isinstance(words, dict) or set(words) - {"kind", "code", "transaction"}:
        raise Refused("malformed", "second_factor has kind, code and transaction")
    kind, code = (messages.string(words, name, "malformed") for name in ("kind", "code"))
    transaction = messages.string(words, "transaction", "malformed") if "transaction" in words else ""
    if len(code) > LONGEST_CODE or (transaction and not is_transaction(transaction)):
        raise Refused("malformed", "second_factor is too long, or its transaction none of ours")
    return Factor(kind, code, transaction)


def is_transaction(value: object) -> bool:
    return isinstance(value, str) and bool(_TRANSACTION.fullmatch(value))


def new_ticket() -> str:
    """As it is shown: XXXX-XXXX-XXXX-XXXX."""
    drawn = "".join(secrets.choice(_BASE32) for _number in range(_LENGTH))
    return "-".join(drawn[start : start + 4] for start in range(0, _LENGTH, 4))


def ticket_secret(typed: str, sid: str) -> str:
    """What is remembered (hashed) of a ticket, and compared: it has the account in it, so that another's ticket is no ticket."""
    return f"{typed.upper().translate(_READ_AS)}/{sid}"


def required(accepted: tuple[str, ...], detail: str, transaction: str = "", prompt: str = "") -> Refused:
    """The refusal that says what would be accepted."""
    more: dict[str, object] = {"accepted": list(accepted)}
    if transaction:
        more |= {"transaction": transaction, "prompt": "".join(filter(str.isprintable, prompt))[:LONGEST_PROMPT]}
    return Refused("second-factor-required", detail, more)
