# SPDX-License-Identifier: GPL-3.0-or-later
"""The PassiveKey server to be measured: `python -m tests.benchmarks.passivekey_server SETTINGS WORKERS`.

It is the product's, but for the directory: each account u<number>@corp.example is there and usable, its password is known by rule, and an
answer costs nothing. So what is measured is the server, and not a domain controller, which asks of no bench how fast it is.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from passivekey.server import cli, serving, settings
from passivekey.server.accounts import Account

_SID = "S-1-5-21-1004336348-1177238915-682003330-"
_FIRST = 100_000


def name_of(number: int) -> str:
    return f"u{number:06}@corp.example"


def sid_of(number: int) -> str:
    return f"{_SID}{_FIRST + number}"


def password_of(number: int) -> str:
    return f"Password of {number:06}"


class Imaginary:
    """A directory in which everybody is."""

    def __init__(self, _options: object) -> None:
        pass

    def by_sid(self, sid: str) -> Account | None:
        number = sid.removeprefix(_SID)
        return Account(sid, name_of(int(number) - _FIRST), True) if number != sid else None

    def by_name(self, name: str) -> Account | None:
        number = name[1:7]
        return Account(sid_of(int(number)), name, True) if number.isdecimal() else None

    def groups(self, _sid: str) -> frozenset[str]:
        return frozenset()

    def password_is(self, name: str, password: str) -> bool:
        return password == password_of(int(name[1:7]))


def imagine() -> None:
    replaced: Any = cli
    replaced.LdapDirectory = Imaginary


def create() -> Starlette:
    """The application of one worker."""
    imagine()
    return serving.create()


def main() -> int:
    path, workers = Path(sys.argv[1]), int(sys.argv[2])
    imagine()
    serving.run(settings.load(path), path, workers, f"{__spec__.name}:create" if __spec__ else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
