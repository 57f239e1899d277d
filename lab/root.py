# SPDX-License-Identifier: GPL-3.0-or-later
"""The Debian 13 root that all hosts share, and layers over it for some: made once, kept in the cache, never written to again."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import settings
from lab.errors import LabError
from lab.progress import Progress

SUITE = "trixie"
FORMAT = 1
PACKAGES = (
    # the domain controller and the tools that judge it
    *(
        "samba",
        "samba-ad-dc",
        "samba-ad-provision",
        "samba-dsdb-modules",
        "samba-vfs-modules",
        "winbind",
        "python3-samba",
        "python3-markdown",
    ),
    *("ldb-tools", "smbclient", "ldap-utils", "libsasl2-modules-gssapi-mit", "krb5-user", "krb5-pkinit", "dnsutils"),
    # cards and certificates
    *("softhsm2", "opensc", "gnutls-bin", "openssl", "faketime"),
    # the control host: Ansible in a virtual environment of its own
    *("python3", "python3-venv", "python3-dev", "gcc", "libkrb5-dev", "git", "openssh-client", "sshpass"),
    # the stand-in for the Windows CA host; a host that Ansible manages over SSH; a timer; a judge of certificates
    *("python3-cryptography", "python3-asn1crypto", "python3-gssapi", "python3-ldap3", "python3-pyspnego"),
    *("openssh-server", "cron", "zlint"),
    *("iproute2", "iputils-ping", "procps", "less", "ca-certificates"),
)
DPKG_SETTINGS = """\
force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/info/*
"""
# Settings that say how to reach a mirror; all others of the machine are its own affair.
APT_GROUPS = ("http", "https", "ftp", "ForceIPv4", "ForceIPv6", "Retries", "Check-Valid-Until", "Check-Date", "Proxy")


@dataclass(frozen=True)
class Layer:
    """Packages over the shared root, made when the first host wants them."""

    name: str
    purpose: str
    packages: tuple[str, ...]
    over: Layer | None = None
    """The layer that it lies upon, if that is not the root itself."""

    @property
    def path(self) -> Path:
        below = (self.over.path.name,) if self.over else ()
        digest = hashlib.sha256(repr((key(), self.packages, *below)).encode())
        return settings.cache_dir() / f"layer-{self.name}-{digest.hexdigest()[:12]}"

    @property
    def lower(self) -> list[Path]:
        """What is mounted below it, from above."""
        return [self.over.path, *self.over.lower] if self.over else [path()]


VPN = Layer(
    "vpn",
    "VPN gateways and their users",
    (
        # the gateways, and what the stand-in for an appliance is made of
        *("ocserv", "nginx-light", "haproxy", "python3-apt", "python3-yaml"),
        # a user's computer
        *("openconnect", "vpnc-scripts", "p11-kit", "p11-kit-modules", "curl", "chromium", "xvfb", "xdotool", "libnss3-tools"),
    ),
)
PASSIVEKEY = Layer(
    "passivekey",
    "the PassiveKey server, RADIUS and a web server before a site",
    (
        *("freeradius", "freeradius-rest", "freeradius-utils", "nginx-light", "curl", "python3-apt"),
        *("python3-gssapi", "python3-jinja2", "python3-joserfc", "python3-sqlalchemy", "python3-starlette", "python3-uvicorn"),
        *("python3-psycopg", "python3-pkcs11"),
    ),
)
WORKSTATION = Layer(
    "workstation",
    "a domain's workstation with PassiveKey's agent",
    (
        *("python3-joserfc", "python3-keyring", "python3-secretstorage", "python3-xlib"),
        # a logon by PAM, and what a desktop brings along
        *("libpam-krb5", "libpam-gnome-keyring", "gnome-keyring", "dbus-daemon", "dex", "xterm"),
    ),
    VPN,
)


def key() -> str:
    text = repr((FORMAT, SUITE, PACKAGES, platform.machine(), DPKG_SETTINGS))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def path() -> Path:
    return settings.cache_dir() / f"root-{key()}"


@contextmanager
def cache_lock() -> Iterator[None]:
    """One builder at a time; another waits and then finds the work done."""
    settings.cache_dir().mkdir(parents=True, exist_ok=True)
    with (settings.cache_dir() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def ensure(progress: Progress) -> Path:
    """The root's folder, built if it is not there."""
    if path().is_dir():
        return path()
    with cache_lock():
        if not path().is_dir():
            sweep("root-*.tmp")
            build(progress)
    return path()


def ensure_layer(progress: Progress, layer: Layer) -> Path:
    """The layer's folder, to be mounted over the root's; built if it is not there."""
    if layer.over:
        ensure_layer(progress, layer.over)
    ensure(progress)
    if layer.path.is_dir():
        return layer.path
    with cache_lock():
        if not layer.path.is_dir():
            sweep("layer-*.tmp")
            build_layer(progress, layer)
    return layer.path


def sweep(pattern: str) -> None:
    """Remove what killed builds left."""
    for leftover in settings.cache_dir().glob(pattern):
        shutil.rmtree(leftover)


def hold(path: Path) -> int:
    """A handle that keeps `prune` away from a folder of the cache for as long as any process has it open."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


def prune(pattern: str, *keep: Path) -> None:
    """Remove what an older version of this program made and no lab uses."""
    for old in settings.cache_dir().glob(pattern):
        if old in keep or not old.is_dir():
            continue
        handle = os.open(old, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old)
        except BlockingIOError:
            pass
        finally:
            os.close(handle)


def build(progress: Progress) -> None:
    if shutil.which("debootstrap") is None:
        raise LabError("the Debian package debootstrap is missing: apt-get install debootstrap")
    mirror, security = mirrors()
    work = settings.cache_dir() / f"root-{key()}.tmp"
    log = settings.cache_dir() / "root-build.log"
    log.unlink(missing_ok=True)
    with progress.step(f"Debian 13 base system from {mirror}"):
        contained(["debootstrap", "--variant=minbase", "--include=ca-certificates", SUITE, str(work), mirror], log)
    prepare(work, SUITE, mirror, security)
    with progress.step(f"{len(PACKAGES)} packages for the lab's hosts"):
        contained(["chroot", str(work), "sh", "-c", installation(PACKAGES)], log)
    work.rename(path())
    prune("root-*", path())


def installation(packages: Sequence[str]) -> str:
    return "\n".join(
        (
            "set -e",
            "mount -t proc proc /proc",
            "export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8",
            "update-ca-certificates",
            "apt-get -q update",
            f"apt-get -q -y --no-install-recommends install {' '.join(packages)}",
            "apt-get clean",
            "rm -rf /var/lib/apt/lists/* /etc/samba/smb.conf",
        )
    )


def build_layer(progress: Progress, layer: Layer) -> None:
    work = layer.path.with_suffix(".tmp")
    for name in ("root", "work", "upper", *(f"upper/{folder}" for folder in PREPARED)):
        (work / name).mkdir(parents=True)
        (work / name).chmod(0o755)
    prepare(work / "upper", SUITE, *mirrors())
    log = settings.cache_dir() / f"layer-{layer.name}-build.log"
    log.unlink(missing_ok=True)
    options = f"lowerdir={':'.join(map(str, layer.lower))},upperdir={work}/upper,workdir={work}/work"
    mounting = 'mount -t overlay overlay -o "$1" "$2" && exec chroot "$2" sh -c "$3"'
    with progress.step(f"{len(layer.packages)} packages for {layer.purpose}"):
        contained(["sh", "-c", mounting, "sh", options, f"{work}/root", installation(layer.packages)], log)
    (work / "upper").rename(layer.path)
    shutil.rmtree(work)
    prune(f"layer-{layer.name}-*", layer.path)


PREPARED = ("etc", "etc/apt", "etc/apt/apt.conf.d", "etc/dpkg", "etc/dpkg/dpkg.cfg.d", "usr", "usr/sbin")


def prepare(root: Path, suite: str, mirror: str, security: str | None) -> None:
    """Let a root (or a layer that has the folders PREPARED) reach the mirror as the machine does, and start no service."""
    lines = [f"deb {mirror} {suite} main", f"deb {mirror} {suite}-updates main"]
    if security:
        lines.append(f"deb {security} {suite}-security main")
    (root / "etc/apt/sources.list").write_text("\n".join(lines) + "\n")
    (root / "etc/apt/apt.conf.d/90machine").write_text(apt_settings())
    (root / "etc/dpkg/dpkg.cfg.d/90lab").write_text(DPKG_SETTINGS)
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    for folder in ("/etc/apt/auth.conf.d", "/usr/local/share/ca-certificates"):
        if Path(folder).is_dir():
            shutil.copytree(folder, f"{root}{folder}", dirs_exist_ok=True)
    for file in ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf"):
        if Path(file).is_file():
            shutil.copy(file, f"{root}{file}")


def contained(command: list[str], log: Path) -> None:
    """Run a build step so that nothing of it, no mount and no process, outlives us."""
    environment = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")}
    environment |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root", "DPKG_FORCE": "unsafe-io"}
    wrapper = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", *command]
    with log.open("ab") as output:
        code = subprocess.run(wrapper, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, check=False).returncode
    if code:
        raise LabError(f"{command[0]} ended with code {code} while a Debian root was made; can this machine reach its package mirror?", log)


def mirrors() -> tuple[str, str | None]:
    """Where the machine itself gets Debian from: the archive and, if it has one, the security archive."""
    try:
        listing = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(CREATED_BY) $(SITE) $(RELEASE)"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise LabError(
            f"apt-get indextargets does not tell the machine's package mirror ({error}); the lab needs a Debian machine"
        ) from None
    rows = [line.split() for line in listing.splitlines() if line.startswith("Packages ")]
    security = [site for _, site, release in rows if "-security" in release]
    debian = [site for _, site, release in rows if site not in security and not release.endswith("-backports")]
    if not debian:
        raise LabError("apt on this machine names no Debian mirror; add one to /etc/apt/sources.list and run apt-get update")
    ranked = sorted(debian, key=lambda site: "debian" not in site.rstrip("/").rpartition("/")[2])  # before third-party archives
    return ranked[0], security[0] if security else None


def apt_settings() -> str:
    dump = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=True).stdout
    return "".join(f"{line}\n" for line in dump.splitlines() if line.removeprefix("Acquire::").split(" ")[0].split("::")[0] in APT_GROUPS)
