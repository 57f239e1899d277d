# SPDX-License-Identifier: GPL-3.0-or-later
"""From nothing to an active device, step by step; each step is on the disk before the next, so that a kill loses none."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from passivekey.agent import container, state
from passivekey.agent.client import Server, ServerError
from passivekey.agent.container import ContainerError, Content
from passivekey.agent.secret_store import SecretStore
from passivekey.protocol import certificates, codes, keys, messages
from passivekey.protocol.errors import Refused

CLOCK_WARNING = 10
"""Seconds that the workstation's clock may differ before the user is told."""

AskPassword = Callable[[], "tuple[str, str] | None"]


def nobody() -> None:
    """There is nobody to ask for a password."""


@dataclass
class Agent:
    places: state.Places
    store: SecretStore
    server: Server
    workstation: str
    ask_password: AskPassword = nobody
    warn: Callable[[str], None] = print

    def bring_up(self) -> Content:
        """An active device with a certificate that is not due; enrolls, goes on, or renews as needed."""
        content = self._begun()
        steps = {"new": self._enroll, "pending": self._seed, "seeded": self._confirm}
        while content.stage != "active":
            try:
                steps[content.stage](content)
            except ServerError as error:
                if error.code != "no-such-device" or content.stage == "new":
                    raise
                content = self._anew()  # the server forgot an enrolment that was broken off too long ago
        try:
            self._renew(content)
        except ServerError as error:
            if error.code != "no-such-device":
                raise
            self._anew()
            return self.bring_up()
        self._tell_clock()
        return content

    def load(self) -> Content | None:
        """The active device, if there is one."""
        found = container.load(self.places.container, self.store)
        return found if found and found.stage == "active" else None

    def _begun(self) -> Content:
        try:
            found = container.load(self.places.container, self.store)
        except ContainerError as error:
            self.warn(f"{error}; enrolling anew")
            found = None
        if found is None or found.origin != self.server.origin:
            return self._anew()
        return found

    def _anew(self) -> Content:
        container.forget(self.places.container, self.store)
        self.places.state.unlink(missing_ok=True)
        content = Content.fresh(self.server.origin)
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
        answer = self.server.enroll(words, self.ask_password)
        self._take(content, answer)
        # an answer that was lost may belong to a device that is active by now; its seed is asked for again all the same
        content.stage = "pending"
        self._save(content)

    def _take(self, content: Content, answer: dict[str, Any]) -> None:
        """Certificate and CA, judged before they are kept."""
        certificate = x509.load_der_x509_certificate(messages.octets(answer["certificate"]))
        ca = x509.load_der_x509_certificate(messages.octets(answer["ca"]))
        certificate.verify_directly_issued_by(ca)
        if certificate.public_key() != content.signer.public_key:
            raise ServerError("malformed", "the certificate is not for this workstation's key")
        content.device, content.certificate, content.ca = str(answer["device"]), str(answer["certificate"]), str(answer["ca"])
        content.policy_keys = list(answer["policy_keys"])

    def _seed(self, content: Content) -> None:
        answer = self.server.post(f"/v1/devices/{content.device}/seed", {"proof": self._proof(content, "seed")})
        seed = messages.take(answer["seed"], content.device, content.agreement_key)
        content.seed, content.step, content.digits = messages.text(seed.value), seed.step, seed.digits
        content.stage = "seeded"
        self._save(content)

    def _confirm(self, content: Content) -> None:
        counter = codes.counter_at(self._now(), content.step)
        proof = self._proof(content, "confirm", code=content.codes.code("enrollment", counter), counter=counter)
        try:
            self.server.post(f"/v1/devices/{content.device}/confirm", {"proof": proof})
        except ServerError as error:
            if error.code != "proof-refused":
                raise
            content.stage = "pending"  # another seed took this one's place
            self._save(content)
            return
        content.stage = "active"
        self._save(content)
        self._write_state(content)

    def _renew(self, content: Content) -> None:
        certificate = x509.load_der_x509_certificate(messages.octets(content.certificate))
        if certificates.due(certificate, datetime.datetime.now(datetime.timezone.utc)):
            path = f"/v1/devices/{content.device}/certificate"
            self._take(content, self.server.post(path, {"proof": self._proof(content, "certificate", csr=_csr(content))}))
            self._save(content)
        self._write_state(content)

    def retire(self) -> None:
        """Revoke this device and forget all of it."""
        content = container.load(self.places.container, self.store)
        if content and content.device:
            with suppress(ServerError):
                self.server.post(f"/v1/devices/{content.device}/retire", {"proof": self._proof(content, "retire")})
        container.forget(self.places.container, self.store)
        self.places.state.unlink(missing_ok=True)

    # ---- the policy

    def policy(self, content: Content) -> dict[str, Any]:
        """Today's policy, signed by a key that this device knows, or that follows from one."""
        token = self.server.get("/v1/policy").text
        now = self._now()
        try:
            claims = messages.read_policy(token, content.policy_keys, now, content.policy_serial)
        except Refused:
            statements = self.server.get("/v1/policy/succession").json()["statements"]
            claims = messages.read_policy(token, messages.follow(content.policy_keys, statements), now, content.policy_serial)
        content.policy_serial, content.policy_keys = claims["serial"], list(claims["policy_keys"])
        self._save(content)
        self.places.policy.write_text(token, encoding="ascii")
        return claims

    # ---- what all need

    def _proof(self, content: Content, step: str, **claims: Any) -> str:
        path = f"{content.origin}/v1/devices/{content.device}/{step}"
        return messages.proof(content.signer, content.device, path, self.server.nonce(), int(self._now()), **claims)

    def _now(self) -> float:
        """By the server's clock where it was heard: what is signed has to be of its time."""
        return time.time() - self.server.clock_difference

    def _tell_clock(self) -> None:
        difference = self.server.clock_difference
        if abs(difference) > CLOCK_WARNING:
            self.warn(
                f"this workstation's clock is {abs(difference):.0f} seconds {'ahead of' if difference > 0 else 'behind'} the server's; "
                "codes are refused when it is more than 30: see that the time service runs"
            )

    def _save(self, content: Content) -> None:
        container.save(self.places.container, content, self.store)

    def _write_state(self, content: Content) -> None:
        certificate = x509.load_der_x509_certificate(messages.octets(content.certificate))
        begun, ends = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
        renew_at = int(begun + (ends - begun) * certificates.RENEW_AT)
        state.write(self.places, state.State(content.device, content.origin, renew_at, int(ends)))


def code(content: Content, now: float | None = None) -> tuple[str, int]:
    """The code of channel radius now, and how many seconds it is good."""
    at = time.time() if now is None else now
    counter = codes.counter_at(at, content.step)
    return content.codes.code("radius", counter), int((counter + 1) * content.step - at)


def cookies(content: Content, policy: dict[str, Any], now: float | None = None) -> list[dict[str, Any]]:
    """A cookie for each site of the policy: {site, name, value, expires}."""
    at = time.time() if now is None else now
    key = policy["cookie_keys"][0]
    return [
        {
            "site": site,
            "name": "__Host-passivekey",
            "value": messages.cookie(content.signer, content.device, content.codes, key, site, at),
            "expires": int(at + 2 * policy["interval"]),
        }
        for site in policy["sites"]
    ]


def kept_policy(places: state.Places, content: Content) -> dict[str, Any] | None:
    """The policy of the last time, if it is still good."""
    try:
        token = places.policy.read_text(encoding="ascii")
        return messages.read_policy(token, content.policy_keys, time.time(), content.policy_serial)
    except (OSError, Refused, json.JSONDecodeError):
        return None


def _csr(content: Content) -> str:
    """A request by the device key. Its subject says nothing, for the server reads none."""
    key = content.signer.private_key
    return messages.text(x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, SHA256()).public_bytes(Encoding.DER))
