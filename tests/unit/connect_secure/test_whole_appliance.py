# SPDX-License-Identifier: GPL-3.0-or-later
"""All parts of an appliance in one task: the action itself against the stand-in, judged by plain requests on its tree."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import yaml
from ansible.plugins.action.validate_argument_spec import ActionModule as ValidateArgumentSpec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509 import CertificateSigningRequestBuilder

from ansible_collections.certlogon.core.plugins.action.connect_secure_appliance import ActionModule
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import device_certificate_words, gateway
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.pkcs12_memory import SUFFIX
from ansible_collections.certlogon.core.plugins.plugin_utils.connect_secure_rehearsal import rehearse
from ansible_collections.certlogon.core.tests.unit.connect_secure.authorities import Authority, named

NAME, CDP, PASSPHRASE = "vpn.corp.example", "http://crl.corp.example/users.crl", "P12-pass"
PARTS = ["device_certificates", "trusted_client_cas", "auth_servers", "realms", "sign_in_policies"]
RULE = {"name": "All", "roles": ["Users"], "user_name": {"names": ["*"]}}


class Site:
    """The stand-in, the files of one gateway, and tasks of one run after the other."""

    def __init__(self, appliance: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.appliance, self.folder, self.patch = appliance, folder, monkeypatch
        self.ca = Authority("Users CA")
        (folder / "ca.pem").write_text(self.ca.pem)
        self.issuer = Authority("Servers CA")
        self.renew()

    def renew(self) -> None:
        """Another PKCS#12 file of the same name."""
        key = ec.generate_private_key(ec.SECP256R1())
        request = CertificateSigningRequestBuilder(named(NAME)).sign(key, hashes.SHA256())
        self.certificate = self.issuer.sign(request, NAME)
        encryption = serialization.BestAvailableEncryption(PASSPHRASE.encode())
        (self.folder / "vpn.p12").write_bytes(pkcs12.serialize_key_and_certificates(b"x", key, self.certificate, None, encryption))

    @property
    def words(self) -> dict[str, Any]:
        files = {"pkcs12_path": str(self.folder / "vpn.p12"), "pkcs12_passphrase": PASSPHRASE}
        return {
            "gateway": {"server_names": [NAME], "device_certificate": {**files, "external_ports": ["external"], "answers_at": []}},
            "trusted_client_cas": [{"certificate": {"path": str(self.folder / "ca.pem")}, "primary_cdp": CDP}],
            "folder": str(self.folder / "kept"),
            "cdp_check": "skip",
        }

    def run(self, *, check: bool = False, host_vars: dict[str, Any] | None = None, **args: Any) -> dict[str, Any]:
        """One task, in a run of its own."""
        folder = self.folder / f"run{len(list(self.folder.glob('run*')))}"
        folder.mkdir(mode=0o700)
        self.patch.setattr("ansible.constants.DEFAULT_LOCAL_TMP", str(folder))
        action = ActionModule.__new__(ActionModule)
        action._task = SimpleNamespace(args=args, action="whole", check_mode=check, async_val=0, diff=False, delegate_to=None)
        action._connection = SimpleNamespace(transport="local", _shell=SimpleNamespace(tmpdir=None))
        action._templar = SimpleNamespace(template=lambda value: value)
        action._play_context = SimpleNamespace(check_mode=check)
        action._cleanup_remote_tmp = False
        action._used_interpreter = None
        handle = self.appliance.handle
        own = {"inventory_hostname": "vpn1", "ansible_host": handle.address, "ansible_httpapi_port": handle.port}
        own |= {"ansible_user": handle.admin, "ansible_password": handle.password, "ansible_httpapi_ca_path": str(handle.ca_file)}
        own |= {"connect_secure_backup_dir": str(self.folder / "backups"), **(host_vars or {})}
        result: dict[str, Any] = action.run(task_vars=own)
        assert PASSPHRASE not in repr(result) and handle.password not in repr(result)
        return result

    def backups(self) -> int:
        folder = self.folder / "backups"
        return len(list(folder.iterdir())) if folder.exists() else 0

    # ---- the judge

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        handle = self.appliance.handle
        options = {"verify": str(handle.ca_file), "timeout": 10}
        login = requests.post(
            f"{handle.url}/api/v1/realm_auth", auth=(handle.admin, handle.password), json={"realm": handle.realm}, **options
        )
        answer = requests.request(method, f"{handle.url}/api/v1/{path}", json=body, auth=(login.json()["api_key"], ""), **options)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def tree(self) -> Any:
        parts = ("authentication", "users", "administrators", "system/configuration/certificates")
        return [self.ask("GET", f"configuration/{part}") for part in parts]


@pytest.fixture
def site(appliance: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(appliance, tmp_path, monkeypatch)


def summary(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(change["part"], change["action"]) for change in result["changes"]]


def test_full_rhythm(site: Site) -> None:
    """check -> read back -> run -> read back -> run again: unchanged, by as many requests as five tasks needed, and one login."""
    before = site.tree()
    foreseen = site.run(check=True, **site.words)
    assert not foreseen.get("failed"), foreseen
    assert site.tree() == before and site.backups() == 0
    done = site.run(**site.words)
    assert not done.get("failed"), done
    assert summary(foreseen) == summary(done)
    assert [(one["part"], one["name"]) for one in foreseen["changes"]] == [(one["part"], one["name"]) for one in done["changes"]]
    assert list(dict.fromkeys(part for part, _action in summary(done))) == PARTS
    headers = [diff["after_header"] for diff in done["diff"]]
    assert headers == [f"{one['part']}: {one['name']}" for one in done["changes"]]
    realm = done["diff"][headers.index("realms: user realm Certificate Users")]
    assert realm["before"] == {} and realm["after"]["authentication_server"] == "Certificates"
    assert [diff for diff in foreseen["diff"] if "realm" in diff["after_header"]] == [
        diff for diff in done["diff"] if "realm" in diff["after_header"]
    ]
    (certificate,) = done["certificates"]
    assert (certificate["status"], certificate["external_ports"]) == ("valid", ["external"])
    assert certificate["sha256"] == site.certificate.fingerprint(hashes.SHA256()).hex()
    assert done["logins"] == 1 and site.backups() == 1 and Path(done["backup_file"]).is_file()

    tree = site.tree()
    realms = {realm["name"]: realm for realm in tree[1]["user-realms"]["realm"]}
    assert realms["Certificate Users"]["role-mapping-rules"]["rule"][0]["roles"] == ["Users"]
    urls = [policy["url-pattern"] for policy in tree[0]["signin"]["urls"]["access-url"]]
    assert f"{NAME}/" in urls
    again = site.run(**site.words)
    assert (again["changed"], again["changes"], again["diff"]) == (False, [], [])
    assert (again["requests"], again["logins"]) == (11, 1)
    assert site.tree() == tree and site.backups() == 1


def test_what_is_gathered_changes_nothing(site: Site) -> None:
    site.run(**site.words)
    gathered = site.run(state="gathered")["gathered"]
    assert list(gathered) == PARTS
    assert site.run(**gathered, cdp_check="skip")["changed"] is False
    only = site.run(state="gathered", realms=[{"name": "Certificate Users"}])["gathered"]
    assert [realm["name"] for realm in only["realms"]] == ["Certificate Users"] and list(only) == ["realms"]


def test_only_some_parts(site: Site) -> None:
    done = site.run(**site.words, parts=["device_certificates", "trusted_client_cas"])
    assert {part for part, _action in summary(done)} == {"device_certificates", "trusted_client_cas"}
    assert site.run(**site.words, parts=["device_certificates"])["requests"] == 3


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (
            "realms",
            [{"name": "R", "authentication_server": "Certificatse", "role_mapping_rules": [RULE]}],
            r"realms: user realm R: .*Certif",
        ),
        (
            "realms",
            [{"name": "R", "authentication_server": "Certificates", "role_mapping_rules": [{**RULE, "roles": ["Usres"]}]}],
            "realms: user realm R: role_mapping_rules: All: no user role 'Usres'",
        ),
        ("sign_in_policies", [{"url": f"{NAME}/", "realms": ["Nobody"]}], f"sign_in_policies: {NAME}/: realms: no user realm 'Nobody'"),
        (
            "auth_servers",
            [{"name": "X", "type": "certificate", "certificate": {"user_name_template": "<certAttr.CM>"}}],
            "auth_servers: X: .*unknown variable 'certAttr.CM'",
        ),
        ("auth_servers", [{"name": "Certificates", "type": "ldap"}], "auth_servers: name 'Certificates' is listed twice"),
        ("trusted_client_cas", [{"certificate": {"path": "nowhere.pem"}}], "trusted_client_cas"),
        ("device_certificates", [{"common_name": "x" * 65}], r"device_certificates \(x+\): common_name"),
        ("realms", [{"nmae": "R"}], "Unsupported parameters for .*realms.nmae"),
        ("gateway", {"server_names": {"a": 1}}, "server_names"),
        ("gateway", {"user_realm": "R"}, "server_names"),
    ],
)
def test_what_is_wrong_with_one_part_keeps_all_from_being_written(site: Site, option: str, value: Any, message: str) -> None:
    before = site.tree()
    results = [site.run(check=check, **{**site.words, option: value}) for check in (True, False)]
    for result in results:
        assert result["failed"] and not result.get("changed")
    assert results[0]["msg"] == results[1]["msg"]
    assert re.search(message, results[1]["msg"], re.DOTALL), results[1]["msg"]
    assert site.tree() == before and site.backups() == 0


def test_a_failed_part_leaves_out_what_needs_it_and_the_next_run_repairs(site: Site) -> None:
    site.appliance.faults(status={"status": 422, "method": "POST", "path": "auth-server", "times": 1})
    failed = site.run(**site.words)
    assert failed["failed"] and failed["changed"]
    outcome = {one["part"]: one.get("msg", "done") for one in failed["changes"]}
    assert outcome["device_certificates"] == outcome["trusted_client_cas"] == "done"
    assert "HTTP 422" in outcome["auth_servers"]
    assert outcome["realms"] == "not attempted, for auth_servers failed"
    assert outcome["sign_in_policies"] == "not attempted, for auth_servers and realms failed"
    assert "realms: user realm Certificate Users: not attempted" in failed["msg"] and "Maintenance > Import/Export" in failed["msg"]
    assert {diff["after_header"].partition(":")[0] for diff in failed["diff"]} == {"device_certificates", "trusted_client_cas"}
    assert "Certificate Users" not in repr(site.tree())
    repaired = site.run(**site.words)
    assert not repaired.get("failed") and {part for part, _action in summary(repaired)} == {"auth_servers", "realms", "sign_in_policies"}
    assert site.run(**site.words)["changed"] is False


def test_nobody_is_offered_a_way_in_before_crls_are_checked(site: Site) -> None:
    site.appliance.faults(status={"status": 500, "method": "PUT", "path": "trusted-client-ca"})
    failed = site.run(**site.words)
    done = {one["part"] for one in failed["changes"] if not one.get("failed")}
    assert failed["failed"] and done == {"device_certificates", "auth_servers"}


def test_administrators_are_not_locked_out(site: Site) -> None:
    """The guard of the single modules, and with what this very task has made in mind."""
    wanted = {"auth_servers": [{"name": "Cards", "type": "certificate", "certificate": {"user_name_template": "<certAttr.CN>"}}]}
    rule = {"name": "All", "roles": [".Administrators"], "user_name": {"names": ["*"]}}
    wanted["realms"] = [{"name": "Card Admins", "kind": "admin", "authentication_server": "Cards", "role_mapping_rules": [rule]}]
    wanted["sign_in_policies"] = [{"url": "*/admin/", "kind": "admin", "realms": ["Card Admins"], "enabled": False}]
    before = site.tree()
    refused = site.run(**wanted)
    assert refused["failed"] and "no administrator could sign in any more" in refused["msg"] and site.tree() == before
    wanted["sign_in_policies"] = [{"url": "*/cards/", "kind": "admin", "realms": ["Card Admins"]}]
    foreseen, done = site.run(check=True, **wanted), site.run(**wanted)
    assert not done.get("failed") and summary(foreseen) == summary(done), done
    assert site.run(**wanted)["changed"] is False


def test_a_dropped_connection_ends_it(site: Site) -> None:
    site.appliance.faults(drop={"when": "before", "method": "GET", "path": "auth-servers"})
    result = site.run(**site.words)
    assert result["failed"] and "dropped" in result["msg"] and not result.get("changed")


def test_variables_stand_for_options(site: Site) -> None:
    words = site.words
    names = {"gateway": {"server_names": "my_names", "device_certificate": "my_certificate", "user_realm": "not_there"}}
    names |= {"trusted_client_cas": "my_cas", "folder": "my_folder", "url": "empty", "expected_certificates": "costly"}
    values = {"my_names": [NAME], "my_certificate": words["gateway"]["device_certificate"], "my_cas": words["trusted_client_cas"]}
    values |= {"my_folder": words["folder"], "empty": "", "costly": ["/nowhere"]}
    done = site.run(host_vars=values, variables=names, cdp_check="skip")
    assert not done.get("failed"), done
    assert site.run(**words)["changed"] is False
    other = {"gateway": {"server_names": ["other.corp.example"]}, "parts": ["sign_in_policies"]}
    made = site.run(host_vars=values, variables=names, **other)["changes"]
    assert made[0]["name"] == "other.corp.example/", "what the task gives comes first"


def test_the_variables_of_the_role_stand_for_options(site: Site) -> None:
    words = site.words
    values = {"vpn_gateway_server_names": [NAME], "vpn_gateway_device_certificate": words["gateway"]["device_certificate"]}
    values |= {"vpn_gateway_trusted_client_cas": words["trusted_client_cas"], "connect_secure_requests": words["folder"]}
    values |= {"connect_secure_cdp_check": "skip", "connect_secure_anchor_path": "", "__connect_secure_expected": ["/nowhere"]}
    done = site.run(host_vars=values, role_variables="yes")
    assert not done.get("failed"), done
    assert site.run(**words)["changed"] is False
    assert "gateway" in site.run(host_vars=values)["msg"], "nothing is taken from them unasked"


def test_the_variables_of_the_role_are_those_that_it_documents() -> None:
    specification = yaml.safe_load((Path(__file__).parents[3] / "roles/connect_secure_gateway/meta/argument_specs.yml").read_text())
    named = {name for value in gateway.ROLE.values() for name in (value.values() if isinstance(value, dict) else [value])}
    assert named - set(specification["argument_specs"]["main"]["options"]) == {"__connect_secure_expected"}
    assert set(gateway.ROLE["gateway"]) <= set(gateway.OPTIONS) and set(gateway.ROLE) <= set(ActionModule.argument_spec())


@pytest.mark.parametrize(
    "wrong",
    [
        {"vpn_gateway_server_names": {"a": "b"}},
        {"vpn_gateway_device_certificate": "vpn.pem"},
        {"vpn_gateway_trusted_client_cas": "all"},
        {"certlogon_enrollment_method": "carrier pigeon"},
        {"connect_secure_cdp_check": "delegate", "connect_secure_cdp_required": "perhaps"},
        {"vpn_gateway_crl_download_frequency": "now and then"},
        {"connect_secure_health_retries": "often"},
        {"vpn_gateway_radius_servers": [{"port": 1812}]},
        {"vpn_gateway_radius_servers": [{"address": "10.0.0.1", "port": "any", "secret": "never shown"}]},
        {"vpn_gateway_sign_in": "password", "connect_secure_realms": [1]},
    ],
)
def test_wrong_variables_of_the_role_are_refused_as_by_ansible(site: Site, wrong: dict[str, Any]) -> None:
    """So that a play may do without Ansible's own check, which is asked here for what it says."""
    specification = yaml.safe_load((Path(__file__).parents[3] / "roles/connect_secure_gateway/meta/argument_specs.yml").read_text())
    judge = ValidateArgumentSpec.__new__(ValidateArgumentSpec)
    arguments = {"argument_spec": specification["argument_specs"]["main"]["options"]}
    judge._task = SimpleNamespace(args=arguments, action="validate", check_mode=False, async_val=0, diff=False, delegate_to=None)
    judge._connection = SimpleNamespace(transport="local", _shell=SimpleNamespace(tmpdir=None))
    judge._templar = SimpleNamespace(template=lambda value: value)
    judge._play_context, judge._cleanup_remote_tmp, judge._used_interpreter = SimpleNamespace(check_mode=False), False, None
    before = site.tree()
    refused, judged = site.run(host_vars=wrong, role_variables=True), judge.run(task_vars=wrong)
    assert refused["failed"] and refused["msg"] == judged["msg"] and refused["argument_errors"] == judged["argument_errors"]
    assert "requests" not in refused and site.tree() == before, "nothing was asked"
    assert "never shown" not in repr(refused)


def test_an_imported_file_is_not_opened_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is another one, or its certificate has gone; a wrong passphrase is refused then, before anything is written."""
    site.run(**site.words)
    memory = next((site.folder / "kept").rglob(f"*{SUFFIX}"))
    assert PASSPHRASE not in memory.read_text() and memory.stat().st_mode & 0o777 == 0o600
    opened: list[bool] = []
    load = device_certificate_words.pkcs12_file.load
    monkeypatch.setattr(device_certificate_words.pkcs12_file, "load", lambda *args: opened.append(True) or load(*args))
    device_certificate_words._opened.cache_clear()
    assert site.run(**site.words)["changed"] is False and opened == []
    site.renew()
    renewed = site.run(**site.words)
    assert summary(renewed) == [("device_certificates", "update")] and opened == [True]
    path = "configuration/system/configuration/certificates/device-certificates/device-certificate"
    site.ask("PUT", f"{path}/first", {"name": "first", "external-ports": ["external"]})
    memory.write_text("{")
    assert site.run(**site.words)["changed"] is True
    assert len(opened) == 1, "the same process has opened it already"


# ---- the words of a gateway (pure)


# ---- RADIUS in few words

CODES = {"address": "10.0.0.9", "secret": "s3cret-of-both-sides"}


@pytest.mark.parametrize("sign_in", ["certificate_and_radius", "radius"])
def test_codes_in_few_words_in_the_rhythm(site: Site, sign_in: str) -> None:
    """check -> unchanged -> run -> read back -> run again: unchanged; the secret in no result, and written once."""
    words = site.words
    words["gateway"] |= {"sign_in": sign_in, "radius_servers": [CODES, {**CODES, "address": "10.0.0.10"}]}
    before = site.tree()
    foreseen = site.run(check=True, **words)
    assert not foreseen.get("failed") and site.tree() == before, foreseen
    done = site.run(**words)
    assert not done.get("failed") and summary(done) == summary(foreseen), done
    assert CODES["secret"] not in repr((foreseen, done))
    tree = site.tree()
    servers = {server["name"]: server for server in tree[0]["auth-servers"]["auth-server"]}
    assert ("Certificates" in servers) == (sign_in == "certificate_and_radius")
    settings = servers["One-Time Codes"]["radius"]["settings"]
    assert settings["custom-rules"]["rule"] == [
        {
            "name": "Ask what the server asks",
            "response-packet-type": "Access Challenge",
            "attribute": "Reply-Message",
            "operator": "matches the expression",
            "value": "*",
            "action": "show Generic Login page",
        }
    ]
    assert (settings["radius-server"], settings["backup-server"], settings["timeout"], settings["retries"], settings["use-otp-tokens"]) == (
        "10.0.0.9",
        {"radius-server": "10.0.0.10"},
        "60",
        "1",
        "true",
    )
    assert (settings["nas-identifier"], settings["authentication-port"]) == (NAME, "1812")
    secret = site.appliance.handle.state.secret
    assert secret(settings["shared-secret-encrypted"]) == CODES["secret"]
    realm = {realm["name"]: realm for realm in tree[1]["user-realms"]["realm"]}["Certificate Users"]
    if sign_in == "radius":
        assert realm["authentication-server"] == "One-Time Codes" and realm["secondary-authentication-settings"]["name"] == "-"
    else:
        assert realm["authentication-server"] == "Certificates"
        assert realm["secondary-authentication-settings"] == {
            "name": "One-Time Codes",
            "username-template": "<USER>",
            "end-session-if-authentication-fails": "true",
        }
    other = [{**CODES, "secret": "another-s3cret"}, {**CODES, "address": "10.0.0.10", "secret": "another-s3cret"}]
    words["gateway"] |= {"radius_servers": other}
    assert not site.run(**words)["changed"], "the appliance does not tell its secret"
    words["gateway"] |= {"radius_update_secret": True}
    assert [change["name"] for change in site.run(**words)["changes"]] == ["One-Time Codes"]
    found = site.ask("GET", "configuration/authentication/auth-servers/auth-server/One-Time%20Codes")["radius"]["settings"]
    assert secret(found["shared-secret-encrypted"]) == "another-s3cret"


def realm_of(site: Site) -> tuple[str, str]:
    realms = site.tree()[1]["user-realms"]["realm"]
    realm = next(realm for realm in realms if realm["name"] == "Certificate Users")
    return realm["authentication-server"], realm["secondary-authentication-settings"]["name"]


def test_another_sign_in_leaves_nothing_of_the_one_before(site: Site) -> None:
    """Whichever follows whichever; an additional server that somebody else set stays."""
    words = site.words
    expected = {
        "certificate": ("Certificates", "-"),
        "certificate_and_radius": ("Certificates", "One-Time Codes"),
        "radius": ("One-Time Codes", "-"),
    }
    for sign_in in ("certificate", "certificate_and_radius", "certificate", "radius", "certificate_and_radius", "radius", "certificate"):
        words["gateway"] |= {"sign_in": sign_in, "radius_servers": [CODES]}
        done = site.run(**words)
        assert not done.get("failed"), done
        assert realm_of(site) == expected[sign_in]
        assert not site.run(**words)["changed"], sign_in
    realm = "configuration/users/user-realms/realm/Certificate%20Users"
    site.ask("PUT", realm, {"secondary-authentication-settings": {"name": "System Local", "username-template": "<USER>"}})
    assert not site.run(**words)["changed"] and realm_of(site) == ("Certificates", "System Local")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "radius_servers: there is none, and sign_in is radius; name one, with address and secret"),
        ({"radius_servers": [CODES] * 3}, "radius_servers: are 3; the appliance takes one and a backup"),
        ({"radius_servers": [CODES, {**CODES, "port": 1645}]}, "radius_servers: differ in port or secret"),
        ({"radius_servers": [{"address": "10.0.0.9"}]}, "missing required arguments: secret"),
        ({"radius_servers": [{**CODES, "port": 70000}]}, "radius.port: 70000 is no port"),
        ({"radius_servers": "10.0.0.9"}, "radius_servers"),
    ],
)
def test_radius_servers_that_will_not_do(site: Site, words: dict[str, Any], message: str) -> None:
    before = site.tree()
    wanted = site.words
    wanted["gateway"] |= {"sign_in": "radius", **words}
    refused = site.run(**wanted)
    assert refused["failed"] and message in refused["msg"], refused["msg"]
    assert site.tree() == before and CODES["secret"] not in repr(refused)


ADMINS = {"name": "Helpers", "kind": "admin", "authentication_server": "Administrators"}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"realms": [ADMINS], "sign_in_policies": [{"url": "help.corp.example/", "realms": ["Helpers"]}]},
            "realms: 'Helpers' is one of admin realms, and this is a policy of kind user",
        ),
        (
            {
                "auth_servers": [{"name": "Second", "certificate": {"user_name_template": "<certDN.CN>"}}],
                "realms": [{"name": "R", "authentication_server": "Second", "secondary_authentication": {"server": "Second"}}],
            },
            "secondary_authentication.server: 'Second' is a certificate server, which can only be the first one",
        ),
    ],
)
def test_what_is_about_to_be_made_is_known_by_its_kind(site: Site, parts: dict[str, Any], message: str) -> None:
    """Dry run and run say the same, before anything is written."""
    words = {name: words for name, words in site.words.items() if name != "gateway"}
    before = site.tree()
    told = [site.run(check=check, **{**words, **parts}) for check in (True, False)]
    assert [one.get("failed") for one in told] == [True, True] and all(message in one["msg"] for one in told), told
    assert site.tree() == before and site.backups() == 0


def test_a_gateway_in_few_words() -> None:
    found = gateway.expanded(
        {"gateway": {"server_names": ["a.example", "b.example"], "user_roles": ["Staff"]}, "trusted_client_cas": [{"name": "CA"}]}
    )
    assert found["device_certificates"] == [
        {
            "common_name": "a.example",
            "server_names": ["a.example", "b.example"],
            "external_ports": ["External Port"],
            "answers_at": ["a.example:443"],
        }
    ]
    assert [policy["url"] for policy in found["sign_in_policies"]] == ["a.example/", "b.example/"]
    assert found["realms"][0]["role_mapping_rules"][0]["roles"] == ["Staff"]
    assert found["trusted_client_cas"] == [
        {"status_checking": "crl", "crl_download_frequency": 1, "cdp_source": "client_certificate", "name": "CA"}
    ]
    assert [server["name"] for server in found["auth_servers"]] == ["Certificates"]


@pytest.mark.parametrize(
    ("given", "part", "wanted"),
    [
        ({"realms": [{"name": "R"}]}, "realms", [{"name": "R"}]),
        ({"device_certificates": []}, "device_certificates", []),
        ({"sign_in_policies": [{"url": "*/"}]}, "sign_in_policies", [{"url": "*/"}]),
        ({"realms": None}, "realms", gateway.expanded({"gateway": {"server_names": ["a"]}})["realms"]),
    ],
)
def test_parts_that_are_given_stay(given: dict[str, Any], part: str, wanted: Any) -> None:
    assert gateway.expanded({"gateway": {"server_names": ["a"]}, **given})[part] == wanted


@pytest.mark.parametrize(
    ("entry", "settings"),
    [
        ({"primary_cdp": "http://c/"}, ("crl", "manual", 4)),
        ({"primary_cdp": None}, ("crl", "client_certificate", 4)),
        ({"status_checking": "ocsp", "cdp_source": "ca_certificate", "crl_download_frequency": 9}, ("ocsp", "ca_certificate", 9)),
    ],
)
def test_cas_are_told_what_they_leave_open(entry: dict[str, Any], settings: tuple[Any, ...]) -> None:
    words = {"gateway": {"server_names": "a", "crl_download_frequency": 4}, "trusted_client_cas": [entry]}
    (found,) = gateway.expanded(words)["trusted_client_cas"]
    assert (found["status_checking"], found["cdp_source"], found["crl_download_frequency"]) == settings


def test_users_come_by_ipv6() -> None:
    (entry,) = gateway.expanded({"gateway": {"server_names": [NAME], "users_address": "2001:db8::1"}})["device_certificates"]
    assert device_certificate_words.endpoint(entry["answers_at"][0]) == ("2001:db8::1", 443)


@pytest.mark.parametrize("given", [True, "True", "yes", "on", "1"])
def test_the_secret_is_written_anew_however_true_is_written(given: Any) -> None:
    """Extra variables (-e name=True) are texts."""
    servers = [{"address": "r", "secret": "s"}]
    words = {"server_names": [NAME], "sign_in": "radius", "radius_servers": servers, "radius_update_secret": given}
    assert gateway.expanded({"gateway": words})["auth_servers"][0]["update_secrets"] == "always"
    assert gateway.expanded({"gateway": {**words, "radius_update_secret": "False"}})["auth_servers"][0]["update_secrets"] == "on_create"


@pytest.mark.parametrize("words", [None, "text", {}, {"server_names": None}, {"server_names": []}, {"server_names": 7.5}])
def test_words_that_are_not_well_formed_are_left_to_the_checks(words: Any) -> None:
    assert set(gateway.expanded({"gateway": words, "host": "h"})) <= {"gateway", "host", *PARTS}


# ---- before tasks are forked


def test_the_rehearsal_is_of_an_appliance_that_is_as_it_should_be() -> None:
    """Else it would not go the way that most tasks go. A part that it does not play would be begun anew by each task."""
    (result,) = rehearse(ActionModule.validator(), ActionModule.resource, times=1)
    assert (result["changed"], result["changes"], result.get("msg")) == (False, [], None)
    assert [one["status"] for one in result["certificates"]] == ["valid"]
