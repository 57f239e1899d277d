# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the lab's domain controller with its own Python: touches the domain, or reads it, with tools that know nothing of certlogon.

A request as JSON on standard input, the answer as JSON on standard output. It reports what the tools said and judges nothing.
Debian 13's python3, samba, ldb-tools, ldap-utils, smbclient and openssl are all it uses.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

Facts = dict[str, Any]
BASE = "DC=corp,DC=example"
SERVICES = f"CN=Public Key Services,CN=Services,CN=Configuration,{BASE}"
SYSVOL = Path("/var/lib/samba/sysvol/corp.example/Policies")
SAM = "/var/lib/samba/private/sam.ldb"
HOST = "dc1.corp.example"


class Tools:
    """Command lines, with the administrator's password in files and never in a process list."""

    def __init__(self, folder: Path, password: str) -> None:
        self.folder = folder
        self.auth = folder / "auth"
        self.auth.write_text(f"username=administrator\npassword={password}\ndomain=CORP\n")
        self.password = folder / "password"
        self.password.write_text(password)

    def run(self, *command: str, stdin: str | bytes = "") -> Facts:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(command, input=given, capture_output=True, check=False)
        output = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
        shown = " ".join(word for word in command if not word.startswith(str(self.folder)) and word not in ("-A", "-y"))
        return {"command": shown, "code": done.returncode, "output": output, "stdout": done.stdout.decode(errors="replace")}

    def must(self, *command: str, stdin: str | bytes = "") -> Facts:
        result = self.run(*command, stdin=stdin)
        if result["code"]:
            raise SystemExit(f"{result['command']}: ended with code {result['code']}: {result['output'][-1500:]}")
        return result

    def samba_tool(self, *command: str) -> Facts:
        return self.run("samba-tool", *command, "-A", str(self.auth))

    def ldap(self) -> list[str]:
        return ["-x", "-H", f"ldaps://{HOST}", "-D", "administrator@corp.example", "-y", str(self.password)]

    def search(self, base: str, expression: str, *attributes: str) -> list[dict[str, list[str]]]:
        """Entries as OpenLDAP's client prints them; values that are no text come back as "base64:..."."""
        found = self.must("ldapsearch", *self.ldap(), "-LLL", "-o", "ldif-wrap=no", "-b", base, expression, *attributes)
        return ldif(found["stdout"])


def ldif(text: str) -> list[dict[str, list[str]]]:
    entries = []
    for block in re.split(r"\n\n+", text.replace("\n ", "")):
        entry: dict[str, list[str]] = {}
        for line in block.splitlines():
            name, separator, value = line.partition(":")
            if not separator or line.startswith(("#", "ref:")):
                continue
            if value.startswith(":"):
                data = base64.b64decode(value[1:].strip())
                try:
                    value = data.decode("utf-8") if data.isascii() and b"\0" not in data else "base64:" + value[1:].strip()
                except UnicodeDecodeError:
                    value = "base64:" + value[1:].strip()
            entry.setdefault(name, []).append(value.strip())
        if "dn" in entry:
            entries.append(entry)
    return entries


def guid_of(tools: Tools, policy: str) -> str:
    found = tools.search(f"CN=Policies,CN=System,{BASE}", f"(&(objectClass=groupPolicyContainer)(displayName={policy}))", "cn")
    if len(found) != 1:
        raise SystemExit(f"policy {policy!r}: {len(found)} objects in the directory")
    return found[0]["cn"][0]


# ---- touching


def touch(tools: Tools, request: Facts) -> Facts:
    """What a hurried colleague, or an attacker, does; each with another tool."""
    template = f"CN={request['template']},CN=Certificate Templates,{SERVICES}"
    flags = int(tools.search(template, "(objectClass=*)", "msPKI-Certificate-Name-Flag")[0]["msPKI-Certificate-Name-Flag"][0])
    change = f"dn: {template}\nchangetype: modify\nreplace: msPKI-Certificate-Name-Flag\nmsPKI-Certificate-Name-Flag: {flags | 1}\n"
    tools.must("ldapmodify", *tools.ldap(), stdin=change)

    rogue = base64.b64encode(Path("/srv/files/rogue-ca.cer").read_bytes()).decode()
    change = f"dn: CN=NTAuthCertificates,{SERVICES}\nchangetype: modify\nadd: cACertificate\ncACertificate:: {rogue}\n"
    tools.must("ldbmodify", "-H", SAM, stdin=change)

    guid = guid_of(tools, request["policy"])
    inside = rf"corp.example\Policies\{guid}\Machine\Microsoft\Windows NT\SecEdit"
    local = tools.folder / "GptTmpl.inf"
    tools.must("smbclient", f"//{HOST}/sysvol", "-A", str(tools.auth), "-c", rf'get "{inside}\GptTmpl.inf" "{local}"')
    text = local.read_bytes().decode("utf-16")
    edited = re.sub(r'(?mi)^("?SCardSvr"?,)2,', r"\g<1>4,", text)
    if edited == text:
        raise SystemExit(f"no line SCardSvr,2 in GptTmpl.inf:\n{text}")
    local.write_bytes(edited.encode("utf-16"))
    tools.must("smbclient", f"//{HOST}/sysvol", "-A", str(tools.auth), "-c", rf'put "{local}" "{inside}\GptTmpl.inf"')

    tools.must("samba-tool", "gpo", "dellink", BASE, guid_of(tools, request["trust_policy"]), "-A", str(tools.auth))
    return {}


# ---- reading


def read(tools: Tools, request: Facts) -> Facts:
    guids = {policy: guid_of(tools, policy) for policy in request["policies"]}
    jobs = {
        "versions": lambda: versions(tools),
        "aclcheck": lambda: tools.samba_tool("gpo", "aclcheck", "-H", f"ldap://{HOST}"),
        "sysvolcheck": lambda: tools.run("samba-tool", "ntacl", "sysvolcheck"),
        "links": lambda: tools.run("samba-tool", "gpo", "getlink", BASE),
        "rsop": lambda: tools.run("samba-gpupdate", "--rsop", "--target=Computer"),
        "backup": lambda: {policy: backup(tools, guid) for policy, guid in guids.items()},
        "show": lambda: {policy: show(tools, guid) for policy, guid in guids.items()},
        "files": lambda: {policy: files(guid) for policy, guid in guids.items()},
        "directory": lambda: directory(tools),
    }
    with ThreadPoolExecutor(4) as pool:
        running = {name: pool.submit(job) for name, job in jobs.items()}
        return {name: job.result() for name, job in running.items()} | {"guids": guids}


def versions(tools: Tools) -> dict[str, str]:
    return {
        "samba": number(tools.run("samba-tool", "--version")["output"]),
        "openssl": number(tools.run("openssl", "version")["output"]),
        "ldapsearch": number(tools.run("ldapsearch", "-VV")["output"]),
    }


def number(output: str) -> str:
    found = re.search(r"\d+\.\d+\.\d+", output)
    return found.group() if found else ""


def backup(tools: Tools, guid: str) -> Facts:
    folder = tools.folder / f"backup-{guid}"
    folder.mkdir()
    result = tools.samba_tool("gpo", "backup", guid, f"--tmpdir={folder}", "-H", f"ldap://{HOST}")
    return result | {"files": sorted(str(file.relative_to(folder / "policy" / guid)) for file in folder.rglob("*") if file.is_file())}


def show(tools: Tools, guid: str) -> Facts:
    result = tools.run("samba-tool", "gpo", "show", guid)
    head, _, policies = result["stdout"].partition("Policies     :")
    return result | {"settings": json.loads(policies or "[]"), "head": head}


def files(guid: str) -> Facts:
    """The policy's files as samba's own parsers see them."""
    from samba import gpo
    from samba.gp_parse.gp_inf import GptTmplInfParser

    folder = SYSVOL / guid
    found: Facts = {"registry": {}, "gpt_version": gpo.gpo_get_sysvol_gpt_version(str(folder))[1]}
    for file in sorted(folder.rglob("*")):
        name = file.name.lower()
        if name == "registry.pol":
            found["registry"][file.parent.name.lower()] = registry(file)
        if name == "gpttmpl.inf":
            parser = GptTmplInfParser()
            parser.parse(file.read_bytes())
            found["services"] = parser.sections["Service General Setting"].param_list
            found["registry_values"] = parser.sections["Registry Values"].param_list
        if name == "services.xml":
            properties = [element.find("Properties") for element in ElementTree.parse(file).getroot().iter("NTService")]
            found["service_preferences"] = [dict(element.attrib) for element in properties if element is not None]
    return found


def registry(file: Path) -> list[Facts]:
    from samba.dcerpc import preg
    from samba.ndr import ndr_pack, ndr_unpack

    data = file.read_bytes()
    parsed = ndr_unpack(preg.file, data)
    entries = []
    for entry in parsed.entries:
        value = base64.b64encode(bytes(entry.data)).decode() if isinstance(entry.data, (bytes, list)) else entry.data
        entries.append({"key": entry.keyname, "value": entry.valuename, "type": entry.type, "data": value})
    return [{"repacked": ndr_pack(parsed) == data, "entries": entries}]


def directory(tools: Tools) -> Facts:
    certificates = {}
    places = {"ntauth": "NTAuthCertificates", "root": "Certification Authorities", "intermediate": "AIA"}
    for store, container in places.items():
        found = tools.search(f"CN={container},{SERVICES}", "(cACertificate=*)", "cACertificate")
        values = [value.removeprefix("base64:") for entry in found for value in entry["cACertificate"]]
        certificates[store] = [certificate(tools, base64.b64decode(value)) for value in values if len(value) > 8]
    enrollment = f"CN=Enrollment Services,{SERVICES}"
    services = tools.must("ldbsearch", "-H", SAM, "-b", enrollment, "(objectClass=pKIEnrollmentService)", "cn", "certificateTemplates")
    return {
        "templates": tools.search(
            f"CN=Certificate Templates,{SERVICES}", "(objectClass=pKICertificateTemplate)", "*", "msPKI-Cert-Template-OID"
        ),
        "oids": tools.search(
            f"CN=OID,{SERVICES}", "(&(objectClass=msPKI-Enterprise-Oid)(flags=1))", "msPKI-Cert-Template-OID", "displayName"
        ),
        "published": ldif(services["stdout"]),
        "certificates": certificates,
        "policies": tools.search(
            f"CN=Policies,CN=System,{BASE}", "(objectClass=groupPolicyContainer)", "cn", "displayName", "versionNumber"
        ),
        "chain": chain(tools, certificates),
    }


def certificate(tools: Tools, der: bytes) -> Facts:
    shown = tools.run("openssl", "x509", "-inform", "DER", "-noout", "-subject", "-enddate", "-fingerprint", "-sha256", stdin=der)
    values = dict(line.split("=", 1) for line in shown["stdout"].splitlines() if "=" in line)
    pem = tools.run("openssl", "x509", "-inform", "DER", stdin=der)["stdout"]
    return {
        "code": shown["code"],
        "subject": values.get("subject", ""),
        "ends": values.get("notAfter", ""),
        "sha256": values.get("sha256 Fingerprint", "").replace(":", "").lower(),
        "pem": pem,
    }


def chain(tools: Tools, certificates: Facts) -> Facts:
    """Does what the directory holds in NTAuth chain to what it holds as roots?"""
    roots = tools.folder / "roots.pem"
    roots.write_text("".join(found["pem"] for found in certificates["root"]))
    results = [tools.run("openssl", "verify", "-CAfile", str(roots), stdin=found["pem"]) for found in certificates["ntauth"]]
    return {"code": max([result["code"] for result in results], default=1), "output": "".join(result["output"] for result in results)}


def main() -> None:
    request = json.load(sys.stdin)
    os.umask(0o077)
    with tempfile.TemporaryDirectory(dir="/run") as folder:
        tools = Tools(Path(folder), request["password"])
        json.dump({"touch": touch, "read": read}[request["action"]](tools, request), sys.stdout)


if __name__ == "__main__":
    main()
