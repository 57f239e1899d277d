# SPDX-License-Identifier: GPL-3.0-or-later
"""`scripts.ini` and `psscripts.ini`: what a policy runs when computers start and stop and users come and go ([MS-GPSCR] 2.2.2, 2.2.3)."""

from __future__ import annotations

import re
from typing import NamedTuple

from ansible_collections.certlogon.core.plugins.module_utils.group_policy import text

EXTENSION = "{42B5FAAE-6536-11D2-AE5A-0000F87571E3}"
"""The client-side extension ([MS-GPSCR] 1.9)."""

FILES = ("Scripts\\scripts.ini", "Scripts\\psscripts.ini")
"""Below a policy's Machine or User folder."""

_SECTION = re.compile(r"\s*\[\s*(startup|shutdown|logon|logoff)\s*\]", re.IGNORECASE)
_KEY = re.compile(r"\s*([0-9]{1,10})(CmdLine|Parameters)\s*=\s*(.*?)\s*\Z", re.IGNORECASE | re.DOTALL)


class Script(NamedTuple):
    """`event` is startup, shutdown, logon or logoff; a relative `command` is below the policy's `Scripts\\<Event>` folder."""

    event: str
    command: str
    parameters: str


def parse(data: bytes, what: str = "scripts.ini") -> list[Script]:
    """The scripts in the order of the file. Raises `FormatError`."""
    found: dict[tuple[str, int], dict[str, str]] = {}
    event = ""
    for line in text.decode(data, what).lines:
        if line.lstrip().startswith("["):
            header = _SECTION.match(line)
            event = header[1].lower() if header else ""
        elif event and (key := _KEY.match(line)):
            found.setdefault((event, int(key[1])), {})[key[2].lower()] = key[3]
    return [Script(event, one["cmdline"], one.get("parameters", "")) for (event, _number), one in found.items() if one.get("cmdline")]
