# SPDX-License-Identifier: GPL-3.0-or-later
"""Enrolment and validation, as the protocol says (docs/passivekey-protocol.md). No HTTP, no LDAP, no clock of its own."""

from __future__ import annotations

import datetime
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, TypeVar

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from passivekey.protocol import certificates, codes, keys, messages
from passivekey.protocol.errors import Refused
from passivekey.server import factors
from passivekey.server.accounts import Account, Directory
from passivekey.server.audit import Audit
from passivekey.server.database import Conflict
from passivekey.server.keyring import Keyring
from passivekey.server.store import CRL_NUMBER, Device, Held, Store, Transaction, digest

NONCE_LIFE = 120
NONCE_AHEAD = 30
"""Seconds that the clock of another server of the same database may be ahead."""

CHALLENGE_LIFE = 120
SIGN_IN_LIFE = 300
PENDING_LIFE = 3600
CRL_AGE = 60
MOST_TICKET_HOURS = 168
POLICY_LIFE = 86400
_NOBODY = "0" * 32
"""No device's id."""

Done = TypeVar("Done")
_TRIES = 3
"""Of a transaction that another one was faster than."""


@dataclass(frozen=True)
class Rules:
    """What the administrator decided. Times in seconds."""

    origin: str
    enrollment_groups: frozenset[str] = frozenset()
    """SIDs; whoever is in one of them may enroll. Empty: everybody with an account."""

    devices_per_account: int = 5
    sites: tuple[str, ...] = ()
    interval: int = 60
    hotkey: str = "ctrl+shift+o"
    session_idle: int = 900
    session_life: int = 28800
    crl_life: int = 86400
    account_failures: int = 8
    source_failures: int = 40
    failures_within: int = 900
    locked_for: int = 900
    refuse_wrong_password_at_once: bool = False
    second_factor: tuple[str, ...] = ()
    """What beside the sign-in enrolment asks for, any of these kinds (factors.KINDS); empty: nothing."""

    backend_radius: bool = False
    """Codes over RADIUS that are of none of the account's devices are asked of the back end."""

    @property
    def host(self) -> str:
        return self.origin.removeprefix("https://").partition(":")[0]


@dataclass(frozen=True)
class Admitted:
    """Who may in: the account, the device, and a new session where one was made."""

    account: Account
    device: str
    session: str = ""


@dataclass(frozen=True)
class _Spending:
    """A second factor, to be spent in the transaction that makes the device."""

    kind: str
    spend: Callable[[Transaction], bool]


@dataclass(frozen=True)
class _Challenge:
    """What was found out before a code is asked for: whose name it was, whether the password was right, what the back end asked."""

    sid: str = ""
    right: bool = False
    asked: str = ""
    name: str = ""
    """A hash of what the user typed."""

    def __str__(self) -> str:
        return f"{self.sid} {int(self.right)} {self.asked} {self.name}"

    @classmethod
    def read(cls, text: str | None) -> _Challenge:
        """What nobody was asked is nobody's."""
        words = (text or "").split(" ")
        return cls(words[0], words[1] == "1", words[2], words[3]) if len(words) == 4 else cls()


@dataclass
class Service:
    rules: Rules
    store: Store
    keyring: Keyring
    directory: Directory
    audit: Audit
    clock: Callable[[], float]
    backend: factors.Backend | None = None
    _crls: dict[str, tuple[int, bytes]] = field(default_factory=dict, repr=False)
    _nobodys: tuple[str, str] = field(default=("", ""), repr=False)
    """A seed of no device, sealed, and the kid of its storage key."""

    @property
    def now(self) -> int:
        return int(self.clock())

    # ---- what everybody may know

    def policy(self) -> str:
        """Signed; its serial is the time, for it must only grow."""
        claims = {
            "serial": self.now,
            "issued": self.now,
            "expires": self.now + POLICY_LIFE,
            "origin": self.rules.origin,
            "sites": list(self.rules.sites),
            "interval": self.rules.interval,
            "step": codes.STEP,
            "cookie_keys": self.keyring.cookie_jwks,
            "policy_keys": self.keyring.policy_jwks,
            "hotkey": self.rules.hotkey,
            "renew_at": round(certificates.RENEW_AT, 2),
        }
        return messages.policy(self.keyring.policy_signer, claims)

    def crl(self, authority: str = "") -> bytes | None:
        """The CRL of a CA, of the newest without an id, DER; None of one that is unknown. Anybody may ask: made once a minute at most.

        One series of numbers for all, so that each CA's grow with each CRL that is made.
        """
        held = self.keyring.authorities
        name = authority or next(iter(held))
        if name not in held:
            return None
        made, der = self._crls.get(name, (0, b""))
        if der and 0 <= self.now - made < CRL_AGE:
            return der

        def draw(transaction: Transaction) -> tuple[int, list[tuple[int, int, bytes]]]:
            number = max(transaction.number(CRL_NUMBER, alone=True) + 1, self.now)
            transaction.set_number(CRL_NUMBER, number)
            return number, transaction.revoked_certificates(self.now)

        number, revoked = self._try(draw)
        alone = len(held) == 1
        entries = [(serial, _time(at)) for serial, at, its in revoked if alone or certificates.issuer_id(its) == name]
        life = datetime.timedelta(seconds=self.rules.crl_life)
        der = certificates.revocation_list(*held[name], entries, number, _time(self.now), life).public_bytes(Encoding.DER)
        self._crls[name] = (self.now, der)
        return der

    def live_authorities(self) -> dict[str, tuple[int, int]]:
        """Of each CA that has certificates which have not ended: how many, and the time of the last one's end. Looks at all of them."""
        found: dict[str, tuple[int, int]] = {}
        with self.store.transaction(reading=True) as transaction:
            for der, expires in transaction.live_certificates(self.now):
                issuer = certificates.issuer_id(der)
                count, last = found.get(issuer, (0, 0))
                found[issuer] = (count + 1, max(last, expires))
        return found

    def ca_certificate(self, authority: str = "") -> bytes | None:
        """DER; the newest CA's without an id, None of one that is unknown."""
        held = self.keyring.authorities
        found = held.get(authority or next(iter(held)))
        return found[0].public_bytes(Encoding.DER) if found else None

    def nonce(self) -> str:
        """Anybody may ask, so that nothing is written: it says itself when it was made, and by whom; it is remembered when it is spent."""
        drawn = secrets.token_bytes(16) + self.now.to_bytes(8, "big")
        return messages.text(drawn + self._sealed(drawn))

    def _sealed(self, drawn: bytes) -> bytes:
        return hmac.digest(self.keyring.secret("nonces"), drawn, "sha256")[:16]

    def _spend_nonce(self, nonce: str) -> bool:
        """Whether it is one of ours, of now, and not spent yet."""
        octets = messages.octets(nonce, "proof-refused")
        drawn, sealed = octets[:24], octets[24:]
        if len(octets) != 40 or not hmac.compare_digest(sealed, self._sealed(drawn)):
            return False
        if not -NONCE_AHEAD <= self.now - int.from_bytes(drawn[16:], "big") <= NONCE_LIFE:
            return False
        try:
            with self.store.transaction() as transaction:
                transaction.add_ticket(nonce, "spent-nonce", "", self.now + NONCE_AHEAD + NONCE_LIFE)
        except Conflict:
            return False
        return True

    # ---- signing in where there is no ticket

    def sign_in(self, username: str, password: str, source: str) -> str:
        """What stands for a user who gave name and password, for the minutes of an enrolment."""
        account = self.authenticate(username, password, source, "sign-in")
        token = messages.text(secrets.token_bytes(32))
        with self.store.transaction() as transaction:
            transaction.add_ticket(token, "sign-in", account.sid, self.now + SIGN_IN_LIFE)
        return token

    def authenticate(self, username: str, password: str, source: str, what: str) -> Account:
        """The account of a right name and password; wrong ones are counted, and audited as `what`-refused."""
        who = _network(source)
        with self.store.transaction(reading=True) as transaction:
            if transaction.waits_until(who) > self.now:
                raise Refused("throttled", "too many attempts")
        account = self.directory.by_name(username)
        right = self.directory.password_is(username, password)
        if not right or account is None or not account.usable or self._locked(account):
            self._failure(account, source, what, username)
            raise Refused("unauthenticated", "wrong name or password")
        return account

    def signed_in(self, token: str) -> Account:
        with self.store.transaction(reading=True) as transaction:
            sid = transaction.read_ticket(token, "sign-in", self.now) if token else None
        account = self.directory.by_sid(sid) if sid else None
        if account is None:
            raise Refused("unauthenticated", "not signed in")
        return account

    # ---- enrolment

    def enroll(self, principal: Account, body: Mapping[str, Any], source: str) -> dict[str, Any]:
        """A pending device of who signed in; nothing in `body` says who that is."""
        request, csr, workstation = (messages.string(body, name, "malformed") for name in ("request", "csr", "workstation"))
        if len(request) != 32 or set(request) - set("0123456789abcdef") or not 0 < len(workstation) <= 64 or not workstation.isprintable():
            raise Refused("malformed", "request is 32 hexadecimal digits, workstation 1 to 64 characters")
        self._may_enroll(principal, source)
        key = certificates.requested_key(messages.octets(csr))
        agreement = self._agreement(key, body.get("agreement_key"))
        factor = self._second_factor(principal, request, factors.read(body.get("second_factor")), source)
        try:
            return self._try(lambda transaction: self._enroll(transaction, principal, request, workstation, key, agreement, factor, source))
        except Refused as refused:
            if refused.code == "second-factor-required":
                self._failure(principal, source, "second-factor")
            raise

    def _enroll(
        self,
        transaction: Transaction,
        principal: Account,
        request: str,
        workstation: str,
        key: keys.PublicKey,
        agreement: bytes | None,
        factor: _Spending | None,
        source: str,
    ) -> dict[str, Any]:
        account = transaction.account(principal.sid, principal.name, self.now)
        known = transaction.devices_of(principal.sid)
        held = [found for found in known if found.state != "revoked"]
        device = next((found for found in known if found.request == request), None)
        if device is not None and device.state == "revoked":
            raise Refused("no-such-device", "the device of this request was revoked")
        if device is not None and (device.public_key, device.agreement_key) != (_der(key), agreement):
            raise Refused("malformed", "this request was made with another key")
        if device is None:
            if len(held) >= self.rules.devices_per_account:
                raise Refused("too-many-devices", f"{len(held)} devices are enrolled")
            if factor is not None and not factor.spend(transaction):
                raise factors.required(self.rules.second_factor, "this second factor is not good")
            number = secrets.token_hex(16)
            transaction.add_device(
                id=number,
                account=account,
                request=request,
                workstation=workstation,
                public_key=_der(key),
                agreement_key=agreement,
                created=self.now,
                touched=self.now,
            )
            certificate = self._certify(transaction, number, key)
            kind = factor.kind if factor else ""
            self.audit.write("enroll", account=principal.sid, device=number, workstation=workstation, source=source, factor=kind)
            return self._enrolled(number, "pending", certificate)
        transaction.touch(device.id, self.now)
        found = transaction.certificate(device.id)
        return self._enrolled(device.id, device.state, found[0] if found else self._certify(transaction, device.id, key))

    def _second_factor(self, principal: Account, request: str, given: factors.Factor | None, source: str) -> _Spending | None:
        """None where none is needed. Raises `Refused("second-factor-required")` where one is, and was not given."""
        accepted = self.rules.second_factor
        if not accepted:
            return None
        with self.store.transaction(reading=True) as transaction:
            known = transaction.devices_of(principal.sid)
            waits = transaction.waits_until(f"account:{principal.sid}", _network(source)) > self.now
        held = sum(device.state != "revoked" for device in known)
        if any(device.request == request for device in known) or held >= self.rules.devices_per_account:
            return _Spending("", lambda _transaction: False)  # no device will be made, so that nothing is to be spent
        if given is None or given.kind not in accepted:
            raise factors.required(accepted, "policy asks for a second factor" if given is None else "this kind is not accepted")
        if waits:
            self.audit.write("second-factor-throttled", account=principal.sid, source=source)
            raise Refused("throttled", "too many attempts")
        judged = {"device": self._by_device, "ticket": self._by_ticket, "privacyidea": self._by_privacyidea}
        return _Spending(given.kind, judged[given.kind](principal, given))

    def _by_device(self, principal: Account, given: factors.Factor) -> Callable[[Transaction], bool]:
        with self.store.transaction(reading=True) as transaction:
            held, _until = transaction.held(principal.sid, f"account:{principal.sid}")
        fitting = self._fitting(held, "enrollment", given.code)
        return lambda transaction: any(self._accept(device, counter, "enrollment", transaction) for device, counter in fitting)

    def _by_ticket(self, principal: Account, given: factors.Factor) -> Callable[[Transaction], bool]:
        secret = factors.ticket_secret(given.code, principal.sid)
        return lambda transaction: transaction.spend_ticket(secret, "enrollment", self.now) is not None

    def _by_privacyidea(self, principal: Account, given: factors.Factor) -> Callable[[Transaction], bool]:
        verdict = self._asked(principal, given.code, given.transaction)
        if verdict.transaction:
            raise factors.required(self.rules.second_factor, "one more answer is needed", verdict.transaction, verdict.prompt)
        return lambda _transaction: verdict.accepted

    def _asked(self, account: Account, code: str, transaction: str) -> factors.Verdict:
        """What the back end says; why it refuses is in the audit log."""
        if self.backend is None:
            raise Refused("unavailable", "no validation back end is set up")
        try:
            verdict = self.backend.check(account, code, transaction)
        except Refused as refused:
            self.audit.write("backend-failed", account=account.sid, why=refused.detail)
            raise
        if verdict.why:
            self.audit.write("backend-refused", account=account.sid, why=verdict.why)
        return verdict

    def issue_ticket(self, account: Account, hours: int = 24, *, by: str, source: str = "") -> str:
        """A one-time code that lets this account enroll a device; it is shown now and never again."""
        if "ticket" not in self.rules.second_factor:
            raise Refused("not-allowed", "enrollment.second_factor does not have ticket: nobody would be asked for one")
        if not 1 <= hours <= MOST_TICKET_HOURS:
            raise Refused("malformed", f"a ticket is good for 1 to {MOST_TICKET_HOURS} hours")
        if not self._allowed(account):
            raise Refused("not-allowed", "this account may not enroll")
        ticket = factors.new_ticket()
        with self.store.transaction() as transaction:
            self.audit.write("ticket", account=account.sid, by=by, hours=str(hours), source=source)
            secret = factors.ticket_secret(ticket, account.sid)
            transaction.add_ticket(secret, "enrollment", account.sid, self.now + hours * 3600)
        return ticket

    def withdraw_tickets(self, account: Account, *, by: str, source: str = "") -> int:
        """How many enrolment tickets of the account are good no more."""
        with self.store.transaction() as transaction:
            self.audit.write("tickets-withdrawn", account=account.sid, by=by, source=source)
            return transaction.drop_tickets("enrollment", account.sid)

    def _allowed(self, account: Account) -> bool:
        current = self.directory.by_sid(account.sid)
        groups = self.rules.enrollment_groups
        return current is not None and current.usable and (not groups or bool(groups & self.directory.groups(account.sid)))

    def _may_enroll(self, principal: Account, source: str) -> None:
        if not self._allowed(principal):
            self.audit.write("enroll-refused", account=principal.sid, source=source)
            raise Refused("not-allowed", "this account may not enroll")

    @staticmethod
    def _agreement(key: keys.PublicKey, words: object) -> bytes | None:
        """The agreement key's DER; needed with P-256, forbidden with RSA, and never the device key."""
        if keys.algorithm(key) == "PS256":
            if words is not None:
                raise Refused("malformed", "agreement_key is not for RSA keys")
            return None
        agreement = keys.from_jwk(words)
        if _der(agreement) == _der(key):
            raise Refused("request-refused", "agreement_key must not be the device key")
        return _der(agreement)

    def _certify(self, transaction: Transaction, device: str, key: keys.PublicKey) -> bytes:
        ca, ca_key = self.keyring.ca
        certificate = certificates.issue(ca, ca_key, device, key, self.rules.origin, _time(self.now))
        der = certificate.public_bytes(Encoding.DER)
        transaction.add_certificate(device, certificate.serial_number, der, int(certificate.not_valid_after_utc.timestamp()))
        return der

    def _enrolled(self, device: str, state: str, certificate: bytes) -> dict[str, Any]:
        held = self.keyring.authorities
        ca, _key = held.get(certificates.issuer_id(certificate), self.keyring.ca)  # of this certificate: there may be a newer one by now
        words = {"certificate": messages.text(certificate), "ca": messages.text(ca.public_bytes(Encoding.DER))}
        found = {"device": device, "state": state, **words}
        return {**found, "policy_keys": self.keyring.policy_jwks}

    def seed(self, device: str, proof: object, source: str) -> dict[str, Any]:
        """A new seed, good once it is confirmed."""
        self._proved(device, proof, f"/v1/devices/{device}/seed")
        value = codes.Seed(codes.new_seed())
        kid, storage = self.keyring.storage

        def remember(transaction: Transaction) -> Device:
            found = self._device(transaction, device)
            self.audit.write("seed", account=found.sid, device=device, source=source)
            transaction.put_seed(device, messages.seal(value.value, device, storage, kid), kid, self.now)
            transaction.touch(device, self.now)
            return found

        found = self._try(remember)
        recipient = found.agreement_key or found.public_key
        return {"seed": messages.deliver(value, device, _key(recipient), self.now)}

    def confirm(self, device: str, proof: object, source: str) -> dict[str, Any]:
        """The device could read its seed: from now on its codes are good."""
        claims = self._proved(device, proof, f"/v1/devices/{device}/confirm")
        code, counter = messages.string(claims, "code", "malformed"), messages.number(claims, "counter", "malformed")
        if abs(counter - codes.counter_at(self.now)) > messages.CLOCK // codes.STEP:
            raise Refused("proof-refused", "the code is of another time; is the clock right?")

        def decide(transaction: Transaction) -> Device:
            found = self._device(transaction, device)
            for state in ("pending", "active"):
                sealed = transaction.seed(device, state)
                if sealed and self._open(device, *sealed).find("enrollment", code, [counter]) is not None:
                    self.audit.write("confirm", account=found.sid, device=device, source=source)
                    if state == "pending":
                        transaction.confirm_seed(device)
                        transaction.activate(device, self.now)
                    return found
            raise Refused("proof-refused", "the code is not of the seed that was sent")

        self._try(decide)
        return {"device": device, "state": "active"}

    def renew(self, device: str, proof: object, source: str) -> dict[str, Any]:
        """A new certificate for the same key."""
        claims = self._proved(device, proof, f"/v1/devices/{device}/certificate")
        key = certificates.requested_key(messages.octets(claims.get("csr")))

        def certify(transaction: Transaction) -> tuple[Device, bytes]:
            found = self._device(transaction, device, alone=True)  # a certificate made while it is revoked would not be on the CRL
            if _der(key) != found.public_key:
                raise Refused("request-refused", "the request is made with another key than the device's")
            self.audit.write("renew", account=found.sid, device=device, source=source)
            return found, self._certify(transaction, device, key)

        found, certificate = self._try(certify)
        return self._enrolled(device, found.state, certificate)

    def status(self, device: str, proof: object) -> dict[str, Any]:
        self._proved(device, proof, f"/v1/devices/{device}/status")
        with self.store.transaction(reading=True) as transaction:
            found = self._device(transaction, device)
            certificate = transaction.certificate(device)
        expires = certificate[1] if certificate else 0
        return {"device": device, "state": found.state, "certificate_expires": expires, "policy_serial": self.now, "time": self.now}

    def retire(self, device: str, proof: object, source: str) -> dict[str, Any]:
        """The device revokes itself."""
        self._proved(device, proof, f"/v1/devices/{device}/retire")
        self.revoke(device, "retired by itself", by=device, source=source)
        return {"device": device, "state": "revoked"}

    def revoke(self, device: str, reason: str, *, by: str, source: str = "") -> bool:
        """At once: seeds and sessions are gone when this returns. Whether it was in force."""
        with self.store.transaction() as transaction:
            found = transaction.device(device)
            if found is None:
                raise Refused("no-such-device", "there is no such device")
            # said before it is done, so that a restored backup can be told of all that may have been done
            self.audit.write("revoke", account=found.sid, device=device, reason=reason, by=by, source=source)
            return transaction.revoke(device, self.now, reason)

    # ---- the web

    def check(self, site: str, session: str, cookie: str, source: str) -> Admitted:
        """Who the browser's cookies stand for on this site. Raises `Refused("unauthenticated")` without saying why."""
        if site not in self.rules.sites:
            raise Refused("unauthenticated", "no such site")
        admitted = self._by_session(site, session) if session else None
        if admitted is None and cookie:
            admitted = self._by_cookie(site, cookie, source)
        if admitted is None:
            raise Refused("unauthenticated", "no cookie that is good here")
        return admitted

    def _by_session(self, site: str, session: str) -> Admitted | None:
        rules = self.rules
        with self.store.transaction(reading=True) as transaction:
            held = transaction.session(session, site, self.now, rules.session_idle, rules.session_life)
            found = transaction.device(held[0]) if held else None
        account = self._usable(found)
        if held is None or found is None or account is None:
            return None
        if self.now - held[1] >= min(60, rules.session_idle // 4):  # not at each request, for that would be a write each
            with self.store.transaction() as transaction:
                transaction.use_session(session, self.now)
        return Admitted(account, found.id)

    def _by_cookie(self, site: str, cookie: str, source: str) -> Admitted | None:
        try:
            opened = messages.open_cookie(cookie, self.keyring.cookie_keys)
            with self.store.transaction(reading=True) as transaction:
                active = transaction.active(opened.device, self.now)
            if active is None:
                raise Refused("unauthenticated", "the device is not active")
            found, sealed = active
            code = messages.read_cookie(opened, _key(found.public_key), site)
            window = codes.Window(back=1 + -(-self.rules.interval // codes.STEP), drift=found.drift)
            counters = [counter for counter in window.counters(codes.counter_at(self.now)) if counter == code.counter]
            counter = self._open(found.id, *sealed).find("web", code.code, counters, site)
            account = self._usable(found)
            if counter is None or account is None:
                raise Refused("unauthenticated", "the code, or the account, is not good now")
            token = self._try(lambda transaction: self._begin_session(transaction, found, site, counter))
        except Refused as refused:
            if refused.code == "unavailable":
                raise
            self.audit.write("web-refused", site=site, source=source, why=refused.detail)
            return None
        self.audit.write("web", account=account.sid, device=found.id, site=site, source=source)
        return Admitted(account, found.id, token)

    def _begin_session(self, transaction: Transaction, device: Device, site: str, counter: int) -> str:
        if not transaction.accept(device.id, "web", counter, site):
            raise Refused("unauthenticated", "the code was used already")
        token = messages.text(secrets.token_bytes(32))
        transaction.add_session(token, device.id, site, self.now)
        # a cookie may be as old as the interval is long: its step tells nothing of the clock
        transaction.saw(device.id, self.now, device.drift)
        return token

    # ---- RADIUS

    def radius(self, username: str, password: str, state: str, source: str) -> str:
        """The state of a challenge, or "" where the user is in. Raises `Refused("unauthenticated")`; who is unknown learns nothing."""
        if state:
            return self._radius_second(username, password, state, source)
        with self.store.transaction(reading=True) as transaction:
            waits = transaction.waits_until(_network(source)) > self.now
        if waits:
            raise self._throttled(source)
        return self._radius_first(username, password, source)

    def _throttled(self, source: str) -> Refused:
        self.audit.write("radius-throttled", source=source)
        return Refused("throttled", "too many attempts")

    def _radius_first(self, username: str, password: str, source: str) -> str:
        account = self.directory.by_name(username)
        right = bool(password) and self.directory.password_is(username, password)
        right = right and account is not None and account.usable
        about = _Challenge(account.sid if account else "", right, "", digest(username.casefold()))
        who = f"account:{about.sid or _nobody(about.name)}"
        words = str(about), str(replace(about, right=False)), self.now + CHALLENGE_LIFE

        def begin(transaction: Transaction) -> tuple[str, bool]:
            # who has to wait is asked for a code like anybody, and the database is asked the same, the password right or wrong
            challenge = secrets.token_hex(16)
            good = transaction.add_challenge(challenge, "radius", *words, who=who, now=self.now) and about.right
            if not good:
                self._count(transaction, account, source, username)
            return challenge, good

        challenge, good = self._try(begin, lasting=False)
        if not good:
            self._refusal(account, source, "radius-password")
            if self.rules.refuse_wrong_password_at_once:
                raise Refused("unauthenticated", "wrong name or password")
        return challenge

    def _radius_second(self, username: str, code: str, state: str, source: str) -> str:
        name, who = digest(username.casefold()), _network(source)
        with self.store.transaction(lasting=False) as transaction:
            spent = transaction.spend_ticket(state, "radius", self.now, who=who)
            waits = spent is None and transaction.waits_until(who) > self.now
            about = _Challenge.read(spent)
            sid = about.sid or _nobody(name)
            held, until = transaction.held(sid, f"account:{sid}")
        locked = (until or 0) > self.now
        if waits:
            raise self._throttled(source)
        # what follows is done for everybody, the password wrong or the account unknown: how long it takes must not tell
        found = self.directory.by_sid(sid)
        fitting = self._fitting(held, "radius", code)
        account = found if about.right and about.name == name else None
        usable = account if account and account.usable and not locked else None
        device, backend = self._first_accepted(fitting, forgive=until is not None) if usable and not about.asked else None, ""
        if device is None and self.rules.backend_radius:
            verdict = self._backend_says(usable, code, about.asked)
            if verdict.transaction:
                challenge = secrets.token_hex(16)
                with self.store.transaction(lasting=False) as transaction:
                    transaction.add_ticket(challenge, "radius", str(replace(about, asked=verdict.transaction)), self.now + CHALLENGE_LIFE)
                return challenge
            device, backend = ("", "privacyidea") if verdict.accepted else (None, "")
        if usable is None or device is None:
            self._failure(account, source, "radius-code", username)
            raise Refused("unauthenticated", "the code is not good")
        if backend:
            with self.store.transaction() as transaction:
                transaction.forgive(f"account:{usable.sid}")
        self.audit.write("radius", account=usable.sid, device=device, backend=backend, source=source)
        return ""

    def _backend_says(self, account: Account | None, code: str, transaction: str) -> factors.Verdict:
        """Somebody unknown is not asked about, and waits as long."""
        if account is not None:
            return self._asked(account, code, transaction)
        if self.backend is not None:
            self.backend.pretend()
        return factors.Verdict()

    def _first_accepted(self, fitting: Sequence[tuple[Device, int]], *, forgive: bool) -> str | None:
        """The device whose code it is, accepted now."""
        for device, counter in fitting:
            if self._try(partial(self._accept_login, device, counter, forgive)):
                return device.id
        return None

    def _accept_login(self, device: Device, counter: int, forgive: bool, transaction: Transaction) -> bool:
        done = self._accept(device, counter, "radius", transaction)
        if done and forgive:
            transaction.forgive(f"account:{device.sid}")
        return done

    def _fitting(self, held: Sequence[Held], channel: str, code: str) -> list[tuple[Device, int]]:
        """Of an account's devices those whose code this is now, and its counter; who has none costs the time of one."""
        if not held:
            self._nobodys_seed().find(channel, code, codes.Window().counters(codes.counter_at(self.now)))
        fitting = []
        for device, sealed in held:
            counters = codes.Window(drift=device.drift).counters(codes.counter_at(self.now))
            counter = self._open(device.id, *sealed).find(channel, code, counters) if sealed else None
            if counter is not None:
                fitting.append((device, counter))
        return fitting

    def _accept(self, device: Device, counter: int, channel: str, transaction: Transaction) -> bool:
        """Whether it is. Who has to wait by now does, for many guesses at once are judged before the first is counted."""
        done = transaction.accept(device.id, channel, counter, who=f"account:{device.sid}", now=self.now)
        if done:
            transaction.saw(device.id, self.now, _drift(counter, self.now))
        return done

    # ---- how it is

    def health(self) -> dict[str, str]:
        """What the service stands on: each "ok", or why not."""
        checks: dict[str, Callable[[], object]] = {"database": self.counts}
        checks["directory"] = lambda: self.directory.by_sid("S-1-5-21-0-0-0-500")
        if self.backend is not None:
            checks["backend"] = self.backend.reach
        return {name: _state(check) for name, check in checks.items()}

    def counts(self) -> dict[str, int]:
        """Devices by state."""
        with self.store.transaction(reading=True) as transaction:
            return transaction.count()

    # ---- what all of them need

    def _try(self, work: Callable[[Transaction], Done], *, lasting: bool = True) -> Done:
        """A transaction; once more where another request was faster."""
        for _attempt in range(_TRIES):
            try:
                with self.store.transaction(lasting=lasting) as transaction:
                    return work(transaction)
            except Conflict:
                continue
        raise Refused("unavailable", "too many requests for the same thing at once")

    def _device(self, transaction: Transaction, device: str, *, alone: bool = False) -> Device:
        found = transaction.device(device, alone=alone)
        if found is None or found.state == "revoked":
            raise Refused("no-such-device", "there is no such device")
        return found

    def _proved(self, device: str, proof: object, path: str) -> messages.Claims:
        """The claims of a device's proof: signed by its key, for this path, with a nonce of ours, its account in order."""
        if messages.device_of(proof) != device:
            raise Refused("proof-refused", "another device's proof")
        with self.store.transaction(reading=True) as transaction:
            found = self._device(transaction, device)
        claims = messages.read_proof(proof, _key(found.public_key), f"{self.rules.origin}{path}", self.now)
        if not self._spend_nonce(str(claims["nonce"])):
            raise Refused("proof-refused", "the nonce is not good, or not good any more")
        if self._usable(found) is None:
            raise Refused("not-allowed", "the account cannot be used")
        return claims

    def _usable(self, device: Device | None) -> Account | None:
        """The account of an unrevoked device, as the directory has it now, if it may be used."""
        account = self.directory.by_sid(device.sid) if device and device.state != "revoked" else None
        return account if account and account.usable else None

    def _open(self, device: str, sealed: str, kid: str) -> codes.Seed:
        return codes.Seed(messages.unseal(sealed, device, self.keyring.storage_key(kid)))

    def _nobodys_seed(self) -> codes.Seed:
        """Unsealed as any other, for who has none."""
        kid, public = self.keyring.storage
        if self._nobodys[1] != kid:
            self._nobodys = messages.seal(codes.new_seed(), _NOBODY, public, kid), kid
        return self._open(_NOBODY, *self._nobodys)

    def _locked(self, account: Account) -> bool:
        with self.store.transaction(reading=True) as transaction:
            return transaction.waits_until(f"account:{account.sid}") > self.now

    def _failure(self, account: Account | None, source: str, what: str, username: str = "") -> None:
        # not lasting: who waits for the disk would tell by it that the password was wrong
        self._try(lambda transaction: self._count(transaction, account, source, username), lasting=False)
        self._refusal(account, source, what)

    def _count(self, transaction: Transaction, account: Account | None, source: str, username: str) -> None:
        """Of nobody as much is written down as of somebody, for it takes its time, but nobody ever waits."""
        rules = self.rules
        limits = {_network(source): rules.source_failures}
        if account is not None:
            limits[f"account:{account.sid}"] = rules.account_failures
        else:
            limits[f"nobody:{_nobody(digest(username.casefold()))}"] = 2**31
        for who, limit in sorted(limits.items()):
            transaction.failed(who, self.now, limit, rules.locked_for, rules.failures_within)

    def _refusal(self, account: Account | None, source: str, what: str) -> None:
        self.audit.write(f"{what}-refused", account=account.sid if account else "", source=source)


def _state(check: Callable[[], object]) -> str:
    try:
        check()
    except Refused as refused:
        return refused.detail
    return "ok"


def _network(source: str) -> str:
    """Whose failures are counted together: an address, of IPv6 the 64 bits that one customer has at least."""
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return f"source:{source}"
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return f"source:{ip_network((address, 64), strict=False) if isinstance(address, IPv6Address) else address}"


def _nobody(name: str) -> str:
    """The SID of no account, the same each time for a name (its hash)."""
    return f"S-1-5-21-0-0-0-{int(name[:7], 16)}"


def _der(key: keys.PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _key(der: bytes) -> keys.PublicKey:
    return keys.checked(load_der_public_key(der))


def _time(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)


def _drift(counter: int, now: int) -> int:
    """How many steps the device's clock is before (or behind) ours."""
    return max(-codes.MOST_DRIFT, min(codes.MOST_DRIFT, counter - codes.counter_at(now)))
