#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: compliance_drift
short_description: Find out what a run of the site's playbook would change
version_added: 0.1.0
description:
  - Runs a playbook in check mode, with the inventory, the limit, the vault passwords and the extra variables of the run that this task is
    in, and leaves what it would change in a file for M(certlogon.core.compliance_report) to judge.
  - It changes nothing. The playbook runs with C(--check), which no option can take away; a playbook that sets C(check_mode=false) on
    a task that writes is not such a playbook.
  - It ends with the run that this task is in, however that is ended, be it by Ctrl-C, by a signal or by C(kill -9).
  - Passwords asked for at the terminal (C(--ask-vault-pass) and its kin) cannot be handed on; give them by files.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.info_module
options:
  folder:
    description: The folder on the control node where the observation is left, and the run's output as C(drift.log). For its owner only.
    type: path
    required: true
  playbook:
    description: The playbook, by file or by its full name.
    type: str
    default: certlogon.core.site
  skip_tags:
    description: Tags of what is not looked at.
    type: list
    elements: str
    default: []
  timeout:
    description: How many seconds it may take. A run that takes longer is ended, and drift is unknown.
    type: int
    default: 3600
seealso:
  - module: certlogon.core.compliance_report
  - plugin: certlogon.core.drift
    plugin_type: callback
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: What would the site's playbook change?
  certlogon.core.compliance_drift:
    folder: /var/lib/certlogon/compliance/observations
    skip_tags:
      - vpn
"""

RETURN = r"""
observation:
  description: The file.
  returned: success
  type: str
  sample: /var/lib/certlogon/compliance/observations/drift-certlogon.core.site.json
findings:
  description: How many objects would change.
  returned: success
  type: int
  sample: 0
failures:
  description: How many hosts and tasks could not be judged.
  returned: success
  type: int
  sample: 0
error:
  description: Why nothing is known, empty where it is.
  returned: success
  type: str
  sample: ""
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    AnsibleModule(
        {
            "folder": {"type": "path", "required": True},
            "playbook": {"type": "str", "default": "certlogon.core.site"},
            "skip_tags": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    ).fail_json(msg="this module runs as an action on the control node; call it by its full name (certlogon.core.…) in an ordinary task")


if __name__ == "__main__":
    main()
