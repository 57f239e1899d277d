# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured of a look at a domain, in a process of its own: `python -m tests.benchmarks.compliance_look FOLDER [--part PART ...]`.

Prints one line of JSON: seconds of each part of the look and of judging each family, what was seen, and the failures of templates.
With `--judging`, the rate of judging certificates alone, beside cryptography parsing the same ones.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.certlogon.core.plugins.module_utils.certificates.logon_certificate import read
from ansible_collections.certlogon.core.plugins.module_utils.compliance import domain, judging
from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges.mappings import Account
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import accounts
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Entry

ROUNDS = 9
CERTIFICATES = 5000


def parameters(folder: Path) -> dict[str, Any]:
    """The module's options, with the connection that is in the environment."""
    environment = {name: os.environ[f"CERTLOGON_{name.upper()}"] for name in ("username", "password", "ca_path")}
    given = {**environment, "server": [os.environ["CERTLOGON_SERVER"]], "folder": str(folder), "timeout": 120}
    checked = ArgumentSpecValidator(domain.DomainObservation().argument_spec()).validate(given)
    if checked.error_messages:
        raise SystemExit("; ".join(checked.error_messages))
    return dict(checked.validated_parameters)


def look(folder: Path, only: Iterable[str]) -> dict[str, Any]:
    options, seconds, families = parameters(folder), {}, {}
    failed: list[tuple[str, str]] = []
    with domain.DomainObservation().open(options, print) as session:
        for part in domain.PARTS:
            name = part.observe.__module__.rpartition(".")[2]
            if only and name not in only:
                continue
            started = time.perf_counter()
            part.observe(session.directory, options, session.observation)
            seconds[name] = time.perf_counter() - started
    observation = session.observation
    facts = Facts(observation.target, observation.facts, datetime.datetime.now(datetime.timezone.utc))
    for family in load().families:
        controls = [control for control in family.controls if control.target == "domain" and not control.each]
        if not controls or not all(map(facts.read, controls[0].reads)):
            continue
        started = time.perf_counter()
        for result in judging.judge(controls, facts, {}):
            failed += [(result.control.id, verdict.subject) for verdict in result.verdicts if verdict.status == "fail"]
        families[family.id] = time.perf_counter() - started
    seen = observation.facts.get("accounts", {})
    return {"seconds": seconds, "families": families, "asked": observation.asked, "seen": seen, "failed": failed}


def judged(folder: Path) -> dict[str, Any]:
    """Certificates judged a second: read from their DER and judged by all controls of accounts, the accounts themselves being there.

    Beside it the same certificates parsed by cryptography with their dates, issuer and all extensions. Both need nothing but the
    processor, so its time is what counts: other processes on the machine then matter little.
    """
    options = parameters(folder)
    entries: list[Entry] = []
    with domain.DomainObservation().open(options, print) as session:
        for entry in session.directory.stream(session.directory.domain_dn, accounts.FILTER, accounts.ATTRIBUTES):
            entries.append(entry)
            if len(entries) == CERTIFICATES:
                break
        authorities = accounts.read_logon_authorities(session.directory)
        seen: dict[int, str] = {}
        people = [(accounts.account(one, session.directory.domain, seen), one.raws("userCertificate")) for one in entries]
    facts = Facts(session.observation.target, {"logon_authorities": authorities}, datetime.datetime.now(datetime.timezone.utc))
    ders = [der for _account, held in people for der in held]
    ours, theirs = [], []
    for _round in range(ROUNDS):
        started = time.process_time()
        _judge(people, facts)
        ours.append(len(ders) / (time.process_time() - started))
        started = time.process_time()
        _parse(ders)
        theirs.append(len(ders) / (time.process_time() - started))
    return {"count": len(ders), "certlogon": statistics.median(ours), "cryptography": statistics.median(theirs)}


def _judge(people: Iterable[tuple[Account, Iterable[bytes]]], facts: Facts) -> None:
    stream = judging.Stream(load().of("domain", accounts.STREAM), facts, {})
    for account, held in people:
        account.certificates = [read(der) for der in held]
        stream.feed(account)


def _parse(ders: Iterable[bytes]) -> None:
    from cryptography import x509

    for der in ders:
        certificate = x509.load_der_x509_certificate(der)
        _all: Any = (certificate.not_valid_before_utc, certificate.not_valid_after_utc, certificate.issuer, certificate.extensions)


def rounded(words: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: rounded(value) if isinstance(value, dict) else round(value, 4) if isinstance(value, float) else value
        for name, value in words.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", action="append", default=[])
    parser.add_argument("--judging", action="store_true")
    options = parser.parse_args()
    found = judged(options.folder) if options.judging else look(options.folder, options.part)
    print(json.dumps(rounded(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
