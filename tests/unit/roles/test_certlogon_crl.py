# SPDX-License-Identifier: GPL-3.0-or-later
"""The script that keeps a KDC's CRLs fresh: what it takes and refuses, and that what is there survives. cryptography makes the CRLs."""

from __future__ import annotations

import contextlib
import http.server
import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

SCRIPT = Path(__file__).resolve().parents[3] / "roles/domain_controller_certificates/files/certlogon_crl.py"
NOW = datetime.now(timezone.utc).replace(microsecond=0)
DAY = timedelta(days=1)

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the script asks openssl")


def load() -> Any:
    spec = importlib.util.spec_from_file_location("certlogon_crl", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load()


class Authority:
    def __init__(self, name: str, url: str = "") -> None:
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        builder = x509.CertificateBuilder(self.name, self.name, self.key.public_key(), 1, NOW - DAY, NOW + 365 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        if url:
            point = x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
            builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
        self.pem = builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
        self.entry = {"subject": f"CN={name}", "pem": self.pem, "crl": f"{name}.crl.pem"}

    def crl(
        self,
        number: int = 1,
        begins: datetime = NOW - timedelta(hours=1),
        ends: datetime = NOW + 7 * DAY,
        revoked: tuple[int, ...] = (),
        extension: x509.ExtensionType | None = None,
        der: bool = False,
    ) -> bytes:
        builder = x509.CertificateRevocationListBuilder(self.name, begins, ends)
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        for serial in revoked:
            builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(serial, NOW).build())
        if extension:
            builder = builder.add_extension(extension, critical=True)
        encoding = serialization.Encoding.DER if der else serialization.Encoding.PEM
        return builder.sign(self.key, hashes.SHA256()).public_bytes(encoding)


@pytest.fixture
def ca() -> Authority:
    return Authority("Corp CA")


class Place:
    def __init__(self, folder: Path, *authorities: Authority) -> None:
        self.folder, self.sources = folder / "crl", folder / "sources"
        self.sources.mkdir()
        self.folder.mkdir()
        self.authorities = authorities

    def offer(self, *crls: bytes) -> None:
        for number, data in enumerate(crls):
            (self.sources / f"{number}.crl").write_bytes(data)

    def run(self, write: bool = True, **settings: Any) -> tuple[int, list[dict[str, Any]]]:
        sources = [f"file://{file}" for file in sorted(self.sources.iterdir())]
        given = {"folder": str(self.folder), "authorities": [one.entry for one in self.authorities], "sources": sources, **settings}
        found: tuple[int, list[dict[str, Any]]] = script.run(given, write)
        return found

    def file(self, authority: Authority) -> Path:
        return self.folder / str(authority.entry["crl"])

    def number(self, authority: Authority) -> int:
        return x509.load_pem_x509_crl(self.file(authority).read_bytes()).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


@pytest.fixture
def place(tmp_path: Path, ca: Authority) -> Place:
    return Place(tmp_path, ca)


@pytest.mark.parametrize("der", [False, True], ids=["pem", "der"])
def test_a_crl_is_taken_and_then_left_alone(place: Place, ca: Authority, der: bool) -> None:
    place.offer(ca.crl(revoked=(17, 4711), der=der))
    code, (result,) = place.run()
    assert (code, result["changed"], result["revoked"]) == (0, True, 2)
    assert {entry.serial_number for entry in x509.load_pem_x509_crl(place.file(ca).read_bytes())} == {17, 4711}
    assert oct(place.file(ca).stat().st_mode)[-3:] == "644"
    before = place.file(ca).stat()
    assert place.run()[1][0]["changed"] is False
    after = place.file(ca).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_check_writes_nothing(place: Place, ca: Authority) -> None:
    place.offer(ca.crl())
    code, (result,) = place.run(write=False)
    assert (code, result["changed"]) == (0, True)
    assert list(place.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("expired", {"begins": NOW - 3 * DAY, "ends": NOW - DAY}, "it expired at"),
        ("future", {"begins": NOW + DAY, "ends": NOW + 9 * DAY}, "is a clock wrong?"),
        ("delta", {"extension": x509.DeltaCRLIndicator(1)}, "it is a delta CRL"),
        (
            "partition",
            {
                "extension": x509.IssuingDistributionPoint(
                    [x509.UniformResourceIdentifier("http://x/y.crl")], None, False, False, None, False, False
                )
            },
            "a KDC refuses everybody for it",
        ),
    ],
)
def test_what_the_kdc_could_not_use_is_not_taken(
    place: Place, ca: Authority, capsys: pytest.CaptureFixture[str], name: str, options: dict[str, Any], words: str
) -> None:
    place.offer(ca.crl(2, **options))
    code, (result,) = place.run()
    assert (code, result["problem"]) == (2, "missing")
    assert not place.file(ca).exists()
    assert words in capsys.readouterr().err
    place.file(ca).write_bytes(ca.crl(1))
    assert place.run()[0] == 0, "the one in place is as good as ever"
    assert place.number(ca) == 1


def test_a_forged_crl_is_not_taken(place: Place, ca: Authority) -> None:
    place.offer(Authority("Corp CA").crl(99, revoked=(1,)), Authority("Other").crl(5), b"<html>Not found</html>", b"")
    assert place.run()[0] == 2
    place.offer(ca.crl(1))
    assert place.run()[0] == 0
    assert place.number(ca) == 1


def test_the_newest_of_several_wins_and_older_ones_never_come_back(place: Place, ca: Authority) -> None:
    older, newer = ca.crl(7, begins=NOW - timedelta(hours=9)), ca.crl(8, begins=NOW - timedelta(hours=2))
    place.offer(older, newer)
    place.run()
    assert place.number(ca) == 8
    place.offer(older, older)
    assert place.run()[1][0]["changed"] is False
    assert place.number(ca) == 8


@pytest.mark.parametrize("present", ["expired", "forged", "garbage"])
def test_what_is_no_good_in_place_gives_way_to_an_older_good_one(place: Place, ca: Authority, present: str) -> None:
    expired = ca.crl(50, begins=NOW - timedelta(minutes=30), ends=NOW - timedelta(minutes=5))
    place.file(ca).write_bytes(
        {"expired": expired, "forged": Authority("Corp CA").crl(60), "garbage": b"-----BEGIN X509 CRL-----"}[present]
    )
    place.offer(ca.crl(7))
    code, (result,) = place.run()
    assert (code, result["changed"]) == (0, True)
    assert place.number(ca) == 7


def test_the_time_differs_in_whole_seconds(place: Place, ca: Authority) -> None:
    """The KDC compares nothing else."""
    times = []
    for number in range(1, 4):
        place.offer(ca.crl(number, begins=NOW - timedelta(hours=9) + timedelta(minutes=number)))
        assert place.run()[1][0]["changed"]
        times.append(int(place.file(ca).stat().st_mtime))
    assert times == sorted(set(times)) and len(times) == 3


def test_several_authorities_have_a_file_each(tmp_path: Path, ca: Authority) -> None:
    root = Authority("Root")
    place = Place(tmp_path, ca, root)
    place.offer(ca.crl(1) + root.crl(2))
    assert place.run()[0] == 0
    assert (place.number(ca), place.number(root)) == (1, 2)
    assert place.file(ca).read_text().count("BEGIN") == 1


def test_two_keys_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """A CA renewed with a new key."""
    first, second = Authority("Corp CA"), Authority("Corp CA")
    second.entry["crl"] = "second.crl.pem"
    place = Place(tmp_path, first, second)
    place.offer(first.crl(1), second.crl(2))
    assert place.run()[0] == 0
    assert (place.number(first), place.number(second)) == (1, 2)


def test_near_its_end_with_none_to_follow(place: Place, ca: Authority, capsys: pytest.CaptureFixture[str]) -> None:
    place.offer(ca.crl(begins=NOW - 7 * DAY, ends=NOW + timedelta(hours=20)))
    assert place.run(warn_hours=24)[0] == 1
    assert "no newer one was found" in capsys.readouterr().err
    assert place.run(warn_hours=12)[0] == 0


def test_a_short_lived_crl_is_not_always_near_its_end(place: Place, ca: Authority) -> None:
    place.offer(ca.crl(begins=NOW - timedelta(hours=1), ends=NOW + timedelta(hours=20)))
    assert place.run(warn_hours=24)[0] == 0


def test_over_http_from_the_distribution_point_of_a_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served = tmp_path / "served"
    served.mkdir()
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        ca = Authority("Corp CA", f"http://127.0.0.1:{server.server_port}/Corp%20CA.crl")
        place = Place(tmp_path, ca)
        assert place.run()[0] == 2
        assert "404" in capsys.readouterr().err
        (served / "Corp CA.crl").write_bytes(ca.crl(3, der=True))
        assert place.run()[0] == 0
        assert place.number(ca) == 3
    finally:
        server.shutdown()
        server.server_close()
    assert place.run()[0] == 0, "unreachable: the one in place serves on"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 9999\r\n\r\n-----BEGIN X509 CRL-----",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nabc",
        b"SSH-2.0-OpenSSH\r\n",
        b"",
    ],
)
def test_a_broken_answer_does_not_keep_the_others_from_being_used(
    place: Place, ca: Authority, answer: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    place.offer(ca.crl(2))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _address = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        broken = f"http://127.0.0.1:{listener.getsockname()[1]}/x.crl"
        blank = "http://127.0.0.1/Corp CA.crl"
        assert place.run(sources=[broken, blank, f"file://{place.sources}/0.crl"])[0] == 0
    assert place.number(ca) == 2
    said = capsys.readouterr().err
    assert f"{broken}: " in said and f"{blank}: " in said


def test_an_answer_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "DEADLINE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _address = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
                for _time in range(100):
                    connection.sendall(b"x")
                    time.sleep(0.05)

        threading.Thread(target=serve, daemon=True).start()
        begun = time.monotonic()
        with pytest.raises(OSError, match="not complete"):
            script.fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/x.crl")
        assert time.monotonic() - begun < 3


def test_a_full_disk_leaves_the_old_one(place: Place, ca: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    place.file(ca).write_bytes(ca.crl(1, begins=NOW - timedelta(hours=9)))
    place.offer(ca.crl(2))

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(script.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        place.run()
    assert place.number(ca) == 1
    assert [file.name for file in place.folder.iterdir()] == [place.file(ca).name], "no half-written file"


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A CRL that openssl takes for ever to read, as it does on a busy host with one of many megabytes."""
    begins, program = b"SLOW", tmp_path / "bin/openssl"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport os, sys, time\ngiven = sys.argv[sys.argv.index('-in') + 1] if '-in' in sys.argv else os.devnull\n"
        f"time.sleep(30 if open(given, 'rb').read().startswith({begins!r}) else 0)\n"
        f"os.execv({shutil.which('openssl')!r}, ['openssl', *sys.argv[1:]])\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setattr(script, "PATIENCE", 3)
    return begins


def test_what_takes_too_long_to_read_does_not_keep_the_others_from_being_used(
    place: Place, ca: Authority, slow: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    place.offer(slow, ca.crl(2))
    assert place.run()[0] == 0
    assert place.number(ca) == 2
    assert f"{place.sources}/0.crl: openssl was not done" in capsys.readouterr().err


def test_what_is_in_place_does_not_give_way_for_a_busy_host(place: Place, ca: Authority, slow: bytes) -> None:
    place.file(ca).write_bytes(slow + ca.crl(9))
    place.offer(ca.crl(1))
    with pytest.raises(OSError, match="was not done"):
        place.run()
    assert place.file(ca).read_bytes().startswith(slow)


def test_a_file_longer_than_a_crl_may_be_is_said_to_be(
    place: Place, ca: Authority, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ca.crl(3, der=True)
    place.offer(whole)
    monkeypatch.setattr(script, "LIMIT", len(whole) - 1)
    assert place.run()[0] == 2
    assert "the file is too long for a CRL" in capsys.readouterr().err
    monkeypatch.setattr(script, "LIMIT", len(whole))
    assert place.run()[0] == 0


def test_a_certificate_with_an_umlaut_in_an_old_encoding_beside_it_is_read(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "elsewhere.crl"
    issuer = Authority("Corp CA", url=source.as_uri())
    source.write_bytes(issuer.crl(4))
    certificate = tmp_path / "kdc.pem"
    certificate.write_bytes("# Zertifikat für den KDC\n".encode("latin-1") + issuer.pem.encode())
    place.authorities = (issuer,)
    assert place.run(certificates=[str(certificate)])[0] == 0


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Any]:
    def call(text: str) -> subprocess.CompletedProcess[str]:
        configuration = tmp_path / "crl.json"
        configuration.write_text(text)
        return subprocess.run([sys.executable, SCRIPT, str(configuration)], capture_output=True, text=True, check=False)

    yield call


def test_a_folder_that_cannot_be_made_is_named(command: Any, tmp_path: Path, ca: Authority) -> None:
    (tmp_path / "file").write_text("")
    done = command(json.dumps({"folder": str(tmp_path / "file/crl"), "authorities": [ca.entry]}))
    assert done.returncode == 2
    assert "Not a directory" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"folder": 1}', '{"folder": "/x", "authorities": 1}'])
def test_a_wrong_configuration_is_said_to_be_one(command: Any, text: str) -> None:
    done = command(text)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr


def test_as_the_timer_runs_it(command: Any, place: Place, ca: Authority, tmp_path: Path) -> None:
    place.offer(ca.crl())
    settings = {
        "folder": str(place.folder),
        "authorities": [ca.entry],
        "sources": [f"file://{place.sources}/0.crl"],
        "smb_conf": str(tmp_path / "no"),
    }
    done = command(json.dumps(settings))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changed"] is True
    assert "the directory cannot be read" in done.stderr, "no samba here: the other sources are used all the same"
