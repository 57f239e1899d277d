#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: connect_secure_config
short_description: Read and write any node of a Connect Secure appliance's configuration
version_added: 0.1.0
description:
  - Sets members of any node below C(/api/v1/configuration), for settings that no other module knows, or whose names on this appliance
    differ from those that the modules use.
  - Values are compared by what they mean. V(true) is V("true"), numbers are their texts, and a member that is missing, empty or an empty
    list says nothing. Members that O(config[].body) does not name are not looked at.
  - Secrets (O(config[].secrets), and members named like C(…-cleartext), C(…-encrypted) or C(password)) are never compared, shown or
    returned. They are sent whenever the node is written for another reason.
  - Knows nothing of what it writes. What the other modules refuse, such as a change after which no administrator could sign in, it does.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.connect_secure_group
  - certlogon.core.connect_secure
attributes:
  idempotent:
    support: partial
    details: A changed secret alone is not noticed, for no appliance tells secrets.
options:
  config:
    description: The nodes.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description:
          - The node's path below C(/api/v1/), such as C(configuration/users/user-realms/realm/Users). C({node}) in it becomes O(node).
          - A slash within a name is written C(%2F), a percent sign C(%25); everything else may stand as it is.
        type: str
        required: true
      body:
        description:
          - The members that the node shall have, in the interface's own names. Required with O(state=merged).
          - Lists are compared and written whole.
        type: dict
      secrets:
        description: Members that are sent with O(config[].body), in the same nesting, and never compared or shown.
        type: dict
      create_with:
        description:
          - How a node that is not there is made. V(put) writes to its own path, V(post) to the path of its list (then O(config[].body)
            holds the key).
        type: str
        choices:
          - put
          - post
        default: put
  state:
    description:
      - V(merged) sets what O(config[].body) names, and makes nodes that are not there.
      - V(deleted) removes the nodes.
      - V(gathered) reads them.
    type: str
    choices:
      - merged
      - deleted
      - gathered
    default: merged
seealso:
  - module: certlogon.core.connect_secure_info
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Read a realm as the appliance has it
  certlogon.core.connect_secure_config:
    state: gathered
    config:
      - path: configuration/users/user-realms/realm/Users
  register: realm

- name: Send the log to a collector
  certlogon.core.connect_secure_config:
    node: localhost2
    config:
      - path: configuration/system/log/syslog-settings/syslog-setting/{node}
        body:
          syslog-servers:
            syslog-server:
              - server-name-or-ip: log.corp.example
                facility: LOCAL0

- name: A sign-in policy, whose name holds slashes
  certlogon.core.connect_secure_config:
    config:
      - path: configuration/authentication/signin/urls/access-url/*%2Fcontractors%2F
        body:
          url-pattern: "*/contractors/"
          enabled: true
          user:
            realms:
              - Contractors
        create_with: post
"""

RETURN = r"""
changes:
  description: What was done (in check mode, what would be).
  returned: unless O(state=gathered)
  type: list
  elements: dict
  contains:
    name:
      description: The path.
      type: str
      returned: always
      sample: configuration/users/user-realms/realm/Users
    action:
      description: V(create), V(update) or V(delete).
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
gathered:
  description: The nodes that are there, in the form that O(config) accepts. Secrets are hidden.
  returned: O(state=gathered)
  type: list
  elements: dict
  sample:
    - path: configuration/users/user-roles/user-role/Users
      body:
        name: Users
requests:
  description: How many requests were sent.
  returned: always
  type: int
  sample: 2
logins:
  description: How many logins were made. 0 where an earlier task of the run has made it.
  returned: always
  type: int
  sample: 0
backup_file:
  description: The backup of the configuration from before the first change of the run.
  returned: where something was written
  type: str
  sample: /home/ansible/.local/share/certlogon/backups/vpn1.corp.example-20261122T185000.000000Z.zip
"""

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.module import explain
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.raw_configuration import RawConfiguration


def main() -> None:
    explain(RawConfiguration)


if __name__ == "__main__":
    main()
