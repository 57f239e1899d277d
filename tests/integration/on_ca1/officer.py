# SPDX-License-Identifier: GPL-3.0-or-later
# mypy: ignore-errors
"""Runs on ca1: an officer at the console of the authority: `python3 officer.py issue|deny REQUEST`. The service goes on beside it."""

from __future__ import annotations

import sys

from lab.windows_ca.authority.database import Database
from lab.windows_ca.authority.settings import Settings
from lab.windows_ca.host import Host


def main() -> None:
    what, request = sys.argv[1], int(sys.argv[2])
    authority = Host().authority
    authority._settings = Settings.read(authority.machine, authority.ca_key)
    authority._database = Database(authority.machine.folder / "certlog.sqlite")
    outcome = {"issue": authority.resubmit, "deny": authority.deny}[what](request)
    print(outcome.status)


if __name__ == "__main__":
    main()
