# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options of every module that speaks with a directory server (argument spec: module_utils/directory/connection.py)."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  server:
    description:
      - DNS host names (or addresses) of domain controllers. The first that answers serves the whole run; dead ones before it are passed
        over with a warning.
      - Left out, the domain controllers of O(domain) are found by the DNS records C(_ldap._tcp.dc._msdcs).
      - Kerberos and the verification of certificates need host names, not addresses.
      - Environment variable E(CERTLOGON_SERVER), separated by commas.
    type: list
    elements: str
  domain:
    description:
      - DNS name of the Active Directory domain. Needed where neither O(server) nor a O(username) of the form C(user@domain) tells it.
      - Environment variable E(CERTLOGON_DOMAIN).
    type: str
  port:
    description:
      - TCP port of the directory service; 636 with O(tls=ldaps), else 389.
      - Environment variable E(CERTLOGON_PORT).
    type: int
  username:
    description:
      - The account to sign in with, as C(user@domain) or C(DOMAIN\user).
      - May be left out with O(auth=kerberos), which then uses the ticket in the credential cache.
      - Environment variable E(CERTLOGON_USERNAME).
    type: str
  password:
    description:
      - The password of O(username).
      - Environment variable E(CERTLOGON_PASSWORD).
    type: str
  auth:
    description:
      - How to sign in. V(negotiate) chooses Kerberos where it can and NTLM otherwise.
      - V(simple) sends the password as it is and is refused without TLS.
      - V(ntlm), V(kerberos) and V(negotiate) sign and seal the connection themselves on port 389 (SASL GSS-SPNEGO). Over TLS they bind
        to the server's certificate instead (channel binding), which Samba refuses in its default configuration.
      - Environment variable E(CERTLOGON_AUTH).
    type: str
    choices:
      - simple
      - ntlm
      - kerberos
      - negotiate
    default: negotiate
  tls:
    description:
      - How TLS is used. Defaults to V(ldaps) with O(auth=simple), and to V(none), that is sealing by Kerberos or NTLM, with the others.
      - Environment variable E(CERTLOGON_TLS).
    type: str
    choices:
      - ldaps
      - starttls
      - none
  ca_path:
    description:
      - PEM file with the CA certificates that the server's certificate is verified against; the system's trust store when left out.
      - Environment variable E(CERTLOGON_CA_PATH).
    type: path
  validate_certs:
    description:
      - Whether the server's certificate is verified. V(false) is for laboratories, and warns.
      - Environment variable E(CERTLOGON_VALIDATE_CERTS).
    type: bool
    default: true
  timeout:
    description:
      - Seconds to wait for a connection and for each answer.
      - Environment variable E(CERTLOGON_TIMEOUT).
    type: int
    default: 10
requirements:
  - python >= 3.10
  - ldap3 >= 2.9.1
  - pyspnego >= 0.11 (with the extra C(kerberos) for O(auth=kerberos))
  - cryptography >= 43
  - dnspython >= 2.6
notes:
  - Samba in its default configuration takes O(auth=simple) with O(tls=ldaps) or O(tls=starttls), and the other ways to sign in with
    O(tls=none). Windows should take them over TLS too (channel binding), which was not tried.
    O(auth=simple) without TLS is refused by the module itself.
  - The module runs inside the controller process when the task's connection is local, and as an ordinary module otherwise, as it does with
    C(async), C(become) or C(environment); the result is the same.
  - Files named in options are read where the module runs.
  - All reads and writes of one task go to one domain controller; replication to the others takes its usual time.
"""
