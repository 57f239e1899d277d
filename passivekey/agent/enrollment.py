# SPDX-License-Identifier: GPL-3.0-or-later
"""From nothing to an active device, step by step; each step is on the disk before the next, so that a kill loses none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from passivekey.agent import container, state
from passivekey.agent.client import AskFactor, AskPassword, Server, ServerError, Wanted, read_object
from passivekey.agent.container import ContainerError, Content
from passivekey.agent.lock import alone
from passivekey.agent.secret_store import SecretStore, SecretStoreError
from passivekey.protocol import certificates, codes, keys, messages
from passivekey.protocol.errors import Refused

CLOCK_WARNING = 10
"""Seconds that the workstation's clock may differ before the user is told."""

POLICY_AGE = 3600
"""Seconds after which the policy is asked for again, for there may be new sites."""

_MOST_STEPS = 12
"""Of one run: an enrolment has four, and a server that forgets or refuses what it said before is not asked for ever."""

_NOT_NOW = ("unreachable", "unavailable", "throttled")


def nobody() -> None:
    """There is nobody to ask for a password."""


def nothing(_wanted: Wanted) -> None:
    """There is nobody to ask for a second factor."""


@dataclass
class Agent:
    places: state.Places
    store: SecretStore
    server: Server
    workstation: str
    ask_password: AskPassword = nobody
    warn: Callable[[str], None] = print
    clock: Callable[[], float] = time.time
    ask_factor: AskFactor = nothing
    key: str = "container"
    """Where device keys have to be: "container", "tpm", or "auto": in a TPM for a new device where there is one, and where they are."""

    _told_clock: bool = False

    def bring_up(self) -> Content:
        """An active device that the server knows, with a certificate that is not due; enrolls, goes on, or renews as needed."""
        content = self._begun()
        steps = {"new": self._enroll, "pending": self._seed, "seeded": self._confirm, "active": self._see}
        for _number in range(_MOST_STEPS):
            was_active = content.stage == "active"
            try:
                steps[content.stage](content)
            except ServerError as error:
                if was_active and error.code in _NOT_NOW and self.clock() < _ends(content):
                    self.warn(f"{error}; the device of this workstation goes on working")
                    return content
                if error.code == "second-factor-required":
                    raise self._told_what_is_wanted(error) from error
                if error.code != "no-such-device":
                    raise
                content = self._anew()  # revoked, or an enrolment that was broken off too long ago
                continue
            self._tell_clock()
            if was_active and content.stage == "active":
                self.places.notice.unlink(missing_ok=True)
                return content
        raise ServerError("proof-refused", "the server does not take what it asked for; its log says more")

    def _told_what_is_wanted(self, error: ServerError) -> ServerError:
        """The refusal with what to do; left in a notice too, for whom nobody asked."""
        accepted = error.words.get("accepted")
        kinds = ", ".join(map(str, accepted)) if isinstance(accepted, list) else ""
        text = f"the server wants a second factor ({kinds}) before it enrolls this workstation; run: passivekey-agent enroll"
        self.places.notice.write_text(f"{text}\n", encoding="utf-8")
        return ServerError(error.code, text, error.words)

    def load(self) -> Content | None:
        """The active device, if there is one."""
        found = container.load(self.places.container, self.store)
        return found if found and found.stage == "active" else None

    def _begun(self) -> Content:
        try:
            found = container.load(self.places.container, self.store)
            if found and self.key != "container":
                found.check()
        except ContainerError as error:
            self.warn(f"{error}; enrolling anew")
            found = None
        if found is None or found.origin != self.server.origin:
            return self._anew()
        return found if self.key in ("auto", "tpm" if found.in_tpm else "container") else self._moved(found)

    def _moved(self, content: Content) -> Content:
        """A new device with its keys where they have to be, in place of this one; which stays while the server cannot be reached."""
        fresh = self._fresh()
        try:
            self.retire()
        except ServerError as error:
            if error.code in _NOT_NOW:
                return content
        except (ContainerError, SecretStoreError) as error:
            self.warn(f"device {content.device} cannot revoke itself, and stays in the server's list: {error}")
        return self._anew(fresh)

    def _fresh(self) -> Content:
        """New keys where they have to be."""
        from passivekey.agent import tpm

        if self.key == "tpm" or (self.key == "auto" and tpm.available()):
            try:
                return Content.fresh_in_tpm(self.server.origin)
            except SecretStoreError as error:
                if self.key == "tpm":
                    raise
                self.warn(f"{error}; this device's keys are in its container")
        return Content.fresh(self.server.origin)

    def _anew(self, fresh: Content | None = None) -> Content:
        content = fresh or self._fresh()  # first: without keys nothing is thrown away
        container.forget(self.places.container, self.store)
        self.places.state.unlink(missing_ok=True)
        self._save(content)
        return content

    # ---- the steps of section 3

    def _enroll(self, content: Content) -> None:
        agreement = keys.jwk(content.agreement_key.public_key())
        words = {
            "request": content.request,
            "csr": _csr(content),
            "agreement_key": {name: value for name, value in agreement.items() if name != "kid"},
            "workstation": self.workstation,
        }
        answer = self.server.enroll(words, self.ask_password, self.ask_factor)
        with _understood():
            self._take(content, answer)
            content.policy_keys = [dict(key) for key in answer["policy_keys"]]
        # an answer that was lost may belong to a device that is active by now; its seed is asked for again all the same
        content.stage = "pending"
        self._save(content)

    def _take(self, content: Content, answer: dict[str, Any]) -> None:
        """Certificate and CA, judged before they are kept."""
        certificate = x509.load_der_x509_certificate(messages.octets(answer["certificate"]))
        ca = x509.load_der_x509_certificate(messages.octets(answer["ca"]))
        certificate.verify_directly_issued_by(ca)
        if certificate.public_key() != content.signer.public_key:
            raise ValueError("the certificate is not for this workstation's key")
        device = messages.string(answer, "device", "malformed")
        if not device.isalnum() or content.device not in ("", device):
            raise ValueError("the answer is for another device")
        content.device, content.certificate, content.ca = device, answer["certificate"], answer["ca"]

    def _seed(self, content: Content) -> None:
        answer = self.server.post(f"/v1/devices/{content.device}/seed", {"proof": self._proof(content, "seed")})
        with _understood():
            content.take(answer["seed"])
        content.stage = "seeded"
        self._save(content)

    def _confirm(self, content: Content) -> None:
        nonce = self.server.nonce()  # first, for its answer tells the server's time, which the code has to be of
        counter = codes.counter_at(self._now(), content.step)
        proof = self._proof(content, "confirm", nonce, code=content.codes.code("enrollment", counter), counter=counter)
        try:
            self.server.post(f"/v1/devices/{content.device}/confirm", {"proof": proof})
            content.stage = "active"
        except ServerError as error:
            if error.code != "proof-refused":
                raise
            content.stage = "pending"  # another seed took this one's place
        self._save(content)

    def _see(self, content: Content) -> None:
        """Whether the server still knows the device; a new certificate where one is due; today's policy."""
        path = f"/v1/devices/{content.device}"
        known = self.server.post(f"{path}/status", {"proof": self._proof(content, "status")})
        if known.get("state") == "pending":
            content.stage = "pending"
            self._save(content)
            return
        if known.get("state") != "active":
            raise ServerError("malformed", "the server's answer does not say how this device is")
        if self._now() >= _renew_at(content):
            answer = self.server.post(f"{path}/certificate", {"proof": self._proof(content, "certificate", csr=_csr(content))})
            with _understood():
                self._take(content, answer)
            self._save(content)
        self.policy(content)
        seen = int(self.clock())
        state.write(self.places, state.State(content.device, content.origin, _renew_at(content), _ends(content), seen))

    def retire(self) -> None:
        """Revoke this device and forget all of it; raises, and forgets nothing, where the server cannot be told."""
        content = container.load(self.places.container, self.store)
        if content and content.device:
            try:
                self.server.post(f"/v1/devices/{content.device}/retire", {"proof": self._proof(content, "retire")})
            except ServerError as error:
                if error.code != "no-such-device":
                    raise
        container.forget(self.places.container, self.store)
        for path in (self.places.state, self.places.policy, self.places.notice):
            path.unlink(missing_ok=True)

    # ---- the policy

    def policy(self, content: Content) -> dict[str, Any]:
        """Today's policy, signed by a key that this device knows, or that follows from one."""
        with _understood():
            token = self.server.get("/v1/policy").decode("ascii")
            now = self._now()
            try:
                claims = messages.read_policy(token, content.policy_keys, now, content.policy_serial)
            except Refused:
                statements = read_object(self.server.get("/v1/policy/succession"))["statements"]
                claims = messages.read_policy(token, messages.follow(content.policy_keys, statements), now, content.policy_serial)
            content.policy_serial, content.policy_keys = claims["serial"], [dict(key) for key in claims["policy_keys"]]
        self._save(content)
        temporary = self.places.policy.with_suffix(".new")
        temporary.write_text(token, encoding="ascii")
        temporary.replace(self.places.policy)
        return claims

    def current_policy(self, content: Content) -> dict[str, Any]:
        """The kept policy; asked for anew where it is an hour old, or good no more."""
        kept = kept_policy(self.places, content, self.clock())
        if kept and self.clock() - kept["issued"] < POLICY_AGE:
            return kept
        with alone(self.places) as mine:
            found = self.load() if mine else None  # as it is now that nobody else writes it
            try:
                if found:
                    return self.policy(found)
            except ServerError:
                if not kept:
                    raise
        if kept:
            return kept
        raise ServerError("unavailable", "another agent is busy with this user's device; try again")

    # ---- what all need

    def _proof(self, content: Content, step: str, nonce: str = "", **claims: Any) -> str:
        path = f"{content.origin}/v1/devices/{content.device}/{step}"
        nonce = nonce or self.server.nonce()
        return messages.proof(content.signer, content.device, path, nonce, int(self._now()), **claims)

    def _now(self) -> float:
        """By the server's clock where it was heard: what is signed has to be of its time."""
        return self.clock() - self.server.clock_difference

    def _tell_clock(self) -> None:
        difference = self.server.clock_difference
        if abs(difference) > CLOCK_WARNING and not self._told_clock:
            self._told_clock = True
            self.warn(
                f"this workstation's clock is {abs(difference):.0f} seconds {'ahead of' if difference > 0 else 'behind'} the server's; "
                "codes are refused when it is more than 30: see that the time service runs"
            )

    def _save(self, content: Content) -> None:
        container.save(self.places.container, content, self.store)


def code(content: Content, now: float | None = None, channel: str = "radius") -> tuple[str, int]:
    """The code of a channel now, and how many seconds it is good."""
    at = time.time() if now is None else now
    counter = codes.counter_at(at, content.step)
    return content.codes.code(channel, counter), int((counter + 1) * content.step - at)


def cookies(content: Content, policy: dict[str, Any], now: float | None = None) -> list[dict[str, Any]]:
    """A cookie for each site of the policy: {site, name, value, expires}."""
    at = time.time() if now is None else now
    key, seed = policy["cookie_keys"][0], content.codes
    return [
        {
            "site": site,
            "name": "__Host-passivekey",
            "value": messages.cookie(content.signer, content.device, seed, key, site, at),
            "expires": int(at + 2 * policy["interval"]),
        }
        for site in policy["sites"]
    ]


def kept_policy(places: state.Places, content: Content, now: float) -> dict[str, Any] | None:
    """The policy of the last time, if it is still good."""
    try:
        token = places.policy.read_text(encoding="ascii")
        return messages.read_policy(token, content.policy_keys, now, content.policy_serial)
    except (OSError, Refused, ValueError):
        return None


@contextmanager
def _understood() -> Iterator[None]:
    """What the server sent and this protocol does not allow is said as such."""
    try:
        yield
    except Refused as refused:
        raise ServerError("malformed", f"the server's answer: {refused.detail}") from refused
    except (KeyError, TypeError, ValueError, InvalidSignature) as error:
        raise ServerError("malformed", f"the server's answer is not as the protocol says ({type(error).__name__}: {error})") from error


def _certificate(content: Content) -> x509.Certificate:
    return x509.load_der_x509_certificate(messages.octets(content.certificate))


def _ends(content: Content) -> int:
    return int(_certificate(content).not_valid_after_utc.timestamp())


def _renew_at(content: Content) -> int:
    begun = _certificate(content).not_valid_before_utc.timestamp()
    return int(begun + (_ends(content) - begun) * certificates.RENEW_AT)


def _csr(content: Content) -> str:
    """A request by the device key. Its subject says nothing, for the server reads none."""
    key = content.signer.private_key
    return messages.text(x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, SHA256()).public_bytes(Encoding.DER))
