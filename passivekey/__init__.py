# SPDX-License-Identifier: GPL-3.0-or-later
"""PassiveKey: a second factor bound to a user and a workstation. See docs/passivekey-protocol.md."""
