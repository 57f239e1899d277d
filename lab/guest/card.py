# SPDX-License-Identifier: GPL-3.0-or-later
"""Set a SoftHSM card up: `python3 card.py < settings.json` with `library`, `folder`, `label`, `so_pin`, `pin`.

Stand-alone. The PINs come by standard input, which softhsm2-util and pkcs11-tool do not take: theirs show in the process list.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path

RW_SESSION = 2 | 4  # CKF_RW_SESSION, CKF_SERIAL_SESSION
SECURITY_OFFICER = 0
CONFIGURATION = """\
directories.tokendir = {folder}/tokens
objectstore.backend = file
log.level = ERROR
slots.removable = true
"""


def main() -> None:
    settings = json.load(sys.stdin)
    folder = Path(settings["folder"])
    os.umask(0o077)
    (folder / "tokens").mkdir(parents=True, exist_ok=True)
    configuration = folder / "softhsm2.conf"
    if not configuration.exists():
        configuration.write_text(CONFIGURATION.format(folder=folder))
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    initialize(ctypes.CDLL(settings["library"]), settings["label"], settings["so_pin"].encode(), settings["pin"].encode())


def initialize(library: ctypes.CDLL, label: str, so_pin: bytes, pin: bytes) -> None:
    """Make a token in the empty slot that SoftHSM always has, with both PINs."""

    def call(name: str, *arguments: object) -> None:
        code = getattr(library, name)(*arguments)
        if code:
            sys.exit(f"{name} answered 0x{code:x}")

    call("C_Initialize", None)
    count = ctypes.c_ulong(64)
    slots = (ctypes.c_ulong * count.value)()
    call("C_GetSlotList", ctypes.c_ubyte(1), slots, ctypes.byref(count))
    slot = ctypes.c_ulong(slots[count.value - 1])
    call("C_InitToken", slot, so_pin, ctypes.c_ulong(len(so_pin)), label.encode().ljust(32))
    session = ctypes.c_ulong()
    call("C_OpenSession", slot, ctypes.c_ulong(RW_SESSION), None, None, ctypes.byref(session))
    call("C_Login", session, ctypes.c_ulong(SECURITY_OFFICER), so_pin, ctypes.c_ulong(len(so_pin)))
    call("C_InitPIN", session, pin, ctypes.c_ulong(len(pin)))
    call("C_Finalize", None)


if __name__ == "__main__":
    main()
