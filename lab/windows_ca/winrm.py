# SPDX-License-Identifier: GPL-3.0-or-later
"""WS-Management for the remote shell ([MS-WSMV] 3.1.4.1): Create, Command, Send, Receive, Signal, Delete, and SOAP faults for all else."""

from __future__ import annotations

import base64
import re
import threading
import time
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from lab.windows_ca.gate import Conversation, Refused
from lab.windows_ca.server import Handler, Server, log

S = "http://www.w3.org/2003/05/soap-envelope"
A = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
W = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
RSP = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
CMD = f"{RSP}/cmd"
ANONYMOUS = f"{A}/role/anonymous"
SOAP = "application/soap+xml;charset=UTF-8"
ENCRYPTED = "application/HTTP-SPNEGO-session-encrypted"
BOUNDARY = b"--Encrypted Boundary"
# Room that an answer's envelope takes beside the output in it.
OVERHEAD = 4096


class Fault(Exception):
    """A SOAP fault. `code`: of WSManFault (winerror.h, wsmerror.h); `subcode`: qualified name by the prefixes s, a, w."""

    def __init__(self, code: int, subcode: str, text: str, *, receiver: bool = False) -> None:
        super().__init__(text)
        self.code, self.subcode, self.receiver = code, subcode, receiver


def resource_not_found(uri: str) -> Fault:
    text = (
        f"The WS-Management service cannot process the request. The service cannot find the resource identified by the resource URI: {uri}"
    )
    return Fault(2150858752, "a:DestinationUnreachable", text)


def invalid_action(action: str) -> Fault:
    text = f"The WS-Management service cannot process the request. The WS-Addressing action URI is invalid: {action}"
    return Fault(2150858753, "a:ActionNotSupported", text)


def shell_not_found(shell_id: str) -> Fault:
    text = f"The request for the Windows Remote Shell with ShellId {shell_id} failed because the shell was not found on the server."
    return Fault(2150858843, "w:InvalidSelectors", text)


def command_not_found(command_id: str) -> Fault:
    text = f"The parameter is incorrect: the shell has no command {command_id}."
    return Fault(2150858843, "w:InvalidSelectors", text)


def invalid_body(what: str) -> Fault:
    return Fault(2150858791, "w:SchemaValidationError", f"The SOAP body is not valid: {what}")


def timed_out() -> Fault:
    text = "The WS-Management service cannot complete the operation within the time specified in OperationTimeout."
    return Fault(2150858793, "w:TimedOut", text, receiver=True)


def access_denied() -> Fault:
    return Fault(5, "w:AccessDenied", "Access is denied.")


@dataclass
class Output:
    """What a process has written, and its exit code."""

    stdout: bytes = b""
    stderr: bytes = b""
    code: int = 0


Runner = Callable[[str, bytes, str], Output]  # command line, standard input, account


@dataclass
class Command:
    line: str
    account: str
    stdin: bytearray = field(default_factory=bytearray)
    started: bool = False
    done: threading.Event = field(default_factory=threading.Event)
    output: Output = field(default_factory=Output)
    id: str = field(default_factory=lambda: str(uuid.uuid4()).upper())

    def start(self, runner: Runner) -> None:
        self.started = True
        threading.Thread(target=self._run, args=(runner,), daemon=True).start()

    def _run(self, runner: Runner) -> None:
        try:
            self.output = runner(self.line, bytes(self.stdin), self.account)
        except Exception as error:
            log("winrm", f"FAULT IN THE STAND-IN: {error!r}")
            self.output = Output(stderr=f"FAULT IN THE LAB'S STAND-IN: {error!r}".encode(), code=1)
            raise
        finally:
            self.done.set()

    def take(self, size: int) -> tuple[bytes, bytes, bool]:
        """Up to `size` bytes of output, and whether that was the last of it."""
        stdout, self.output.stdout = self.output.stdout[:size], self.output.stdout[size:]
        room = size - len(stdout)
        stderr, self.output.stderr = self.output.stderr[:room], self.output.stderr[room:]
        return stdout, stderr, not (self.output.stdout or self.output.stderr)


@dataclass
class Shell:
    account: str
    commands: dict[str, Command] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid.uuid4()).upper())


@dataclass
class Request:
    """The parts of an envelope that count."""

    action: str
    resource: str
    message_id: str
    shell_id: str | None
    timeout: float
    envelope_size: int
    options: dict[str, str]
    body: ET.Element


class Shells:
    """All shells of the host, and what can be asked of them."""

    def __init__(self, runner: Runner, may_manage: Callable[[str], bool], count: Callable[[str], None]) -> None:
        self._runner, self._may_manage, self._count = runner, may_manage, count
        self._shells: dict[str, Shell] = {}

    def __len__(self) -> int:
        return len(self._shells)

    def clear(self) -> None:
        self._shells.clear()

    def answer(self, message: bytes, account: str) -> tuple[int, bytes]:
        """HTTP status and envelope for an envelope. Never raises for what a client sends."""
        message_id = "uuid:00000000-0000-0000-0000-000000000000"
        try:
            request = parse(message)
            message_id = request.message_id
            action, body = self._dispatch(request, account)
            return 200, envelope(action, message_id, body)
        except Fault as fault:
            if fault.code != 2150858793:
                log("winrm", f"{account}: FAULT {fault.code}: {fault}")
            return 500, envelope("http://schemas.dmtf.org/wbem/wsman/1/wsman/fault", message_id, fault_body(fault))

    def _dispatch(self, request: Request, account: str) -> tuple[str, str]:
        if request.resource != CMD:
            if "powershell" in request.resource.lower():
                log("winrm", f"{account}: PSRP ({request.resource}) IS NOT MODELLED by the lab's stand-in; use ansible_connection: winrm")
            raise resource_not_found(request.resource)
        if not self._may_manage(account):
            raise access_denied()
        if request.action == f"{TRANSFER}/Create":
            return f"{TRANSFER}/CreateResponse", self._create(account)
        actions = {
            f"{RSP}/Command": self._command,
            f"{RSP}/Send": self._send,
            f"{RSP}/Receive": self._receive,
            f"{RSP}/Signal": self._signal,
            f"{TRANSFER}/Delete": self._delete,
        }
        if request.action not in actions:
            raise invalid_action(request.action)
        return f"{request.action}Response", actions[request.action](request, self._shell(request, account))

    def _shell(self, request: Request, account: str) -> Shell:
        shell = self._shells.get((request.shell_id or "").upper())
        if shell is None:
            raise shell_not_found(request.shell_id or "(none)")
        if shell.account != account:
            raise access_denied()
        return shell

    def _create(self, account: str) -> str:
        shell = Shell(account)
        self._shells[shell.id] = shell
        self._count("winrm_shells")
        log("winrm", f"{account}: shell {shell.id}")
        return (
            f'<x:ResourceCreated xmlns:x="{TRANSFER}"><a:Address>{ANONYMOUS}</a:Address><a:ReferenceParameters>'
            f"<w:ResourceURI>{CMD}</w:ResourceURI>"
            f'<w:SelectorSet><w:Selector Name="ShellId">{shell.id}</w:Selector></w:SelectorSet>'
            f"</a:ReferenceParameters></x:ResourceCreated><rsp:Shell><rsp:ShellId>{shell.id}</rsp:ShellId>"
            f"<rsp:ResourceUri>{CMD}</rsp:ResourceUri><rsp:Owner>{escape(account)}</rsp:Owner><rsp:InputStreams>stdin</rsp:InputStreams>"
            "<rsp:OutputStreams>stdout stderr</rsp:OutputStreams></rsp:Shell>"
        )

    def _command(self, request: Request, shell: Shell) -> str:
        line = request.body.find(f"{{{RSP}}}CommandLine")
        name = None if line is None else line.findtext(f"{{{RSP}}}Command")
        if line is None or not name:
            raise invalid_body("no rsp:CommandLine with an rsp:Command")
        arguments = [element.text or "" for element in line.findall(f"{{{RSP}}}Arguments")]
        command = Command(" ".join([name, *arguments]), shell.account)
        shell.commands[command.id] = command
        self._count("winrm_commands")
        if request.options.get("WINRS_CONSOLEMODE_STDIN", "FALSE").upper() == "TRUE":  # nothing will be sent
            command.start(self._runner)
        return f"<rsp:CommandResponse><rsp:CommandId>{command.id}</rsp:CommandId></rsp:CommandResponse>"

    def _send(self, request: Request, shell: Shell) -> str:
        for stream in request.body.iter(f"{{{RSP}}}Stream"):
            if stream.get("Name") != "stdin":
                raise invalid_body(f"there is no input stream {stream.get('Name')!r}")
            command = find_command(shell, stream.get("CommandId"))
            if command.started:
                raise invalid_body("the command's standard input is closed")
            command.stdin += base64.b64decode(stream.text or "")
            if stream.get("End", "false").lower() == "true":
                command.start(self._runner)
        return "<rsp:SendResponse/>"

    def _receive(self, request: Request, shell: Shell) -> str:
        wanted = request.body.find(f"{{{RSP}}}Receive/{{{RSP}}}DesiredStream")
        if wanted is None:
            raise invalid_body("no rsp:DesiredStream")
        command = find_command(shell, wanted.get("CommandId"))
        if not command.done.wait(request.timeout):
            raise timed_out()
        stdout, stderr, last = command.take((request.envelope_size - OVERHEAD) * 3 // 4)
        streams = "".join(
            f'<rsp:Stream Name="{name}" CommandId="{command.id}">{base64.b64encode(data).decode()}</rsp:Stream>'
            for name, data in (("stdout", stdout), ("stderr", stderr))
            if data
        )
        if not last:
            state = f'<rsp:CommandState CommandId="{command.id}" State="{RSP}/CommandState/Running"/>'
        else:
            streams += "".join(f'<rsp:Stream Name="{name}" CommandId="{command.id}" End="true"/>' for name in ("stdout", "stderr"))
            state = (
                f'<rsp:CommandState CommandId="{command.id}" State="{RSP}/CommandState/Done">'
                f"<rsp:ExitCode>{command.output.code}</rsp:ExitCode></rsp:CommandState>"
            )
        return f"<rsp:ReceiveResponse>{streams}{state}</rsp:ReceiveResponse>"

    def _signal(self, request: Request, shell: Shell) -> str:
        signal = request.body.find(f"{{{RSP}}}Signal")
        code = None if signal is None else signal.findtext(f"{{{RSP}}}Code")
        if signal is None or not code or code.rpartition("/")[2] not in ("terminate", "ctrl_c", "Terminate"):
            raise invalid_body(f"the signal {code!r}")
        find_command(shell, signal.get("CommandId"))
        del shell.commands[(signal.get("CommandId") or "").upper()]
        return "<rsp:SignalResponse/>"

    def _delete(self, request: Request, shell: Shell) -> str:
        self._shells.pop(shell.id, None)
        return ""


def find_command(shell: Shell, command_id: str | None) -> Command:
    command = shell.commands.get((command_id or "").upper())
    if command is None:
        raise command_not_found(command_id or "(none)")
    return command


def parse(message: bytes) -> Request:
    try:
        root = ET.fromstring(message)
    except ET.ParseError as error:
        raise invalid_body(f"not XML: {error}") from None
    header, body = root.find(f"{{{S}}}Header"), root.find(f"{{{S}}}Body")
    if root.tag != f"{{{S}}}Envelope" or header is None or body is None:
        raise invalid_body("not a SOAP 1.2 envelope")

    def text(namespace: str, name: str) -> str:
        return (header.findtext(f"{{{namespace}}}{name}") or "").strip()

    selector = header.find(f"{{{W}}}SelectorSet/{{{W}}}Selector[@Name='ShellId']")
    options = {o.get("Name") or "": o.text or "" for o in header.iterfind(f"{{{W}}}OptionSet/{{{W}}}Option")}
    return Request(
        action=text(A, "Action"),
        resource=text(W, "ResourceURI"),
        message_id=text(A, "MessageID"),
        shell_id=None if selector is None else selector.text,
        timeout=seconds(text(W, "OperationTimeout")),
        envelope_size=max(int(text(W, "MaxEnvelopeSize") or 153600), 2 * OVERHEAD),
        options=options,
        body=body,
    )


def seconds(duration: str) -> float:
    """Of an xs:duration without days."""
    match = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?", duration)
    if match is None:
        return 60
    hours, minutes, rest = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + rest


def envelope(action: str, relates_to: str, body: str) -> bytes:
    return (
        f'<s:Envelope xml:lang="en-US" xmlns:s="{S}" xmlns:a="{A}" xmlns:w="{W}" xmlns:rsp="{RSP}"><s:Header>'
        f"<a:Action>{escape(action)}</a:Action><a:MessageID>uuid:{str(uuid.uuid4()).upper()}</a:MessageID><a:To>{ANONYMOUS}</a:To>"
        f"<a:RelatesTo>{escape(relates_to)}</a:RelatesTo></s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def fault_body(fault: Fault) -> str:
    who = "s:Receiver" if fault.receiver else "s:Sender"
    text = escape(str(fault))
    return (
        f"<s:Fault><s:Code><s:Value>{who}</s:Value><s:Subcode><s:Value>{fault.subcode}</s:Value></s:Subcode></s:Code>"
        f'<s:Reason><s:Text xml:lang="en-US">{text}</s:Text></s:Reason><s:Detail>'
        f'<f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="{fault.code}" Machine={quoteattr("ca1")}>'
        f"<f:Message>{text}</f:Message></f:WSManFault></s:Detail></s:Fault>"
    )


# ---- message encryption ([MS-WSMV] 2.2.9.1)


def unseal(body: bytes, conversation: Conversation) -> bytes:
    """The message in a multipart/encrypted body. Raises `Refused`."""
    match = re.match(
        re.escape(BOUNDARY)
        + rb"\r\n(.*?Length=(\d+)\s*)\r\n"
        + re.escape(BOUNDARY)
        + rb"\r\n\s*Content-Type: application/octet-stream\r\n",
        body,
        re.DOTALL,
    )
    end = body.rfind(BOUNDARY + b"--")
    if match is None or end < 0:
        raise Refused("a sealed message that is not multipart/encrypted")
    sealed = body[match.end() : end]
    length = int.from_bytes(sealed[:4], "little")
    opened = conversation.unwrap(sealed[4 : 4 + length], sealed[4 + length :])
    if len(opened) != int(match.group(2)):
        raise Refused("a sealed message of another length than it says")
    return opened


def seal(message: bytes, conversation: Conversation) -> bytes:
    header, data = conversation.wrap(message)
    return (
        BOUNDARY + b"\r\n\tContent-Type: " + ENCRYPTED.encode() + b"\r\n"
        b"\tOriginalContent: type=" + SOAP.encode() + b";Length=" + str(len(message)).encode() + b"\r\n" + BOUNDARY + b"\r\n"
        b"\tContent-Type: application/octet-stream\r\n" + len(header).to_bytes(4, "little") + header + data + BOUNDARY + b"--\r\n"
    )


class WinRMServer(Server):
    """`faults`: what tests want to go wrong, as it is now: winrm_refuse (true), winrm_delay (seconds a request)."""

    def __init__(self, *arguments: Any, shells: Shells, faults: Callable[[], dict[str, Any]], **options: Any) -> None:
        self.shells, self.faults = shells, faults
        super().__init__(*arguments, **options)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return not self.faults().get("winrm_refuse")


class WinRMHandler(Handler):
    server: WinRMServer

    def do_POST(self) -> None:
        body = self.body()
        if self.path.partition("?")[0].rstrip("/").lower() != "/wsman":
            self.respond(404)
            return
        answer = self.authenticate()
        if answer.authenticated is None:
            self.unauthorized(answer)
            return
        if not body:  # a client that wants its security context first
            self.respond(200, b"", SOAP, answer.www_authenticate)
            return
        time.sleep(float(self.server.faults().get("winrm_delay", 0)))
        sealed = self.headers.get("Content-Type", "").startswith("multipart/encrypted")
        try:
            message = unseal(body, self.conversation) if sealed else body
        except Refused as refused:
            log("winrm", f"{answer.authenticated}: REFUSED: {refused}")
            self.respond(400)
            return
        status, reply = self.server.shells.answer(message, answer.authenticated)
        if sealed:
            kind = f'multipart/encrypted;protocol="{ENCRYPTED}";boundary="Encrypted Boundary"'
            self.respond(status, seal(reply, self.conversation), kind, answer.www_authenticate)
        else:
            self.respond(status, reply, SOAP, answer.www_authenticate)
