# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys in a TPM 2.0, by the programs of tpm2-tools: a private part never leaves it.

What is kept outside is the key wrapped by the TPM (TPM2B_PUBLIC and TPM2B_PRIVATE of TPM 2.0 Library part 2). Its parent is the owner
hierarchy's storage primary key by tpm2-tools' template, which the same TPM makes again whenever it is asked, until it is cleared. Nothing
stays in the TPM. Secrets go through pipes; what is in files, in a folder of the user's alone, is public or wrapped.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from passivekey.agent.container import IN_TPM, ContainerError
from passivekey.agent.secret_store import SecretStoreError
from passivekey.protocol import keys
from passivekey.protocol.messages import octets, text

DEVICE = "/dev/tpmrm0"
"""The kernel's resource manager: with /dev/tpm0 one program at a time could have the TPM."""

_TCTI = "TPM2TOOLS_TCTI"
_WAIT = 60
"""Seconds; a TPM on a slow bus needs one or two for a key."""

# noda: wrong tries of others must not lock a key that has no password
_COMMON = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda"
_KINDS = {"sign": "ecc256:ecdsa-sha256", "decrypt": "ecc256:ecdh"}
_OF_ANOTHER = "(0x000001df)"
"""TPM_RC_INTEGRITY of the first parameter: this TPM did not wrap it."""


class TpmError(SecretStoreError):
    """The TPM cannot be used now: absent, not for this user, or it refuses. The text says what to do."""


class _OfAnotherTpm(TpmError):
    pass


def available() -> bool:
    """Whether there is a TPM that this user may open, and the programs for it."""
    return bool(os.environ.get(_TCTI) or os.access(DEVICE, os.R_OK | os.W_OK)) and shutil.which("tpm2_createprimary") is not None


def create(use: str) -> str:
    """A new P-256 key for "sign" (ECDSA with SHA-256) or "decrypt" (ECDH), as containers keep it."""
    with _folder() as name:
        folder = Path(name)
        public, private, der = (folder / part for part in ("key.pub", "key.priv", "key.der"))
        kind = ("-G", _KINDS[use], "-a", f"{_COMMON}|{use}")
        _run("create", "-C", _parent(folder), *kind, "-u", public, "-r", private, "-f", "der", "-o", der)
        return IN_TPM + ".".join(text(part.read_bytes()) for part in (public, private, der))


class TpmKey(keys.HeldKey):
    """A key in this machine's TPM as `cryptography` has keys; loaded once, when it is first used, for as long as this object lives."""

    def __init__(self, kept: str) -> None:
        self.kept = kept
        self._public, self._private, der = (octets(part) for part in kept.removeprefix(IN_TPM).split("."))
        found = load_der_public_key(der)
        assert isinstance(found, ec.EllipticCurvePublicKey)
        self._key = found

    def load(self) -> None:
        """Raises `ContainerError` for a key of another TPM, or of this one before it was cleared; `TpmError` where none can be asked."""
        try:
            self._context  # noqa: B018
        except _OfAnotherTpm as error:
            raise ContainerError(
                "the keys of this container are in another TPM, or in this one before it was cleared; run: passivekey-agent enroll"
            ) from error

    @cached_property
    def _context(self) -> tempfile.TemporaryDirectory[str]:
        found = _folder()
        folder = Path(found.name)
        (folder / "key.pub").write_bytes(self._public)
        (folder / "key.priv").write_bytes(self._private)
        _run("load", "-C", _parent(folder), "-u", folder / "key.pub", "-r", folder / "key.priv", "-c", folder / "key.ctx")
        return found

    def _use(self, tool: str, content: bytes, option: str, *arguments: str) -> bytes:
        self.load()
        folder = Path(self._context.name)
        (folder / "in").write_bytes(content)
        return _run(tool, "-c", folder / "key.ctx", *arguments, "-o", "/dev/stdout", *([option] if option else []), folder / "in")

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        if not isinstance(signature_algorithm.algorithm, hashes.SHA256):
            raise UnsupportedAlgorithm("the TPM's key signs by SHA-256")
        return self._use("sign", hashlib.sha256(data).digest(), "", "-g", "sha256", "-s", "ecdsa", "-d", "-f", "plain")

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        numbers = peer_public_key.public_numbers()
        point = b"".join(_sized(value.to_bytes(32, "big")) for value in (numbers.x, numbers.y))
        shared = self._use("ecdhzgen", _sized(point), "-u")  # TPM2B_ECC_POINT, as it is
        return shared[4 : 4 + int.from_bytes(shared[2:4], "big")].rjust(32, b"\0")

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._key

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._key.curve

    @property
    def key_size(self) -> int:
        return self._key.key_size

    def private_numbers(self) -> NoReturn:
        raise UnsupportedAlgorithm("the private key does not leave the TPM")

    def private_bytes(self, encoding: object, format: object, encryption_algorithm: object) -> NoReturn:
        self.private_numbers()

    def __copy__(self) -> TpmKey:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TpmKey:
        return self


def _sized(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def _folder() -> tempfile.TemporaryDirectory[str]:
    """In memory, where the session has such a place."""
    session = os.environ.get("XDG_RUNTIME_DIR", "")
    place = session if os.access(session, os.W_OK) else None
    return tempfile.TemporaryDirectory(prefix="passivekey-", dir=place, ignore_cleanup_errors=True)


def _parent(folder: Path) -> Path:
    _run("createprimary", "-C", "o", "-G", "ecc", "-c", folder / "parent.ctx")
    return folder / "parent.ctx"


def _run(tool: str, *arguments: str | Path) -> bytes:
    program = shutil.which(f"tpm2_{tool}")
    if program is None:
        raise TpmError("the device's keys are to be in a TPM, but tpm2-tools is not installed")
    # named, for without it the tools would take a simulator that anybody may run at a port
    environment = {**os.environ, _TCTI: os.environ.get(_TCTI) or f"device:{DEVICE}"}
    try:
        done = subprocess.run(
            [program, "-Q", *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=_WAIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TpmError(f"the TPM does not answer: {error}") from error
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.decode("utf-8", "replace").strip()
    if _OF_ANOTHER in said:
        raise _OfAnotherTpm("wrapped by another TPM")
    reason = next((line for line in said.splitlines() if "ErrorCode" not in line and line.startswith("ERROR")), said)
    raise TpmError(
        f"the TPM that has, or is to have, the device's keys cannot be used (tpm2_{tool}: {reason.removeprefix('ERROR: ')}); "
        f"may this user open {environment[_TCTI].removeprefix('device:')}? Without it: key = container in agent.conf, which enrolls anew"
    )
