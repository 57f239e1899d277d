# SPDX-License-Identifier: GPL-3.0-or-later
"""A desktop logon on a workstation: `python3 logon_on_client1.py` with {"user", "password"} as JSON by standard input. Stand-alone.

What a display manager does, without a display: name and password to PAM (Kerberos, then GNOME's keyring), a session of the user's in mount,
process and IPC namespaces of its own with a /tmp and a runtime folder of its own, a session bus, and what /etc/xdg/autostart holds. Answers
JSON once the desktop is there: {"pid": the session's, "environment": the user's, "seconds"}; or {"refused": PAM's words}.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

SERVICE = "passivekey-desktop"
STACK = """\
auth requisite pam_krb5.so minimum_uid=1000
auth optional pam_gnome_keyring.so
account required pam_krb5.so minimum_uid=1000
session required pam_krb5.so minimum_uid=1000
session optional pam_gnome_keyring.so auto_start
"""
DESKTOP = """\
gnome-keyring-daemon --start --components=secrets > /dev/null
env -0 > "$XDG_RUNTIME_DIR/desktop.new" && mv "$XDG_RUNTIME_DIR/desktop.new" "$XDG_RUNTIME_DIR/desktop"
dex --autostart
exec sleep infinity
"""
NEW_NAMESPACES = 0x00020000 | 0x08000000 | 0x20000000  # mount, IPC, processes
PRIVATE, RECURSIVE = 1 << 18, 1 << 14
ESTABLISH, DELETE = 2, 4
PATH = "/usr/local/bin:/usr/bin:/bin"
PATIENCE = 20.0

libc = ctypes.CDLL(None, use_errno=True)
libc.calloc.restype, libc.calloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t, ctypes.c_size_t)
libc.strdup.restype, libc.strdup.argtypes = ctypes.c_void_p, (ctypes.c_char_p,)


class Message(ctypes.Structure):
    _fields_ = (("style", ctypes.c_int), ("text", ctypes.c_char_p))


class Response(ctypes.Structure):
    _fields_ = (("text", ctypes.c_void_p), ("code", ctypes.c_int))


Ask = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.POINTER(Message)), ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p
)


class Conversation(ctypes.Structure):
    _fields_ = (("ask", Ask), ("data", ctypes.c_void_p))


class Refused(Exception):
    pass


class Pam:
    """One logon: `begin`, then `end`."""

    def __init__(self, user: str, password: str) -> None:
        self.library = ctypes.CDLL("libpam.so.0")
        self.library.pam_strerror.restype = ctypes.c_char_p
        self.library.pam_getenvlist.restype = ctypes.POINTER(ctypes.c_char_p)
        self.handle = ctypes.c_void_p()

        def ask(count: int, _messages: object, responses: object, _data: object) -> int:
            found = libc.calloc(count, ctypes.sizeof(Response))
            for response in (Response * count).from_address(found):
                response.text = libc.strdup(password.encode())
            responses[0] = found  # type: ignore[index]
            return 0

        self.conversation = Conversation(Ask(ask), None)
        self.call("start", SERVICE.encode(), user.encode(), ctypes.byref(self.conversation), ctypes.byref(self.handle), bare=True)

    def call(self, name: str, *given: object, bare: bool = False) -> None:
        code = getattr(self.library, f"pam_{name}")(*(given if bare else (self.handle, *given)))
        if code:
            raise Refused(f"{name}: {self.library.pam_strerror(self.handle, code).decode()}")

    def begin(self, runtime: str) -> dict[str, str]:
        """The session's environment, as far as PAM makes it."""
        self.call("putenv", f"XDG_RUNTIME_DIR={runtime}".encode())
        self.call("authenticate", 0)
        self.call("acct_mgmt", 0)
        self.call("setcred", ESTABLISH)
        self.call("open_session", 0)
        found = self.library.pam_getenvlist(self.handle)
        words: list[str] = []
        while found[len(words)]:
            words.append(found[len(words)].decode())
        return dict(word.split("=", 1) for word in words)

    def end(self) -> None:
        self.call("close_session", 0)
        self.call("setcred", DELETE)
        self.call("end", 0)


def main() -> int:
    asked = json.load(sys.stdin)
    began = time.monotonic()
    Path("/etc/pam.d", SERVICE).write_text(STACK)
    user = pwd.getpwnam(asked["user"])
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        quiet()
        check(libc.unshare(NEW_NAMESPACES))
        if (session := os.fork()) == 0:
            os.close(reader)
            run_session(user, asked["password"], writer)
        os.write(writer, json.dumps({"pid": session}).encode() + b"\n")
        os.close(writer)
        os.waitpid(session, 0)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        answer: dict[str, object] = {}
        for line in told:  # until both have closed their end
            answer |= json.loads(line)
    if "refused" not in answer:
        answer["environment"] = environment_of(int(str(answer["pid"])), user.pw_uid)
    answer["seconds"] = round(time.monotonic() - began, 3)
    print(json.dumps(answer))
    return 0


def run_session(user: pwd.struct_passwd, password: str, writer: int) -> None:
    """The first process of the session's namespaces; it ends, and all others with it, when the desktop does."""
    own_folders(user)
    pam = Pam(user.pw_name, password)
    runtime = f"/run/user/{user.pw_uid}"
    usual = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name, "SHELL": "/bin/sh", "PATH": PATH}
    try:
        more = pam.begin(runtime)
    except Refused as error:
        os.write(writer, json.dumps({"refused": str(error)}).encode() + b"\n")
        os._exit(1)
    os.close(writer)
    desktop = os.fork()
    if desktop == 0:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        os.chdir(user.pw_dir)
        environment = {**usual, "LANG": "C.UTF-8", "XDG_SESSION_TYPE": "x11", **more}
        os.execve("/usr/bin/dbus-run-session", ["dbus-run-session", "--", "sh", "-c", DESKTOP], environment)
    while True:
        ended, _status = os.wait()
        if ended == desktop:
            pam.end()
            os._exit(0)


def own_folders(user: pwd.struct_passwd) -> None:
    mount(None, "/", None, PRIVATE | RECURSIVE)
    mount("proc", "/proc", "proc", 0)
    mount("tmpfs", "/tmp", "tmpfs", 0, "mode=1777")
    runtime = Path("/run/user", str(user.pw_uid))
    runtime.mkdir(parents=True, exist_ok=True)
    mount("tmpfs", str(runtime), "tmpfs", 0, f"mode=700,uid={user.pw_uid},gid={user.pw_gid}")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    check(libc.mount(source and source.encode(), target.encode(), kind and kind.encode(), ctypes.c_ulong(flags), data.encode()))


def check(code: int) -> None:
    if code:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def quiet() -> None:
    """What the session says goes to a log, for who asks has to be answered at once."""
    log = os.open("/var/log/desktop.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open("/dev/null", os.O_RDONLY)
    for number, handle in ((0, nothing), (1, log), (2, log)):
        os.dup2(handle, number)


def environment_of(session: int, uid: int) -> dict[str, str]:
    """As the desktop wrote it down, once it was there."""
    process = Path("/proc", str(session))
    file = process / f"root/run/user/{uid}/desktop"
    deadline = time.monotonic() + PATIENCE
    while not file.exists():
        if time.monotonic() > deadline or not process.exists():
            log = subprocess.run(["tail", "-n", "20", "/var/log/desktop.log"], capture_output=True, text=True, check=False)
            sys.exit(f"no desktop came: {log.stdout}")
        time.sleep(0.02)
    words = file.read_text().split("\0")
    return dict(word.split("=", 1) for word in words if word)


if __name__ == "__main__":
    sys.exit(main())
