# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies that can be written to a file."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

DOCUMENTATION = r"""
name: without_passwords
author: certlogon contributors
version_added: 0.1.0
short_description: Policies without the files that hold passwords
description:
  - Takes from policies, as M(certlogon.core.group_policies) gathers them, the files of Group Policy preferences that hold a password
    (C(cpassword), which anybody can decrypt, MS14-025). In the domain they stay as they are, for that module leaves files alone that are
    not named.
options:
  _input:
    description: The policies.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Read all policies
  certlogon.core.group_policies:
    state: gathered
  register: found

- name: Show what may be kept
  ansible.builtin.debug:
    msg: "{{ found.gathered | certlogon.core.without_passwords }}"
"""

RETURN = r"""
_value:
  description: The policies.
  type: list
  elements: dict
"""

_PASSWORD = re.compile(rb"cpassword\s*=\s*[\"'][^\"']", re.IGNORECASE)


def without_passwords(policies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [_without(policy) for policy in policies]


def _without(policy: Mapping[str, Any]) -> dict[str, Any]:
    if not policy.get("files"):
        return dict(policy)
    return {**policy, "files": [file for file in policy["files"] if not _has_password(file)]}


def _has_password(file: Mapping[str, Any]) -> bool:
    """UTF-8 or UTF-16: with the zero bytes taken out, both have the word in ASCII."""
    return bool(_PASSWORD.search(base64.b64decode(file.get("content") or "").replace(b"\0", b"")))


class FilterModule:
    """The collection's filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"without_passwords": without_passwords}
