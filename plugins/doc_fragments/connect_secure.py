# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, certlogon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options of every module that speaks with a Connect Secure appliance (argument spec: module_utils/connect_secure/connection.py)."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  host:
    description:
      - Host name (or address) of the appliance's management or internal port, or of the cluster's VIP. The TLS certificate is verified
        against it.
      - Host variables C(connect_secure_host), C(ansible_host); else the host's name in the inventory.
    type: str
  port:
    description:
      - TCP port of the REST interface.
      - Host variables C(connect_secure_port), C(ansible_httpapi_port).
    type: int
    default: 443
  username:
    description:
      - The administrator to log in as. The account needs the permission to use the REST interface
        (Authentication > Auth. Servers > Administrators > Users > the user > Allow access to REST APIs).
      - Host variables C(connect_secure_username), C(ansible_httpapi_user), C(ansible_user).
    type: str
  password:
    description:
      - The password of O(username).
      - Host variables C(connect_secure_password), C(ansible_httpapi_password), C(ansible_httpapi_pass), C(ansible_password).
    type: str
  realm:
    description:
      - The administrator realm to log in to. It must not have a secondary authentication.
      - Appliances that know only the old login (C(/api/v1/auth)) use no realm; another one than the default is then a warning.
      - Host variable C(connect_secure_realm).
    type: str
    default: Admin Users
  ca_path:
    description:
      - PEM file with the CA certificates that the appliance's certificate is verified against; the system's trust store when left out.
        Variables such as E(REQUESTS_CA_BUNDLE) are not looked at.
      - Host variables C(connect_secure_ca_path), C(ansible_httpapi_ca_path).
    type: path
  validate_certs:
    description:
      - Whether the appliance's certificate is verified. V(false) warns, once a run.
      - Host variables C(connect_secure_validate_certs), C(ansible_httpapi_validate_certs).
    type: bool
    default: true
  client_cert:
    description:
      - PEM file with a client certificate (and, without O(client_key), its key) for an administrator realm that wants one.
      - Host variables C(connect_secure_client_cert), C(ansible_httpapi_client_cert).
    type: path
  client_key:
    description:
      - PEM file with the unencrypted key of O(client_cert).
      - Host variables C(connect_secure_client_key), C(ansible_httpapi_client_key).
    type: path
  timeout:
    description:
      - Seconds to wait for a connection and for each answer.
      - Host variable C(connect_secure_timeout).
    type: int
    default: 30
  generation:
    description:
      - Which lines of the table of the appliance's interface hold. V(connect_secure) is Ivanti Connect Secure 22.x, V(pulse) is Pulse
        Connect Secure 8.3 to 9.1, V(juniper) is Juniper SA 6.x and 7.x, which has no REST interface and is served by C(state=rendered)
        only, where a module has it.
      - Host variable C(connect_secure_generation).
    type: str
    choices:
      - connect_secure
      - pulse
      - juniper
    default: connect_secure
  table:
    description:
      - Lines of the table of the appliance's interface that are different on this appliance, in the form of
        C(plugins/module_utils/connect_secure/resources.yml), down to a single member of a field. Unknown lines are an error.
      - The vendor publishes no description of most of this interface. What is not confirmed is marked so in that file;
        M(certlogon.core.connect_secure_info) with O(certlogon.core.connect_secure_info#module:check_table=true) compares it with an
        appliance.
      - Host variable C(connect_secure_table).
    type: dict
  node:
    description:
      - The cluster node whose own settings are meant, for paths of the table that hold C({node}).
      - Host variable C(connect_secure_node).
    type: str
  backup:
    description:
      - Whether a backup of the appliance's configuration is fetched before the first change of a run. Nothing is fetched in check mode, or
        where nothing changes.
      - Host variable C(connect_secure_backup).
    type: bool
    default: true
  backup_dir:
    description:
      - The directory on the control node to keep backups in, as C(<host>-<time>.zip), readable by the user only.
      - Host variable C(connect_secure_backup_dir).
    type: path
    default: ~/.local/share/certlogon/backups
  backup_keep:
    description:
      - How many backups of an appliance are kept there; older ones are removed.
      - Host variable C(connect_secure_backup_keep).
    type: int
    default: 10
  backup_passphrase:
    description:
      - Encrypts backups (then named C(….zip.enc)). To open one, use
        C(openssl enc -d -aes-256-cbc -pbkdf2 -iter 600000 -md sha256 -in FILE.zip.enc -out FILE.zip).
      - Host variable C(connect_secure_backup_passphrase).
    type: str
requirements:
  - python >= 3.10
  - cryptography >= 43 (for O(backup_passphrase))
notes:
  - The module runs inside the controller process, whatever the task's connection is; set C(ansible_connection) to V(local) for appliances.
  - One login serves all tasks of a run for a host, port, realm and user. Its key lies in a file that only this user can read, in the
    run's temporary directory, which Ansible removes at the end.
  - No entity tags are known of this interface, so changes that another administrator makes in the moment between a read and the write
    after it cannot be noticed.
  - What is said about the interface of appliances has been tried on the collection's stand-in, and on no appliance of the vendor.
"""

    RENDERED = r"""
options:
  rendered_as:
    description:
      - What O(state=rendered) returns. No appliance is asked.
      - V(words) is O(config) with the defaults of options left out, V(json) the requests to the REST interface that would make it.
      - V(xml) is a file for the console's XML import (Maintenance > Import/Export > Import XML), which Juniper SA 6.x and 7.x have too. It
        holds what O(config) says, and is merged into what is there. Secrets are not in it.
    type: str
    choices:
      - words
      - json
      - xml
    default: words
  xml_version:
    description:
      - The release of the appliance, which the file's namespace carries, such as V(7.4R1); an export of the appliance shows it in its
        second line. O(generation) decides about the rest of the namespace.
      - Required for O(rendered_as=xml).
    type: str
  allow_inferred:
    description:
      - Whether the XML file may hold elements whose names were deduced and seen in no document or export. Each has a comment that says so;
        compare it with an export before importing.
      - Without it, such options are refused.
    type: bool
    default: false
"""

    # how device certificates are had (argument spec: EXTRA of module_utils/connect_secure/device_certificates.py)
    DEVICE_ENROLLMENT = r"""
options:
  method:
    description:
      - V(web_enrollment) has requests signed by the web enrolment of AD CS at O(url). V(file) puts them into files, for a person to carry.
      - E(CERTLOGON_ENROLLMENT_METHOD) when left out.
    type: str
    choices: [web_enrollment, file]
    default: web_enrollment
  url:
    description: The address of the web enrolment, such as C(https://ca1.corp.example/certsrv). E(CERTLOGON_ENROLLMENT_URL) when left out.
    type: str
  enrollment_username:
    description: The account that requests. The Kerberos ticket that is there when left out. E(CERTLOGON_ENROLLMENT_USERNAME).
    type: str
  enrollment_password:
    description: Its password. E(CERTLOGON_ENROLLMENT_PASSWORD) when left out.
    type: str
  enrollment_auth:
    description: How to sign in, as O(certlogon.core.certificate_request#module:auth). E(CERTLOGON_ENROLLMENT_AUTH) when left out.
    type: str
    choices: [negotiate, kerberos, ntlm, basic]
    default: negotiate
  enrollment_ca_path:
    description: PEM file with the CAs of the web server. E(CERTLOGON_ENROLLMENT_CA_PATH), or else the system's trust store, when left out.
    type: path
  enrollment_validate_certs:
    description: Whether the certificate of the web server is verified. E(CERTLOGON_ENROLLMENT_VALIDATE_CERTS) when left out.
    type: bool
    default: true
  enrollment_timeout:
    description: Seconds for each answer of the web server. E(CERTLOGON_ENROLLMENT_TIMEOUT) when left out.
    type: int
    default: 30
  template:
    description: The certificate template for entries that name none, such as V(WebServer). It has to take the subject from the request.
    type: str
  folder:
    description:
      - The directory on the control node for certificates and requests, in a directory for each appliance, named by O(host), O(node)
        if given, and O(port) where that is not 443. Made if need be.
    type: path
    default: ~/.local/share/certlogon/device-certificates
  answer_timeout:
    description: Seconds to wait until a port shows the certificate that was bound to it.
    type: int
    default: 30
"""
