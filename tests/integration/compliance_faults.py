# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab made bad behind everybody's back: one fault for each control that can be broken there, and what each of them implies.

Nothing of it goes through the roles: Samba's own tools write the directory, a shell SYSVOL and the gateway, and the state files of the
stand-ins are edited while they do not run.
"""

from __future__ import annotations

import base64
import datetime
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import load
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policies import GroupPolicies
from ansible_collections.certlogon.core.tests.integration.conftest import SAM
from ansible_collections.certlogon.core.tests.integration.test_connect_secure_data import CLIENT_CAS, REALMS, SERVERS, SIGN_IN, Rest
from ansible_collections.certlogon.core.tests.unit.compliance.test_judges_mappings import OTHER_SID, STRONG, certificate

ROOT_CRL = (
    "ldap:///CN=Corp%20Example%20Root%20CA,CN=root,CN=CDP,CN=Public%20Key%20Services,CN=Services,CN=Configuration,DC=corp,DC=example"
    "?certificateRevocationList?base?objectClass=cRLDistributionPoint"
)
"""Where the directory has the CRL of the lab's root."""

BASE = "DC=corp,DC=example"
SERVICES = f"CN=Public Key Services,CN=Services,CN=Configuration,{BASE}"
TEMPLATES = f"CN=Certificate Templates,{SERVICES}"
NTAUTH = f"CN=NTAuthCertificates,{SERVICES}"
SERVICE = f"CN=Corp CA,CN=Enrollment Services,{SERVICES}"
GROUP = f"CN=Bad Group,CN=Users,{BASE}"
POLICY = f"CN=Bad,CN=OID,{SERVICES}"
ROOTS = f"CN=Certification Authorities,{SERVICES}"
FULL_CONTROL = "RPWPCRCCDCLCLORCWOWDSDDTSW"
ENROLL = "0e10c968-78fb-11d2-90d4-00c04f79dc55"
ALICE, ADMIN, WRITER, DISABLED = "alice.andersson", "domain.admin", "plain.user", "disabled.user"
MAPPING = "00fbf30c-91fe-11d1-aebc-0000f80367c1"  # altSecurityIdentities
SPOILT_POLICIES = ("older", "reversed", "folderless", "open", "scripted")
PRIMARY = "http://ca1.corp.example/CertEnroll/Corp%20CA.crl"
SHARE = "/var/lib/samba/sysvol/corp.example/Policies"
DEFAULT_POLICY = "{31B2F340-016D-11D2-945F-00C04FB984F9}"
ORPHAN, NOWHERE = "{0B5C0000-0000-0000-0000-000000000001}", "{0B5C0000-0000-0000-0000-000000000002}"
DAY = datetime.timedelta(days=1)
TEN_YEARS = base64.b64encode(struct.pack("<q", -3650 * 86400 * 10**7)).decode()


@dataclass(frozen=True)
class Fault:
    """A control, the subject in which it fails, how that was brought about, and what follows from it."""

    control: str
    subject: str
    how: str
    says: str = ""
    """Part of the message or of the evidence."""
    implies: tuple[tuple[str, str], ...] = ()
    mended: bool = True
    """By certlogon.core.site; else by a person, as the remedy says."""
    remains: tuple[tuple[str, str], ...] = ()
    """What only site's mending brings to light, for a person."""


class Spoiler:
    """All of it, in one go each host."""

    def __init__(self, lab: Any, run_resource: Any) -> None:
        self.lab = lab
        self.run_resource = run_resource

    def spoil(self) -> None:
        self.policies()
        self.directory()
        self.authority()
        self.appliance()
        self.gateway()
        self.domain_controller()

    def mend_by_hand(self) -> None:
        """What site leaves to a person."""
        lab = self.lab
        program = "\n".join(f'samba-tool dsacl delete --objectdn="{dn}" --sddl="{sddl}" > /dev/null' for dn, sddl in self.rights().items())
        lab.run("dc1", "sh", "-c", program)
        changes = [
            replaced(f"CN=Workstation,{TEMPLATES}", "pKIExtendedKeyUsage", "1.3.6.1.5.5.7.3.2"),
            replaced(f"OU=Servers,OU=Corp,{BASE}", "gPLink"),
            f"dn: {POLICY}\nchangetype: delete\n",
            *(replaced(self.dn(account), "userCertificate") for account in (ALICE, DISABLED)),
            *(replaced(self.dn(account), "altSecurityIdentities") for account in (ALICE, WRITER)),
            replaced(self.dn(ADMIN), "adminCount"),
        ]
        lab.ldbmodify("\n".join(changes) + "\n")
        lab.samba_tool("group", "delete", "Bad Group")
        names = [*(f"Spoilt {word}" for word in SPOILT_POLICIES), "Spoilt rival"]
        self.run_resource(GroupPolicies(), [{"name": name} for name in names], "deleted")
        lab.run("dc1", "sh", "-c", f"rm -r '{SHARE}/{ORPHAN}'")
        lab.kill("ca1")
        lab.run("ca1", "python3", "-", stdin=MEND_AUTHORITY)
        lab.start("ca1")
        Rest(lab)("DELETE", f"{CLIENT_CAS}/Totally%20Trustworthy%20CA")

    # ---- the directory

    def directory(self) -> None:
        lab = self.lab
        lab.samba_tool("group", "add", "Bad Group", "--group-scope=Universal")
        lab.ldbmodify(self.objects() + self.accounts())
        program = "\n".join(f'samba-tool dsacl set --objectdn="{dn}" --sddl="{sddl}" > /dev/null' for dn, sddl in self.rights().items())
        lab.run("dc1", "sh", "-e", "-c", program)

    def rights(self) -> dict[str, str]:
        return {
            NTAUTH: "(A;;WP;;;AU)",
            f"CN=CorpEnrollmentAgent,{TEMPLATES}": f"(OA;;CR;{ENROLL};;AU)",
            f"CN=CorpDomainController,{TEMPLATES}": "(A;;WP;;;AU)",
            f"CN=WebServer,{TEMPLATES}": f"(OA;;CR;{ENROLL};;AU)",
            f"CN=OfflineRouter,{TEMPLATES}": f"(OA;;CR;{ENROLL};;AU)",
            f"CN=CA1,OU=Servers,OU=Corp,{BASE}": f"(A;;{FULL_CONTROL};;;AU)",
            self.dn(ADMIN): f"(OA;;WP;{MAPPING};;{self.sid(WRITER)})",
        }

    def objects(self) -> str:
        """Templates, the CA's object, stores."""
        policy = "1.3.6.1.4.1.311.21.8.1.777"
        ntauth = (self.der("rogue_ca"), self.der("odd/expired-ca"), self.der("odd/weak-ca"), self.der("odd/leaf"))
        changes = [
            replaced(f"CN=CorpSmartcardLogon,{TEMPLATES}", "msPKI-Certificate-Name-Flag", "1"),
            replaced(f"CN=CorpSmartcardLogon,{TEMPLATES}", "msPKI-Certificate-Policy", policy),
            replaced(f"CN=CorpSmartcardLogon,{TEMPLATES}", "msPKI-Supersede-Templates", "CorpSmartcardUser"),
            replaced(f"CN=CorpSmartcardUser,{TEMPLATES}", "msPKI-Enrollment-Flag", str(8201 | 0x80000)),
            replaced(f"CN=CorpSmartcardUser,{TEMPLATES}", "msPKI-Minimal-Key-Size", "1024"),
            replaced(f"CN=CorpSmartcardUser,{TEMPLATES}", "pKIDefaultCSPs", "1,Microsoft Enhanced Cryptographic Provider v1.0"),
            f"dn: CN=CorpSmartcardUser,{TEMPLATES}\nchangetype: modify\nreplace: pKIExpirationPeriod\npKIExpirationPeriod:: {TEN_YEARS}\n",
            replaced(f"CN=CorpSmartcardUser,{TEMPLATES}", "pKIExtendedKeyUsage", "1.3.6.1.4.1.311.20.2.2", "1.3.6.1.5.5.7.3.4"),
            replaced(f"CN=Workstation,{TEMPLATES}", "pKIExtendedKeyUsage", "2.5.29.37.0"),
            f"dn: {POLICY}\nchangetype: add\nobjectClass: msPKI-Enterprise-Oid\nflags: 2\ndisplayName: Bad\n"
            f"msPKI-Cert-Template-OID: {policy}\nmsDS-OIDToGroupLink: {GROUP}\n",
            f"dn: {SERVICE}\nchangetype: modify\nadd: certificateTemplates\n"
            + "".join(f"certificateTemplates: {name}\n" for name in ("Gone", "SubCA", "Workstation")),
            replaced(NTAUTH, "cACertificate", *ntauth),
            replaced(f"CN=Corp CA,CN=AIA,{SERVICES}", "cACertificate", self.der("rogue_ca")),
            replaced(f"CN=Corp Example Root CA,CN=root,CN=CDP,{SERVICES}", "certificateRevocationList", self.ended_crl()),
            *(root(name, self.der(f"odd/{name}")) for name in ("expired-ca", "weak-ca", "leaf")),
        ]
        return "\n".join(changes) + "\n"

    def ended_crl(self) -> bytes:
        """Of the root: its last but one."""
        folder = Path(self.lab.files["folder"])
        issuer = x509.load_pem_x509_certificate((folder / "root-ca.pem").read_bytes())
        key = load_pem_private_key((folder / "root-ca.key").read_bytes(), None)
        assert isinstance(key, RSAPrivateKey)
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.subject).last_update(now - 9 * DAY).next_update(now - DAY)
        builder = builder.add_extension(x509.CRLNumber(0), critical=False)
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)

    def accounts(self) -> str:
        own = self.sid(ALICE)
        held = [
            certificate(OTHER_SID),  # of somebody else
            certificate(),  # bound by nothing
            certificate(own, days=-1),
            certificate(own, key="weak"),
            certificate(own, upn="somebody.else@corp.example"),
            b"no certificate",
        ]
        mappings = [STRONG, "X509:<RFC822>alice@corp.example", "X509:<NONSENSE>"]
        changes = [
            replaced(self.dn(ALICE), "userCertificate", *held),
            replaced(self.dn(ALICE), "altSecurityIdentities", *mappings),
            replaced(self.dn(WRITER), "altSecurityIdentities", STRONG),
            replaced(self.dn(ADMIN), "adminCount", "1"),
            replaced(self.dn(DISABLED), "userCertificate", certificate(self.sid(DISABLED))),
        ]
        return "\n".join(changes) + "\n"

    def dn(self, account: str) -> str:
        found: bytes = self.lab.ldbsearch(BASE, f"(sAMAccountName={account})", "cn")[0]["dn"][0]
        return found.decode()

    def sid(self, account: str) -> str:
        found: bytes = self.lab.ldbsearch(BASE, f"(sAMAccountName={account})", "objectSid")[0]["objectsid"][0]
        return found.decode()

    def der(self, name: str) -> bytes:
        path = self.lab.files.get(name) or f"{self.lab.files['folder']}/{name}.pem"
        return x509.load_pem_x509_certificate(Path(path).read_bytes()).public_bytes(Encoding.DER)

    # ---- Group Policy

    def policies(self) -> None:
        lab = self.lab
        spoilt = {word: {"name": f"Spoilt {word}", "services": [{"name": "SCardSvr", "startup": "automatic"}]} for word in SPOILT_POLICIES}
        rival = {
            "name": "Spoilt rival",
            "links": [{"target": "Corp/Workstations/Kiosks"}],
            "services": [{"name": "SCardSvr", "startup": "disabled"}],
        }
        self.run_resource(GroupPolicies(), [*spoilt.values(), rival], "replaced")
        found = {
            word: lab.ldbsearch(BASE, f"(displayName={one['name']})", "cn", "gPCMachineExtensionNames")[0] for word, one in spoilt.items()
        }
        dn = {word: entry["dn"][0].decode() for word, entry in found.items()}
        guid = {word: entry["cn"][0].decode() for word, entry in found.items()}
        names = found["reversed"]["gpcmachineextensionnames"][0].decode()
        lab.ldbmodify(
            "\n".join(
                (
                    replaced(dn["older"], "versionNumber", "7"),
                    replaced(dn["reversed"], "gPCMachineExtensionNames", names + REGISTRY),
                    replaced(dn["scripted"], "gPCMachineExtensionNames", PREFERENCES + SCRIPTS + names),
                    replaced(BASE, "gPLink", f"[LDAP://CN={DEFAULT_POLICY},CN=Policies,CN=System,{BASE};0]"),
                    replaced(f"OU=Servers,OU=Corp,{BASE}", "gPLink", f"[LDAP://CN={NOWHERE},CN=Policies,CN=System,{BASE};0]"),
                )
            )
        )
        lab.samba_tool("dsacl", "set", "-H", SAM, f"--objectdn={dn['open']}", "--sddl=(A;CI;WP;;;AU)", "--action=allow")
        [card] = lab.ldbsearch(BASE, "(displayName=Certlogon - Smart Card Logon)", "cn")
        lab.run("dc1", "sh", "-c", SPOIL_SYSVOL, "sh", guid["folderless"], guid["scripted"], card["cn"][0].decode())

    # ---- hosts

    def authority(self) -> None:
        """The registry, IIS and the files of a host that does not run."""
        self.lab.kill("ca1")
        self.lab.run("ca1", "python3", "-", stdin=SPOIL_AUTHORITY)
        self.lab.start("ca1")

    def appliance(self) -> None:
        """By its REST interface, as somebody at its console would."""
        rest = Rest(self.lab)
        rest("POST", "system/certificates/trusted-client-cas", {"cert": Path(self.lab.files["rogue_ca"]).read_text()})
        crl = {"cdp-source": "Manually configured CDP", "primary-cdp": {"url": PRIMARY}, "crl-download-frequency": "72"}
        told = {"verify-trusted-client-ca": "true", "participate-in-client-certificate-negotiation": "false", "crl-settings": crl}
        rest("PUT", f"{CLIENT_CAS}/Corp%20CA", told)
        rest("PUT", f"{SERVERS}/Certificates", {"certificate": {"settings": {"user-name-template": "<certAttr.altName.Email>"}}})
        realm = rest("GET", f"{REALMS}/Certificate%20Users").json()
        realm["role-mapping-rules"]["rule"][0]["user-name"]["user-names"] = ["nobody"]
        rest("PUT", f"{REALMS}/Certificate%20Users", realm)
        policies = rest("GET", SIGN_IN.rpartition("/")[0]).json()["access-url"]
        rest.policies([one | {"enabled": "true"} for one in policies])

    def gateway(self) -> None:
        self.lab.run("gw1", "sh", "-c", SPOIL_GATEWAY, stdin=Path(self.lab.files["rogue_ca"]).read_text())

    def domain_controller(self) -> None:
        self.lab.run("dc1", "sh", "-c", SPOIL_KDC)


def replaced(dn: str, attribute: str, *values: str | bytes) -> str:
    encoded = [value if isinstance(value, bytes) else value.encode() for value in values]
    lines = "".join(f"{attribute}:: {base64.b64encode(value).decode()}\n" for value in encoded)
    return f"dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{lines}"


def root(name: str, der: bytes) -> str:
    value = base64.b64encode(der).decode()
    lists = "".join(f"{name}:: AA==\n" for name in ("authorityRevocationList", "certificateRevocationList"))
    return f"dn: CN={name},{ROOTS}\nchangetype: add\nobjectClass: certificationAuthority\ncACertificate:: {value}\n{lists}"


PREFERENCES = "[{17D89FEC-5C44-4972-B12D-241CAEF74509}{79F92669-4224-476C-9C5C-6EFB4D87DF4A}]"
SCRIPTS = "[{42B5FAAE-6536-11D2-AE5A-0000F87571E3}{40B6664F-4972-11D1-A7CA-0000F87571E3}]"
REGISTRY = "[{35378EAC-683F-11D2-A89A-00C04FBBCFA2}{D02B1F72-3407-48AE-BA88-E8213C6761F1}]"
SPOIL_SYSVOL = f"""
set -e
cd {SHARE}
mkdir '{ORPHAN}'
rm -r "$1"
mkdir -p "$2/Machine/Scripts/Startup" "$2/Machine/Preferences/Groups"
printf '[Startup]\\r\\n0CmdLine=gone.cmd\\r\\n0Parameters=\\r\\n' > "$2/Machine/Scripts/scripts.ini"
printf '<Groups><User><Properties userName="x" cpassword="j1Uyj3Vx8TY9LtLZil2uAuZkFQA"/></User></Groups>' \\
    > "$2/Machine/Preferences/Groups/Groups.xml"
printf 'PReg\\001\\000\\000\\000' > "$3/Machine/Registry.pol"
"""
SPOIL_AUTHORITY = r"""
import base64, json, struct
path = "/var/lib/windows_ca/machine.json"
state = json.load(open(path))
def key(*names):
    found = state["registry"]["keys"]["HKLM"]
    for name in names:
        found = next(below for known, below in found["keys"].items() if known.lower() == name.lower())
    return found["values"]
service = ("SYSTEM", "CurrentControlSet", "Services", "CertSvc", "Configuration")
ca = key(*service, "Corp CA")
policy = key(*service, "Corp CA", "PolicyModules", "CertificateAuthority_MicrosoftDefault.Policy")
policy["EditFlags"][1] |= 0x40000
policy["DisableExtensionList"][1] = ["1.3.6.1.4.1.311.25.2"]
ca["InterfaceFlags"][1] &= ~0x200
ca["AuditFilter"][1] = 1
ca["ValidityPeriodUnits"][1] = 30
ca["CRLOverlapUnits"][1] = 1
ca["CRLOverlapPeriod"][1] = "Hours"
ca.pop("EnrollmentAgentRights")
key(*service, "Corp CA", "CSP")["CNGHashAlgorithm"][1] = "SHA1"
security = bytearray(base64.b64decode(ca["Security"][1]))
start = struct.unpack_from("<I", security, 16)[0]
entry = struct.pack("<BBHI", 0, 0, 20, 2) + bytes([1, 1, 0, 0, 0, 0, 0, 5]) + struct.pack("<I", 11)
size, count = struct.unpack_from("<HH", security, start + 2)
security[start + size : start + size] = entry
struct.pack_into("<HH", security, start + 2, size + len(entry), count + 1)
ca["Security"][1] = base64.b64encode(bytes(security)).decode()
urls = ca["CRLPublicationURLs"][1]
ca["CRLPublicationURLs"][1] = [urls[0], "2:ldap:///CN=%7%8,CN=%2,CN=CDP,CN=Public Key Services,CN=Services,%6%10"]
ca["CACertPublicationURLs"][1] = [ca["CACertPublicationURLs"][1][0], "2:http://ca1.corp.example/CertEnroll/elsewhere.crt"]
web = state["iis"]["locations"]["Default Web Site/CertSrv"]
web.update(tokenChecking="Allow", basic=True, sslFlags="None")
state["features"]["Web-Basic-Auth"] = True
state["iis"]["locations"].setdefault("Default Web Site/CertEnroll", {})["allowDoubleEscaping"] = False
files = {name.rpartition("\\")[2]: name for name in state["files"]}
state["files"][files["Corp Example Root CA.crl"]] = state["files"][files["Corp CA.crl"]]
json.dump(state, open(path, "w"))
"""
MEND_AUTHORITY = r"""
import hashlib, json
path = "/var/lib/windows_ca/machine.json"
state = json.load(open(path))
[name] = (name for name in state["files"] if name.endswith("Corp Example Root CA.crl"))
state["files"][name] = hashlib.sha256(open("/etc/windows_ca/Corp Example Root CA.crl", "rb").read()).hexdigest()
json.dump(state, open(path, "w"))
"""
SPOIL_GATEWAY = r"""
set -e
rm /etc/cron.d/certlogon-gateway
chmod 644 /etc/ocserv/certlogon/current/key.pem
sed -i 's/^cert-user-oid = .*/cert-user-oid = 0.9.2342.19200300.100.1.1/' /etc/ocserv/ocserv.conf
cat >> /var/lib/certlogon/vpn/trust.pem
echo 9999999999 > /var/lib/certlogon/vpn/gate
"""
SPOIL_KDC = r"""
set -e
sed -i '/pkinit_revoke/d' /etc/krb5.conf
"""

FAULTS: tuple[Fault, ...] = (
    Fault(
        "template-esc1",
        "template CorpSmartcardLogon",
        "CorpSmartcardLogon: msPKI-Certificate-Name-Flag 1",
        "CORP\\Smart Card Users (named as unprivileged)",
        implies=(
            ("template-card-binding", "template CorpSmartcardLogon"),
            ("template-card-approval", "template CorpSmartcardLogon"),
        ),
    ),
    Fault(
        "template-esc2",
        "template Workstation",
        "Workstation: any purpose as its only one, published",
        "CORP\\Domain Computers can get a certificate",
        implies=(("template-esc3", "template Workstation"),),
        remains=(("template-weak-unpublished", "template Workstation"),),
    ),
    Fault(
        "template-esc3",
        "template CorpEnrollmentAgent",
        "CorpEnrollmentAgent: Enroll for Authenticated Users",
        "Authenticated Users can become an enrollment",
        implies=(("template-esc3-target", "template Machine"),),
    ),
    Fault(
        "template-esc4",
        "template CorpDomainController",
        "CorpDomainController: Authenticated Users write its properties",
        "Authenticated Users can change the template",
    ),
    Fault(
        "template-esc9",
        "template CorpSmartcardUser",
        "CorpSmartcardUser: CT_FLAG_NO_SECURITY_EXTENSION in msPKI-Enrollment-Flag",
        "CORP\\Smart Card Users (named as unprivileged)",
        implies=(("template-card-binding", "template CorpSmartcardUser"),),
    ),
    Fault(
        "template-esc13",
        "template CorpSmartcardLogon",
        "CorpSmartcardLogon: a policy whose object is linked to a group",
        "CORP\\Smart Card Users (named as unprivileged)",
    ),
    Fault(
        "template-esc15",
        "template WebServer",
        "WebServer, of version 1: Enroll for Authenticated Users",
        "Authenticated Users can put application",
        implies=(("template-esc17", "template WebServer"),),
        mended=False,
    ),
    Fault(
        "template-weak-unpublished",
        "template OfflineRouter",
        "OfflineRouter: Enroll for Authenticated Users",
        "As soon as a CA publishes it (ESC1, ESC15):",
        mended=False,
    ),
    Fault(
        "template-card-purposes",
        "template CorpSmartcardUser",
        "CorpSmartcardUser: pKIExtendedKeyUsage without client authentication",
        "Certificates lack the purpose",
    ),
    Fault(
        "template-card-provider",
        "template CorpSmartcardUser",
        "CorpSmartcardUser: pKIDefaultCSPs names a provider of software keys",
        "Its default provider is Microsoft Enhanced",
    ),
    Fault(
        "template-card-key",
        "template CorpSmartcardUser",
        "CorpSmartcardUser: msPKI-Minimal-Key-Size 1024",
        "Keys of 1024 bits are accepted.",
    ),
    Fault(
        "template-card-validity",
        "template CorpSmartcardUser",
        "CorpSmartcardUser: pKIExpirationPeriod of ten years",
        "Certificates are valid for 3650 days, more",
    ),
    Fault(
        "pki-object-esc5",
        "object CN=NTAuthCertificates,CN=Public Key Services,CN=Services,CN=Configuration,DC=corp,DC=example",
        "NTAuthCertificates: Authenticated Users write its properties",
        "Authenticated Users can change it",
        mended=False,
    ),
    Fault(
        "ca-computer-esc5",
        "computer ca1.corp.example",
        "the computer account of ca1: full control for Authenticated Users",
        "Authenticated Users can change it",
        mended=False,
    ),
    Fault(
        "service-template-missing",
        "service Corp CA",
        "certificateTemplates of the CA: Gone",
        "It publishes Gone, and the directory shows no",
    ),
    Fault(
        "service-template-superseded",
        "service Corp CA",
        "CorpSmartcardLogon: msPKI-Supersede-Templates names CorpSmartcardUser",
        "It still publishes CorpSmartcardUser,",
    ),
    Fault(
        "service-template-default",
        "service Corp CA",
        "certificateTemplates of the CA: SubCA",
        "It publishes SubCA (Subordinate Certification",
    ),
    Fault("authority-esc6", "CA Corp CA", "EditFlags: EDITF_ATTRIBUTESUBJECTALTNAME2", "Whoever may enroll for any template can name"),
    Fault(
        "authority-esc7",
        "CA Corp CA: NT AUTHORITY\\Authenticated Users",
        "Security: Authenticated Users manage certificates",
        "NT AUTHORITY\\Authenticated Users holds",
    ),
    Fault(
        "authority-esc8",
        "ca1.corp.example/CertSrv",
        "CertSrv: tokenChecking Allow, no TLS demanded",
        "A sign-in that is relayed here gets a",
    ),
    Fault(
        "authority-web-passwords",
        "ca1.corp.example/CertSrv",
        "CertSrv: basic authentication, no TLS demanded",
        "Passwords come over plain HTTP",
    ),
    Fault(
        "authority-esc11", "CA Corp CA", "InterfaceFlags without IF_ENFORCEENCRYPTICERTREQUEST", "Requests by RPC need not be encrypted, so"
    ),
    Fault("authority-esc16", "CA Corp CA", "DisableExtensionList: the SID extension", "No certificate of this CA names the SID of"),
    Fault("authority-agents-restricted", "CA Corp CA", "EnrollmentAgentRights is gone", "Whoever has a certificate of"),
    Fault("authority-audit-filter", "CA Corp CA", "AuditFilter 1", "The security log does not tell of"),
    Fault("authority-hash", "CA Corp CA", "CNGHashAlgorithm SHA1", "Certificates and CRLs are signed with SHA1"),
    Fault(
        "authority-issued-validity",
        "CA Corp CA",
        "ValidityPeriodUnits 30 (years)",
        "Certificates may last 30 years, longer than",
        implies=(("authority-outlives", "certificate * of CN=Corp CA,DC=corp,DC=example"),),
    ),
    Fault("authority-crl-overlap", "CA Corp CA", "CRLOverlapUnits 1 (hour)", "When one publication fails, the CRL ends 1.0"),
    Fault("authority-cdp-http", "CA Corp CA", "CRLPublicationURLs without HTTP", "Certificates name no HTTP address of CRLs;"),
    Fault(
        "authority-places-published",
        "CA Corp CA: ldap:///CN=<CATruncatedName><CRLNameSuffix>,CN=<ServerShortName>,CN=CDP,CN=Public Key "
        "Services,CN=Services,<ConfigurationContainer><CDPObjectClass>",
        "CRLPublicationURLs: the directory in certificates, not published to",
        "Certificates name this place, but the CA does",
    ),
    Fault(
        "authority-aia-served",
        "CA Corp CA: http://ca1.corp.example/CertEnroll/elsewhere.crt",
        "CACertPublicationURLs: an address where nothing is",
        "The CA's certificate is not to be had there:",
    ),
    Fault(
        "ntauth-unknown-certificate",
        "certificate Totally Trustworthy CA (*)",
        "NTAuthCertificates: another CA",
        "It is in the NTAuth store, and the inventory",
        implies=(("ntauth-chain", "certificate Totally Trustworthy CA (*)"),),
    ),
    Fault(
        "ntauth-expired",
        "certificate Corp Example Old Root CA (*)",
        "NTAuthCertificates: a CA that has expired",
        "In the NTAuth store is a certificate that",
        implies=(("ntauth-unknown-certificate", "certificate Corp Example Old Root CA (*)"),),
    ),
    Fault(
        "ntauth-weak",
        "certificate Corp Example 1024 Bit CA (*)",
        "NTAuthCertificates: a CA with 1,024 bits",
        "In the NTAuth store is a certificate that has",
        implies=(("ntauth-unknown-certificate", "certificate Corp Example 1024 Bit CA (*)"),),
    ),
    Fault(
        "ntauth-not-a-ca",
        "certificate Nobody In Particular (*)",
        "NTAuthCertificates: a client's certificate",
        "In the NTAuth store is a certificate that is",
        implies=(("ntauth-unknown-certificate", "certificate Nobody In Particular (*)"),),
    ),
    Fault(
        "root-expired",
        "certificate Corp Example Old Root CA (*)",
        "Certification Authorities: a CA that has expired",
        "In the trusted roots is a certificate that",
        implies=(("root-unknown-certificate", "certificate Corp Example Old Root CA (*)"),),
    ),
    Fault(
        "root-weak",
        "certificate Corp Example 1024 Bit CA (*)",
        "Certification Authorities: a CA with 1,024 bits",
        "In the trusted roots is a certificate that",
        implies=(("root-unknown-certificate", "certificate Corp Example 1024 Bit CA (*)"),),
    ),
    Fault(
        "root-not-a-ca",
        "certificate Nobody In Particular (*)",
        "Certification Authorities: a client's certificate",
        "In the trusted roots is a certificate that is",
        implies=(
            ("root-unknown-certificate", "certificate Nobody In Particular (*)"),
            ("certificate-cdp", "certificate Nobody In Particular (*)"),
        ),
    ),
    Fault(
        "ntauth-service",
        "service Corp CA",
        "NTAuthCertificates without the CA",
        "The CA's newest certificate is not in the",
        implies=(
            ("dc-certificate-ntauth", "dc1.corp.example"),
            ("dc-kdc-takes-cards", "dc1.corp.example"),
            ("dc-kdc-authorities", "dc1.corp.example"),
            ("appliance-client-ca-ntauth", "trusted client CA Corp CA"),
        ),
    ),
    Fault("aia-service", "service Corp CA", "the CA's object in AIA: another certificate", "The CA's newest certificate is not in the AIA"),
    Fault(
        "dc-kdc-crls",
        "dc1.corp.example",
        "krb5.conf without pkinit_revoke",
        "The KDC asks no CRL, so revoked cards log on",
        implies=(("dc-kdc-current", "dc1.corp.example"),),
    ),
    Fault(
        "account-certificate-form",
        "alice.andersson, userCertificate[5]",
        "userCertificate: no certificate",
        "A value in the directory is no certificate:",
        mended=False,
    ),
    Fault(
        "account-certificate-sid",
        "alice.andersson: certificate 1abcdef",
        "userCertificate: one with the SID of somebody else",
        "The certificate 1abcdef of alice.andersson",
        mended=False,
    ),
    Fault(
        "account-certificate-name",
        "alice.andersson: certificate 1abcdef",
        "userCertificate: one with the user principal name of somebody else",
        "The certificate 1abcdef of alice.andersson is",
        mended=False,
    ),
    Fault(
        "account-certificate-issuer",
        "alice.andersson: certificate 1abcdef",
        "userCertificate: of a CA that is not in NTAuthCertificates",
        "The certificate 1abcdef of alice.andersson is",
        mended=False,
    ),
    Fault(
        "account-certificate-expired",
        "alice.andersson: certificate 1abcdef",
        "userCertificate: one that ended yesterday",
        "The certificate 1abcdef of alice.andersson",
        mended=False,
    ),
    Fault(
        "account-certificate-strength",
        "alice.andersson: certificate 1abcdef",
        "userCertificate: one with 1,024 bits",
        "The certificate 1abcdef of alice.andersson",
        mended=False,
    ),
    Fault(
        "account-certificate-disabled",
        "disabled.user: certificate 1abcdef",
        "userCertificate of disabled.user",
        "The certificate 1abcdef of disabled.user is",
        mended=False,
    ),
    Fault(
        "account-mapping-weak",
        "alice.andersson: X509:<RFC822>alice@corp.example",
        "altSecurityIdentities: an e-mail address",
        "A mapping of alice.andersson names an e-mail",
        mended=False,
    ),
    Fault(
        "account-mapping-form",
        "alice.andersson: X509:<NONSENSE>",
        "altSecurityIdentities: nonsense",
        "Domain controllers do not understand a",
        mended=False,
    ),
    Fault(
        "account-mapping-issuer",
        "plain.user: X509:<I>DC=corp,CN=Issuing CA<SR>efcdab01",
        "altSecurityIdentities: a CA that is not in NTAuthCertificates",
        "A mapping of plain.user names a CA that is",
        implies=(("account-mapping-issuer", "alice.andersson: X509:<I>DC=corp,CN=Issuing CA<SR>efcdab01"),),
        mended=False,
    ),
    Fault(
        "account-mapping-shared",
        "X509:<I>DC=corp,CN=Issuing CA<SR>efcdab01",
        "altSecurityIdentities: the same of two accounts",
        "plain.user and alice.andersson have the same",
        mended=False,
    ),
    Fault(
        "account-mapping-writers",
        "domain.admin",
        "domain.admin (adminCount 1): plain.user writes altSecurityIdentities",
        "Without being privileged, CORP\\plain.user",
        mended=False,
    ),
    Fault(
        "policy-smart-card-service",
        "service SCardSvr: policy Spoilt rival, linked to Corp/Workstations/Kiosks, sets disabled",
        "a policy nearer to kiosks disables SCardSvr",
        "Computers like WS-0005",
        implies=(
            (
                "policy-overridden",
                "start of service SCardSvr of policy Certlogon - Smart Card Logon, overridden by policy "
                "Spoilt rival at Corp/Workstations/Kiosks",
            ),
        ),
        mended=False,
    ),
    Fault(
        "policy-linked",
        "policy Certlogon - Trusted Certificates at domain",
        "gPLink of the domain without the declared policy",
        "The inventory links it there, and it is not",
        implies=(
            ("policy-trust-roots", "certificate * in store CA: no policy sets it"),
            ("policy-trust-roots", "certificate * in store Root: no policy sets it"),
        ),
    ),
    Fault(
        "policy-content",
        "policy Certlogon - Smart Card Logon",
        "Registry.pol of the declared policy: empty",
        "It does not say what the inventory declares:",
        implies=(("policy-autoenrollment", "autoenrollment of computers: no policy sets it"),),
    ),
    Fault(
        "policy-versions-in-step", "policy Spoilt older", "versionNumber 7", "Directory and GPT.INI have different versions", mended=False
    ),
    Fault(
        "policy-extension-lists",
        "policy Spoilt reversed",
        "gPCMachineExtensionNames out of order",
        "In gPCMachineExtensionNames clients stop",
        mended=False,
    ),
    Fault(
        "policy-folder-missing",
        "policy Spoilt folderless",
        "its folder removed from SYSVOL",
        "Its folder is missing in SYSVOL: computers",
        mended=False,
    ),
    Fault(
        "policy-folder-orphaned",
        "folder {0B5C0000-0000-0000-0000-000000000001}",
        "a folder of no policy in SYSVOL",
        "No policy of the directory has this folder;",
        mended=False,
    ),
    Fault(
        "policy-writable",
        "policy Spoilt open",
        "the policy's object: Authenticated Users write its properties",
        "Authenticated Users, who has no privileges,",
        implies=(("policy-sysvol-permissions", "policy Spoilt open"),),
        mended=False,
    ),
    Fault(
        "policy-links",
        "links of Corp/Servers",
        "gPLink of servers: a policy that is not there",
        "1 of its links lead to a policy that is not",
        mended=False,
    ),
    Fault(
        "policy-scripts",
        "startup script gone.cmd of policy Spoilt scripted",
        "scripts.ini: a command that is not there",
        "The policy runs it, but it is not there: who",
        mended=False,
    ),
    Fault(
        "policy-passwords", "policy Spoilt scripted", "Groups.xml: cpassword", "Its preferences hold a password (cpassword),", mended=False
    ),
    Fault(
        "crl-reachable",
        "CDP http://ca1.corp.example/CertEnroll/Corp%20CA+.crl",
        "CRLPublicationURLs without the web server, which serves no delta CRL any more",
        "There is no CRL: CRL",
    ),
    Fault(
        "crl-signature",
        "CDP http://ca1.corp.example/CertEnroll/Corp%20Example%20Root%20CA.crl",
        "CertEnroll: the CRL of another CA under the root's name",
        "The CRL there, of CN=Corp",
        mended=False,
    ),
    Fault(
        "crl-in-force",
        f"CDP {ROOT_CRL}",
        "the root's CRL in the directory: one that has ended",
        "It ended on",
        implies=(
            (
                "crl-number",
                f"CDP {ROOT_CRL}",
            ),
            ("crl-of-chain", "CA CN=Corp Example Root CA,DC=corp,DC=example"),
        ),
    ),
    Fault(
        "appliance-unknown-client-ca",
        "trusted client CA Totally Trustworthy CA",
        "a trusted client CA that nobody declares",
        "It is trusted for client authentication and",
        implies=(("appliance-crl-checking", "trusted client CA Totally Trustworthy CA"),),
        mended=False,
        remains=(("appliance-client-ca-ntauth", "trusted client CA Totally Trustworthy CA"),),
    ),
    Fault(
        "appliance-verify-client-ca",
        "trusted client CA Corp CA",
        "verify-trusted-client-ca true",
        "verify_trusted_client_ca is True, but False",
    ),
    Fault(
        "appliance-client-negotiation",
        "trusted client CA Corp CA: participate_in_negotiation",
        "participate-in-client-certificate-negotiation false",
        "It is False, but True is declared: browsers",
    ),
    Fault(
        "appliance-crl-frequency", "trusted client CA Corp CA", "crl-download-frequency 72", "CRLs are downloaded every 72 hours, but every"
    ),
    Fault(
        "appliance-certificate-server",
        "authentication server Certificates",
        "user-name-template: an e-mail address",
        "user_name_template: not as declared",
    ),
    Fault(
        "appliance-role-mapping",
        "user realm Certificate Users",
        "the realm's rule: for nobody",
        "Its role mapping rules, or their order, are",
    ),
    Fault(
        "appliance-sign-in-without-certificate",
        "sign-in URL */ with realm Users",
        "the URL */ enabled, whose realm asks for passwords",
        "Users get in without a certificate: System",
        implies=(("appliance-sign-in-policy", "sign-in URL */"),),
    ),
    Fault(
        "ocserv-trusted-client-ca",
        "trusted client CA CN=Totally Trustworthy CA,DC=corp,DC=example",
        "trust.pem: another CA",
        "It opens the gateway, and is in no",
    ),
    Fault(
        "ocserv-user-names",
        "user names",
        "ocserv.conf: cert-user-oid of another attribute",
        "They are made from 0.9.2342.19200300.100.1.1,",
    ),
    Fault("ocserv-gate", "gate", "gate: the year 2286", "It is open for longer than the first CRL in"),
    Fault("ocserv-timer", "certlogon-gateway", "no cron job", "Neither its timer nor its cron job runs: CRLs"),
    Fault("ocserv-private-key", "private key", "mode 0644", "Others than root may read it (mode 0644)"),
    Fault("waiver-expired", "policy-passwords: *", "a waiver that ended yesterday", "The waiver of lab ended on"),
    Fault(
        "waiver-unused",
        "ca-computer-esc5: nobody",
        "a waiver of a finding that is not there",
        "The waiver accepts nothing: no such failure",
    ),
)


ELSEWHERE: dict[str, tuple[str, ...]] = {
    "would take away what other rows rest on: a CA, a service or a port that is gone hides the rest": (
        "service-host-account",
        "service-card-template",
        "authority-running",
        "authority-looked-at",
        "dc-kdc-answers",
        "policy-present",
        "policy-link-options",
        "policy-enabled",
        "policy-reaches-computers",
        "appliance-trusted-client-ca",
        "appliance-realm-server",
        "appliance-realm-restriction",
        "ocserv-certificate-required",
        "ocserv-crl-checking",
        "ocserv-crl-in-use",
        "ocserv-closed-without-crl",
        "ocserv-running",
        "ocserv-users-port",
        "ocserv-users-port-chain",
        "dc-certificate-served",
        "dc-certificate-starttls",
        "appliance-crl-in-use",
        "account-certificate-binding",
        "policy-removal-service",
        "policy-propagation-service",
        "policy-services-started",
        "policy-removal-behaviour",
        "policy-link-order",
        "policy-readable",
        "crl-complete",
        "appliance-cdp",
        "appliance-backup-cdp",
        "authority-crl-delta-names",
        "authority-aia-http",
        "certificate-cdp-http",
        "dc-certificate-revocation",
        "authority-request-disposition",
    ),
    "would need another certificate of a running service, which only its CA makes": (
        "service-certificate-valid",
        "authority-web-certificate",
        "authority-key-strength",
        "authority-days-left",
        "dc-certificate-chain",
        "dc-certificate-purposes",
        "dc-certificate-names",
        "dc-certificate-days-left",
        "dc-certificate-strength",
        "appliance-device-certificate",
        "appliance-device-certificate-days-left",
        "appliance-device-certificate-strength",
        "appliance-users-port",
        "appliance-users-port-chain",
        "ocserv-device-certificate",
        "ocserv-device-certificate-days-left",
        "ocserv-device-certificate-strength",
        "authority-request-waits",
        "appliance-pending-request",
    ),
    "would need time to pass, or another clock, on a host": (
        "authority-crl-newest",
        "authority-crl-periods",
        "crl-published-in-time",
        "dc-clock",
        "ocserv-clock",
        "ocserv-last-run",
        "ocserv-revoked-sessions",
    ),
    "needs what the lab does not have: Windows, a second domain controller, hardware, another release, or a very large CRL": (
        "authority-esc12",
        "authority-backup",
        "pki-replica-difference",
        "policy-replicated",
        "dc-looked-at",
        "dc-esc10-binding",
        "dc-esc10-schannel",
        "dc-backdating",
        "dc-ldap-signing",
        "dc-ldap-channel-binding",
        "dc-kdc-crls-distinct",
        "appliance-generation",
        "appliance-release",
        "appliance-identified",
        "appliance-tls-versions",
        "ocserv-tls-versions",
        "crl-size",
    ),
    "is asked for, or about policies as such, and has tests of its own": (
        "issued-certificate-binding",
        "issued-certificate-sid",
        "issued-certificate-strength",
        "policy-delegated",
        "policy-loopback",
        "policy-computers",
        "drift-none",
        "ocserv-purposes",
    ),
    "is of a PassiveKey server, which has its own: passivekey_faults.py": tuple(
        control.id for control in load().controls if control.family == "87-passivekey"
    ),
}
"""Why it is not broken here -> the controls; the unit tests' tables have a case in which each of them fails."""
