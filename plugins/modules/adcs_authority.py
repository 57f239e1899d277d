#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: adcs_authority
short_description: Install and configure a Windows certification authority (AD CS)
version_added: 0.1.0
description:
  - Brings the certification authority of a Windows host into the state that O(config) names, from the role service to the restrictions of
    its officers. Installs it where there is none, takes up an installation that died, and changes the settings of the one that is there.
  - One script reads everything that is decided by. A task that changes nothing asks the host once. All settings are written in one round,
    and the service is restarted once after them, and only if one of them changed.
  - What cannot be changed after the installation (name, type, key, database) and differs from O(config) is an error before anything is
    written.
  - Two settings are secured unless O(config) says otherwise. V(attribute_subject_alt_name2) is taken from the edit flags,
    since with it anybody who may enrol can name any subject. V(enforce_encrypted_requests) is set in the interface flags.
  - Secrets travel as PowerShell's secure strings, and are in no result, diff or command line.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.adcs_group
attributes:
  platform:
    platforms: windows
  idempotent:
    support: partial
    details:
      - With O(renewal.when=now) every run renews the CA's certificate, with O(backup.when=always) every run makes a backup.
requirements:
  - The collection C(ansible.windows) 2.4.0 or newer on the control node.
  - A Windows Server 2016 or newer reached by WinRM (or by SSH with PowerShell), and an administrator's account there.
options:
  config:
    description:
      - The certification authority. A host has one at most, so this list has one entry.
      - Required unless O(state=gathered).
    type: list
    elements: dict
    suboptions:
      name:
        description: The common name of the CA. Cannot be changed after the installation.
        type: str
        required: true
      type:
        description:
          - The type of the CA. Needed to install one. Cannot be changed after the installation.
          - A subordinate's certificate comes from O(parent_ca), or by the way of O(request_path) and O(certificate_path).
        type: str
        choices:
          - enterprise_root
          - enterprise_subordinate
          - standalone_root
          - standalone_subordinate
      distinguished_name_suffix:
        description:
          - What follows the common name in the CA's subject, such as V(DC=corp,DC=example). Cannot be changed after the installation.
          - When it is left out at the installation, Windows appends the domain's name for a host that is joined to one.
        type: str
      key:
        description: >-
          The CA's key. Cannot be changed after the installation; a renewal with a new key takes O(config[].capolicy.renewal_key_size).
        type: dict
        suboptions:
          algorithm:
            description: The algorithm of the key.
            type: str
            choices:
              - RSA
              - ECDSA
          size:
            description: Its size in bits (for ECDSA V(256), V(384) or V(521)).
            type: int
          provider:
            description: The key storage provider or cryptographic service provider that holds it.
            type: str
      hash:
        description: The hash algorithm of the signatures under certificates and CRLs. Can be changed later.
        type: str
        choices:
          - SHA256
          - SHA384
          - SHA512
      validity:
        description: How long a root's own certificate is valid, such as V(20 years). Only used when it is installed.
        type: str
      database_path:
        description: The folder of the CA's database. Cannot be changed after the installation.
        type: str
      log_path:
        description: The folder of the database's log files. Cannot be changed after the installation.
        type: str
      capolicy:
        description:
          - The file C(CAPolicy.inf) in the Windows folder, written before the installation and before a renewal.
          - Give either O(config[].capolicy.content), or the options from which it is made.
        type: dict
        suboptions:
          content:
            description: The whole text of the file. Line ends become CR LF.
            type: str
          policies:
            description: Certificate policies of the CA's certificate.
            type: list
            elements: dict
            suboptions:
              name:
                description: A name for the policy within the file, of letters and digits.
                type: str
                required: true
              oid:
                description: The policy's object identifier.
                type: str
                required: true
              notice:
                description: A text that is shown to people.
                type: str
              url:
                description: Where the certification practice statement is.
                type: str
          renewal_key_size:
            description: Size in bits of the key at a renewal with a new key.
            type: int
          renewal_validity:
            description: How long a root's certificate is valid after a renewal, such as V(20 years).
            type: str
          crl_period:
            description: How long a CRL is valid, such as V(26 weeks), from the first one on.
            type: str
          crl_delta_period:
            description: How long a delta CRL is valid, from the first one on. V(0 days) for none.
            type: str
          load_default_templates:
            description: Whether an enterprise CA publishes the default templates at its installation.
            type: bool
          alternate_signature_algorithm:
            description: Whether signatures have the form of PKCS#1 2.1, which few clients understand.
            type: bool
          path_length:
            description: How many CAs may follow below this one.
            type: int
      cdp:
        description:
          - Where CRLs are published and what certificates and CRLs say about that, in this order. Replaces the whole list.
        type: list
        elements: dict
        suboptions:
          url:
            description:
              - A path or URL. Takes the variables of the CA's console, such as V(<CaName>), or their numbers, such as V(%3).
              - V(<ServerDNSName>) is V(%1), V(<ServerShortName>) V(%2), V(<CaName>) V(%3), V(<CertificateName>) V(%4),
                V(<ConfigurationContainer>) V(%6), V(<CATruncatedName>) V(%7), V(<CRLNameSuffix>) V(%8), V(<DeltaCRLAllowed>) V(%9),
                V(<CDPObjectClass>) V(%10), V(<CAObjectClass>) V(%11).
            type: str
            required: true
          flags:
            description:
              - V(publish_base) and V(publish_delta) write CRLs there, V(include_in_certificates) puts it into the CDP extension of
                certificates,
                V(include_in_crls) into CRLs as their place in the directory, V(include_freshest) into base CRLs as the place of the delta
                CRL,
                V(include_in_idp) into the IDP extension of CRLs.
            type: list
            elements: str
            choices:
              - publish_base
              - include_in_certificates
              - include_freshest
              - include_in_crls
              - publish_delta
              - include_in_idp
            default: []
      aia:
        description: Where the CA's certificate is published and what certificates say about that, in this order. Replaces the whole list.
        type: list
        elements: dict
        suboptions:
          url:
            description: A path or URL, as in O(config[].cdp[].url).
            type: str
            required: true
          flags:
            description:
              - V(publish) writes the CA's certificate there, V(include_in_certificates) puts the place into the AIA extension of
                certificates,
                V(ocsp) puts it there as the address of an online responder.
            type: list
            elements: str
            choices:
              - publish
              - include_in_certificates
              - ocsp
            default: []
      crl_period:
        description: How long a CRL is valid before the next is due, such as V(1 week).
        type: str
      crl_overlap:
        description: How long a CRL outlives the publication of the next. V(0 hours) lets Windows choose.
        type: str
      crl_delta_period:
        description: As O(config[].crl_period), for delta CRLs. V(0 days) means that there are none.
        type: str
      crl_delta_overlap:
        description: As O(config[].crl_overlap), for delta CRLs.
        type: str
      issued_validity:
        description: The longest validity of a certificate that the CA issues, such as V(2 years).
        type: str
      audit_filter:
        description:
          - What the CA writes to the security log, if object access is audited on the host. V(all) stands for all of them.
        type: list
        elements: str
        choices:
          - all
          - start_stop
          - backup_restore
          - requests
          - revocation
          - security
          - key_archival
          - configuration
      interface_flags:
        description:
          - The interface flags, all that are to be set ([MS-CSRA] 3.1.1.4, C(InterfaceFlags)). When it is left out,
            V(enforce_encrypted_requests) is set and the others stay.
          - Flags without a name here are given and shown as numbers, such as V(0x2000).
        type: list
        elements: str
      edit_flags:
        description:
          - The edit flags of the policy module, all that are to be set (C(EditFlags), by the names of C(certsrv.h) without their prefix,
            in lower case with
            underscores, such as V(attribute_end_date)). When it is left out, V(attribute_subject_alt_name2) is not set and the others stay.
          - V(attribute_subject_alt_name2) lets requesters name any subject. Asking for it gives a warning.
          - Flags without a name here are given and shown as numbers.
        type: list
        elements: str
      disabled_extensions:
        description:
          - Object identifiers of the extensions that the CA leaves out of certificates. Replaces the whole list.
          - V(1.3.6.1.4.1.311.25.2) among them takes the SID from certificates, with which domain controllers map them strongly. Asking
            for it gives a warning.
        type: list
        elements: str
      role_separation:
        description: Whether nobody may hold two of the roles CA administrator, certificate manager, auditor and backup operator.
        type: bool
      permissions:
        description:
          - Who has which rights on the CA.
          - O(state=merged) sets the rights of those named and keeps the others. O(state=replaced) takes the rights of the others away.
        type: list
        elements: dict
        suboptions:
          principal:
            description: >-
              An account or group, as V(CORP\\PKI Admins), V(BUILTIN\\Administrators) or a SID. One that does not exist is an error.
            type: str
            required: true
          rights:
            description: Its rights on the CA. An empty list takes them away.
            type: list
            elements: str
            choices:
              - manage_ca
              - manage_certificates
              - read
              - enroll
            required: true
      officer_restrictions:
        description:
          - Which certificate managers may manage whose certificates ([MS-CSRA] 2.2.1.11). Replaces the whole list; an empty one lifts the
            restrictions.
        type: list
        elements: dict
        suboptions:
          officer:
            description: The certificate manager, an account or group.
            type: str
            required: true
          templates:
            description: The templates it is about, by common name or object identifier. Left out for all.
            type: list
            elements: str
          requesters:
            description: The accounts or groups whose certificates it is about. Left out for everyone.
            type: list
            elements: str
          allow:
            description: Whether that is allowed or denied.
            type: bool
            default: true
      enrollment_agent_restrictions:
        description:
          - Which enrolment agents may request which certificates on behalf of whom ([MS-CSRA] 2.2.1.11). Replaces the whole list; an
            empty one lifts the restrictions.
        type: list
        elements: dict
        suboptions:
          agent:
            description: The enrolment agent, an account or group.
            type: str
            required: true
          templates:
            description: The templates it is about, by common name or object identifier. Left out for all.
            type: list
            elements: str
          subjects:
            description: The accounts or groups on behalf of whom. Left out for everyone.
            type: list
            elements: str
          allow:
            description: Whether that is allowed or denied.
            type: bool
            default: true
  state:
    description:
      - V(merged) sets what O(config) names and keeps the rest.
      - V(replaced) sets what O(config) names, and what it leaves out to Windows' own defaults, but for O(config[].cdp), O(config[].aia),
        O(config[].permissions) and O(config[].capolicy), which stay when they are left out.
      - V(gathered) returns the CA as O(config) would describe it.
      - V(rendered) shows what O(config) asks for, C(CAPolicy.inf) included, without asking any host.
    type: str
    choices:
      - merged
      - replaced
      - gathered
      - rendered
    default: merged
  install_username:
    description:
      - The account that installs an enterprise CA, a member of Enterprise Admins (V(CORP\\administrator)).
      - Needed for that, since a WinRM logon has no rights on the domain controller unless it is delegated.
      - The installation takes it as a credential. The installation and renewal of an enterprise CA's certificate run as this account
        (become method C(runas)), since C(certutil) takes none and writes to the directory. A task that has C(become) itself keeps its own.
    type: str
  install_password:
    description: Its password.
    type: str
  parent_ca:
    description:
      - The parent of a subordinate CA that signs its request at once, such as V(root.corp.example\\Corp Root CA).
      - Left out, the request is written to O(request_path) for somebody to carry.
      - A parent that is asked online is so far untried against a real CA, at the installation and at a renewal; the file's way is tested
        on a stand-in for the Windows host.
    type: str
  request_path:
    description:
      - Where the request of a subordinate CA is put on the control node (PEM), at the installation and at a renewal.
    type: path
  certificate_path:
    description:
      - The certificate that came back for O(request_path), on the control node (PEM, DER or PKCS#7), with the parents' certificates.
      - While the file is not there, or still holds the CA's present certificate, the CA stays pending and the result says so. A certificate
        that does not fit the request is an error.
    type: path
  trust_parents:
    description:
      - Whether the parents' certificates in O(certificate_path) are put into the host's stores, roots included.
      - Without it the root must have come to the host otherwise (for example from the directory), else the CA's certificate is refused.
    type: bool
    default: true
  certenroll_files:
    description:
      - Files on the control node that the host is to serve from its CertEnroll folder under their own names, such as an offline root's CRL
        (C(.crl)) and certificate (C(.crt)), PEM or DER. They are put there in DER. A CRL that has ended is an error, and one that
        is older than the host's is not put there, with a warning.
      - Their publication in the directory is M(certlogon.core.ad_trusted_certificates)'s.
    type: list
    elements: path
    default: []
  renewal:
    description: >-
      The renewal of the CA's own certificate. A root signs itself, a subordinate goes the way of O(parent_ca) or O(request_path).
    type: dict
    suboptions:
      when:
        description:
          - V(never) only warns. V(before_expiry) renews when less than O(renewal.days) are left. V(now) renews in every run.
        type: str
        choices:
          - never
          - before_expiry
          - now
        default: never
      days:
        description: >-
          How many days before the certificate's end it is renewed. With O(renewal.when=before_expiry) they must be fewer than it is valid
          in all, else every run would renew it.
        type: int
        default: 365
      key:
        description: Whether the CA gets a new key or keeps its own. With a new key there are two CRLs from then on.
        type: str
        choices:
          - new
          - same
        default: new
  backup:
    description: A backup of the CA's key and database on the CA host.
    type: dict
    suboptions:
      path:
        description: >-
          A folder on the CA host, made if it is not there. Each backup gets a folder of its own in it, named by date and time, which
          nobody reads but SYSTEM and Administrators.
        type: str
        required: true
      password:
        description: The password of the file that holds the key.
        type: str
        required: true
      when:
        description: V(before_renewal) makes one before each renewal, V(always) in every run too.
        type: str
        choices:
          - before_renewal
          - always
        default: before_renewal
  warn_before:
    description: How many days before the end of a CA certificate the task warns.
    type: int
    default: 180
  crl_warn_before:
    description: How many hours before the end of a CRL that this CA published the task warns, if the next is not there.
    type: int
    default: 24
seealso:
  - module: certlogon.core.ad_trusted_certificates
  - module: certlogon.core.ad_enrollment_services
  - module: certlogon.core.adcs_crl
  - module: certlogon.core.adcs_web_enrollment
notes:
  - A role service that needs a restart of the host sets RV(reboot_required) and ends the task, with a warning.
    Restart it (M(ansible.windows.win_reboot)) and run
    it again.
  - The permissions are those of the CA itself. An enterprise CA carries changed ones over to its object in the directory when it starts.
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: An enterprise root CA with short lived CRLs over HTTP
  certlogon.core.adcs_authority:
    install_username: CORP\administrator
    install_password: "{{ domain_password }}"
    config:
      - name: Corp CA
        type: enterprise_root
        key:
          algorithm: RSA
          size: 4096
          provider: RSA#Microsoft Software Key Storage Provider
        hash: SHA256
        validity: 20 years
        capolicy:
          renewal_key_size: 4096
          renewal_validity: 20 years
          load_default_templates: false
        cdp:
          - url: C:\Windows\System32\CertSrv\CertEnroll\<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl
            flags:
              - publish_base
              - publish_delta
          - url: http://ca1.corp.example/CertEnroll/<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl
            flags:
              - include_in_certificates
              - include_freshest
        aia:
          - url: http://ca1.corp.example/CertEnroll/<ServerDNSName>_<CaName><CertificateName>.crt
            flags:
              - include_in_certificates
        crl_period: 1 week
        crl_delta_period: 1 day
        issued_validity: 2 years
        audit_filter:
          - all

- name: A subordinate whose request is signed by an offline root
  certlogon.core.adcs_authority:
    install_username: CORP\administrator
    install_password: "{{ domain_password }}"
    request_path: files/issuing.req
    certificate_path: files/issuing.pem
    config:
      - name: Corp Issuing CA
        type: enterprise_subordinate
        key:
          algorithm: RSA
          size: 4096
  register: issuing

- name: Say what is to be done
  ansible.builtin.debug:
    msg: "Have {{ issuing.request.path }} signed by the root, put the certificate into files/issuing.pem and run again"
  when: issuing.pending

- name: Give the PKI team its rights on the CA, and bind the card desk to one template
  certlogon.core.adcs_authority:
    config:
      - name: Corp CA
        permissions:
          - principal: CORP\PKI Admins
            rights:
              - manage_ca
          - principal: CORP\PKI Officers
            rights:
              - manage_certificates
          - principal: NT AUTHORITY\Authenticated Users
            rights:
              - enroll
        enrollment_agent_restrictions:
          - agent: CORP\Card Desk
            templates:
              - CorpSmartcardLogon
            subjects:
              - CORP\Domain Users

- name: Renew the CA a year before its end, after a backup
  certlogon.core.adcs_authority:
    config:
      - name: Corp CA
    renewal:
      when: before_expiry
      days: 365
      key: new
    backup:
      path: D:\Backup\CA
      password: "{{ ca_backup_password }}"

- name: Put the CA under version control
  certlogon.core.adcs_authority:
    state: gathered
  register: ca
"""

RETURN = r"""
changes:
  description: What was done (in check mode, what would be done).
  returned: unless O(state=gathered) or O(state=rendered)
  type: list
  elements: dict
  contains:
    name:
      description: Name of the CA.
      type: str
      returned: always
      sample: Corp CA
    action:
      description: V(create) or V(update).
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
steps:
  description: >-
    The steps in order, such as V(feature), V(capolicy), V(install), V(certificate), V(settings), V(backup), V(renew). In check mode,
    those that would be taken.
  returned: unless O(state=gathered) or O(state=rendered)
  type: list
  elements: str
  sample:
    - feature
    - capolicy
    - install
    - settings
gathered:
  description: The CA, in the form that O(config) accepts. An empty list where there is none.
  returned: O(state=gathered)
  type: list
  elements: dict
  sample:
    - name: Corp CA
      type: enterprise_root
      crl_period: 1 week
rendered:
  description: The canonical form of O(config).
  returned: O(state=rendered)
  type: list
  elements: dict
  sample:
    - name: Corp CA
      capolicy:
        content: "[Version]\r\nSignature=\"$Windows NT$\"\r\n"
config_string:
  description: How clients name the CA.
  returned: when there is a CA
  type: str
  sample: ca1.corp.example\Corp CA
certificates:
  description: The CA's certificates, oldest first. In check mode, those from before the change.
  returned: when the CA has a certificate
  type: list
  elements: dict
  contains:
    pem:
      description: The certificate.
      type: str
      returned: always
    subject:
      description: Its subject.
      type: str
      returned: always
      sample: CN=Corp CA,DC=corp,DC=example
    not_after:
      description: Its end, in UTC.
      type: str
      returned: always
      sample: "2046-11-22T18:00:00Z"
    days_left:
      description: Days until then, by the host's clock.
      type: int
      returned: always
      sample: 7300
    sha256:
      description: SHA-256 of the certificate, in lower case.
      type: str
      returned: always
crls:
  description: The CRLs in the host's CertEnroll folder.
  returned: when there is a CA
  type: list
  elements: dict
  contains:
    file:
      description: The file's name.
      type: str
      returned: always
      sample: Corp CA.crl
    this_update:
      description: When it was made, in UTC.
      type: str
      returned: always
      sample: "2026-11-22T18:00:00Z"
    next_update:
      description: Its end, in UTC.
      type: str
      returned: always
      sample: "2026-11-29T18:00:00Z"
    hours_left:
      description: Hours until then, by the host's clock.
      type: int
      returned: always
      sample: 168
report:
  description: What ends when, a line for each certificate and CRL.
  returned: when there is a CA
  type: list
  elements: str
  sample:
    - 'ca1.corp.example\Corp CA: certificate 5e0d1c94a7b2f360 until 2046-11-22T18:00:00Z, 7300 days left'
pending:
  description: Whether the CA waits for its (first or renewed) certificate.
  returned: when there is a CA
  type: bool
  sample: false
request:
  description: The request that waits to be signed.
  returned: when RV(pending) is true
  type: dict
  contains:
    path:
      description: Where it is on the control node, if O(request_path) was given.
      type: str
      returned: always
      sample: /home/admin/pki/files/issuing.req
    pem:
      description: The request.
      type: str
      returned: always
backup:
  description: The folder on the CA host that holds the backup made by this run.
  returned: when a backup was made
  type: str
  sample: D:\Backup\CA\20261122T180000Z
reboot_required:
  description: Whether the host must be restarted before the task can go on.
  returned: unless O(state=rendered)
  type: bool
  sample: false
rounds:
  description: How often the host was asked. One, where nothing had to change.
  returned: always
  type: int
  sample: 1
"""

from ansible_collections.certlogon.core.plugins.module_utils.adcs.authority import CertificationAuthority
from ansible_collections.certlogon.core.plugins.module_utils.adcs.module import explain


def main() -> None:
    explain(CertificationAuthority)


if __name__ == "__main__":
    main()
