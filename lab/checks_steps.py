# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of `test` on this machine: style, types, Ansible's own checks, unit and integration tests, packaging, coverage."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.checks_runner import Job, StepFailed, StepSkipped, junit_tally
from lab.settings import CHECKOUT

OUT = CHECKOUT / "build/test"
HOME = OUT / "home"
DATA = OUT / "coverage"
BIN = Path(sys.executable).parent
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
COLLECTION = Path("ansible_collections/certlogon/core")
LEAST_COVERAGE = 90
LONG = "CERTLOGON_TEST_LONG"
THE_STAND_IN_ITSELF = ("--ignore-glob=tests/unit/lab/test_windows_ca_*",)
"""Its own tests; what uses it is tested in every run."""
# In this order: each goes on from what those before have rolled out.
WHOLE_SITE = tuple(
    f"tests/integration/test_{name}.py" for name in ("site_with_ca", "site_with_vpn", "compliance_whole", "compliance_read_only")
)
# Not part of the collection, or of no use without what is not: ruff (and mypy, but for tests) judges it.
BESIDE_THE_COLLECTION = (
    *("lab", "passivekey", "certlogon", "Makefile", ".ci", "inventories/lab"),
    *("tests/bare", "tests/tools", "tests/benchmarks", "tests/packaging", "tests/integration", "tests/unit/lab", "tests/unit/passivekey"),
)
# Sanity tests that cannot run, each with its reason.
NO_SANITY = {
    "pslint": "needs PowerShell, which no Debian package has",
    "shellcheck": "",  # replaced below where the program is there
}
USERS_OWN = ("ANSIBLE_", "MOLECULE_", "COVERAGE_", "PYTEST_", "PYTHON", "XDG_", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX", "LC_", "LANG")
USERS_CONNECTION = tuple(
    f"CERTLOGON_{n}" for n in ("SERVER", "DOMAIN", "PORT", "USERNAME", "PASSWORD", "AUTH", "TLS", "CA_PATH", "VALIDATE", "TIMEOUT")
)


# ---- the environment of all steps


def lab_name(part: str = "", pid: int | None = None) -> str:
    """Labs of this run; the number tells whose they are."""
    return f"test-{pid or os.getpid()}" + (f"-{part}" if part else "")


def environment(users: Mapping[str, str]) -> dict[str, str]:
    """The user's environment without the settings that would change what the tools do; a home of our own."""
    kept = {k: v for k, v in users.items() if not k.startswith((*USERS_OWN, *USERS_CONNECTION)) and k not in ("FORCE_COLOR", "PY_COLORS")}
    vectors = users.get("CERTLOGON_VECTORS") or str(CHECKOUT.parent / "shared/vectors")
    return kept | {
        "HOME": str(HOME),
        "PATH": f"{BIN}:{users.get('PATH', os.defpath)}",
        "VIRTUAL_ENV": str(BIN.parent),
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "ANSIBLE_CONFIG": str(HOME / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_HOME": str(HOME / ".ansible"),
        "CERTLOGON_VECTORS": vectors,
        "CERTLOGON_LAB": lab_name(),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(OUT / "hypothesis"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def prepare(users: Mapping[str, str]) -> None:
    """Fresh folders, and a home whose pip reaches the same index as the user's."""
    shutil.rmtree(DATA, ignore_errors=True)
    for folder in (DATA, HOME / ".config/pip"):
        folder.mkdir(parents=True, exist_ok=True)
    for old in (*OUT.glob("*.log"), *OUT.glob("*.xml")):
        old.unlink()
    (HOME / ".config/pip/pip.conf").write_text(pip_settings(users))
    (HOME / ".gitconfig").write_text("[user]\n\tname = test\n\temail = test@example.invalid\n[init]\n\tdefaultBranch = main\n")
    (HOME / "ansible.cfg").write_text("# nobody's settings\n")
    (OUT / "coverage.ini").write_text(coverage_settings())


def pip_settings(users: Mapping[str, str]) -> str:
    """The user's pip settings, those of the environment too, as a pip.conf: ansible-test hands no PIP_ variable on."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], env=dict(users), capture_output=True, text=True, check=False
    ).stdout
    sections: dict[str, dict[str, str]] = {"global": {}}
    for section, key, value in re.findall(r"(?m)^(:env:|[\w-]+)\.([\w-]+)=(.+)$", listed):
        sections.setdefault("global" if section == ":env:" else section, {})[key] = str(ast.literal_eval(value))
    proxy = next((users[name] for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY") if users.get(name)), "")
    if proxy:
        sections["global"].setdefault("proxy", proxy)
    blocks = ["\n".join([f"[{section}]", *(f"{key} = {value}" for key, value in values.items())]) for section, values in sections.items()]
    return "\n".join(blocks).replace("\n\n", "\n") + "\n"


def coverage_settings() -> str:
    """Lines of plugins/, in pytest and what it forks.

    Not in ansible-playbook: measuring costs each of its hundreds of processes half a second.
    """
    anywhere = f"*/{COLLECTION}/plugins"
    return "\n".join(
        [
            "[run]",
            f"data_file = {DATA / 'data'}",
            "parallel = true",
            "patch = fork, _exit",
            f"include = {CHECKOUT}/plugins/*, {anywhere}/*",
            "disable_warnings = no-data-collected, module-not-measured, couldnt-parse",
            "[paths]",
            f"plugins =\n    {CHECKOUT}/plugins\n    {anywhere}",
            "[report]",
            f"include = {CHECKOUT}/plugins/*",
            "exclude_also =\n    if TYPE_CHECKING:\n    @(abc\\.)?abstractmethod",
            "show_missing = true",
            "skip_covered = true",
            "include_namespace_packages = true",
            "",
        ]
    )


def files() -> list[Path]:
    """All files of the checkout that git does not ignore, relative; whether they are committed or not, and without a .git too."""
    index = OUT / "files.git"
    shutil.rmtree(index, ignore_errors=True)
    git = ["git", f"--git-dir={index}", f"--work-tree={CHECKOUT}"]
    env = {**os.environ, "HOME": str(HOME), "LC_ALL": "C.UTF-8"}
    subprocess.run([*git, "init", "-q"], env=env, check=True, capture_output=True)
    listed = subprocess.run(
        [*git, "ls-files", "-z", "-o", "--exclude-standard"], cwd=CHECKOUT, env=env, check=True, capture_output=True, text=True
    )
    return [Path(name) for name in listed.stdout.split("\0") if name and not name.startswith(".git/") and (CHECKOUT / name).is_file()]


def copy_checkout(target: Path, without: Sequence[str] = ()) -> Path:
    """A clean copy of the checkout, which is what Ansible's tools must see; `without` these files and folders."""
    with _files_lock:
        names = [name for name in files() if not any(str(name) == left or str(name).startswith(f"{left}/") for left in without)]
    shutil.rmtree(target, ignore_errors=True)
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, target / name)
    return target


_files_lock = threading.Lock()


def collection_copy(job: Job, without: Sequence[str] = ()) -> Path:
    """A copy where ansible-test wants it: ansible_collections/certlogon/core, a git repository."""
    copy = copy_checkout(OUT / job.step.name / COLLECTION, without)
    for command in (["git", "init", "-q"], ["git", "add", "-A"], ["git", "commit", "-q", "-m", "copy"]):
        job.run(command, cwd=copy)
    return copy


# ---- style and types


def ruff(job: Job) -> None:
    codes = [job.run([BIN / "ruff", "check", "."], ends=None), job.run([BIN / "ruff", "format", "--check", "--quiet", "."], ends=None)]
    if any(codes):
        job.run([BIN / "ruff", "format", "--diff", "--quiet", "."], ends=None) if codes[1] else None
        raise StepFailed("; ".join(name for name, code in zip(("ruff check", "ruff format --check"), codes, strict=True) if code))


def mypy(job: Job) -> None:
    common = [str(BIN / "mypy"), f"--cache-dir={OUT / 'mypy_cache'}"]
    for part in ("module_utils", "plugin_utils"):
        job.run([*common, "--strict", "-p", f"ansible_collections.certlogon.core.plugins.{part}"])
    job.run([*common, "lab", "passivekey"])


def ansible_lint(job: Job) -> None:
    job.run([BIN / "ansible-lint", "--offline", "--profile", "production", "--nocolor"], cwd=copy_checkout(OUT / "lint" / COLLECTION))


# ---- Ansible's own checks

GET_PIP = '''\
"""Stands in for the get-pip script that ansible-test would download: the pip that comes with Python, then what was asked for."""
import os, runpy, sys
settings = dict(os.environ)
import ensurepip
ensurepip.bootstrap(default_pip=True)
os.environ.clear()
os.environ.update(settings)  # ensurepip switches pip's configuration off
sys.argv = ["pip", "install", *(word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel"))]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
'''


def offline_pip(job: Job) -> None:
    """Put our stand-in where ansible-test looks before it downloads get-pip."""
    version = job.output(
        [
            sys.executable,
            "-c",
            "from ansible_test._internal.python_requirements import get_venv_packages as g; print(g(type('P', (), {'version': ''})))",
        ]
    )
    found = re.search(r"'pip': '([\d.]+)'", version)
    if not found:
        raise StepFailed("this ansible-test does not tell which pip it wants")
    cache = HOME / ".ansible/test/cache"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / f"get_pip_{found[1].replace('.', '_')}.py").write_text(GET_PIP)


def sanity(job: Job) -> str:
    copy = collection_copy(job, BESIDE_THE_COLLECTION)
    offline_pip(job)
    skipped = dict(NO_SANITY)
    if shutil.which("shellcheck"):
        del skipped["shellcheck"]
    else:
        skipped["shellcheck"] = "the Debian package shellcheck is not installed"
    words = [word for name in skipped for word in ("--skip-test", name)]
    job.run([BIN / "ansible-test", "sanity", "--python", VERSION, "--color", "no", *words], cwd=copy)
    return "; ".join(f"without {name}: {reason}" for name, reason in skipped.items())


# Step "unit" runs all of them; here it is seen that they run the way Ansible runs a collection's tests.
UNITS = ("test_resource.py", "test_in_process.py", "adcs/", "directory/", "filter/")


def units(job: Job) -> None:
    copy = collection_copy(job)
    link_vectors(job, copy)
    chosen = [f"tests/unit/{part}" for part in UNITS]
    code = job.run([BIN / "ansible-test", "units", "--python", VERSION, "--color", "no", *chosen], cwd=copy, ends=None)
    job.tests = junit_tally((copy / "tests/output/junit").glob("*.xml"))
    if code:
        raise StepFailed(f"ansible-test units ended with code {code}")


def link_vectors(job: Job, copy: Path) -> None:
    """ansible-test hands no variable of ours on; the tests look beside the checkout."""
    vectors = Path(job.environment["CERTLOGON_VECTORS"])
    for folder in (vectors, vectors.parent / "reference"):
        link = copy.parent / "shared" / folder.name
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        if folder.is_dir():
            link.symlink_to(folder)


def documentation(job: Job) -> None:
    # antsibull-docs looks at what git knows, and this checkout's git ignores the folder that copies are in.
    copy = collection_copy(job)
    job.run([BIN / "antsibull-docs", "lint-collection-docs", "--plugin-docs", "--skip-rstcheck", "."], cwd=copy)
    job.run([BIN / "antsibull-changelog", "lint"], cwd=copy)
    job.run([BIN / "antsibull-changelog", "lint-changelog-yaml", "changelogs/changelog.yaml"], cwd=copy)
    job.run([sys.executable, "tests/tools/role_docs.py", "--check"])
    job.run([sys.executable, "tests/tools/compliance_docs.py", "--check"])


# ---- pytest


def pytest(job: Job, *arguments: str, prefix: Sequence[str] = (), coverage: bool = False, env: Mapping[str, str] | None = None) -> None:
    """Run tests and take their outcomes; `prefix` is the command that leads into a lab."""
    report = OUT / f"{job.step.name}.xml"
    temporary = OUT / "tmp" / job.step.name
    temporary.parent.mkdir(exist_ok=True)
    measured = ["-m", "coverage", "run", f"--rcfile={OUT / 'coverage.ini'}"] if coverage else []
    options = ["-o", f"cache_dir={OUT / 'pytest_cache'}", f"--basetemp={temporary}", f"--junitxml={report}", "--color=no", "--durations=10"]
    code = job.run([*prefix, sys.executable, *measured, "-m", "pytest", *options, *arguments], ends=None, env=env)
    if report.is_file():
        job.tests = junit_tally([report])
    if code == 0:
        shutil.rmtree(temporary, ignore_errors=True)
    if code == 5 and not job.tests.failed:
        raise StepSkipped("there are no such tests yet")
    if code:
        raise StepFailed(f"pytest ended with code {code}")


def unit(job: Job) -> None:
    pytest(job, *([] if long_run() else THE_STAND_IN_ITSELF), "tests/unit", coverage=long_run())


def in_lab(name: str) -> list[str]:
    """The command that leads into the network of a lab."""
    return [sys.executable, "-m", "lab", "exec", "--name", name, "machine", "--"]


def lab_up(job: Job, name: str, *extras: str) -> None:
    job.run([sys.executable, "-m", "lab", "up", "--name", name, *(word for extra in extras for word in ("--with", extra))])


def lab(job: Job) -> str:
    lab_up(job, lab_name(), "passivekey")
    return lab_name()


def long_run() -> bool:
    return bool(os.environ.get(LONG))


def of_this_run(marks: str) -> str:
    """Long tests are part of a run with --long only."""
    return marks if long_run() else f"{marks} and not long"


def integration(job: Job) -> None:
    lab_up(job, lab_name(), "passivekey")
    pytest(job, "-m", of_this_run("not ca and not vpn"), "tests/integration", prefix=in_lab(lab_name()), coverage=long_run())


def authority(job: Job) -> None:
    name = lab_name("ca")
    lab_up(job, name, "ca1")
    elsewhere = [f"--ignore={file}" for file in WHOLE_SITE]
    pytest(job, "-m", of_this_run("ca and not vpn"), *elsewhere, "tests/integration", prefix=in_lab(name), env={"CERTLOGON_LAB": name})


def gateways(job: Job) -> None:
    name = lab_name("vpn")
    lab_up(job, name, "vpn", "passivekey")
    try:
        pytest(job, "-m", of_this_run("vpn and not ca"), "tests/integration", prefix=in_lab(name), env={"CERTLOGON_LAB": name})
    finally:
        job.run([sys.executable, "-m", "lab", "down", "--name", name], ends=None)


def whole_site(job: Job) -> None:
    """It begins with a CA host and gateways on which there is nothing yet."""
    name = lab_name("site")
    lab_up(job, name, "ca1", "vpn")
    try:
        pytest(job, *WHOLE_SITE, prefix=in_lab(name), env={"CERTLOGON_LAB": name})
    finally:
        job.run([sys.executable, "-m", "lab", "down", "--name", name], ends=None)


def molecule(job: Job) -> None:
    if not (CHECKOUT / "extensions/molecule/default/molecule.yml").is_file():
        raise StepSkipped("there is no scenario yet")
    name = lab_name("molecule")
    lab_up(job, name)
    cache = {"MOLECULE_EPHEMERAL_DIRECTORY": str(OUT / "molecule"), "MOLECULE_PROJECT_DIRECTORY": str(CHECKOUT)}
    try:
        # Its closing table calls a failed idempotence step successful; the exit code tells the truth.
        job.run([*in_lab(name), str(BIN / "molecule"), "test"], env={**cache, "CERTLOGON_LAB": name})
    finally:
        job.run([sys.executable, "-m", "lab", "down", "--name", name], ends=None)


# ---- packaging

_wheel_lock = threading.Lock()


def wheel(job: Job) -> Path:
    """The wheel, built once a run."""
    folder = OUT / "dist"
    with _wheel_lock:
        found = list(folder.glob("*.whl"))
        if not found:
            copy = copy_checkout(OUT / "dist-source")
            job.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, copy])
            found = list(folder.glob("*.whl"))
    return found[0]


def packaging(job: Job) -> None:
    pytest(job, "tests/packaging", env={"CERTLOGON_WHEEL": str(wheel(job)), "CERTLOGON_SOURCE": str(copy_checkout(OUT / "packaging"))})


# ---- the sum


def coverage_report(job: Job) -> str:
    settings = f"--rcfile={OUT / 'coverage.ini'}"
    job.run([sys.executable, "-m", "coverage", "combine", "--quiet", settings], cwd=OUT)
    never_imported(job)
    job.run([sys.executable, "-m", "coverage", "html", settings, "--quiet", "-d", OUT / "coverage-html"], ends=None)
    total = float(job.output([sys.executable, "-m", "coverage", "report", settings, "--format=total", "--precision=2"]))
    job.run([sys.executable, "-m", "coverage", "report", settings])
    if total < LEAST_COVERAGE:
        raise StepFailed(f"{total:.1f} % of the lines of plugins/ are covered, {LEAST_COVERAGE} % are wanted")
    return f"{total:.1f} % of the lines of plugins/, by unit and integration tests together"


def never_imported(job: Job) -> None:
    """Files that no test ever imported count too."""
    code = (
        "import sys, pathlib, coverage\n"
        "data = coverage.CoverageData(sys.argv[1]); data.read()\n"
        "data.touch_files([str(f) for f in pathlib.Path(sys.argv[2]).rglob('*.py') if f.stat().st_size])\n"
        "data.write()\n"
    )
    job.run([sys.executable, "-c", code, DATA / "data", CHECKOUT / "plugins"])
