# SPDX-License-Identifier: GPL-3.0-or-later
"""Smart card logon on the lab's real KDC, tried as a client does; where the KDC refuses, the reason is its own, from its log.

    desk = Desk(lab.run)                                        # a workstation: MIT Kerberos on the control host
    maker = Maker(lab.run)                                      # certificates of the lab's OpenSSL CAs, right ones and wrong ones
    alice = maker.issue("alice", "alice.andersson@corp.example")
    desk.log_on("alice.andersson", alice.identity).ticket
    desk.log_on("alice.andersson", card.identity(), pin=card.pin, environment=box.inside.environment)

kinit's own words mislead: after a refusal it falls back to a password, of which it has none here.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

from lab import settings
from lab.cards import LIBRARY, Card
from lab.errors import LabError

CLIENT, KDC = "control", "dc1"
FOLDER = "/var/tmp/logon"
LOG = "/proc/$(cat /run/samba/samba.pid)/fd/1"  # samba's log as samba itself has it open
SMART_CARD_LOGON, CLIENT_AUTHENTICATION = "1.3.6.1.4.1.311.20.2.2", "1.3.6.1.5.5.7.3.2"
# What the KDC's log says of a certificate, without the running commentary of level 3.
REASON = re.compile(
    r"^\s*(?:Kerberos: )?("
    r"PKINIT: .+|PKINIT request but .+|Client .*(?:disabled|expired|locked|not trusted|mismatch|revoked).*|.*Client not trusted.*"
    r"|.*revo(?:ked|cation|ke) .*|.*has mapped to .*|Impersonate .*|Failed to decode PKINIT .*"
    r"|.*[Aa]ccount .* (?:disabled|expired|locked).*|PKINIT pre-authentication succeeded .*)$"
)


class RunsCommands(Protocol):
    """`Lab.run`, or the tests' own."""

    def __call__(self, host: str, *command: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]: ...


@dataclass(frozen=True)
class Outcome:
    """What became of one logon."""

    account: str
    ticket: bool
    klist: str
    """The ticket as klist shows it; empty without one."""
    who: str
    """Whom the directory takes the ticket's holder for, in the words of ldapwhoami; empty without a ticket."""
    kinit: str
    """What kinit printed."""
    reasons: Sequence[str] = ()
    """What the KDC wrote into its log about it."""
    audit: Mapping[str, Any] = field(default_factory=dict)
    """The KDC's last audit record about it (`Authentication` of Samba's JSON)."""

    @property
    def status(self) -> str:
        return str(self.audit.get("status", ""))

    @property
    def evidence(self) -> list[str]:
        """For a page or a failed test."""
        lines = [f"kinit: {line}" for line in self.kinit.splitlines()] + self.klist.splitlines() + self.who.splitlines()
        lines += [f"KDC: {reason}" for reason in self.reasons]
        if self.audit:
            who = self.audit.get("becameAccount") or self.audit.get("clientAccount")
            lines.append(f"KDC audit: {self.audit.get('authDescription')}, {who}, {self.status}")
        return lines


class Desk:
    """Where people sit: MIT Kerberos and a card reader on the control host."""

    def __init__(self, run: RunsCommands, anchors: Sequence[str] = ("/srv/files/root-ca.pem",), pool: Sequence[str] | None = None) -> None:
        """`anchors`: PEM files on the control host with the roots that the client believes; `pool`: with what is below them."""
        self.run, self.anchors = run, anchors
        self.pool = ["/srv/files/issuing-ca.pem", "/srv/files/vpn-ca.pem"] if pool is None else pool

    def log_on(
        self,
        account: str,
        identity: str,
        *,
        pin: str = "",
        clock: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Outcome:
        """`identity`: as for kinit's X509_user_identity. `clock`: the client's own time in UTC, as YYYY-MM-DD HH:MM:SS."""
        before = self._log_size()
        kinit = ["kinit", "-c", f"FILE:{FOLDER}/ticket", "-X", f"X509_user_identity={identity}", f"{account}@{settings.REALM}"]
        if clock:
            kinit = ["env", "TZ=UTC", "faketime", clock, *kinit]
        script = "\n".join(
            (
                f"umask 077; mkdir -p {FOLDER}; rm -f {FOLDER}/ticket",
                f"cat > {FOLDER}/krb5.conf <<'END'\n{self._krb5_conf()}END",
                f"export KRB5_CONFIG={FOLDER}/krb5.conf KRB5CCNAME=FILE:{FOLDER}/ticket LC_ALL=C.UTF-8",
                *(f"export {name}={shlex.quote(value)}" for name, value in (environment or {}).items()),
                f"{shlex.join(kinit)} > {FOLDER}/said 2>&1; code=$?",
                f"echo $code; echo ---; cat {FOLDER}/said; echo; echo ---",
                "[ $code -ne 0 ] || klist; echo ---",
                f"[ $code -ne 0 ] || ldapwhoami -Q -Y GSSAPI -H ldap://{settings.HOSTS[KDC].fqdn} 2>&1",
                f"rm -f {FOLDER}/ticket {FOLDER}/said",
            )
        )
        done = self.run(CLIENT, "sh", "-c", script, stdin=f"{pin}\n" if pin else "", check=False)
        parts = [part.strip() for part in done.stdout.split("---\n")]
        if len(parts) != 4:
            raise LabError(f"{CLIENT}: a logon cannot be tried: {done.stderr.strip()}")
        code, said, klist, who = parts
        reasons, audit = explained(self._log_since(before))
        return Outcome(account, code == "0", klist, who, said, reasons, audit)

    def _krb5_conf(self) -> str:
        lines = [*(f"pkinit_anchors = FILE:{path}" for path in self.anchors), *(f"pkinit_pool = FILE:{path}" for path in self.pool)]
        block = "".join(f"        {line}\n" for line in [*lines, f"pkinit_kdc_hostname = {settings.HOSTS[KDC].fqdn}"])
        return (
            f"[libdefaults]\n    default_realm = {settings.REALM}\n    dns_lookup_realm = false\n    dns_lookup_kdc = false\n"
            "    rdns = false\n    dns_canonicalize_hostname = false\n"
            f"[realms]\n    {settings.REALM} = {{\n        kdc = {settings.HOSTS[KDC].fqdn}\n{block}    }}\n"
            f"[domain_realm]\n    .{settings.DNS_DOMAIN} = {settings.REALM}\n    {settings.DNS_DOMAIN} = {settings.REALM}\n"
        )

    def _log_size(self) -> int:
        return int(self.run(KDC, "sh", "-c", f"stat -L -c %s {LOG}").stdout)

    def _log_since(self, size: int) -> str:
        return self.run(KDC, "sh", "-c", f"tail -c +{size + 1} {LOG}").stdout


def explained(log: str) -> tuple[list[str], dict[str, Any]]:
    """What a piece of the KDC's log says about certificates, each reason once, and the last audit record of a logon by certificate."""
    reasons: list[str] = []
    audit: dict[str, Any] = {}
    for line in log.splitlines():
        found = REASON.match(line)
        if found and not line.startswith("{") and found.group(1) not in reasons:
            reasons.append(found.group(1))
        if line.startswith("{") and '"Authentication"' in line:
            try:
                record = json.loads(line)["Authentication"]
            except ValueError:  # a line that another process of samba cut in two
                continue
            if "PK-INIT" in str(record.get("authDescription")) or not audit:
                audit = record
    return reasons, audit


# ---- certificates and CRLs of the lab's own CAs


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, in files on the control host."""

    certificate: str
    key: str
    serial: int

    @property
    def identity(self) -> str:
        return f"FILE:{self.certificate},{self.key}"


class Maker:
    """Issues what a test or a proof needs by the OpenSSL CAs of the lab, on the control host."""

    def __init__(self, run: RunsCommands) -> None:
        self._run = run
        self._serial = int(datetime.now(timezone.utc).timestamp() * 1000)
        self._number = 0

    def issue(
        self,
        name: str,
        upn: str,
        *,
        authority: str = "issuing-ca",
        begins: str = "",
        ends: str = "",
        purposes: Sequence[str] = (CLIENT_AUTHENTICATION, SMART_CARD_LOGON),
        sid: str = "",
        elliptic: bool = False,
    ) -> Issued:
        """A logon certificate; times as OpenSSL has them (YYYYMMDDHHMMSSZ), purposes as object identifiers, none for no such extension."""
        self._serial += 1
        extensions = [
            "basicConstraints=critical,CA:false",
            "keyUsage=critical,digitalSignature",
            "subjectKeyIdentifier=hash",
            "authorityKeyIdentifier=keyid",
            f"subjectAltName=otherName:1.3.6.1.4.1.311.20.2.3;UTF8:{upn}",
            *([f"extendedKeyUsage={','.join(purposes)}"] if purposes else []),
            *([f"1.3.6.1.4.1.311.25.2=DER:{security_extension(sid).hex()}"] if sid else []),
        ]
        dates = [*(["-not_before", begins] if begins else []), *(["-not_after", ends] if ends else ["-days", "30"])]
        stem = f"{FOLDER}/{name}"
        key = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if elliptic else ["rsa:2048"]
        command = ["openssl", "req", "-x509", "-newkey", *key, "-nodes", "-config", "/dev/null", "-subj", f"/CN={name}", *dates]
        command += ["-CA", f"/srv/files/{authority}.pem", "-CAkey", f"/srv/files/{authority}.key", "-set_serial", str(self._serial)]
        command += ["-out", f"{stem}.pem", "-keyout", f"{stem}.key", *(word for one in extensions for word in ("-addext", one))]
        self._run(CLIENT, "sh", "-c", f"umask 077; mkdir -p {FOLDER}; {shlex.join(command)}")
        return Issued(f"{stem}.pem", f"{stem}.key", self._serial)

    def crl(self, authority: str = "issuing-ca", revoked: Sequence[int] = (), begins: str = "", ends: str = "") -> str:
        """A base CRL (PEM) with these serial numbers; in force for a day unless told otherwise."""
        self._number += 1
        now = datetime.now(timezone.utc)
        until = moment(now + timedelta(days=99))[2:]
        rows = "".join(f"R\t{until}\t{moment(now)[2:]}\t{hexadecimal(serial)}\tunknown\t/CN=x\n" for serial in sorted(set(revoked)))
        settings_text = (
            "[ca]\ndefault_ca = x\n[x]\ndatabase = index\ncrlnumber = number\ndefault_md = sha256\n[crl]\nauthorityKeyIdentifier = keyid\n"
        )
        command = ["openssl", "ca", "-gencrl", "-config", "cnf", "-crlexts", "crl", "-cert", f"/srv/files/{authority}.pem"]
        command += ["-keyfile", f"/srv/files/{authority}.key", "-crl_lastupdate", begins or moment(now - timedelta(minutes=1))]
        command += ["-crl_nextupdate", ends or moment(now + timedelta(days=1))]
        number = hexadecimal(int(now.timestamp()) * 1000 + self._number)
        script = "\n".join(
            (
                "set -e; umask 077; cd $(mktemp -d); trap 'rm -r $PWD' EXIT",
                f"printf %s {shlex.quote(rows)} > index; printf %s {shlex.quote(settings_text)} > cnf",
                f"echo {number} > number",
                f"{shlex.join(command)} 2> said || {{ cat said >&2; exit 1; }}",
            )
        )
        return self._run(CLIENT, "sh", "-c", script).stdout


def moment(when: datetime) -> str:
    return when.strftime("%Y%m%d%H%M%SZ")


def hexadecimal(number: int) -> str:
    """With an even number of digits, as OpenSSL's files want it."""
    digits = f"{number:X}"
    return digits if len(digits) % 2 == 0 else f"0{digits}"


def security_extension(sid: str) -> bytes:
    """szOID_NTDS_CA_SECURITY_EXT with a SID ([MS-WCCE] 2.2.2.7.7.4): OtherName 1.3.6.1.4.1.311.25.2.1 with an OCTET STRING."""

    def tagged(tag: int, content: bytes) -> bytes:
        assert len(content) < 128
        return bytes([tag, len(content)]) + content

    oid = bytes.fromhex("060a2b060104018237190201")
    return tagged(0x30, tagged(0xA0, oid + tagged(0xA0, tagged(0x04, sid.encode()))))


# ---- proofs


@dataclass(frozen=True)
class Holder:
    """Somebody with a card (or a key in a file)."""

    account: str
    identity: str
    pin: str = field(default="", repr=False)
    environment: Mapping[str, str] = field(default_factory=dict)

    def log_on(self, desk: Desk, account: str = "", **options: Any) -> Outcome:
        return desk.log_on(account or self.account, self.identity, **{"pin": self.pin, "environment": self.environment, **options})


@dataclass(frozen=True)
class LogonProof:
    claim: str
    held: bool
    evidence: Sequence[str]


def judged(claim: str, outcome: Outcome, *, ticket: bool, because: str = "") -> LogonProof:
    """`because`: what the KDC (or the card) must have said, as a pattern over the evidence."""
    held = outcome.ticket is ticket and re.search(because, "\n".join(outcome.evidence)) is not None
    if ticket:
        held = (
            held
            and f"krbtgt/{settings.REALM}" in outcome.klist
            and outcome.who.lower() == f"u:{settings.NETBIOS_DOMAIN}\\{outcome.account}".lower()
        )
    return LogonProof(claim, held, outcome.evidence)


NAME_MISMATCH = "NT_STATUS_PKINIT_NAME_MISMATCH"
EXPIRED = "KDC: PKINIT: Couldn't find recipient certificate"  # what Heimdal calls a certificate that is not in force
UNKNOWN_ISSUER = "KDC: PKINIT: failed to verify signature: Failed to find issuer"
REVOKED = "KDC: PKINIT: Certificate is revoked"
NO_REVOCATION_STATUS = "KDC: PKINIT: .*[Nn]o revo"
NOT_ENABLED = "KDC: PKINIT request but PKINIT not enabled"
DISABLED = "NT_STATUS_ACCOUNT_DISABLED"


def opens_the_domain(desk: Desk, holder: Holder) -> LogonProof:
    return judged("The card gives a ticket, and the ticket opens the directory", holder.log_on(desk), ticket=True, because="NT_STATUS_OK")


def not_for_another(desk: Desk, holder: Holder, other: str) -> LogonProof:
    return judged("The card of one is no card for another", holder.log_on(desk, other), ticket=False, because=NAME_MISMATCH)


def not_of_a_stranger(desk: Desk, maker: Maker, account: str, authority: str = "rogue-ca") -> LogonProof:
    """A certificate with the right names, of a CA that the client believes and the KDC does not."""
    issued = maker.issue(f"stranger-{account}", f"{account}@{settings.DNS_DOMAIN}", authority=authority)
    gullible = Desk(desk.run, [*desk.anchors, f"/srv/files/{authority}.pem"], desk.pool)
    claim = f"A certificate of a CA outside the NTAuth store ({authority}) opens nothing"
    return judged(claim, gullible.log_on(account, issued.identity), ticket=False, because=UNKNOWN_ISSUER)


def not_when_expired(desk: Desk, maker: Maker, account: str, authority: str = "issuing-ca") -> LogonProof:
    """Expired for the KDC; the client's clock is set back by half a minute, or it would not even send it."""
    now = datetime.now(timezone.utc)
    issued = maker.issue(
        f"expired-{account}",
        f"{account}@{settings.DNS_DOMAIN}",
        authority=authority,
        begins=moment(now - timedelta(minutes=1)),
        ends=moment(now - timedelta(seconds=5)),
    )
    clock = (now - timedelta(seconds=30)).strftime("%Y-%m-%d %H:%M:%S")
    outcome = desk.log_on(account, issued.identity, clock=clock)
    return judged("An expired certificate opens nothing, whatever the client's clock says", outcome, ticket=False, because=EXPIRED)


def not_when_disabled(desk: Desk, holder: Holder) -> LogonProof:
    """Disables the account for a moment."""
    desk.run(KDC, "samba-tool", "user", "disable", holder.account)
    try:
        outcome = holder.log_on(desk)
    finally:
        desk.run(KDC, "samba-tool", "user", "enable", holder.account)
    return judged("A disabled account stays out, with its good card", outcome, ticket=False, because=DISABLED)


def not_with_a_wrong_pin(desk: Desk, holder: Holder) -> LogonProof:
    """A try of the PIN is used up; the next good one gives it back."""
    outcome = holder.log_on(desk, pin="".join("1" if digit == "0" else "0" for digit in holder.pin))
    refused = judged(
        "The card refuses a wrong PIN, and the KDC sees no certificate", outcome, ticket=False, because="Preauthentication failed"
    )
    return replace(refused, held=refused.held and not outcome.reasons)


def revocation_counts(desk: Desk, holder: Holder, revoke: Callable[[], None], release: Callable[[], None]) -> list[LogonProof]:
    """`revoke` and `release` change the CRL at its source; the KDC learns of it by the job of the role's timer."""
    revoke()
    refresh_crls(desk)
    try:
        out = judged(
            "Revoked, the card is refused at the next logon; samba was not restarted", holder.log_on(desk), ticket=False, because=REVOKED
        )
    finally:
        release()
        refresh_crls(desk)
    return [out, judged("Taken off the CRL again, it opens the domain", holder.log_on(desk), ticket=True, because="NT_STATUS_OK")]


def a_missing_crl_stops_everybody(desk: Desk, holder: Holder) -> list[LogonProof]:
    """Takes the KDC's CRL files away, restarts samba, and puts all right again."""
    folder = "/var/lib/certlogon/crl"
    desk.run(KDC, "sh", "-c", f"mv {folder} {folder}.away; sh /usr/local/sbin/restart-samba")
    try:
        out = judged("Without its CRL files the KDC takes no certificate at all", holder.log_on(desk), ticket=False, because=NOT_ENABLED)
    finally:
        desk.run(KDC, "sh", "-c", f"rm -rf {folder}; mv {folder}.away {folder}; sh /usr/local/sbin/restart-samba")
    return [out, judged("With them back and samba restarted it does again", holder.log_on(desk), ticket=True, because="NT_STATUS_OK")]


def refresh_crls(desk: Desk) -> None:
    """What the timer of role domain_controller_certificates runs."""
    desk.run(KDC, "certlogon-crl")


def put_on_card(run: RunsCommands, card: Card, issued: Issued, environment: Mapping[str, str]) -> None:
    """Put a key and certificate from files on a card (`lab.cards.Card`, as the control host sees it) with OpenSC."""
    script = "\n".join(
        (
            "set -e; umask 077; cd $(mktemp -d); trap 'rm -r $PWD' EXIT",
            *(f"export {name}={shlex.quote(value)}" for name, value in environment.items()),
            f"export PIN=$(cat {shlex.quote(str(card.pin_file))})",
            f"openssl pkcs8 -topk8 -nocrypt -in {issued.key} -outform DER -out key",
            f"openssl x509 -in {issued.certificate} -outform DER -out cert",
            f"token='--module {LIBRARY} --token-label {card.name}'",
            'put() { pkcs11-tool $token --login --pin env:PIN --id 01 --label logon "$@"; }',
            "put --write-object key --type privkey --usage-sign --sensitive > /dev/null",
            "put --write-object cert --type cert > /dev/null",
        )
    )
    run(CLIENT, "sh", "-c", script)
