# SPDX-License-Identifier: GPL-3.0-or-later
"""Every valid certificate of a CA's database: read a page at a time and judged while it is read. Only on request: they are many."""

from __future__ import annotations

import base64
import binascii
import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.adcs.powershell import PowerShellSession
from ansible_collections.certlogon.core.plugins.module_utils.certificates.logon_certificate import read
from ansible_collections.certlogon.core.plugins.module_utils.compliance.annexes import Annexes
from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges.mappings import Issued
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judging import LISTED, Stream
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Unread, unknown
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError

OPTIONS: Mapping[str, Any] = {"issued": {"type": "bool", "default": False}}

STREAM = "issued"
RIGHT = "the right Read, Manage CA or Issue and Manage Certificates on the CA"
PAGE = 500
"""Certificates that the host answers with at a time: about a megabyte."""


def observe(host: PowerShellSession, params: Mapping[str, Any], observation: Observation) -> None:
    """`issued`: how many certificates were seen, after all controls of the stream `issued` judged them."""
    facts = Facts(observation.target, observation.facts, datetime.datetime.fromisoformat(observation.at))
    seen = 0
    with Annexes(Path(params["folder"]), observation.target) as annexes:
        stream = Stream(load().of(observation.target.kind, STREAM), facts, params["parameters"], annexes)
        try:
            for certificate in certificates(host, params["name"]):
                seen += 1
                stream.feed(certificate)
            observation.set("issued", {"certificates": seen})
        except UserError as error:
            unread = Unread(" ".join(str(error).split()), RIGHT)
            observation.set("issued", unread)
            for result in stream.results:
                result.add(unknown(observation.target.name, f"issued: {unread.reason}", right=RIGHT), LISTED)
    observation.take(stream.results)
    observation.annexes.update(annexes.files)


def certificates(host: PowerShellSession, name: str) -> Iterator[Issued]:
    """One script a page. Raises `UserError` where the CA does not answer or shows its database to others only."""
    last, more = 0, True
    while more:
        answer = host.run("adcs_issued", {"After": last, "Count": PAGE}, doing=f"{name}: reading the CA's database")
        if not answer.get("running"):
            raise UserError(f"{name}: CertSvc does not run, so its database cannot be read; start it")
        rows = list(answer.get("rows") or ())
        more = bool(answer.get("more")) and bool(rows)
        for row in rows:
            last = int(row["RequestID"])
            yield _issued(last, row)


def _issued(request: int, row: Mapping[str, Any]) -> Issued:
    requester, template = str(row.get("Request.RequesterName") or ""), str(row.get("CertificateTemplate") or "")
    try:
        return Issued(request, requester, template, read(base64.b64decode(row.get("RawCertificate") or "")))
    except (FormatError, binascii.Error) as error:
        return Issued(request, requester, template, None, str(error) if isinstance(error, FormatError) else "is no base64")
