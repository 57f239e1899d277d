# SPDX-License-Identifier: GPL-3.0-or-later
"""What administrators would call SIDs, on a directory of a few entries."""

from __future__ import annotations

from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.directory import principals
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Entry

DOMAIN = "DC=corp,DC=example"
STAFF, TRUSTED, THIS_ORGANIZATION = (Sid.parse(text) for text in ("S-1-5-21-1-2-3-1104", "S-1-5-21-9-9-9-512", "S-1-5-15"))


class Directory:
    domain_dn, domains = DOMAIN, {"CORP": DOMAIN}

    def search(self, *_question: Any) -> list[Entry]:
        """The group, and the objects that stand for SIDs of elsewhere: they have no account's name."""
        foreign = f"CN=ForeignSecurityPrincipals,{DOMAIN}"
        return [
            Entry(f"CN=Staff,{DOMAIN}", {"objectSid": [bytes(STAFF)], "sAMAccountName": [b"Staff"]}),
            Entry(f"CN={TRUSTED},{foreign}", {"objectSid": [bytes(TRUSTED)]}),
            Entry(f"CN={THIS_ORGANIZATION},{foreign}", {"objectSid": [bytes(THIS_ORGANIZATION)]}),
        ]


def test_a_sid_of_a_trusted_domain_is_its_own_name() -> None:
    directory: Any = Directory()
    found = principals.names(directory, [STAFF, TRUSTED, THIS_ORGANIZATION, Sid.parse("S-1-5-11")])
    assert {str(sid): name for sid, name in found.items()} == {
        "S-1-5-21-1-2-3-1104": "CORP\\Staff",
        "S-1-5-21-9-9-9-512": "S-1-5-21-9-9-9-512",
        "S-1-5-15": "S-1-5-15",
        "S-1-5-11": "Authenticated Users",
    }


def test_it_is_found_by_its_dn() -> None:
    directory: Any = Directory()
    dn = f"CN={TRUSTED},CN=ForeignSecurityPrincipals,{DOMAIN}"
    assert principals.resolve(directory, [dn])[dn] == principals.Principal(TRUSTED, str(TRUSTED))
