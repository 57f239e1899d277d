# SPDX-License-Identifier: GPL-3.0-or-later
"""A web site behind nginx, on PORT of this machine alone: says who nginx says that asks."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAMES = ("Account", "User", "Device", "Site")


class Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        words = " ".join(f"{name.lower()}={self.headers.get(f'X-Passivekey-{name}', '')}" for name in NAMES)
        page = f"<!doctype html><title>{self.headers.get('Host')}</title><h1>{self.headers.get('Host')}</h1><p>{words}</p>\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Cache-Control", "private")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Site).serve_forever()
