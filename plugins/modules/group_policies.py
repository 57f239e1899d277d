#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: group_policies
short_description: Group Policy objects whole, content included
version_added: 0.1.0
description:
  - Manages Group Policy objects of an Active Directory domain, each as one transaction over the directory (LDAP) and SYSVOL (SMB).
    No Windows host is needed.
  - A new policy is made in the directory at version 0, then in SYSVOL, then gets its version and extension names together, and its links
    last. A change goes to SYSVOL first, then to the directory, with both versions in step ([MS-GPOL] 3.3.5).
  - While a policy is written, its C(GPT.INI) is held open, and its version is changed in the directory by compare-and-swap. Several runs at
    once wait for each other and lose nothing. A run that died in the middle is finished by the next one, which says so in a warning.
  - What an option does not name stays as it is, byte for byte. Parts of a policy that have no option of their own are kept, and
    O(state=gathered) returns them raw (O(config[].security_template), O(config[].files), O(config[].extensions)).
  - On Samba every file and folder of a policy gets the permissions that C(samba-tool gpo aclcheck) and C(samba-tool ntacl sysvolcheck)
    expect. On Windows the policy's folder gets those that Windows' editors give it, and the rest inherits; that was not tried on Windows.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.action_group
  - certlogon.core.authorities
  - certlogon.core.directory
options:
  config:
    description:
      - The policies, each at most once. Others are left alone.
      - Required unless O(state=gathered).
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - The policy's name (C(displayName), [MS-GPOL] 2.2.1), compared without case.
          - With O(config[].guid), a policy of another name is renamed.
        type: str
        required: true
      guid:
        description:
          - The policy's identifier (C(cn) of the C(groupPolicyContainer), [MS-GPOL] 2.2.1), with or without braces.
          - Needed where several policies have the same name. A new policy gets one derived from domain and name when left out.
        type: str
      status:
        description:
          - Which halves apply (C(flags), [MS-GPOL] 2.2.1).
          - Left alone when left out, V(enabled) with O(state=replaced).
        type: str
        choices: [enabled, user_disabled, computer_disabled, all_disabled]
      wmi_filter:
        description:
          - Name or id of the WMI filter that decides where the policy applies (C(gPCWQLFilter), [MS-GPOL] 2.2.1). It must exist.
          - An empty text takes the filter away. Left alone when left out, taken away with O(state=replaced).
        type: str
      links:
        description:
          - What the policy is linked to (C(gPLink) of sites, the domain and organizational units, [MS-GPOL] 2.2.2).
        type: list
        elements: dict
        suboptions:
          target:
            description:
              - An organizational unit as a path from the domain's head (V(Corp/Workstations)), V(domain), a site (V(site:NAME)), or a
                distinguished name. It must exist.
            type: str
            required: true
          order:
            description:
              - The link order; 1 has the highest precedence. More than there are links means the last.
              - Left out, a link stays where it is, and a new one gets the lowest precedence.
            type: int
          enabled:
            description: Whether the link is enabled (option bit 1 clear).
            type: bool
            default: true
          enforced:
            description: Whether the policy applies below a target that blocks inheritance, too (option bit 2).
            type: bool
            default: false
          block_inheritance:
            description:
              - Whether the target blocks the policies of the objects above it (C(gPOptions), [MS-GPOL] 2.2.3). This is a property of the
                target, not of the link; left alone when left out.
            type: bool
      links_mode:
        description:
          - V(merged) keeps links to other targets, V(exact) removes them.
          - V(merged) when left out, V(exact) with O(state=replaced).
        type: str
        choices: [merged, exact]
      permissions:
        description:
          - Security filtering and delegation (DACL of the C(groupPolicyContainer), [MS-GPOL] 3.2.5.1.6, and of the folder in SYSVOL).
          - A principal that is named has exactly the rights named for it.
          - A warning is given where computers could not read the policy any more (MS16-072), or where it applies to nobody.
        type: list
        elements: dict
        suboptions:
          principal:
            description: A user or group, as C(DOMAIN\name), C(name), C(user@domain), a SID, or a well-known name.
            type: str
          rights:
            description:
              - V(apply) (implies reading, where it is allowed), V(read), V(edit) (settings) or V(full_control) (with deletion and
                permissions), as in the Group Policy Management Console.
              - An empty list takes the principal's entries away.
            type: list
            elements: str
            choices: [apply, read, edit, full_control]
          type:
            description: Whether the rights are allowed or denied.
            type: str
            choices: [allow, deny]
            default: allow
          ace:
            description: Instead of a principal, one access control entry in SDDL ([MS-DTYP] 2.5.1), for what the words cannot say.
            type: str
      permissions_mode:
        description: V(merged) keeps entries of other principals, V(exact) removes them.
        type: str
        choices: [merged, exact]
        default: merged
      services:
        description:
          - How system services start, from the next boot on (C(GptTmpl.inf), section C(Service General Setting), [MS-GPSB] 2.2.8).
          - To start a service at once, use O(config[].service_preferences) as well.
        type: list
        elements: dict
        suboptions:
          name:
            description: The service's short name.
            type: str
            required: true
          startup:
            description:
              - The start type. V(not_configured) removes the line.
              - V(boot) and V(system) appear in existing policies and cannot be written anew.
            type: str
            required: true
            choices: [automatic, manual, disabled, boot, system, not_configured]
          security:
            description: The service's security descriptor in SDDL; an empty text leaves the service's own.
            type: str
            default: ""
      security_options:
        description: Security options (C(GptTmpl.inf), section C(Registry Values), [MS-GPSB] 2.2.5).
        type: dict
        suboptions:
          smart_card_removal_behaviour:
            description:
              - What happens when the card is taken out (C(ScRemoveOption) V(0) to V(3)). Needs the service SCPolicySvc.
            type: str
            choices: [no_action, lock, force_logoff, disconnect, not_configured]
          require_smart_card:
            description: Whether interactive logon needs a smart card (C(ScForceOption)).
            type: str
            choices: ["true", "false", not_configured]
          registry_values:
            description: Any other security option, as the template's line has it.
            type: list
            elements: dict
            suboptions:
              path:
                description: Hive, key and value name, beginning with C(MACHINE\).
                type: str
                required: true
              type:
                description: V(string), V(expandstring), V(binary), V(dword) or V(multistring).
                type: str
              value:
                description: The value as text.
                type: str
              state:
                description: V(not_configured) removes the line.
                type: str
                choices: [present, not_configured]
                default: present
      registry:
        description:
          - Registry policy of both halves (C(Registry.pol), [MS-GPREG] 2.2.1), in this order.
        type: list
        elements: dict
        suboptions:
          half:
            description: The half of the policy, that is HKEY_LOCAL_MACHINE or HKEY_CURRENT_USER.
            type: str
            choices: [computer, user]
            default: computer
          key:
            description: The key, without its hive.
            type: str
            required: true
          value:
            description: The value's name; empty for the key's default value.
            type: str
            default: ""
          type:
            description:
              - V(string), V(expandstring), V(multistring), V(dword), V(dword_big_endian), V(qword), V(binary), V(none), or a number.
              - Needed to set a value.
            type: str
          data:
            description:
              - The data, a text, an integer or a list of texts, as the type asks for; the list of names with V(values_absent) and
                V(keys_absent).
            type: raw
          base64:
            description: The data of a binary value, or raw data of any type, in base64.
            type: str
          state:
            description:
              - V(present) sets the value, V(default) sets it where it is missing (C(**soft.)).
              - V(absent) has the client delete the value (C(**del.)), V(values_absent) the values listed (C(**DeleteValues)),
                V(values_cleared) all values of the key (C(**delvals.)), V(keys_absent) the subkeys listed (C(**DeleteKeys)).
              - V(key_present) makes the key, V(secured) restricts its permissions (C(**SecureKey)).
              - V(not_configured) removes what the policy says of this value.
            type: str
            choices:
              - present
              - absent
              - default
              - values_cleared
              - values_absent
              - keys_absent
              - key_present
              - secured
              - not_configured
            default: present
      certificates:
        description:
          - Certificates that computers get into their stores (C(Registry.pol), [MS-GPEF] 2.2.1.1), as Windows' editor writes them.
          - The stores named are complete with O(state=replaced). Certificates of the first two stores must be CA certificates that are
            valid and strong.
        type: dict
        suboptions:
          trusted_root:
            description: Trusted Root Certification Authorities (store C(Root)).
            type: list
            elements: dict
            suboptions: &certificates
              path:
                description: A file with one or more certificates (PEM, DER or PKCS#7).
                type: path
              content:
                description: PEM or base64 text instead of a file.
                type: str
              enrollment_service:
                description: >-
                  Name of an enterprise CA, whose certificate is read from the directory in the same session (attribute C(cACertificate) of
                  C(pKIEnrollmentService), [MS-WCCE] 2.2.2.11.2), instead of a file.
                type: str
              chain:
                description: >-
                  Which certificate of the enrollment service is meant. V(authority) is its own, V(root) the self-signed one that it chains
                  up to through C(CN=AIA) and C(CN=Certification Authorities).
                type: str
                choices:
                  - authority
                  - root
                default: authority
              sha256:
                description: The certificate's expected fingerprint; another one is refused.
                type: str
              subject:
                description: The certificate's expected subject; another one is refused.
                type: str
          intermediate:
            description: Intermediate Certification Authorities (store C(CA)).
            type: list
            elements: dict
            suboptions: *certificates
          trusted_publisher:
            description: Trusted Publishers (store C(TrustedPublisher)).
            type: list
            elements: dict
            suboptions: *certificates
          disallowed:
            description: Untrusted Certificates (store C(Disallowed)).
            type: list
            elements: dict
            suboptions: *certificates
          trusted_people:
            description: Trusted People (store C(TrustedPeople)).
            type: list
            elements: dict
            suboptions: *certificates
          enterprise_trust:
            description: Enterprise Trust (store C(Trust)).
            type: list
            elements: dict
            suboptions: *certificates
          allow_expired:
            description: Let in CA certificates that have expired or are not valid yet.
            type: bool
            default: false
          allow_weak:
            description: Let in CA certificates with weak keys or signatures.
            type: bool
            default: false
          allow_non_ca:
            description: Let in certificates that are no CA's.
            type: bool
            default: false
      autoenrollment:
        description:
          - Certificate autoenrolment of both halves (C(Registry.pol), key C(Software\Policies\Microsoft\Cryptography\AutoEnrollment)).
        type: dict
        suboptions:
          computer:
            description: For computers.
            type: dict
            suboptions: &autoenrollment
              enabled:
                description: Whether autoenrolment works; V(false) switches it off on the client (C(AEPolicy) V(0x8000)).
                type: bool
                required: true
              renew:
                description: >-
                  Whether to renew expired certificates, update pending ones and remove revoked ones (C(AEPolicy) bits 2 and 4);
                  V(true) when left out.
                type: bool
              update_templates:
                description: Whether to enrol and update certificates by templates (C(AEPolicy) bit 1); V(true) when left out.
                type: bool
              expiration_percent:
                description: Remaining lifetime from which on users are told (C(OfflineExpirationPercent)); left alone when left out.
                type: int
              expiration_stores:
                description: Stores that are watched for that (C(OfflineExpirationStoreNames)); left alone when left out.
                type: list
                elements: str
          user:
            description: For users.
            type: dict
            suboptions: *autoenrollment
      service_preferences:
        description:
          - What Group Policy preferences do with services when the policy is applied
            (C(Machine\Preferences\Services\Services.xml), [MS-GPPREF] 2.2.1.19).
        type: list
        elements: dict
        suboptions:
          name:
            description: The service's short name (C(serviceName)).
            type: str
            required: true
          startup:
            description: The start type to set (C(startupType)).
            type: str
            choices: [no_change, automatic, manual, disabled, boot, system]
            default: no_change
          action:
            description: What to do with the service now (C(serviceAction)).
            type: str
            choices: [no_change, start, stop, restart, restart_if_required]
            default: no_change
          timeout:
            description: Seconds to wait for the service, at most 255 (C(timeout)).
            type: int
            default: 30
          state:
            description: V(not_configured) removes the service's items.
            type: str
            choices: [present, not_configured]
            default: present
      file_preferences:
        description:
          - Files that Group Policy preferences copy to computers (C(Machine\Preferences\Files\Files.xml), [MS-GPPREF] 2.2.1.6).
          - Items with filters and the like cannot be said here; a file with such items is returned raw in O(config[].files).
        type: list
        elements: dict
        suboptions:
          target:
            description:
              - The file's whole path on the computer (C(targetPath)), such as C(%ProgramFilesDir%\Corp\agent.exe). Folders are made.
            type: str
            required: true
          source:
            description:
              - Where computers copy it from (C(fromPath)), such as C(\\corp.example\NETLOGON\agent.exe). They must be able to read it.
              - Required unless it is deleted.
            type: str
          read_only:
            description: Whether it gets that attribute (C(readOnly)).
            type: bool
            default: false
          hidden:
            description: Whether it gets that attribute.
            type: bool
            default: false
          action:
            description:
              - What the client does with it each time the policy is applied (C(action)).
              - Computed, V(replace) with O(config[].file_preferences[].remove_when_unapplied), else V(update).
            type: str
            choices: [create, replace, update, delete]
          remove_when_unapplied:
            description:
              - Whether the client takes it away again once the policy applies no longer, as when it is deleted (C(removePolicy)).
              - Needs O(config[].file_preferences[].action=replace).
            type: bool
            default: false
          state:
            description: V(not_configured) removes the item from the policy.
            type: str
            choices: [present, not_configured]
            default: present
      registry_preferences:
        description:
          - Registry values that Group Policy preferences write (C(Machine\Preferences\Registry\Registry.xml), [MS-GPPREF] 2.2.1).
          - Unlike O(config[].registry), they may lie anywhere and still be taken away again.
        type: list
        elements: dict
        suboptions:
          hive:
            description: The hive.
            type: str
            choices: [HKEY_LOCAL_MACHINE, HKEY_CURRENT_USER, HKEY_CLASSES_ROOT, HKEY_USERS, HKEY_CURRENT_CONFIG]
            default: HKEY_LOCAL_MACHINE
          key:
            description: The key below the hive.
            type: str
            required: true
          value:
            description: The value's name. Empty is the key's default value.
            type: str
            default: ""
          type:
            description: The value's type.
            type: str
            choices: [string, expandstring, dword]
            default: string
          data:
            description: Its data; of a C(dword), the number.
            type: str
          action:
            description:
              - What the client does with it each time the policy is applied (C(action)).
              - Computed, V(replace) with O(config[].registry_preferences[].remove_when_unapplied), else V(update).
            type: str
            choices: [create, replace, update, delete]
          remove_when_unapplied:
            description:
              - Whether the client takes it away again once the policy applies no longer, as when it is deleted (C(removePolicy)).
              - Needs O(config[].registry_preferences[].action=replace).
            type: bool
            default: false
          state:
            description: V(not_configured) removes the item from the policy.
            type: str
            choices: [present, not_configured]
            default: present
      task_preferences:
        description:
          - Programs that are started at each logon, as scheduled tasks
            (C(Machine\Preferences\ScheduledTasks\ScheduledTasks.xml), C(TaskV2), [MS-GPPREF] 2.2.1.18.3).
        type: list
        elements: dict
        suboptions:
          name:
            description: The task's name.
            type: str
            required: true
          command:
            description: The program. Required unless the task is deleted.
            type: str
          arguments:
            description: Its arguments.
            type: str
          description:
            description: What the task is for.
            type: str
          run_as:
            description: V(users) runs it as each user who logs on, without further rights; V(system) as the computer.
            type: str
            choices: [users, system]
            default: users
          repeat_minutes:
            description:
              - After how many minutes it is started again, and so on. V(0) starts it at logon only.
              - Where a program has to run all the session, let it end when it finds itself running already.
            type: int
            default: 0
          action:
            description:
              - What the client does with it each time the policy is applied (C(action)).
              - Computed, V(replace) with O(config[].task_preferences[].remove_when_unapplied), else V(update).
            type: str
            choices: [create, replace, update, delete]
          remove_when_unapplied:
            description:
              - Whether the client takes it away again once the policy applies no longer, as when it is deleted (C(removePolicy)).
              - Needs O(config[].task_preferences[].action=replace).
            type: bool
            default: false
          state:
            description: V(not_configured) removes the item from the policy.
            type: str
            choices: [present, not_configured]
            default: present
      security_template:
        description:
          - Other sections of the security template, raw (C(GptTmpl.inf), [MS-GPSB] 2.2). A section that is named has exactly these lines;
            sections that are not named stay, with O(state=replaced) too.
        type: list
        elements: dict
        suboptions:
          section:
            description: The section's name, without brackets.
            type: str
            required: true
          lines:
            description: Its lines. An empty list removes the section.
            type: list
            elements: str
            required: true
      files:
        description:
          - Other files of the policy, whole. Files that are not named stay, with O(state=replaced) too.
          - A policy's content that needs a client-side extension without an option here needs it in O(config[].extensions).
        type: list
        elements: dict
        suboptions:
          path:
            description: The path below the policy's folder, such as V(Machine\\Scripts\\scripts.ini).
            type: str
            required: true
          content:
            description: The file's content in base64. Required unless V(absent).
            type: str
          state:
            description: Whether the file is there.
            type: str
            choices: [present, absent]
            default: present
      extensions:
        description:
          - Client-side extensions and tools for content without options here (C(gPCMachineExtensionNames), C(gPCUserExtensionNames),
            [MS-GPOL] 2.2.4). They are added; those that are there stay. What the other options need is named by itself.
        type: dict
        suboptions:
          computer:
            description: Of the computer half, each as V({extension}{tool}).
            type: list
            elements: str
          user:
            description: Of the user half.
            type: list
            elements: str
  state:
    description:
      - V(merged) sets what O(config) names and keeps the rest of each policy.
      - V(replaced) makes services, security options, registry, certificates, autoenrolment, preferences that have options, status, WMI
        filter and links exactly what O(config) says, options left out meaning none. Permissions, raw sections, files and extensions that
        are not named stay.
      - V(deleted) removes the named policies, their links first (of sites, too), then the directory object, then the folder in SYSVOL.
      - V(gathered) returns the policies named in O(config), or all, as O(config) accepts them.
      - V(rendered) returns what O(config) asks for in canonical form without asking any server.
    type: str
    choices: [merged, replaced, deleted, gathered, rendered]
    default: merged
  use_pdc_emulator:
    description:
      - Whether to work on the domain controller that holds the PDC emulator role, as Windows' editors do, whatever O(server) answers.
      - Policies are edited on one domain controller so that SYSVOL's file replication sees no conflicts.
    type: bool
    default: true
  smb_port:
    description: TCP port of the domain controller's SMB service.
    type: int
    default: 445
requirements:
  - smbprotocol >= 1.13
notes:
  - SMB uses the account of the directory connection, with NTLM where O(auth=simple). Messages are signed, and encrypted where the server
    can do it.
  - A file that somebody has open cannot be replaced; it is tried again for 15 seconds.
seealso:
  - module: certlogon.core.ad_certificate_templates
  - module: certlogon.core.ad_trusted_certificates
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Ready workstations for smart card logon
  certlogon.core.group_policies:
    server: dc1.corp.example
    username: administrator@corp.example
    password: "{{ domain_password }}"
    config:
      - name: Smart card logon
        links:
          - target: Corp/Workstations
        services:
          - name: SCardSvr
            startup: automatic
          - name: SCPolicySvc
            startup: automatic
        service_preferences:
          - name: SCardSvr
            startup: automatic
            action: start
        security_options:
          smart_card_removal_behaviour: lock
        registry:
          - key: Software\Policies\Microsoft\Windows\SmartCardCredentialProvider
            value: EnumerateECCCerts
            type: dword
            data: 1
        autoenrollment:
          user:
            enabled: true

- name: Push the root certificate to all computers of the domain, and to nobody else's
  certlogon.core.group_policies:
    config:
      - name: Trust in our CA
        status: user_disabled
        links:
          - target: domain
            order: 1
        permissions:
          - principal: Authenticated Users
            rights: [read]
          - principal: Domain Computers
            rights: [apply]
        certificates:
          trusted_root:
            - path: /etc/pki/corp-root.pem
    state: replaced

- name: Delete a policy with its links
  certlogon.core.group_policies:
    config:
      - name: Trust in our CA
    state: deleted

- name: Read all policies
  certlogon.core.group_policies:
    state: gathered
  register: policies
"""

RETURN = r"""
changes:
  description: What was done to each policy (in check mode, what would be done).
  returned: unless O(state=gathered) or O(state=rendered)
  type: list
  elements: dict
  contains:
    name:
      description: Name of the policy.
      type: str
      returned: always
      sample: Smart card logon
    action:
      description: V(create), V(update) or V(delete).
      type: str
      returned: always
      sample: create
    failed:
      description: Whether the change failed.
      type: bool
      returned: on failure
    msg:
      description: Why it failed.
      type: str
      returned: on failure
gathered:
  description: The policies as O(config) accepts them. What a policy does not have is left out.
  returned: O(state=gathered)
  type: list
  elements: dict
  sample:
    - name: Trust in our CA
      guid: "{6F9619FF-8B86-D011-B42D-00CF4FC964FF}"
      status: user_disabled
      links:
        - target: domain
          order: 1
          enabled: true
          enforced: false
          block_inheritance: false
      permissions:
        - principal: Authenticated Users
          rights: [read]
          type: allow
      services:
        - name: SCardSvr
          startup: automatic
          security: ""
rendered:
  description: What O(config) asks for, in canonical form.
  returned: O(state=rendered)
  type: list
  elements: dict
  sample:
    - name: Trust in our CA
      status: enabled
      services:
        - name: SCardSvr
          startup: automatic
          security: ""
"""

from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policies import GroupPolicies
from ansible_collections.certlogon.core.plugins.module_utils.module import run_module


def main() -> None:
    run_module(GroupPolicies())


if __name__ == "__main__":
    main()
