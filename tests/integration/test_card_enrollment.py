# SPDX-License-Identifier: GPL-3.0-or-later
"""certlogon.core.enroll_card with real ansible-playbook: first with an authority that a person carries requests to, then with AD CS."""

from __future__ import annotations

import copy
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from ansible_collections.certlogon.core.plugins.module_utils.certificates.pkcs11 import open_token
from ansible_collections.certlogon.core.plugins.module_utils.directory.certificate_templates import CertificateTemplates
from ansible_collections.certlogon.core.plugins.module_utils.directory.enrollment_services import EnrollmentServices
from ansible_collections.certlogon.core.tests.integration.card_authority import ALICE, Authority, pem
from lab.cards import LIBRARY, Card, CardBox
from lab.labs import Lab
from lab.logon import Desk, Outcome
from lab.settings import CHECKOUT

pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed (extra cards)")
pytestmark = pytest.mark.skipif(not Path(LIBRARY).exists(), reason="SoftHSM is not installed (softhsm2)")


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CardBox:
    made = CardBox.here(tmp_path / "cards")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def card(box: CardBox) -> Card:
    return box.make("alice")


@pytest.fixture
def enroll(playbook: Callable[..., Any], card: Card, tmp_path: Path) -> Callable[..., Any]:
    """`enroll(variables, check=False, fails=False)`: the playbook for the card `alice`; the PIN comes from its file."""

    def call(variables: Mapping[str, Any] | None = None, **options: Any) -> Any:
        given = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "certlogon_card_upn": ALICE,
            "certlogon_card_uri": card.uri,
            "certlogon_card_folder": str(tmp_path / "state"),
            "certlogon_enrollment_method": "file",
            "certlogon_card_template": "",
            "certlogon_card_crl_check": "ignore",
            **(variables or {}),
        }
        inventory = tmp_path / "inventory.yml"
        inventory.write_text(json.dumps({"cards": {"hosts": {"alice": given}}}))
        run = playbook("certlogon.core.enroll_card", inventory=inventory, **options)
        assert card.pin not in run.output
        assert card.pin not in json.dumps([task.result for task in run.tasks])
        return run

    return call


def private_keys(card: Card) -> list[Any]:
    with open_token(card.uri) as token:
        return [one for one in token.contents().keys if one.private]


def certificates(card: Card) -> dict[str, bytes]:
    with open_token(card.uri) as token:
        return {one.label: one.certificate.der for one in token.certificates()}


def answer(state: Path, authority: Authority, upn: str = ALICE) -> x509.Certificate:
    """What a person brings back for the request in the folder."""
    request = x509.load_pem_x509_csr((state / f"{ALICE}.pem.csr").read_bytes())
    assert request.is_signature_valid
    issued = authority.issue(request.public_key(), upn)
    (state / f"{ALICE}.pem.answer").write_text(pem(issued, authority.certificate))
    return issued


# ---- an authority elsewhere


def test_a_request_waits_is_answered_and_the_card_is_then_left_alone(enroll: Callable[..., Any], card: Card, tmp_path: Path) -> None:
    assert "a key would be made on the card" in enroll(check=True).output
    (tmp_path / "state").mkdir(mode=0o700)
    foreseen = enroll(check=True)
    assert [task.task.rpartition(" : ")[2] for task in foreseen.changed] == ["Request a certificate for the card's key"]
    assert private_keys(card) == []
    first = enroll()
    assert "Run the playbook again once it is approved" in first.output
    (key,) = private_keys(card)
    assert (key.label, key.sensitive, key.extractable, key.generated) == ("logon", True, False, True)
    assert not enroll().changed, "still waiting: nothing to do"
    assert certificates(card) == {}
    authority = Authority()
    issued = answer(tmp_path / "state", authority)
    assert enroll().changed
    assert certificates(card).keys() == {"logon", "Corp Issuing CA"}
    again = enroll()
    assert [task.task for task in again.changed] == []
    assert x509.load_der_x509_certificate(certificates(card)["logon"]) == issued
    assert private_keys(card) == [key]


def test_a_good_card_is_left_alone_though_nothing_else_remembers_it(enroll: Callable[..., Any], card: Card, tmp_path: Path) -> None:
    enroll()
    answer(tmp_path / "state", Authority())
    enroll()
    before = certificates(card)
    for file in (tmp_path / "state").iterdir():
        file.unlink()
    enroll()
    assert not list((tmp_path / "state").glob("*.csr")), "nothing was requested"
    assert certificates(card) == before
    assert not enroll().changed


def test_a_certificate_for_another_user_is_not_put_on_the_card(enroll: Callable[..., Any], card: Card, tmp_path: Path) -> None:
    enroll()
    answer(tmp_path / "state", Authority(), upn="bruno@corp.example")
    failed = enroll(fails=True)
    assert "bruno@corp.example" in failed.output or "UPN:alice@corp.example" in failed.output
    assert certificates(card) == {}


def test_a_pfx_is_imported(enroll: Callable[..., Any], card: Card, tmp_path: Path) -> None:
    file = Authority().pfx(tmp_path / "alice.pfx", rsa.generate_private_key(65537, 2048))
    variables = {"certlogon_card_pkcs12_path": str(file), "certlogon_card_pkcs12_password": "correct horse"}
    assert enroll(variables, check=True).changed
    first = enroll(variables)
    assert "correct horse" not in first.output
    assert certificates(card).keys() == {"logon", "Corp Issuing CA"}
    assert not enroll(variables).changed
    assert "is for alice@corp.example" in enroll({**variables, "certlogon_card_upn": "bruno@corp.example"}, fails=True).output
    assert "was imported" in enroll(fails=True).output


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"certlogon_card_uri": f"pkcs11:token=bob?module-path={LIBRARY}"}, "no such token; 'alice' is there"),
        ({"certlogon_card_uri": "pkcs11:token=alice?module-path=/opt/acme.so"}, "there is no such file"),
        ({"certlogon_card_uri": "pkcs11:token=alice?pin-value=12345"}, "holds a PIN"),
        ({"certlogon_card_uri": f"pkcs11:token=alice?module-path={LIBRARY}", "certlogon_card_pin": "wrong1"}, "the PIN is wrong"),
    ],
)
def test_what_is_wrong_with_the_card_is_said_once(variables: Mapping[str, Any], why: str, enroll: Callable[..., Any], card: Card) -> None:
    failed = enroll(variables, fails=True)
    assert why in failed.output
    assert len(failed.failed) == 1
    assert "wrong1" not in json.dumps([task.result for task in failed.tasks])


def test_the_pin_may_come_from_the_environment(enroll: Callable[..., Any], card: Card) -> None:
    enroll({"certlogon_card_uri": card.token}, environment={"CERTLOGON_CARD_PIN": card.pin})
    assert private_keys(card)


class Page(HTMLParser):
    """Whether every element is closed, and what a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name == "src" or (name == "href" and tag != "a")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize(
    ("variables", "words", "missing"),
    [
        ({}, ["Windows says Succeeded"], [".pfx", "VPN", "Enrollment pending"]),
        ({"certlogon_smart_card_manager_approval": True}, ["Enrollment pending", "Request Id"], ["Windows says Succeeded"]),
        ({"certlogon_instructions_pkcs12": True}, ['certutil -user -csp "Base & Co" -importpfx'], []),
        ({"certlogon_instructions_vpn_url": "https://vpn.corp.example"}, ["https://vpn.corp.example"], []),
        ({"certlogon_instructions_lock_minutes": 0}, ["can unlock it"], ["minutes. Then wait"]),
        ({"certlogon_instructions_url": ""}, [], ["https://", "Internet Explorer"]),
    ],
)
def test_the_page_for_users(
    variables: Mapping[str, Any], words: list[str], missing: list[str], playbook: Callable[..., Any], tmp_path: Path
) -> None:
    site = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "certlogon_instructions_folder": str(tmp_path),
        "certlogon_instructions_organization": "Corp <Example>",
        "certlogon_enrollment_url": "https://ca1.corp.example/certsrv",
        "certlogon_template_prefix": "Corp",
        "certlogon_smart_card_provider": "Base & Co",
        **variables,
    }
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(json.dumps({"cards": {"hosts": {"alice": site}}}))
    assert playbook("certlogon.core.enroll_card", inventory=inventory, arguments=["--tags", "instructions"]).changed
    source = (tmp_path / "smart-card-enrollment.html").read_text()
    page, text = Page(source), (tmp_path / "smart-card-enrollment.txt").read_text()
    assert (page.open, page.fetched) == ([], [])
    assert max(map(len, text.splitlines())) < 110
    for shown in (" ".join("".join(page.text).split()), " ".join(text.replace('"', "").split())):
        for word in ["Corp <Example>", "Corp Smartcard Logon", "Base & Co", *words]:
            assert word.replace('"', "") in shown.replace('"', "")
        for word in [*missing, "{{", "{%"]:
            assert word not in shown


# ---- AD CS: the lab's stand-in, its real domain and its real KDC

URL = "https://ca1.corp.example/certsrv"


class Office:
    """The lab with its site rolled out, and a box of cards of this session."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.name = os.environ.get("CERTLOGON_LAB") or "default"
        self.box = CardBox.of_lab(Lab(self.name), f"/var/lib/cards/test-{secrets.token_hex(4)}")
        self.state = Path(lab.files["folder"]).parent / f"cards-{secrets.token_hex(4)}"

    def ansible(self, *arguments: str) -> None:
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "inventories/lab", *arguments]
        done = subprocess.run(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr

    def variables(self, owner: str, card: str | None = None, by: str | None = None, **further: Any) -> dict[str, Any]:
        """Of the card that `by` (its owner himself) enrolls."""
        who = self.lab.account(by or owner)
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "certlogon_card_upn": self.lab.account(owner)["upn"],
            "certlogon_card_uri": self.box.make(card or owner).uri,
            "certlogon_card_folder": str(self.state),
            "certlogon_card_anchor_path": self.lab.files["root_ca"],
            "certlogon_template_prefix": "Corp",
            "certlogon_enrollment_url": URL,
            "certlogon_enrollment_username": who["upn"],
            "certlogon_enrollment_password": who["password"],
            "certlogon_enrollment_ca_path": self.lab.files["ca_bundle"],
            **further,
        }

    def log_on(self, account: str, card: str, pin: str | None = None) -> Outcome:
        inside = self.box.inside
        chain = next(self.state.rglob("*-chain.pem")).read_text()
        self.lab.run("control", "tee", f"{inside.folder}/chain.pem", stdin=chain)
        desk = Desk(self.lab.run, pool=[f"{inside.folder}/chain.pem"])
        pin = self.box.card(card).pin if pin is None else pin
        return desk.log_on(account, inside.card(card).identity("logon"), pin=pin, environment=inside.environment)

    def decide(self, what: str, request: int) -> None:
        script = "/srv/certlogon/tests/integration/on_ca1/officer.py"
        self.lab.run("ca1", "env", "PYTHONPATH=/srv/certlogon", "/usr/bin/python3", script, what, str(request))


TEMPLATES: dict[str, dict[str, Any]] = {
    "CorpTestByAgent": {"signatures": {"count": 1, "application_policies": ["certificate_request_agent"]}},
    "CorpTestApproved": {"manager_approval": True},
}
FOR_EVERYBODY = [{"principal": "Authenticated Users", "rights": ["read"]}, {"principal": "Domain Users", "rights": ["read", "enroll"]}]


@pytest.fixture(scope="module")
def office(ca_lab: Any, run_resource: Callable[..., dict[str, Any]]) -> Iterator[Office]:
    if os.environ.get("CERTLOGON_LAB_RELAY"):
        pytest.skip("the lab's inventory is made on the machine")
    made = Office(ca_lab)
    made.ansible("certlogon.core.site")
    templates = [
        {"name": name, "display_name": name, "based_on": "SmartcardLogon", "permissions": copy.deepcopy(FOR_EVERYBODY), **further}
        for name, further in TEMPLATES.items()
    ]
    published = run_resource(EnrollmentServices(), state="gathered")["gathered"]
    assert not run_resource(CertificateTemplates(), templates).get("failed")
    assert not run_resource(EnrollmentServices(), [{"name": "Corp CA", "templates": [*TEMPLATES]}]).get("failed")
    yield made
    run_resource(EnrollmentServices(), published, "replaced")
    run_resource(CertificateTemplates(), [{"name": name} for name in TEMPLATES], "deleted")
    ca_lab.run("control", "rm", "-rf", str(made.box.inside.folder))
    shutil.rmtree(made.state, ignore_errors=True)


@pytest.fixture
def at_office(office: Office, playbook: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`at_office(variables, fails=False)`: the playbook for one card; neither PIN nor password may show."""
    for name, value in office.box.environment.items():
        monkeypatch.setenv(name, value)

    def call(variables: Mapping[str, Any], **options: Any) -> Any:
        inventory = tmp_path / "inventory.yml"
        inventory.write_text(json.dumps({"cards": {"hosts": {"card": dict(variables)}}}))
        run = playbook("certlogon.core.enroll_card", inventory=inventory, **options)
        shown = run.output + json.dumps([task.result for task in run.tasks])
        assert variables["certlogon_enrollment_password"] not in shown
        return run

    return call


def test_a_user_enrolls_a_card_and_it_logs_on(office: Office, at_office: Callable[..., Any]) -> None:
    variables = office.variables("alice.andersson")
    assert at_office(variables).changed
    assert not at_office(variables).changed
    assert {one.generated for one in private_keys(office.box.card("alice.andersson"))} == {True}
    outcome = office.log_on("alice.andersson", "alice.andersson")
    assert outcome.ticket, outcome.evidence
    assert outcome.who == "u:CORP\\alice.andersson"
    assert not office.log_on("alice.andersson", "alice.andersson", pin="000000").ticket, "a wrong PIN"
    assert office.log_on("bruno.bianchi", "alice.andersson").status == "NT_STATUS_PKINIT_NAME_MISMATCH", "another's card"


def test_an_enrollment_agent_enrolls_for_a_user_with_a_key_on_a_card(office: Office, at_office: Callable[..., Any]) -> None:
    agent = {"certlogon_card_label": "agent", "certlogon_card_template": "CorpEnrollmentAgent"}
    at_office(office.variables("rosa.ruiz", card="agent", **agent))
    behalf = {
        "requester": "CORP\\bruno.bianchi",
        "agent_certificate_path": str(office.state / "rosa.ruiz@corp.example.pem"),
        "agent_key_uri": office.box.card("agent").uri.replace("?", ";object=agent?"),
    }
    further = {"certlogon_card_template": "CorpTestByAgent", "certlogon_card_on_behalf_of": behalf}
    variables = office.variables("bruno.bianchi", by="rosa.ruiz", **further)
    assert at_office(variables).changed
    assert not at_office(variables).changed
    outcome = office.log_on("bruno.bianchi", "bruno.bianchi")
    assert outcome.ticket, outcome.evidence
    # without the agent's signature the same account gets nothing in another's name
    alone = at_office(
        office.variables("bruno.bianchi", card="stolen", by="rosa.ruiz", certlogon_card_folder=str(office.state / "s")), fails=True
    )
    assert certificates(office.box.card("stolen")) == {}
    assert alone.failed


def test_a_request_waits_for_an_officer(office: Office, at_office: Callable[..., Any]) -> None:
    variables = office.variables("elena.echeverria", certlogon_card_template="CorpTestApproved")
    waiting = at_office(variables)
    number = next(task["certificates"][0]["request_id"] for task in waiting.tasks if task.result.get("certificates"))
    assert "waits" in waiting.output
    assert not at_office(variables).changed
    office.decide("issue", number)
    assert at_office(variables).changed
    assert not at_office(variables).changed
    assert office.log_on("elena.echeverria", "elena.echeverria").ticket


def test_a_denied_request_says_so(office: Office, at_office: Callable[..., Any]) -> None:
    variables = office.variables("ingrid.iversen", certlogon_card_template="CorpTestApproved")
    waiting = at_office(variables)
    number = next(task["certificates"][0]["request_id"] for task in waiting.tasks if task.result.get("certificates"))
    office.decide("deny", number)
    for _turn in range(2):
        denied = at_office(variables, fails=True)
        assert "denied" in denied.output.lower()
    assert certificates(office.box.card("ingrid.iversen")) == {}


def test_who_may_not_enroll_is_told(office: Office, at_office: Callable[..., Any]) -> None:
    failed = at_office(office.variables("david.dvorak"), fails=True)
    assert "0x80094012" in failed.output
    assert "CorpSmartcardLogon" in failed.output
