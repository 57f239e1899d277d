# SPDX-License-Identifier: GPL-3.0-or-later
"""The certification authority of the stand-in Windows host: setup, service, issuing, revocation, CRLs, renewal, backup."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12
from cryptography.x509.oid import AuthorityInformationAccessOID, ObjectIdentifier

from lab.windows_ca import machine as windows
from lab.windows_ca.authority import capolicy, crls, database, descriptors, extensions, names, policy, requests, templates
from lab.windows_ca.authority import settings as registry
from lab.windows_ca.authority.directory import Directory, Entry, escape
from lab.windows_ca.authority.errors import (
    ADMIN_DENIED,
    ALREADY_EXISTS,
    BAD_ALGORITHM,
    BAD_CA_CERTIFICATE,
    BAD_RENEWAL_ATTRIBUTE,
    BAD_STATUS,
    BAD_TAG,
    E_ACCESSDENIED,
    ENROLL_DENIED,
    EXPIRED,
    INVALID_ARGUMENT,
    KEY_EXISTS,
    NO_CHAIN,
    NO_REQUEST,
    NO_TEMPLATE,
    NOT_FOUND,
    NOT_SUPPORTED,
    PROPERTY_EMPTY,
    RESTRICTED_OFFICER,
    REVOKED,
    ROLE_CONFLICT,
    SERVER_UNAVAILABLE,
    TEMPLATE_CONFLICT,
    TEMPLATE_DENIED,
    UNSUPPORTED_TEMPLATE,
    UNTRUSTED_ROOT,
    CertSrvError,
    DirectoryError,
)
from lab.windows_ca.authority.publication import Publication
from lab.windows_ca.authority.settings import Settings
from lab.windows_ca.machine import Machine, Service

KINDS = {
    "EnterpriseRootCA": registry.ENTERPRISE_ROOT,
    "EnterpriseSubordinateCA": registry.ENTERPRISE_SUBORDINATE,
    "StandaloneRootCA": registry.STANDALONE_ROOT,
    "StandaloneSubordinateCA": registry.STANDALONE_SUBORDINATE,
}
PROVIDERS = {
    "RSA#Microsoft Software Key Storage Provider": ("RSA", (1024, 2048, 3072, 4096)),
    "ECDSA_P256#Microsoft Software Key Storage Provider": ("ECDSA_P256", (256,)),
    "ECDSA_P384#Microsoft Software Key Storage Provider": ("ECDSA_P384", (384,)),
    "ECDSA_P521#Microsoft Software Key Storage Provider": ("ECDSA_P521", (521,)),
}
CURVES: dict[int, Callable[[], ec.EllipticCurve]] = {256: ec.SECP256R1, 384: ec.SECP384R1, 521: ec.SECP521R1}
HASHES: dict[str, Callable[[], Any]] = {
    "SHA256": hashes.SHA256,
    "SHA384": hashes.SHA384,
    "SHA512": hashes.SHA512,
}
# SetupStatus, [MS-CSRA] (SETUP_SERVER_FLAG, SETUP_SUSPEND_FLAG, SETUP_REQUEST_FLAG)
SETUP_DONE, SETUP_WAITING, SETUP_REQUEST = 0x1, 0x4, 0x8
TRUSTED_ROOTS = r"HKLM\SOFTWARE\Microsoft\SystemCertificates\ROOT\Certificates"
FEATURE = "ADCS-Cert-Authority"
SERVICE = "CertSvc"
RELEASE = 8
TICK = 5.0
"""seconds between two looks at the clock: is a CRL due?"""

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Caller:
    """An authenticated account; `name` is CORP\\alice.andersson."""

    name: str
    sam: str
    sid: str
    dn: str


@dataclass(frozen=True)
class InstallOptions:
    """The parameters of Install-AdcsCertificationAuthority."""

    ca_type: str = "EnterpriseRootCA"
    ca_common_name: str = ""
    ca_distinguished_name_suffix: str = ""
    crypto_provider_name: str = "RSA#Microsoft Software Key Storage Provider"
    key_length: int = 2048
    hash_algorithm_name: str = "SHA256"
    validity_period: str = "Years"
    validity_period_units: int = 5
    database_directory: str = r"C:\Windows\system32\CertLog"
    log_directory: str = r"C:\Windows\system32\CertLog"
    output_cert_request_file: str = ""
    parent_ca: str = ""
    overwrite_existing_key: bool = False
    overwrite_existing_database: bool = False
    overwrite_existing_ca_in_ds: bool = False


@dataclass(frozen=True)
class InstallOutcome:
    """`status` is installed or waiting_for_certificate; then the request lies in `request_file` on the host."""

    status: str
    message: str = ""
    request_file: str = ""
    request: bytes = b""


@dataclass(frozen=True)
class Disposition:
    """`status`: issued, pending or denied; `certificate` is DER."""

    request_id: int
    status: str
    hresult: int
    message: str
    certificate: bytes | None = None


@dataclass(frozen=True)
class CACertificate:
    index: int
    key_index: int
    certificate: x509.Certificate
    key: PrivateKey | None

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def suffix(self) -> str:
        return f"({self.index})" if self.index else ""

    @property
    def key_suffix(self) -> str:
        return f"({self.key_index})" if self.key_index else ""


class Authority:
    """One certification authority on one machine. Thread-safe. `directory`: the domain, read and written as the computer."""

    def __init__(self, machine: Machine, directory: Directory) -> None:
        self.machine, self.directory = machine, directory
        self.events: list[str] = []
        """what would be in the event log"""
        self._lock = machine.lock
        self._settings: Settings | None = None
        self._database: database.Database | None = None
        self._stop = threading.Event()
        if self.configured and self._service and self._service.state == "running":
            self._resume()

    def _resume(self) -> None:
        """The service ran when the machine was switched off; if it cannot any more, it is stopped and the event log says why."""
        try:
            self.start_service()
        except (CertSrvError, DirectoryError, OSError) as error:
            self.events.append(f"{self.machine.now().isoformat()} the service does not start: {error}")
            self.stop_service()

    # ---- what there is

    @property
    def _service(self) -> Service | None:
        found: Service | None = self.machine.services.get(SERVICE)
        return found

    @property
    def ca_key(self) -> str:
        """The CA's name in the registry; "" where none is set up."""
        return self.machine.registry.get(registry.CONFIGURATION, "Active") or ""

    @property
    def ca_name(self) -> str:
        return self._value("CommonName") or ""

    @property
    def config(self) -> str:
        return f"{self.machine.fqdn}\\{self.ca_name}"

    def _value(self, name: str) -> Any:
        return self.machine.registry.get(registry.key(self.ca_key), name) if self.ca_key else None

    @property
    def setup_status(self) -> int:
        return self._value("SetupStatus") or 0

    @property
    def configured(self) -> bool:
        return bool(self.setup_status & SETUP_DONE)

    @property
    def waiting(self) -> bool:
        """Whether it waits for its certificate: its first, or the one of a renewal."""
        return bool(self._state().get("pending"))

    @property
    def running(self) -> bool:
        return self._settings is not None

    @property
    def kind(self) -> int:
        return int(self._value("CAType") or 0)

    @property
    def enterprise(self) -> bool:
        return self.kind in (registry.ENTERPRISE_ROOT, registry.ENTERPRISE_SUBORDINATE)

    @property
    def root(self) -> bool:
        return self.kind in (registry.ENTERPRISE_ROOT, registry.STANDALONE_ROOT)

    @property
    def certificates(self) -> list[CACertificate]:
        """The CA's certificates, oldest first."""
        found: list[CACertificate] = []
        for index, thumbprint in enumerate(self._value("CACertHash") or []):
            entry = self.machine.store[thumbprint.replace(" ", "").upper()]
            certificate = x509.load_der_x509_certificate(entry.der)
            spki = public_bytes(certificate.public_key())
            same = [older.key_index for older in found if public_bytes(older.certificate.public_key()) == spki]
            key = serialization.load_pem_private_key(entry.key_pem.encode(), None) if entry.key_pem else None
            found.append(CACertificate(index, same[0] if same else index, certificate, key))  # type: ignore[arg-type]
        return found

    def _current(self) -> CACertificate:
        return self._loaded[-1]

    @property
    def _loaded(self) -> list[CACertificate]:
        hashes_now = tuple(self._value("CACertHash") or [])
        if getattr(self, "_cached", (None,))[0] != hashes_now:
            self._cached = (hashes_now, self.certificates)
        return self._cached[1]

    def _state(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.machine.folder / "authority.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def _remember(self, state: Mapping[str, Any]) -> None:
        windows.replace(self.machine.folder / "authority.json", json.dumps(state).encode())

    def _publication(self, directory: Directory | None = None) -> Publication:
        computer = f"{self.machine.hostname.upper()}$"
        return Publication(
            directory or self.directory, ca=self.ca_key, host=self.machine.hostname, fqdn=self.machine.fqdn, computer=computer
        )

    # ---- setup

    def install(self, options: InstallOptions, credential: tuple[str, str] | None = None, caller: Caller | None = None) -> InstallOutcome:
        """Install-AdcsCertificationAuthority. An installation that died is taken up again with the same options.

        `credential`: of a member of Enterprise Admins; without one an enterprise CA cannot be set up, for a remote logon does not reach
        the directory.
        """
        with self.machine.transaction():
            if not self.machine.features.get(FEATURE):
                raise CertSrvError(NOT_FOUND, f"The {FEATURE} role service is not installed.")
            if self.setup_status & (SETUP_DONE | SETUP_WAITING):
                raise CertSrvError(ALREADY_EXISTS, "The Certification Authority is already installed.")
            options = self._complete(options)
            kind = KINDS[options.ca_type]
            inf = capolicy.parse(self.machine.files.get(capolicy.PATH))
            directory = self._setup_directory(kind, credential)
            key = self._setup_key(options)
            self._fault("key")
            self._write_registry(options, kind, inf, key)
            self._fault("registry")
            subject = subject_of(options)
            if kind in (registry.ENTERPRISE_ROOT, registry.STANDALONE_ROOT):
                period = registry.Period(options.validity_period_units, options.validity_period)
                certificate = self._self_signed(subject, key, period, inf, options.hash_algorithm_name, index=0, key_index=0, previous=None)
                self._use(certificate, key)
                self._fault("certificate")
                self._write_directory(directory, certificate, inf)
                self._finish()
                return InstallOutcome("installed")
            self._write_directory(directory, None, inf, names.shown(subject))
            return self._ask_parent(options.output_cert_request_file, key, subject, options.hash_algorithm_name, index=0, key_index=0)

    def _complete(self, options: InstallOptions) -> InstallOptions:
        """Defaults as the cmdlet has them; raises for what it would refuse."""
        if options.ca_type not in KINDS:
            raise CertSrvError(INVALID_ARGUMENT, f"CAType {options.ca_type!r} is none of {', '.join(KINDS)}")
        if options.parent_ca:
            raise CertSrvError(NOT_SUPPORTED, "ParentCA: the stand-in reaches no other CA; use OutputCertRequestFile")
        provider = PROVIDERS.get(options.crypto_provider_name)
        if provider is None:
            raise CertSrvError(BAD_ALGORITHM, f"provider {options.crypto_provider_name!r} is not modelled by the stand-in")
        if options.key_length not in provider[1]:
            raise CertSrvError(INVALID_ARGUMENT, f"KeyLength {options.key_length} is not one of {provider[1]} of this provider")
        if options.hash_algorithm_name not in HASHES:
            raise CertSrvError(BAD_ALGORITHM, f"HashAlgorithmName {options.hash_algorithm_name!r} is not modelled by the stand-in")
        name = options.ca_common_name or f"{self.machine.netbios.lower()}-{self.machine.hostname.upper()}-CA"
        names.check_ca_name(name)
        file = options.output_cert_request_file or f"C:\\{self.machine.fqdn}_{names.sanitize(name)}.req"
        suffix = options.ca_distinguished_name_suffix or self.machine.base_dn
        return replace(options, ca_common_name=name, output_cert_request_file=file, ca_distinguished_name_suffix=suffix)

    def _setup_directory(self, kind: int, credential: tuple[str, str] | None) -> Directory | None:
        if kind in (registry.STANDALONE_ROOT, registry.STANDALONE_SUBORDINATE):
            return None
        if credential is None:
            raise CertSrvError(
                E_ACCESSDENIED,
                "Active Directory Certificate Services setup failed with the following error: Access is denied. 0x80070005 (WIN32: 5 "
                "ERROR_ACCESS_DENIED): the logon session of this remote shell does not reach the domain; give -Credential",
            )
        try:
            directory = self.directory.as_user(*credential)
            found = self._account(directory, credential[0])
            if found is None or f"{directory.domain_sid}-{descriptors.IN_DOMAIN['EA']}" not in self._requester(found, directory).groups:
                raise CertSrvError(
                    E_ACCESSDENIED, f"{credential[0]} is no member of Enterprise Admins, which setting up an enterprise CA asks for"
                )
        except DirectoryError as error:
            raise error.as_adcs("Active Directory Certificate Services setup") from error
        return directory

    def _setup_key(self, options: InstallOptions) -> PrivateKey:
        state = self._state()
        wanted = asdict(options)
        if state.get("setup", {}).get("options") == wanted:
            found = serialization.load_pem_private_key(state["setup"]["key"].encode(), None)
            assert isinstance(found, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey))
            return found
        containers: list[str] = state.get("containers", [])
        if options.ca_common_name in containers and not options.overwrite_existing_key:
            raise CertSrvError(KEY_EXISTS, f"The private key {options.ca_common_name!r} already exists; see OverwriteExistingKey")
        key = new_key(options.crypto_provider_name, options.key_length)
        kept = sorted({*containers, options.ca_common_name})
        self._remember({**state, "setup": {"options": wanted, "key": key_pem(key)}, "containers": kept})
        return key

    def _write_registry(self, options: InstallOptions, kind: int, inf: capolicy.CAPolicy, key: PrivateKey) -> None:
        registry.write_defaults(
            self.machine,
            ca=names.sanitize(options.ca_common_name),
            common_name=options.ca_common_name,
            kind=kind,
            domain_sid=self.directory.domain_sid,
            domain=kind in (registry.ENTERPRISE_ROOT, registry.ENTERPRISE_SUBORDINATE),
            policy=inf,
            hash_name=options.hash_algorithm_name,
            provider=options.crypto_provider_name.rpartition("#")[2],
            key_algorithm=PROVIDERS[options.crypto_provider_name][0],
            database=options.database_directory,
            log=options.log_directory,
        )

    def _write_directory(
        self, directory: Directory | None, certificate: x509.Certificate | None, inf: capolicy.CAPolicy, dn: str = ""
    ) -> None:
        if directory is None:
            return
        der = certificate.public_bytes(serialization.Encoding.DER) if certificate else None
        publish = templates.PUBLISHED if inf.number("LoadDefaultTemplates", 1) else ()
        shown = names.shown(certificate.subject) if certificate else dn
        steps = self._publication(directory).steps(der, shown, root=self.root, publish=publish)
        try:
            for name, step in steps.items():
                step()
                self._fault(name)
        except DirectoryError as error:
            raise error.as_adcs("Active Directory Certificate Services setup") from error

    def _fault(self, step: str) -> None:
        if self.machine.faults.get("install_dies_after") == step:
            raise CertSrvError(SERVER_UNAVAILABLE, f"Active Directory Certificate Services setup was interrupted after {step}")

    def _self_signed(
        self,
        subject: x509.Name,
        key: PrivateKey,
        period: registry.Period,
        inf: capolicy.CAPolicy,
        hash_name: str,
        *,
        index: int,
        key_index: int,
        previous: bytes | None,
    ) -> x509.Certificate:
        now = self.machine.now().replace(microsecond=0)
        public = key.public_key()
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(public)
        builder = builder.serial_number(secrets.randbits(126) | 1 << 125)
        builder = builder.not_valid_before(now - timedelta(minutes=10)).not_valid_after(period.after(now))
        for value, critical in ca_extensions(public, inf, index=index, key_index=key_index, previous=previous):
            builder = builder.add_extension(value, critical)
        return builder.sign(key, HASHES[hash_name]())

    def _ask_parent(
        self, file: str, key: PrivateKey, subject: x509.Name, hash_name: str, *, index: int, key_index: int, previous: bytes | None = None
    ) -> InstallOutcome:
        """Write the request for a parent CA, remember its key, and wait."""
        inf = capolicy.parse(self.machine.files.get(capolicy.PATH))
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
        for value, critical in ca_extensions(key.public_key(), inf, index=index, key_index=key_index, previous=previous):
            builder = builder.add_extension(value, critical)
        builder = builder.add_extension(extensions.template_name("SubCA"), False)
        request = builder.sign(key, HASHES[hash_name]()).public_bytes(serialization.Encoding.DER)
        self.machine.files[file] = requests.pem("NEW CERTIFICATE REQUEST", request)
        self._remember({**self._state(), "pending": {"key": key_pem(key), "file": file, "subject": names.shown(subject)}})
        if not self.configured:
            self.machine.registry.set(registry.key(self.ca_key), "SetupStatus", SETUP_WAITING | SETUP_REQUEST, "REG_DWORD")
            self._register_service("stopped")
        message = (
            "The Active Directory Certificate Services installation is incomplete. To complete the installation, use the request file "
            f'"{file}" to obtain a certificate from the parent CA. Then, use the Certification Authority snap-in to install it.'
        )
        return InstallOutcome("waiting_for_certificate", message, file, self.machine.files[file])

    def install_certificate(self, content: bytes, credential: tuple[str, str] | None = None) -> CACertificate:
        """certutil -installcert: the parent's answer (DER, PEM, or PKCS#7 with the chain), for the first time or after a renewal."""
        with self.machine.transaction():
            pending = self._state().get("pending")
            if not pending:
                raise CertSrvError(BAD_STATUS, "No certificate request of this CA is waiting for its certificate.")
            key = serialization.load_pem_private_key(pending["key"].encode(), None)
            assert isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey))
            bundle = certificates_in(content)
            own = [c for c in bundle if public_bytes(c.public_key()) == public_bytes(key.public_key())]
            if not own:
                raise CertSrvError(BAD_CA_CERTIFICATE, "The certificate's public key is not the one of the waiting request.")
            self._check_own(own[0], pending["subject"])
            self._check_chain(own[0], [c for c in bundle if c not in own])
            first = not self.configured
            self._use(own[0], key)
            self._publish_certificate(credential)
            self._remember({name: value for name, value in self._state().items() if name != "pending"})
            if first:
                self._finish()
            elif self.running:
                self.stop_service()
                self.start_service()
            return self.certificates[-1]

    def _check_own(self, certificate: x509.Certificate, subject: str) -> None:
        if names.shown(certificate.subject) != subject:
            raise CertSrvError(BAD_CA_CERTIFICATE, f"The certificate is for {names.shown(certificate.subject)}, not for {subject}.")
        try:
            is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
            certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        except x509.ExtensionNotFound:
            is_ca = False
        if not is_ca:
            raise CertSrvError(
                BAD_CA_CERTIFICATE, "The certificate is not a CA's: basic constraints or subject key identifier are missing."
            )
        if not certificate.not_valid_before_utc <= self.machine.now() <= certificate.not_valid_after_utc:
            raise CertSrvError(EXPIRED)

    def _check_chain(self, certificate: x509.Certificate, given: Sequence[x509.Certificate]) -> None:
        """It must lead to a root that this host trusts: by the domain's Certification Authorities, or its own store of roots."""
        published = self._reading(lambda: [*self._publication().trusted(), *self._publication().authorities()])
        known = [*given, *(x509.load_der_x509_certificate(der) for der in published)]
        known += [x509.load_der_x509_certificate(der) for der in self._local_roots()]
        trusted = {*(self._reading(lambda: self._publication().trusted())), *self._local_roots()}
        for _ in range(8):
            if certificate.public_bytes(serialization.Encoding.DER) in trusted:
                return
            if certificate.issuer == certificate.subject:
                raise CertSrvError(UNTRUSTED_ROOT)
            issuers = [candidate for candidate in known if issued_by(certificate, candidate)]
            if not issuers:
                raise CertSrvError(NO_CHAIN, f"{NO_CHAIN_TEXT} No certificate of {names.shown(certificate.issuer)} is known here.")
            certificate = issuers[0]
        raise CertSrvError(NO_CHAIN)

    def known_authorities(self) -> list[bytes]:
        """Certificates of authorities that chains can be built from: its own, the directory's, the host's roots."""
        published = self._reading(lambda: [*self._publication().trusted(), *self._publication().authorities()])
        return [*(one.der for one in self._loaded), *published, *self._local_roots()]

    def _local_roots(self) -> list[bytes]:
        keys = self.machine.registry.keys(TRUSTED_ROOTS)
        return [self.machine.registry.get(f"{TRUSTED_ROOTS}\\{name}", "Blob") for name in keys]

    def trust_root(self, der: bytes) -> None:
        """certutil -addstore Root: the host trusts this root by itself."""
        thumbprint = x509.load_der_x509_certificate(der).fingerprint(hashes.SHA1()).hex().upper()
        self.machine.registry.set(f"{TRUSTED_ROOTS}\\{thumbprint}", "Blob", der, "REG_BINARY")

    def _reading(self, read: Callable[[], list[bytes]]) -> list[bytes]:
        if not self.enterprise:
            return []
        try:
            return read()
        except DirectoryError as error:
            raise error.as_adcs("Directory") from error

    def _publish_certificate(self, credential: tuple[str, str] | None) -> None:
        """The newest certificate into AIA, NTAuth, the enrollment service and, a root's, Certification Authorities."""
        if not self.enterprise:
            return
        directory = self.directory.as_user(*credential) if credential else self.directory
        directory.refresh()  # Cert Publishers since setup, which a ticket from before does not say
        newest = self.certificates[-1]
        try:
            publication = self._publication(directory)
            publication.authority_information([newest.der])
            publication.ntauth([newest.der])
            if self.root:
                publication.trusted_root(newest.der)
            publication.update_service(newest.der, names.shown(newest.certificate.subject))
        except DirectoryError as error:
            raise error.as_adcs("Publishing the CA's certificate") from error

    def _use(self, certificate: x509.Certificate, key: PrivateKey) -> None:
        """Make it the CA's newest certificate."""
        der = certificate.public_bytes(serialization.Encoding.DER)
        thumbprint = self.machine.add_to_store(der, key_pem(key), self.ca_key)
        spaced = " ".join(re.findall("..", thumbprint.lower()))
        known = [value for value in self._value("CACertHash") or [] if value != spaced]
        if not self.configured:
            known = []  # what a setup that died has left
        self.machine.registry.set(registry.key(self.ca_key), "CACertHash", [*known, spaced], "REG_MULTI_SZ")

    def _finish(self) -> None:
        """Setup's end: the service exists and starts by itself."""
        state = self._state()
        self._remember({name: value for name, value in state.items() if name != "setup"})
        self.machine.registry.set(registry.key(self.ca_key), "SetupStatus", SETUP_DONE, "REG_DWORD")
        self.machine.registry.set(registry.CONFIGURATION, "SetupStatus", SETUP_DONE, "REG_DWORD")
        self._register_service("stopped")
        if self.enterprise:
            self.directory.refresh()  # Cert Publishers by now
        self.start_service()

    def _register_service(self, state: str) -> None:
        self.machine.services[SERVICE] = Service(
            SERVICE, "Active Directory Certificate Services", "auto", state, r"C:\Windows\system32\certsrv.exe"
        )

    def uninstall(self, credential: tuple[str, str] | None = None) -> None:
        """Uninstall-AdcsCertificationAuthority: the service and its settings go; key, database and the PKI objects but one stay."""
        with self.machine.transaction():
            if not self.ca_key:
                raise CertSrvError(NOT_FOUND, "The Certification Authority is not installed.")
            if self.enterprise:
                try:
                    self._publication(self.directory.as_user(*credential) if credential else self.directory).remove()
                except DirectoryError as error:
                    raise error.as_adcs("Removing the enrollment service") from error
            self.stop_service()
            self.machine.services.pop(SERVICE, None)
            self.machine.registry.delete(registry.CONFIGURATION)
            self._remember({"containers": self._state().get("containers", [])})

    # ---- the service

    def start_service(self) -> None:
        """Read the settings, publish certificates and CRLs that are due, and answer requests."""
        with self.machine.transaction():
            if not self.configured:
                raise CertSrvError(BAD_STATUS, "The service did not start: the CA's setup is not complete.")
            if self.running:
                return
            service = self._service
            assert service is not None
            if service.start_mode == "disabled":
                raise CertSrvError(BAD_STATUS, "The service cannot be started because it is disabled.")
            self._settings = Settings.read(self.machine, self.ca_key)
            service.state = "running"
            self._database = database.Database(self.machine.folder / "certlog.sqlite")
            self._write_certificate_files()
            if self._settings.enterprise:
                self._tolerating("Enrollment service", lambda: self._publication().running())
            self._publish_due()
            self._stop = threading.Event()
            threading.Thread(target=self._watch, args=(self._stop,), name="CertSvc CRL publication", daemon=True).start()

    def stop_service(self) -> None:
        with self.machine.transaction():
            self._stop.set()
            self._settings = None
            if self._database is not None:
                self._database.close()
                self._database = None
            if self._service is not None:
                self._service.state = "stopped"

    def _watch(self, stop: threading.Event) -> None:
        while not stop.wait(TICK):
            with self._lock:
                if stop.is_set():
                    return
                self._publish_due()

    def _running(self) -> Settings:
        if self._settings is None:
            raise CertSrvError(SERVER_UNAVAILABLE)
        return self._settings

    @property
    def _db(self) -> database.Database:
        assert self._database is not None
        return self._database

    def _tolerating(self, what: str, operation: Callable[[], object]) -> None:
        try:
            operation()
        except (CertSrvError, DirectoryError, OSError) as error:
            self.events.append(f"{self.machine.now().isoformat()} {what}: {error}")

    def _write_certificate_files(self) -> None:
        settings = self._running()
        for ca in self._loaded:
            for place in settings.certificate_places:
                if place.flags & names.PUBLISH and not place.text.casefold().startswith("ldap:"):
                    path = self._tokens(ca).expand(place.text, for_url=False)
                    if self.machine.files.get(path) != ca.der:
                        self._tolerating("CA certificate", lambda path=path, ca=ca: self.machine.files.write(path, ca.der))  # type: ignore[misc]

    def _tokens(self, ca: CACertificate, *, delta: bool = False) -> names.Tokens:
        config = f"CN=Configuration,{self.machine.base_dn}"
        return names.Tokens(self.machine.fqdn, self.machine.hostname, self.ca_key, config, ca.suffix, ca.key_suffix, delta)

    # ---- accounts

    def identify(self, account: str) -> Caller:
        """An account by CORP\\name, name, or name@corp.example. Raises CertSrvError for one that is not in the directory."""
        try:
            found = self._account(self.directory, account)
        except DirectoryError as error:
            raise error.as_adcs("Directory") from error
        if found is None:
            raise CertSrvError(0x80070534, f"No mapping between account names and security IDs was done: {account}")
        return found

    def _account(self, directory: Directory, account: str) -> Caller | None:
        sam = account.rpartition("\\")[2]
        before, at, realm = sam.rpartition("@")
        filter = f"(sAMAccountName={escape(sam)})"
        if at:
            filter = f"(userPrincipalName={escape(sam)})"
            if realm.casefold() == self.machine.realm.casefold():
                filter = f"(|{filter}(sAMAccountName={escape(before)}))"
        found = directory.search(directory.base_dn, "sub", filter, ["sAMAccountName", "objectSid"])
        if not found:
            return None
        name = found[0].text("sAMAccountName") or ""
        return Caller(f"{self.machine.netbios}\\{name}", name, sid_of(found[0]), found[0].dn)

    def _requester(self, caller: Caller, directory: Directory | None = None) -> policy.Requester:
        wanted = ("cn", "userPrincipalName", "mail", "dNSHostName", "objectGUID", "objectClass", "tokenGroups", "primaryGroupID")
        found = (directory or self.directory).search(caller.dn, "base", "(objectClass=*)", wanted)
        if not found:
            raise CertSrvError(0x80070534, f"No mapping between account names and security IDs was done: {caller.name}")
        entry = found[0]
        groups = {descriptors.parse_sid(value)[0] for value in entry.all("tokenGroups")}
        groups |= {caller.sid, descriptors.EVERYONE, descriptors.AUTHENTICATED_USERS}
        if entry.integer("primaryGroupID") == descriptors.IN_DOMAIN["DD"]:
            groups.add(descriptors.ENTERPRISE_DOMAIN_CONTROLLERS)
        return policy.Requester(
            name=caller.name,
            sid=caller.sid,
            dn=entry.dn,
            cn=entry.text("cn") or "",
            dns_domain=self.machine.dns_domain,
            groups=frozenset(groups),
            computer=b"computer" in [value.lower() for value in entry.all("objectClass")],
            upn=entry.text("userPrincipalName"),
            mail=entry.text("mail"),
            dns_name=entry.text("dNSHostName"),
            guid=entry.first("objectGUID"),
        )

    def rights(self, caller: Caller) -> int:
        """The caller's rights on the CA: MANAGE_CA, MANAGE_CERTIFICATES, … as the running service has them."""
        settings = self._running()
        groups = self._groups(caller)
        return sum(bit for bit in (0x1, 0x2, 0x4, 0x8, 0x100, 0x200) if settings.security.allows(groups, bit))

    def _groups(self, caller: Caller) -> frozenset[str]:
        try:
            groups = self._requester(caller).groups
        except DirectoryError as error:
            raise error.as_adcs("Directory") from error
        administrators = {f"{self.directory.domain_sid}-{descriptors.IN_DOMAIN['DA']}"}
        # of this computer's own group Administrators, Domain Admins are members since the host joined
        return groups | {descriptors.ADMINISTRATORS} if groups & administrators else groups - {descriptors.ADMINISTRATORS}

    def _demand(self, caller: Caller | None, right: int, subject_sid: str | None = None) -> None:
        """Raise unless the caller may administer; None is the computer itself. `subject_sid`: whose certificate an officer handles."""
        if caller is None:
            return
        settings = self._running()
        groups = self._groups(caller)
        held = [bit for bit in (registry.MANAGE_CA, registry.MANAGE_CERTIFICATES) if settings.security.allows(groups, bit)]
        if right not in held:
            raise CertSrvError(E_ACCESSDENIED)
        if settings.role_separation and len(held) > 1:
            raise CertSrvError(ROLE_CONFLICT)
        if subject_sid is not None and settings.officer_rights is not None:
            subject = self._groups(self._caller_of(subject_sid))
            if not restricted_allows(settings.officer_rights, groups, subject, None):
                raise CertSrvError(RESTRICTED_OFFICER)

    def _caller_of(self, sid: str) -> Caller:
        found = self.directory.search(self.directory.base_dn, "sub", f"(objectSid={sid})", ["sAMAccountName", "objectSid"])
        if not found:
            raise CertSrvError(0x80070534)
        name = found[0].text("sAMAccountName") or ""
        return Caller(f"{self.machine.netbios}\\{name}", name, sid, found[0].dn)

    # ---- requests

    def submit(self, request: bytes, attributes: Mapping[str, str], caller: Caller) -> Disposition:
        """ICertRequest::Submit. Whatever becomes of it is in the database, but for who may not ask this CA at all."""
        with self._lock:
            settings = self._running()
            try:
                who = self._requester(caller)
                if not settings.security.allows(who.groups, registry.ENROLL):
                    raise CertSrvError(ENROLL_DENIED)
                given = {name.strip().lower(): value.strip() for name, value in attributes.items()}
                return self._process(None, request, given, caller, who, approved=False)
            except DirectoryError as error:
                raise error.as_adcs("Directory") from error

    def _process(
        self, request_id: int | None, request: bytes, attributes: dict[str, str], caller: Caller, who: policy.Requester, *, approved: bool
    ) -> Disposition:
        row: dict[str, Any] = {}
        stage = "Error Parsing Request"
        requester = who
        try:
            parsed = requests.parse(request)
            stage = "Denied by Policy Module"
            behalf = parsed.attributes.get("requestername") if parsed.signers else None
            if behalf:
                found = self._account(self.directory, behalf)
                if found is None:
                    raise CertSrvError(0x80070534, f"No mapping between account names and security IDs was done: {behalf}")
                requester = self._requester(found)
            contents = self._decide({**parsed.attributes, **attributes}, parsed, who, requester)
            row["certificate_template"] = contents.template
            if contents.pending and not approved:
                row |= {"disposition": database.PENDING, "status_code": 0, "disposition_message": "Taken Under Submission"}
                return self._record(request_id, request, attributes, caller, requester, row, parsed)
            stage = "Error Constructing or Publishing Certificate"
            request_id = request_id or self._record(request_id, request, attributes, caller, requester, row | NEW, parsed).request_id
            certificate = self._issue(request_id, contents, parsed)
            row |= issued_columns(certificate, self._current().key_index)
            if contents.publish:
                self._tolerating("Publishing to the directory", lambda: self._publish_to(requester.dn, row["certificate"]))
            return self._record(request_id, request, attributes, caller, requester, row, parsed)
        except CertSrvError as error:
            code = database.DENIED if stage.startswith("Denied") else database.FAILED
            message = f"{stage}  0x{error.hresult:08x}, {error.text}"
            row |= {"disposition": code, "status_code": error.hresult, "disposition_message": message}
            return self._record(request_id, request, attributes, caller, requester, row, None)

    def _record(
        self,
        request_id: int | None,
        request: bytes,
        attributes: dict[str, str],
        caller: Caller,
        requester: policy.Requester,
        row: dict[str, Any],
        parsed: requests.ParsedRequest | None,
    ) -> Disposition:
        now = self.machine.now()
        columns = dict(row)
        if columns["disposition"] not in (database.PENDING, 8):
            columns["resolved_when"] = now
        if parsed is not None:
            columns.setdefault("distinguished_name", names.shown(parsed.subject))
        if request_id is None:
            columns |= {"submitted_when": now, "requester_name": requester.name, "requester_sid": requester.sid, "caller_name": caller.name}
            columns |= {"request": request, "attributes": attributes}
            request_id = self._db.add_request(columns)
        else:
            self._db.update_request(request_id, columns)
        return self._disposition(self._db.request(request_id) or {})

    @staticmethod
    def _disposition(row: Mapping[str, Any]) -> Disposition:
        status = database.STATUS.get(row["disposition"], "pending")
        return Disposition(row["request_id"], status, row["status_code"], row["disposition_message"], row["certificate"])

    def _decide(
        self, attributes: Mapping[str, str], parsed: requests.ParsedRequest, caller: policy.Requester, requester: policy.Requester
    ) -> policy.Contents:
        settings = self._running()
        if not settings.enterprise:
            return policy.standalone(settings, parsed, attributes, lambda oid: oid == extensions.SID)
        template = self._template(attributes, parsed)
        renewed = self._renewed(parsed, template, requester)
        others = [der for der in parsed.signers if renewed is None or der != renewed.public_bytes(serialization.Encoding.DER)]
        signers = [self._signer(x509.load_der_x509_certificate(der)) for der in others]
        if requester.sid != caller.sid and settings.agent_rights is not None:
            if not policy.may_enroll(template, caller):
                raise CertSrvError(TEMPLATE_DENIED)
            if not restricted_allows(settings.agent_rights, caller.groups, requester.groups, template.cn):
                raise CertSrvError(E_ACCESSDENIED, "The enrollment agent is not permitted to enroll on behalf of this account.")
        return policy.by_template(
            settings, template, parsed, attributes, caller=caller, requester=requester, signers=signers, renewed=renewed
        )

    def _template(self, attributes: Mapping[str, str], parsed: requests.ParsedRequest) -> templates.Template:
        name, oid = requests.requested_template(parsed)
        asked = [value for value in (attributes.get("certificatetemplate"), name, oid) if value]
        if not asked:
            raise CertSrvError(
                NO_TEMPLATE,
                "The request contains no certificate template information. The request does not contain a certificate template extension "
                "or the CertificateTemplate request attribute.",
            )
        publication = self._publication()
        entries = {value.casefold(): publication.template(value) for value in asked}
        found = [entry for entry in entries.values() if entry is not None]
        if len(found) < len(entries) or found[0].text("cn") not in publication.published():
            raise CertSrvError(
                UNSUPPORTED_TEMPLATE,
                "The request was for a certificate template that is not supported by the Active Directory Certificate Services policy: "
                f"{asked[0]}.",
            )
        if len({entry.dn for entry in found}) > 1:
            raise CertSrvError(TEMPLATE_CONFLICT)
        return templates.Template.of(found[0])

    def _renewed(
        self, parsed: requests.ParsedRequest, template: templates.Template, requester: policy.Requester
    ) -> x509.Certificate | None:
        """The certificate that a request renews; None for a request that is no renewal."""
        if parsed.renewal_of is None:
            return None
        if parsed.renewal_of not in parsed.signers:
            raise CertSrvError(BAD_RENEWAL_ATTRIBUTE)
        old = x509.load_der_x509_certificate(parsed.renewal_of)
        self._check_signer(old)
        row = self._db.by_serial(serial_text(old))
        if row is None or row["requester_sid"] != requester.sid or extensions.template_of(old) not in (template.cn, template.oid):
            raise CertSrvError(BAD_RENEWAL_ATTRIBUTE)
        return old

    def _signer(self, certificate: x509.Certificate) -> policy.Signer:
        self._check_signer(certificate)
        try:
            policies = certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value
            issuance = frozenset(policy.policy_identifier.dotted_string for policy in policies)
        except x509.ExtensionNotFound:
            issuance = frozenset()
        return policy.Signer(certificate, frozenset(extensions.application_policies_of(certificate)), issuance)

    def _check_signer(self, certificate: x509.Certificate) -> None:
        """A signer's certificate must be valid now, not revoked, and of this CA or of one in the NTAuth store."""
        if not certificate.not_valid_before_utc <= self.machine.now() <= certificate.not_valid_after_utc:
            raise CertSrvError(EXPIRED)
        if any(issued_by(certificate, ca.certificate) for ca in self._loaded):
            row = self._db.by_serial(serial_text(certificate))
            if row is None:
                raise CertSrvError(NO_CHAIN)
            if row["disposition"] == database.REVOKED:
                raise CertSrvError(REVOKED)
            return
        for der in self._publication().ntauth_certificates() if self.enterprise else ():
            if issued_by(certificate, x509.load_der_x509_certificate(der)):
                return
        raise CertSrvError(NO_CHAIN)

    def _issue(self, request_id: int, contents: policy.Contents, parsed: requests.ParsedRequest) -> x509.Certificate:
        settings, ca = self._running(), self._current()
        now = self.machine.now().replace(microsecond=0)
        end = min(settings.validity.after(now), ca.certificate.not_valid_after_utc)
        if contents.validity is not None:
            end = min(end, now + contents.validity)
        if end <= now:
            raise CertSrvError(EXPIRED, "The CA's own certificate has expired.")
        public = parsed.pkcs10.public_key()
        identifier = ca.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = x509.CertificateBuilder().subject_name(contents.subject).issuer_name(ca.certificate.subject).public_key(public)
        builder = builder.serial_number(new_serial(request_id, ca.index))
        builder = builder.not_valid_before(now - settings.skew).not_valid_after(end)
        carried = [*contents.extensions, (x509.SubjectKeyIdentifier.from_public_key(public), False)]
        if settings.edit_flags & registry.EDITF_AKI_KEY_ID:
            carried.append((x509.AuthorityKeyIdentifier(identifier.digest, None, None), False))
        if contents.revocation_info:
            carried += self._pointers(ca)
        for value, critical in carried:
            if value.oid.dotted_string not in contents.disabled:
                builder = builder.add_extension(value, critical)
        assert ca.key is not None
        try:
            return builder.sign(ca.key, HASHES[settings.hash_name]())
        except (ValueError, TypeError) as error:
            raise CertSrvError(BAD_TAG, f"The certificate cannot be encoded: {error}") from error

    def _pointers(self, ca: CACertificate) -> list[tuple[x509.ExtensionType, bool]]:
        settings = self._running()
        tokens = self._tokens(ca)
        found: list[tuple[x509.ExtensionType, bool]] = []
        cdp = [tokens.expand(place.text, for_url=True) for place in settings.crl_places if place.flags & names.IN_CERTIFICATE]
        if cdp:
            found.append((x509.CRLDistributionPoints(extensions.points(cdp)), False))
        access = []
        for bit, method in (
            (names.IN_CERTIFICATE, AuthorityInformationAccessOID.CA_ISSUERS),
            (names.OCSP, AuthorityInformationAccessOID.OCSP),
        ):
            for place in settings.certificate_places:
                if place.flags & bit:
                    location = x509.UniformResourceIdentifier(tokens.expand(place.text, for_url=True))
                    access.append(x509.AccessDescription(method, location))
        if access:
            found.append((x509.AuthorityInformationAccess(access), False))
        return found

    def _publish_to(self, dn: str, der: bytes) -> None:
        self.directory.modify(dn, [("add", "userCertificate", [der])])

    def retrieve(self, request_id: int, caller: Caller | None = None) -> Disposition:
        """ICertRequest::RetrievePending."""
        with self._lock:
            self._running()
            row = self._db.request(request_id)
            if row is None:
                raise CertSrvError(NO_REQUEST)
            return self._disposition(row)

    def resubmit(self, request_id: int, caller: Caller | None = None) -> Disposition:
        """An officer grants a pending (or once more a denied) request; the policy module decides again, approval apart."""
        with self._lock:
            row = self._handled(request_id, caller, (database.PENDING, database.DENIED, database.FAILED))
            who = self._caller_of(row["requester_sid"])
            asked_by = self.identify(row["caller_name"])
            try:
                asker = self._requester(asked_by)
                return self._process(
                    request_id,
                    row["request"],
                    row["attributes"],
                    asked_by,
                    asker if who != asked_by else self._requester(who),
                    approved=True,
                )
            except DirectoryError as error:
                raise error.as_adcs("Directory") from error

    def deny(self, request_id: int, caller: Caller | None = None) -> Disposition:
        with self._lock:
            self._handled(request_id, caller, (database.PENDING,))
            by = caller.name if caller else f"{self.machine.netbios}\\{self.machine.hostname.upper()}$"
            self._db.update_request(
                request_id,
                {
                    "disposition": database.DENIED,
                    "status_code": ADMIN_DENIED,
                    "disposition_message": f"Denied by {by}",
                    "resolved_when": self.machine.now(),
                },
            )
            return self._disposition(self._db.request(request_id) or {})

    def _handled(self, request_id: int, caller: Caller | None, dispositions: Sequence[int]) -> dict[str, Any]:
        self._running()
        row = self._db.request(request_id)
        if row is None:
            raise CertSrvError(NO_REQUEST)
        self._demand(caller, registry.MANAGE_CERTIFICATES, row["requester_sid"])
        if row["disposition"] not in dispositions:
            raise CertSrvError(BAD_STATUS)
        return row

    def requests(self, **filter: Any) -> list[dict[str, Any]]:
        """Rows of the database whose columns have these values (text without case); all of them without a filter."""
        with self._lock:
            self._running()
            for name in filter:
                if not re.fullmatch("[a-z_]+", name):
                    raise ValueError(name)
            where = " and ".join(f"{name} = ? collate nocase" for name in filter) or "1"
            return self._db.requests(where, list(filter.values()))

    # ---- revocation

    def revoke(self, serial: str, reason: int = 0, when: datetime | None = None, caller: Caller | None = None) -> None:
        """ICertAdmin::RevokeCertificate. `reason`: 0 to 6 as in RFC 5280 (6: hold); `when`: since when, now if not given."""
        with self._lock:
            if reason not in range(7):
                raise CertSrvError(INVALID_ARGUMENT, f"revocation reason {reason}")
            row = self._certificate_row(serial, caller)
            if row["disposition"] == database.REVOKED and row["revoked_reason"] != crls.HOLD:
                raise CertSrvError(BAD_STATUS, "The certificate is revoked already.")
            now = self.machine.now().replace(microsecond=0)
            columns = {"disposition": database.REVOKED, "disposition_message": f"Revoked by {caller.name if caller else 'SYSTEM'}"}
            columns |= {"revoked_reason": reason, "revoked_when": now, "revoked_effective_when": when or now, "released_when": None}
            self._db.update_request(row["request_id"], columns)

    def unrevoke(self, serial: str, caller: Caller | None = None) -> None:
        """Release a certificate from hold."""
        with self._lock:
            row = self._certificate_row(serial, caller)
            if row["disposition"] != database.REVOKED or row["revoked_reason"] != crls.HOLD:
                raise CertSrvError(BAD_STATUS, "The certificate is not on hold.")
            columns = {"disposition": database.ISSUED, "disposition_message": f"Unrevoked by {caller.name if caller else 'SYSTEM'}"}
            columns |= {"revoked_reason": None, "revoked_when": None, "revoked_effective_when": None}
            self._db.update_request(row["request_id"], {**columns, "released_when": self.machine.now().replace(microsecond=0)})

    def _certificate_row(self, serial: str, caller: Caller | None) -> dict[str, Any]:
        self._running()
        row = self._db.by_serial(normal_serial(serial))
        if row is None:
            raise CertSrvError(PROPERTY_EMPTY, f"No certificate of this CA has the serial number {serial}.")
        self._demand(caller, registry.MANAGE_CERTIFICATES, row["requester_sid"])
        return row

    # ---- CRLs

    def publish_crls(self, base: bool = True, delta: bool = True, caller: Caller | None = None) -> None:
        """certutil -CRL. Every place is tried; what could not be written is the error."""
        with self._lock, self.machine.transaction():
            settings = self._running()
            self._demand(caller, registry.MANAGE_CA)
            if not base and not settings.delta.units:
                raise CertSrvError(NOT_SUPPORTED, "This CA publishes no delta CRLs (CRLDeltaPeriodUnits is 0).")
            now = self.machine.now()
            problems: list[str] = []
            for ca in self._keys(now):
                if base:
                    problems += self._publish(ca, now, delta=False)
                if delta and settings.delta.units:
                    problems += self._publish(ca, now, delta=True)
            if problems:
                raise CertSrvError(0x80070003, "; ".join(problems))

    def _keys(self, now: datetime) -> list[CACertificate]:
        """The newest certificate of each key that has not expired with all of its certificates."""
        newest: dict[int, CACertificate] = {}
        for ca in self._loaded:
            newest[ca.key_index] = ca
        current = self._current()
        return [ca for ca in newest.values() if ca is current or ca.certificate.not_valid_after_utc > now]

    def _publish_due(self) -> None:
        settings = self._running()
        now = self.machine.now()
        for ca in self._keys(now):
            for delta in (False, True) if settings.delta.units else (False,):
                last = self._db.last_crl(ca.key_index, delta)
                if last is None or now >= last["next_publish"] or (delta and not self._has_base(ca.key_index, last)):
                    with self.machine.transaction():
                        self.events += [f"{now.isoformat()} CRL: {text}" for text in self._publish(ca, now, delta=delta)]

    def _has_base(self, key_index: int, delta: Mapping[str, Any]) -> bool:
        base = self._db.last_crl(key_index, False)
        return base is not None and delta["base_number"] <= base["number"] <= delta["number"]

    def _publish(self, ca: CACertificate, now: datetime, *, delta: bool) -> list[str]:
        """Make and publish one CRL; returns what went wrong, a text a place."""
        settings = self._running()
        base = self._db.last_crl(ca.key_index, False)
        if delta and base is None:
            return ["a delta CRL needs a base CRL"]
        since = base["this_update"] if delta and base else None
        when = crls.times(settings, now, delta=delta)
        # the delta that goes out with its base has the base's number
        together = (
            delta and base is not None and base["number"] == self._db.next_crl_number() - 1 and not self._delta_of(ca.key_index, base)
        )
        number = base["number"] if together and base else self._db.next_crl_number()
        rows = self._db.requests("key_index = ? and (revoked_when is not null or released_when is not null)", [ca.key_index])
        entries = crls.revoked(rows, now, since=since)
        tokens, delta_tokens = self._tokens(ca), self._tokens(ca, delta=True)
        places = settings.crl_places
        assert ca.key is not None
        crl = crls.build(
            issuer=ca.certificate,
            key=ca.key,
            algorithm=HASHES[settings.hash_name](),
            when=when,
            number=number,
            base_number=base["number"] if delta and base else None,
            entries=entries,
            version=(ca.index, ca.key_index),
            freshest=[delta_tokens.expand(p.text, for_url=True) for p in places if p.flags & names.FRESHEST]
            if settings.delta.units
            else [],
            locations=[tokens.expand(p.text, for_url=True) for p in places if p.flags & names.IN_CRL],
            issuing_point=[tokens.expand(p.text, for_url=True) for p in places if p.flags & names.IN_IDP],
            disabled=policy.disabled(settings),
        ).public_bytes(serialization.Encoding.DER)
        written, problems = self._write_crl(ca, crl, delta=delta)
        self._db.add_crl(
            {
                "number": number,
                "key_index": ca.key_index,
                "delta": int(delta),
                "base_number": base["number"] if delta and base else None,
                "this_update": when.this_update,
                "next_update": when.next_update,
                "next_publish": when.next_publish,
                "crl": crl,
                "count": len(entries),
                "published": json.dumps(written),
            }
        )
        return problems

    def _delta_of(self, key_index: int, base: Mapping[str, Any]) -> bool:
        delta = self._db.last_crl(key_index, True)
        return delta is not None and delta["number"] >= base["number"]

    def _write_crl(self, ca: CACertificate, crl: bytes, *, delta: bool) -> tuple[list[str], list[str]]:
        settings = self._running()
        bit = names.PUBLISH_DELTA if delta else names.PUBLISH
        written, problems = [], []
        for place in settings.crl_places:
            if not place.flags & bit:
                continue
            target = self._tokens(ca, delta=delta).expand(place.text, for_url=False)
            try:
                self._write_crl_to(ca, target, crl, delta=delta)
                written.append(target)
            except (CertSrvError, DirectoryError, OSError, ValueError) as error:
                problems.append(f"{target}: {error}")
        return written, problems

    def _write_crl_to(self, ca: CACertificate, target: str, crl: bytes, *, delta: bool) -> None:
        kind = target.partition(":")[0].casefold()
        if kind == "ldap":
            if target.partition("?")[0].casefold() != f"ldap:///{self._publication().cdp(self.ca_key + ca.key_suffix)}".casefold():
                raise CertSrvError(NOT_SUPPORTED, "the stand-in publishes to this CA's own CDP object only")
            attribute = "deltaRevocationList" if delta else "certificateRevocationList"
            self._publication().write_crl(self.ca_key + ca.key_suffix, attribute, crl)
        elif kind in ("http", "https", "ftp") or kind == "file":
            raise CertSrvError(NOT_SUPPORTED, "the stand-in publishes to local paths and to the directory only")
        else:
            self.machine.files[target] = crl

    def crls(self) -> list[dict[str, Any]]:
        """The newest CRLs, base and delta of every key: name, number, dates, places where they were written and where clients find them."""
        with self._lock:
            settings = self._running()
            found = []
            for ca in self._keys(self.machine.now()):
                for delta in (False, True):
                    row = self._db.last_crl(ca.key_index, delta)
                    if row is None or (delta and not settings.delta.units):
                        continue
                    tokens = self._tokens(ca, delta=delta)
                    bit = names.FRESHEST if delta else names.IN_CERTIFICATE
                    urls = [tokens.expand(p.text, for_url=True) for p in settings.crl_places if p.flags & bit]
                    name = f"{self.ca_key}{ca.key_suffix}{'+' if delta else ''}.crl"
                    kept = ("number", "base_number", "this_update", "next_update", "next_publish", "count", "published", "key_index", "crl")
                    found.append({"name": name, "delta": delta, "urls": urls, **{column: row[column] for column in kept}})
            return found

    def crl_files(self) -> dict[str, bytes]:
        """What the folder CertEnroll holds, which IIS serves as /CertEnroll."""
        return {name: self.machine.files[f"{registry.CERTENROLL}\\{name}"] for name in self.machine.files.list(registry.CERTENROLL)}

    # ---- renewal and backup

    def renew(self, reuse_key: bool, credential: tuple[str, str] | None = None, request_file: str = "") -> InstallOutcome:
        """certutil -renewCert [ReuseKeys]. A root renews itself; a subordinate CA writes a request and waits. CAPolicy.inf counts.

        `credential` may be needed to publish a root's new certificate where the computer's own rights do not reach.
        """
        with self.machine.transaction():
            settings = self._running()
            inf = capolicy.parse(self.machine.files.get(capolicy.PATH))
            old = self.certificates[-1]
            assert old.key is not None
            index = old.index + 1
            key = old.key if reuse_key else renewal_key(old.key, inf.number("RenewalKeyLength", 0))
            key_index = old.key_index if reuse_key else index
            previous = hashes.Hash(hashes.SHA1())
            previous.update(old.der)
            digest = previous.finalize()
            if not self.root:
                file = request_file or f"C:\\{self.machine.fqdn}_{self.ca_key}({index}).req"
                return self._ask_parent(
                    file, key, old.certificate.subject, settings.hash_name, index=index, key_index=key_index, previous=digest
                )
            lasted = old.certificate.not_valid_after_utc - old.certificate.not_valid_before_utc
            units = inf.number("RenewalValidityPeriodUnits", 0) or round(lasted.days / 365.25) or 1
            period = registry.Period(units, inf.text("RenewalValidityPeriod", "Years"))
            certificate = self._self_signed(
                old.certificate.subject, key, period, inf, settings.hash_name, index=index, key_index=key_index, previous=digest
            )
            self._use(certificate, key)
            self._publish_certificate(credential)
            self.stop_service()
            self.start_service()
            return InstallOutcome("installed")

    def backup(self, folder: str, password: str, caller: Caller | None = None) -> list[str]:
        """certutil -backup: certificates with their keys as PKCS#12, and the database. Returns the files. The folder must be empty."""
        with self.machine.transaction():
            self._running()
            self._demand(caller, registry.MANAGE_CA)
            if self.machine.files.folder_exists(folder):
                raise CertSrvError(0x80070091, f"The directory is not empty: {folder}")
            newest = self.certificates[-1]
            others = [ca.certificate for ca in self.certificates[:-1]]
            protection = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
            bundle = pkcs12.serialize_key_and_certificates(self.ca_key.encode(), newest.key, newest.certificate, others, protection)
            key_file = f"{folder}\\{self.ca_key}.p12"
            database_file = f"{folder}\\DataBase\\{self.ca_key}.edb"
            with tempfile.TemporaryDirectory(dir=self.machine.folder) as temporary:
                copy = Path(temporary) / "copy.sqlite"
                self._db.copy_to(copy)
                written: list[str] = []
                try:
                    for path, content in ((key_file, bundle), (database_file, copy.read_bytes())):
                        self.machine.files[path] = content
                        written.append(path)
                except OSError as error:
                    for path in written:
                        self.machine.files.delete(path)
                    raise CertSrvError(0x80070070) from error
            return written


NEW = {"disposition": 8, "status_code": 0, "disposition_message": "Processing"}
NO_CHAIN_TEXT = "A certificate chain could not be built to a trusted root authority."


def sid_of(entry: Entry) -> str:
    return descriptors.parse_sid(entry.first("objectSid") or b"")[0]


def new_key(provider: str, length: int) -> PrivateKey:
    if PROVIDERS[provider][0] == "RSA":
        return rsa.generate_private_key(65537, length)
    return ec.generate_private_key(CURVES[length]())


def renewal_key(old: PrivateKey, length: int) -> PrivateKey:
    """A key of the same kind; `length` 0 is the old one's."""
    if isinstance(old, rsa.RSAPrivateKey):
        return rsa.generate_private_key(65537, length or old.key_size)
    return ec.generate_private_key(CURVES[length]() if length else old.curve)


def key_pem(key: PrivateKey) -> str:
    encoding = serialization.Encoding.PEM
    return key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def public_bytes(key: Any) -> bytes:
    found: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return found


def subject_of(options: InstallOptions) -> x509.Name:
    return names.name_of([*names.directory_path(options.ca_distinguished_name_suffix), ("CN", options.ca_common_name)])


def ca_extensions(
    public: Any, inf: capolicy.CAPolicy, *, index: int, key_index: int, previous: bytes | None
) -> list[tuple[x509.ExtensionType, bool]]:
    """What a CA's own certificate, or its request for one, carries."""
    found: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=inf.path_length), True),
        (extensions.key_usage(b"\x86"), False),
        (x509.SubjectKeyIdentifier.from_public_key(public), False),
        (extensions.version(index, key_index), False),
    ]
    if previous is not None:
        found.append((extensions.raw(extensions.PREVIOUS_CA_HASH, b"\x04" + bytes([len(previous)]) + previous), False))
    if inf.policies:
        policies = [x509.PolicyInformation(ObjectIdentifier(oid), [url] if url else None) for oid, url in inf.policies]
        found.append((x509.CertificatePolicies(policies), False))
    return found


def certificates_in(content: bytes) -> list[x509.Certificate]:
    try:
        if b"-----BEGIN CERTIFICATE-----" in content:
            return x509.load_pem_x509_certificates(content)
        der = requests.der_of(content)
        with contextlib.suppress(ValueError):
            return [x509.load_der_x509_certificate(der)]
        return pkcs7.load_der_pkcs7_certificates(der)
    except (ValueError, CertSrvError) as error:
        raise CertSrvError(BAD_TAG, "The file holds no certificate (DER, PEM or PKCS#7).") from error


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def serial_text(certificate: x509.Certificate) -> str:
    text = f"{certificate.serial_number:x}"
    return text.zfill(len(text) + len(text) % 2)


def normal_serial(text: str) -> str:
    """As the database has it: lower case, whole octets."""
    digits = re.sub(r"[\s:]", "", text).lower()
    if not re.fullmatch("[0-9a-f]+", digits):
        raise CertSrvError(INVALID_ARGUMENT, f"{text!r} is no serial number")
    digits = digits.lstrip("0") or "0"
    return digits.zfill(len(digits) + len(digits) % 2)


def new_serial(request_id: int, ca_index: int) -> int:
    """19 octets as AD CS makes them: the request's number in front and at the end, random ones between."""
    first = secrets.randbelow(0x6F) + 0x10
    data = (
        bytes([first])
        + request_id.to_bytes(4, "big")
        + secrets.token_bytes(8)
        + ca_index.to_bytes(2, "big")
        + request_id.to_bytes(4, "big")
    )
    return int.from_bytes(data, "big")


def issued_columns(certificate: x509.Certificate, key_index: int) -> dict[str, Any]:
    common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return {
        "disposition": database.ISSUED,
        "status_code": 0,
        "disposition_message": "Issued",
        "common_name": str(common[0].value) if common else None,
        "distinguished_name": names.shown(certificate.subject),
        "serial_number": serial_text(certificate),
        "certificate_hash": certificate.fingerprint(hashes.SHA1()).hex(),
        "certificate": certificate.public_bytes(serialization.Encoding.DER),
        "key_index": key_index,
        "not_before": certificate.not_valid_before_utc,
        "not_after": certificate.not_valid_after_utc,
    }


def restricted_allows(rights: descriptors.Descriptor, who: frozenset[str], whom: frozenset[str], template: str | None) -> bool:
    """OfficerRights and EnrollmentAgentRights: callback entries whose data name the accounts (and the template) that they speak of.

    The data ([MS-CSRA] 2.2.1.11): count of SIDs, the SIDs, and for one template its name in UTF-16; without a name, all templates.
    """
    for ace in rights.aces:
        if ace.sid not in who or ace.type not in (descriptors.ALLOW_CALLBACK, descriptors.DENY_CALLBACK):
            continue
        sids, name = callback_data(ace.data)
        if whom & sids and (not name or template is None or name.casefold() == template.casefold()):
            return ace.type == descriptors.ALLOW_CALLBACK
    return False


def callback_data(data: bytes) -> tuple[set[str], str]:
    count = int.from_bytes(data[:4], "little")
    at, sids = 4, set()
    for _ in range(count):
        sid, size = descriptors.parse_sid(data[at:])
        sids.add(sid)
        at += size
    rest = data[at : len(data) - (len(data) - at) % 2]
    return sids, rest.decode("utf-16-le", errors="replace").rstrip("\0")
