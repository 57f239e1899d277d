#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: connect_secure_device_certificate
short_description: Have and renew the device certificates of a Connect Secure appliance
version_added: 0.1.0
description:
  - Has key and request made on an Ivanti Connect Secure appliance, has the request signed by AD CS (or by any other authority, to which a
    person carries it), imports the certificate, binds it to ports, and removes the old one once the new one was seen on the port. Or
    imports a PKCS#12 file.
  - A certificate is the same if the SHA-256 of its DER is, and it belongs to a request if its public key does. A request that waits on the
    appliance with the same subject and kind of key is gone on with; none is ever deleted.
  - Another certificate is had when there is none of the common name, when the present one ends within O(config[].renew_before) days, or
    when it has another kind of key, lacks host names, or says something else than O(config).
  - A request that is pending at the authority is a result, not a failure. The next run takes it up, as it does what any run left undone.
  - The certificate and what is remembered of its request are kept on the control node, without the key, which does not leave the appliance.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.connect_secure_group
  - certlogon.core.connect_secure
  - certlogon.core.connect_secure.device_enrollment
options:
  config:
    description:
      - The device certificates. What it does not name is left alone.
      - Required unless O(state=gathered).
    type: list
    elements: dict
    suboptions:
      name:
        description: What the task calls the certificate, and the appliance its request. The common name when left out.
        type: str
      sha256:
        description: The SHA-256, in hexadecimal, of a device certificate that is there already, to bind or to remove it.
        type: str
      common_name:
        description: The common name of the subject. Required for a certificate that is requested.
        type: str
      organization:
        description: The organization (O) of the subject. What the authority leaves out of the certificate is not asked for again.
        type: str
      organizational_unit:
        description: The organizational unit (OU).
        type: str
      locality:
        description: The locality (L).
        type: str
      state:
        description: The state or province (ST).
        type: str
      country:
        description: The country (C), as two capital letters.
        type: str
      email:
        description: The e-mail address in the subject.
        type: str
      key_type:
        description: The kind of the key.
        type: str
        choices: [rsa, ec]
        default: rsa
      key_length:
        description: Bits of an RSA key.
        type: int
        default: 2048
      curve:
        description: The curve of an EC key, by its name at NIST, SECG or OpenSSL.
        type: str
        choices: [P-256, P-384, P-521, secp256r1, secp384r1, secp521r1, prime256v1]
        default: P-256
      server_names:
        description:
          - The host names that the certificate has to be for; O(config[].common_name) when left out. The request of the appliance has
            none but the common name, so the authority has to put others into the certificate (see O(config[].request_attributes)).
        type: list
        elements: str
      issuer:
        description: The authority that has to have issued it, by its common name or its whole name.
        type: str
      internal_ports:
        description:
          - The internal ports (and virtual ports, VLANs) that the certificate serves, by their names on the appliance, which
            O(state=gathered) shows of those that serve something. A port has one certificate; what served it before leaves it. Ports that
            are not named stay as they are.
          - A certificate that replaces another takes over its ports, named or not.
        type: list
        elements: str
      external_ports:
        description: The external ports that it serves.
        type: list
        elements: str
      management_port:
        description:
          - Whether it serves the management port. V(false) leaves the port as it is.
          - The certificate is not bound there if this run's own next connection, by O(host) and O(ca_path), would not take it.
        type: bool
      answers_at:
        description:
          - Where to see that the new certificate answers, as C(host:port), before the old one is removed. When left out, O(host) and
            O(port) for the management port, and the first of O(config[].server_names) at 443 for others.
          - If another certificate answers there for O(answer_timeout) seconds, the old one is bound again and the task fails. If nobody
            answers, or the list is empty, the old one is kept, with a warning.
        type: list
        elements: str
      renew_before:
        description: Days before its end from which on the certificate is renewed, at most half of its lifetime.
        type: int
        default: 30
      remove_old:
        description: Whether earlier certificates of the common name that serve no other port are removed once the new one answers.
        type: bool
        default: true
      path:
        description: The file on the control node that the certificate is kept in. One of the common name in O(folder) when left out.
        type: path
      template:
        description: The certificate template of AD CS. O(template) when left out.
        type: str
      request_attributes:
        description: As O(certlogon.core.certificate_request#module:config[].request_attributes).
        type: dict
      retry_denied:
        description: Ask again though the authority has denied the request.
        type: bool
        default: false
      anchor_path:
        description: PEM file with the only roots that the certificate may chain up to.
        type: path
      crl_check:
        description: As O(certlogon.core.certificate_request#module:config[].crl_check), for a new certificate.
        type: str
        choices: [ignore, warn, fail]
        default: warn
      request_path:
        description: Where the request is put with O(method=file). O(config[].path) with C(.csr) when left out.
        type: path
      answer_path:
        description: Where the authority's answer is expected with O(method=file). O(config[].path) with C(.answer) when left out.
        type: path
      pkcs12_path:
        description: A PKCS#12 file on the control node with key, certificate and chain, to import instead of requesting one.
        type: path
      pkcs12_passphrase:
        description: Its passphrase.
        type: str
      allow_weak:
        description: Take a certificate with a weak key (RSA below 2048 bits, EC below 256) or a signature by SHA-1 or MD5.
        type: bool
        default: false
      allow_expired:
        description: Take a certificate that has expired or is not valid yet.
        type: bool
        default: false
      allow_mismatch:
        description: Take a certificate that is not for all of O(config[].server_names), or says something else than O(config).
        type: bool
        default: false
  state:
    description:
      - V(merged) has and renews the certificates, and binds them.
      - V(deleted) removes those that O(config) names by O(config[].sha256), or all of a common name. Those that serve a port are refused.
      - V(gathered) returns the device certificates in the form of O(config).
    type: str
    choices: [merged, deleted, gathered]
    default: merged
requirements:
  - What O(method=web_enrollment) needs besides, see M(certlogon.core.certificate_request).
seealso:
  - module: certlogon.core.certificate_request
  - module: certlogon.core.connect_secure_trusted_client_cas
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Users see a certificate of the corporate CA, renewed a month before it ends
  certlogon.core.connect_secure_device_certificate:
    config:
      - common_name: vpn.corp.example
        organization: Corp Example
        country: SE
        key_length: 3072
        external_ports:
          - External Port
    url: https://ca1.corp.example/certsrv
    enrollment_username: svc-vpn@corp.example
    enrollment_password: "{{ vault_svc_vpn }}"
    template: WebServer

- name: A public authority signs it; somebody carries the request there
  certlogon.core.connect_secure_device_certificate:
    config:
      - common_name: vpn.corp.example
        server_names:
          - vpn.corp.example
          - vpn-backup.corp.example
        external_ports:
          - External Port
    method: file
    folder: /srv/certificates
  register: vpn

- name: Say where the request is and the answer goes
  ansible.builtin.debug:
    msg: "{{ item.name }}: take {{ item.request_path }} to the authority, put its answer into {{ item.answer_path }}"
  loop: "{{ vpn.certificates | selectattr('status', 'eq', 'pending') }}"

- name: Import key and certificate that were made elsewhere
  certlogon.core.connect_secure_device_certificate:
    config:
      - pkcs12_path: files/vpn.p12
        pkcs12_passphrase: "{{ vault_vpn_p12 }}"
        server_names:
          - vpn.corp.example
        external_ports:
          - External Port
"""

RETURN = r"""
certificates:
  description: What there is for each entry when the task ends.
  returned: O(state=merged)
  type: list
  elements: dict
  contains:
    name:
      description: The entry.
      type: str
      returned: always
      sample: vpn.corp.example
    status:
      description:
        - V(valid), V(pending) at the authority, V(due) in check mode, V(refused) where the authority denied it or what it issued did not
          fit, V(failed).
      type: str
      returned: always
      sample: valid
    reason:
      description: Why.
      type: str
      returned: unless the certificate is as it should be
      sample: expires on 2026-12-05, within 30 days
    request_path:
      description: The file to carry to the authority.
      type: str
      returned: when pending with O(method=file)
    answer_path:
      description: Where its answer is expected.
      type: str
      returned: when pending with O(method=file)
    device_certificate:
      description: The certificate's name on the appliance.
      type: str
      returned: when there is one
      sample: vpn.corp.example
    subject:
      description: Its subject.
      type: str
      returned: when there is one
      sample: CN=vpn.corp.example,O=Corp Example,C=SE
    issuer:
      description: Who issued it.
      type: str
      returned: when there is one
      sample: CN=Corp CA,DC=corp,DC=example
    serial_number:
      description: Its serial number, hexadecimal.
      type: str
      returned: when there is one
      sample: 1a000000057c0de5ff
    thumbprint:
      description: Its SHA-1, as Windows shows it.
      type: str
      returned: when there is one
      sample: 9F1C3E5A7B8D2F4061728394A5B6C7D8E9F00112
    sha256:
      description: Its SHA-256.
      type: str
      returned: when there is one
      sample: 7e1bd40a552c4d2e9fb0611bc16e274c088a90f1375b2e7a6c0d4ad0519e22b7
    not_after:
      description: When it ends.
      type: str
      returned: when there is one
      sample: "2027-11-22T18:50:00Z"
    days_left:
      description: Days until then.
      type: int
      returned: when there is one
      sample: 365
    internal_ports:
      description: The internal ports that it serves.
      type: list
      elements: str
      returned: when there is one
      sample: []
    external_ports:
      description: The external ports that it serves.
      type: list
      elements: str
      returned: when there is one
      sample: ["External Port"]
    management_port:
      description: Whether it serves the management port.
      type: bool
      returned: when there is one
      sample: false
changes:
  description: What was done (in check mode, what would be done), entry by entry.
  returned: unless O(state=gathered)
  type: list
  elements: dict
  contains:
    name:
      description: The entry.
      type: str
      returned: always
      sample: vpn.corp.example
    action:
      description: V(create), V(update) or V(delete).
      type: str
      returned: always
      sample: create
    failed:
      description: Whether it failed.
      type: bool
      returned: on failure
    msg:
      description: Why it failed.
      type: str
      returned: on failure
gathered:
  description: The device certificates in the form that O(config) accepts, all or those that O(config) names.
  returned: O(state=gathered)
  type: list
  elements: dict
  sample:
    - name: vpn.corp.example
      sha256: 7e1bd40a552c4d2e9fb0611bc16e274c088a90f1375b2e7a6c0d4ad0519e22b7
      common_name: vpn.corp.example
      key_type: rsa
      key_length: 3072
      server_names: [vpn.corp.example]
      internal_ports: []
      external_ports: ["External Port"]
      management_port: false
backup_file:
  description: The backup of the configuration that was taken before the first change of the run.
  returned: when a backup was taken in this run
  type: str
  sample: /home/admin/.local/share/certlogon/backups/vpn1.corp.example-20261122T201500Z.zip
requests:
  description: How many requests this task needed.
  returned: always
  type: int
  sample: 2
logins:
  description: How many logins this task needed.
  returned: always
  type: int
  sample: 0
"""

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.device_certificates import DeviceCertificates
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.module import explain


def main() -> None:
    explain(DeviceCertificates)


if __name__ == "__main__":
    main()
