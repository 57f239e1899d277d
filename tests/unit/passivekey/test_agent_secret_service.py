# SPDX-License-Identifier: GPL-3.0-or-later
"""The passphrase in GNOME's keyring, by Secret Service on a session bus of its own; and what is said where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("keyring", reason="keyring is not installed")

MISSING = [name for name in ("dbus-run-session", "gnome-keyring-daemon") if not shutil.which(name)]
ROOT = Path(__file__).parents[3]
PREFACE = """
import pathlib, sys
from passivekey.agent import container, secret_store
path, store = pathlib.Path(sys.argv[1]) / "container", secret_store.PlatformStore()
def attempt(work):
    try:
        return work()
    except (secret_store.SecretStoreError, container.ContainerError) as error:
        return f"{type(error).__name__}: {error}"
"""
SAVE = PREFACE + "container.save(path, container.Content.fresh('https://a.example'), store); print(store.get(container._name(path)))"
LOAD = PREFACE + "print(attempt(lambda: container.load(path, store).origin))"
FORGET = PREFACE + "container.forget(path, store); container.forget(path, store); print(path.exists())"
PLAIN = """
from keyring.backend import KeyringBackend
class Plain(KeyringBackend):
    priority = 1
    set_password = delete_password = None
    def get_password(self, service, name):
        return "x"
"""


def environment(home):
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "HOME": str(home), "XDG_RUNTIME_DIR": str(home), "PYTHONPATH": str(ROOT)}


def session(home, programs, password):
    """What the programs print, one after the other, in one session whose keyring was unlocked with this password."""
    lines = [f'printf %s "{password}" | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1']
    lines += [f"{sys.executable} -c '{program.replace(chr(39), chr(34))}' {home}" for program in programs]
    command = ["dbus-run-session", "--", "sh", "-c", "\n".join(lines)]
    done = subprocess.run(command, env=environment(home), capture_output=True, text=True, timeout=60, check=False)
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_secret_service(tmp_path):
    passphrase, origin = session(tmp_path, [SAVE, LOAD], "login password")
    assert len(passphrase) == 64 and origin == "https://a.example"
    assert not any(passphrase.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()), "it lies there in the clear"
    (locked,) = session(tmp_path, [LOAD], "another password")
    assert locked.startswith("SecretStoreError") and "locked" in locked
    assert session(tmp_path, [LOAD, FORGET], "login password") == ["https://a.example", "False"]


def test_without_a_session(tmp_path):
    """Said in a way that can be mended."""
    (tmp_path / "container").write_text('{"format": 1, "name": "a", "nonce": "", "content": ""}')
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path)], env=environment(tmp_path), capture_output=True, text=True, check=True
    )
    assert "no store for secrets in this session" in done.stdout and "store = file" in done.stdout


def test_a_store_in_the_clear_is_not_taken_silently(tmp_path):
    """A backend that writes files (keyrings.alt) is not what `store = platform` promises."""
    (tmp_path / "keyrings/alt").mkdir(parents=True)
    (tmp_path / "keyrings/alt/file.py").write_text(PLAIN)
    (tmp_path / "container").write_text('{"format": 1, "name": "a", "nonce": "", "content": ""}')
    given = {**environment(tmp_path), "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.Plain"}
    given["PYTHONPATH"] += f":{tmp_path}"
    command = [sys.executable, "-c", LOAD, str(tmp_path)]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=True)
    assert "keyrings.alt" in done.stdout and "store = file" in done.stdout
