# SPDX-License-Identifier: GPL-3.0-or-later
"""An authority that behaves as Active Directory Certificate Services does, by Microsoft's specifications. See docs/stand-ins.md."""

from lab.windows_ca.authority.directory import SambaDirectory
from lab.windows_ca.authority.errors import CertSrvError, DirectoryError
from lab.windows_ca.authority.model import CACertificate, Caller, Disposition, InstallOptions, InstallOutcome
from lab.windows_ca.authority.setup import Authority

__all__ = [
    "Authority",
    "CACertificate",
    "Caller",
    "CertSrvError",
    "DirectoryError",
    "Disposition",
    "InstallOptions",
    "InstallOutcome",
    "SambaDirectory",
]
