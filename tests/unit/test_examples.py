# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation shows can be used: each YAML example names modules, roles, options and variables that there are, each command is
one that its program takes, and each link leads somewhere."""

from __future__ import annotations

import argparse
import ast
import itertools
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import ansible.modules
import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.block import Block
from ansible.playbook.play import Play
from ansible.playbook.task import Task
from ansible.plugins.loader import fragment_loader
from ansible.utils.plugin_docs import get_docstring

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import CONNECTION
from lab.__main__ import parser as lab_parser
from passivekey.agent.cli import parser as agent_parser
from passivekey.server import settings
from passivekey.server.cli import parser as server_parser

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "certlogon.core."
PAGES = sorted(page for pattern in ("README.md", "docs/*.md", "roles/*/README.md") for page in ROOT.glob(pattern))
FACTS = {"vpn_gateway_status"}
PLUGINS = sorted(path for kind in ("modules", "filter") for path in (ROOT / "plugins" / kind).glob("*.py"))
OURS = re.compile(r"(certlogon|vpn_gateway|connect_secure|ocserv|passivekey_(server|workstation))_[a-z0-9_]+")
INCLUDES = {f"{prefix}{verb}_role" for prefix in ("", "ansible.builtin.") for verb in ("include", "import")}

pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the collection alone has no docs")


class Example(NamedTuple):
    """YAML of a page or plugin; `where` is its file and line."""

    where: str
    text: str


# ---- what there is


@cache
def module(name: str) -> Mapping[str, Any] | None:
    """The options of the module of this full name, those of its fragments too; None where there is no such module."""
    if name.startswith(NAMESPACE):
        path = ROOT / "plugins/modules" / f"{name.removeprefix(NAMESPACE)}.py"
        return documented(path) if path.is_file() else None
    path = Path(ansible.modules.__file__).with_name(f"{name.removeprefix('ansible.builtin.')}.py")
    if not name.startswith("ansible.builtin.") or not path.is_file():
        return None
    found: Mapping[str, Any] = get_docstring(str(path), fragment_loader)[0]["options"]
    return found


def documented(path: Path) -> Mapping[str, Any]:
    """What get_docstring says, which finds a collection's fragments only where Ansible itself loads collections."""
    own = yaml.safe_load(constant(path, "DOCUMENTATION"))
    found = dict(own.get("options") or {})
    for name in own.get("extends_documentation_fragment", ()):
        fragment, _dot, part = name.removeprefix(NAMESPACE).partition(".")
        text = constant(ROOT / "plugins/doc_fragments" / f"{fragment}.py", part.upper() or "DOCUMENTATION")
        found |= yaml.safe_load(text).get("options") or {}
    return found


def constant(path: Path, name: str) -> str:
    """The text that a plugin, or the class in it, gives this name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == [name]:
            return str(ast.literal_eval(node.value))
    raise KeyError(f"{path}: {name}")


@cache
def entry_points() -> Mapping[str, Mapping[str, Any]]:
    """Of each role the entry points, with their options."""
    specs = {path.parent.parent.name: path for path in ROOT.glob("roles/*/meta/argument_specs.yml")}
    return {role: yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"] for role, path in specs.items()}


@cache
def variables() -> Mapping[str, list[Mapping[str, Any]]]:
    """The variables that mean something: of roles with what they may hold, of playbooks and connections by their names."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for name, option in itertools.chain.from_iterable(
        entry.get("options", {}).items() for entries in entry_points().values() for entry in entries.values()
    ):
        found.setdefault(name, []).append(option)
    for name in CONNECTION:
        found.setdefault(f"connect_secure_{name}", [])
    for playbook in ROOT.glob("playbooks/*.yml"):
        for match in OURS.finditer(playbook.read_text(encoding="utf-8")):
            found.setdefault(match[0], [])
    return found


# ---- what is shown


def examples() -> Iterator[Example]:
    for path in PLUGINS:
        yield Example(str(path.relative_to(ROOT)), constant(path, "EXAMPLES"))
    for page in PAGES:
        for line, language, text in fences(page.read_text(encoding="utf-8")):
            if language == "yaml":
                yield Example(f"{page.relative_to(ROOT)}:{line}", text)
    for file in sorted(ROOT.glob("inventories/example/**/*.yml")):
        yield Example(str(file.relative_to(ROOT)), file.read_text(encoding="utf-8"))


def fences(text: str) -> Iterator[tuple[int, str, str]]:
    """The fenced blocks of a page: line, language, text without the indentation that a list gives it."""
    for match in re.finditer(r"(?ms)^( *)```(\w*)\n(.*?)^\1```", text):
        yield text.count("\n", 0, match.start()) + 1, match[2], re.sub(f"(?m)^{match[1]}", "", match[3])


# ---- whether it is right


def wrong(text: str) -> Iterator[str]:
    """What is wrong with an example: plays, tasks, an inventory's groups or variables."""
    content = DataLoader().load(text)
    if isinstance(content, list):
        for item in content:
            yield from wrong_play(item) if "hosts" in item else wrong_task(item)
    elif content and all(isinstance(value, Mapping) and {"hosts", "vars", "children"} >= set(value) for value in content.values()):
        yield from wrong_groups(content)
    else:
        yield from wrong_variables(content or {})


def wrong_groups(groups: Mapping[str, Any]) -> Iterator[str]:
    for group in groups.values():
        yield from wrong_variables(group.get("vars") or {})
        for host in (group.get("hosts") or {}).values():
            yield from wrong_variables(host or {})
        yield from wrong_groups(group.get("children") or {})


def wrong_variables(given: Mapping[str, Any]) -> Iterator[str]:
    for name, value in given.items():
        if not OURS.fullmatch(name):
            continue
        known = variables().get(name)
        if known is None:
            yield f"there is no variable {name}"
        elif known and not any(not list(wrong_value(option, value, name)) for option in known):
            yield from wrong_value(known[0], value, name)


def wrong_play(play: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{word} is no keyword of a play" for word in play if word not in Play.fattributes and word != "hosts")
    yield from wrong_variables(play.get("vars") or {})
    for group, given in (play.get("module_defaults") or {}).items():
        if not group.startswith("group/"):
            yield from wrong_options(group, given, partly=True)
    for part in ("pre_tasks", "tasks", "post_tasks", "handlers"):
        for task in play.get(part) or ():
            yield from wrong_task(task)


def wrong_task(task: Mapping[str, Any]) -> Iterator[str]:
    if "block" in task:
        yield from (f"{word} is no keyword of a block" for word in task if word not in Block.fattributes)
        for part in ("block", "rescue", "always"):
            for one in task.get(part) or ():
                yield from wrong_task(one)
        return
    words = [word for word in task if word not in Task.fattributes and not word.startswith("with_")]
    yield from wrong_variables(task.get("vars") or {})
    if len(words) != 1:
        yield f"one module is needed, found: {words}"
        return
    if words[0] in INCLUDES:
        yield from wrong_role(task[words[0]])
    yield from wrong_options(words[0], task[words[0]] or {})


def wrong_role(given: Mapping[str, Any]) -> Iterator[str]:
    role, point = given["name"].removeprefix(NAMESPACE), given.get("tasks_from", "main")
    if role not in entry_points() or not given["name"].startswith(NAMESPACE):
        yield f"there is no role {given['name']}"
    elif point not in entry_points()[role]:
        yield f"role {role} has no entry point {point}"


def wrong_options(name: str, given: Any, *, partly: bool = False) -> Iterator[str]:
    known = module(name)
    if known is None or "." not in name:
        yield f"there is no module {name}; write its full name"
    elif isinstance(given, Mapping):
        # What connects may come from module_defaults, so what a module requires is not asked for here.
        yield from wrong_entries(known, given, name, complete=False)


def wrong_entries(known: Mapping[str, Any], given: Mapping[str, Any], where: str, *, complete: bool = True) -> Iterator[str]:
    names = dict(known) | {alias: option for option in known.values() for alias in option.get("aliases", ())}
    for name, value in given.items():
        if name not in names:
            yield f"{where} has no option {name}"
        else:
            yield from wrong_value(names[name], value, f"{where}.{name}")
    if complete:
        for name, option in known.items():
            if option.get("required") and not {name, *option.get("aliases", ())} & set(given):
                yield f"{where} needs {name}"


def wrong_value(option: Mapping[str, Any], value: Any, where: str) -> Iterator[str]:
    if isinstance(value, str) and "{{" in value:
        return
    kind, below = option.get("type", "str"), option.get("options") or option.get("suboptions")
    values = [value]
    if kind == "list":
        values, kind = (value if isinstance(value, list) else [value]), option.get("elements", "raw")
    for one in values:
        if isinstance(one, str) and "{{" in one:
            continue
        if kind == "dict" and below and isinstance(one, Mapping):
            yield from wrong_entries(below, one, where)
        elif not FITS.get(kind, fits_anything)(one):
            yield f"{where} is {kind}, not {one!r}"
        elif option.get("choices") and one not in option["choices"]:
            yield f"{where} is one of {list(option['choices'])}, not {one!r}"


def fits_anything(value: Any) -> bool:
    return True


FITS: Mapping[str, Callable[[Any], bool]] = {
    "dict": lambda value: isinstance(value, Mapping),
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "str": lambda value: not isinstance(value, (list, Mapping)),
    "path": lambda value: isinstance(value, str),
}


SHOWN = list(examples()) if (ROOT / "docs").is_dir() else []


@pytest.mark.parametrize("example", SHOWN, ids=[example.where for example in SHOWN])
def test_example(example: Example) -> None:
    assert list(wrong(example.text)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- certlogon.core.group_policy: {}", "there is no module certlogon.core.group_policy; write its full name"),
        ("- copy: {dest: a}", "there is no module copy; write its full name"),
        ("- ansible.builtin.copy: {destination: a}", "ansible.builtin.copy has no option destination"),
        ("- certlogon.core.connect_secure_realms: {config: [{sort: a}]}", "certlogon.core.connect_secure_realms.config has no option sort"),
        ("- certlogon.core.connect_secure_realms: {config: [{kind: user}]}", "certlogon.core.connect_secure_realms.config needs name"),
        ("- certlogon.core.group_policies: {state: there}", "certlogon.core.group_policies.state is one of"),
        ("- certlogon.core.group_policies: {passwort: a}", "certlogon.core.group_policies has no option passwort"),
        ("- certlogon.core.group_policies: {}\n  regster: a", "one module is needed, found: ['certlogon.core.group_policies', 'regster']"),
        ("- ansible.builtin.include_role: {name: certlogon.core.exports}", "there is no role certlogon.core.exports"),
        ("- ansible.builtin.include_role: {name: certlogon.core.export, tasks_from: all}", "role export has no entry point all"),
        ("- hosts: a\n  tasks: [{certlogon.core.group_policies: {timeout: soon}}]", "certlogon.core.group_policies.timeout is int"),
        ("certlogon_card_urn: pkcs11:token=a", "there is no variable certlogon_card_urn"),
        ("a: {hosts: {b: {vpn_gateway_server_names: {c: d}}}}", "vpn_gateway_server_names is str, not {'c': 'd'}"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(text: str, message: str) -> None:
    assert any(found.startswith(message) for found in wrong(text)), list(wrong(text))


# ---- names, commands, links


def code(text: str) -> Iterator[str]:
    """The lines of a page's blocks of code, fenced or indented, as one types them."""
    blocks = [block for _line, language, block in fences(text) if language in ("", "console")]
    blocks += re.findall(r"(?m)(?:^\n)((?:^ {4}.*\n)+)", re.sub(r"(?ms)^( *)```.*?^\1```", "", text))
    for line in itertools.chain.from_iterable(block.replace("\\\n", " ").splitlines() for block in blocks):
        yield from (part.strip().removeprefix("$ ") for part in line.split("; "))


def commands() -> Iterator[tuple[str, argparse.ArgumentParser, list[str]]]:
    programs = {"passivekey": server_parser(), "passivekey-agent": agent_parser(), "./certlogon lab": lab_parser()}
    for page in PAGES:
        for line, (program, parser) in itertools.product(code(page.read_text(encoding="utf-8")), programs.items()):
            if line.startswith(f"{program} "):
                # of a|b the first, of what may be left out all
                plain = re.sub(r"[\[\]…]|(?<=\w)(\|\w+)+", "", line.removeprefix(program).partition(" | ")[0])
                yield f"{page.relative_to(ROOT)}: {line}", parser, shlex.split(plain, comments=True)


def test_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for where, parser, words in commands():
        try:
            parser.parse_args(words)
        except SystemExit:
            pytest.fail(f"{where}\n{capsys.readouterr().err}")


def test_playbooks_on_command_lines() -> None:
    """Each is there, and -e has no backslash, which Ansible takes for the beginning of a control character."""
    playbooks = {f"{NAMESPACE}{path.stem}" for path in ROOT.glob("playbooks/*.yml")}
    wrong_lines = []
    for page in PAGES:
        for line in code(page.read_text(encoding="utf-8")):
            named = re.match(r"(?:ansible-playbook|…) (?:-\S+ \S+ )*([\w.]+)", line)
            if named and (named[1] not in playbooks or re.search(r"-e \S*\\", line)):
                wrong_lines.append(f"{page.name}: {line}")
    assert wrong_lines == []


def test_settings_of_the_passivekey_server(tmp_path: Path) -> None:
    """All blocks of the guide together are a file that the server takes."""
    text = (
        (ROOT / "docs/passivekey-server.md").read_text(encoding="utf-8").replace("/etc/passivekey", str(tmp_path)).replace("-…-", "-1-2-3-")
    )
    blocks = re.findall(r"(?m)^(?: {4}(?:origin =|\[).*\n)(?: {4}.*\n)+", text)
    for name in re.findall(rf'"({tmp_path}/[^"]+)"', "".join(blocks)):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("0123456789abcdef" * 2, encoding="utf-8")
        Path(name).chmod(0o600)
    file = tmp_path / "server.toml"
    file.write_text(re.sub("(?m)^    ", "", "\n".join(blocks)), encoding="utf-8")
    read = settings.load(file)
    assert read.backend and (read.audit_days, list(read.sites)) == (365, ["intranet.corp.example"])


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?ms)^( *)```.*?^\1```", "", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links() -> None:
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if "://" in target:
                continue
            path, _mark, anchor = target.partition("#")
            there = (page.parent / path).resolve() if path else page
            if not there.exists() or (anchor and anchor not in anchors(there)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_files_that_are_named() -> None:
    """In requirements.md the folder `tests` is left out, in pages on modules that of module_utils."""
    missing = []
    for page in PAGES:
        for name in re.findall(
            r"`((?:tests|unit|integration|plugins|lab|docs|roles|inventories|compliance)/[\w./*-]+)`", page.read_text(encoding="utf-8")
        ):
            if not any(any(ROOT.glob(f"{folder}{name.rstrip('/')}")) for folder in ("", "tests/", "plugins/module_utils/")):
                missing.append(f"{page.name}: {name}")
    assert missing == []


def test_names() -> None:
    """Variables, modules, roles, playbooks and plugins that pages speak of."""
    names = {path.stem for pattern in ("plugins/*/*.py", "playbooks/*.yml") for path in ROOT.glob(pattern)} | set(entry_points())
    groups = set(yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))["action_groups"])
    unknown = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        unknown += [f"{page.name}: {name}" for name in re.findall(r"certlogon\.core\.(\w+)", text) if name not in names | groups]
        words = {match[0] for match in re.finditer(rf"(?<!\w){OURS.pattern}(?!\w|\.py)", text)}
        unknown += [f"{page.name}: {word}" for word in sorted(words) if word not in names | FACTS and word not in variables()]
    assert unknown == [], "\n".join(unknown)


def test_nothing_came_with_a_later_version() -> None:
    """Nobody has a version that is newer than galaxy.yml's; wheels in examples are of that version."""
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"]
    for path in ROOT.glob("plugins/*/*.py"):
        for added in re.findall(r"version_added: *[\"']?([0-9.]+)", path.read_text(encoding="utf-8")):
            assert [*map(int, added.split("."))] <= [*map(int, version.split("."))], path
    shown = "".join(
        path.read_text(encoding="utf-8") for path in (*PAGES, *ROOT.glob("docs/ci/*.yml"), *ROOT.glob("inventories/example/**/*.yml"))
    )
    assert set(re.findall(r"certlogon-([0-9.]+)-py3", shown)) == {version}


def test_the_readme_names_every_role() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [role for role in entry_points() if f"](roles/{role}/README.md)" not in readme] == []
