# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options of the way to a certification authority (argument spec: module_utils/certificates/enrollment.py)."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  method:
    description:
      - V(web_enrollment) submits requests to the web enrolment pages of an AD CS authority and fetches the certificates from there.
      - V(file) writes each request into a file for a person to carry to any other authority, and takes the answer up on a later run.
      - Environment variable E(CERTLOGON_ENROLLMENT_METHOD).
    type: str
    choices:
      - web_enrollment
      - file
    default: web_enrollment
  url:
    description:
      - Where the web enrolment is, such as V(https://ca1.corp.example/certsrv). Only C(https) is accepted.
      - Use the host name that is in the server's certificate. Kerberos and the channel binding need it too.
      - Required with O(method=web_enrollment) as soon as the authority has to be asked.
      - Environment variable E(CERTLOGON_ENROLLMENT_URL).
    type: str
  username:
    description:
      - The account that requests, as C(user@domain) or C(DOMAIN\user). It needs the right Enroll on the template.
      - May be left out with O(auth=kerberos) and O(auth=negotiate), which then use the ticket in the credential cache.
      - Environment variable E(CERTLOGON_ENROLLMENT_USERNAME).
    type: str
  password:
    description:
      - The password of O(username).
      - Environment variable E(CERTLOGON_ENROLLMENT_PASSWORD).
    type: str
  auth:
    description:
      - How to sign in. V(negotiate) chooses Kerberos where it can and NTLM otherwise.
      - V(negotiate), V(kerberos) and V(ntlm) bind the sign-in to the server's certificate (C(tls-server-end-point), RFC 5929), as
        extended protection wants it. V(basic) sends the password within TLS.
      - Environment variable E(CERTLOGON_ENROLLMENT_AUTH).
    type: str
    choices:
      - negotiate
      - kerberos
      - ntlm
      - basic
    default: negotiate
  ca_path:
    description:
      - PEM file with the CA certificates that the web server's certificate is verified against. The system's trust store when left out.
      - Environment variable E(CERTLOGON_ENROLLMENT_CA_PATH).
    type: path
  validate_certs:
    description:
      - Whether the web server's certificate is verified. V(false) is for laboratories, and warns.
      - Environment variable E(CERTLOGON_ENROLLMENT_VALIDATE_CERTS).
    type: bool
    default: true
  timeout:
    description:
      - Seconds to wait for a connection and for each answer of the authority and of the places that CRLs are fetched from.
      - Environment variable E(CERTLOGON_ENROLLMENT_TIMEOUT).
    type: int
    default: 30
"""

    ACTION_GROUP = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/certlogon.core.certificates) in C(module_defaults) to set the way to the authority once.
    support: full
    membership:
      - certlogon.core.certificates
"""
