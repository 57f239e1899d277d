#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

DOCUMENTATION = r"""
module: connect_secure_trusted_client_cas
short_description: Manage the trusted client CAs of a Connect Secure appliance, and how it learns what they revoked
version_added: 0.1.0
description:
  - Imports the CAs whose users an Ivanti Connect Secure appliance lets in by certificate, and sets how it checks whether a certificate was
    revoked.
  - A CA is the same if the SHA-256 of its certificate is. Its name is for people only, so two CAs of one name can be there side by side
    while one is rolled over to the other.
  - The product denies everybody whose CRL it cannot fetch, or that has ended. So each CRL that the appliance is about to rely on is fetched
    and judged before anything is written. It has to be signed by this CA, current, complete, and to last until the next download.
  - The appliance has no known way to change a certificate. A renewed CA is another one; import it beside the old one, and remove the old
    one when no certificate of it is in use any more.
extends_documentation_fragment:
  - certlogon.core.attributes
  - certlogon.core.attributes.connect_secure_group
  - certlogon.core.connect_secure
attributes:
  idempotent:
    support: partial
    details:
      - Passwords of CDPs cannot be read back, so they are written when the CA is imported, when there is none, and when the CDP or its
        account changes; each time with O(config[].update_secrets=always).
      - Each run downloads the CRLs with O(update_crl=true).
options:
  config:
    description:
      - The trusted client CAs. What it does not name is left alone.
      - Required unless O(state=gathered).
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - What the CA is called on the appliance. The appliance takes the common name for it when left out.
          - Without O(config[].certificate) it finds a CA that is there already, by its name on the appliance or else by its common name.
            It has to be the only one of that common name.
          - The name of a CA that is there is not changed.
        type: str
      certificate:
        description: The certificate of the CA. Exactly one of O(config[].certificate.path) and O(config[].certificate.content) for a CA
          that is to be imported.
        type: dict
        suboptions:
          path:
            description: A file on the control node with the certificate or a chain, as PEM, DER or PKCS#7.
            type: path
          content:
            description: The certificate or a chain as PEM, base64 of DER or of PKCS#7.
            type: str
          sha256:
            description: The SHA-256 of the certificate in hexadecimal. Names one of several in the file; without a file, one that is
              there already.
            type: str
          subject:
            description: The subject of the certificate (RFC 4514). As O(config[].certificate.sha256).
            type: str
      import_chain:
        description:
          - Whether the other CAs of the file become trusted client CAs too. Only O(config[].certificate) itself gets the settings of this
            entry.
          - What the appliance gives the others at import stays; give them entries of their own to change it.
        type: bool
        default: false
      status_checking:
        description:
          - How the appliance learns whether a client certificate was revoked. V(ocsp_crl) asks the OCSP responder, and falls back to the
            CRL.
          - V(none) with O(state=replaced) when left out.
        type: str
        choices: [none, ocsp, crl, ocsp_crl]
      verify_trusted_client_ca:
        description:
          - Whether the CA's own certificate, and those of the CAs above it, are checked for revocation too.
          - V(false) with O(state=replaced) when left out.
        type: bool
      trusted_for_client_authentication:
        description:
          - Whether certificates of this CA let users in. V(false) for a CA that is there for other purposes, such as to complete a chain.
          - V(true) with O(state=replaced) when left out.
        type: bool
      participate_in_negotiation:
        description:
          - Whether the CA is named to clients when they are asked for a certificate, so that they offer the right one.
          - Needs O(config[].trusted_for_client_authentication=true), and is switched off with it.
          - V(true) with O(state=replaced) when left out.
        type: bool
      cdp_source:
        description:
          - Where the address of the CRL is taken from.
          - The CDP in a CA's own certificate is that of the CRL on which the CA itself would be, by the CA above it. It is the CRL of its
            users' certificates for a root only.
          - V(manual) where O(config[].primary_cdp) is given. Else V(ca_certificate) with O(state=replaced) when left out.
        type: str
        choices: [ca_certificate, client_certificate, manual]
      primary_cdp:
        description:
          - The address of the CRL, for O(config[].cdp_source=manual). C(http://server/name.crl) or
            C(ldap://server/base?certificateRevocationList;binary?scope?filter) (RFC 4516).
        type: str
      primary_cdp_username:
        description: The DN of the account that may read the CRL in the directory.
        type: str
      primary_cdp_password:
        description: Its password.
        type: str
      backup_cdp:
        description: Another address of the CRL, for when the first does not answer.
        type: str
      backup_cdp_username:
        description: As O(config[].primary_cdp_username).
        type: str
      backup_cdp_password:
        description: Its password.
        type: str
      crl_download_frequency:
        description:
          - Hours between downloads of the CRL, from 1 to 9999. A revoked certificate lets in for so long, unless the download is triggered.
          - V(24) with O(state=replaced) when left out.
        type: int
      ocsp_responder:
        description: The address of the OCSP responder. That of the client's certificate when left out.
        type: str
      update_secrets:
        description: Whether passwords are written on each run (V(always)), or when the CA is imported, has none, or its CDP changes
          (V(on_create)).
        type: str
        choices: [on_create, always]
        default: on_create
      allow_expired:
        description: Import the CA though it has expired or is not valid yet.
        type: bool
        default: false
      allow_weak:
        description: Import the CA though its key is weak (RSA below 2048 bits, EC below 256) or its signature by SHA-1 or MD5.
        type: bool
        default: false
      allow_not_a_ca:
        description: Import the certificate though it is not that of a CA.
        type: bool
        default: false
  cdp_check:
    description:
      - Whence the CRLs of the CAs that change are fetched before anything is written. A CRL that is fetched and is no good is an error;
        one that cannot be fetched is a warning unless O(cdp_required=true), since some networks let only the appliance get it.
      - V(controller) fetches them from the control node.
      - V(delegate) has them fetched by the host that the task is delegated to (C(delegate_to)), with C(curl), C(base64) and a POSIX shell.
      - V(skip) looks at none.
    type: str
    choices: [controller, delegate, skip]
    default: controller
  cdp_required:
    description: Whether a CRL that cannot be fetched is an error.
    type: bool
    default: false
  cdp_timeout:
    description: Seconds for each CRL.
    type: int
    default: 30
  crl_ends_before_download:
    description:
      - What to do about a CRL that ends before the appliance downloads the next one, by O(config[].crl_download_frequency). Nobody gets in
        in between.
    type: str
    choices: [warn, fail]
    default: warn
  update_crl:
    description:
      - Have the appliance download the CRLs of the CAs in O(config) now, whatever their frequency. Each run changes then.
      - The task fails with the appliance's own words where it does not get a CRL, or refuses it.
    type: bool
    default: false
  expected_certificates:
    description: >-
      Files that an earlier play of the run makes, and that check mode therefore does not find. Their CAs are foreseen all the same.
    type: list
    elements: path
    default: []
  state:
    description:
      - V(merged) imports what is not there, and sets what O(config) says.
      - V(replaced) sets options left out to their defaults too.
      - V(deleted) removes the CAs in O(config).
      - V(gathered) returns the CAs in the form of O(config), without passwords.
      - V(rendered) shows what O(config) means, without asking the appliance.
    type: str
    choices: [merged, replaced, deleted, gathered, rendered]
    default: merged
seealso:
  - module: certlogon.core.connect_secure_auth_servers
  - module: certlogon.core.connect_secure_realms
  - module: certlogon.core.connect_secure_revocation
  - module: certlogon.core.adcs_crl
author:
  - certlogon contributors (@certlogon)
"""

EXAMPLES = r"""
- name: Users of the corporate CA get in unless they are on its CRL
  certlogon.core.connect_secure_trusted_client_cas:
    config:
      - certificate:
          path: files/corp-issuing-ca.pem
        status_checking: crl
        cdp_source: manual
        primary_cdp: http://crl.corp.example/Corp%20Issuing%20CA.crl
        backup_cdp: "ldap://dc1.corp.example/CN=Corp%20Issuing%20CA,CN=ca1,CN=CDP,CN=Public%20Key%20Services,CN=Services,\
          CN=Configuration,DC=corp,DC=example?certificateRevocationList;binary?base?(objectClass=cRLDistributionPoint)"
        backup_cdp_username: CN=svc-vpn,CN=Users,DC=corp,DC=example
        backup_cdp_password: "{{ vault_svc_vpn }}"
        crl_download_frequency: 4
    cdp_required: true
    crl_ends_before_download: fail

- name: The whole chain, each CA checked for revocation, as the appliance's neighbour sees the CDPs
  certlogon.core.connect_secure_trusted_client_cas:
    config:
      - certificate:
          path: files/chain.p7b
        import_chain: true
        status_checking: ocsp_crl
        cdp_source: client_certificate
        verify_trusted_client_ca: true
    cdp_check: delegate
  delegate_to: jump1.corp.example

- name: The CA was renewed with a new key; the old one is no longer offered, but its certificates still work
  certlogon.core.connect_secure_trusted_client_cas:
    config:
      - certificate:
          path: files/corp-issuing-ca-2.pem
      - certificate:
          sha256: 7E:1B:D4:0A:55:2C:4D:2E:9F:B0:61:1B:C1:6E:27:4C:08:8A:90:F1:37:5B:2E:7A:6C:0D:4A:D0:51:9E:22:B7
        participate_in_negotiation: false

- name: A certificate was just revoked
  certlogon.core.connect_secure_trusted_client_cas:
    config:
      - name: Corp Issuing CA
    update_crl: true
"""

RETURN = r"""
changes:
  description: What was done (in check mode, what would be done), CA by CA.
  returned: O(state=merged), O(state=replaced) and O(state=deleted)
  type: list
  elements: dict
  contains:
    name:
      description: The CA, with the beginning of its SHA-256.
      type: str
      returned: always
      sample: Corp Issuing CA (SHA-256 7e1bd40a552c4d2e)
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
crls:
  description: The CRLs that were fetched for what changes.
  returned: O(state=merged), O(state=replaced) and O(state=deleted)
  type: list
  elements: dict
  contains:
    ca:
      description: The CA whose settings need it.
      type: str
      returned: always
      sample: Corp Issuing CA (SHA-256 7e1bd40a552c4d2e)
    option:
      description: The option that it is behind.
      type: str
      returned: always
      sample: primary_cdp
    url:
      description: Where it was fetched from.
      type: str
      returned: always
      sample: http://crl.corp.example/Corp%20Issuing%20CA.crl
    issuer:
      description: Who made it.
      type: str
      returned: always
      sample: CN=Corp Issuing CA,DC=corp,DC=example
    number:
      description: Its number.
      type: int
      returned: always
      sample: 12
    this_update:
      description: From when on it is valid.
      type: str
      returned: always
      sample: "2026-11-22T18:50:00Z"
    next_update:
      description: When it ends; null where it does not say.
      type: str
      returned: always
      sample: "2026-11-30T07:10:00Z"
    hours_left:
      description: Hours until then.
      type: int
      returned: always
      sample: 180
    revoked:
      description: How many certificates it names.
      type: int
      returned: always
      sample: 3
    delta_cdps:
      description: Where the delta CRLs are that go with it. Whether the appliance looks at them is not known.
      type: list
      elements: str
      returned: always
      sample: []
    problems:
      description: What is wrong with it.
      type: list
      elements: str
      returned: always
      sample: []
gathered:
  description: The trusted client CAs in the form that O(config) accepts, all or those that O(config) names.
  returned: O(state=gathered)
  type: list
  elements: dict
  sample:
    - name: Corp Issuing CA
      certificate:
        content: "-----BEGIN CERTIFICATE-----\nMIIB…\n-----END CERTIFICATE-----\n"
      status_checking: crl
      verify_trusted_client_ca: false
      trusted_for_client_authentication: true
      participate_in_negotiation: true
      cdp_source: manual
      primary_cdp: http://crl.corp.example/Corp%20Issuing%20CA.crl
      crl_download_frequency: 4
rendered:
  description: What O(config) means, with the defaults of options left out.
  returned: O(state=rendered)
  type: list
  elements: dict
  sample: []
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

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.module import explain
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.trusted_client_cas import TrustedClientCas


def main() -> None:
    explain(TrustedClientCas)


if __name__ == "__main__":
    main()
