#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_request
short_description: Request, renew and verify certificates
version_added: 0.1.0
description:
  - Keeps certificates in files valid. It makes the key and the request, submits it to AD CS by its web enrolment, fetches the certificate,
    verifies it, and writes certificate, chain and PFX.
  - A certificate is requested where there is none, renewed inside its renewal window, and requested anew when its request changes (subject,
    alternative names, template, kind or size of key, issuer), when its key is missing or another's, or when it was revoked. Otherwise the
    authority is not even contacted.
  - A request that waits for an officer's approval is remembered in a small file beside the certificate (C(.request.json), no secrets).
    Later runs ask for its outcome. A denied request is reported with the authority's reason and not asked again, unless the request
    changes or O(config[].retry_denied=true).
  - The old key and certificate stay in place, valid, until the new pair is complete and verified. Each file is replaced in one step.
  - With O(method=file) requests go to any other authority by a person's hands.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.enrollment
  - certlogon.core.enrollment.action_group
attributes:
  check_mode:
    details: >-
      Serial number, dates, names and the like of a certificate that is yet to be issued are shown as C(known after apply). The outcome of
      a pending request is asked for in check mode too.
  idempotent:
    support: partial
    details: >-
      A run with the same options changes nothing until the renewal window begins, except with O(config[].force=true).
      A run that takes up a pending request changes files.
options:
  config:
    description:
      - The certificates, each at most once. Required. All requests of one task share one session with the authority.
    type: list
    elements: dict
    suboptions:
      path:
        description:
          - The file of the certificate (PEM). Its folder must exist.
          - The certificate's identity in this list. The remembered request is beside it, and so is the lock file while a run lasts.
        type: path
        required: true
      name:
        description: What results and messages call the certificate. Its O(config[].path) when left out.
        type: str
      chain_path:
        description: File for the certificates of the authorities above it (PEM, the issuing one first, the root included if it is known).
        type: path
      fullchain_path:
        description: File for the certificate followed by its intermediate authorities (PEM), which many servers want as one.
        type: path
      pfx_path:
        description: File for key, certificate and chain as PFX (PKCS#12). Needs a key in a file. Mode and owner as the key's.
        type: path
      pfx_passphrase:
        description: Passphrase of the PFX. Required with O(config[].pfx_path). A changed passphrase writes the file anew.
        type: str
      pfx_encryption:
        description: >-
          How the PFX is encrypted. V(aes) (AES-256, HMAC-SHA-256) is read by Windows from Server 2019 on; V(compatible)
          (3DES, HMAC-SHA-1) by all.
        type: str
        choices:
          - aes
          - compatible
        default: aes
      owner:
        description: User who shall own all files written.
        type: str
      group:
        description: Group that shall own all files written.
        type: str
      mode:
        description: Mode of the files without secrets, as an octal string.
        type: str
        default: "0644"
      key:
        description:
          - The private key. Left out only with a given request, or to keep the key at O(config[].path) with C(.key) for suffix.
        type: dict
        suboptions:
          path:
            description: File of the key (PEM, PKCS#8). The certificate's with the suffix C(.key) when neither this nor a token is given.
            type: path
          passphrase:
            description: Encrypts the key in its file. A key that is there must be encrypted with it.
            type: str
          mode:
            description: Mode of the key's file and of the PFX, as an octal string. Others may never read them.
            type: str
            default: "0600"
          uri:
            description: >-
              The key on a PKCS#11 token, made there when it is missing, as a URI (RFC 7512) such as
              V(pkcs11:token=alice;object=logon). It names the token and the key's label (C(object)) or identifier (C(id)).
            type: str
          pin:
            description: PIN of the token.
            type: str
          module:
            description: The PKCS#11 library of the token. The one that p11-kit or OpenSC installed when left out.
            type: path
          store_certificate:
            description: Whether the certificate is written onto the token too, with the key's label and identifier.
            type: bool
            default: true
          type:
            description: Kind of key.
            type: str
            choices:
              - rsa
              - ec
            default: rsa
          size:
            description: Bits of an RSA key. A template has a minimum, usually 2048.
            type: int
            default: 2048
          curve:
            description: Curve of an EC key.
            type: str
            choices:
              - secp256r1
              - secp384r1
              - secp521r1
            default: secp256r1
          reuse:
            description: >-
              Whether a renewal keeps the key. V(false) by default for keys in files; V(true) for keys on tokens, where a second
              key of the same label would be ambiguous, and the only choice there.
            type: bool
      csr_path:
        description: >-
          File with a finished request (PKCS#10, PEM or DER) that is submitted as it is. Subject, names and key are then its own,
          and the key is none of the module's business.
        type: path
      csr_content:
        description: A finished request as PEM or base64 text. Otherwise like O(config[].csr_path).
        type: str
      subject:
        description:
          - The subject of the request (RFC 4514, most specific name first), such as V(CN=web1.corp.example,O=Corp).
          - An enterprise authority ignores it where the template builds the subject from the directory. Empty by default.
        type: str
      subject_alt_names:
        description:
          - >-
            Alternative names of the request, each with its kind, C(DNS:), C(IP:), C(email:), C(UPN:) (C(otherName) 1.3.6.1.4.1.311.20.2.3),
            C(URI:) or C(SID:) (the URI C(tag:microsoft.com,2022-09-14:sid:), [MS-PKCA] 3.1.5.2.1.6).
          - An issued certificate that lacks one of them is refused, since the template then does not let requesters name themselves.
        type: list
        elements: str
      sid:
        description: >-
          SID for the security extension of the request (1.3.6.1.4.1.311.25.2, [MS-WCCE] 2.2.2.7.7.4). An authority copies it only where the
          template lets the requester supply the subject, and adds its own otherwise.
        type: str
      extended_key_usage:
        description: >-
          Purposes of the certificate, as object identifiers or as V(serverAuth), V(clientAuth), V(emailProtection), V(codeSigning),
          V(smartcardLogon), V(kdc), V(OCSPSigning) or V(certificateRequestAgent). Put into the request, and the issued certificate must
          have them.
        type: list
        elements: str
      template:
        description: >-
          Name (C(cn)) of the certificate template, sent as a request attribute and, in a request made here, as an extension too
          (1.3.6.1.4.1.311.20.2). Enterprise authorities need it.
        type: str
      request_attributes:
        description: Further request attributes for AD CS ([MS-WCCE] 3.2.1.4.2.1.2), each sent as C(name:value).
        type: dict
      issuer:
        description: >-
          Subject (RFC 4514) or common name of the authority that must have issued the certificate. One of another issuer is
          requested anew, and refused if the authority issues it.
        type: str
      digest:
        description: Hash of the request's signature.
        type: str
        choices:
          - sha256
          - sha384
          - sha512
        default: sha256
      on_behalf_of:
        description:
          - Requests for somebody else, as an enrollment agent. The request is wrapped in a message that the agent's key signs
            ([MS-WCCE] 2.2.2.6.2, attribute C(requestername)).
        type: dict
        suboptions:
          requester:
            description: The account that the certificate is for, as C(DOMAIN\user).
            type: str
            required: true
          agent_certificate_path:
            description: File of the agent's certificate (PEM or DER), which has the purpose 1.3.6.1.4.1.311.20.2.1.
            type: path
            required: true
          agent_key_path:
            description: File of the agent's key (PEM). Either this or O(config[].on_behalf_of.agent_key_uri) is required.
            type: path
          agent_key_passphrase:
            description: Passphrase of O(config[].on_behalf_of.agent_key_path).
            type: str
          agent_key_uri:
            description: The agent's key on a PKCS#11 token, as a URI (RFC 7512).
            type: str
          agent_key_pin:
            description: PIN of the agent's token.
            type: str
          agent_key_module:
            description: The PKCS#11 library of the agent's token.
            type: path
      renew_before:
        description:
          - The renewal window, in days before the certificate expires.
          - At most half of the certificate's lifetime counts, or else a short-lived certificate would be renewed on every run.
        type: int
        default: 30
      force:
        description: Whether a certificate is requested even though the present one is good. Then every run requests one.
        type: bool
        default: false
      retry_denied:
        description: Whether a request that was denied, or whose certificate was refused here, is submitted once more.
        type: bool
        default: false
      anchor_path:
        description: >-
          File with the root certificates (PEM) that the certificate's chain must end in. Left out, a chain fetched over verified TLS is
          accepted with the root that it brings, and one answered by file must be complete.
        type: path
      crl_check:
        description:
          - Whether the CRLs of the certificate are fetched over HTTP and judged (signature, dates, whether it lists the certificate).
          - With V(warn), what is wrong with a CRL is a warning, with V(fail) an error. A certificate that is listed as revoked is
            requested anew with both; one on hold is an error.
          - Only CRLs at C(http://) addresses can be fetched. A certificate that names CRLs, but only elsewhere, such as in LDAP, is a
            warning or an error too; one that names none is not checked.
        type: str
        choices:
          - ignore
          - warn
          - fail
        default: warn
      request_path:
        description: With O(method=file), the file for the request (PEM). The certificate's with the suffix C(.csr) when left out.
        type: path
      answer_path:
        description: >-
          With O(method=file), the file in which the answer is expected, PEM, DER or PKCS#7, with or without its chain. The certificate's
          with the suffix C(.answer) when left out. It is read, and left where it is.
        type: path
  state:
    description:
      - V(merged) makes sure that each certificate is there, fits its request and is not about to expire.
      - V(deleted) removes the files that the entry names, the key, the PFX and the remembered request included. Nothing is revoked by that,
        and nothing is removed from a token.
      - V(gathered) reads the files that O(config) names and returns the entries with what their certificates say.
    type: str
    choices:
      - merged
      - deleted
      - gathered
    default: merged
notes:
  - The module runs inside the controller process when the task's connection is local, and as an ordinary module otherwise, as it does with
    C(async), C(become) or C(environment); the result is the same. Files are read and written where the module runs.
  - The module judges the pages of the web enrolment by their links, content types and error
    codes, so that their language does not matter; an officer's denial, which has no code, is recognised in English only, and counts as
    pending in other languages, with the authority's own words in the message.
  - Two runs for the same folder wait for each other. The second one finds the work done.
requirements:
  - python >= 3.10
  - cryptography >= 43
  - requests >= 2.31
  - pyspnego >= 0.11 (with the extra C(kerberos) for Kerberos)
  - asn1crypto >= 1.5 (only for O(config[].on_behalf_of))
  - python-pkcs11 >= 0.8 (only for keys on tokens)
seealso:
  - module: certlogon.core.certificate_info
    description: Reads certificates wherever they are.
  - module: certlogon.core.ad_enrollment_services
    description: Publishes the template on the authority.
  - module: certlogon.core.ad_certificate_templates
    description: Makes the template, and says who may enroll.
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Give a web server its certificate, and renew it a month before it expires
  certlogon.core.certificate_request:
    url: https://ca1.corp.example/certsrv
    username: web1.enrollment@corp.example
    password: "{{ enrollment_password }}"
    ca_path: /etc/certlogon/root-ca.pem
    config:
      - path: /etc/ssl/web1.pem
        fullchain_path: /etc/ssl/web1-fullchain.pem
        key:
          path: /etc/ssl/private/web1.key
          type: ec
        subject: CN=web1.corp.example
        subject_alt_names:
          - DNS:web1.corp.example
        template: CorpWebServer
        group: ssl-cert
  notify: Reload the web server

- name: Put a logon certificate on a card, on behalf of its owner
  certlogon.core.certificate_request:
    url: https://ca1.corp.example/certsrv
    username: agent@corp.example
    password: "{{ agent_password }}"
    config:
      - name: card of alice
        path: /var/lib/certlogon/cards/alice.pem
        key:
          uri: pkcs11:token=alice;object=logon
          pin: "{{ alice_pin }}"
        template: CorpSmartcardLogon
        on_behalf_of:
          requester: CORP\alice
          agent_certificate_path: /etc/certlogon/agent.pem
          agent_key_path: /etc/certlogon/agent.key

- name: Submit a request that a domain controller made
  certlogon.core.certificate_request:
    url: https://ca1.corp.example/certsrv
    auth: kerberos
    config:
      - path: /var/lib/certlogon/dc1.pem
        csr_content: "{{ request_of_dc1.content }}"
        template: KerberosAuthentication
        anchor_path: /etc/certlogon/root-ca.pem

- name: Have a public authority sign by way of a person; run again once the answer is there
  certlogon.core.certificate_request:
    method: file
    config:
      - path: /etc/ssl/vpn.pem
        subject: CN=vpn.corp.example
        subject_alt_names:
          - DNS:vpn.corp.example
        request_path: /srv/outbox/vpn.csr
        answer_path: /srv/inbox/vpn.p7b
  register: vpn
"""

RETURN = r"""
changes:
  description: What was done about each certificate (in check mode, what would be done).
  returned: unless O(state=gathered)
  type: list
  elements: dict
  contains:
    name:
      description: The certificate's O(config[].name), or its path.
      type: str
      returned: always
      sample: /etc/ssl/web1.pem
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
certificates:
  description: What became of each entry of O(config).
  returned: O(state=merged)
  type: list
  elements: dict
  contains:
    name:
      description: The entry's O(config[].name), or its path.
      type: str
      returned: always
      sample: /etc/ssl/web1.pem
    path:
      description: The certificate's file.
      type: str
      returned: always
      sample: /etc/ssl/web1.pem
    status:
      description: >-
        V(valid), a good certificate is in place; V(pending), an officer or a person has yet to act; V(denied), the authority refused;
        V(refused), the authority issued what was not asked for; V(due), there would be a request (check mode); V(failed).
      type: str
      returned: always
      sample: valid
    reason:
      description: Why a certificate was requested, or what is waited for, or why it was denied.
      type: str
      returned: when there is one
      sample: expires on 2026-07-01, within 30 days
    request_id:
      description: The authority's number of the request that is pending or was denied, or of the certificate.
      type: int
      returned: when it is known
      sample: 17
    request_path:
      description: The file with the request that a person has to carry to the authority.
      type: str
      returned: when it is pending with O(method=file)
      sample: /srv/outbox/vpn.csr
    subject:
      description: Subject of the certificate in place (RFC 4514).
      type: str
      returned: when there is a certificate
      sample: CN=web1.corp.example
    issuer:
      description: Its issuer (RFC 4514).
      type: str
      returned: when there is a certificate
      sample: CN=Corp Issuing CA,DC=corp,DC=example
    serial_number:
      description: Its serial number in lower-case hex, as certutil shows it.
      type: str
      returned: when there is a certificate
      sample: 2b0000000011ac
    thumbprint:
      description: Its SHA-1 in upper-case hex, as Windows shows it.
      type: str
      returned: when there is a certificate
      sample: 0D3DC1B1F9D0C7B6E0D1B2F4B3A5968778695A4B
    sha256:
      description: SHA-256 of its DER.
      type: str
      returned: when there is a certificate
      sample: 5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b5f3c0a1b
    not_after:
      description: When it expires (UTC, ISO 8601).
      type: str
      returned: when there is a certificate
      sample: "2027-06-01T12:00:00Z"
    days_left:
      description: Whole days until it expires.
      type: int
      returned: when there is a certificate
      sample: 364
authority:
  description: What it took to ask the authority.
  returned: when the web enrolment was asked
  type: dict
  contains:
    round_trips:
      description: How many HTTP requests there were, those of the sign-in included.
      type: int
      returned: always
      sample: 3
    sign_ins:
      description: How often the task signed in (not counted with O(auth=basic), which sends the password with every request).
      type: int
      returned: always
      sample: 1
gathered:
  description: The entries of O(config) whose certificate is there, with what it says, in the form that O(config) accepts.
  returned: O(state=gathered)
  type: list
  elements: dict
  sample:
    - path: /etc/ssl/web1.pem
      subject: CN=web1.corp.example
      subject_alt_names:
        - DNS:web1.corp.example
      template: CorpWebServer
      issuer: CN=Corp Issuing CA,DC=corp,DC=example
"""

from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate_request import CertificateRequest
from ansible_collections.certlogon.core.plugins.module_utils.module import run_module


def main() -> None:
    run_module(CertificateRequest())


if __name__ == "__main__":
    main()
