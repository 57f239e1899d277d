# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import string
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab import company, domain, processes, root, settings
from lab.__main__ import main, table
from lab.errors import LabError
from lab.labs import Lab
from lab.progress import Progress


def test_a_dn_and_an_account_name_occur_once():
    entries = company.entries()
    dns = [dn.lower() for dn, _attributes in entries]
    names = [attributes["sAMAccountName"] for _dn, attributes in entries if "sAMAccountName" in attributes]
    assert len(dns) == len(set(dns))
    assert len(names) == len(set(names)) > 40


def test_parents_come_before_children():
    seen = {"CN=Password Settings Container,CN=System,"}
    for dn, attributes in company.entries():
        parent = dn.partition(",")[2]
        assert parent == "" or parent in seen, dn
        if attributes["objectClass"] == "organizationalUnit":
            seen.add(dn)


def test_members_exist():
    names = {attributes.get("sAMAccountName") for _dn, attributes in company.entries()}
    for group, members in (company.GROUPS | company.BUILT_IN_GROUPS).items():
        assert set(members) <= names, group


def test_account_names_are_ascii():
    for name in company.accounts():
        assert set(name) <= set(string.ascii_lowercase + ".-"), name


def test_passwords_differ_and_are_complex():
    passwords = [company.new_password() for _index in range(50)]
    assert len(set(passwords)) == 50
    for password in passwords:
        assert len(password) == 24
        assert any(c.islower() for c in password) and any(c.isupper() for c in password) and any(c.isdigit() for c in password)


def test_content_without_enrollment_services():
    accounts = company.accounts()
    assert len(domain.content(accounts, b"a", b"b", bare=False)["enrollment_services"]) == 2
    assert domain.content(accounts, b"a", b"b", bare=True)["enrollment_services"] == []
    assert "administrator" not in domain.content(accounts, b"a", b"b", bare=True)["passwords"]


def test_snapshots_of_different_content_have_different_keys(monkeypatch):
    first = domain.snapshot_key(bare=False)
    assert domain.snapshot_key(bare=False) == first != domain.snapshot_key(bare=True)
    monkeypatch.setattr(root, "PACKAGES", (*root.PACKAGES, "one-more"))
    assert domain.snapshot_key(bare=False) != first


@pytest.mark.parametrize("name", ["dev", "a", "demo-2", "x" * 31])
def test_good_names(name):
    assert settings.check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "1a", "a/b", "..", "A", "a b", "a:b", "a,b", "x" * 32])
def test_bad_names(name):
    with pytest.raises(LabError, match="a lab's name is"):
        settings.check_name(name)


def test_this_process_is_alive_and_another_one_with_its_number_is_not():
    me = processes.Process.of(os.getpid())
    assert me.alive
    assert not processes.Process(me.pid, me.started + "1").alive


def test_a_process_that_ended_is_not_alive():
    sleeper = subprocess.Popen(["sleep", "60"])
    found = processes.Process.of(sleeper.pid)
    assert found.alive
    found.end()
    assert not found.alive
    sleeper.wait()
    found.end()  # a second time: nothing


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        (
            "Packages http://m.example/debian bookworm\nPackages http://m.example/debian bookworm-updates\n"
            "Packages http://s.example/debian-security bookworm-security\nTranslations http://t.example x\n",
            ("http://m.example/debian", "http://s.example/debian-security"),
        ),
        ("Packages https://third.example/node nodistro\nPackages http://m.example/debian/ bookworm\n", ("http://m.example/debian/", None)),
    ],
)
def test_mirrors_are_the_machines_own(monkeypatch, listing, expected):
    monkeypatch.setattr(root.subprocess, "run", lambda *_a, **_k: SimpleNamespace(stdout=listing))
    assert root.mirrors() == expected


def test_a_machine_without_a_mirror_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(root.subprocess, "run", lambda *_a, **_k: SimpleNamespace(stdout=""))
    with pytest.raises(LabError, match=r"names no Debian mirror; add one to /etc/apt/sources\.list"):
        root.mirrors()


def test_only_settings_of_the_way_to_the_mirror_are_copied(monkeypatch):
    dump = (
        'Acquire::Check-Date "false";\nAcquire::http::Proxy "http://p.example:1";\n'
        'Acquire::IndexTargets::deb::Packages "";\nAcquire::Languages:: "none";\n'
    )
    monkeypatch.setattr(root.subprocess, "run", lambda *_a, **_k: SimpleNamespace(stdout=dump))
    assert root.apt_settings() == 'Acquire::Check-Date "false";\nAcquire::http::Proxy "http://p.example:1";\n'


def test_an_error_shows_the_last_lines_of_its_log(tmp_path):
    log = tmp_path / "dc1.log"
    log.write_text("".join(f"line {n}\n" for n in range(100)))
    shown = LabError("samba does not answer", log).explain()
    assert shown.startswith("samba does not answer\n")
    assert "line 80\n" in shown and shown.endswith("line 99") and "line 79\n" not in shown


def test_prune_spares_what_is_in_use(monkeypatch, tmp_path):
    monkeypatch.setenv("CERTLOGON_CACHE", str(tmp_path))
    for name in ("domain-new", "domain-used", "domain-old", "root-old"):
        (tmp_path / name).mkdir()
    handle = root.hold(tmp_path / "domain-used")
    root.prune("domain-*", tmp_path / "domain-new")
    os.close(handle)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["domain-new", "domain-used", "root-old"]


@pytest.mark.parametrize("remains", [False, True])
def test_status_of_what_does_not_run(monkeypatch, tmp_path, remains):
    monkeypatch.setenv("CERTLOGON_STATE", str(tmp_path))
    lab = Lab("gone")
    if remains:
        lab.folder.mkdir()
        lab.record_file.write_text('{"keeper": {"pid": 1, "started": "another boot"}, "hosts": {}}')
    assert lab.status() == {"name": "gone", "state": "stale" if remains else "down"}
    assert table(lab.status()) == f"lab gone: {'stale' if remains else 'down'}"
    assert lab.down() is remains
    assert not lab.folder.exists()


def test_an_unknown_lab_is_one_clear_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CERTLOGON_STATE", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert main(["exec", "--name", "gone", "dc1", "--", "true"]) == 1
    assert capsys.readouterr().err == "lab: lab 'gone' is not running; start it with: lab up --name gone\n"


def test_an_ordinary_user_is_told_so(monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["status"]) == 1
    assert "needs root" in capsys.readouterr().err


def test_progress_names_the_step_that_failed(capsys):
    progress = Progress()
    with progress.step("one"):
        pass
    with pytest.raises(LabError), progress.step("two"):
        raise LabError("no")
    shown = capsys.readouterr().err.splitlines()
    assert shown[0].endswith("s  one") and shown[1] == "  failed   two"


def test_the_inventory_says_so_when_no_lab_runs(tmp_path):
    script = Path(settings.CHECKOUT) / "inventories/lab/domains.py"
    environment = {"PATH": os.environ["PATH"], "CERTLOGON_STATE": str(tmp_path), "CERTLOGON_LAB": "gone"}
    asked = subprocess.run([sys.executable, str(script), "--list"], env=environment, capture_output=True, text=True, check=False)
    assert asked.returncode == 1
    assert asked.stderr == "inventories/lab: lab 'gone' is not running; start it with: ./certlogon lab up --name gone\n"


def test_the_entrance_in_a_few_words():
    entrance = str(settings.CHECKOUT / "certlogon")
    shown = subprocess.run(["sh", entrance, "help"], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("usage: ./certlogon COMMAND") and "needs root" in shown
    assert subprocess.run(["sh", entrance, "nonsense"], capture_output=True, check=False).returncode == 2
