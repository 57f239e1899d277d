# SPDX-License-Identifier: GPL-3.0-or-later
# mypy: ignore-errors
# The modules ldb and samba live on the domain controller only.
"""Fill a freshly provisioned directory, offline and in one transaction. Runs on the domain controller; reads JSON from standard input.

`{"entries": [[relative DN, {attribute: value or values}]], "members": {group: [account]}, "passwords": {account: password},
"must_change": [account], "disabled": [account], "joined": [{account, password, further attributes}], "addresses": {host name: IPv4},
"enrollment_services": [{name, dns_host_name, certificate (DER, base64), account}]}`;
a relative DN that ends in "," is completed by the domain's.
"""

from __future__ import annotations

import base64
import json
import sys

import ldb
from samba.auth import system_session
from samba.dcerpc import security
from samba.dnsserver import ARecord
from samba.ndr import ndr_pack
from samba.param import LoadParm
from samba.samdb import SamDB

ENROLL = "0e10c968-78fb-11d2-90d4-00c04f79dc55"
FULL = "RPWPCRCCDCLCLORCWOWDSDDTSW"


def enrollment_service(samdb: SamDB, service: dict) -> dict:
    """What AD CS leaves in the directory when it has been installed ([MS-WCCE] 2.2.2.11.2), with its descriptor."""
    domain_sid = security.dom_sid(samdb.get_domain_sid())
    found = samdb.search(expression=f"(sAMAccountName={ldb.binary_encode(service['account'])})", attrs=["objectSid"])
    account = samdb.schema_format_value("objectSid", found[0]["objectSid"][0]).decode()
    sddl = f"O:EAG:EAD:(A;;{FULL};;;EA)(A;;{FULL};;;DA)(A;;{FULL};;;SY)(A;;{FULL};;;{account})(A;;RPLCLORC;;;AU)(OA;;CR;{ENROLL};;AU)"
    realm = samdb.domain_dns_name().split(".")
    return {
        "dn": f"CN={service['name']},CN=Enrollment Services,CN=Public Key Services,CN=Services,{samdb.get_config_basedn()}",
        "objectClass": "pKIEnrollmentService",
        "displayName": service["name"],
        "flags": "10",
        "cACertificate": base64.b64decode(service["certificate"]),
        "cACertificateDN": ", ".join([f"CN={service['name']}", *(f"DC={part}" for part in realm)]),
        "dNSHostName": service["dns_host_name"],
        "description": "Stand-in made by the lab: no certification authority runs behind this object",
        "nTSecurityDescriptor": ndr_pack(security.descriptor.from_sddl(sddl, domain_sid)),
    }


def join(samdb: SamDB, computer: dict) -> None:
    """What joining the domain leaves in a computer's account."""
    found = f"(sAMAccountName={ldb.binary_encode(computer.pop('account'))})"
    samdb.setpassword(found, computer.pop("password"), False)
    change = ldb.Message(samdb.search(expression=found, attrs=[])[0].dn)
    for name, values in computer.items():
        change[name] = ldb.MessageElement(values, ldb.FLAG_MOD_REPLACE, name)
    samdb.modify(change)


def add_address(samdb: SamDB, host: str, address: str) -> None:
    zone = f"DC={samdb.domain_dns_name()},CN=MicrosoftDNS,DC=DomainDnsZones,{samdb.domain_dn()}"
    samdb.add({"dn": f"DC={host},{zone}", "objectClass": ["top", "dnsNode"], "dnsRecord": ndr_pack(ARecord(address))})


def main() -> None:
    wanted = json.load(sys.stdin)
    lp = LoadParm()
    lp.load_default()
    samdb = SamDB(url=lp.samdb_url(), session_info=system_session(), lp=lp)
    base = str(samdb.domain_dn())
    complete = lambda dn: dn + base if dn.endswith(",") else dn  # noqa: E731
    samdb.transaction_start()
    try:
        for dn, attributes in wanted["entries"]:
            samdb.add({"dn": complete(dn)} | attributes)
        for group, members in wanted["members"].items():
            samdb.add_remove_group_members(group, members)
        for account, password in wanted["passwords"].items():
            changes_at_logon = account in wanted["must_change"]
            samdb.setpassword(f"(sAMAccountName={ldb.binary_encode(account)})", password, changes_at_logon, account)
        for account in wanted["disabled"]:  # setpassword() enables
            samdb.disable_account(f"(sAMAccountName={ldb.binary_encode(account)})")
        for service in wanted["enrollment_services"]:
            samdb.add(enrollment_service(samdb, service))
        for computer in wanted["joined"]:
            join(samdb, computer)
        for host, address in wanted["addresses"].items():
            add_address(samdb, host, address)
    except BaseException:
        samdb.transaction_cancel()
        raise
    samdb.transaction_commit()
    # Lab passwords never age: a cached domain must work next year as well.
    samdb.set_maxPwdAge(str(-0x8000000000000000))


if __name__ == "__main__":
    main()
