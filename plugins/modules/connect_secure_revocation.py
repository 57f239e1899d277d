#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: connect_secure_revocation
short_description: Have a Connect Secure appliance refuse revoked certificates now
version_added: 0.1.0
description:
  - Has an Ivanti Connect Secure appliance fetch the CRLs of its trusted client CAs, whatever their download frequency, and ends users'
    sessions. A session that is open when its certificate is revoked stays open otherwise.
  - Sees that what was revoked is on a CRL that the appliance checks against, where the appliance tells.
  - Writes nothing of the configuration, and takes no backup of it.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.connect_secure_group
  - certlogon.core.connect_secure
attributes:
  idempotent:
    support: partial
    details: Each run fetches the CRLs where no O(serials) are given, and where the appliance does not tell which CRLs it uses.
options:
  trusted_client_cas:
    description: The trusted client CAs whose CRLs are fetched, by their names on the appliance. All that check CRLs when left out.
    type: list
    elements: str
  serials:
    description:
      - Serial numbers, hexadecimal, that must be on one of the CRLs that the appliance uses. The CRLs are fetched if one is not, and the
        task fails if it still is not then.
      - Without any, the CRLs are fetched in any case.
    type: list
    elements: str
    default: []
  users:
    description: Names of users, as the appliance shows them, without regard to case, whose sessions are ended.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(refreshed) does it.
      - V(gathered) tells which CRLs are in use, and who is signed in.
    type: str
    choices:
      - refreshed
      - gathered
    default: refreshed
seealso:
  - module: certlogon.core.adcs_revocation
  - module: certlogon.core.connect_secure_trusted_client_cas
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: A lost card opens nothing from now on
  certlogon.core.connect_secure_revocation:
    serials:
      - 1a:00:00:00:05:7c:0d:e5:ff
    users:
      - Alice Andersson

- name: See who is signed in
  certlogon.core.connect_secure_revocation:
    state: gathered
  register: vpn
"""

RETURN = r"""
changes:
  description: What was done (in check mode, what would be done).
  returned: O(state=refreshed)
  type: list
  elements: dict
  contains:
    name:
      description: The CRL or the session.
      type: str
      returned: always
      sample: CRL of Corp CA
    action:
      description: V(update) for a CRL, V(delete) for a session.
      type: str
      returned: always
      sample: update
    failed:
      description: Whether it failed.
      type: bool
      returned: on failure
    msg:
      description: Why it failed.
      type: str
      returned: on failure
crls:
  description: The CRLs in use when the task ends.
  returned: when the appliance could be asked
  type: list
  elements: dict
  contains:
    trusted_client_ca:
      description: Whose CRL it is.
      type: str
      returned: always
      sample: Corp CA
    number:
      description: Its number; null where the appliance does not tell.
      type: int
      returned: always
      sample: 12
    next_update:
      description: When it ends.
      type: str
      returned: always
      sample: "2026-11-30T07:10:00+00:00"
    revoked:
      description: How many certificates it names.
      type: int
      returned: always
      sample: 3
sessions:
  description: Who is signed in when the task ends.
  returned: when the appliance could be asked
  type: list
  elements: dict
  contains:
    user:
      description: The user's name.
      type: str
      returned: always
      sample: Bruno Bianchi
    realm:
      description: The realm.
      type: str
      returned: always
      sample: Certificate Users
    since:
      description: Since when, in the appliance's words.
      type: str
      returned: always
      sample: "2026-11-22 18:50:00"
    address:
      description: The address in the tunnel.
      type: str
      returned: always
      sample: 10.85.1.10
proven:
  description: Whether all O(serials) are on a CRL that the appliance uses when the task ends.
  returned: when the appliance could be asked
  type: bool
  sample: true
gathered:
  description: The CRLs in use and the sessions, in words.
  returned: O(state=gathered)
  type: list
  elements: dict
  sample: []
requests:
  description: How many requests the task needed.
  returned: always
  type: int
  sample: 4
logins:
  description: How many logins the task needed.
  returned: always
  type: int
  sample: 0
"""

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.module import explain
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.revocation import Revocation


def main() -> None:
    explain(Revocation)


if __name__ == "__main__":
    main()
