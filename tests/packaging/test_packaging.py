# SPDX-License-Identifier: GPL-3.0-or-later
"""Wheel, development install and tarball, each into an empty environment, and a module run from there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
CERTIFICATES = {"config": [{"user": "alice", "mappings": ["X509:<I>DC=example,DC=corp,CN=CA<SR>2b0000"]}], "state": "rendered"}
PLAY = [
    {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
        "tasks": [
            {"name": "in the controller's process", "certlogon.core.ad_certificate_mappings": CERTIFICATES, "register": "first"},
            {
                "name": "as a module",
                "certlogon.core.ad_certificate_mappings": CERTIFICATES,
                "environment": {"A": "b"},
                "register": "second",
            },
            {"ansible.builtin.assert": {"that": ["first.rendered == second.rendered", "first.rendered[0].user == 'alice'"]}},
        ],
    }
]
# What a user gets, by first part of the path. Whoever adds to it decides that users need it.
SHIPPED = {
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "changelogs",
    "docs",
    "extensions",
    "inventories",
    "meta",
    "playbooks",
    "plugins",
    "roles",
    "tests",
}
SHIPPED |= {"FILES.json", "MANIFEST.json", "pyproject.toml", ".ansible-lint"}
NEVER = {
    "certlogon",
    "build",
    "collections",
    "dist",
    "lab",
    ".git",
    ".gitignore",
    ".ci",
    "__pycache__",
    ".hypothesis",
    ".coverage",
    "output",
    "bare",
}


@dataclass(frozen=True)
class Environment:
    """A virtual environment with nothing of ours but what a test puts there."""

    folder: Path
    home: Path

    def run(self, program: str, *arguments: str | Path, env: Mapping[str, str] | None = None, fails: bool = False) -> str:
        command = [str(self.folder / "bin" / program), *map(str, arguments)]
        own = {
            "HOME": str(self.home),
            "ANSIBLE_HOME": str(self.home / ".ansible"),
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            **(env or {}),
        }
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "PYTHON", "CERTLOGON_", "VIRTUAL_ENV", "COVERAGE_"))
        }
        done = subprocess.run(
            command, env={**inherited, **own}, cwd=self.home, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        if (done.returncode != 0) != fails:
            pytest.fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}", pytrace=False)
        return done.stdout + done.stderr if fails else done.stdout

    def pip(self, *arguments: str | Path) -> None:
        self.run(
            "python", "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--quiet", *arguments, env=pip_environment()
        )


def pip_environment() -> dict[str, str]:
    """pip keeps the settings and the cache of who runs the tests, whose home it does not see."""
    home = os.environ.get("HOME", "/root")
    settings = Path(home) / ".config/pip/pip.conf"
    return {"PIP_CACHE_DIR": f"{home}/.cache/pip"} | ({"PIP_CONFIG_FILE": str(settings)} if settings.is_file() else {})


def empty_environment(folder: Path) -> Environment:
    home = folder / "home"
    home.mkdir()
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    (home / "play.yml").write_text(json.dumps(PLAY))
    return Environment(folder / "venv", home)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy of the checkout, to change at will."""
    copy = tmp_path_factory.mktemp("source") / "certlogon"
    given = os.environ.get("CERTLOGON_SOURCE")
    if given:
        shutil.copytree(given, copy)
    else:
        ignored = shutil.ignore_patterns(".git", "build", "collections", "dist", "__pycache__", ".*_cache", ".hypothesis")
        shutil.copytree(CHECKOUT, copy, ignore=ignored)
    return copy


@pytest.fixture(scope="session")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("CERTLOGON_WHEEL")
    if given:
        return Path(given)
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def tarball(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tarball")
    clutter(source)
    builder = Path(sys.executable).with_name("ansible-galaxy")
    subprocess.run([builder, "collection", "build", "--output-path", folder, source], check=True, capture_output=True)
    return next(folder.glob("*.tar.gz"))


def clutter(source: Path) -> None:
    """What development leaves in a checkout and nobody should get."""
    for name in (
        "build/x",
        "dist/x.whl",
        ".pytest_cache/x",
        ".mypy_cache/x",
        ".ruff_cache/x",
        ".hypothesis/x",
        ".ansible/x",
        ".git/config",
        "old.tar.gz",
    ):
        file = source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    for name in (".coverage", ".coverage.host.1", "tests/output/x", "plugins/__pycache__/x.pyc", "tests/unit/__pycache__/x.pyc"):
        file = source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")


def version() -> str:
    return str(yaml.safe_load((CHECKOUT / "galaxy.yml").read_text())["version"])


# ---- wheel


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = empty_environment(tmp_path_factory.mktemp("wheel"))
    environment.pip(wheel)
    return environment


def test_wheel_runs_a_module(installed):
    installed.run("ansible-playbook", "play.yml")


def test_wheel_has_the_playbooks_by_name(installed):
    installed.run("ansible-playbook", "certlogon.core.site", "--syntax-check", "-i", "localhost,")
    installed.run("ansible-playbook", "certlogon.core.export", "--syntax-check", "-i", "localhost,")


def test_wheel_has_the_documentation(installed):
    listed = installed.run("ansible-doc", "--list", "--type", "module", "certlogon.core")
    modules = {path.stem for path in (CHECKOUT / "plugins/modules").glob("*.py")}
    assert {line.split()[0].rpartition(".")[2] for line in listed.splitlines() if line.strip()} == modules
    assert "certlogon.core.ad_certificate_mappings" in installed.run("ansible-doc", "certlogon.core.ad_certificate_mappings").lower()
    roles = {f"certlogon.core.{path.parent.parent.name}" for path in CHECKOUT.glob("roles/*/meta/argument_specs.yml")}
    assert json.loads(installed.run("ansible-doc", "--type", "role", "--json", *roles)).keys() == roles


def test_wheel_tells_its_version(installed):
    listed = json.loads(installed.run("ansible-galaxy", "collection", "list", "certlogon.core", "--format", "json"))
    assert [found["certlogon.core"]["version"] for found in listed.values()] == [version()]


# ---- development install, then the tarball in what remains of that environment


@pytest.fixture(scope="session")
def developing(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = empty_environment(tmp_path_factory.mktemp("develop"))
    link = source / "collections/ansible_collections/certlogon/core"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to("../../..")
    environment.pip("-e", source)
    return environment


def test_development_install_is_live(developing, source):
    developing.run("ansible-playbook", "play.yml")
    module = source / "plugins/action/ad_certificate_mappings.py"
    before = module.read_text()
    try:
        module.write_text('raise RuntimeError("edited a moment ago")\n')
        assert "edited a moment ago" in developing.run("ansible-playbook", "play.yml", fails=True)
    finally:
        module.write_text(before)
    developing.run("ansible-playbook", "certlogon.core.site", "--syntax-check", "-i", "localhost,")


def test_tarball_is_clean(tarball):
    with tarfile.open(tarball) as archive:
        names = [member.name for member in archive.getmembers() if member.name != "."]
    assert {name.split("/")[0] for name in names} <= SHIPPED
    assert not [name for name in names if NEVER.intersection(name.split("/")) and not name.startswith(("tests/unit/lab", "inventories"))]
    assert not [name for name in names if name.endswith((".pyc", ".whl", ".tar.gz", ".log"))]
    assert {f"plugins/modules/{path.name}" for path in (CHECKOUT / "plugins/modules").glob("*.py")} <= set(names)


def test_tarball_runs_a_module(developing, tarball, tmp_path):
    developing.run("python", "-m", "pip", "uninstall", "--yes", "--quiet", "certlogon")
    folder = tmp_path / "collections"
    developing.run("ansible-galaxy", "collection", "install", tarball, "-p", folder, "--offline", "--no-deps")
    assert "couldn't resolve module" in developing.run("ansible-playbook", "play.yml", fails=True)
    there = {"ANSIBLE_COLLECTIONS_PATH": str(folder)}
    developing.run("ansible-playbook", "play.yml", env=there)
    developing.run("ansible-playbook", "certlogon.core.site", "--syntax-check", "-i", "localhost,", env=there)
    listed = json.loads(developing.run("ansible-galaxy", "collection", "list", "certlogon.core", "--format", "json", env=there))
    assert {path: found["certlogon.core"]["version"] for path, found in listed.items()} == {f"{folder}/ansible_collections": version()}
