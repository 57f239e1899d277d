# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts as the directory has them, and what the service asks of a directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Account:
    """A user of the directory; `name` is the UPN, `login` the sAMAccountName. `usable`: neither disabled nor expired. (Locked out by wrong
    passwords is another matter: who has a card or a session should not lose it because somebody else types wrong passwords.)"""

    sid: str
    name: str
    usable: bool
    login: str = ""


class Directory(Protocol):
    """Raises `Refused("unavailable")` where it does not answer."""

    def by_sid(self, sid: str) -> Account | None:
        """The account, as it is now."""

    def by_name(self, name: str) -> Account | None:
        """By UPN, DOMAIN\\name, or sAMAccountName; None for none, and for what names several."""

    def groups(self, sid: str) -> frozenset[str]:
        """The SIDs of all groups that the account is in, by way of others too."""

    def password_is(self, name: str, password: str) -> bool:
        """Whether the directory takes this password for this name; asked for unknown names too, so that time tells nothing."""
