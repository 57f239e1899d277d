#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: compliance_report
short_description: Judge what was looked at, and report it
version_added: 0.1.0
description:
  - Judges the observations that C(compliance_domain), C(compliance_authority) and the others have left in a folder, by the catalogue of
    controls in C(docs/compliance.md), and writes the report for people and machines.
  - What could not be read is unknown, which is no pass and no failure, and says why. A target that left no observation is unknown in
    whole.
  - Ends with an error where something fails at or above O(fail_on), so that a run in CI does.
  - It asks nobody anything. The role P(certlogon.core.compliance#role) and the playbook C(certlogon.core.compliance) call it.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.info_module
options:
  folder:
    description:
      - The run's folder on the control node. Observations are in C(observations) below it; reports are written into it.
      - It holds what an attacker would like to know, and is made for its owner only.
    type: path
    required: true
  state:
    description:
      - V(prepared) checks what can be wrong before anything is looked at (waivers, baseline, parameters), makes the folder, and removes
        what a run before has seen.
      - V(unanswered) notes in the folder that O(target) could not be looked at.
      - V(reported) judges what is in the folder, and writes the outputs.
    type: str
    choices: [prepared, unanswered, reported]
    default: reported
  target:
    description: What could not be looked at; needed where O(state=unanswered).
    type: dict
    suboptions:
      kind:
        description: What it is.
        type: str
        choices: [domain, certification_authority, domain_controller, connect_secure, ocserv, passivekey, crls, drift, waivers]
        required: true
      name:
        description: Its name in the inventory.
        type: str
        required: true
      error:
        description: Why it could not be looked at.
        type: str
        default: ""
  targets:
    description: Names of what was to be looked at, as a list for each kind. Those without an observation did not answer.
    type: dict
    default: {}
  title:
    description: What the report is called.
    type: str
    default: ""
  fail_on:
    description:
      - From which severity on a failure makes the task fail. With V(never), none does.
      - A waiver that has ended fails whatever the severity.
    type: str
    choices: [info, low, medium, high, critical, never]
    default: high
  unknown_is:
    description:
      - Where nothing fails, but something at or above O(fail_on) is unknown, the verdict is C(unknown). V(tolerated) lets the task
        succeed then, V(failure) does not.
    type: str
    choices: [tolerated, failure]
    default: tolerated
  parameters:
    description: Figures of controls that differ from the catalogue's, as a mapping of them for each control's id.
    type: dict
    default: {}
  waivers:
    description:
      - YAML file of failures that somebody accepts for a time. Each has C(control), C(subject), C(owner), C(reason), C(expires), and
        perhaps C(target).
    type: path
  baseline:
    description:
      - The C(report.json) of a run before, to say what is new, gone and still there. Where it is not there, nothing is compared.
      - Left out, the one in O(folder) before it is written anew.
    type: path
  outputs:
    description:
      - What is written besides C(report.json), which always is. V(html) is C(report.html), V(junit) is C(junit.xml), V(sarif) is
        C(report.sarif), V(csv) is C(findings.csv).
      - C(findings.csv) is written also where there are more findings by account than the report lists.
    type: list
    elements: str
    choices: [json, html, junit, sarif, csv]
    default: [json, html]
  pseudonyms:
    description: Write all outputs into C(pseudonyms) below O(folder) as well, with pseudonyms for names and SIDs, for readers outside.
    type: bool
    default: false
  pseudonym_key:
    description:
      - A secret of 16 bytes or more. With the same one, the same name gets the same pseudonym in every run.
      - Left out, a new one is drawn for each run, and nobody knows it.
    type: str
  stand_ins:
    description: Sentences for the report's head on what only stands in for the real thing.
    type: list
    elements: str
    default: []
  color:
    description: Whether the summary in the terminal has colours. Left out, as Ansible's own output has.
    type: bool
seealso:
  - module: certlogon.core.compliance_domain
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Prepare
  certlogon.core.compliance_report:
    folder: /var/lib/certlogon/compliance
    state: prepared
    waivers: waivers.yml

- name: Look at the domain
  certlogon.core.compliance_domain:
    folder: /var/lib/certlogon/compliance/observations
    server: dc1.corp.example
    username: auditor@corp.example
    password: "{{ auditor_password }}"

- name: Report
  certlogon.core.compliance_report:
    folder: /var/lib/certlogon/compliance
    targets:
      domain: [corp.example]
    waivers: waivers.yml
    outputs: [html, junit, sarif]
    fail_on: high
"""

RETURN = r"""
verdict:
  description: C(fail), C(unknown) or C(pass).
  returned: where O(state=reported)
  type: str
  sample: pass
score:
  description: 0 to 100, or null where nothing counts.
  returned: where O(state=reported)
  type: float
  sample: 93.7
counts:
  description: How many controls passed, failed and so on, each on each target.
  returned: where O(state=reported)
  type: dict
  sample: {pass: 61, fail: 0, unknown: 4, not_applicable: 12, waived: 1}
reasons:
  description: What made the verdict.
  returned: where O(state=reported)
  type: list
  elements: str
  sample: []
new:
  description: How many failures the baseline has not.
  returned: where O(state=reported)
  type: int
  sample: 0
gone:
  description: How many failures only the baseline has.
  returned: where O(state=reported)
  type: int
  sample: 2
still:
  description: How many failures both have.
  returned: where O(state=reported)
  type: int
  sample: 1
outputs:
  description: The files written.
  returned: where O(state=reported)
  type: dict
  sample: {json: /var/lib/certlogon/compliance/report.json, html: /var/lib/certlogon/compliance/report.html}
observations:
  description: The folder of the observations.
  returned: where O(state=prepared)
  type: str
  sample: /var/lib/certlogon/compliance/observations
observation:
  description: The file of the observation.
  returned: where O(state=unanswered)
  type: str
  sample: /var/lib/certlogon/compliance/observations/domain-corp.example.json
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.certlogon.core.plugins.module_utils.compliance.reporting import ARGUMENTS, RULES


def main() -> None:
    AnsibleModule(ARGUMENTS, supports_check_mode=True, **RULES).fail_json(
        msg="this module runs as an action on the control node; call it by its full name (certlogon.core.…) in an ordinary task"
    )


if __name__ == "__main__":
    main()
