# SPDX-License-Identifier: GPL-3.0-or-later
"""The second factor of an enrolment on the workstation: who is asked, what is left behind where nobody is, and kills in between."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from passivekey.agent import asking, cli, enrollment, state
from passivekey.agent.client import Server, ServerError, Wanted
from passivekey.server.factors import Verdict
from tests.unit.passivekey.test_agent import (  # noqa: F401  # fixtures
    agent,
    asked,
    clocks,
    devices,
    killed_at,
    settings,
)


@pytest.fixture
def policy(service):
    """Sets what is accepted."""

    def accept(*kinds):
        service.rules = replace(service.rules, second_factor=kinds)

    accept("ticket", "device")
    return accept


@pytest.fixture
def answering(agent):  # noqa: F811
    """Makes agents whose user types these answers; what they were asked is in `questions`."""

    def make(*answers, kind="", **more):
        found, left = agent(**more), iter(answers)
        found.questions = []

        def ask(question, hidden):
            found.questions.append((question, hidden))
            return next(left, None)

        found.ask_factor = asking.Asker(ask, kind).factor
        return found

    return make


def ticket(service, alice):
    return service.issue_ticket(alice, by="admin")


# ---- asked


def test_a_ticket(answering, service, policy, alice):
    found = answering(ticket(service, alice).lower())
    assert [found.bring_up().device] == devices(service)
    ((question, hidden),) = found.questions
    assert "ticket of your administrator, or a code of another workstation" in question and not hidden


def test_a_wrong_ticket_then_a_right_one(answering, service, policy, alice):
    found = answering("0000-0000-0000-0000", ticket(service, alice))
    found.bring_up()
    assert [question.startswith("That was not good") for question, _hidden in found.questions] == [False, True]


def test_a_code_of_another_workstation(answering, service, policy, alice, clock):
    first = answering(ticket(service, alice), folder="pc1")
    content = first.bring_up()
    value, seconds = enrollment.code(content, clock(), "enrollment")
    assert len(value) == 8 and 0 < seconds <= 30
    second = answering(value, folder="pc2").bring_up()
    assert sorted(devices(service)) == sorted([content.device, second.device])
    with pytest.raises(ServerError, match="second factor"):
        answering(value, folder="pc3").bring_up()


def test_a_challenge_of_privacyidea(answering, service, policy, alice):
    class Backend:
        def check(self, account, code, transaction=""):
            if code == "pin":
                return Verdict(transaction="0815", prompt="Enter the OTP from the SMS:\x1b[31m")
            return Verdict(accepted=(code, transaction) == ("123456", "0815"))

    policy("privacyidea")
    service.backend = Backend()
    found = answering("pin", "000000", "pin", "123456")
    assert [found.bring_up().device] == devices(service)
    assert [hidden for _question, hidden in found.questions] == [True, False, True, False]
    assert found.questions[1][0] == "Enter the OTP from the SMS:[31m: "


def test_guessing_ends(answering, service, policy, https):
    found = answering(*["0000-0000-0000-0000"] * 50)
    with pytest.raises(ServerError, match="second factor"):
        found.bring_up()
    assert len(found.questions) == 5 and https.seen.count("/v1/sign-in") == 1


def test_kinds_that_this_agent_does_not_know(answering, https):
    refusal = {"type": "urn:passivekey:error:second-factor-required", "detail": "", "accepted": ["retina"]}
    https.before = lambda scope: (401, [], refusal) if scope["path"] == "/v1/devices" else None
    found = answering("x")
    with pytest.raises(ServerError, match="retina"):
        found.bring_up()
    assert found.questions == []


@pytest.mark.parametrize("words", [{}, {"accepted": "ticket"}, {"accepted": None}, {"accepted": [7], "transaction": []}])
def test_refusals_that_are_none(answering, https, words):
    refusal = {"type": "urn:passivekey:error:second-factor-required", **words}
    https.before = lambda scope: (401, [], refusal) if scope["path"] == "/v1/devices" else None
    with pytest.raises(ServerError, match="second-factor-required"):
        answering().bring_up()


@pytest.mark.parametrize(
    ("typed", "known", "kind"),
    [
        ("1234 5678", ["ticket", "device"], "device"),
        ("ABCD-efgh-1234-5678", ["ticket", "device"], "ticket"),
        ("123456", ["ticket", "device", "privacyidea"], "privacyidea"),
        ("pin and code", ["privacyidea"], "privacyidea"),
        ("12345678", ["privacyidea"], "privacyidea"),
        ("rubbish", ["ticket", "device"], "ticket"),
    ],
)
def test_kinds_are_told_by_what_is_typed(typed, known, kind):
    assert asking.kind_of(typed, known) == kind


def test_the_user_says_which(answering):
    questions = []
    asker = asking.Asker(lambda question, _hidden: questions.append(question) or "12345678", "privacyidea")
    assert asker.factor(Wanted(("device", "privacyidea"))) == {"kind": "privacyidea", "code": "12345678"}
    assert asker.factor(Wanted(("device",))) is None and len(questions) == 1


# ---- nobody to ask


def test_in_the_background_a_notice_is_left(agent, service, policy, alice, monkeypatch, tmp_path, https, capsys):  # noqa: F811
    settings(monkeypatch, agent, https, tmp_path)
    found = agent()
    with pytest.raises(ServerError, match=r"second factor \(ticket, device\).*run: passivekey-agent enroll"):
        found.bring_up()
    assert service.audit.read() == [], "nothing was tried, and nothing is counted"
    assert cli.main(["status"]) == 1 and "second factor (ticket, device)" in capsys.readouterr().out
    assert "second factor" in asked(agent(), b'{"want": "cookies"}')[0]["error"], "the browser's button says it"
    found.ask_factor = asking.Asker(lambda _question, _hidden: ticket(service, alice)).factor
    found.bring_up()
    assert state.notice(found.places) == "" and cli.main(["status"]) == 0


def test_the_desktop_is_told(agent, service, policy, monkeypatch, tmp_path, https):  # noqa: F811
    settings(monkeypatch, agent, https, tmp_path)
    monkeypatch.setattr(Server, "_ticket", lambda _server: "")
    monkeypatch.setattr(enrollment, "nobody", lambda: ("alice@corp.example", "pass"))
    monkeypatch.setattr(enrollment.Agent.__init__, "__defaults__", (enrollment.nobody, *enrollment.Agent.__init__.__defaults__[1:]))
    program = tmp_path / "notify-send"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/told\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":99")
    assert cli.main(["enroll", "--quiet"]) == 1
    assert "the server wants a second factor" in (tmp_path / "told").read_text()


def test_a_program_asks(agent, service, policy, alice, monkeypatch, tmp_path, https):  # noqa: F811
    """Without a terminal, by what shows dialogs: first for the password, then for the factor."""
    settings(monkeypatch, agent, https, tmp_path)
    monkeypatch.setattr(Server, "_ticket", lambda _server: "")
    program = tmp_path / "askpass"
    program.write_text(
        f"""#!/bin/sh
echo "$1" >> {tmp_path}/asked
case "$1" in Password*) echo pass ;; *) echo {ticket(service, alice)} ;; esac
"""
    )
    program.chmod(0o755)
    conf = tmp_path / "agent.conf"
    conf.write_text(conf.read_text() + f"prompt = {program}\n")
    monkeypatch.setattr("getpass.getuser", lambda: "alice@corp.example")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert cli.main(["enroll", "--quiet"]) == 1 and not (tmp_path / "asked").exists(), "there is no display"
    monkeypatch.setenv("DISPLAY", ":99")
    assert cli.main(["enroll", "--quiet"]) == 0 and len(devices(service)) == 1
    first, second = (tmp_path / "asked").read_text().splitlines()
    assert first.startswith("Password of alice@corp.example") and "enrolment ticket" in second
    program.write_text("#!/bin/sh\nexit 1\n")
    assert asking.by_program(program)("?", False) is None is asking.by_program(tmp_path / "absent")("?", False)


TERMINAL = """
import sys
from pathlib import Path
from passivekey.agent import cli
from passivekey.agent.client import Server
cli.SETTINGS = (Path(sys.argv[1]),) * 2
Server._ticket = lambda server: ""
sys.exit(cli.main(["enroll", "--factor", "ticket"]))
"""


def test_on_a_terminal(agent, service, policy, alice, tmp_path, https, monkeypatch):  # noqa: F811
    """A terminal of its own, as somebody has who runs passivekey-agent enroll by hand."""
    settings(monkeypatch, agent, https, tmp_path)
    monkeypatch.setattr(service, "clock", __import__("time").time)
    started_at = https.clock
    https.clock = service.clock
    ours, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "PASSIVEKEY_HOME": str(agent().places.folder)}
    command = [sys.executable, "-c", TERMINAL, str(tmp_path / "agent.conf")]
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True, preexec_fn=_own_terminal)
    os.close(theirs)
    shown = b""
    for question, answer in ((b"domain [", "alice@corp.example"), (b"Password: ", "pass"), (b"administrator: ", ticket(service, alice))):
        while question not in shown:
            shown += os.read(ours, 1000)
        shown = shown.rpartition(question)[2]
        while b": " not in shown and not question.endswith(b": "):
            shown += os.read(ours, 1000)
        os.write(ours, f"{answer}\n".encode())
    assert child.wait(30) == 0
    os.close(ours)
    https.clock = started_at
    assert len(devices(service)) == 1


def _own_terminal():
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


# ---- killed


def test_killed_at_every_step_no_second_ticket_is_needed(
    answering,
    service,
    policy,
    alice,
):
    """One ticket for each enrolment, whatever is killed where: either it is still good, or nobody is asked again."""
    asked_again = []
    for number in range(9):  # what comes after is killed in test_agent.py
        folder, one = f"home{number}", ticket(service, alice)
        outcome = killed_at(lambda folder=folder, one=one: answering(one, folder=folder), number)
        assert outcome == -signal.SIGKILL
        again = answering(one, folder=folder)
        found = again.bring_up()
        assert devices(service) == [found.device], number
        tickets = [entry for entry in service.audit.read() if entry["event"] in ("second-factor-refused", "enroll")]
        assert len(tickets) == number + 1 and tickets[-1]["factor"] == "ticket"
        asked_again.append(bool(again.questions))
        service.revoke(found.device, "tried", by="test")
    assert asked_again == sorted(asked_again, reverse=True) and {True, False} == set(asked_again), (
        "until the device was made, and never after"
    )


def second_answer_lost(https):
    """Of /v1/devices: the one that makes the device."""
    return lambda scope: (502, [], b"") if scope["path"] == "/v1/devices" and https.seen.count("/v1/devices") == 2 else None


def test_an_answer_that_was_lost(answering, service, policy, alice, https):
    https.after = second_answer_lost(https)
    with pytest.raises(ServerError, match="unreachable"):
        answering(ticket(service, alice)).bring_up()
    https.after = None
    assert devices(service, "pending")
    found = answering()
    assert [found.bring_up().device] == devices(service) and found.questions == []


def test_revoked_before_the_answer_came(answering, service, policy, alice, https):
    """The device of this request is gone: the agent asks with a new one, and for a new ticket."""
    https.after = second_answer_lost(https)
    with pytest.raises(ServerError, match="unreachable"):
        answering(ticket(service, alice)).bring_up()
    https.after = None
    (lost,) = devices(service, "pending")
    service.revoke(lost, "lost", by="admin")
    found = answering(ticket(service, alice))
    assert [found.bring_up().device] == devices(service) != [lost] and len(found.questions) == 1
