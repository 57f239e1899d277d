# SPDX-License-Identifier: GPL-3.0-or-later
"""The report's page in a real browser (headless Chromium), opened from a file: nothing is loaded, nothing complains, everything works."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance.outputs import page
from ansible_collections.certlogon.core.tests.unit.compliance import page_samples as samples

PATH = "/usr/bin:/bin"
if shutil.which("chromium", path=PATH) is None:
    pytest.skip("there is no Chromium here (Debian's package chromium)", allow_module_level=True)
browser = pytest.importorskip("lab.judges.browser_on_client1")

COMPLAINTS = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded", "Page.javascriptDialogOpening"}
WIDTHS = (390, 820, 1440)
SAMPLES = {name: getattr(samples, name) for name in ("good", "ordinary", "bad", "unanswered", "empty", "hostile", "huge")}
VISIBLE = "[...document.querySelectorAll('[data-row]')].filter(e => e.checkVisibility({contentVisibilityAuto: true}))"
CONTRAST = """(() => {
  const channel = (c) => { c /= 255; return c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4; };
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const light = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3]) return c; } };
  const bad = [];
  for (const e of document.querySelectorAll('body *:not(svg *):not(option)')) {
    if (![...e.childNodes].some((n) => n.nodeType == 3 && n.textContent.trim()) || !e.checkVisibility()) continue;
    const style = getComputedStyle(e), [a, b] = [light(parse(style.color)), light(behind(e))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) bad.push(`${e.className}: ${ratio.toFixed(2)} ${e.textContent.slice(0, 30)}`);
  }
  return JSON.stringify([...new Set(bad)]);
})()"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, sample in SAMPLES.items():
        (folder / f"{name}.html").write_text(page.render(sample()), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    home = tmp_path_factory.mktemp("browser")
    environment = {"PATH": PATH, "HOME": str(home), "LC_ALL": "C.UTF-8"}
    deadline = browser.Deadline(300)
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(browser.chromium(home, environment, headless=True))
        tab = stack.enter_context(browser.Page(browser.port(home, process, deadline), deadline))
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        yield tab


@pytest.fixture
def show(tab, folder):
    """Open a sample; whatever the browser says about it afterwards is judged at the end of the test."""
    tab.call("Emulation.setScriptExecutionDisabled", value=False)
    size(tab, 1440)
    media(tab)

    def show(name, fragment=""):
        tab.call("Page.navigate", url="about:blank")
        tab.wait_until_loaded()
        tab.events.clear()
        tab.call("Page.navigate", url=f"{(folder / name).as_uri()}.html{fragment}")
        tab.wait_until_loaded()

    yield show
    tab.evaluate("1")
    assert [event for event in tab.events if event["method"] in COMPLAINTS] == []
    asked = [event["params"]["request"]["url"] for event in tab.events if event["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file:///", "data:"))] == []


def size(tab, width):
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)


def media(tab, kind="screen", scheme="light"):
    tab.call("Emulation.setEmulatedMedia", media=kind, features=[{"name": "prefers-color-scheme", "value": scheme}])


def found(tab, expression):
    return json.loads(tab.evaluate(f"JSON.stringify({expression})"))


def choose(tab, by, value):
    select = f"document.querySelector('select[data-by={by}]')"
    tab.evaluate(f"{select}.value = {json.dumps(value)}; {select}.dispatchEvent(new Event('input', {{bubbles: true}}))")
    assert found(tab, f"{select}.value") == value, "there is no such choice"


def type_text(tab, text):
    for character in text:
        tab.call("Input.dispatchKeyEvent", type="keyDown", text=character, key=character)
        tab.call("Input.dispatchKeyEvent", type="keyUp", key=character)


def background(tab):
    return tab.evaluate("getComputedStyle(document.documentElement).backgroundColor")


@pytest.mark.parametrize("name", SAMPLES)
def test_opens_from_a_file_without_a_request_or_a_complaint_and_fits(show, tab, name):
    show(name)
    for width in WIDTHS:
        size(tab, width)
        assert found(tab, "[document.documentElement.scrollWidth <= innerWidth, document.querySelectorAll('h1').length]") == [True, 1]
    shown = "[...document.querySelectorAll('svg.chain')].filter(e => e.checkVisibility()).length"
    assert found(tab, shown) == (0 if name == "empty" else 1)


def test_hostile_names_make_no_elements(show, tab):
    show("hostile")
    counts = "[document.scripts.length, document.images.length, document.styleSheets.length, typeof window.alert.name]"
    assert found(tab, counts) == [1, 0, 1, "string"]
    assert "<script>alert(1)</script>" in tab.evaluate("document.title")


def test_policy_stops_what_is_not_ours(show, tab):
    show("good")
    tab.evaluate("const s = document.createElement('script'); s.textContent = 'window.intruder = 1'; document.body.append(s)")
    assert tab.evaluate("typeof window.intruder") == "undefined"
    tab.events.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["ordinary", "bad"])
def test_text_has_contrast(show, tab, name, scheme):
    media(tab, scheme=scheme)
    show(name)
    tab.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true })")
    assert json.loads(tab.evaluate(CONTRAST)) == []


def test_every_control_of_the_page_has_a_name(show, tab):
    show("ordinary")
    tab.call("Accessibility.enable")
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "link", "combobox", "searchbox", "image", "heading", "region", "article", "search", "navigation"}
    told = [(node["role"]["value"], node["name"]["value"]) for node in nodes if not node.get("ignored")]
    named = [(role, name) for role, name in told if role in roles]
    assert {role for role, _name in named} >= {"button", "link", "combobox", "searchbox", "image", "heading", "region"}
    assert [role for role, name in named if not name.strip()] == []


def test_filters_and_search(show, tab):
    show("ordinary")
    whole = found(tab, f"{VISIBLE}.length")
    choose(tab, "severity", "critical")
    assert set(found(tab, f"{VISIBLE}.map(e => e.dataset.severity)")) == {"critical"}
    choose(tab, "status", "waived")
    assert found(tab, f"{VISIBLE}.map(e => e.dataset.status)") == ["waived", "waived"]
    assert tab.evaluate("document.querySelector('#shown').textContent").startswith("2 of ")
    tab.evaluate("document.querySelector('#filter').reset()")
    tab.call("Runtime.evaluate", expression="new Promise(done => setTimeout(done, 50))", awaitPromise=True)
    assert found(tab, f"{VISIBLE}.length") == whole
    choose(tab, "target", "domain_controller dc1.corp.example")
    assert "The certificate expires in 16 days" in tab.evaluate("document.querySelector('#findings').innerText")
    assert "Domain Users may enroll" not in tab.evaluate("document.querySelector('#findings').innerText")


def test_search_by_keyboard_reaches_what_is_folded(show, tab):
    show("ordinary")
    type_text(tab, "/")
    assert tab.evaluate("document.activeElement.id") == "search"
    type_text(tab, "user 00017")
    assert found(tab, f"{VISIBLE}.map(e => e.querySelector('.subject').textContent)") == ["CN=User 00017,OU=Sales,DC=corp,DC=example"]
    type_text(tab, " nobody of that name")
    assert tab.evaluate("document.querySelector('#nothing').checkVisibility()") == "True"
    tab.call("Input.dispatchKeyEvent", type="keyDown", key="Escape", code="Escape", windowsVirtualKeyCode=27)
    tab.call("Runtime.evaluate", expression="new Promise(done => setTimeout(done, 50))", awaitPromise=True)
    assert tab.evaluate("document.querySelector('#search').value") == ""
    assert tab.evaluate("document.querySelector('#nothing').checkVisibility()") == "False"


def test_family_of_the_score_filters(show, tab):
    show("ordinary")
    tab.evaluate("document.querySelector('[data-filter-family=\"70-crls\"]').click()")
    assert set(found(tab, f"{VISIBLE}.map(e => e.dataset.family)")) == {"70-crls"}


def test_link_opens_what_it_leads_to(show, tab):
    builder = SAMPLES["ordinary"]()
    block = next(control for control in builder["controls"] if control["id"] == "account-weak-mapping")
    key = block["results"][0]["findings"][19]["fingerprint"]
    show("ordinary", f"#f-{key}")
    assert tab.evaluate(f"document.querySelector('#f-{key} .evidence').checkVisibility()") == "True"


def test_dark_toggle_is_kept(show, tab):
    show("good")
    light = background(tab)
    media(tab, scheme="dark")
    dark = background(tab)
    assert dark != light
    media(tab)
    tab.evaluate("document.querySelector('#theme').click()")
    assert background(tab) == dark
    assert tab.evaluate("document.querySelector('#theme').getAttribute('aria-pressed')") == "true"
    show("good")
    assert background(tab) == dark
    tab.evaluate("document.querySelector('#theme').click(); localStorage.clear()")
    assert background(tab) == light


def test_copy_button_copies_the_variable(show, tab):
    show("ordinary")
    tab.call("Page.bringToFront")
    button = "document.querySelector('[data-copy=\"certlogon_certificate_templates\"]')"
    tab.evaluate(f"{button}.scrollIntoView({{block: 'center'}})")
    x, y = found(tab, f"[{button}.getBoundingClientRect()].map(r => [r.x + r.width / 2, r.y + r.height / 2])[0]")
    for kind in ("mousePressed", "mouseReleased"):
        tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    tab.call("Runtime.evaluate", expression="new Promise(done => setTimeout(done, 100))", awaitPromise=True)
    assert tab.evaluate(f"{button}.textContent") == "copied"
    # what was copied: pasted where text can be typed
    tab.evaluate("document.querySelector('#search').focus()")
    tab.call("Input.dispatchKeyEvent", type="keyDown", key="v", code="KeyV", modifiers=2, commands=["paste"])
    assert tab.evaluate("document.querySelector('#search').value") == "certlogon_certificate_templates"


def test_print_shows_all_findings_unfolded(show, tab):
    show("ordinary")
    assert tab.evaluate("document.querySelector('.evidence').checkVisibility({contentVisibilityAuto: true})") == "False"
    media(tab, "print")
    hidden = "[...document.querySelectorAll('#findings .evidence, #unknown .evidence')].filter(e => !e.getClientRects().length).length"
    assert found(tab, hidden) == 0
    assert tab.evaluate("document.querySelector('#filter').checkVisibility()") == "False"
    media(tab)
    document = base64.b64decode(tab.call("Page.printToPDF", printBackground=True)["data"])
    assert document.startswith(b"%PDF-") and 3 < document.count(b"/Type /Page\n") + document.count(b"/Type /Page>") < 40


def test_is_readable_without_javascript(show, tab):
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    show("ordinary")
    text = tab.evaluate("document.body.innerText")
    for words in ("5 controls fail", "Domain Users may enroll", "Missing right", "Lifetimes of CRLs", "When certificates end"):
        assert words in text
    useless = "[...document.querySelectorAll('form, button')].filter(e => e.checkVisibility()).length"
    assert found(tab, useless) == 0
