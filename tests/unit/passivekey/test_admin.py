# SPDX-License-Identifier: GPL-3.0-or-later
"""The administrators' pages: who gets in, what is done in whose name, and what a browser is given (judged by html5lib)."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

pytest.importorskip("starlette", reason="Starlette is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("html5lib", reason="html5lib is not installed")

import html5lib
import sqlalchemy as sa
from starlette.testclient import TestClient

from passivekey.protocol.errors import Refused
from passivekey.server import admin, audit_tail, store
from passivekey.server.administration import EVENTS, PAGE
from passivekey.server.audit import Audit
from passivekey.server.spnego import Negotiation
from passivekey.server.web import Fronts, application

ORIGIN = "https://passivekey.corp.example"
SITE = "intranet.corp.example"
ADMINS = "S-1-5-21-1-2-3-512"
RTL = "\N{RIGHT-TO-LEFT OVERRIDE}"
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'{{7*7}}"


class Tickets:
    """Takes `Negotiate <name>` for who is named."""

    def accept(self, header):
        kind, _space, name = header.partition(" ")
        if kind != "Negotiate" or name == "forged":
            raise Refused("unauthenticated", "the ticket is not good")
        return Negotiation(name, b"mutual")


@pytest.fixture
def ada(directory):
    account = directory.add("ada@corp.example", 1900)
    directory.members[account.sid] |= {ADMINS}
    return account


@pytest.fixture
def browser(service, ada):
    """`browser(name)`: somebody who is signed in by the form; without a name, nobody."""

    def begin(name="", *, tickets=None, groups=frozenset({ADMINS}), passwords=True):
        app = application(service, Fronts(acceptor=tickets, administrators=groups, passwords=passwords))
        client = TestClient(app, base_url=ORIGIN, client=("10.0.0.9", 1), follow_redirects=False)
        if name:
            assert sign_in(client, name).status_code == 303
        return client

    return begin


@pytest.fixture
def admins(browser):
    return browser("ada@corp.example")


def sign_in(client, name, password="pass", following="/admin/", origin=ORIGIN):
    words = {"username": name, "password": password, "next": following}
    return client.post("/admin/sign-in", data=words, headers={"Origin": origin})


def csrf(client):
    return admin.csrf_token(client.cookies[admin.COOKIE])


def post(client, path, origin=ORIGIN, **form):
    return client.post(f"/admin/{path}", data={"csrf": csrf(client), **form}, headers={"Origin": origin} if origin else {})


def page(response, status=200):
    """The page's elements, judged strictly: what no standard allows is an error here."""
    assert (response.status_code, response.headers["content-type"]) == (status, "text/html; charset=utf-8"), response.text
    found = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(response.text)
    names = {element.tag for element in found.iter()}
    attributes = {name for element in found.iter() for name in element.attrib}
    assert not names & {"script", "style", "img", "iframe", "object"} and not {name for name in attributes if name.startswith("on")}
    assert "style" not in attributes
    for field in (element for element in found.iter() if element.tag in ("input", "select")):
        labels = [label for label in found.iter("label") if label.get("for") == field.get("id")]
        assert field.get("type") == "hidden" or labels, f"{field.attrib} has no label"
    return found


def words(response, status=200):
    return " ".join("".join(page(response, status).itertext()).split())


def audited(service, event):
    return [entry for entry in service.audit.read() if entry["event"] == event]


def device(service, number):
    with service.store.transaction(reading=True) as transaction:
        return transaction.device(number)


PROTECTED = [(method, path) for method, path, handler in admin._ROUTES if handler is not None]


def at(path, pc):
    return path.format(device=pc.device, sid=pc.account.sid)


# ---- who gets in


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_nobody_without_a_session(service, browser, pc, method, path):
    client = browser(tickets=Tickets())
    for cookie in ("", "x" * 43):
        client.cookies.set(admin.COOKIE, cookie, domain="passivekey.corp.example")
        answer = client.request(
            method, at(path, pc), headers={"Origin": ORIGIN}, **({"data": {"csrf": csrf(client)}} if method == "POST" else {})
        )
        assert "Sign in" in words(answer, 401)
        assert answer.headers.get("www-authenticate") == ("Negotiate" if method == "GET" else None)
    assert device(service, pc.device).state == "active" and not audited(service, "revoke")


def test_the_sign_in_of_an_enrolment_is_none_here(service, browser):
    client = browser()
    token = service.sign_in("ada@corp.example", "pass", "10.0.0.9")
    client.cookies.set(admin.COOKIE, token, domain="passivekey.corp.example")
    assert client.get("/admin/").status_code == 401


def test_users_are_no_administrators(service, browser, alice):
    client = browser()
    answer = sign_in(client, "alice@corp.example")
    assert "Not in the administrators' groups: alice@corp.example" in words(answer, 403) and "set-cookie" not in answer.headers
    assert audited(service, "admin-refused")[0]["account"] == alice.sid


@pytest.mark.parametrize("change", ["membership", "disabled", "gone"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/admin/"), ("POST", "/admin/devices/{device}/revoke")])
def test_who_was_an_administrator_until_now(service, admins, directory, ada, pc, change, method, path):
    assert admins.get("/admin/").status_code == 200
    if change == "membership":
        directory.members[ada.sid] -= {ADMINS}
    elif change == "disabled":
        directory.change(ada, usable=False)
    else:
        del directory.accounts[ada.sid]
    data = {"data": {"csrf": csrf(admins), "reason": "x"}} if method == "POST" else {}
    answer = admins.request(method, at(path, pc), headers={"Origin": ORIGIN}, **data)
    assert answer.status_code == (401 if change == "gone" else 403) and device(service, pc.device).state == "active"
    if change != "gone":  # and the session is over, even if the membership comes back
        directory.members[ada.sid] |= {ADMINS}
        directory.change(ada, usable=True)
        assert admins.get("/admin/").status_code == 401


def test_the_session_s_cookie(browser):
    cookie = sign_in(browser(), "ada@corp.example").headers["set-cookie"]
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert cookie.startswith("__Host-passivekey-admin=") and parts == {"secure", "httponly", "path=/", "samesite=strict"}


def test_sessions_end(service, admins, clock):
    for _minute in range(10):
        clock.now += service.rules.session_idle - 1
        assert admins.get("/admin/").status_code == 200
    clock.now += service.rules.session_idle + 1
    assert admins.get("/admin/").status_code == 401


def test_sessions_end_even_if_they_are_used(service, admins, clock):
    steps = service.rules.session_life // (service.rules.session_idle - 1)
    for _step in range(steps):
        clock.now += service.rules.session_idle - 1
        assert admins.get("/admin/").status_code == 200
    clock.now += service.rules.session_life - steps * (service.rules.session_idle - 1) + 1
    assert admins.get("/admin/").status_code == 401


def test_signing_out(admins):
    token = admins.cookies[admin.COOKIE]
    assert "Signed out" in words(post(admins, "sign-out"))
    admins.cookies.set(admin.COOKIE, token, domain="passivekey.corp.example")
    assert admins.get("/admin/").status_code == 401


def test_a_ticket_signs_in(service, browser, ada):
    client = browser(tickets=Tickets())
    answer = client.get("/admin/devices?state=revoked", headers={"Authorization": "Negotiate ada@corp.example"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/devices?state=revoked")
    assert answer.headers["www-authenticate"] == "Negotiate bXV0dWFs"
    assert client.get("/admin/").status_code == 200
    assert {name: value for name, value in audited(service, "admin-sign-in")[0].items() if name not in ("at", "n", "prev")} == {
        "event": "admin-sign-in",
        "account": ada.sid,
        "by": f"{ada.sid} {ada.name}",
        "source": "10.0.0.9",
    }


@pytest.mark.parametrize(("ticket", "status"), [("forged", 401), ("alice@corp.example", 403), ("nobody@corp.example", 403)])
def test_tickets_that_do_not_sign_in(browser, ticket, status):
    answer = browser(tickets=Tickets()).get("/admin/", headers={"Authorization": f"Negotiate {ticket}"})
    assert answer.status_code == status and "set-cookie" not in answer.headers


def test_tickets_do_not_send_forms(service, browser, pc):
    """A page elsewhere could make a browser send one, with its ticket."""
    client = browser(tickets=Tickets())
    headers = {"Origin": ORIGIN, "Authorization": "Negotiate ada@corp.example"}
    assert client.post(f"/admin/devices/{pc.device}/revoke", data={"csrf": "x"}, headers=headers).status_code == 401
    assert device(service, pc.device).state == "active"


def test_without_tickets_none_is_asked_for(browser):
    assert "www-authenticate" not in browser().get("/admin/").headers


def test_passwords_may_be_switched_off(browser):
    client = browser(tickets=Tickets(), passwords=False)
    assert not list(page(client.get("/admin/"), 401).iter("input"))
    assert sign_in(client, "ada@corp.example").status_code == 403


def test_wrong_passwords_are_counted(service, browser, ada):
    client = browser()
    assert "Wrong name or password" in words(sign_in(client, "ada@corp.example", "x"), 403)
    assert "Wrong name or password" in words(sign_in(client, "no@corp.example"), 403)
    for _try in range(8):
        sign_in(client, "ada@corp.example", "x")
    assert sign_in(client, "ada@corp.example").status_code == 403
    with service.store.transaction(reading=True) as transaction:
        assert f"account:{ada.sid}" in {row.who for row in transaction.waiting(service.now, 9)}


@pytest.mark.parametrize(
    ("following", "location"),
    [
        ("/admin/audit?kind=refused", "/admin/audit?kind=refused"),
        ("https://elsewhere.example/", "/admin/"),
        ("//elsewhere.example/", "/admin/"),
        ("/admin/\\elsewhere", "/admin/"),
        ("/admin/sign-in", "/admin/"),
        ("/v1/crl", "/admin/"),
        ("/admin/x\r\nSet-Cookie: a=b", "/admin/"),
        ("", "/admin/"),
    ],
)
def test_where_one_goes_after_signing_in(browser, following, location):
    assert sign_in(browser(), "ada@corp.example", following=following).headers["location"] == location


def test_without_groups_there_are_no_pages(browser):
    client = browser(groups=frozenset())
    assert client.get("/admin/").status_code == 404 and client.get("/v1/policy").status_code == 200


# ---- forms that are not of these pages


@pytest.mark.parametrize("origin", ["", "null", "https://elsewhere.example", "http://passivekey.corp.example", f"{ORIGIN}:444"])
def test_forms_of_other_origins(service, admins, browser, pc, origin):
    assert post(admins, f"devices/{pc.device}/revoke", origin, reason="x").status_code == 403
    assert device(service, pc.device).state == "active"
    assert sign_in(browser(), "ada@corp.example", origin=origin).status_code == 403


@pytest.mark.parametrize("token", [None, "", "x", "of another session"])
def test_forms_without_the_session_s_token(service, admins, browser, pc, token):
    form = {"reason": "x"} | ({} if token is None else {"csrf": csrf(browser("ada@corp.example")) if " " in token else token})
    answer = admins.post(f"/admin/devices/{pc.device}/revoke", data=form, headers={"Origin": ORIGIN})
    assert "not of your session" in words(answer, 403) and device(service, pc.device).state == "active"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"csrf=%ff", "application/x-www-form-urlencoded"),
        ("csrf=ä".encode(), "application/x-www-form-urlencoded"),
        (b"a=b&" * 30, "application/x-www-form-urlencoded"),
        (b"csrf=" + b"x" * 70000, "application/x-www-form-urlencoded"),
        (b"{}", "application/json"),
        (b"csrf=x", "text/plain"),
    ],
)
def test_what_is_no_form(admins, content, kind):
    answer = admins.post("/admin/unlock", content=content, headers={"Origin": ORIGIN, "Content-Type": kind})
    assert answer.status_code == 400


def test_nothing_is_changed_by_getting_a_page(service, admins, pc):
    assert admins.get(f"/admin/devices/{pc.device}/revoke", params={"csrf": csrf(admins), "reason": "x"}).status_code == 200
    assert device(service, pc.device).state == "active"


# ---- what is done


def test_revoking_a_device(service, admins, workstation, alice, ada, pc):
    other = workstation(alice, name="PC8").complete()
    session = service.check(SITE, "", pc.cookie(), "10.0.0.7").session
    assert "its 1 open session ends" in words(admins.get(f"/admin/devices/{pc.device}/revoke"))
    answer = post(admins, f"devices/{pc.device}/revoke", reason="stolen\n<b>")
    assert "Revoked." in words(admins.get(answer.headers["location"]))
    with pytest.raises(Refused, match="no cookie"):
        service.check(SITE, session, "", "10.0.0.7")
    found = device(service, pc.device)
    assert (found.state, found.reason) == ("revoked", "stolen<b>") and device(service, other.device).state == "active"
    [entry] = audited(service, "revoke")
    assert (entry["by"], entry["source"], entry["account"]) == (f"{ada.sid} {ada.name}", "10.0.0.9", alice.sid)
    again = post(admins, f"devices/{pc.device}/revoke", reason="x")
    assert "revoked already" in words(admins.get(again.headers["location"]))


def test_what_cannot_be_audited_is_not_done(service, admins, pc, monkeypatch):
    def full(*_arguments, **_more):
        raise OSError("full")

    monkeypatch.setattr(service.audit, "write", full)
    assert "audit log" in words(post(admins, f"devices/{pc.device}/revoke", reason="x"), 503)
    assert device(service, pc.device).state == "active"


def test_unlocking_an_account(service, admins, alice, ada):
    for _try in range(8):
        with pytest.raises(Refused):
            service.sign_in("alice@corp.example", "x", "10.1.1.1")
    assert "Locked until" in words(admins.get(f"/admin/accounts/{alice.sid}"))
    answer = post(admins, "unlock", who=f"account:{alice.sid}")
    assert "Unlocked" in words(admins.get(answer.headers["location"]))
    assert service.sign_in("alice@corp.example", "pass", "10.1.1.1")
    [entry] = audited(service, "unlock")
    assert (entry["account"], entry["by"]) == (alice.sid, f"{ada.sid} {ada.name}")


def test_unlocking_an_address(service, admins):
    with service.store.transaction() as transaction:
        for _try in range(2):
            transaction.failed("source:203.0.113.7", service.now, 2, 900, 900)
    assert "203.0.113.7" in words(admins.get("/admin/"))
    assert post(admins, "unlock", who="source:203.0.113.7").status_code == 303
    with service.store.transaction(reading=True) as transaction:
        assert transaction.waiting(service.now, 9) == []
    assert audited(service, "unlock")[0]["unlocked"] == "203.0.113.7"


@pytest.mark.parametrize("who", ["", "account:", "nobody", "other:x", "source:\0", "source:" + "x" * 400])
def test_what_cannot_be_unlocked(service, admins, who):
    assert post(admins, "unlock", who=who).status_code == 400 and not audited(service, "unlock")


def test_enrolment_tickets(service, admins, workstation, alice, ada):
    assert "ticket" not in words(admins.get(f"/admin/accounts/{alice.sid}"))
    service.rules = replace(service.rules, second_factor=("ticket",))
    ticket = page(post(admins, f"accounts/{alice.sid}/ticket", hours="8")).find(".//*[@class='secret']/code").text
    assert ticket not in admins.get(f"/admin/accounts/{alice.sid}").text and ticket not in json.dumps(service.audit.read())
    pc = workstation(alice)
    body = pc.body() | {"second_factor": {"kind": "ticket", "code": ticket}}
    assert service.enroll(alice, body, "10.0.0.7")["state"] == "pending"
    assert audited(service, "ticket")[0]["by"] == f"{ada.sid} {ada.name}"
    for hours in ("0", "100000", "x", ""):
        assert post(admins, f"accounts/{alice.sid}/ticket", hours=hours).status_code == 400
    later = page(post(admins, f"accounts/{alice.sid}/ticket", hours="8")).find(".//*[@class='secret']/code").text
    assert post(admins, f"accounts/{alice.sid}/withdraw").status_code == 303
    with pytest.raises(Refused):
        service.enroll(alice, workstation(alice).body() | {"second_factor": {"kind": "ticket", "code": later}}, "10.0.0.7")


# ---- what is shown


def everywhere(client, pc):
    paths = [at(path, pc) for method, path in PROTECTED if method == "GET"]
    return {path: client.get(path) for path in (*paths, *(f"/admin/devices?state={state}" for state in admin.STATES))}


def test_every_page_is_of_the_standard_and_brings_no_code_along(service, admins, pc):
    service.check(SITE, "", pc.cookie(), "10.0.0.7")
    pages = {**everywhere(admins, pc), "sign-in": admins.get("/admin/sign-in"), "none": admins.get("/admin/devices/x")}
    for path, answer in pages.items():
        page(answer, 404 if path == "none" else 200)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert (answer.headers["cache-control"], answer.headers["x-frame-options"]) == ("no-store", "DENY")
        # with no-referrer, browsers would send their forms with `Origin: null`
        assert answer.headers["referrer-policy"] == "same-origin"
    assert admins.get("/admin/admin.css").headers["content-type"].startswith("text/css")
    assert admins.get("/admin").headers["location"] == "/admin/"


def test_names_are_text(service, admins, workstation, directory, clock):
    hostile = directory.add(HOSTILE[:40] + "@corp.example", 1666)
    pc = workstation(hostile, name=HOSTILE[:64], source=HOSTILE).complete()
    service.check(SITE, "", pc.cookie(), HOSTILE)
    with pytest.raises(Refused):
        service.sign_in(hostile.name, "x", HOSTILE)
    with service.store.transaction() as transaction:
        transaction.failed(f"source:{HOSTILE}", service.now, 1, 900, 900)
    service.audit.write("web-refused", site=HOSTILE, why=HOSTILE, text=f"\x01\x7f{RTL}")
    clock.now += 80 * 86400
    assert sign_in(admins, "ada@corp.example").status_code == 303
    pages = everywhere(admins, pc) | {"searched": admins.get("/admin/search", params={"q": HOSTILE})}
    pages |= {
        "about": admins.get("/admin/audit", params={"about": HOSTILE}),
        "revoked": post(admins, f"devices/{pc.device}/revoke", reason=HOSTILE),
    }
    pages["revoked"] = admins.get(pages["revoked"].headers["location"])
    texts = {path: words(answer) for path, answer in pages.items() if answer.status_code != 303}
    shown = {path for path, text in texts.items() if "<script>alert(1)</script>" in text}
    assert {"/admin/devices", "/admin/expiring", "/admin/audit", at("/admin/devices/{device}", pc), "about", "revoked"} <= shown
    assert not any(RTL in answer.text for answer in pages.values())
    assert not any("49" in text.split("alert(2)>")[-1][:6] for text in texts.values())


def fill(service, alice, number, state="active"):
    rows = []
    with service.store.transaction() as transaction:
        account = transaction.account(alice.sid, alice.name, service.now)
        for index in range(number):
            rows.append(f"{index:032x}")
            # several of one second, as a roll-out makes them
            words = {"workstation": f"WS-{index}", "public_key": b"k", "created": service.now - index // 7, "touched": service.now}
            transaction.add_device(id=rows[-1], account=account, request=rows[-1], **words)
            transaction.add_certificate(rows[-1], index + 1, b"der", service.now + index // 3)
            if state == "active":
                transaction.activate(rows[-1], service.now)
    return rows


def rows(tree):
    return [link.get("href").rpartition("/")[2] for link in tree.iterfind(".//tbody/tr/td[@data-label='Device']/a")]


def link(tree, relation):
    return next((each.get("href") for each in tree.iter("a") if each.get("rel") == relation), None)


@pytest.mark.parametrize("number", [0, 1, PAGE, PAGE + 1, 2 * PAGE + 17])
def test_paging(service, admins, alice, number):
    fill(service, alice, number)
    seen, back, url = [], [], "/admin/devices"
    while url:
        tree = page(admins.get(url))
        found, before = rows(tree), link(tree, "prev")
        assert len(found) <= PAGE and bool(before) == bool(seen)
        seen, last, url = seen + found, url, link(tree, "next")
    assert len(seen) == len(set(seen)) == number
    while last:
        tree = page(admins.get(last))
        back, last = rows(tree) + back, link(tree, "prev")
    assert back == seen


def test_paging_what_expires(service, admins, alice):
    fill(service, alice, 2 * PAGE + 1)
    seen, url = [], "/admin/expiring"
    while url:
        tree = page(admins.get(url))
        seen, url = seen + rows(tree), link(tree, "next")
    assert seen == [f"{index:032x}" for index in range(2 * PAGE + 1)]


@pytest.mark.parametrize("query", ["older=x", "newer=1.x", "state=other", "older=99999999999999999999." + "0" * 32, "newer=-1." + "0" * 32])
def test_places_that_are_none(admins, query):
    assert admins.get(f"/admin/devices?{query}").status_code == 400


def test_pages_are_found_by_an_index(service):
    """However many devices there are: SQLite says how it looks."""
    seen = []
    with service.store._engine.connect() as connection:
        place = sa.tuple_(*map(sa.literal, (1, "x")))
        older = sa.tuple_(store.devices.c.created, store.devices.c.id) < place
        queries = [
            store._DEVICE.where(store.devices.c.state == "active", older).order_by(
                store.devices.c.created.desc(), store.devices.c.id.desc()
            ),
            store._DEVICE.where(sa.func.lower(store.devices.c.workstation) == "ws-1"),
            store._DEVICE.where(store.devices.c.state == "active", store.devices.c.expires < 9).order_by(
                store.devices.c.expires, store.devices.c.id
            ),
        ]
        for query in queries:
            text = str(query.limit(50).compile(connection, compile_kwargs={"literal_binds": True}))
            seen.append(" ".join(row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")))
    for plan, index in zip(seen, ("state_created", "workstation", "state_expires"), strict=True):
        assert f"USING INDEX ix_devices_{index}" in plan and "SCAN" not in plan and "TEMP B-TREE" not in plan, plan


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("{device}", "devices/{device}"),
        ("{DEVICE}", "devices/{device}"),
        ("pc7", "devices/{device}"),
        ("alice@corp.example", "accounts/{sid}"),
        (" ALICE ", "accounts/{sid}"),
        ("{sid}", "accounts/{sid}"),
    ],
)
def test_search_finds_what_is_one(admins, pc, text, path):
    found = admins.get("/admin/search", params={"q": text.format(device=pc.device, DEVICE=pc.device.upper(), sid=pc.account.sid)})
    assert found.headers["location"] == f"/admin/{at(path, pc)}"


@pytest.mark.parametrize("text", ["", "zzz", "%", "_", "0" * 32, "S-1-5-21-9-9-9-9", "x" * 300, "a\0b", "*)(objectClass=*"])
def test_search_finds_nothing(admins, pc, text):
    assert "Nothing is found" in words(admins.get("/admin/search", params={"q": text}))


def test_search_of_a_part_of_names(admins, workstation, alice, bob):
    for account in (alice, bob):
        workstation(account, name=f"PC-{account.name[0]}").complete()
    text = words(admins.get("/admin/search", params={"q": "CORP.ex"}))
    assert "alice@corp.example" in text and "bob@corp.example" in text


def test_an_account_that_the_directory_has_no_more(admins, directory, pc):
    del directory.accounts[pc.account.sid]
    assert "not there any more" in words(admins.get(f"/admin/accounts/{pc.account.sid}"))
    assert "no such account any more" in words(admins.get(f"/admin/devices/{pc.device}"))
    assert admins.get("/admin/accounts/S-1-5-21-9-9-9-9").status_code == 404
    assert admins.get("/admin/accounts/x").status_code == 404


def test_a_directory_that_is_away(admins, directory, monkeypatch):
    def away(_sid):
        raise Refused("unavailable", "no domain controller answers")

    monkeypatch.setattr(directory, "by_sid", away)
    assert "No domain controller answers" in words(admins.get("/admin/"), 503)


def test_the_overview(service, admins, pc, alice):
    with pytest.raises(Refused):
        service.sign_in("alice@corp.example", "x", "10.1.1.1")
    service.check(SITE, "", pc.cookie(), "10.0.0.7")
    text = words(admins.get("/admin/"))
    for part in ("1 active devices", "0 revoked devices", "sign-in-refused", "intranet.corp.example", "cookie", "in use"):
        assert part.replace(" ", "") in text.replace(" ", "") or part in text, part


# ---- the audit log


def test_the_audit_log_page_by_page(service, admins, clock, ada):
    for index in range(2 * PAGE + 5):
        clock.now += 3600
        service.audit.write("web", account=ada.sid, site=f"s{index}")
    assert sign_in(admins, "ada@corp.example").status_code == 303
    seen, url = [], "/admin/audit?kind=accepted"
    while url:
        tree = page(admins.get(url))
        seen += [cell.find("span/span").tail for cell in tree.iterfind(".//td[@data-label='About']")]
        url = link(tree, "next")
    assert [text.strip() for text in seen] == [f"s{index}" for index in reversed(range(2 * PAGE + 5))]


def test_filters_of_the_audit_log(service, admins, pc, alice):
    with pytest.raises(Refused):
        service.sign_in("alice@corp.example", "x", "10.1.1.1")
    for query, there, gone in (
        ("about=alice@corp.example", ("enroll", "sign-in-refused"), ("admin-sign-in",)),
        (f"about={alice.sid}&kind=refused", ("sign-in-refused",), ("enroll",)),
        (f"about={pc.device}", ("enroll", "confirm"), ("sign-in-refused",)),
        ("about=10.1.1.1", ("sign-in-refused",), ("enroll",)),
        ("about=ada@corp.example", ("admin-sign-in",), ("enroll",)),
        ("kind=administration", ("admin-sign-in",), ("enroll",)),
    ):
        events = {cell.find("span").text for cell in page(admins.get(f"/admin/audit?{query}")).iterfind(".//td[@data-label='Event']")}
        assert set(there) <= events and not events & set(gone), query
    for query in ("about=%00", "before=../../etc/passwd@3", "before=x", "kind=other", "before=passivekey-2020-01-01.log@9"):
        assert admins.get(f"/admin/audit?{query}").status_code in (200, 400), query


def test_events_that_are_written_are_found(service):
    """Each event that the sources write is of a kind, but for those that no kind is asked for."""
    import re
    from pathlib import Path

    sources = "".join(file.read_text(encoding="utf-8") for file in Path(admin.__file__).parent.glob("*.py"))
    written = set(re.findall(r'audit\.write\(\s*"([a-z-]+)"', sources))
    written |= {f"{what}-refused" for what in re.findall(r'_failure\([^"()]*"([a-z-]+)"\)', sources)}
    assert len(written) > 15 and written <= {event for events in EVENTS.values() for event in events}


@pytest.fixture
def log(tmp_path, clock):
    return Audit(tmp_path / "log", clock, megabytes=8)


def values(found):
    return [entry["index"] for entry in found.entries]


def test_the_newest_are_read_from_the_end(log, clock):
    for index in range(3000):
        if index % 1000 == 0:
            clock.now += 86400
        log.write("web" if index % 10 else "revoke", index=str(index), text="x" * (index % 300))
    everything, place = [], None
    while True:
        found = audit_tail.newest(log.files(), audit_tail.Wanted(), before=place, limit=700)
        everything, place = everything + values(found), found.more
        if place is None:
            break
        assert audit_tail.read_place(audit_tail.place_text(place)) == place
    assert everything == [str(index) for index in reversed(range(3000))]
    found = audit_tail.newest(log.files(), audit_tail.Wanted(["revoke"]), limit=3)
    assert values(found) == ["2990", "2980", "2970"]
    assert values(audit_tail.newest(log.files(), audit_tail.Wanted(["revoke"]), before=found.more, limit=2)) == ["2960", "2950"]
    rare, place = [], None
    for _page in range(4):
        found = audit_tail.newest(log.files(), audit_tail.Wanted(values=["2222", "1111", "3"]), before=place, limit=1)
        rare, place = rare + values(found), found.more
        if place is None:
            break
    assert rare == ["2222", "1111", "3"]
    assert values(audit_tail.newest(log.files(), audit_tail.Wanted(values=["17"]))) == ["17"]


def test_only_so_much_is_looked_through(log):
    log.write("revoke", index="first")
    log.write("web", index="long", text="x" * 200_000)
    for index in range(5000):
        log.write("web", index=str(index))
    found = audit_tail.newest(log.files(), audit_tail.Wanted(["revoke"]), most=2**16)
    assert found.cut and not found.entries
    for _page in range(20):
        found = audit_tail.newest(log.files(), audit_tail.Wanted(["revoke"]), before=found.more, most=2**16)
        if not found.cut:
            break
    assert values(found) == ["first"]
    assert values(audit_tail.newest(log.files(), audit_tail.Wanted(), limit=6000))[-2:] == ["long", "first"]


def test_lines_that_are_none(log):
    log.write("web", index="1")
    with log.files()[0].open("ab") as file:
        file.write(b'{"at":"x"\n[]\n{"event":"web","at":1}\n\xff\n\n{"at":"2027-01-01","event":"web","index":"2"}\n{"at":"2027')
    assert values(audit_tail.newest(log.files(), audit_tail.Wanted())) == ["2", "1"]
    log.write("web", index='"event":"revoke"')
    assert audit_tail.newest(log.files(), audit_tail.Wanted(["revoke"])).entries == []
    assert audit_tail.newest([], audit_tail.Wanted()).entries == []
