# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocol as server and agent share it: codes, keys and messages. No I/O, no clock, no storage."""
