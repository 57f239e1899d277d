# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One import file for the console of an appliance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import xml_import
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError

DOCUMENTATION = r"""
name: connect_secure_xml
author: certlogon contributors
version_added: 0.1.0
short_description: One XML import file of several for a Connect Secure appliance
description:
  - Puts the files together that M(certlogon.core.connect_secure_auth_servers), M(certlogon.core.connect_secure_realms) and
    M(certlogon.core.connect_secure_sign_in_policies) render with C(rendered_as=xml), in the order in which they are given.
options:
  _input:
    description: The values of C(rendered), one after the other. All have to be for the same release.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: The realms of a Juniper SA
  certlogon.core.connect_secure_realms:
    generation: juniper
    config: "{{ connect_secure_realms }}"
    state: rendered
    rendered_as: xml
    xml_version: 7.4R1
  register: realms

- name: Its sign-in policies
  certlogon.core.connect_secure_sign_in_policies:
    generation: juniper
    config: "{{ connect_secure_sign_in_policies }}"
    state: rendered
    rendered_as: xml
    xml_version: 7.4R1
  register: policies

- name: One file to import in the console
  ansible.builtin.copy:
    content: "{{ (realms.rendered + policies.rendered) | certlogon.core.connect_secure_xml }}"
    dest: "{{ inventory_hostname }}.xml"
    mode: "0600"
  delegate_to: localhost
"""

RETURN = r"""
_value:
  description: The content of the file.
  type: str
"""


def connect_secure_xml(rendered: Sequence[Mapping[str, Any]]) -> str:
    try:
        return xml_import.combined([str(one["xml"]) for one in rendered])
    except (UserError, KeyError, TypeError) as error:
        raise AnsibleFilterError(f"connect_secure_xml: {error}; give the values of rendered of tasks with rendered_as=xml") from error


class FilterModule:
    """The collection's filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"connect_secure_xml": connect_secure_xml}
