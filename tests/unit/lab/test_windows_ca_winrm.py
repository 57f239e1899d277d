# SPDX-License-Identifier: GPL-3.0-or-later
"""WS-Management without a network: envelopes as pywinrm builds them, and what must not break the service."""

from __future__ import annotations

import base64
import threading
import uuid
import xml.etree.ElementTree as ET

import pytest
import xmltodict
from winrm.protocol import Protocol

pytest.importorskip("gssapi", reason="the stand-in's gate needs it (the extra kerberos)")

from lab.windows_ca.winrm import OVERHEAD, RSP, TRANSFER, Output, Shells, seconds

CMD = f"{RSP}/cmd"
CLIENT = Protocol("https://ca1:5986/wsman", transport="plaintext", username="u", password="p")


class Said:
    def __init__(self, status, body):
        self.status, self.root = status, ET.fromstring(body)

    def text(self, name):
        return next((node.text for node in self.root.iter() if node.tag.rpartition("}")[2] == name), None)

    @property
    def fault(self):
        node = next((node for node in self.root.iter() if node.tag.endswith("}WSManFault")), None)
        return None if node is None else int(node.get("Code"))

    def stream(self, name):
        nodes = [node for node in self.root.iter(f"{{{RSP}}}Stream") if node.get("Name") == name and node.text]
        return b"".join(base64.b64decode(node.text) for node in nodes)

    @property
    def state(self):
        return next(node.get("State") for node in self.root.iter(f"{{{RSP}}}CommandState")).rpartition("/")[2]


class Conversation:
    def __init__(self, runner=lambda line, stdin, account: Output(stdin + f"|{line}|{account}".encode(), code=3)):
        self.counted = []
        self.shells = Shells(runner, lambda account: account != "guest", self.counted.append)

    def say(self, action, body=None, shell=None, account="admin", resource=CMD, options=None, **header):
        envelope = CLIENT.build_wsman_header(action, resource, shell_id=shell)
        envelope["env:Header"] |= {f"w:{name}": value for name, value in header.items()}
        if options:
            envelope["env:Header"]["w:OptionSet"] = {"w:Option": [{"@Name": name, "#text": value} for name, value in options.items()]}
        envelope["env:Body"] = body or {}
        return Said(*self.shells.answer(xmltodict.unparse({"env:Envelope": envelope}).encode(), account))

    def shell(self, **who):
        return self.say(f"{TRANSFER}/Create", {"rsp:Shell": {"rsp:InputStreams": "stdin"}}, **who).text("ShellId")

    def command(self, shell, line="run it", waits="FALSE"):
        body = {"rsp:CommandLine": {"rsp:Command": line, "rsp:Arguments": "now"}}
        return self.say(f"{RSP}/Command", body, shell, options={"WINRS_CONSOLEMODE_STDIN": waits}).text("CommandId")

    def send(self, shell, command, data, end=False):
        stream = {"@Name": "stdin", "@CommandId": command, "#text": base64.b64encode(data).decode()} | ({"@End": "true"} if end else {})
        return self.say(f"{RSP}/Send", {"rsp:Send": {"rsp:Stream": stream}}, shell)

    def receive(self, shell, command, **header):
        body = {"rsp:Receive": {"rsp:DesiredStream": {"@CommandId": command, "#text": "stdout stderr"}}}
        return self.say(f"{RSP}/Receive", body, shell, **header)

    def signal(self, shell, command, code="terminate"):
        return self.say(f"{RSP}/Signal", {"rsp:Signal": {"@CommandId": command, "rsp:Code": f"{RSP}/signal/{code}"}}, shell)


def test_a_command_from_create_to_delete():
    talk = Conversation()
    shell = talk.shell()
    command = talk.command(shell)
    assert talk.send(shell, command, b"one ").status == 200
    assert talk.send(shell, command, b"two", end=True).status == 200
    answer = talk.receive(shell, command)
    assert answer.stream("stdout") == b"one two|run it now|admin"
    assert (answer.state, answer.text("ExitCode")) == ("Done", "3")
    assert talk.signal(shell, command).status == 200
    assert talk.say(f"{TRANSFER}/Delete", shell=shell).status == 200
    assert talk.command(shell) is None, "the shell is gone"
    assert talk.counted == ["winrm_shells", "winrm_commands"]


def test_answers_name_their_question():
    talk = Conversation()
    question = uuid.uuid4()
    header = CLIENT.build_wsman_header(f"{TRANSFER}/Delete", CMD, shell_id=talk.shell(), message_id=question)
    said = Said(*talk.shells.answer(xmltodict.unparse({"env:Envelope": header | {"env:Body": {}}}).encode(), "admin"))
    assert said.text("RelatesTo") == f"uuid:{question}"
    assert said.text("Action") == f"{TRANSFER}/DeleteResponse"


def test_a_console_command_starts_at_once():
    talk = Conversation()
    shell = talk.shell()
    assert talk.receive(shell, talk.command(shell, waits="TRUE")).stream("stdout") == b"|run it now|admin"


def test_output_longer_than_an_envelope_comes_in_pieces():
    talk = Conversation(lambda *_: Output(b"a" * 500_000, b"b" * 50_000))
    shell = talk.shell()
    command = talk.command(shell, waits="TRUE")
    out, err, states = b"", b"", []
    while "Done" not in states:
        answer = talk.receive(shell, command, MaxEnvelopeSize="153600")
        assert len(ET.tostring(answer.root)) <= 153600 + OVERHEAD
        out, err = out + answer.stream("stdout"), err + answer.stream("stderr")
        states.append(answer.state)
    assert (out, err) == (b"a" * 500_000, b"b" * 50_000)
    assert set(states[:-1]) == {"Running"}


def test_operation_timeout_and_then_the_output():
    goes_on = threading.Event()
    talk = Conversation(lambda *_: goes_on.wait(10) and Output(b"late"))
    shell = talk.shell()
    command = talk.command(shell, waits="TRUE")
    assert talk.receive(shell, command, OperationTimeout="PT0.05S").fault == 2150858793
    goes_on.set()
    assert talk.receive(shell, command).stream("stdout") == b"late"


def test_what_breaks_inside_is_a_failed_command(monkeypatch):
    def broken(*_):
        raise RuntimeError("ouch")

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    talk = Conversation(broken)
    shell = talk.shell()
    answer = talk.receive(shell, talk.command(shell, waits="TRUE"))
    assert answer.text("ExitCode") == "1"
    assert b"FAULT IN THE LAB'S STAND-IN" in answer.stream("stderr")


@pytest.mark.parametrize(
    ("say", "code"),
    [
        (lambda talk, shell: talk.say(f"{TRANSFER}/Create", account="guest"), 5),
        (lambda talk, shell: talk.say(f"{RSP}/Receive", shell=shell, account="other"), 5),
        (lambda talk, shell: talk.say(f"{RSP}/Command", shell=shell), 2150858791),
        (lambda talk, shell: talk.say(f"{RSP}/Command", shell=str(uuid.uuid4())), 2150858843),
        (lambda talk, shell: talk.say(f"{RSP}/Command"), 2150858843),
        (lambda talk, shell: talk.receive(shell, str(uuid.uuid4())), 2150858843),
        (lambda talk, shell: talk.say(f"{RSP}/Receive", shell=shell), 2150858791),
        (lambda talk, shell: talk.signal(shell, talk.command(shell), "dance"), 2150858791),
        (lambda talk, shell: talk.say(f"{RSP}/Connect", shell=shell), 2150858753),
        (lambda talk, shell: talk.say(f"{TRANSFER}/Get", resource="http://schemas.microsoft.com/wbem/wsman/1/config"), 2150858752),
        (lambda talk, shell: talk.say(f"{TRANSFER}/Create", resource="http://schemas.microsoft.com/powershell/x"), 2150858752),
        (lambda talk, shell: Said(*talk.shells.answer(b"<not xml", "admin")), 2150858791),
        (lambda talk, shell: Said(*talk.shells.answer(b"<a/>", "admin")), 2150858791),
    ],
)
def test_faults(say, code):
    talk = Conversation()
    answer = say(talk, talk.shell())
    assert (answer.status, answer.fault) == (500, code)
    assert answer.text("Text")


def test_input_after_its_end_is_a_fault():
    talk = Conversation()
    shell = talk.shell()
    command = talk.command(shell)
    talk.send(shell, command, b"", end=True)
    assert talk.send(shell, command, b"more").fault == 2150858791


@pytest.mark.parametrize(("text", "expected"), [("PT20S", 20), ("PT1M0.5S", 60.5), ("PT1H", 3600), ("", 60), ("P1D", 60)])
def test_durations(text, expected):
    assert seconds(text) == expected
