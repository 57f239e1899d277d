# SPDX-License-Identifier: GPL-3.0-or-later
"""dc1 as role domain_controller_certificates finds it, and as it was again afterwards; the lab's issuing CA as the authority, by files."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.directory.trusted_certificates import TrustedCertificates
from lab.logon import Maker

ROLE = "certlogon.core.domain_controller_certificates"
DC = "dc1.corp.example"
RESTART = "sh /usr/local/sbin/restart-samba"
SOURCES = "/root/crl-sources"
MADE = "/etc/samba/certlogon /var/lib/certlogon /usr/local/sbin/certlogon-crl /etc/cron.d/certlogon-crl"
KEPT = ("/etc/samba/smb.conf", "/etc/krb5.conf")
# What an earlier run of the role in this lab left on dc1 is set aside, and dc1 shown as the lab made it.
SET_ASIDE = f"""set -e
for file in {" ".join(KEPT)}; do cp -p $file $file.before; done
for path in {MADE}; do [ ! -e $path ] || mv $path $path.before; done
sed -i '/^# BEGIN certlogon/,/^# END certlogon/d' /etc/krb5.conf
cd /etc/samba
sed -i 's,certlogon/current/cert.pem,tls/dc.pem,; s,certlogon/current/key.pem,tls/dc.key,; s,certlogon/current/ca.pem,tls/ca.pem,' smb.conf
cmp -s smb.conf smb.conf.before || {RESTART}
"""
PUT_BACK = f"""
rm -rf {MADE} {SOURCES}
for path in {" ".join(KEPT)} {MADE}; do [ ! -e $path.before ] || mv $path.before $path; done
{RESTART}
"""


class Controller:
    def __init__(self, lab: Any, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        self.requests = folder / "requests"
        self.maker = Maker(lab.run)
        self.configured = False
        self.sockets = tempfile.mkdtemp(prefix="cp")  # pytest's folders are too deep for sockets

    def variables(self) -> dict[str, Any]:
        return {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": self.lab.files["ssh_key"],
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={self.lab.files['ssh_known_hosts']}",
            "ansible_control_path_dir": self.sockets,
            "ansible_pipelining": True,
            "ansible_python_interpreter": "/usr/bin/python3",
            "certlogon_samba_restart_command": RESTART,
            "certlogon_domain_controller_method": "file",
            "certlogon_domain_controller_requests": str(self.requests),
            "certlogon_crl_sources": [f"file://{SOURCES}/{name}.crl" for name in ("issuing-ca", "root-ca")],
        }

    def inventory(self, changes: Mapping[str, Any]) -> Path:
        path = self.folder / "controllers.yml"
        path.write_text(json.dumps({"domain_controllers": {"hosts": {DC: {**self.variables(), **changes}}}}))
        return path

    def run(
        self,
        playbook: Callable[..., Any],
        *,
        play: Mapping[str, Any] | None = None,
        changes: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        tasks = [{"name": "Role", "ansible.builtin.import_role": {"name": ROLE}}]
        options = {"connection": {}, **options}
        return playbook(tasks, inventory=self.inventory(changes or {}), play={"connection": "ssh", "vars": {}, **(play or {})}, **options)

    # ---- the authority

    def publish(self, revoked: tuple[int, ...] = (), **dates: str) -> None:
        """CRLs where the role is told to look for them."""
        for authority in ("issuing-ca", "root-ca"):
            crl = self.maker.crl(authority, revoked if authority == "issuing-ca" else (), **(dates if authority == "issuing-ca" else {}))
            self.lab.run("dc1", "sh", "-c", f"mkdir -p {SOURCES}; cat > {SOURCES}/{authority}.crl", stdin=crl)

    def answer(self, authority: str = "issuing-ca") -> None:
        """What the person does who carries the request: certificate and chain beside it."""
        files = Path(self.lab.files["folder"])
        request = self.requests / f"{DC}.csr"
        command = ["openssl", "x509", "-req", "-in", request, "-CA", files / f"{authority}.pem", "-CAkey", files / f"{authority}.key"]
        issued = subprocess.run(
            [*map(str, command), "-days", "365", "-copy_extensions", "copyall"], capture_output=True, text=True, check=True
        )
        chain = (files / f"{authority}.pem").read_text() + (files / "root-ca.pem").read_text()
        (self.requests / f"{DC}.answer").write_text(issued.stdout + chain)

    # ---- what others see

    def shell(self, script: str, check: bool = True, stdin: str = "") -> str:
        return str(self.lab.run("dc1", "sh", "-c", script, check=check, stdin=stdin).stdout)

    def samba(self) -> str:
        return self.shell("cat /run/samba/samba.pid; stat -c %Y /proc/$(cat /run/samba/samba.pid)").split()[0]

    def parameter(self, name: str) -> str:
        return self.shell(f"testparm -s --parameter-name='{name}' 2>/dev/null").strip()

    def shown(self) -> str:
        """The certificate that LDAPS shows, in PEM."""
        command = [
            "openssl",
            "s_client",
            "-connect",
            f"{DC}:636",
            "-showcerts",
            "-CAfile",
            self.lab.files["root_ca"],
            "-verify_return_error",
        ]
        command += ["-verify_hostname", DC, "-no-CApath", "-no-CAstore"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = re.search(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", done.stdout, re.DOTALL)
        assert found is not None
        return found.group(0)


@contextmanager
def controller(lab: Any, run_resource: Callable[..., dict[str, Any]], folder: Path) -> Iterator[Controller]:
    """With the lab's issuing CA in NTAuth and CRLs published; all gone again afterwards."""
    kind = TrustedCertificates()
    before = run_resource(kind, state="gathered")["gathered"]
    found = Controller(lab, folder)
    found.shell(SET_ASIDE)
    try:
        stores = {"root": "root_ca", "intermediate": "issuing_ca", "ntauth": "issuing_ca"}
        run_resource(kind, [{"store": store, "certificates": [{"path": lab.files[name]}]} for store, name in stores.items()], "replaced")
        found.publish()
        yield found
    finally:
        found.shell(PUT_BACK)
        known = {entry["store"] for entry in before}
        empty = [{"store": store, "certificates": []} for store in ("root", "intermediate", "ntauth") if store not in known]
        run_resource(kind, before + empty, "replaced")
