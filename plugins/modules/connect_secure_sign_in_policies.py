#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: connect_secure_sign_in_policies
short_description: Manage sign-in policies of a Connect Secure appliance, and their order
version_added: 0.1.0
description:
  - Manages which URLs offer which realms, whether they may be used, and the order in which the appliance tries them. The first that fits
    serves a visitor, so that one with a wildcard hides those after it; what nobody gets to is warned about.
  - The order is part of the state. The order of O(config) becomes the order of its policies; a new one comes right after the one before it
    in O(config) (before the first one that is there already, if it has none), and policies that are not named stay where they are, but for
    one with a wildcard that would hide one of O(config), which comes after it. The whole list is written for that, which is inferred; a
    mismatch afterwards is an error.
  - No change is made after which no administrator could sign in. A way in is an enabled administrators' URL, a realm that it offers and the
    server that the realm asks; at least one has to stay as it is. What touches how the task itself signs in (O(realm)) is changed last, a
    second login is made while the first key still works, and if that fails the old values are written back and the task fails. Secrets
    cannot be written back.
  - Each object is read again just before it is written. If somebody else has changed it since the task began, it is left as it is and the
    task fails for it. This is best effort, the interface has nothing better.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.connect_secure_group
  - certlogon.core.connect_secure
  - certlogon.core.connect_secure.rendered
options:
  config:
    description:
      - The policies in their order. Required unless O(state=gathered).
    type: list
    elements: dict
    suboptions:
      url:
        description:
          - Host name or V(*), a slash and a path, such as V(*/), V(vpn.corp.example/) or V(*/admin/).
        type: str
        required: true
      kind:
        description: Whether users or administrators sign in there. A new policy is for users if this is left out; it cannot be changed.
        type: str
        choices: [user, admin]
      realms:
        description:
          - The realms that are offered, in their order. Under O(state=merged) they come to those that are offered already.
        type: list
        elements: str
      enabled:
        description: Whether the URL may be used. A new one may.
        type: bool
  expected_realms:
    description: Realms that an earlier task of the play makes, and that check mode therefore does not find.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(merged) makes policies that are not there, and sets what O(config) says.
      - V(replaced) makes each exactly what O(config) says; other policies stay.
      - V(deleted) removes the policies that O(config) names.
      - V(gathered) returns the policies in their order, in the form of O(config).
      - V(rendered) shows what O(config) means, without asking the appliance.
    type: str
    choices: [merged, replaced, deleted, gathered, rendered]
    default: merged
seealso:
  - module: certlogon.core.connect_secure_realms
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Cards at a name of its own, before the wildcard
  certlogon.core.connect_secure_sign_in_policies:
    config:
      - url: vpn.corp.example/
        realms: [Card users]
      - url: "*/"
        realms: [Users]
    state: replaced
"""

RETURN = r"""
changes:
  description: What was done (in check mode, what would be done), object by object and in this order.
  returned: O(state=merged), O(state=replaced) and O(state=deleted)
  type: list
  elements: dict
  contains:
    name:
      description: The URL; C(order of the sign-in policies) for their order.
      type: str
      returned: always
      sample: vpn.corp.example/
    action:
      description: V(create), V(update) or V(delete).
      type: str
      returned: always
      sample: create
    failed:
      description: Whether it failed.
      type: bool
      returned: on failure
    msg:
      description: Why it failed.
      type: str
      returned: on failure
gathered:
  description: The policies, in their order, in the form that O(config) accepts, all or those that O(config) names.
  returned: O(state=gathered)
  type: list
  elements: dict
  sample:
    - url: "*/admin/"
      kind: admin
      realms: [Admin Users]
      enabled: true
rendered:
  description:
    - What O(config) means, as O(rendered_as) says. For V(xml) a list of one, with C(file), a name for the file, and C(xml), its content.
    - For V(json) each has C(method), C(path), C(body), and C(inferred), the options whose members are deduced.
  returned: O(state=rendered)
  type: list
  elements: dict
  sample: []
backup_file:
  description: The backup of the configuration that was taken before the first change of the run.
  returned: when a backup was taken in this run
  type: str
  sample: /home/admin/.local/share/certlogon/backups/vpn1.corp.example-20261122T201500.000000Z.zip
requests:
  description: How many requests this task needed.
  returned: always
  type: int
  sample: 2
logins:
  description: How many logins this task needed.
  returned: always
  type: int
  sample: 0
"""

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.module import explain
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.sign_in_policies import SignInPolicies


def main() -> None:
    explain(SignInPolicies)


if __name__ == "__main__":
    main()
