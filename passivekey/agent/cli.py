# SPDX-License-Identifier: GPL-3.0-or-later
"""`passivekey-agent`: enrolls this user on this workstation, makes codes and cookies, and says how things are."""

from __future__ import annotations

import argparse
import configparser
import contextlib
import datetime
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from passivekey.agent import enrollment, state
from passivekey.agent.asking import KINDS, Asker, by_program, on_terminal
from passivekey.agent.browsers import BrowserError
from passivekey.agent.client import Server, ServerError
from passivekey.agent.container import ContainerError
from passivekey.agent.lock import alone
from passivekey.agent.secret_store import FileStore, PlatformStore, SecretStore, SecretStoreError

SETTINGS = (Path("/etc/passivekey/agent.conf"), Path(os.environ.get("PROGRAMDATA", "C:/ProgramData")) / "PassiveKey/agent.conf")
KEYS = ("auto", "tpm", "container")
STORES = ("platform", "file")


class NotSetUp(Exception):
    """The administrator has not said where the server is."""


def settings(arguments: argparse.Namespace) -> dict[str, str]:
    """origin, ca_file, store, key and prompt: of the command line, else of the machine's file (section [agent])."""
    file = SETTINGS[sys.platform == "win32"]
    read = configparser.ConfigParser(interpolation=None)
    try:
        read.read([path for path in SETTINGS if path.is_file()], encoding="utf-8")
    except UnicodeDecodeError as error:
        raise NotSetUp(f"{file} is not in UTF-8") from error
    except configparser.Error as error:
        raise NotSetUp(f"{file} cannot be understood: {' '.join(str(error).split())}") from error
    found = dict(read["agent"]) if read.has_section("agent") else {}
    found |= {name: value for name in ("origin", "ca_file", "store") if (value := getattr(arguments, name, None))}
    if not found.get("origin", "").startswith("https://"):
        raise NotSetUp(f"no server: set origin = https://… in section [agent] of {file}, or give --origin")
    for name, known in (("key", KEYS), ("store", STORES)):
        if found.setdefault(name, known[0]) not in known:
            raise NotSetUp(f"{name} = {found[name]} in section [agent] of {file}: it has to be one of {', '.join(known)}")
    return found


def agent_of(arguments: argparse.Namespace) -> enrollment.Agent:
    given, places = settings(arguments), state.Places.of_user()
    store: SecretStore = FileStore(places.folder / "secrets") if given.get("store") == "file" else PlatformStore()
    server = Server(given["origin"], given.get("ca_file"))
    agent = enrollment.Agent(places, store, server, socket.gethostname()[:64], warn=warn, key=given["key"])
    asker = _asker(given.get("prompt", ""), getattr(arguments, "factor", None) or "", getattr(arguments, "quiet", False))
    if asker:
        agent.ask_password, agent.ask_factor = asker.password, asker.factor
    return agent


def _asker(program: str, kind: str, quiet: bool) -> Asker | None:
    """Who asks the user: the terminal, else the administrator's program where there is a display to show it on, else nobody."""
    if sys.stdin and sys.stdin.isatty() and not quiet:  # Windows has programs without
        return Asker(on_terminal, kind)
    return Asker(by_program(Path(program)), kind, name=False) if program and _display() else None


def _display() -> bool:
    return sys.platform == "win32" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _notify(text: str) -> None:
    """On the desktop, where there is one that shows notices."""
    program = shutil.which("notify-send")
    if program and _display():
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run([program, "--app-name=PassiveKey", "PassiveKey", text], timeout=5, check=False)


def warn(text: str) -> None:
    print(f"passivekey: {text}", file=sys.stderr)


def enroll(arguments: argparse.Namespace) -> int:
    """Enroll this user on this workstation, or finish, or renew; nothing where all is well."""
    agent = agent_of(arguments)
    with alone(agent.places) as mine:
        if not mine:
            warn("another agent of this user is at it")
            return 0
        try:
            content = agent.bring_up()
        except ServerError as error:
            if arguments.quiet and error.code == "second-factor-required":
                _notify(state.notice(agent.places))
            raise
    if not arguments.quiet:
        print(f"active: device {content.device}")
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Say how things are."""
    found = state.read(state.Places.of_user())
    if found is None:
        print(state.notice(state.Places.of_user()) or "not enrolled")
        return 1
    ends = datetime.datetime.fromtimestamp(found.expires, datetime.timezone.utc)
    print(f"device {found.device} at {found.origin}, certificate until {ends:%Y-%m-%d}")
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Ask the server, as nobody, whether it is reached from here; and compare the clocks."""
    given = settings(arguments)
    server = Server(given["origin"], given.get("ca_file"))
    server.get("/v1/policy")
    difference = server.clock_difference
    print(f"{given['origin']} is reached, its clock differs by {abs(difference):.0f} s")
    if abs(difference) <= enrollment.CLOCK_WARNING:
        return 0
    warn("this workstation's clock is off; codes are refused when it is more than 30 seconds: see that the time service runs")
    return 1


def code(arguments: argparse.Namespace) -> int:
    """Print the code for a VPN, or for the enrolment of another workstation; and how long it is good."""
    content = agent_of(arguments).load()
    if content is None:
        warn("not enrolled on this workstation; run: passivekey-agent enroll")
        return 1
    value, seconds = enrollment.code(content, channel=arguments.channel)
    print(value if arguments.plain else f"{value}  (good for {seconds} s)")
    return 0


def cookies(arguments: argparse.Namespace) -> int:
    """Print the cookies for all sites as JSON, as the browser's extension asks for them."""
    agent = agent_of(arguments)
    content = agent.load()
    if content is None:
        warn("not enrolled on this workstation; run: passivekey-agent enroll")
        return 1
    policy = agent.current_policy(content)
    print(json.dumps({"interval": policy["interval"], "cookies": enrollment.cookies(content, policy)}))
    return 0


def retire(arguments: argparse.Namespace) -> int:
    """Revoke this device, and forget its keys."""
    agent_of(arguments).retire()
    print("retired")
    return 0


def native(arguments: argparse.Namespace) -> int:
    """Answer the browser's extension (native messaging)."""
    from passivekey.agent import native_host

    native_host.serve(agent_of(arguments), sys.stdin.buffer, sys.stdout.buffer)
    return 0


def hotkey(arguments: argparse.Namespace) -> int:
    """Type the code at the hotkey (X11, Windows), until the session ends."""
    from passivekey.agent import hotkey as helper

    tell = warn
    if os.name == "nt":
        from passivekey.agent import hotkey_windows

        if not hotkey_windows.first():
            return 0
        if sys.stderr is None:
            tell = hotkey_windows.show
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own waits until a message comes
    agent = agent_of(arguments)
    agent.warn = tell

    def current() -> str | None:
        try:
            content = agent.load()
        except (ServerError, ContainerError, SecretStoreError) as error:
            tell(str(error))
            return None
        if content is None:
            tell("not enrolled on this workstation; run: passivekey-agent enroll")
            return None
        return enrollment.code(content, agent.clock())[0]

    try:
        return helper.serve(helper.take(arguments.keys or _hotkey(agent), tell), current)
    except helper.HotkeyError as error:
        tell(str(error))
        return 1
    except KeyboardInterrupt:
        return 0


def _hotkey(agent: enrollment.Agent) -> str:
    """As the policy has it; before there is one, the usual."""
    with contextlib.suppress(ServerError, ContainerError, SecretStoreError):
        content = agent.load()
        if content is not None:
            return str(agent.current_policy(content)["hotkey"])
    return "ctrl+shift+o"


def extension(arguments: argparse.Namespace) -> int:
    """Write the browser's extension; it may touch the sites given, else those of this user's policy."""
    from passivekey.agent import browsers

    sites = arguments.site or ([] if arguments.all_sites else _policy_sites(arguments))
    print(browsers.build(arguments.browser, sites, arguments.into, arguments.key, arguments.update_url))
    return 0


def _policy_sites(arguments: argparse.Namespace) -> list[str]:
    agent = agent_of(arguments)
    content = agent.load()
    sites = list(agent.current_policy(content)["sites"]) if content else []
    if not sites:
        raise NotSetUp("no site is known: enroll first, or give --site (more than once), or --all-sites")
    return sites


def register(arguments: argparse.Namespace) -> int:
    """Tell a browser which program answers its extension."""
    from passivekey.agent import browsers

    print(browsers.register(arguments.browser, arguments.program, arguments.extension_id, system=arguments.system, into=arguments.into))
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("passivekey-agent", description=__doc__)
    top.add_argument("--origin", help="the server, such as https://passivekey.corp.example")
    top.add_argument("--ca-file", help="what the server's certificate is verified by, else the system's store")
    top.add_argument("--store", choices=STORES, help="where the container's passphrase is kept; a file is the weakest")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(function: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        found = commands.add_parser(function.__name__, help=(function.__doc__ or "").split(";")[0], description=function.__doc__)
        found.set_defaults(function=function)
        return found

    options = command(enroll)
    options.add_argument("--quiet", action="store_true", help="ask nothing on the terminal, say nothing but errors")
    options.add_argument("--factor", choices=tuple(KINDS), help="the second factor that is given, where what is typed does not tell")
    options = command(code)
    options.add_argument("--plain", action="store_true", help="the code alone, for programs")
    options.add_argument("--channel", choices=("radius", "enrollment"), default="radius", help="enrollment: for another workstation")
    command(hotkey).add_argument("--keys", help="such as ctrl+alt+p; else what the policy says")
    for function in (check, status, cookies, retire, native):
        command(function)
    for function in (extension, register):
        command(function).add_argument("--browser", choices=("chromium", "edge", "firefox"), required=True)
    options = commands.choices["extension"]
    options.add_argument("--into", type=Path, required=True, help="the folder; what is packed is written beside it")
    options.add_argument("--site", action="append", help="a site of the policy; may be given more than once")
    options.add_argument("--all-sites", action="store_true", help="may touch all sites, so that new ones need no new extension")
    options.add_argument("--key", type=Path, help="RSA key (PEM) that packs, and that the id comes from (Chromium, Edge)")
    options.add_argument("--update-url", default="", help="where updates.xml will be, beside passivekey.crx")
    options = commands.choices["register"]
    options.add_argument("--system", action="store_true", help="for all users of the machine")
    options.add_argument("--extension-id", default="", help="where it was packed by a key of your own")
    options.add_argument("--program", type=Path, help="passivekey-native-host, where it lies elsewhere")
    options.add_argument("--into", type=Path, help="another folder than the browser's usual one")
    return top


def main(given: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(given)
    try:
        done: int = arguments.function(arguments)
        return done
    except (NotSetUp, ServerError, ContainerError, SecretStoreError, BrowserError) as error:
        warn(str(error))
        return 1
    except OSError as error:
        warn(state.told(error))
        return 1
