#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the tables of variables in the roles' README files from meta/argument_specs.yml, the only source of a role's variables.

role_docs.py            write the tables
role_docs.py --check    change nothing; exit code 1 where a table is not current, or defaults/main.yml differs from the specification
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

PREFIXES = ("certlogon_", "vpn_gateway_", "connect_secure_", "ocserv_", "passivekey_")
ROLES = Path(__file__).resolve().parents[2] / "roles"
BEGIN = "<!-- begin of generated variables: tests/tools/role_docs.py -->"
END = "<!-- end of generated variables -->"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, report what is not current")
    check = parser.parse_args().check
    roles = sorted(path.parent.parent for path in ROLES.glob("*/meta/argument_specs.yml"))
    problems = [problem for role in roles for problem in work(role, check)]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def work(role: Path, check: bool) -> Iterator[str]:
    entries = yaml.safe_load((role / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    yield from unlike_defaults(role, entries)
    readme = role / "README.md"
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        yield f"{role.name}/README.md: the marks of the generated part are missing: {BEGIN} … {END}"
        return
    current = with_tables(text, entries)
    if current != text and check:
        yield f"{role.name}/README.md: the tables of variables are not current; run tests/tools/role_docs.py"
    elif current != text:
        readme.write_text(current, encoding="utf-8")


def with_tables(text: str, entries: Mapping[str, Any]) -> str:
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    return f"{head}{BEGIN}\n\n{tables(entries)}\n{END}{tail}"


def tables(entries: Mapping[str, Any]) -> str:
    """One table for each entry point."""
    parts = []
    for name, entry in entries.items():
        if len(entries) > 1:
            parts.append(f"### Entry point `{name}`: {entry['short_description']}\n")
        parts.append(table(entry.get("options", {})))
    return "\n".join(parts)


def table(options: Mapping[str, Any]) -> str:
    lines = ["| Variable | Type | Default | What it is |", "|---|---|---|---|", *rows(options)]
    return "\n".join(lines) + "\n"


def rows(options: Mapping[str, Any], parent: str = "") -> Iterator[str]:
    for name, option in options.items():
        yield "| " + " | ".join((f"`{parent}{name}`", kind(option), default(option), description(option))) + " |"
        below = f"{parent}{name}[]." if option.get("type") == "list" else f"{parent}{name}."
        yield from rows(option.get("options", {}), below)


def kind(option: Mapping[str, Any]) -> str:
    words = str(option.get("type", "str"))
    return f"list of {option['elements']}" if words == "list" and "elements" in option else words


def default(option: Mapping[str, Any]) -> str:
    if option.get("required"):
        return "**required**"
    return f"`{json.dumps(option['default'], ensure_ascii=False)}`" if "default" in option else ""


def description(option: Mapping[str, Any]) -> str:
    paragraphs = option["description"] if isinstance(option["description"], list) else [option["description"]]
    text = markdown(" ".join(str(paragraph).strip() for paragraph in paragraphs))
    choices = ", ".join(f"`{choice}`" for choice in option.get("choices", ()))
    return f"{text} One of {choices}." if choices else text


def markdown(text: str) -> str:
    """Ansible's markup as Markdown, in one table cell."""
    text = re.sub(r"\b(?:C|V|O|RV|M|P|E|I)\(([^()]*)\)", r"`\1`", " ".join(text.split()))
    return re.sub(r"\bB\(([^()]*)\)", r"**\1**", text).replace("|", "\\|")


def unlike_defaults(role: Path, entries: Mapping[str, Any]) -> Iterator[str]:
    """A value in defaults/main.yml is the documented one; computed ones (templates) have no documented value."""
    path = role / "defaults/main.yml"
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or {} if path.exists() else {}
    options = {name: option for entry in entries.values() for name, option in entry.get("options", {}).items()}
    for name in sorted({*values, *options}):
        where = f"{role.name}: {name}"
        if name not in options:
            yield f"{where} has a default in defaults/main.yml and no entry in meta/argument_specs.yml"
        elif not name.startswith(PREFIXES):
            yield f"{where}: the variables of a role begin with {', '.join(PREFIXES)}"
        elif "default" in options[name] and options[name]["default"] != values.get(name):
            yield f"{where} is {values.get(name)!r} in defaults/main.yml, {options[name]['default']!r} in meta/argument_specs.yml"
        elif "default" not in options[name] and name in values and not computed(values[name]):
            yield f"{where} has a default in defaults/main.yml that meta/argument_specs.yml does not show"


def computed(value: Any) -> bool:
    return "{{" in json.dumps(value)


if __name__ == "__main__":
    sys.exit(main())
