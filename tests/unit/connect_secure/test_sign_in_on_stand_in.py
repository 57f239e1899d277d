# SPDX-License-Identifier: GPL-3.0-or-later
"""Authentication servers, realms and sign-in policies in their full rhythm against the stand-in; plain requests read back what came."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any
from urllib.parse import quote

import pytest
import requests
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.auth_servers import AuthServers
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import RUN, Run
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.realms import AuthenticationRealms
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.sign_in_policies import ORDER, SignInPolicies
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Resource, run

SERVERS, REALMS, POLICIES = AuthServers(), AuthenticationRealms(), SignInPolicies()
CARDS = {"name": "Cards", "type": "certificate", "certificate": {"user_name_template": "<certAttr.altName.UPN>"}}
RADIUS = {"name": "OTP", "radius": {"host": "radius.corp.example", "secret": "s3cret-one", "challenge_rules": [{"name": "Code"}]}}
LDAP = {"name": "AD", "type": "ldap", "ldap": {"host": "dc1.corp.example", "bind_dn": "CN=vpn", "bind_password": "s3cret-two"}}
RULE = {"name": "All", "roles": ["Users"], "user_name": {"names": ["*"]}}
REALM = {"name": "Card users", "authentication_server": "Cards", "role_mapping_rules": [RULE]}
PATHS = {
    "server": "configuration/authentication/auth-servers/auth-server",
    "user": "configuration/users/user-realms/realm",
    "admin": "configuration/administrators/admin-realms/realm",
    "url": "configuration/authentication/signin/urls/access-url",
}


class Site:
    """An appliance with what works on it, and the judge beside it."""

    def __init__(self, appliance: Any) -> None:
        self.appliance, self.handle = appliance, appliance.handle
        self.warnings: list[str] = []
        self.last = Run()
        self.judge = requests.Session()
        self.judge.trust_env, self.judge.verify = False, str(self.handle.ca_file)

    def run(self, resource: Resource[Any, Any], config: Any, *, check: bool = False, **task: Any) -> dict[str, Any]:
        arguments = {**self.appliance.params, "backup": False, "config": deepcopy(config), **task}
        checked = ArgumentSpecValidator(resource.argument_spec(), **resource.rules()).validate(arguments)
        assert not checked.error_messages, checked.error_messages
        self.warnings, self.last = [], Run()
        return run(resource, {**checked.validated_parameters, RUN: self.last}, check_mode=check, warn=self.warnings.append)

    def rhythm(self, resource: Resource[Any, Any], config: Any, **task: Any) -> dict[str, Any]:
        """check -> read back -> run -> read back -> run again -> unchanged; and what was predicted came."""
        before = self.tree()
        predicted = self.run(resource, config, check=True, **task)
        assert self.tree() == before, "check mode wrote"
        done = self.run(resource, config, **task)
        warnings = self.warnings
        assert not done.get("failed"), done
        assert predicted["changed"] and done["changed"]
        assert predicted["changes"] == done["changes"]
        assert predicted["diff"] == done["diff"]
        assert "s3cret" not in repr((predicted, done, warnings))
        after = self.tree()
        assert after != before
        again = self.run(resource, config, **task)
        assert (again["changed"], again["changes"], self.tree()) == (False, [], after)
        assert self.last.requests <= 8
        self.warnings = warnings
        return done

    def fails(self, resource: Resource[Any, Any], config: Any, **task: Any) -> str:
        """Refused before anything is written, in check mode as well; the message."""
        before = self.tree()
        texts = []
        for check in (True, False):
            with pytest.raises(UserError) as caught:
                self.run(resource, config, check=check, **task)
            texts.append(str(caught.value))
        assert self.tree() == before, "something was written"
        assert texts[0] == texts[1]
        return texts[0]

    # ---- the judge

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        url = f"{self.handle.url}/api/v1"
        if not self.judge.auth:
            login = self.judge.post(f"{url}/realm_auth", auth=(self.handle.admin, self.handle.password), json={"realm": self.handle.realm})
            self.judge.auth = (login.json()["api_key"], "")
        answer = self.judge.request(method, f"{url}/{path}", json=body, timeout=10)
        assert answer.status_code in (200, 201, 204), answer.text
        return answer.json() if answer.content else None

    def tree(self) -> Any:
        return [self.ask("GET", f"configuration/{part}") for part in ("authentication", "users", "administrators")]

    def element(self, kind: str, name: str) -> Any:
        return self.ask("GET", f"{PATHS[kind]}/{quote(name, safe='')}")

    def urls(self) -> list[str]:
        return [entry["url-pattern"] for entry in self.ask("GET", PATHS["url"].rpartition("/")[0])["access-url"]]

    def console(self, path: str, body: Mapping[str, Any], *, method: str, watch: str) -> None:
        """Somebody else changes this just before the next such request."""
        self.appliance.faults(console={"method": method, "path": watch, "change": [{"path": path, "body": dict(body)}]})


@pytest.fixture
def site(appliance: Any) -> Site:
    return Site(appliance)


@pytest.fixture
def cards(site: Site) -> Site:
    """With a certificate server and a realm of it."""
    assert site.run(SERVERS, [CARDS, RADIUS])["changed"]
    assert site.run(REALMS, [REALM])["changed"]
    return site


# ---- servers


def test_servers(site: Site) -> None:
    done = site.rhythm(SERVERS, [CARDS, RADIUS, LDAP])
    assert [(one["name"], one["action"]) for one in done["changes"]] == [("Cards", "create"), ("OTP", "create"), ("AD", "create")]
    assert site.element("server", "Cards")["certificate"]["settings"]["user-name-template"] == "<certAttr.altName.UPN>"
    radius = site.element("server", "OTP")["radius"]["settings"]
    assert radius["radius-server"] == "radius.corp.example"
    assert radius["custom-rules"]["rule"] == [
        {
            "name": "Code",
            "response-packet-type": "Access Challenge",
            "attribute": "Reply-Message",
            "operator": "matches the expression",
            "value": "*",
            "action": "show Generic Login page",
        }
    ]
    assert site.handle.state.secret(radius["shared-secret-encrypted"]) == "s3cret-one"
    ldap = site.element("server", "AD")["ldap"]["settings"]
    assert (ldap["connection"], ldap["ldap-port"], ldap["validate-server-certificate"]) == ("LDAPS", "636", "true")

    gathered = site.run(SERVERS, None, state="gathered")["gathered"]
    assert [one["name"] for one in gathered] == ["Cards", "OTP", "AD"]
    assert not site.run(SERVERS, [dict(one) for one in gathered], state="replaced")["changed"], "gathered is not what config accepts"

    site.rhythm(SERVERS, [{"name": "OTP", "radius": {"timeout": 5, "challenge_rules": [{"name": "PIN", "action": "show_new_pin"}]}}])
    radius = site.element("server", "OTP")["radius"]["settings"]
    assert [rule["name"] for rule in radius["custom-rules"]["rule"]] == ["Code", "PIN"]
    assert (radius["timeout"], radius["radius-server"]) == ("5", "radius.corp.example")
    site.rhythm(SERVERS, [{"name": "OTP", "radius": {"host": "other.corp.example"}}], state="replaced")
    radius = site.element("server", "OTP")["radius"]["settings"]
    assert (radius["custom-rules"]["rule"], radius["timeout"], radius["radius-server"]) == ([], "5", "other.corp.example")
    assert site.handle.state.secret(radius["shared-secret-encrypted"]) == "s3cret-one"

    site.rhythm(SERVERS, [{"name": "OTP"}, {"name": "AD"}, {"name": "never was"}], state="deleted")


def test_secrets_are_written_when_asked(site: Site) -> None:
    site.run(SERVERS, [RADIUS])
    newer = {**RADIUS, "radius": {**RADIUS["radius"], "secret": "s3cret-new"}}
    assert not site.run(SERVERS, [newer])["changed"]
    done = site.run(SERVERS, [{**newer, "update_secrets": "always"}])
    assert done["changed"]
    assert not done.get("failed"), done
    assert done["diff"][0]["after"] == {"secrets": "written"}
    assert "s3cret" not in repr(done)
    assert site.handle.state.secret(site.element("server", "OTP")["radius"]["settings"]["shared-secret-encrypted"]) == "s3cret-new"


WRONG_SERVERS = [
    ({"name": "AD", "ldap": {"host": "ldaps://dc1"}}, "ldap.host: 'ldaps://dc1' is no host name or address"),
    ({"name": "X", "certificate": {"user_name_template": "<certAttr.altName.UNP>"}}, "did you mean 'certAttr.altName.UPN'?"),
    ({"name": "X", "certificate": {"user_name_template": "<certDN.CN"}}, "without its partner"),
    ({"name": "X"}, "type: is missing, and there is no such server yet"),
    ({"name": "X", "type": "ldap", "radius": {"host": "h"}}, "radius: is not for a server of type ldap"),
    ({"name": "X", "radius": {"host": "h"}}, "radius.secret: is missing"),
    ({"name": "X", "radius": {"secret": "s"}}, "radius.host: is missing"),
    ({"name": "X", "ldap": {"host": "h", "port": 0}}, "ldap.port: 0 is no port"),
    ({"name": "Administrators", "type": "ldap", "ldap": {"host": "h"}}, "is a server of type local, which is not managed here"),
    ({"name": "cards", "certificate": {}}, "'cards' is there as 'Cards'"),
    ({"name": "Cards", "ldap": {"host": "h"}}, "type: is certificate and cannot become ldap"),
]


def test_servers_refused(cards: Site) -> None:
    for entry, message in WRONG_SERVERS:
        assert message in cards.fails(SERVERS, [{"name": "Good", **{key: CARDS[key] for key in ("type", "certificate")}}, entry]), entry
    assert "is used by user realm 'Card users'" in cards.fails(SERVERS, [{"name": "Cards"}], state="deleted")
    template = {"name": "Cards", "certificate": {"user_name_template": "<certDN.DC>"}}
    cards.rhythm(SERVERS, [template], allow_unknown_variables=True)
    assert ["unknown variable 'certDN.DC'" in text for text in cards.warnings if "template" in text] == [True]


# ---- realms


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (" ", "is empty; give a name"),
        ("..", "would mean another path"),
        ("None", "writes for nothing at all"),
        ("A\nB", "cannot be printed"),
        ("A ", "has spaces around it"),
    ],
)
def test_names_that_mean_something_else(site: Site, name: str, why: str) -> None:
    for resource, entry in ((SERVERS, CARDS), (REALMS, REALM)):
        assert why in site.fails(resource, [{**entry, "name": name}])
    assert site.last.requests == 0


def test_realms(site: Site) -> None:
    site.run(SERVERS, [CARDS, RADIUS])
    full = {
        **REALM,
        "directory_server": "System Local",
        "accounting_server": "OTP",
        "secondary_authentication": {"server": "OTP", "user_name": "<USER>", "end_session_on_failure": True},
        "certificate_restriction": {"mode": "required", "rules": [{"attribute": "issuerDN.CN", "value": "Corp User CA"}]},
        "role_mapping_rules": [RULE, {"name": "Sales", "roles": ["Users"], "stop": True, "expression": 'certDN.OU = "Sales"'}],
    }
    done = site.rhythm(REALMS, [full])
    assert done["changes"] == [{"name": "user realm Card users", "action": "create"}]
    wire = site.element("user", "Card users")
    assert wire["authentication-server"] == "Cards"
    assert wire["secondary-authentication-settings"]["name"] == "OTP"
    assert wire["authentication-policy"]["certificate"]["certificate-restriction"].startswith(
        "Only allow users with a client-side certificate"
    )
    assert wire["role-mapping-rules"]["rule"] == [
        {"name": "All", "roles": ["Users"], "stop-rules-processing": "false", "user-name": {"test": "is", "user-names": ["*"]}},
        {
            "name": "Sales",
            "roles": ["Users"],
            "stop-rules-processing": "true",
            "custom-expression": {"expressions": 'certDN.OU = "Sales"'},
        },
    ]
    gathered = site.run(REALMS, None, state="gathered")["gathered"]
    assert [(one["kind"], one["name"]) for one in gathered] == [("user", "Users"), ("user", "Card users"), ("admin", "Admin Users")]
    assert not site.run(REALMS, gathered, state="replaced")["changed"]
    assert site.last.requests < 8

    # by name: one rule changes its condition, one is new and comes after it, the order of config is that of the realm
    rules = [{"name": "Sales", "user_name": {"names": ["alice"]}}, {"name": "New", "roles": ["Users"], "expression": "x"}, {"name": "All"}]
    site.rhythm(REALMS, [{"name": "Card users", "role_mapping_rules": rules, "secondary_authentication": {"server": ""}}])
    wire = site.element("user", "Card users")
    assert [rule["name"] for rule in wire["role-mapping-rules"]["rule"]] == ["Sales", "New", "All"]
    sales = wire["role-mapping-rules"]["rule"][0]
    assert (sales["user-name"]["user-names"], "custom-expression" in sales, sales["stop-rules-processing"]) == (["alice"], False, "true")
    assert wire["secondary-authentication-settings"]["name"] == "-"

    site.rhythm(REALMS, [REALM], state="replaced")
    wire = site.element("user", "Card users")
    assert [rule["name"] for rule in wire["role-mapping-rules"]["rule"]] == ["All"]
    assert (wire["directory-server"], wire["accounting-server"]) == ("None", "None")
    assert wire["authentication-policy"]["certificate"]["certificate-restriction"] == "Allow all users"
    site.rhythm(REALMS, [{"name": "Card users"}], state="deleted")


def test_realms_refused(cards: Site) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"authentication_server": "Crads"}, "authentication_server: no authentication server 'Crads'; did you mean 'Cards'?"),
        ({"authentication_server": ""}, "authentication_server: is missing"),
        ({"directory_server": "AD"}, "directory_server: no authentication server 'AD'; there are 'Administrators', 'Cards', 'OTP'"),
        (
            {"authentication_server": "OTP", "secondary_authentication": {"server": "Cards"}},
            "'Cards' is a certificate server, which can only",
        ),
        ({"secondary_authentication": {"server": "OPT"}}, "secondary_authentication.server: no authentication server 'OPT'; did you mean"),
        (
            {"secondary_authentication": {"server": "OTP", "retired_server": "OTP"}},
            "retired_server: is the server itself; leave one of both",
        ),
        ({"role_mapping_rules": [{**RULE, "roles": ["User"]}]}, "role_mapping_rules: All: no user role 'User'; did you mean 'Users'?"),
        ({"role_mapping_rules": [{**RULE, "roles": [".Administrators"]}]}, "no user role '.Administrators'"),
        ({"role_mapping_rules": [RULE, RULE]}, "'All' is listed twice"),
        ({"role_mapping_rules": [{**RULE, "expression": "x"}]}, "All: has user_name and expression; a rule has one condition"),
        ({"role_mapping_rules": [{"name": "N", "roles": ["Users"]}]}, "role_mapping_rules: N: has no condition"),
        ({"role_mapping_rules": [{**RULE, "roles": []}]}, "roles is empty"),
        ({"certificate_restriction": {"mode": "none", "rules": [{"attribute": "a", "value": "b"}]}}, "mean nothing with mode none"),
    ]
    for change, message in wrong:
        good = {**REALM, "name": "Good", "role_mapping_rules": [{**RULE, "name": "Other"}]}
        assert message in cards.fails(REALMS, [good, {**REALM, "name": "New", **change}]), change
    cards.run(POLICIES, [{"url": "*/cards/", "realms": ["Card users"]}])
    assert "is offered by the sign-in policies */cards/" in cards.fails(REALMS, [{"name": "Card users"}], state="deleted")


def test_check_mode_knows_what_an_earlier_task_would_make(site: Site) -> None:
    wanted = {**REALM, "role_mapping_rules": [{**RULE, "roles": ["Staff"]}]}
    predicted = site.run(REALMS, [wanted], check=True, expected_servers=["Cards"], expected_roles=["Staff"])
    assert predicted["changes"] == [{"name": "user realm Card users", "action": "create"}]


# ---- sign-in policies


def test_sign_in_policies(cards: Site) -> None:
    assert cards.urls() == ["*/admin/", "*/"]
    config = [{"url": "vpn.corp.example/", "realms": ["Card users"]}, {"url": "*/", "realms": ["Card users", "Users"]}]
    done = cards.rhythm(POLICIES, config)
    assert [(one["name"], one["action"]) for one in done["changes"]] == [
        ("vpn.corp.example/", "create"),
        ("*/", "update"),
        (ORDER, "update"),
    ]
    assert cards.urls() == ["*/admin/", "vpn.corp.example/", "*/"]
    assert cards.element("url", "*/")["user"]["realms"] == ["Card users", "Users"]
    assert cards.warnings == []
    gathered = cards.run(POLICIES, None, state="gathered")["gathered"]
    assert [one["url"] for one in gathered] == cards.urls()
    assert not cards.run(POLICIES, gathered, state="replaced")["changed"]

    done = cards.rhythm(POLICIES, [{"url": "*/"}, {"url": "vpn.corp.example/"}])
    assert [one["name"] for one in done["changes"]] == [ORDER]
    assert done["diff"][0]["after"] == {"urls": ["*/admin/", "*/", "vpn.corp.example/"]}
    assert cards.urls() == ["*/admin/", "*/", "vpn.corp.example/"]
    [warning] = cards.warnings
    assert warning.startswith("vpn.corp.example/: nobody gets to this sign-in policy, for */ before it serves the same addresses")

    cards.rhythm(POLICIES, [{"url": "*/", "realms": ["Users"], "enabled": False}], state="replaced")
    assert cards.element("url", "*/")["enabled"] == "false"
    assert cards.element("url", "*/")["user"]["realms"] == ["Users"]
    cards.rhythm(POLICIES, [{"url": "vpn.corp.example/"}], state="deleted")


def test_a_policy_is_put_before_the_wildcard_that_would_hide_it(cards: Site) -> None:
    config = [{"url": "vpn.corp.example/", "realms": ["Card users"]}, {"url": "vpn.corp.example/staff/", "realms": ["Card users"]}]
    cards.rhythm(POLICIES, config)
    assert cards.urls() == ["*/admin/", "vpn.corp.example/", "vpn.corp.example/staff/", "*/"] and cards.warnings == []


def test_sign_in_policies_refused(cards: Site) -> None:
    wrong = [
        ({"url": "x.corp.example/", "realms": ["Card user"]}, "realms: no user realm 'Card user'; did you mean 'Card users'?"),
        ({"url": "x.corp.example/", "realms": ["Admin Users"]}, "'Admin Users' is one of admin realms, and this is a policy of kind user"),
        ({"url": "x.corp.example/", "kind": "admin", "realms": ["Users"]}, "'Users' is one of user realms"),
        ({"url": "x.corp.example/"}, "realms: is missing"),
        ({"url": "https://x/", "realms": ["Users"]}, "without https://"),
        ({"url": "*/admin", "kind": "admin", "realms": ["Admin Users"]}, "'*/admin' is there as '*/admin/'"),
        ({"url": "*/admin/", "kind": "user", "realms": ["Users"]}, "kind: is admin and cannot become user"),
    ]
    for entry, message in wrong:
        assert message in cards.fails(POLICIES, [{"url": "good.corp.example/", "realms": ["Users"]}, entry]), entry


# ---- lock-out guard


def test_last_way_in_is_kept(cards: Site) -> None:
    admin = {"name": "Admin Users", "kind": "admin"}
    assert "no administrator could sign in any more: */admin/ with realm" in cards.fails(POLICIES, [{"url": "*/admin/"}], state="deleted")
    assert "would be the last to go" in cards.fails(POLICIES, [{"url": "*/admin/", "enabled": False}])
    assert "is offered by the sign-in policies */admin/" in cards.fails(REALMS, [admin], state="deleted")
    assert "is the one that this task itself signs in with" in cards.fails(REALMS, [admin], state="deleted")
    other = {"name": "Other admins", "kind": "admin", "authentication_server": "Administrators"}
    rule = {"name": "All", "roles": [".Administrators"], "user_name": {"names": ["*"]}}
    cards.rhythm(REALMS, [{**other, "role_mapping_rules": [rule]}])
    cards.rhythm(POLICIES, [{"url": "*/other/", "kind": "admin", "realms": ["Other admins"]}])
    assert cards.run(POLICIES, [{"url": "*/admin/", "enabled": False}], realm="Other admins")["changed"]
    assert cards.element("url", "*/admin/")["enabled"] == "false"
    swap = [{"url": "*/admin/", "enabled": True}, {"url": "*/other/", "enabled": False}]
    with pytest.raises(UserError, match="nothing has proved that it works"):
        cards.run(POLICIES, swap, realm="Other admins")
    cards.run(POLICIES, swap[:1], realm="Other admins")
    done = cards.run(POLICIES, swap, realm="Other admins")
    assert done["failed"], "the way that the task itself signs in was closed"
    assert "could not sign in any more" in done["msg"]
    assert cards.element("url", "*/other/")["enabled"] == "true"
    assert cards.run(POLICIES, swap)["changed"], "through the other realm it is allowed"


def test_own_realm_is_proved_by_a_second_login(cards: Site) -> None:
    before = cards.element("admin", "Admin Users")
    logins = cards.handle.metrics["logins"]
    rules = [{"name": "Cards", "roles": [".Administrators"], "expression": "x"}]
    config = [{"name": "Admin Users", "kind": "admin", "role_mapping_rules": rules}, {**REALM, "name": "Second"}]
    done = cards.run(REALMS, config)
    assert not done.get("failed"), done
    assert [one["name"] for one in done["changes"]] == ["user realm Second", "admin realm Admin Users"], "the own realm is not the last"
    assert cards.handle.metrics["logins"] == logins + 2
    assert cards.last.logins == 2
    assert [rule["name"] for rule in cards.element("admin", "Admin Users")["role-mapping-rules"]["rule"]] == ["Administrators", "Cards"]
    cards.run(REALMS, [{"name": "Admin Users", "kind": "admin", "role_mapping_rules": []}], state="gathered")

    locked = [
        ({"authentication_server": "Cards"}, "could not sign in any more"),
        ({"certificate_restriction": {"mode": "required"}}, "requires a client certificate"),
        ({"secondary_authentication": {"server": "OTP"}}, "second authentication"),
        ({"role_mapping_rules": [{"name": "Administrators", "user_name": {"names": ["nobody"]}}]}, "no role is mapped"),
    ]
    stable = cards.element("admin", "Admin Users")
    for change, message in locked:
        done = cards.run(REALMS, [{"name": "Admin Users", "kind": "admin", **change}])
        assert done["failed"], change
        assert message in done["msg"], done["msg"]
        assert "the old values were written back" in done["msg"]
        now = cards.element("admin", "Admin Users")
        for member in (*before, "role-mapping-rules"):
            same = {key: value for key, value in now.items() if key == member}
            assert same == {key: value for key, value in stable.items() if key == member} or member == "secondary-authentication-settings"
        assert now["secondary-authentication-settings"]["name"] == "-"


# ---- bad days


def test_changed_meanwhile(cards: Site) -> None:
    path = f"{PATHS['user']}/{quote('Card users')}"
    cards.console(path, {"authentication-server": "OTP"}, method="GET", watch="realm/Card")
    done = cards.run(REALMS, [{"name": "Card users", "directory_server": "System Local"}, {**REALM, "name": "Second"}])
    assert done["failed"]
    assert done["changes"][0]["msg"].startswith(
        "changed meanwhile by somebody else: authentication_server was 'Cards', is 'OTP'; nothing was written to it"
    )
    assert "best effort" in done["msg"]
    assert done["changes"][1] == {"name": "user realm Second", "action": "create"}, "the other object was not attempted"
    assert cards.element("user", "Card users")["directory-server"] == "None"
    assert cards.run(REALMS, [{"name": "Card users", "directory_server": "System Local"}])["changed"]
    assert cards.element("user", "Card users")["authentication-server"] == "OTP", "somebody else's change was undone"


def test_order_changed_meanwhile(cards: Site) -> None:
    cards.appliance.faults(
        console={
            "method": "GET",
            "path": "signin/urls",
            "after": 2,
            "change": [{"path": f"{PATHS['url']}/new%2F", "body": {"enabled": "true", "user": {"realms": ["Users"]}}}],
        }
    )
    done = cards.run(POLICIES, [{"url": "*/"}, {"url": "*/admin/"}])
    assert done["failed"]
    assert "changed meanwhile: somebody else has made new/" in done["msg"]
    assert cards.urls() == ["*/admin/", "*/", "new/"]
    assert cards.run(POLICIES, [{"url": "*/"}, {"url": "*/admin/"}])["changed"]
    assert cards.urls() == ["*/", "*/admin/", "new/"]


def test_a_run_that_breaks_off_is_taken_up_by_the_next(site: Site) -> None:
    site.appliance.faults(drop={"method": "POST", "after": 2, "when": "after", "times": 1})
    done = site.run(SERVERS, [CARDS, RADIUS, LDAP])
    assert done["failed"]
    assert [one.get("msg", "").partition(":")[0] for one in done["changes"]][2] == "not attempted"
    site.appliance.faults()
    assert [one["name"] for one in site.run(SERVERS, [CARDS, RADIUS, LDAP])["changes"]] == ["AD"]


def test_foreign_members_of_rules_stay(cards: Site) -> None:
    """Rules may have conditions of kinds that are not managed here; the stand-in knows none, so this one has a plan only."""
    resource = AuthenticationRealms()
    known = {"name": "Groups", "roles": ["Users"], "stop-rules-processing": "false", "ldap-group": {"groups": ["G"]}}

    class Session:
        table = cards.appliance.session().table

        def list(self, kind: str) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = cards.appliance.session().list(kind)
            return [{**one, "role-mapping-rules": {"rule": [known]}} if one.get("name") == "Card users" else one for one in found]

    params = {
        "state": "merged",
        "config": [{**REALM, "kind": "user"}],
        "realm": "Admin Users",
        "expected_servers": [],
        "expected_roles": [],
    }
    plan = resource.plan(params, resource.read(Session(), params))  # type: ignore[arg-type]
    [change] = plan.changes
    rules = change.details.body["role-mapping-rules"]["rule"]
    assert known in rules
    assert [rule["name"] for rule in rules] == ["Groups", "All"]


def test_an_older_appliance_that_lists_names_only(another_appliance: Callable[..., Any]) -> None:
    site = Site(another_appliance(version="9.1R13", shallow=True))
    for resource, config in ((SERVERS, [CARDS]), (REALMS, [REALM]), (POLICIES, [{"url": "vpn.corp.example/", "realms": ["Card users"]}])):
        assert site.run(resource, config, generation="pulse")["changed"]
        assert not site.run(resource, config, generation="pulse")["changed"]
        assert not site.run(resource, [])["changed"]
    assert site.run(REALMS, [{"name": "Admin Users", "kind": "admin", "certificate_restriction": {"mode": "optional"}}])["changed"]
    assert ["old login asks the server Administrators" in text for text in site.warnings] == [True]


def test_an_inventory_that_knows_better(site: Site) -> None:
    """A line of the table that the inventory overrides is what is written and what messages name."""
    line = {"at": "certificate/settings/user-name-templat", "type": "text"}
    table = {"resources": {"auth_server": {"fields": {"certificate.user_name_template": line}}}}
    done = site.run(SERVERS, [CARDS], table=table)
    assert done["failed"]
    assert "certificate/settings/user-name-templat is not modelled here" in done["msg"]
