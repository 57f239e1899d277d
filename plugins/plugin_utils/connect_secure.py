# SPDX-License-Identifier: GPL-3.0-or-later
"""Resources of a Connect Secure appliance: run in the controller process, which speaks HTTPS with the task's host itself."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from ansible import constants as C
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import connection_loader, shell_loader

from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load_one
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import backup, connection
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import Run
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.table import Table
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import crypto, crypto_ec, x509
from ansible_collections.certlogon.core.plugins.module_utils.resource import Warn, run
from ansible_collections.certlogon.core.plugins.plugin_utils.in_process import plain, refusal


def _begin() -> None:
    """Do what libraries do once, at first use. Ansible loads this in the process that all tasks are forked from: there it costs none."""
    Table.load()
    for plugin in ("local", "ssh"):  # Ansible makes one for every task, whether the task needs it or not
        connection_loader.get(plugin, class_only=True)
    shell_loader.get("sh")
    with suppress(ssl.SSLError):  # it wants an answer
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost").do_handshake()
    with suppress(UserError):  # a library that is missing is told of where it is needed
        load_one(_some_certificate())


def _some_certificate() -> bytes:
    key, moment = crypto_ec.generate_private_key(crypto_ec.SECP256R1()), datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, moment, moment)
    builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    signed = builder.sign(key, crypto.hashes.SHA256())
    return bytes(signed.public_bytes(crypto.serialization.Encoding.PEM))


_begin()


class ConnectSecureAction(ActionBase):  # type: ignore[misc]  # ansible ships no type hints
    """Runs a resource here, whatever the task's connection is. Options that the task does not give are host variables.

    A subclass names `resource`. The result holds `requests` and `logins`, what this task needed of each.
    """

    resource: ClassVar[Any]
    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        # before it is checked, too: the checks copy it, and copies of tagged values are slow
        arguments = plain({**self._from_variables(task_vars or {}), **self._arguments(task_vars or {})})
        checked = self.validator().validate(arguments)
        if checked.error_messages:
            result.update(failed=True, msg=remove_values(refusal(self._task.action, checked), checked._no_log_values))
            return result
        warnings = [entry["warning"] for entry in checked._warnings]
        params = plain(checked.validated_parameters)
        done = Run(Path(C.DEFAULT_LOCAL_TMP))
        try:
            outcome = self._perform({**params, connection.RUN: done}, warnings.append)
        except UserError as error:
            outcome = {"failed": True, "msg": str(error)}
        outcome.update(requests=done.requests, logins=done.logins)
        if done.backup:
            outcome["backup_file"] = done.backup
            if outcome.get("failed"):
                outcome["msg"] = f"{outcome['msg']}\n{backup.how_to_restore(done.backup)}"
        if warnings:
            outcome["warnings"] = warnings
        result.update(remove_values(outcome, checked._no_log_values))
        return result

    def _arguments(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """The options that the task gives."""
        return dict(self._task.args)

    @classmethod
    @cache
    def validator(cls) -> ArgumentSpecValidator:
        """Made once: it takes as long as a request does."""
        return ArgumentSpecValidator(cls.argument_spec(), **cls.resource.rules())

    @classmethod
    def argument_spec(cls) -> dict[str, Any]:
        spec: dict[str, Any] = cls.resource.argument_spec()
        return spec

    def _perform(self, params: Mapping[str, Any], warn: Warn) -> dict[str, Any]:
        """The module's result. Raises `UserError`."""
        outcome: dict[str, Any] = run(self.resource, params, check_mode=self._task.check_mode, warn=warn)
        return outcome

    def _from_variables(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """The connection options as the host's variables give them; the first that has a value."""
        found: dict[str, Any] = {}
        for option in self.resource.connection:
            for name in (f"connect_secure_{option}", *connection.VARIABLES.get(option, ())):
                value = self._value(task_vars[name]) if name in task_vars else None
                if value not in (None, ""):
                    found[option] = value
                    break
        return found

    def _value(self, variable: Any) -> Any:
        """A variable's value. What is no template in it is not asked of Ansible, which takes as long to see that as for a request."""
        return self._templar.template(variable) if _may_be_template(variable) else variable


def _may_be_template(variable: Any) -> bool:
    if isinstance(variable, str):
        return "{" in variable or variable.startswith("#jinja2:")
    if isinstance(variable, dict):
        return any(_may_be_template(name) or _may_be_template(value) for name, value in variable.items())
    if isinstance(variable, list):
        return any(_may_be_template(value) for value in variable)
    return not (variable is None or isinstance(variable, (bool, int, float)))
