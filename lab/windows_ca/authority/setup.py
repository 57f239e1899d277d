# SPDX-License-Identifier: GPL-3.0-or-later
"""Setup as Install-AdcsCertificationAuthority does it, renewal and backup: the authority as a whole."""

from __future__ import annotations

import re
import secrets
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from lab.windows_ca.authority import capolicy, descriptors, extensions, names, requests, templates
from lab.windows_ca.authority import settings as registry
from lab.windows_ca.authority.ca import SERVICE, SETUP_DONE, SETUP_REQUEST, SETUP_WAITING
from lab.windows_ca.authority.directory import Directory
from lab.windows_ca.authority.errors import (
    ALREADY_EXISTS,
    BAD_ALGORITHM,
    BAD_CA_CERTIFICATE,
    BAD_STATUS,
    E_ACCESSDENIED,
    EXPIRED,
    INVALID_ARGUMENT,
    KEY_EXISTS,
    NO_CHAIN,
    NOT_FOUND,
    NOT_SUPPORTED,
    SERVER_UNAVAILABLE,
    UNTRUSTED_ROOT,
    CertSrvError,
    DirectoryError,
)
from lab.windows_ca.authority.model import (
    HASHES,
    KINDS,
    PROVIDERS,
    CACertificate,
    Caller,
    InstallOptions,
    InstallOutcome,
    PrivateKey,
    ca_extensions,
    certificates_in,
    issued_by,
    key_pem,
    new_key,
    public_bytes,
    renewal_key,
    subject_of,
)
from lab.windows_ca.authority.service import CertSvc
from lab.windows_ca.machine import Service

TRUSTED_ROOTS = r"HKLM\SOFTWARE\Microsoft\SystemCertificates\ROOT\Certificates"
FEATURE = "ADCS-Cert-Authority"
NO_CHAIN_TEXT = "A certificate chain could not be built to a trusted root authority."


class Authority(CertSvc):
    """One certification authority on one machine. Thread-safe. `directory`: the domain, read and written as the computer."""

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
