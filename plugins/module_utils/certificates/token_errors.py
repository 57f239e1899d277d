# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong with a token, its PIN and its objects, in words an administrator can act upon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ansible_collections.certlogon.core.plugins.module_utils.errors import SessionLost, UserError


class TokenError(UserError):
    """Something is wrong with a token."""


class ModuleMissing(TokenError):
    """The PKCS#11 library is not there, or is none."""


class TokenAbsent(TokenError):
    """No token fits the URI."""


class TokenAmbiguous(TokenError):
    """Several tokens fit the URI."""


class TokenNotInitialized(TokenError):
    """The token, or its user PIN, was never set up."""


class PinMissing(TokenError):
    """The token wants a PIN, and none was given."""


class PinIncorrect(TokenError):
    """The PIN is wrong; a try was spent."""


class PinLastTry(TokenError):
    """One try is left, and nobody said that it may be spent."""


class PinLocked(TokenError):
    """Too many wrong PINs: the token lets nobody in."""


class TokenFull(TokenError):
    """The token has no room for the object."""


class TokenLost(SessionLost, TokenError):
    """The token was pulled, or its reader failed."""


class NoSuchKey(TokenError):
    """No private key fits."""


class KeyAmbiguous(TokenError):
    """Several private keys fit."""


class TokenRefuses(TokenError):
    """The token cannot, or will not, do this."""


# name of python-pkcs11's exception -> (error, what it means and what to do)
_MEANINGS: dict[str, tuple[type[TokenError], str]] = {
    "PinLocked": (PinLocked, "its PIN is locked; unlock it with the PUK, or wait where the card unlocks itself, and mend the PIN first"),
    "PinExpired": (TokenRefuses, "its PIN has expired; change it with the card's own tool"),
    "PinInvalid": (PinIncorrect, "it does not take such a PIN (its characters); mend the PIN"),
    "PinLenRange": (PinIncorrect, "it does not take a PIN of this length; mend the PIN"),
    "UserPinNotInitialized": (TokenNotInitialized, "its user PIN was never set; set it with the card's own tool"),
    "UserNotLoggedIn": (PinMissing, "it wants a PIN for this, and none was given; give pin, or pin-source in the URI"),
    "DeviceMemory": (TokenFull, "it is full; nothing on it was removed. Delete objects that nobody needs, or take a larger card"),
    "DeviceRemoved": (TokenLost, "it was removed meanwhile; insert it and run again"),
    "TokenNotPresent": (TokenLost, "it was removed meanwhile; insert it and run again"),
    "DeviceError": (TokenLost, "the card or its reader failed; insert it again and run again"),
    "SessionHandleInvalid": (TokenLost, "the session with it was ended by the token; run again"),
    "SessionClosed": (TokenLost, "the session with it was ended by the token; run again"),
    "TokenWriteProtected": (TokenRefuses, "it is write-protected"),
    "SessionReadOnly": (TokenRefuses, "it was opened for reading only"),
    "FunctionNotSupported": (TokenRefuses, "it does not support this"),
    "MechanismInvalid": (TokenRefuses, "it does not support this kind of key or signature; take another type or size of key"),
    "KeySizeRange": (TokenRefuses, "it does not support keys of this size; take another size"),
    "AttributeValueInvalid": (TokenRefuses, "it does not support this kind of key (curve, size) or object; take another"),
    "DomainParamsInvalid": (TokenRefuses, "it does not support this curve; take another"),
    "CurveNotSupported": (TokenRefuses, "it does not support this curve; take another"),
    "TemplateInconsistent": (TokenRefuses, "it does not take objects of this kind"),
    "TemplateIncomplete": (TokenRefuses, "it does not take objects of this kind"),
    "ActionProhibited": (TokenRefuses, "it forbids this (the object cannot be changed or deleted)"),
    "AttributeReadOnly": (TokenRefuses, "it forbids this (the object cannot be changed or deleted)"),
}


@contextmanager
def translated(token: str, doing: str) -> Iterator[None]:
    """Errors of python-pkcs11 as `TokenError`; `doing` says what was attempted ("storing the certificate"). Others pass through."""
    try:
        yield
    except Exception as error:
        if not is_library_error(error):
            raise
        name = type(error).__name__
        if name in _MEANINGS:
            kind, meaning = _MEANINGS[name]
        else:
            kind, meaning = TokenRefuses, f"it answered {name}{': ' + str(error) if str(error) else ''}; see the log of the PKCS#11 library"
        raise kind(f"{token}: {doing}: {meaning}") from None


def is_library_error(error: BaseException) -> bool:
    return any(one.__module__ == "pkcs11.exceptions" for one in type(error).__mro__)
