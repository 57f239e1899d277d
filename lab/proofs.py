# SPDX-License-Identifier: GPL-3.0-or-later
"""Proofs of the demo: what other people's tools said about the domain, held against what was asked.

All but `facts` and `meddle` is pure."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import re
import ssl
import struct
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from lab import asked, logons, settings
from lab.errors import LabError
from lab.labs import Lab
from lab.settings import CHECKOUT
from lab.story import REAL, STAND_IN, Audit, Proof, Run, Touch, counted

ON_DC1 = Path(__file__).resolve().parent / "judges" / "on_dc1.py"
Facts = Mapping[str, Any]

TOUCHES = (
    Touch(
        "The subject of a smart card certificate may now be chosen by whoever asks for it",
        "ldapmodify",
        asked.CARD_TEMPLATE,
        "ESC1: anybody who may enroll becomes anybody else, a domain administrator too",
        marks=("supplied_in_request",),
    ),
    Touch(
        "A stranger's CA sits in the NTAuth store",
        "ldbmodify",
        "ntauth",
        "it may issue logon certificates for every account",
        marks=("Totally Trustworthy CA",),
    ),
    Touch(
        "The Smart Card service is switched off in the policy's GptTmpl.inf, its version left as it was",
        "smbclient",
        asked.SMART_CARD_POLICY,
        "no card works any more, and no version number tells of it",
        marks=("startup: disabled", "startup: automatic"),
    ),
    Touch(
        "The trust policy's link to the domain is gone",
        "samba-tool gpo dellink",
        asked.TRUST_POLICY,
        "new computers no longer learn whom to trust",
        marks=("target: domain",),
    ),
)


# ---- the domain


def ask(lab: Lab, action: str, logs: Path, **request: Any) -> dict[str, Any]:
    """Run the judges' script on the domain controller."""
    password = lab.status()["accounts"]["administrator"]["password"]
    done = lab.run(
        "dc1",
        "/usr/bin/python3",
        "-c",
        ON_DC1.read_text(),
        stdin=json.dumps({"action": action, "password": password} | request),
        check=False,
    )
    log = logs / f"{action}.log"
    log.write_text(done.stderr + done.stdout)
    if done.returncode:
        raise LabError(f"the tools on dc1 ended with code {done.returncode}", log)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def meddle(lab: Lab, logs: Path) -> Sequence[Touch]:
    """Touch the domain behind our own back."""
    ask(lab, "touch", logs, template=asked.CARD_TEMPLATE, policy=asked.SMART_CARD_POLICY, trust_policy=asked.TRUST_POLICY)
    return TOUCHES


def facts(lab: Lab, logs: Path) -> Facts:
    """What the tools on the domain controller read there, and the certificates that were asked for."""
    files = Path(lab.status()["files"]["folder"])
    names = sorted({name for group in (*asked.STORES.values(), *asked.PUSHED.values()) for name in group} - {"corp-ca"})
    certificates = {name: (files / f"{name}.cer").read_bytes() for name in names}
    certificates["corp-ca"] = ssl.PEM_cert_to_DER_cert((lab.folder / "authority/corp-ca.pem").read_text())
    read = ask(lab, "read", logs, policies=asked.POLICIES) | {"certificates": certificates}
    read["ldaps"] = shown(lab, logs, settings.HOSTS["dc1"].fqdn, 636)
    read["gateways"] = {name: shown(lab, logs, name, 443) for name in asked.GATEWAYS}
    return read


SHOWN = """
openssl s_client -connect "$1:$3" -servername "$1" -verify_hostname "$1" -CAfile "$2" < /dev/null > /tmp/shown 2> /dev/null
grep -E '^ *(Verify return code|Verification)' /tmp/shown | head -n 1
openssl x509 -in /tmp/shown -noout -subject -issuer -enddate -ext subjectAltName,extendedKeyUsage
rm -f /tmp/shown
"""


def shown(lab: Lab, logs: Path, name: str, port: int) -> dict[str, Any]:
    """Which certificate a client on another host is shown."""
    done = lab.run("control", "sh", "-c", SHOWN, "sh", name, "/srv/files/root-ca.pem", str(port), check=False)
    (logs / f"shown-{name}.log").write_text(done.stdout + done.stderr)
    return {"code": done.returncode, "output": done.stdout + done.stderr}


SIGNS = (
    ("its chain does not end at the root", r"(?i)verif\w+:? ?(return code: 0|OK)"),
    ("it is not from the new CA", rf"issuer=.*CN ?= ?{asked.AUTHORITY}\b"),
)


def of_authority(facts: Facts) -> list[Proof]:
    """What rests on the CA host's stand-in."""
    signs = (
        *SIGNS,
        ("it lacks the purpose of a KDC", r"Signing KDC Response|1\.3\.6\.1\.5\.2\.3\.5"),
        ("it does not name the domain", rf"DNS:{re.escape(settings.DNS_DOMAIN)}\b"),
    )
    return [shows("LDAPS shows a domain controller's certificate of the new CA", facts, facts["ldaps"]["output"], signs, ("C2", "C4"))]


def of_gateways(facts: Facts) -> list[Proof]:
    """The certificates that users of the VPN are shown, their keys made on the gateways."""
    return [
        shows(
            f"{name} shows a certificate of the new CA, its key made there",
            facts,
            answer["output"],
            (*SIGNS, ("it does not name the gateway", rf"DNS:{re.escape(name)}\b")),
            ("C5",),
        )
        for name, answer in facts["gateways"].items()
    ]


def shows(claim: str, facts: Facts, said: str, signs: Iterable[tuple[str, str]], requirements: Sequence[str]) -> Proof:
    return judged(
        claim,
        "openssl s_client, x509",
        [what for what, sign in signs if not re.search(sign, said)],
        version=facts["versions"]["openssl"],
        kind=STAND_IN,
        evidence=said.strip().splitlines(),
        requirements=requirements,
    )


# ---- judgements


def judged(claim: str, judge: str, problems: Iterable[str], **rest: Any) -> Proof:
    found = list(problems)
    return Proof(claim, judge, "failed" if found else "passed", reason="; ".join(found), **rest)


# What follows from the things that `meddle` does, and what a lab with one CA for everything has in any case.
MEDDLED = {
    "template-card-approval",
    "template-card-binding",
    "ntauth-unknown-certificate",
    "ntauth-chain",
    "policy-content",
    "policy-smart-card-service",
    "policy-linked",
    "policy-trust-roots",
}
# By control and what the subject names.
ACCEPTED = {
    ("ocserv-purposes", asked.AUTHORITY): "one CA for everything",
    ("certificate-cdp", "passivekey."): "the lab's own CA, a throw-away one, publishes no CRL",
    ("passivekey-second-factor", "enrolment"): "here a first logon enrolls without a question",
    ("passivekey-time-service", "time service"): "all hosts of the lab have the clock of the machine",
    ("passivekey-passphrase-source", "passphrase"): "there is no systemd here that could keep it, and no token",
}


def of_audits(audits: Mapping[str, Audit]) -> list[Proof]:
    """What compliance runs show: what was meddled with, and that nothing of it is left."""
    meddled, whole = audits["meddled"], audits["whole"]
    found = {control for control, _subject, _message in meddled.failing}
    named = [f"{control}: {subject}: {message}" for control, subject, message in meddled.failing]
    return [
        judged(
            "The compliance report names what was touched and what follows, and nothing else",
            "certlogon.core.compliance",
            [f"{control} is not among the failures" for control in sorted(MEDDLED - found)]
            + [f"{control} fails" for control in sorted(found - MEDDLED)],
            evidence=[*named, meddled.summary],
        ),
        judged(
            "At the end the whole site's report has none of it",
            "certlogon.core.compliance",
            [f"{control} fails of {subject}" for control, subject, _message in whole.failing if not why_accepted(control, subject)],
            evidence=[
                *(
                    f"{control}: {subject}: {message} (as is to be in this lab: {why_accepted(control, subject) or 'no'})"
                    for control, subject, message in whole.failing
                ),
                whole.summary,
            ],
            kind=STAND_IN,
        ),
    ]


def why_accepted(control: str, subject: str) -> str:
    """Why the lab is allowed to fail there; empty where it is not."""
    return next((why for (known, mark), why in ACCEPTED.items() if known == control and mark in subject), "")


def of_runs(runs: Mapping[str, Run], touches: Sequence[Touch]) -> list[Proof]:
    """What the runs themselves show."""
    ansible = {"judge": "ansible-playbook", "version": metadata.version("ansible-core")}
    second, check, repair = runs["second"], runs["check"], runs["repair"]
    return [
        judged(
            "--check before the first run foretold each object of it",
            problems=logons.foretold(runs["foreseen"], runs["first"]),
            evidence=[f"{change.name}: {change.action}" for change in runs["foreseen"].changes],
            kind=STAND_IN,
            **ansible,
        ),
        judged(
            "The second run changes nothing, CA host included",
            problems=[] if not second.changed_tasks else [f"it changed {', '.join(c.name for c in second.changes) or second.summary}"],
            evidence=[f"{second.command}", f"ok={second.tasks} changed={second.changed_tasks}"],
            requirements=("C3", "C4", "C10", "C11"),
            **ansible,
        ),
        judged(
            f"--check --diff names exactly the {counted(len(touches), 'thing')} touched",
            problems=named_exactly(check, touches),
            evidence=[f"{change.name}: {change.action}" for change in check.changes],
            **ansible,
        ),
        judged(
            "The next run repairs exactly that",
            problems=named_exactly(repair, touches),
            evidence=[f"{change.name}: {change.action}" for change in repair.changes],
            **ansible,
        ),
    ]


def named_exactly(run: Run, touches: Sequence[Touch]) -> list[str]:
    """What is missing in a run's changes, or too much in them."""
    problems = []
    changes = {change.name: change for change in run.changes}
    for touch in touches:
        change = changes.pop(touch.object, None)
        if change is None:
            problems.append(f"{touch.object} was touched and is not named")
            continue
        told = "\n".join(text for kind, text in change.diff() if kind in "+-")
        problems += [f"{touch.object}: the difference does not tell {mark!r}" for mark in touch.marks if mark not in told]
    return problems + [f"{name} is named and was not touched" for name in changes]


def of_domain(facts: Facts) -> list[Proof]:
    """What other people's tools read in the domain, after the repair."""
    samba = facts["versions"]["samba"]
    return [
        templates(facts),
        published(facts, samba),
        stores(facts),
        chain(facts),
        *policy_files(facts, samba),
        pushed(facts, samba),
        versions_agree(facts, samba),
        said_nothing(facts["aclcheck"], "Policy folders carry their objects' permissions", "samba-tool gpo aclcheck", samba),
        said_nothing(facts["sysvolcheck"], "So does every file and folder in SYSVOL", "samba-tool ntacl sysvolcheck", samba),
        backups(facts, samba),
        linked(facts, samba),
        applied(facts, samba),
    ]


def said_nothing(result: Facts, claim: str, judge: str, version: str) -> Proof:
    problems = [] if result["code"] == 0 and not result["output"].strip() else [f"code {result['code']}: {result['output'].strip()[-300:]}"]
    return judged(claim, judge, problems, version=version, evidence=[f"$ {result['command']}", f"code {result['code']}, no complaint"])


def templates(facts: Facts) -> Proof:
    found = {entry["cn"][0]: entry for entry in facts["directory"]["templates"]}
    oids = {entry["msPKI-Cert-Template-OID"][0] for entry in facts["directory"]["oids"]}
    problems, evidence = [], []
    for name, attributes in asked.TEMPLATES.items():
        if name not in found:
            problems.append(f"no template {name}")
            continue
        evidence.append(f"cn={name}")
        for attribute, wanted in attributes.items():
            there = set(found[name].get(attribute, []))
            evidence += [f"    {attribute}: {value}" for value in sorted(there)]
            if there != wanted:
                problems.append(f"{name}: {attribute} is {sorted(there)}, asked was {sorted(wanted)}")
        if not set(found[name].get("msPKI-Cert-Template-OID", [""])) <= oids:
            problems.append(f"{name}: its OID is not registered")
    return judged(
        f"{counted(len(asked.TEMPLATES), 'template')} as asked, each with its OID registered",
        "ldapsearch",
        problems,
        version=facts["versions"]["ldapsearch"],
        evidence=evidence,
        requirements=("C3", "C4"),
    )


def published(facts: Facts, samba: str) -> Proof:
    found = {entry["cn"][0]: set(entry.get("certificateTemplates", [])) for entry in facts["directory"]["published"]}
    problems = [
        f"{name} publishes {', '.join(sorted(found.get(name, set()))) or 'nothing'}"
        for name, wanted in asked.PUBLISHED.items()
        if not wanted <= found.get(name, set())
    ]
    evidence = [f"{name}: {', '.join(sorted(names)) or 'nothing'}" for name, names in sorted(found.items())]
    return judged(
        "The new CA publishes them",
        "ldbsearch",
        problems,
        version=samba,
        kind=STAND_IN,
        evidence=[*evidence, "The enrollment service object is real LDAP data; what answers behind it is a stand-in."],
        requirements=("C3",),
    )


def stores(facts: Facts) -> Proof:
    found = facts["directory"]["certificates"]
    problems, evidence = [], []
    for store, names in asked.STORES.items():
        there = {entry["sha256"] for entry in found[store]}
        wanted = {hashlib.sha256(facts["certificates"][name]).hexdigest() for name in names}
        evidence += [f"{store}: {entry['subject']}, SHA-256 {entry['sha256'][:16]}…, until {entry['ends']}" for entry in found[store]]
        if there != wanted:
            problems.append(
                f"{store} holds {', '.join(entry['subject'] for entry in found[store]) or 'nothing'}; asked was {', '.join(names)}"
            )
    return judged(
        "Roots, intermediates, NTAuth: exactly the CAs asked for",
        "ldapsearch, openssl x509",
        problems,
        version=facts["versions"]["openssl"],
        evidence=evidence,
        requirements=("C1", "C4", "C11"),
    )


def chain(facts: Facts) -> Proof:
    result = facts["directory"]["chain"]
    return judged(
        "What NTAuth holds chains up to the published root",
        "openssl verify",
        [] if result["code"] == 0 else [result["output"].strip()],
        version=facts["versions"]["openssl"],
        evidence=result["output"].strip().splitlines(),
        requirements=("C4",),
    )


def policy_files(facts: Facts, samba: str) -> list[Proof]:
    files = facts["files"][asked.SMART_CARD_POLICY]
    services = {name: mode for name, mode, *_ in files.get("services", [])}
    values = files.get("registry_values", [])
    problems = [
        f"{name} is {services.get(name)!r}, asked was {mode!r}" for name, mode in asked.SERVICES.items() if services.get(name) != mode
    ]
    problems += [
        f"{line} is not among {values}" for line in asked.REGISTRY_VALUES if line.lower() not in [value.lower() for value in values]
    ]
    template = judged(
        "GptTmpl.inf: card services automatic, removal locks",
        "samba.gp_parse.gp_inf",
        problems,
        version=samba,
        evidence=[*(f"{name},{mode}" for name, mode in services.items()), *values],
        requirements=("C10",),
    )
    preferences = {entry["serviceName"]: entry["serviceAction"] for entry in files.get("service_preferences", [])}
    problems = [f"{name}: {preferences.get(name)}" for name in asked.STARTED_SERVICES if preferences.get(name) != "START"]
    started = judged(
        "Services.xml: they start at once, not at the next boot",
        "Python's xml.etree",
        problems,
        evidence=[f"{name}: {action}" for name, action in preferences.items()],
        requirements=("C10",),
    )
    return [template, started, registry(files, samba)]


def registry(files: Facts, samba: str) -> Proof:
    problems, evidence = [], []
    found = {}
    for half, (parsed,) in files["registry"].items():
        if not parsed["repacked"]:
            problems.append(f"{half}: packed again by samba, the bytes differ")
        for entry in parsed["entries"]:
            found[half, entry["key"].lower(), entry["value"].lower()] = entry["data"]
            evidence.append(f"{half}: {entry['key']}\\{entry['value']} = {entry['data']}")
    for half, key, value, data in asked.REGISTRY:
        there = found.get((half, key.lower(), value.lower()))
        if there != data:
            problems.append(f"{half}: {key}\\{value} is {there!r}, asked was {data!r}")
    return judged(
        "registry.pol: settings as asked, same bytes repacked",
        "samba.dcerpc.preg",
        problems,
        version=samba,
        evidence=evidence,
        requirements=("C10",),
    )


def pushed(facts: Facts, samba: str) -> Proof:
    """[MS-GPEF] 2.2.1.1.1: properties {id, 1, length, data}, the certificate itself is number 32."""
    entries = [entry for (parsed,) in facts["files"][asked.TRUST_POLICY]["registry"].values() for entry in parsed["entries"]]
    blobs = {entry["key"].lower(): base64.b64decode(entry["data"]) for entry in entries if entry["value"].lower() == "blob"}
    problems, evidence = [], []
    for store, names in asked.PUSHED.items():
        for name in names:
            der = facts["certificates"][name]
            thumbprint = hashlib.sha1(der).hexdigest().upper()
            key = rf"Software\Policies\Microsoft\SystemCertificates\{store}\Certificates\{thumbprint}"
            record = struct.pack("<III", 32, 1, len(der)) + der
            if record not in blobs.pop(key.lower(), b""):
                problems.append(f"{name} is not in {store}")
            else:
                evidence.append(f"{store}\\{thumbprint}: {name}, {counted(len(der), 'byte')} of DER")
    problems += [f"not asked for: {key}" for key in blobs]
    return judged(
        "registry.pol: exactly the asked CAs are pushed",
        "samba.dcerpc.preg",
        problems,
        version=samba,
        evidence=evidence,
        requirements=("C11",),
    )


def versions_agree(facts: Facts, samba: str) -> Proof:
    directory = {entry["displayName"][0]: int(entry["versionNumber"][0]) for entry in facts["directory"]["policies"]}
    problems, evidence = [], []
    for policy in asked.POLICIES:
        there, here = directory[policy], int(facts["files"][policy]["gpt_version"])
        evidence.append(f"{policy}: directory {there}, GPT.INI {here}")
        if there != here or not there:
            problems.append(evidence[-1])
    return judged(
        "Directory and SYSVOL agree on each policy's version", "ldapsearch, samba.gpo", problems, version=samba, evidence=evidence
    )


def backups(facts: Facts, samba: str) -> Proof:
    problems, evidence = [], []
    for policy in asked.POLICIES:
        saved, shown = facts["backup"][policy], facts["show"][policy]
        problems += [f"{policy}: {result['output'].strip()[-300:]}" for result in (saved, shown) if result["code"]]
        names = [name.lower() for name in saved["files"]]
        if not any(name.startswith("machine/registry.pol") for name in names):
            problems.append(f"{policy}: the backup has no registry.pol")
        if not shown["settings"]:
            problems.append(f"{policy}: gpo show finds no setting")
        evidence.append(f"{policy}: {counted(len(shown['settings']), 'registry setting')}, in the backup {', '.join(saved['files'])}")
    return judged("Both policies can be backed up and shown", "samba-tool gpo backup, show", problems, version=samba, evidence=evidence)


def linked(facts: Facts, samba: str) -> Proof:
    result = facts["links"]
    blocks = [block for block in result["stdout"].split("GPO     :") if facts["guids"][asked.TRUST_POLICY] in block]
    problems = [] if len(blocks) == 1 and "NONE" in blocks[0] else [result["output"].strip()]
    return judged(
        "The trust policy is linked to the domain again",
        "samba-tool gpo getlink",
        problems,
        version=samba,
        evidence=result["stdout"].strip().splitlines(),
        requirements=("C11",),
    )


def applied(facts: Facts, samba: str) -> Proof:
    """Samba's own Group Policy client, on the domain controller as a computer of the domain."""
    result = facts["rsop"]
    problems = (
        []
        if result["code"] == 0 and asked.TRUST_POLICY in result["output"]
        else [f"code {result['code']}: {result['output'].strip()[-300:]}"]
    )
    lines = [line.rstrip() for line in result["stdout"].splitlines() if line.strip() and set(line.strip()) > {"-"}]
    return judged(
        "A Samba computer of the domain finds the trust policy",
        "samba-gpupdate --rsop",
        problems,
        version=samba,
        evidence=lines[:40],
        requirements=("C11",),
    )


# ---- Windows' own bytes


def vectors_folder() -> Path:
    return Path(os.environ.get("CERTLOGON_VECTORS") or CHECKOUT.parent / "shared" / "vectors") / "group-policy-certificates"


def windows_blobs(folder: Path) -> Proof:
    """The certificate entries of a policy that Windows' editor wrote, made anew from the certificates."""
    claim, judge = "Certificate entries are Windows' own bytes", "a policy made on Windows"
    if not (folder / "registry.pol").is_file():
        return Proof(claim, judge, "skipped", reason="the test vectors are not beside this checkout (CERTLOGON_VECTORS)")
    from ansible_collections.certlogon.core.plugins.module_utils.certificates import certificate
    from ansible_collections.certlogon.core.plugins.module_utils.group_policy import certificate_blob, registry_pol

    written = {}
    for record in registry_pol.parse((folder / "registry.pol").read_bytes()):
        if record.value == "Blob":
            *_, store, _, thumbprint = record.key.split("\\")
            written[thumbprint.upper()] = (store, record.data)
    certificates = {
        found.thumbprint.upper(): found.der for file in sorted(folder.rglob("*.cer")) for found in certificate.load(file.read_bytes())
    }
    same = {
        name
        for name, (store, data) in written.items()
        if name in certificates and certificate_blob.build(certificates[name], store) == data
    }
    return judged(
        f"{claim}: {len(same)} of {len(written)}",
        judge,
        [f"{name} differs" for name in sorted(set(written) - same)][:5] or ([] if written else ["the policy holds no certificate"]),
        evidence=["registry.pol and .cer files of nsacyber/Windows-Secure-Host-Baseline (CC0), made by Windows' Group Policy editor"],
    )


def environment() -> dict[str, str]:
    return {"ansible-core": metadata.version("ansible-core"), "Python": platform.python_version()}


def save(proofs: Sequence[Proof], path: Path) -> None:
    """For other tools: one object a proof."""
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [
        {
            "claim": proof.claim,
            "outcome": proof.outcome,
            "judge": proof.judge,
            "version": proof.version,
            "on": "the real thing" if proof.kind == REAL else "a stand-in",
            "requirements": list(proof.requirements),
            "reason": proof.reason,
            "evidence": list(proof.evidence),
        }
        for proof in proofs
    ]
    path.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
