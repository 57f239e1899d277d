# SPDX-License-Identifier: GPL-3.0-or-later
"""What an administrator can mend: the message names the setting or the object, its value and the remedy."""

from __future__ import annotations


class ConfigurationError(Exception):
    """A setting, a file or a command that cannot be right."""
