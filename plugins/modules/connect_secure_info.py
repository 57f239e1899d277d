#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: connect_secure_info
short_description: Read what a Connect Secure appliance is and holds, and hold the table of its interface against it
version_added: 0.1.0
description:
  - Returns version and generation of the appliance. On request its sessions of users, its configuration below given paths, and how each
    line of the table of its interface (C(plugins/module_utils/connect_secure/resources.yml) with O(table) over it) fits this appliance.
  - Changes nothing. Secrets are hidden.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.connect_secure_group
  - certlogon.core.attributes.info_module
  - certlogon.core.connect_secure
options:
  roots:
    description:
      - Paths below C(/api/v1/) to export with all that is below them, such as C(configuration/authentication). Nothing is exported without.
      - Where the appliance lists elements with a part of their members only, each is read by itself.
    type: list
    elements: str
    default: []
  depth:
    description: How many levels below each of O(roots) are looked into.
    type: int
    default: 12
  max_requests:
    description: How many requests may be spent for O(roots). What is then not read yet, is named in RV(unread).
    type: int
    default: 1000
  active_users:
    description: Whether the sessions of users are returned.
    type: bool
    default: false
  check_table:
    description:
      - Whether each line of the table is looked for on this appliance, by reading only.
      - The playbook C(certlogon.core.check_appliance) prints the result readably.
    type: bool
    default: false
seealso:
  - module: certlogon.core.connect_secure_config
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Which version is it?
  certlogon.core.connect_secure_info:
  register: appliance

- name: Export what decides about users' logons
  certlogon.core.connect_secure_info:
    roots:
      - configuration/authentication
      - configuration/users/user-realms
      - configuration/system/configuration/certificates
  register: exported

- name: Which lines of the table does this appliance not have?
  certlogon.core.connect_secure_info:
    check_table: true
  register: checked

- name: Show them
  ansible.builtin.debug:
    msg: "{{ checked.table | selectattr('status', 'in', ['missing', 'different']) }}"
"""

RETURN = r"""
system:
  description: What the appliance says of itself.
  returned: always
  type: dict
  contains:
    version:
      description: The release, empty where it does not say.
      type: str
      returned: always
      sample: 22.7R2.10
    generation:
      description: The value of O(generation) for this release.
      type: str
      returned: always
      sample: connect_secure
    build:
      description: The build, as the appliance writes it.
      type: str
      returned: always
      sample: 22.7R2.10 (build 1234)
    machine_id:
      description: The machine id.
      type: str
      returned: always
      sample: 0331MA1B2C3D4E5F6
    information:
      description: All that it says.
      type: dict
      returned: always
configuration:
  description: What is at each of O(roots) and below it, by path. V(true) and V(false) are booleans, all other values as the appliance has
    them.
  returned: with O(roots)
  type: dict
unread:
  description: What was not read, and why.
  returned: with O(roots)
  type: list
  elements: dict
  contains:
    path:
      description: The path.
      type: str
      returned: always
      sample: configuration/users/user-roles
    reason:
      description: Why.
      type: str
      returned: always
      sample: "not asked: max_requests is used up"
active_users:
  description: The sessions of users, as the appliance has them.
  returned: with O(active_users=true)
  type: list
  elements: dict
table:
  description: The lines of the table.
  returned: with O(check_table=true)
  type: list
  elements: dict
  contains:
    line:
      description: Where it stands in the table.
      type: str
      returned: always
      sample: resources.trusted_client_ca.fields.status_checking
    says:
      description: What it says. The path, or the member and its type.
      type: str
      returned: always
      sample: client-certificate-status-checking (choice)
    standing:
      description: How sure it was before. V(confirmed), V(seen), V(inferred) or V(overridden).
      type: str
      returned: always
      sample: inferred
    status:
      description: V(found), V(missing), V(different), or V(untested) where there is nothing to try it on.
      type: str
      returned: always
      sample: missing
    detail:
      description: What there is instead, or why it could not be tried.
      type: str
      returned: always
      sample: "in none of 2; it may have another name, or be left out where it has no value; beside it: name, status-checking"
requests:
  description: How many requests were sent.
  returned: always
  type: int
  sample: 2
logins:
  description: How many logins were made. 0 where an earlier task of the run has made it.
  returned: always
  type: int
  sample: 1
"""

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.information import Information
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.module import explain


def main() -> None:
    explain(Information)


if __name__ == "__main__":
    main()
