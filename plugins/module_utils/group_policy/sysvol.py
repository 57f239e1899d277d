# SPDX-License-Identifier: GPL-3.0-or-later
"""An SMB session with the SYSVOL share of one domain controller ([MS-SMB2]). It knows files, folders and descriptors, and no policy.

All of a request's steps travel as one compound message, and as many requests are under way at once as the server grants credits
for, so that reading hundreds of files takes few round trips.
"""

from __future__ import annotations

import secrets
import struct
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import Acl, SecurityDescriptor
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, SessionLost, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import (
    smb_connection,
    smb_exceptions,
    smb_open,
    smb_session,
    smb_tree,
)

PORT = 445

PATIENCE = 15.0
"""Seconds for which a file that somebody else has open is tried again."""

TEMPORARY_PREFIX = "~certlogon-"
"""What the names of our temporary files begin with: one that is there while nobody holds the lock was left by a run that died."""

_FIRST_READ = 0x10000
_LARGEST_TRANSFER = 0x100000
_DESCRIPTOR_SIZE = 0x10000
_LISTING_SIZE = 0x10000
_CREDITS = 256

# NTSTATUS ([MS-ERREF] 2.3.1)
_OK = 0
_NO_MORE_FILES = 0x80000006
_NO_SUCH_FILE = 0xC000000F
_END_OF_FILE = 0xC0000011
_ACCESS_DENIED = 0xC0000022
_NAME_NOT_FOUND = 0xC0000034
_NAME_COLLISION = 0xC0000035
_PATH_NOT_FOUND = 0xC000003A
_SHARING_VIOLATION = 0xC0000043
_DELETE_PENDING = 0xC0000056
_NOT_EMPTY = 0xC0000101
_CANNOT_DELETE = 0xC0000121
_ABSENT = (_NAME_NOT_FOUND, _PATH_NOT_FOUND, _NO_SUCH_FILE)
_IN_USE = (_SHARING_VIOLATION, _ACCESS_DENIED, _DELETE_PENDING, _CANNOT_DELETE, _NOT_EMPTY)
_REASONS = {
    _ACCESS_DENIED: "access denied",
    _SHARING_VIOLATION: "somebody has it open",
    _DELETE_PENDING: "it is being deleted",
    _NOT_EMPTY: "the folder is not empty",
    _CANNOT_DELETE: "it cannot be deleted",
    0xC000005A: "the account may not make its owner the one wanted",
    0xC000007F: "the disk is full",
    0xC0000044: "the disk quota is exceeded",
    0xC00000BA: "it is a folder, and a file is expected",
    0xC0000103: "it is a file, and a folder is expected",
}

# Access ([MS-SMB2] 2.2.13.1)
_READ_DATA, _WRITE_DATA, _READ_ATTRIBUTES, _WRITE_ATTRIBUTES = 0x1, 0x2, 0x80, 0x100
_DELETE, _READ_CONTROL, _WRITE_DAC, _WRITE_OWNER, _SYNCHRONIZE = 0x10000, 0x20000, 0x40000, 0x80000, 0x100000
_SHARE_ALL = 0x7
_SHARE_READ = 0x1
_OPEN, _CREATE, _OPEN_IF, _OVERWRITE_IF = 1, 2, 3, 5
_DIRECTORY, _WRITE_THROUGH, _NOT_DIRECTORY = 0x1, 0x2, 0x40
_IS_DIRECTORY = 0x10

# Classes of QUERY_INFO, SET_INFO and QUERY_DIRECTORY ([MS-SMB2] 2.2.37, [MS-FSCC] 2.4)
_INFO_FILE, _INFO_SECURITY = 1, 3
_DIRECTORY_INFORMATION, _RENAME, _DISPOSITION, _END_OF_FILE_INFORMATION = 1, 10, 13, 20
_OWNER_GROUP_DACL = 0x7


@dataclass(frozen=True)
class Item:
    """One entry of a folder's listing."""

    name: str
    is_folder: bool
    size: int


@dataclass(frozen=True)
class _Request:
    """One open of a file or folder and what is done with it; all of it is one compound message, closed at its end."""

    path: str
    access: int
    steps: tuple[Any, ...] = ()
    disposition: int = _OPEN
    options: int = 0
    share: int = _SHARE_ALL


@dataclass
class _Answer:
    """The first error of a request (0: none), the size of the file as opened, and the data of its steps."""

    status: int = _OK
    opened: bool = False
    size: int = 0
    data: tuple[bytes, ...] = ()


class Sysvol:
    """An open session. All paths are relative to the share, with backslashes; case does not matter in them."""

    def __init__(self, host: str, tree: Any, timeout: int) -> None:
        self.host = host
        self._tree = tree
        self._session = tree.session
        self._connection = tree.session.connection
        self._timeout = timeout

    def read_files(self, paths: Sequence[str]) -> dict[str, bytes | None]:
        """The contents of files; None for those that are not there. Raises `UserError` for one that may not be read."""
        found: dict[str, bytes | None] = {}
        pending = [(path, _FIRST_READ) for path in paths]
        for _attempt in range(10):
            requests = [
                _Request(path, _READ_DATA | _READ_ATTRIBUTES | _SYNCHRONIZE, self._reads(size), options=_NOT_DIRECTORY)
                for path, size in pending
            ]
            longer = []
            for (path, _size), answer in zip(pending, self._run(requests), strict=True):
                data = b"".join(answer.data)
                if answer.status in _ABSENT:
                    found[path] = None
                elif answer.status not in (_OK, _END_OF_FILE):
                    raise self._refused("read", path, answer.status)
                elif len(data) == answer.size:
                    found[path] = data
                else:
                    longer.append((path, answer.size + _FIRST_READ))
            if not longer:
                return found
            pending = longer
        raise UserError(f"{self._unc(pending[0][0])}: the file keeps changing while it is read; try again later")

    def read_descriptors(self, paths: Sequence[str]) -> dict[str, SecurityDescriptor | None]:
        """Owner, group and DACL of files and folders; None for those that are not there, an empty descriptor where it is garbage."""
        answers = self._run([_Request(path, _READ_CONTROL | _READ_ATTRIBUTES, (_query_security(),)) for path in paths])
        found: dict[str, SecurityDescriptor | None] = {}
        for path, answer in zip(paths, answers, strict=True):
            if answer.status in _ABSENT:
                found[path] = None
            elif answer.status != _OK:
                raise self._refused("read the permissions of", path, answer.status)
            else:
                found[path] = _readable(answer.data[0])
        return found

    def list_folders(self, paths: Sequence[str]) -> dict[str, list[Item] | None]:
        """What is in each of these folders; None for those that are not there."""
        found: dict[str, list[Item] | None] = {}
        for path, answer in zip(paths, self._run([_listing(path) for path in paths]), strict=True):
            if answer.status in _ABSENT:
                found[path] = None
            elif answer.status not in (_OK, _NO_MORE_FILES):
                raise self._refused("list", path, answer.status)
            else:
                found[path] = [item for data in answer.data for item in _items(data)]
                if answer.status == _OK:
                    found[path] = self._long_listing(path)
        return found

    def walk(self, roots: Sequence[str]) -> dict[str, Item]:
        """Everything below these folders, by path, folders before what is in them."""
        found: dict[str, Item] = {}
        level = list(roots)
        while level:
            following = []
            for folder, items in self.list_folders(level).items():
                for item in items or ():
                    path = f"{folder}\\{item.name}"
                    found[path] = item
                    if item.is_folder:
                        following.append(path)
            level = following
        return found

    def make_folders(self, paths: Iterable[str], descriptor: SecurityDescriptor | None) -> None:
        """Make those of these folders that are not there, parents first, each with the descriptor (None: what it inherits)."""
        steps = tuple(_set_security(descriptor)) if descriptor else ()
        for path in sorted(paths, key=lambda name: name.count("\\")):
            access = _READ_ATTRIBUTES | _SYNCHRONIZE | (_WRITE_DAC | _WRITE_OWNER | _READ_CONTROL if descriptor else 0)
            answer = self._run([_Request(path, access, steps, _CREATE, _DIRECTORY)])[0]
            if answer.status not in (_OK, _NAME_COLLISION):
                raise self._refused("make the folder", path, answer.status)

    def set_descriptors(self, paths: Sequence[str], descriptor: SecurityDescriptor) -> None:
        """Owner, group and DACL of files and folders, as one."""
        access = _READ_CONTROL | _WRITE_DAC | _WRITE_OWNER
        for path, answer in zip(
            paths, self._run([_Request(path, access, tuple(_set_security(descriptor))) for path in paths]), strict=True
        ):
            if answer.status != _OK:
                raise self._refused("set the permissions of", path, answer.status)

    def write_files(self, files: Mapping[str, bytes], descriptor: SecurityDescriptor | None) -> None:
        """Replace or make files. Each is written beside its place under a temporary name, gets its descriptor, and is renamed into it.

        A file that somebody has open cannot be replaced: it is tried again for `PATIENCE` seconds, then the temporary file is removed
        and `UserError` raised.
        """
        temporary = {path: f"{path.rpartition(chr(92))[0]}\\{TEMPORARY_PREFIX}{secrets.token_hex(8)}.tmp" for path in files}
        access = _WRITE_DATA | _DELETE | _READ_ATTRIBUTES | _SYNCHRONIZE
        if descriptor:
            access |= _READ_CONTROL | _WRITE_DAC | _WRITE_OWNER
        requests = []
        for path, data in files.items():
            steps = [*_writes(data), *(_set_security(descriptor) if descriptor else []), _rename(path)]
            requests.append(_Request(temporary[path], access, tuple(steps), _CREATE, _NOT_DIRECTORY | _WRITE_THROUGH))
        answers = dict(zip(files, self._run(requests), strict=True))
        left = {path for path, answer in answers.items() if answer.status != _OK and answer.opened}
        try:
            for path, answer in answers.items():
                if answer.status != _OK and not (answer.opened and answer.status in _IN_USE):
                    raise self._refused("write", path, answer.status)
            for path in sorted(left):
                self._patiently("replace", path, _Request(temporary[path], _DELETE | _SYNCHRONIZE, (_rename(path),)))
                left.discard(path)
        finally:
            if left:
                with suppress(UserError):
                    self._run([_deletion(temporary[path]) for path in left])

    def delete_files(self, paths: Iterable[str]) -> None:
        """Remove files; those that are not there are fine."""
        for path in paths:
            self._patiently("delete", path, _deletion(path), absent_is_fine=True)

    def delete_tree(self, root: str) -> None:
        """Remove a folder with everything in it; one that is not there is fine."""
        found = self.walk([root])
        self.delete_files([path for path, item in found.items() if not item.is_folder])
        folders = [path for path, item in found.items() if item.is_folder]
        for path in (*reversed(folders), root):
            self._patiently("delete", path, _deletion(path, folder=True), absent_is_fine=True)

    @contextmanager
    def lock(self, path: str) -> Iterator[HeldFile]:
        """The file (made where it is absent), held so that readers get in and no other writer does.

        Raises `UserError` where another writer has had it for `PATIENCE` seconds.
        """
        request = _Request(
            path,
            _READ_DATA | _WRITE_DATA | _READ_ATTRIBUTES | _WRITE_ATTRIBUTES | _SYNCHRONIZE,
            (),
            _OPEN_IF,
            _NOT_DIRECTORY | _WRITE_THROUGH,
            _SHARE_READ,
        )
        held = HeldFile(self, path, self._patiently("lock", path, request, keep_open=True, in_use=(_SHARING_VIOLATION,)))
        try:
            yield held
        finally:
            with suppress(SessionLost):
                held.close()

    def _long_listing(self, path: str) -> list[Item]:
        """A listing that does not fit into the pages asked for at once."""
        pages = 8
        while True:
            answer = self._run([_listing(path, pages)])[0]
            if answer.status == _NO_MORE_FILES:
                return [item for data in answer.data for item in _items(data)]
            if answer.status != _OK:
                raise self._refused("list", path, answer.status)
            pages *= 2

    def _reads(self, size: int) -> tuple[Any, ...]:
        largest = min(_LARGEST_TRANSFER, self._connection.max_read_size)
        return tuple(_read(offset, min(largest, size - offset)) for offset in range(0, size, largest))

    def _patiently(
        self,
        verb: str,
        path: str,
        request: _Request,
        *,
        absent_is_fine: bool = False,
        keep_open: bool = False,
        in_use: tuple[int, ...] = _IN_USE,
    ) -> bytes:
        """Try until nobody has the file open any more, for a bounded time. Returns the file's handle where it is kept open."""
        deadline = time.monotonic() + PATIENCE
        pause = 0.02
        while True:
            answer = self._run([request], keep_open=keep_open)[0]
            if answer.status == _OK:
                return answer.data[0] if keep_open else b""
            if answer.status in _ABSENT and absent_is_fine:
                return b""
            if answer.status not in in_use or time.monotonic() > deadline:
                raise self._refused(verb, path, answer.status, waited=answer.status in in_use)
            # others wait as well: uneven pauses keep two of them from meeting for ever
            time.sleep(pause * (0.5 + secrets.randbelow(1000) / 1000))
            pause = min(pause * 1.5, 0.5)

    def _unc(self, path: str) -> str:
        return f"\\\\{self.host}\\sysvol\\{path}"

    def _refused(self, verb: str, path: str, status: int, *, waited: bool = False) -> UserError:
        reason = _REASONS.get(status) or f"NTSTATUS 0x{status:08X}"
        if status in _ABSENT:
            return FileGone(f"cannot {verb} {self._unc(path)}: it is not there (any more)")
        if waited:
            return FileInUse(
                f"cannot {verb} {self._unc(path)}: {reason}, still after {PATIENCE:.0f} s; "
                "find out who has it open (smbstatus, Get-SmbOpenFile) or whether the account may write there, and run again"
            )
        kind = AccessRefused if status == _ACCESS_DENIED else UserError
        return kind(f"cannot {verb} {self._unc(path)}: {reason}")

    def _run(self, requests: Sequence[_Request], *, keep_open: bool = False) -> list[_Answer]:
        """Send all requests, as many at a time as there are credits for; the answers in the same order."""
        answers: list[_Answer] = []
        under_way: deque[Any] = deque()
        try:
            for request in requests:
                messages = _messages(request, keep_open)
                charge = sum(max(1, self._connection._calculate_credit_charge(message)) for message in messages)
                while under_way and self._credits() < charge:
                    answers.append(self._collect(under_way.popleft()))
                under_way.append(
                    self._connection.send_compound(messages, self._session.session_id, self._tree.tree_connect_id, related=True)
                )
            while under_way:
                answers.append(self._collect(under_way.popleft()))
        except (smb_exceptions.SMBException, OSError) as error:
            raise SessionLost(f"{self.host}: the SMB connection was lost: {_text(error)}") from error
        return answers

    def _credits(self) -> int:
        window = self._connection.sequence_window
        return int(window["high"] - window["low"])

    def _collect(self, sent: Sequence[Any]) -> _Answer:
        answer = _Answer()
        data = []
        for number, request in enumerate(sent):
            status, body = self._receive(request)
            if status != _OK and answer.status == _OK and number < max(1, len(sent) - 1):
                answer.status = status
            elif status == _OK and number == 0:
                answer.opened = True
                answer.size = struct.unpack_from("<Q", body, 48)[0]
                if len(sent) == 1:
                    data.append(body[64:80])
            elif status == _OK:
                payload = _payload(request, body)
                if payload is not None:
                    data.append(payload)
        answer.data = tuple(data)
        return answer

    def _receive(self, request: Any) -> tuple[int, bytes]:
        try:
            response = self._connection.receive(request, timeout=self._timeout, resolve_symlinks=False)
        except smb_exceptions.SMBResponseException as error:
            return int(error.status), b""
        return _OK, response["data"].get_value()

    def _send(self, message: Any) -> tuple[int, bytes]:
        """One message on its own, for a file that is held open."""
        try:
            request = self._connection.send(message, self._session.session_id, self._tree.tree_connect_id)
            return self._receive(request)
        except (smb_exceptions.SMBException, OSError) as error:
            raise SessionLost(f"{self.host}: the SMB connection was lost: {_text(error)}") from error


class FileInUse(UserError):
    """Somebody has had the file open for longer than we were ready to wait."""


class AccessRefused(UserError):
    """The account may not do this with a file or folder, or the file system's own permissions are narrower than the descriptor."""


class FileGone(UserError):
    """A file or folder that has to be there is not."""


class HeldFile:
    """A file held open for writing, shared with readers only."""

    def __init__(self, sysvol: Sysvol, path: str, handle: bytes) -> None:
        self._sysvol = sysvol
        self._path = path
        self._handle = handle
        self._length = 0

    def read(self) -> bytes:
        status, body = self._sysvol._send(_read(0, _FIRST_READ, self._handle))
        if status not in (_OK, _END_OF_FILE):
            raise self._sysvol._refused("read", self._path, status)
        data = body[16:] if status == _OK else b""
        self._length = len(data)
        return data

    def write(self, data: bytes) -> None:
        """Replace the content. Readers never see a mixture: what is longer in the old content is covered with blank lines first."""
        padded = data + b"\r\n" * ((max(self._length - len(data), 0) + 1) // 2)
        messages = [*_writes(padded, self._handle), _set_file_info(_END_OF_FILE_INFORMATION, struct.pack("<Q", len(data)), self._handle)]
        for message in messages:
            status, _body = self._sysvol._send(message)
            if status != _OK:
                raise self._sysvol._refused("write", self._path, status)
        self._length = len(data)

    def close(self) -> None:
        self._sysvol._send(_close(self._handle))


@contextmanager
def connect(host: str, address: str, options: ConnectionOptions, port: int = PORT) -> Iterator[Sysvol]:
    """A session with the SYSVOL share of `host`, reached at `address`, with the account of the directory session.

    Messages are signed, and encrypted where the server can. Always the server's own name: the domain's name may mean another server,
    and has no service principal on Samba.
    """
    connection = smb_connection.Connection(uuid.uuid4(), address, port, require_signing=True)
    try:
        try:
            connection.connect(timeout=options.timeout)
        except (smb_exceptions.SMBException, ValueError, OSError) as error:
            raise SessionLost(f"{host}:{port} (SMB) does not answer: {_text(error)}") from error
        yield Sysvol(host, _sign_in(connection, host, options), options.timeout)
    finally:
        if connection.transport is not None:
            with suppress(Exception):
                # a farewell only: the server may be gone already
                connection.disconnect(close=True, timeout=1)


def _sign_in(connection: Any, host: str, options: ConnectionOptions) -> Any:
    session = smb_session.Session(
        connection,
        options.username,
        options.password,
        require_encryption=connection.supports_encryption,
        hostname_override=host,
        auth_protocol="ntlm" if options.auth == "simple" else options.auth,
    )
    try:
        session.connect()
        # pipelining needs credits, and the server grants them only to who asks
        connection.echo(session.session_id, timeout=options.timeout, credit_request=_CREDITS)
        tree = smb_tree.TreeConnect(session, f"\\\\{host}\\sysvol")
        tree.connect()
    except smb_exceptions.SMBResponseException as error:
        raise UserError(f"{host} (SMB) refused {options.username or 'the ticket in the credential cache'}: {_text(error)}") from error
    except smb_exceptions.SMBAuthenticationError as error:
        raise UserError(f"{host} (SMB): signing in failed: {_text(error)}") from error
    except (smb_exceptions.SMBException, OSError) as error:
        raise SessionLost(f"{host} (SMB): the connection was lost while signing in: {_text(error)}") from error
    return tree


def _messages(request: _Request, keep_open: bool) -> list[Any]:
    create = smb_open.SMB2CreateRequest()
    create["impersonation_level"] = smb_open.ImpersonationLevel.Impersonation
    create["desired_access"] = request.access
    create["share_access"] = request.share
    create["create_disposition"] = request.disposition
    create["create_options"] = request.options
    create["buffer_path"] = request.path.encode("utf-16-le")
    return [create, *request.steps, *([] if keep_open else [_close()])]


_RELATED = b"\xff" * 16


def _read(offset: int, length: int, handle: bytes = _RELATED) -> Any:
    message = smb_open.SMB2ReadRequest()
    message["length"] = length
    message["offset"] = offset
    message["file_id"] = handle
    message["padding"] = b"\x50"
    return message


def _writes(data: bytes, handle: bytes = _RELATED) -> Iterator[Any]:
    for offset in range(0, max(len(data), 1), _LARGEST_TRANSFER):
        message = smb_open.SMB2WriteRequest()
        message["offset"] = offset
        message["buffer"] = data[offset : offset + _LARGEST_TRANSFER]
        message["length"] = len(data[offset : offset + _LARGEST_TRANSFER])
        message["file_id"] = handle
        yield message


def _query_security() -> Any:
    message = smb_open.SMB2QueryInfoRequest()
    message["info_type"] = _INFO_SECURITY
    message["output_buffer_length"] = _DESCRIPTOR_SIZE
    message["additional_information"] = _OWNER_GROUP_DACL
    message["file_id"] = _RELATED
    return message


def _set_security(descriptor: SecurityDescriptor) -> list[Any]:
    """Owner, group and DACL.

    Samba cannot express an entry for an object type in the file system's own permissions, and then leaves those as they were inherited:
    too narrow for anybody but root. So the rest of the entries is set first, which makes them right, and all of them second.
    """
    plain = [ace for ace in descriptor.aces if not ace.is_object]
    steps = [descriptor] if len(plain) == len(descriptor.aces) else [replace(descriptor, dacl=Acl(tuple(plain))), descriptor]
    return [_set_descriptor(step) for step in steps]


def _set_descriptor(descriptor: SecurityDescriptor) -> Any:
    message = smb_open.SMB2SetInfoRequest()
    message["info_type"] = _INFO_SECURITY
    message["additional_information"] = _OWNER_GROUP_DACL
    message["file_id"] = _RELATED
    message["buffer"] = bytes(descriptor)
    return message


def _set_file_info(information: int, data: bytes, handle: bytes = _RELATED) -> Any:
    message = smb_open.SMB2SetInfoRequest()
    message["info_type"] = _INFO_FILE
    message["file_info_class"] = information
    message["file_id"] = handle
    message["buffer"] = data
    return message


def _rename(path: str) -> Any:
    name = path.encode("utf-16-le")
    return _set_file_info(_RENAME, struct.pack("<B7xQI", 1, 0, len(name)) + name)


def _deletion(path: str, *, folder: bool = False) -> _Request:
    return _Request(
        path, _DELETE | _SYNCHRONIZE, (_set_file_info(_DISPOSITION, b"\x01"),), options=_DIRECTORY if folder else _NOT_DIRECTORY
    )


def _listing(path: str, pages: int = 2) -> _Request:
    """Two pages: the second one says that there is no more, unless the folder is a very full one."""
    queries = tuple(_query_directory() for _page in range(pages))
    return _Request(path, _READ_DATA | _READ_ATTRIBUTES | _SYNCHRONIZE, queries, options=_DIRECTORY)


def _query_directory() -> Any:
    message = smb_open.SMB2QueryDirectoryRequest()
    message["file_information_class"] = _DIRECTORY_INFORMATION
    message["file_id"] = _RELATED
    message["output_buffer_length"] = _LISTING_SIZE
    message["buffer"] = "*".encode("utf-16-le")
    return message


def _close(handle: bytes = _RELATED) -> Any:
    message = smb_open.SMB2CloseRequest()
    message["file_id"] = handle
    return message


def _payload(request: Any, body: bytes) -> bytes | None:
    """The data in an answer to READ, QUERY_INFO or QUERY_DIRECTORY ([MS-SMB2] 2.2.20, 2.2.38, 2.2.34)."""
    kind = request.message["command"].get_value()
    if kind == smb_open.Commands.SMB2_READ:
        length = struct.unpack_from("<I", body, 4)[0]
        return body[16 : 16 + length]
    if kind in (smb_open.Commands.SMB2_QUERY_INFO, smb_open.Commands.SMB2_QUERY_DIRECTORY):
        length = struct.unpack_from("<I", body, 4)[0]
        return body[8 : 8 + length]
    return None


def _readable(data: bytes) -> SecurityDescriptor:
    try:
        return SecurityDescriptor.parse(data)
    except FormatError:
        # Samba lets files inherit entries for object types with whatever lay in memory
        return SecurityDescriptor()


def _items(data: bytes) -> Iterator[Item]:
    """FileDirectoryInformation ([MS-FSCC] 2.4.10)."""
    position = 0
    while position + 64 <= len(data):
        following, size, attributes, length = struct.unpack_from("<I36xQ8xII", data, position)
        name = data[position + 64 : position + 64 + length].decode("utf-16-le", "replace")
        if name not in (".", ".."):
            yield Item(name, bool(attributes & _IS_DIRECTORY), size)
        if not following:
            return
        position += following


def _text(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
