# SPDX-License-Identifier: GPL-3.0-or-later
# mypy: ignore-errors
# The modules ldb and samba live on the domain controller only.
"""Fill a directory offline with many templates, policies, OUs and users. Runs on the lab's domain controller while samba is stopped.

`python3 load.py SETTINGS`: JSON with `templates` (the built-in ones, as lab.windows_ca has them), `counts` (templates, policies, units,
users, certificates, computers) and `services` (the enrollment services that publish them). In transactions of 20,000 users: one for all
needs too much memory, and without batch_mode and a large index cache each costs the square of its objects.
"""

from __future__ import annotations

import datetime
import json
import os
import struct
import subprocess
import sys
import uuid
from pathlib import Path

import ldb
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from samba.auth import system_session
from samba.dcerpc import security
from samba.ndr import ndr_pack
from samba.param import LoadParm
from samba.samdb import SamDB

AT_ONCE = 20_000
OPTIONS = ["batch_mode:1", "transaction_index_cache_size:200000"]
NAMESPACE = uuid.UUID("6f1d4c0e-0000-4000-8000-000000000000")
NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
SID_EXTENSION, SID_VALUE, UPN = (
    x509.ObjectIdentifier(each) for each in ("1.3.6.1.4.1.311.25.2", "1.3.6.1.4.1.311.25.2.1", "1.3.6.1.4.1.311.20.2.3")
)
REGISTRY_EXTENSION = "[{35378EAC-683F-11D2-A89A-00C04FBBCFA2}{D02B1F72-3407-48AE-BA88-E8213C6761F1}]"
ENROLL = "0e10c968-78fb-11d2-90d4-00c04f79dc55"
FULL = "RPWPCRCCDCLCLORCWOWDSDDTSW"


class Directory:
    def __init__(self) -> None:
        lp = LoadParm()
        lp.load_default()
        self.sam = SamDB(url=lp.samdb_url(), session_info=system_session(), lp=lp, options=OPTIONS)
        self.base = str(self.sam.domain_dn())
        self.configuration = str(self.sam.get_config_basedn())
        self.dns = self.sam.domain_dns_name()
        self.sid = security.dom_sid(self.sam.get_domain_sid())
        self.services = f"CN=Public Key Services,CN=Services,{self.configuration}"
        self.sysvol = Path("/var/lib/samba/sysvol") / self.dns / "Policies"

    def together(self, objects) -> None:
        self.sam.transaction_start()
        try:
            for one in objects:
                self.sam.add(one)
        except BaseException:
            self.sam.transaction_cancel()
            raise
        self.sam.transaction_commit()

    def descriptor(self, sddl: str) -> bytes:
        return ndr_pack(security.descriptor.from_sddl(sddl, self.sid))


# ---- templates


def templates(directory: Directory, wanted: dict, count: int):
    """Copies of the built-in templates with object identifiers of their own; one in ten is open to Domain Users, one in fifty theirs."""
    kinds = list(wanted.items())
    for number in range(count):
        kind, words = kinds[number % len(kinds)]
        values = {
            "dn": f"CN=Bench{kind}{number:04},CN=Certificate Templates,{directory.services}",
            "objectClass": "pKICertificateTemplate",
            "displayName": f"Bench {words['displayName']} {number}",
            "msPKI-Cert-Template-OID": f"1.3.6.1.4.1.311.21.8.1.2.3.{number + 1}",
            "msPKI-Certificate-Application-Policy": words.get("pKIExtendedKeyUsage", []),
            "pKIExpirationPeriod": period(words["expiration_days"]),
            "pKIOverlapPeriod": period(words["overlap_days"]),
            "pKIKeyUsage": bytes.fromhex(words["pKIKeyUsage_hex"]),
            "nTSecurityDescriptor": directory.descriptor(
                f"O:EAG:EAD:PAI(A;;{FULL};;;DA)(A;;{FULL};;;EA)(A;;LCRPLORC;;;AU)"
                + f"(OA;;RPWPCR;{ENROLL};;{'DU' if number % 10 == 0 else 'DA'})"
                + f"(A;;{FULL};;;DU)" * (number % 50 == 25)
            ),
        }
        for name, value in words.items():
            if name.startswith(("pKI", "msPKI", "flags", "revision")) and not name.endswith("_hex") and value not in ([], None):
                values.setdefault(name, [str(one) for one in value] if isinstance(value, list) else str(value))
        values["msPKI-Template-Schema-Version"] = "2"
        values = {name: value for name, value in values.items() if value != []}
        yield values
        yield {
            "dn": f"CN={number + 1}.{uuid.uuid5(NAMESPACE, kind + str(number)).hex.upper()},CN=OID,{directory.services}",
            "objectClass": "msPKI-Enterprise-Oid",
            "flags": "1",
            "displayName": values["displayName"],
            "msPKI-Cert-Template-OID": values["msPKI-Cert-Template-OID"],
        }


def period(days: float) -> bytes:
    return struct.pack("<q", -int(days * 86400 * 10_000_000))


def publish(directory: Directory, services: list, count: int, wanted: dict) -> None:
    kinds = list(wanted)
    names = [f"Bench{kinds[number % len(kinds)]}{number:04}" for number in range(count)]
    for place, service in enumerate(services):
        message = ldb.Message(ldb.Dn(directory.sam, f"CN={service},CN=Enrollment Services,{directory.services}"))
        message["certificateTemplates"] = ldb.MessageElement(names[place :: len(services)], ldb.FLAG_MOD_REPLACE, "certificateTemplates")
        directory.sam.modify(message)


# ---- Group Policy


def guid(number: int) -> str:
    return "{" + str(uuid.uuid5(NAMESPACE, str(number))).upper() + "}"


def policies(directory: Directory, count: int):
    for number in range(count):
        name = f"CN={guid(number)},CN=Policies,CN=System,{directory.base}"
        yield {
            "dn": name,
            "objectClass": "groupPolicyContainer",
            "displayName": f"Benchmark policy {number}",
            "gPCFileSysPath": f"\\\\{directory.dns}\\sysvol\\{directory.dns}\\Policies\\{guid(number)}",
            "gPCFunctionalityVersion": "2",
            "gPCMachineExtensionNames": REGISTRY_EXTENSION,
            "versionNumber": "1",
            "flags": "0",
        }
        yield {"dn": f"CN=Machine,{name}", "objectClass": "container"}
        yield {"dn": f"CN=User,{name}", "objectClass": "container"}


def folders(directory: Directory, count: int) -> None:
    """What each policy has in SYSVOL, with the permissions of the default policy."""
    pattern = directory.sysvol / "{31B2F340-016D-11D2-945F-00C04FB984F9}"
    first = directory.sysvol / guid(0)
    for number in range(count):
        folder = directory.sysvol / guid(number)
        subprocess.run(["cp", "-a", str(pattern if number == 0 else first), str(folder)], check=True)
        machine = next(each for each in folder.iterdir() if each.name.casefold() == "machine")
        (folder / "GPT.INI").write_bytes(b"[General]\r\nVersion=1\r\n")
        (machine / "Registry.pol").write_bytes(registry(number))


def registry(number: int) -> bytes:
    key, value = "Software\\Policies\\Microsoft\\Cryptography\\AutoEnrollment", "AEPolicy"
    words = [f"{key}\0".encode("utf-16-le"), f"{value}\0".encode("utf-16-le"), struct.pack("<I", 4), struct.pack("<I", 4)]
    words.append(struct.pack("<I", 7 if number % 2 else 6))
    return b"PReg\x01\0\0\0" + "[".encode("utf-16-le") + ";".encode("utf-16-le").join(words) + "]".encode("utf-16-le")


def unit(directory: Directory, number: int) -> str:
    """A hundred departments, each with its teams."""
    department = f"OU=Department {number % 100:02}"
    return f"{department},{directory.base}" if number < 100 else f"OU=Team {number},{department},{directory.base}"


def units(directory: Directory, count: int, linked: int):
    for number in range(count):
        links = {number % linked, (number * 7 + 3) % linked} if linked else set()
        text = "".join(f"[LDAP://CN={guid(each)},CN=Policies,CN=System,{directory.base};0]" for each in sorted(links))
        yield {"dn": unit(directory, number), "objectClass": "organizationalUnit"} | ({"gPLink": text} if text else {})


# ---- accounts


class Certificates:
    """Certificates of a CA of our own: few keys, each with a subject, SID and name of its own, signed for real."""

    def __init__(self, dns: str) -> None:
        self.dns = dns
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Benchmark Issuing CA")])
        self.foreign = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Somebody Else's CA")])
        self.keys = [identified(2048) for _each in range(8)]
        self.weak = identified(1024)
        self.aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        self.same = [
            (x509.KeyUsage(True, False, True, False, False, False, False, False, False), True),
            (x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH, x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.2")]), False),
            (self.aki, False),
            (points("http://pki." + dns + "/benchmark.crl"), False),
            (access("http://pki." + dns + "/benchmark.crt"), False),
            (x509.MSCertificateTemplate(x509.ObjectIdentifier("1.3.6.1.4.1.311.21.8.1.2.3.7"), 100, 1), False),
        ]

    def authority(self) -> bytes:
        made = x509.CertificateBuilder(self.name, self.name, self.key.public_key(), 1, NOW, NOW + datetime.timedelta(3650))
        made = made.add_extension(x509.BasicConstraints(True, None), True)
        made = made.add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False)
        return made.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def of(self, number: int, account: str, sid: str) -> bytes:
        """Nine in ten are good; of the others each kind is one in a hundred, two or four."""
        odd = number % 100
        key, identifier = self.weak if odd == 6 else self.keys[number % len(self.keys)]
        end = NOW + (datetime.timedelta(-10) if odd in (4, 5) else datetime.timedelta(365))
        subject = x509.Name(
            [
                *(x509.NameAttribute(x509.NameOID.DOMAIN_COMPONENT, part) for part in reversed(self.dns.split("."))),
                x509.NameAttribute(x509.NameOID.COMMON_NAME, account),
            ]
        )
        issuer = self.foreign if odd == 7 else self.name
        made = x509.CertificateBuilder(issuer, subject, key, serial(number), NOW - datetime.timedelta(400), end)
        for value, critical in self.same:
            made = made.add_extension(value, critical)
        upn = ("somebody.else" if odd == 9 else account) + "@" + self.dns
        made = made.add_extension(x509.SubjectAlternativeName([x509.OtherName(UPN, b"\x0c" + bytes([len(upn)]) + upn.encode())]), False)
        made = made.add_extension(identifier, False)
        if odd > 3:
            text = (sid.rpartition("-")[0] + "-500" if odd == 8 else sid).encode()
            value = tag(0xA0, b"\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x19\x02\x01" + tag(0xA0, tag(0x04, text)))
            made = made.add_extension(x509.UnrecognizedExtension(SID_EXTENSION, tag(0x30, value)), False)
        return made.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)


def identified(bits: int) -> tuple[rsa.RSAPublicKey, x509.SubjectKeyIdentifier]:
    key = rsa.generate_private_key(65537, bits).public_key()
    return key, x509.SubjectKeyIdentifier.from_public_key(key)


def serial(number: int) -> int:
    """Twelve bytes, the first of which is 0x6E."""
    return 0x6E << 88 | number


def tag(number: int, content: bytes) -> bytes:
    return bytes([number, len(content)]) + content


def points(url: str) -> x509.CRLDistributionPoints:
    return x509.CRLDistributionPoints([x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)])


def access(url: str) -> x509.AuthorityInformationAccess:
    kind = x509.AuthorityInformationAccessOID.CA_ISSUERS
    return x509.AuthorityInformationAccess([x509.AccessDescription(kind, x509.UniformResourceIdentifier(url))])


def next_rid(directory: Directory) -> int:
    """Relative identifiers come in order, for there is one domain controller that nobody else asks."""
    found = directory.sam.search(directory.base, ldb.SCOPE_SUBTREE, "(objectClass=rIDSet)", ["rIDNextRID"])
    return int(found[0]["rIDNextRID"][0]) + 1


def users(directory: Directory, made: Certificates, numbers: range, counts: dict, first: int):
    for number in numbers:
        account = f"bench.user{number:06}"
        sid = f"{directory.sid}-{first + number}"
        values = {
            "dn": f"CN={account},{unit(directory, number % counts['units'])}",
            "objectClass": "user",
            "sAMAccountName": account,
            "userPrincipalName": f"{account}@{directory.dns}",
            "displayName": f"Benchmark User {number}",
            "userAccountControl": "546" if number % 50 == 1 else "544",
        }
        if number * counts["certificates"] // counts["users"] != (number + 1) * counts["certificates"] // counts["users"]:
            place = number * counts["certificates"] // counts["users"]
            values["userCertificate"] = made.of(place, account, sid)
            if place % 50 == 2:
                turned = serial(place).to_bytes(12, "big")[::-1].hex()
                values["altSecurityIdentities"] = f"X509:<I>CN=Benchmark Issuing CA<SR>{turned}"
            elif place % 500 == 7:
                values["altSecurityIdentities"] = f"X509:<S>CN={account}"
        yield values


def computers(directory: Directory, count: int, units_: int):
    for number in range(count):
        name = f"BENCH{number:05}"
        yield {
            "dn": f"CN={name},{unit(directory, number * 10 % units_)}",
            "objectClass": "computer",
            "sAMAccountName": f"{name}$",
            "userAccountControl": "4128",
            "dNSHostName": f"{name.lower()}.{directory.dns}",
        }


def trust(directory: Directory, certificate: bytes) -> None:
    dn = f"CN=NTAuthCertificates,{directory.services}"
    try:
        directory.sam.add({"dn": dn, "objectClass": "certificationAuthority", "cACertificate": certificate} | EMPTY_LISTS)
    except ldb.LdbError:
        message = ldb.Message(ldb.Dn(directory.sam, dn))
        message["cACertificate"] = ldb.MessageElement([certificate], ldb.FLAG_MOD_ADD, "cACertificate")
        directory.sam.modify(message)


EMPTY_LISTS = {"authorityRevocationList": b"\0", "certificateRevocationList": b"\0"}


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    counts = settings["counts"]
    os.nice(10)
    directory = Directory()
    made = Certificates(directory.dns)
    trust(directory, made.authority())
    directory.together(templates(directory, settings["templates"], counts["templates"]))
    publish(directory, settings["services"], counts["templates"], settings["templates"])
    directory.together(policies(directory, counts["policies"]))
    folders(directory, counts["policies"])
    directory.together(units(directory, counts["units"], counts["policies"]))
    directory.together(computers(directory, counts["computers"], counts["units"]))
    first = next_rid(directory)
    for start in range(0, counts["users"], AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, counts["users"]))
        directory.together(users(directory, made, numbers, counts, first))
        last = directory.sam.search(directory.base, ldb.SCOPE_SUBTREE, f"(sAMAccountName=bench.user{numbers[-1]:06})", ["objectSid"])
        found = directory.sam.schema_format_value("objectSid", last[0]["objectSid"][0]).decode()
        if found != f"{directory.sid}-{first + numbers[-1]}":
            raise SystemExit(f"the last account has {found}, not the SID of its certificate, {directory.sid}-{first + numbers[-1]}")
        print(f"{numbers[-1] + 1} users", flush=True)


if __name__ == "__main__":
    main()
