# SPDX-License-Identifier: GPL-3.0-or-later
"""The browsers' front: nginx ends TLS and checks certificates and CRLs; a small service behind it decides and writes the page.

No session resumption: a resumed TLS session escapes the CRL (tried with nginx 1.22 and OpenSSL 3). `ssl_crl` wants a CRL for every CA of
a chain, so it is set only where every trusted CA has one in hand; the service judges the certificate in every case, by the same rules
as for tunnels.
"""

from __future__ import annotations

import base64
import html
import socketserver
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lab.connect_secure.data.plan import Plan

PORT = 8443  # on 127.0.0.1, behind the port that tunnels and browsers share
# X509_CERT_AUX: SEQUENCE { SEQUENCE { OID id-kp-clientAuth } }
TRUSTED_FOR_CLIENTS = bytes.fromhex("300c300a06082b06010505070302")

HTTP = """\
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr info;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    server_tokens off;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_tickets off;
    ssl_session_cache off;
    ssl_verify_client optional;
    ssl_verify_depth 6;
    ssl_client_certificate {folder}/front-negotiation.pem;
    ssl_trusted_certificate {folder}/front-trusted.pem;
    {crl}
    proxy_http_version 1.1;
    proxy_read_timeout 60s;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
    proxy_set_header X-Address $proxy_protocol_addr;
    proxy_set_header X-Verify $ssl_client_verify;
    proxy_set_header X-Certificate $ssl_client_escaped_cert;
{servers}}}
"""
SERVER = """\
    server {{
        listen 127.0.0.1:{port} ssl proxy_protocol{default};
        server_name {name};
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        error_page 495 496 = @decide;
        location / {{ proxy_pass http://unix:{folder}/front.sock; }}
        location @decide {{ proxy_pass http://unix:{folder}/front.sock; }}
    }}
"""


def configuration(plan: Plan, folder: Path, certificates: Mapping[str, tuple[Path, Path]], *, crl: bool) -> str:
    """`certificates`: files of certificate and key by the name of a device certificate."""
    servers = ""
    for name in ("_", *plan.names()):
        device = plan.certificate_for("" if name == "_" else name)
        assert device is not None
        certificate, key = certificates[device.name]
        servers += SERVER.format(
            port=PORT, name=name, certificate=certificate, key=key, folder=folder, default=" default_server" if name == "_" else ""
        )
    return HTTP.format(folder=folder, servers=servers, crl=f"ssl_crl {folder}/front-crl.pem;" if crl else "")


def anchor(certificate: x509.Certificate) -> str:
    """A CA that is trusted as it is, without the CA above it: OpenSSL's form of a certificate with what it is trusted for (`openssl x509
    -addtrust clientAuth -trustout`). nginx names no CA to browsers that is in a file in this form alone."""
    text = base64.encodebytes(certificate.public_bytes(serialization.Encoding.DER) + TRUSTED_FOR_CLIENTS).decode()
    return f"-----BEGIN TRUSTED CERTIFICATE-----\n{text}-----END TRUSTED CERTIFICATE-----\n"


def command(folder: Path) -> list[str]:
    return ["nginx", "-e", "stderr", "-g", "daemon off;", "-c", str(folder / "nginx.conf")]


def test(folder: Path) -> str:
    """nginx's own judgement of its configuration; empty if it is content."""
    done = subprocess.run(
        ["nginx", "-t", "-q", "-e", "stderr", "-c", str(folder / "nginx.conf")], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stderr.strip()


@dataclass(frozen=True)
class Visit:
    """A browser's request. `verify`: nginx's word on the certificate: SUCCESS, NONE, or FAILED:reason."""

    host: str
    path: str
    address: str
    verify: str
    certificate: x509.Certificate | None
    query: Mapping[str, list[str]]


@dataclass(frozen=True)
class Page:
    """`facts`: what the page lists, in order. `links`: title and address."""

    status: int
    title: str
    text: str
    facts: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


class Service(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Asks `decide` for each request that nginx passes on."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, socket: Path, decide: Callable[[Visit], Page]) -> None:
        socket.unlink(missing_ok=True)
        self.decide = decide
        super().__init__(str(socket), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Service
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        page = self.server.decide(
            Visit(
                self.headers.get("Host", "").partition(":")[0].lower(),
                parts.path,
                self.headers.get("X-Address", ""),
                self.headers.get("X-Verify", ""),
                _certificate(self.headers.get("X-Certificate", "")),
                parse_qs(parts.query),
            )
        )
        body = render(page).encode()
        self.send_response(page.status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = _answer

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer()

    def address_string(self) -> str:
        return "nginx"

    def log_message(self, format: str, *args: Any) -> None:
        """The access log is ours."""


def _certificate(escaped: str) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(unquote(escaped).encode()) if escaped else None
    except ValueError:
        return None


HTML = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>
body {{ margin: 0; background: #eef1f4; color: #1c2733; font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; }}
main {{ max-width: 42rem; margin: 8vh auto; padding: 2rem 2.5rem; background: #fff; border-top: .4rem solid {colour}; border-radius: .3rem;
  box-shadow: 0 .1rem .8rem #0002; overflow-wrap: anywhere; }}
h1 {{ margin: 0 0 .5rem; font-size: 1.5rem; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem; }} dt {{ color: #5a6b7b; }} dd {{ margin: 0; }}
footer {{ margin-top: 1.5rem; color: #5a6b7b; font-size: .85rem; }}
</style></head>
<body><main><h1 id="title">{title}</h1><p id="text">{text}</p>{facts}{links}
<footer>Stand-in for a VPN appliance: a real TLS front, no product of Ivanti.</footer></main></body></html>
"""


def render(page: Page) -> str:
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in page.facts.items())
    links = "".join(f'<li><a href="{html.escape(url)}">{html.escape(title)}</a></li>' for title, url in page.links.items())
    return HTML.format(
        title=html.escape(page.title),
        text=html.escape(page.text),
        colour="#2b7a4b" if page.status == 200 else "#b3382c",
        facts=f'<dl id="facts">{rows}</dl>' if rows else "",
        links=f"<ul>{links}</ul>" if links else "",
    )
