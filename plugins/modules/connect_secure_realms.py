#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: connect_secure_realms
short_description: Manage authentication realms of users and administrators on a Connect Secure appliance
version_added: 0.1.0
description:
  - Manages which servers a realm asks, which certificates it wants, and the ordered rules that give roles.
  - Servers and roles that are not there are refused before anything is written, and so is a certificate server as the secondary one, which
    the product cannot do.
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
      - The realms. Required unless O(state=gathered).
    type: list
    elements: dict
    suboptions:
      name:
        description: The realm's name. Realms of users and of administrators may have the same.
        type: str
        required: true
      kind:
        description: Whether users or administrators sign in to it.
        type: str
        choices: [user, admin]
        default: user
      authentication_server:
        description: The server that says who somebody is. Needed for a new realm.
        type: str
      directory_server:
        description: The server that attributes and groups are read from. An empty text is none, which is the default.
        type: str
      accounting_server:
        description: The server that sessions are reported to. An empty text is none, which is the default.
        type: str
      secondary_authentication:
        description: A second server that has to agree.
        type: dict
        suboptions:
          server:
            description:
              - The server. An empty text is none, which is the default.
              - A certificate server cannot be the second one.
            type: str
          user_name:
            description: The template of the user name for it, such as V(<USER>); left out, users type it.
            type: str
          end_session_on_failure:
            description: Whether the session ends if it does not agree (default V(false)).
            type: bool
          retired_server:
            description: A server that must not be asked any more, as far as it is the one that is asked. Any other stays.
            type: str
      certificate_restriction:
        description: Which certificates are wanted, whatever the authentication server is.
        type: dict
        suboptions:
          mode:
            description:
              - V(none) asks for none, V(optional) takes one that is shown, V(required) lets nobody in without one of a trusted client CA.
                The default is V(none).
            type: str
            choices: [none, optional, required]
          rules:
            description: Values that the certificate must have. The list is taken whole.
            type: list
            elements: dict
            suboptions:
              attribute:
                description: The field, such as V(issuerDN.CN).
                type: str
                required: true
              value:
                description: The value, or a pattern with V(*).
                type: str
                required: true
      role_mapping_rules:
        description:
          - The rules in the order in which they are tried. What makes a rule the same is its name.
          - Under O(state=merged) a rule that is there gets the options that are given and keeps the others, a new one comes right after the
            one before it in this list (before the first one that is there already, if it has none), and rules that are not named stay where
            they are. The order of this list becomes the order of its rules in the realm.
          - Under O(state=replaced) the realm has these rules and no others.
          - Conditions of a kind that is not managed here (groups, certificate fields) stay as they are in rules that are there.
        type: list
        elements: dict
        suboptions:
          name:
            description: The rule's name.
            type: str
            required: true
          roles:
            description: The roles that it gives, taken whole. Roles of users for users' realms, of administrators for theirs.
            type: list
            elements: str
          stop:
            description: Whether no later rule is tried when this one fits (default V(false)).
            type: bool
          user_name:
            description: It fits users by their names. Takes the place of O(config[].role_mapping_rules[].expression).
            type: dict
            suboptions:
              test:
                description: Whether the name has to be one of them, or none.
                type: str
                choices: [is, is_not]
                default: is
              names:
                description: User names, V(*) for any text.
                type: list
                elements: str
                required: true
          expression:
            description: It fits where this expression does. Takes the place of O(config[].role_mapping_rules[].user_name).
            type: str
  expected_servers:
    description: Servers that an earlier task of the play makes, and that check mode therefore does not find.
    type: list
    elements: str
    default: []
  expected_roles:
    description: Roles that an earlier task of the play makes, and that check mode therefore does not find.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(merged) makes realms that are not there, and sets what O(config) says.
      - V(replaced) sets options left out to their defaults too.
      - V(deleted) removes the realms that O(config) names. One that a sign-in policy offers is refused.
      - V(gathered) returns the realms in the form of O(config).
      - V(rendered) shows what O(config) means, without asking the appliance.
    type: str
    choices: [merged, replaced, deleted, gathered, rendered]
    default: merged
seealso:
  - module: certlogon.core.connect_secure_auth_servers
  - module: certlogon.core.connect_secure_sign_in_policies
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: A certificate of the card, then a code
  certlogon.core.connect_secure_realms:
    config:
      - name: Card users
        authentication_server: Cards
        secondary_authentication:
          server: Codes
          user_name: <USER>
          end_session_on_failure: true
        role_mapping_rules:
          - name: Administrators of the gateway are no users
            roles: [Nothing]
            stop: true
            user_name:
              names: [vpn-admin]
          - name: Everybody else
            roles: [Users]
            user_name:
              names: ["*"]

- name: Keep realms under version control
  certlogon.core.connect_secure_realms:
    state: gathered
  register: realms
"""

RETURN = r"""
changes:
  description: What was done (in check mode, what would be done), object by object and in this order.
  returned: O(state=merged), O(state=replaced) and O(state=deleted)
  type: list
  elements: dict
  contains:
    name:
      description: C(user realm) or C(admin realm), and the realm's name.
      type: str
      returned: always
      sample: user realm Card users
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
  description: The realms in the form that O(config) accepts, all or those that O(config) names.
  returned: O(state=gathered)
  type: list
  elements: dict
  sample:
    - name: Card users
      kind: user
      authentication_server: Cards
      certificate_restriction:
        mode: none
        rules: []
      role_mapping_rules:
        - name: Everybody
          roles: [Users]
          stop: false
          user_name:
            test: is
            names: ["*"]
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
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.realms import AuthenticationRealms


def main() -> None:
    explain(AuthenticationRealms)


if __name__ == "__main__":
    main()
