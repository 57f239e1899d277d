# SPDX-License-Identifier: GPL-3.0-or-later
"""The workstation's side. Nothing is imported here: the check at logon has to be over before anybody notices it."""
