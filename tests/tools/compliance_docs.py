#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the tables of controls in docs/compliance.md from the catalogue, the only source of what there is.

compliance_docs.py            write the tables
compliance_docs.py --check    change nothing; exit code 1 where they are not current
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "collections"))

from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import Catalogue, Control, load  # noqa: E402
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import SEVERITIES  # noqa: E402

PAGE = ROOT / "docs/compliance.md"
BEGIN = "<!-- begin of generated controls: tests/tools/compliance_docs.py -->"
END = "<!-- end of generated controls -->"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, report what is not current")
    check = parser.parse_args().check
    text = PAGE.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        print(f"{PAGE.name}: the marks of the generated part are missing: {BEGIN} … {END}", file=sys.stderr)
        return 1
    current = with_tables(text, load())
    if current == text:
        return 0
    if check:
        print(f"{PAGE.name}: the tables of controls are not current; run tests/tools/compliance_docs.py", file=sys.stderr)
        return 1
    PAGE.write_text(current, encoding="utf-8")
    return 0


def with_tables(text: str, catalogue: Catalogue) -> str:
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    return f"{head}{BEGIN}\n\n{tables(catalogue)}\n{END}{tail}"


def tables(catalogue: Catalogue) -> str:
    parts = [f"{len(catalogue.controls)} controls in {len(catalogue.families)} families: {severities(catalogue)}.\n"]
    for family in catalogue.families:
        parts.append(f"### {family.title}\n")
        parts.append("| Control | Severity | Well is | From | Mended by | Figures |\n|---|---|---|---|---|---|")
        parts += [f"| {' | '.join(row(control))} |" for control in family.controls]
        parts.append("")
    return "\n".join(parts)


def severities(catalogue: Catalogue) -> str:
    counts = {severity: sum(control.severity == severity for control in catalogue.controls) for severity in reversed(SEVERITIES)}
    return ", ".join(f"{count} {severity}" for severity, count in counts.items() if count)


def row(control: Control) -> Iterator[str]:
    yield f"`{control.id}`"
    yield control.severity
    yield cell(control.title)
    yield cell(", ".join(value for reference in control.references for name, value in reference.items() if name != "url"))
    variables = ", ".join(f"`{name}`" for name in control.remedy.variables)
    role = control.remedy.role.rpartition(".")[2]
    yield cell(f"`{role}`: {variables}" if role and variables else f"`{role}`" if role else "a person")
    yield cell(", ".join(f"`{name}` {value}" for name, value in control.parameters.items()))


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
