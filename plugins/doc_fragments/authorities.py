# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Enterprise CAs that a play installs before it uses them."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  expected_authorities:
    description:
      - Names of enterprise CAs that an earlier task installs. Where one is not in the directory yet, what depends on it is predicted and
        shown as known after apply, instead of being an error.
      - Meant for check mode, in which that earlier task installs nothing. In an ordinary run a change that needs such a CA fails before it
        is written.
    type: list
    elements: str
    default: []
"""
