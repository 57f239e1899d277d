# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables as the text of an inventory file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.certlogon.core.plugins.plugin_utils.in_process import plain
from ansible_collections.certlogon.core.plugins.plugin_utils.inventory_file import inventory_text

DOCUMENTATION = r"""
name: to_inventory
author: certlogon contributors
version_added: 0.1.0
short_description: Variables as the text of an inventory file
description:
  - Writes a dictionary of variables as YAML that Ansible reads back as the very same values, and that people like to read.
  - Text that a template engine would take for an expression (C({{), C({%), C({#)) is tagged C(!unsafe), so that values which merely
    happen to hold it, such as a registry value of a policy, are carried and never evaluated.
  - Texts of several lines, such as certificates in PEM, are written as literal blocks.
positional: heading
options:
  _input:
    description: The variables.
    type: dict
    required: true
  heading:
    description: Lines of comment at the top of the file, without comment signs.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Keep the domain's templates under version control
  ansible.builtin.copy:
    content: "{{ {'certlogon_certificate_templates': found.gathered} | certlogon.core.to_inventory('Exported; edit with care') }}"
    dest: host_vars/corp.example/certificate_templates.yml
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The text of the file.
  type: str
"""


def to_inventory(variables: Mapping[str, Any], heading: str = "") -> str:
    """Raises `AnsibleFilterError` when given anything but a dictionary."""
    if not isinstance(variables, Mapping):
        raise AnsibleFilterError(f"certlogon.core.to_inventory: a dictionary of variables is needed, not {type(variables).__name__}")
    return inventory_text(plain(variables), plain(heading))


class FilterModule:
    """The collection's filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"to_inventory": to_inventory}
