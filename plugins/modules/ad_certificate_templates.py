#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: ad_certificate_templates
short_description: Manage certificate templates in Active Directory
version_added: 0.1.0
description:
  - Creates, changes, removes and exports certificate templates (C(pKICertificateTemplate) objects, [MS-CRTD]) with their permissions and
    the objects of their OIDs (C(msPKI-Enterprise-Oid)). It speaks LDAP with a domain controller; neither AD CS nor a Windows host is
    needed.
  - The directory accepts nearly anything in a template, so the module judges what is legal before it writes. It warns of every template
    that an attacker could use (ESC1, 2, 3, 4, 9, 13, 15 and 17 in the counting of security tools), or refuses it with O(strict=true).
  - Every change of a template raises its minor revision, with compare-and-swap, so two runs at once do not overwrite one another.
  - Attributes the module does not know are left as they are.
  - The forest's OID arc is stored at C(CN=OID,CN=Public Key Services) with the first template of a forest that has none.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.action_group
  - certlogon.core.authorities
  - certlogon.core.directory
options:
  config:
    description:
      - The certificate templates, each at most once. Others are left alone.
      - Required unless O(state=gathered).
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the template, C(cn) ([MS-CRTD] 2.1), at most 64 characters, compared without case.
        type: str
        required: true
      display_name:
        description: C(displayName) ([MS-CRTD] 2.2), also given to the OID's object. A new template gets its O(config[].name).
        type: str
      based_on:
        description:
          - The template that a new one starts from. O(state=replaced) takes options left out from it as well.
          - Either one of the 33 templates that AD CS installs, with the values of Windows Server 2016 whatever became of it in this domain,
            or any other template of the domain. Both by name or by display name.
          - A base of schema version 1 becomes a template of version 2 unless O(config[].schema_version) says otherwise, because version 1
            templates cannot be edited with the tools of Windows.
          - Left out, O(config[].extended_key_usages) and O(config[].subject) or O(config[].subject_alternative_name) must be given, and the
            rest is that of C(SmartcardLogon) as version 2, with an empty subject.
        type: str
      schema_version:
        description: >-
          C(msPKI-Template-Schema-Version) ([MS-CRTD] 2.16). That of an existing template can only be raised, and not from 1.
        type: int
        choices: [1, 2, 3, 4]
      subject_type:
        description: Who the certificate is for; the bits MACHINE_TYPE, IS_CA and IS_CROSS_CA of C(flags) ([MS-CRTD] 2.4).
        type: str
        choices:
          - user
          - computer
          - ca
          - cross_ca
      subject:
        description: Where the subject comes from; C(msPKI-Certificate-Name-Flag) ([MS-CRTD] 2.28).
        type: dict
        suboptions:
          supplied_in_request:
            description: >-
              The requester names the subject and alternative names (ENROLLEE_SUPPLIES_SUBJECT). V(true) empties the parts of both unless
              they are given, and naming parts makes it V(false).
            type: bool
          from_old_certificate:
            description: Renewals take both from the certificate that is renewed (OLD_CERT_SUPPLIES_SUBJECT_AND_ALT_NAME).
            type: bool
          parts:
            description: >-
              What the CA takes from the directory. One at most of V(directory_path), V(common_name) and V(dns_as_common_name). V(email)
              makes requests of users without mail address fail.
            type: list
            elements: str
            choices:
              - directory_path
              - common_name
              - email
              - dns_as_common_name
          other_flags:
            description: Bits of the attribute that have no name here, as hexadecimal numbers.
            type: list
            elements: str
      subject_alternative_name:
        description: Where the subject alternative names come from; C(msPKI-Certificate-Name-Flag) ([MS-CRTD] 2.28).
        type: dict
        suboptions:
          supplied_in_request:
            description: >-
              The requester names them (ENROLLEE_SUPPLIES_SUBJECT_ALT_NAME). CAs ignore it without O(config[].subject.supplied_in_request)
              ([MS-WCCE] 3.2.2.6.2.1.4.5.9).
            type: bool
          parts:
            description: What the CA takes from the directory.
            type: list
            elements: str
            choices:
              - upn
              - email
              - dns
              - domain_dns
              - spn
              - directory_guid
      extended_key_usages:
        description:
          - C(pKIExtendedKeyUsage) ([MS-CRTD] 2.12), each as a name or a dotted OID.
          - >-
            Names are V(server_authentication), V(client_authentication), V(code_signing), V(secure_email), V(time_stamping),
            V(ocsp_signing), V(any_purpose), V(smart_card_logon), V(kdc_authentication), V(pkinit_client), V(certificate_request_agent),
            V(key_recovery_agent), V(private_key_archival), V(encrypting_file_system), V(file_recovery),
            V(directory_service_email_replication), V(microsoft_trust_list_signing), V(qualified_subordination),
            V(ip_security_ike_intermediate), V(ip_security_end_system), V(ip_security_tunnel_termination), V(ip_security_user),
            V(remote_desktop_authentication), V(document_signing), V(document_encryption), V(lifetime_signing), V(key_recovery),
            V(digital_rights), V(bitlocker_drive_encryption), V(bitlocker_data_recovery_agent), V(microsoft_time_stamping),
            V(windows_hardware_driver_verification), V(windows_system_component_verification), V(key_pack_licenses),
            V(license_server_verification), V(endorsement_key_certificate), V(platform_certificate),
            V(attestation_identity_key_certificate), the same as Windows spells them (V(Smart Card Logon)), and the display names of
            application policies that the forest has defined.
          - An empty list means a certificate for any purpose.
        type: list
        elements: str
      application_policies:
        description: >-
          C(msPKI-Certificate-Application-Policy) ([MS-CRTD] 2.25), by the names of O(config[].extended_key_usages). Left out, it is kept
          in step with those in templates of schema version 2 and later, and absent in version 1.
        type: list
        elements: str
      critical_extensions:
        description: >-
          C(pKICriticalExtensions) ([MS-CRTD] 2.7), as V(key_usage), V(subject_alternative_name), V(basic_constraints),
          V(extended_key_usage), V(application_policies), V(certificate_policies), V(name_constraints), V(policy_constraints),
          V(policy_mappings) and their kin, or dotted OIDs.
        type: list
        elements: str
      key_usage:
        description: >-
          C(pKIKeyUsage) ([MS-CRTD] 2.13); V(digital_signature), V(non_repudiation), V(key_encipherment), V(data_encipherment),
          V(key_agreement), V(certificate_signing), V(crl_signing), V(encipher_only), V(decipher_only).
        type: list
        elements: str
      path_length:
        description: C(pKIMaxIssuingDepth) ([MS-CRTD] 2.14), how many CAs may follow below a CA; -1 for any number.
        type: int
      validity:
        description: >-
          C(pKIExpirationPeriod) ([MS-CRTD] 2.11), how long certificates are valid, like V(1y), V(6w), V(42d), V(8h) or V(1y 6w). Units are
          V(y) (365 days), V(mo) (30 days), V(w), V(d), V(h), V(min), V(s).
        type: str
      renewal_overlap:
        description: >-
          C(pKIOverlapPeriod) ([MS-CRTD] 2.15), how long before the end certificates are renewed. Shorter than O(config[].validity).
        type: str
      minimum_key_size:
        description: C(msPKI-Minimal-Key-Size) ([MS-CRTD] 2.19), in bits.
        type: int
      key_spec:
        description: C(pKIDefaultKeySpec) ([MS-CRTD] 2.9), V(key_exchange) or V(signature). Smart card logon needs V(key_exchange).
        type: str
      providers:
        description: >-
          C(pKIDefaultCSPs) ([MS-CRTD] 2.8), the cryptographic providers by preference, like V(Microsoft Base Smart Card Crypto Provider).
          None means that the client chooses.
        type: list
        elements: str
      algorithms:
        description: >-
          Keys of templates for key storage providers (schema version 3, or 4 without V(legacy_provider)), kept as properties in
          C(msPKI-RA-Application-Policies) ([MS-CRTD] 2.23.2). A new template that needs them has RSA with SHA256 unless they are given.
        type: dict
        suboptions:
          asymmetric:
            description: Property C(msPKI-Asymmetric-Algorithm), like V(RSA) or V(ECDSA_P256).
            type: str
          hash:
            description: Property C(msPKI-Hash-Algorithm), like V(SHA256).
            type: str
          symmetric:
            description: Property C(msPKI-Symmetric-Algorithm), like V(AES).
            type: str
          symmetric_key_length:
            description: Property C(msPKI-Symmetric-Key-Length), in bits.
            type: int
          key_usage:
            description: Property C(msPKI-Key-Usage); V(decrypt), V(sign), V(key_agreement), or V(all).
            type: list
            elements: str
          key_permissions:
            description: Property C(msPKI-Key-Security-Descriptor), SDDL.
            type: str
          other:
            description: Further properties, each as C(name`type`value).
            type: list
            elements: str
          raw:
            description: The values of the attribute where they follow neither syntax. Everything else is ignored then.
            type: list
            elements: str
      private_key:
        description: C(msPKI-Private-Key-Flag) ([MS-CRTD] 2.27).
        type: dict
        suboptions:
          exportable:
            description: The key can be exported (EXPORTABLE_KEY).
            type: bool
          strong_protection:
            description: The user is asked at each use of the key (STRONG_KEY_PROTECTION_REQUIRED).
            type: bool
          archive:
            description: The CA keeps a copy of the key (REQUIRE_PRIVATE_KEY_ARCHIVAL). Needs O(config[].key_usage) for encryption.
            type: bool
          flags:
            description:
              - >-
                All other flags that are set. V(alternate_signature_format), V(same_key_renewal), V(legacy_provider),
                V(attestation_user_credentials), V(attestation_certificate), V(attestation_key), V(attestation_preferred),
                V(attestation_required), V(attestation_without_policy), V(hello_logon_key), and hexadecimal numbers for bits without name.
              - V(legacy_provider) is set in a new template of schema version 4 whose providers are of the older kind, unless this is given.
            type: list
            elements: str
      compatibility:
        description: >-
          The oldest systems that can use the template; two nibbles of C(msPKI-Private-Key-Flag) ([MS-CRTD] 2.27). A new template gets
          what its schema version needs.
        type: dict
        suboptions:
          authority:
            description: >-
              The CA; V(none), V(windows_server_2003), V(windows_server_2008), V(windows_server_2008_r2), V(windows_server_2012),
              V(windows_server_2012_r2) or V(windows_server_2016).
            type: str
          client:
            description: >-
              Who enrolls; V(none), V(windows_xp), V(windows_vista), V(windows_7), V(windows_8), V(windows_8_1) or V(windows_10).
            type: str
      manager_approval:
        description: A certificate manager must approve each request (PEND_ALL_REQUESTS of C(msPKI-Enrollment-Flag), [MS-CRTD] 2.26).
        type: bool
      signatures:
        description: Signatures that a request must have besides the requester's own.
        type: dict
        suboptions:
          count:
            description: C(msPKI-RA-Signature) ([MS-CRTD] 2.18).
            type: int
          application_policies:
            description: >-
              C(msPKI-RA-Application-Policies) ([MS-CRTD] 2.23), what the signers' certificates must be for, by the names of
              O(config[].extended_key_usages). Written in the syntax that the schema version asks for.
            type: list
            elements: str
          issuance_policies:
            description: C(msPKI-RA-Policies) ([MS-CRTD] 2.22), under which the signers' certificates must have been issued.
            type: list
            elements: str
      issuance_policies:
        description: >-
          C(msPKI-Certificate-Policy) ([MS-CRTD] 2.24), as V(low_assurance), V(medium_assurance), V(high_assurance) (below the forest's
          own arc), V(all_issuance), dotted OIDs, or the display names of issuance policies that the forest has defined.
        type: list
        elements: str
      supersedes:
        description: C(msPKI-Supersede-Templates) ([MS-CRTD] 2.21), names of templates whose certificates are replaced by autoenrollment.
        type: list
        elements: str
      autoenrollment:
        description: >-
          AUTO_ENROLLMENT of C(msPKI-Enrollment-Flag) ([MS-CRTD] 2.26), and of C(flags) in step. Whoever shall be enrolled needs the rights
          V(read), V(enroll) and V(auto_enroll) as well.
        type: bool
      publish_to_directory:
        description: The CA adds the certificate to the requester's account (PUBLISH_TO_DS of C(msPKI-Enrollment-Flag), [MS-CRTD] 2.26).
        type: bool
      sid_extension:
        description: >-
          The CA puts the requester's SID into the certificate, for strong certificate mapping (KB5014754); NO_SECURITY_EXTENSION of
          C(msPKI-Enrollment-Flag) is clear ([MS-CRTD] 2.26).
        type: bool
      reuse_key_when_full:
        description: >-
          A smart card that has no room for a new key keeps the old one at renewal (ENABLE_KEY_REUSE_ON_NT_TOKEN_KEYSET_STORAGE_FULL of
          C(msPKI-Enrollment-Flag), [MS-CRTD] 2.26).
        type: bool
      enrollment_flags:
        description: >-
          All other bits of C(msPKI-Enrollment-Flag) that are set ([MS-CRTD] 2.26). V(smime_capabilities), V(publish_to_kra_container),
          V(check_user_certificate), V(previous_approval), V(user_interaction), V(remove_invalid), V(enroll_on_behalf_of), V(ocsp_nocheck),
          V(no_revocation_information), V(basic_constraints), V(key_based_renewal), V(issuance_policies_from_request),
          V(skip_auto_renewal), and hexadecimal numbers for bits without name.
        type: list
        elements: str
      general_flags:
        description: >-
          All bits of C(flags) ([MS-CRTD] 2.4) that O(config[].subject_type) does not imply; for exports, hardly ever needed.
          V(add_template_name), V(auto_enrollment), V(do_not_persist), V(is_default), V(is_modified), and reserved ones that built-in
          templates have. A copy of a built-in template becomes V(is_modified).
        type: list
        elements: str
      owner:
        description: >-
          Owner in C(nTSecurityDescriptor) ([MS-CRTD] 2.5). A principal is given as V(DOMAIN\\name), a name of the domain, V(user@domain), a
          distinguished name, a SID, or a well-known name.
        type: str
      permissions:
        description: The access control list in C(nTSecurityDescriptor) ([MS-CRTD] 2.5), by meaning; the order of entries is the module's
          affair.
        type: list
        elements: dict
        suboptions:
          principal:
            description: Who. Written as O(config[].owner) is.
            type: str
          rights:
            description:
              - V(read), V(write) and V(full_control) as [MS-CRTD] 2.5.3 defines them; V(enroll) and V(auto_enroll) ([MS-CRTD] 2.5.1,
                2.5.2); V(manage) is V(full_control) without extended rights, which AD CS gives to administrators.
              - >-
                Single rights ([MS-ADTS] 5.1.3.2) are V(create_child), V(delete_child), V(list_contents), V(self_write), V(read_property),
                V(write_property), V(delete_tree), V(list_object), V(all_extended_rights), V(delete), V(read_permissions),
                V(write_permissions), V(write_owner), V(generic_all), V(generic_read), V(generic_write), V(generic_execute), and
                hexadecimal numbers.
              - V(full_control) and V(all_extended_rights) let the principal enroll, too.
            type: list
            elements: str
          type:
            description: Whether the rights are given or denied.
            type: str
            choices:
              - allow
              - deny
            default: allow
          ace:
            description: >-
              Instead of O(config[].permissions[].principal), an entry in SDDL that principals and rights cannot say, like the right to
              write one attribute.
            type: str
      permissions_mode:
        description: >-
          Whether O(config[].permissions) are added to those there are (V(merged)) or are all that there shall be (V(exact)). Follows the
          state if left out, V(exact) with O(state=replaced), else V(merged). Rights can only be taken away with V(exact).
        type: str
        choices:
          - merged
          - exact
      inherit_permissions:
        description: Whether the container's inheritable permissions apply, too. AD CS protects its templates from them.
        type: bool
      reenroll_holders:
        description: >-
          Whether a change (of anything else) raises the major revision (C(revision), [MS-CRTD] 2.6), so that autoenrollment replaces the
          certificates of all who hold one, instead of the minor one (C(msPKI-Template-Minor-Revision), [MS-CRTD] 2.17).
        type: bool
        default: false
      oid:
        description: >-
          C(msPKI-Cert-Template-OID) ([MS-CRTD] 2.20) of a new template; by default made from the forest's arc and the name. An existing
          template keeps its own.
        type: str
      oid_registered:
        description: >-
          V(false) keeps the module from making the C(msPKI-Enterprise-Oid) object of a template that has none (or one with another display
          name). Otherwise templates of schema version 2 and later get it.
        type: bool
      revision:
        description: Major and minor revision of a new template, like V(100.3). An existing template counts its own.
        type: str
  state:
    description:
      - V(merged) sets what O(config) names and keeps the rest of each template. Lists become exactly what is given, but for
        O(config[].permissions).
      - V(replaced) makes each template what O(config) says; options left out are those of O(config[].based_on).
      - V(deleted) removes the templates and their OID objects, after taking them from publication by all enrollment services.
      - V(gathered) returns the templates named in O(config), or all, without loss.
      - V(rendered) returns what O(config) asks for, complete, without asking any server.
    type: str
    choices:
      - merged
      - replaced
      - deleted
      - gathered
      - rendered
    default: merged
  strict:
    description:
      - Whether a template that an attacker could use fails the task before anything is written, instead of a warning.
      - The weaknesses are judged on what the templates shall be, whether they change or not, and whether or not they are published.
    type: bool
    default: false
seealso:
  - module: certlogon.core.ad_enrollment_services
  - module: certlogon.core.ad_trusted_certificates
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: A template for smart card logon, enrolled by itself
  certlogon.core.ad_certificate_templates:
    server: dc1.corp.example
    username: administrator@corp.example
    password: "{{ domain_password }}"
    config:
      - name: CorpSmartcardLogon
        display_name: Corp Smartcard Logon
        based_on: SmartcardLogon
        subject:
          parts:
            - common_name
        validity: 1y
        renewal_overlap: 6w
        minimum_key_size: 2048
        providers:
          - Microsoft Base Smart Card Crypto Provider
        autoenrollment: true
        reuse_key_when_full: true
        supersedes:
          - SmartcardLogon
        permissions:
          - principal: Domain Users
            rights:
              - read
              - enroll
              - auto_enroll

- name: Certificates for domain controllers, as AD CS has them
  certlogon.core.ad_certificate_templates:
    config:
      - name: KerberosAuthentication
        based_on: KerberosAuthentication
        display_name: Kerberos Authentication
    state: replaced

- name: Exactly these may enroll, and a manager looks at each request
  certlogon.core.ad_certificate_templates:
    config:
      - name: CorpWebServer
        based_on: WebServer
        manager_approval: true
        permissions_mode: exact
        permissions:
          - principal: Authenticated Users
            rights:
              - read
          - principal: Enterprise Admins
            rights:
              - full_control
          - principal: Domain Controllers
            rights:
              - enroll
    strict: true

- name: Everybody gets a new certificate with the longer key
  certlogon.core.ad_certificate_templates:
    config:
      - name: CorpSmartcardLogon
        minimum_key_size: 3072
        reenroll_holders: true

- name: Remove a template, its OID object and its publication
  certlogon.core.ad_certificate_templates:
    config:
      - name: CorpWebServer
    state: deleted

- name: Export all templates of the forest
  certlogon.core.ad_certificate_templates:
    state: gathered
  register: templates
"""

RETURN = r"""
changes:
  description: What was done to each template (in check mode, what would be done).
  returned: unless O(state=gathered) or O(state=rendered)
  type: list
  elements: dict
  contains:
    name:
      description: Name of the template.
      type: str
      returned: always
      sample: CorpSmartcardLogon
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
  description: The templates, in the form that O(config) accepts.
  returned: O(state=gathered)
  type: list
  elements: dict
  sample:
    - name: CorpSmartcardLogon
      display_name: Corp Smartcard Logon
      schema_version: 2
      subject_type: user
      validity: 1y
      renewal_overlap: 6w
      permissions:
        - principal: CORP\Domain Users
          rights:
            - read
            - enroll
            - auto_enroll
      oid: 1.3.6.1.4.1.311.21.8.1234567.2345678.3456789.4567890.5678901.23.12345678.87654321
      revision: "100.0"
rendered:
  description: What O(config) asks for, complete, but for what only the forest knows (OID).
  returned: O(state=rendered)
  type: list
  elements: dict
"""

from ansible_collections.certlogon.core.plugins.module_utils.directory.certificate_templates import CertificateTemplates
from ansible_collections.certlogon.core.plugins.module_utils.module import run_module


def main() -> None:
    run_module(CertificateTemplates())


if __name__ == "__main__":
    main()
