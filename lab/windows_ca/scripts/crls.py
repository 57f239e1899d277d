# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scripts about CRLs and revocation do on the stand-in: CertAdm.h's and CertView.h's objects, answered by the authority."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

from lab.windows_ca.authority import Authority, Caller, CertSrvError, DirectoryError
from lab.windows_ca.authority import settings as registry
from lab.windows_ca.machine import Machine
from lab.windows_ca.scripts import PowerShellError, handler

MAY_VIEW = registry.MANAGE_CA | registry.MANAGE_CERTIFICATES | registry.AUDITOR | registry.OPERATOR | registry.READ
ISSUED, REVOKED = 20, 21


def com_error(method: str, count: int, error: CertSrvError, kind: str = "CCertAdmin") -> PowerShellError:
    """As PowerShell shows what a COM object's method fails with."""
    signed = error.hresult - (1 << 32)
    text = f'Exception calling "{method}" with "{count}" argument(s): "{kind}::{method}: {error.text} 0x{error.hresult:08x} ({signed})"'
    return PowerShellError(text, exception_type="System.Management.Automation.MethodInvocationException", hresult=signed)


def moment(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"


@handler("adcs_crl_state")
def state(machine: Machine, authority: Authority, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
    result: dict[str, Any] = {"now": moment(machine.now()), "active": None, "running": False, "lists": [], "rows": []}
    if not authority.ca_key:
        return result
    top = registry.key(authority.ca_key)
    result |= {
        "active": authority.ca_key,
        "server": machine.registry.get(top, "CAServerName"),
        "common_name": machine.registry.get(top, "CommonName"),
        "configuration_dn": machine.registry.get(top, "DSConfigDN"),
        "places": machine.registry.get(top, "CRLPublicationURLs"),
        "delta_units": machine.registry.get(top, "CRLDeltaPeriodUnits"),
        "running": authority.running,
    }
    if not authority.running:
        return result
    if not authority.rights(caller) & MAY_VIEW:
        raise com_error("GetCAProperty", 5, CertSrvError(0x80070005))
    lists: dict[int, dict[str, Any]] = {}
    for crl in authority.crls():
        entry = lists.setdefault(crl["key_index"], {"index": crl["key_index"], "base": None, "delta": None})
        if not crl["delta"] or result["delta_units"]:
            entry["delta" if crl["delta"] else "base"] = base64.b64encode(crl["crl"]).decode()
    result["lists"] = list(lists.values())
    rows = [row for serial in parameters.get("Serials") or () for row in authority.requests(serial_number=serial)]
    rows += [row for name in parameters.get("Requesters") or () for row in authority.requests(requester_name=name)]
    if parameters.get("Revoked"):
        rows += authority.requests(disposition=REVOKED)
    result["rows"] = [shown(row) for row in rows]
    return result


@handler("adcs_issued")
def issued(machine: Machine, authority: Authority, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
    result: dict[str, Any] = {"now": moment(machine.now()), "running": authority.running, "rows": [], "more": False}
    if not authority.ca_key or not authority.running:
        return result | {"running": False}
    if not authority.rights(caller) & MAY_VIEW:
        raise com_error("OpenConnection", 1, CertSrvError(0x80070005), "CCertView")
    rows = [row for row in authority.requests(disposition=ISSUED) if row["not_after"] >= machine.now()]
    rows = [row for row in rows if row["request_id"] > parameters["After"]][: parameters["Count"]]
    result["rows"] = [
        {
            "RequestID": row["request_id"],
            "Request.RequesterName": row["requester_name"],
            "CertificateTemplate": row["certificate_template"],
            "RawCertificate": base64.encodebytes(row["certificate"]).decode().replace("\n", "\r\n"),
        }
        for row in rows
    ]
    return result | {"more": len(rows) == parameters["Count"]}


def shown(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "SerialNumber": row["serial_number"],
        "Request.RequesterName": row["requester_name"],
        "Request.Disposition": row["disposition"],
        "Request.RevokedReason": row["revoked_reason"],
        "CommonName": row["common_name"],
        "NotAfter": moment(row["not_after"]) if row["not_after"] else None,
    }


def check_config(authority: Authority, config: str) -> None:
    if config.casefold() != authority.config.casefold():
        raise com_error("PublishCRLs", 3, CertSrvError(0x800706BA))


def publish(authority: Authority, parameters: dict[str, Any], caller: Caller) -> int:
    base, delta = bool(parameters.get("Base")), bool(parameters.get("Delta"))
    if base or delta:
        try:
            authority.publish_crls(base=base, delta=delta, caller=caller)
        except (CertSrvError, DirectoryError) as error:
            raise com_error("PublishCRLs", 3, error if isinstance(error, CertSrvError) else error.as_adcs("Directory")) from error
    return base | delta << 1


@handler("adcs_crl_publish")
def publish_crls(machine: Machine, authority: Authority, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
    check_config(authority, parameters["Config"])
    return {"published": publish(authority, parameters, caller)}


@handler("adcs_revoke")
def revoke(machine: Machine, authority: Authority, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
    check_config(authority, parameters["Config"])
    try:
        if parameters["Reason"] < 0:
            authority.unrevoke(parameters["Serial"], caller)
        else:
            authority.revoke(parameters["Serial"], parameters["Reason"], caller=caller)
    except CertSrvError as error:
        raise com_error("RevokeCertificate", 4, error) from error
    return {"serial": parameters["Serial"], "published": publish(authority, parameters, caller)}
