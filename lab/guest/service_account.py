# SPDX-License-Identifier: GPL-3.0-or-later
# mypy: ignore-errors
# The modules ldb and samba live on the domain controller only.
"""A service account with AES keys only, and its keytab. Runs on the domain controller; reads `{"name", "password", "spn"}` from standard
input, prints `{"keytab" (base64), "domain_sid"}`.

The order matters: keys are made when a password is set, of the types that the account has at that moment.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import ldb
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB

AES_ONLY = "24"


def main() -> None:
    wanted = json.load(sys.stdin)
    parameters = LoadParm()
    parameters.load_default()
    samdb = SamDB(session_info=system_session(), lp=parameters)
    samdb.newuser(wanted["name"], wanted["password"], description="PassiveKey server")
    found = f"(sAMAccountName={ldb.binary_encode(wanted['name'])})"
    change = ldb.Message(samdb.search(expression=found, attrs=[])[0].dn)
    for name, value in (("servicePrincipalName", wanted["spn"]), ("msDS-SupportedEncryptionTypes", AES_ONLY)):
        change[name] = ldb.MessageElement(value, ldb.FLAG_MOD_REPLACE, name)
    samdb.modify(change)
    samdb.setpassword(found, wanted["password"])
    with tempfile.TemporaryDirectory() as folder:
        keytab = Path(folder) / "keytab"
        export = ["samba-tool", "domain", "exportkeytab", str(keytab), f"--principal={wanted['spn']}"]
        subprocess.run(export, check=True, stdout=sys.stderr)
        print(json.dumps({"keytab": base64.b64encode(keytab.read_bytes()).decode(), "domain_sid": samdb.get_domain_sid()}))


main()
