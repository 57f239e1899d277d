# SPDX-License-Identifier: GPL-3.0-or-later
"""The authority's objects in the directory, written in the order of AD CS's setup; what is there already is left alone."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from lab.windows_ca.authority import descriptors, templates
from lab.windows_ca.authority.directory import Directory, Entry, escape
from lab.windows_ca.authority.errors import DirectoryError

SERVICE_RIGHTS = "CCDCLCSWRPWPDTLOCRSDRCWDWO"
OID_PREFIX = "1.3.6.1.4.1.311.21.8"
NOTHING = [b"\0"]
FLAGS_DURING_SETUP, FLAGS_RUNNING = b"2", b"10"


class Publication:
    def __init__(self, directory: Directory, *, ca: str, host: str, fqdn: str, computer: str) -> None:
        """`ca`: the sanitized name; `computer`: sAMAccountName of the CA's computer."""
        self.directory, self.ca, self.host, self.fqdn, self.computer = directory, ca, host, fqdn, computer
        self.services = f"CN=Public Key Services,CN=Services,{directory.config_dn}"

    def container(self, name: str) -> str:
        return f"CN={name},{self.services}"

    @property
    def enrollment_service(self) -> str:
        return f"CN={self.ca},{self.container('Enrollment Services')}"

    def cdp(self, ca: str) -> str:
        return f"CN={ca},CN={self.host},{self.container('CDP')}"

    # ---- setup

    def steps(self, certificate: bytes | None, certificate_dn: str, *, root: bool, publish: Sequence[str]) -> dict[str, Callable[[], None]]:
        """The steps of setup by name, in order. `certificate` is None while a subordinate CA waits for its own."""
        return {
            "containers": self.containers,
            "certification_authorities": lambda: self.trusted_root(certificate) if root and certificate else None,
            "ntauth": lambda: self.ntauth([certificate] if certificate else []),
            "cdp": self.distribution_point,
            "aia": lambda: self.authority_information([certificate] if certificate else []),
            "kra": self.key_recovery,
            "enrollment_service": lambda: self.service(certificate, certificate_dn),
            "oid_base": self.make_oid_base,
            "templates": self.templates,
            "published_templates": lambda: self.publish_templates(publish),
            "groups": self.groups,
        }

    def containers(self) -> None:
        """The containers, and Cert Publishers' rights on those that the running service writes to."""
        container = {"objectClass": [b"top", b"container"]}
        for name in ("Certification Authorities", "CDP", "AIA", "KRA", "Enrollment Services", "Certificate Templates"):
            self._add(self.container(name), container)
        self._add(self.container("OID"), {"objectClass": [b"top", b"msPKI-Enterprise-Oid"]})
        for name in ("Certification Authorities", "CDP", "AIA", "KRA"):
            self._let_publishers_write(self.container(name))

    def trusted_root(self, certificate: bytes) -> None:
        self._authority(f"CN={self.ca},{self.container('Certification Authorities')}", [certificate])

    def ntauth(self, certificates: Sequence[bytes]) -> None:
        """Add to the NTAuth store; the store is made with placeholders first, as setup does."""
        dn = self.container("NTAuthCertificates")
        made = self._add(dn, self._placeholders())
        if made:
            self._let_publishers_write(dn)
        present = [value for value in self._read(dn, "cACertificate").all("cACertificate") if value != NOTHING[0]]
        wanted = present + [certificate for certificate in certificates if certificate not in present]
        if wanted and wanted != present:
            self.directory.modify(dn, [("replace", "cACertificate", wanted)])

    def distribution_point(self, suffix: str = "") -> None:
        self._add(f"CN={self.host},{self.container('CDP')}", {"objectClass": [b"top", b"container"]})
        content = {"objectClass": [b"top", b"cRLDistributionPoint"], "certificateRevocationList": NOTHING, "deltaRevocationList": NOTHING}
        self._add(self.cdp(self.ca + suffix), content)

    def authority_information(self, certificates: Sequence[bytes]) -> None:
        self._authority(f"CN={self.ca},{self.container('AIA')}", certificates)

    def key_recovery(self) -> None:
        content = {"objectClass": [b"top", b"msPKI-PrivateKeyRecoveryAgent"], "userCertificate": NOTHING}
        self._add(f"CN={self.ca},{self.container('KRA')}", content)

    def service(self, certificate: bytes | None, certificate_dn: str) -> None:
        account = self.account_sid()
        sddl = "O:EAG:EAD:PAI" + "".join(f"(A;;{SERVICE_RIGHTS};;;{sid})" for sid in ("EA", "DA", "SY", account))
        sddl += f"(A;;LCRPLORC;;;AU)(OA;;CR;{descriptors.ENROLL};;AU)"
        content = {
            "objectClass": [b"top", b"pKIEnrollmentService"],
            "displayName": [self.ca.encode()],
            "flags": [FLAGS_DURING_SETUP],
            "cACertificate": [certificate] if certificate else NOTHING,
            "cACertificateDN": [certificate_dn.encode()],
            "dNSHostName": [self.fqdn.encode()],
            "nTSecurityDescriptor": [descriptors.from_sddl(sddl, self.directory.domain_sid).to_bytes()],
        }
        if not self._add(self.enrollment_service, content):
            self.update_service(certificate, certificate_dn)

    def update_service(self, certificate: bytes | None, certificate_dn: str) -> None:
        changes = [("replace", "cACertificateDN", [certificate_dn.encode()]), ("replace", "dNSHostName", [self.fqdn.encode()])]
        if certificate:
            changes.append(("replace", "cACertificate", [certificate]))
        self.directory.modify(self.enrollment_service, changes)

    def make_oid_base(self) -> None:
        self.oid_base()

    def oid_base(self) -> str:
        """The forest's OID base, made once."""
        dn = self.container("OID")
        found = self._read(dn, "msPKI-Cert-Template-OID").text("msPKI-Cert-Template-OID")
        if not found:
            arcs = [secrets.randbelow(1 << 24) for _ in range(5)] + [secrets.randbelow(256)]
            found = ".".join([OID_PREFIX, *map(str, arcs)])
            self.directory.modify(dn, [("replace", "msPKI-Cert-Template-OID", [found.encode()])])
        return found

    def templates(self) -> None:
        base = self.oid_base()
        for name in templates.BUILT_IN:
            attributes = templates.built_in_attributes(name, base, self.directory.domain_sid)
            self._add(f"CN={name},{self.container('Certificate Templates')}", attributes)
        for oid, shown, flags in templates.oid_objects(base):
            dn = f"CN={templates.oid_object_cn(oid)},{self.container('OID')}"
            content = {
                "objectClass": [b"top", b"msPKI-Enterprise-Oid"],
                "msPKI-Cert-Template-OID": [oid.encode()],
                "flags": [b"%d" % flags],
            }
            if self._add(dn, content):
                changes = [("replace", "msPKI-Cert-Template-OID", [oid.encode()]), ("replace", "displayName", [shown.encode()])]
                self.directory.modify(dn, changes)

    def publish_templates(self, names: Sequence[str]) -> None:
        """As a whole, as setup does; not on a service that publishes something already."""
        if names and not self.published():
            self.directory.modify(self.enrollment_service, [("replace", "certificateTemplates", [name.encode() for name in names])])

    def groups(self) -> None:
        account = self.account()
        for sid in (f"{self.directory.domain_sid}-{descriptors.IN_DOMAIN['CA']}", descriptors.PRE_WINDOWS_2000):
            found = self.directory.search(self.directory.base_dn, "sub", f"(objectSid={sid})", ["cn"])
            if found:
                self._tolerate(partial(self.directory.modify, found[0].dn, [("add", "member", [account.dn.encode()])]))

    # ---- later

    def running(self) -> None:
        self.directory.modify(self.enrollment_service, [("replace", "flags", [FLAGS_RUNNING])])

    def published(self) -> list[str]:
        """The templates that this CA issues by, as the directory says now."""
        return self._read(self.enrollment_service, "certificateTemplates").texts("certificateTemplates")

    def template(self, wanted: str) -> Entry | None:
        """A template by cn or by OID."""
        text = escape(wanted)
        filter = f"(&(objectClass=pKICertificateTemplate)(|(cn={text})(msPKI-Cert-Template-OID={text})))"
        found = self.directory.search(self.container("Certificate Templates"), "one", filter, templates.ATTRIBUTES)
        return found[0] if found else None

    def write_crl(self, ca: str, attribute: str, crl: bytes) -> None:
        """`ca`: name with the key's suffix; its object is made where it is missing."""
        self.distribution_point(ca[len(self.ca) :])
        self.directory.modify(self.cdp(ca), [("replace", attribute, [crl])])

    def trusted(self) -> list[bytes]:
        """Certificates of the directory's trusted roots."""
        found = self.directory.search(self.container("Certification Authorities"), "one", "(objectClass=*)", ["cACertificate"])
        return [value for entry in found for value in entry.all("cACertificate") if value != NOTHING[0]]

    def authorities(self) -> list[bytes]:
        """Certificates of all CAs that the directory names as issuers."""
        found = self.directory.search(self.container("AIA"), "one", "(objectClass=*)", ["cACertificate"])
        return [value for entry in found for value in entry.all("cACertificate") if value != NOTHING[0]]

    def ntauth_certificates(self) -> list[bytes]:
        return [
            value for value in self._read(self.container("NTAuthCertificates"), "cACertificate").all("cACertificate") if value != NOTHING[0]
        ]

    def remove(self) -> None:
        """What uninstalling takes away: the enrollment service. All else stays, as with AD CS."""
        self._tolerate(lambda: self.directory.delete(self.enrollment_service), DirectoryError.NO_SUCH_OBJECT)

    # ---- helpers

    def account(self) -> Entry:
        found = self.directory.search(self.directory.base_dn, "sub", f"(sAMAccountName={escape(self.computer)})", ["objectSid"])
        if not found:
            raise DirectoryError(DirectoryError.NO_SUCH_OBJECT, f"the computer {self.computer} has no account in the domain")
        return found[0]

    def account_sid(self) -> str:
        return descriptors.parse_sid(self.account().first("objectSid") or b"")[0]

    @staticmethod
    def _placeholders() -> dict[str, Sequence[bytes]]:
        return {
            "objectClass": [b"top", b"certificationAuthority"],
            "cACertificate": NOTHING,
            "authorityRevocationList": NOTHING,
            "certificateRevocationList": NOTHING,
        }

    def _authority(self, dn: str, certificates: Sequence[bytes]) -> None:
        first = {**self._placeholders(), **({"cACertificate": list(certificates)} if certificates else {})}
        if self._add(dn, first):
            return
        present = self._read(dn, "cACertificate").all("cACertificate")
        wanted = [value for value in present if value != NOTHING[0]]
        wanted += [certificate for certificate in certificates if certificate not in wanted]
        if wanted and wanted != present:
            self.directory.modify(dn, [("replace", "cACertificate", wanted)])

    def _read(self, dn: str, attribute: str) -> Entry:
        found = self.directory.search(dn, "base", "(objectClass=*)", [attribute])
        if not found:
            raise DirectoryError(DirectoryError.NO_SUCH_OBJECT, f"{dn} is not in the directory")
        return found[0]

    def _add(self, dn: str, attributes: Mapping[str, Sequence[bytes]]) -> bool:
        """Whether it was new."""
        return self._tolerate(lambda: self.directory.add(dn, attributes))

    @staticmethod
    def _tolerate(operation: Callable[[], None], *codes: int) -> bool:
        try:
            operation()
        except DirectoryError as error:
            if error.code not in (codes or (DirectoryError.EXISTS, DirectoryError.ATTRIBUTE_EXISTS)):
                raise
            return False
        return True

    def _let_publishers_write(self, dn: str) -> None:
        current = self._read(dn, "nTSecurityDescriptor").first("nTSecurityDescriptor")
        if current is None:
            return
        descriptor = descriptors.parse(current)
        publishers = f"{self.directory.domain_sid}-{descriptors.IN_DOMAIN['CA']}"
        inherited = descriptors.FLAGS["CI"]
        if any(ace.sid == publishers and ace.allows and ace.flags & inherited for ace in descriptor.aces):
            return
        descriptor.aces.append(descriptors.Ace(descriptors.ALLOW, inherited, descriptors.FULL_CONTROL, publishers))
        self.directory.modify(dn, [("replace", "nTSecurityDescriptor", [descriptor.to_bytes()])])
