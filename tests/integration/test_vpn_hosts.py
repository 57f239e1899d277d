# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of `lab up --with vpn`: what others rely on."""

from __future__ import annotations

import socket
import subprocess

import pytest
import requests

from ansible_collections.certlogon.core.plugins.module_utils.compliance.outputs import page
from ansible_collections.certlogon.core.tests.unit.compliance import page_samples
from lab.browser import visit

INNER = "http://10.84.0.10/"


def page_from(lab, host: str) -> str:
    return lab.run(host, "curl", "-s", "--max-time", "2", INNER, check=False).stdout


def test_the_inner_network_is_reached_from_the_gateways_only(vpn_lab):
    text = vpn_lab.status["hosts"]["inner1"]["text"]
    assert page_from(vpn_lab, "gw1") == page_from(vpn_lab, "vpn1") == text
    assert page_from(vpn_lab, "client1") == page_from(vpn_lab, "control") == ""


def test_every_host_knows_the_names(vpn_lab):
    for host in ("dc1", "gw1", "client1", "vpn1"):
        found = vpn_lab.run(host, "getent", "ahostsv4", "vpn.corp.example", "gw.corp.example").stdout
        assert {line.split()[0] for line in found.splitlines()} == {"10.83.0.31", "10.83.0.40"}, host
    assert socket.gethostbyname("vpn1.corp.example") == vpn_lab.status["hosts"]["vpn1"]["address"]


def test_the_appliances_management_is_verified_and_its_administrator_logs_in(vpn_lab):
    administrator = vpn_lab.status["accounts"]["vpn_admin"]
    answer = requests.post(
        "https://vpn1.corp.example/api/v1/realm_auth",
        json={"realm": administrator["realm"]},
        auth=(administrator["name"], administrator["password"]),
        verify=vpn_lab.files["ca_bundle"],
        timeout=10,
    )
    assert answer.status_code == 200 and answer.json()["api_key"]
    assert vpn_lab.run("vpn1", "find", "/etc/connect_secure", "-perm", "/077").stdout == ""


@pytest.mark.parametrize("name", ["gw1.corp.example", "gw.corp.example", "10.83.0.40"])
def test_ansible_can_reach_the_gateway_over_ssh(vpn_lab, name):
    gateway = vpn_lab.status["hosts"]["gw1"]
    options = ["-o", f"UserKnownHostsFile={gateway['ssh_known_hosts']}", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes"]
    line = ["ssh", "-F", "none", "-i", gateway["ssh_key"], *options, f"root@{name}", "hostname"]
    assert subprocess.run(line, capture_output=True, text=True, timeout=20, check=True).stdout == "gw1\n"


def test_the_user_has_what_a_tunnel_and_a_browser_need(vpn_lab):
    programs = ("openconnect", "chromium", "Xvfb", "xdotool", "certutil", "modutil", "pk12util", "pkcs11-tool")
    found = vpn_lab.run("client1", "which", *programs).stdout.splitlines()
    assert len(found) == len(programs)
    vpn_lab.run("client1", "test", "-c", "/dev/net/tun")
    assert "softhsm2" in vpn_lab.run("client1", "p11-kit", "list-modules").stdout


def test_the_compliance_report_opens_in_the_users_browser(vpn_lab):
    """Also where this machine has no Chromium; the rest is in unit/compliance/test_page_in_browser.py."""
    vpn_lab.run("client1", "tee", "/run/report.html", stdin=page.render(page_samples.ordinary()))
    seen = visit(vpn_lab, "file:///run/report.html")
    vpn_lab.run("client1", "rm", "/run/report.html")
    assert (seen.title, seen.error) == ("corp.example: 5 controls fail", "")
    assert "Score by family" in seen.text and "Show all" in seen.text, "its style and its script count"


def test_a_host_comes_back_after_a_power_cut(vpn_lab):
    vpn_lab.run("inner1", "touch", "/run/lost", "/srv/kept")
    vpn_lab.kill("inner1")
    assert page_from(vpn_lab, "gw1") == ""
    vpn_lab.start("inner1")
    assert page_from(vpn_lab, "gw1") == vpn_lab.status["hosts"]["inner1"]["text"]
    left = vpn_lab.run("inner1", "ls", "/run/lost", "/srv/kept", check=False)
    assert left.stdout == "/srv/kept\n"
    vpn_lab.run("inner1", "rm", "/srv/kept")


def test_the_appliance_comes_back_after_a_power_cut(vpn_lab):
    vpn_lab.kill("vpn1")
    with pytest.raises(OSError):
        socket.create_connection(("10.83.0.30", 443), 2).close()
    vpn_lab.start("vpn1")
    socket.create_connection(("10.83.0.30", 443), 2).close()
