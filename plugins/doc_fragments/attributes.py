# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What every module of the collection promises."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and predict the change without writing anything.
    support: full
  diff_mode:
    description: Returns what differs, per object and in the words of the options.
    support: full
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
  platform:
    description: The systems the module runs on.
    support: full
    platforms: posix
"""

    ADCS_GROUP = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/certlogon.core.adcs) in C(module_defaults) to set options for every module of the group.
    support: full
    membership:
      - certlogon.core.adcs
"""

    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and predict the change without writing anything.
    support: full
    details: Nothing is ever written.
  diff_mode:
    description: Returns what differs, per object and in the words of the options.
    support: N/A
    details: Nothing is ever written.
"""

    CONNECT_SECURE_GROUP = r"""
options: {}
attributes:
  action_group:
    description: >-
      Use C(group/certlogon.core.connect_secure) in C(module_defaults) to set the connection options for every module of the group.
    support: full
    membership:
      - certlogon.core.connect_secure
"""

    ACTION_GROUP = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/certlogon.core.directory) in C(module_defaults) to set the connection options for every module of the group.
    support: full
    membership:
      - certlogon.core.directory
"""
