# SPDX-License-Identifier: GPL-3.0-or-later
"""How a certification authority is reached: the options of every enrolment, and what they mean together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import env_fallback

from ansible_collections.certlogon.core.plugins.module_utils.errors import Problems


def _environment(name: str) -> tuple[Any, list[str]]:
    return (env_fallback, [f"CERTLOGON_ENROLLMENT_{name}"])


ENROLLMENT: dict[str, Any] = {
    "method": {"type": "str", "choices": ["web_enrollment", "file"], "default": "web_enrollment", "fallback": _environment("METHOD")},
    "url": {"type": "str", "fallback": _environment("URL")},
    "username": {"type": "str", "fallback": _environment("USERNAME")},
    "password": {"type": "str", "no_log": True, "fallback": _environment("PASSWORD")},
    "auth": {
        "type": "str",
        "choices": ["negotiate", "kerberos", "ntlm", "basic"],
        "default": "negotiate",
        "fallback": _environment("AUTH"),
    },
    "ca_path": {"type": "path", "fallback": _environment("CA_PATH")},
    "validate_certs": {"type": "bool", "default": True, "fallback": _environment("VALIDATE_CERTS")},
    "timeout": {"type": "int", "default": 30, "fallback": _environment("TIMEOUT")},
}
"""Options of doc fragment `certlogon.core.enrollment`, as Ansible's argument spec."""


@dataclass(frozen=True, repr=False)
class EnrollmentOptions:
    """The options, checked; `url` ends without a slash. The password is in no representation of them."""

    method: str
    url: str
    username: str | None
    password: str | None
    auth: str
    ca_path: str | None
    validate_certs: bool
    timeout: int

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> EnrollmentOptions:
        """Raises `UserError` for options that cannot work together, before anything is sent anywhere."""
        values: dict[str, Any] = {name: params.get(name) for name in ENROLLMENT}
        values["url"] = (values["url"] or "").strip().rstrip("/")
        # roles pass on what an inventory leaves empty
        values.update({name: values[name] or None for name in ("username", "password", "ca_path")})
        problems = Problems()
        if values["timeout"] < 1:
            problems.add(f"timeout: {values['timeout']} is not a number of seconds from 1 on")
        if values["method"] == "web_enrollment" and values["url"]:
            _check_web(values, problems)
        problems.raise_any()
        return cls(**values)

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""


def _check_web(values: Mapping[str, Any], problems: Problems) -> None:
    try:
        parts = urlsplit(values["url"])
        known = parts.scheme == "https" and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        known = False
    if not known:
        problems.add(
            f"url: {values['url']!r} is no https address such as https://ca1.corp.example/certsrv; web enrolment without TLS would let "
            "others enroll in your name, so it is not offered"
        )
    elif parts.username or parts.password or parts.query:
        problems.add("url: give the account as username and password, and the address without a query")
    if bool(values["username"]) != bool(values["password"]):
        problems.add("username, password: only one of them is given; give both, or neither to use the ticket in the credential cache")
    if values["auth"] in ("ntlm", "basic") and not values["username"]:
        problems.add(
            f"username, password: auth={values['auth']} needs both; only kerberos and negotiate can use a ticket that is already there"
        )
