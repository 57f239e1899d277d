# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the Windows host of the certification authority: WinRM, AD CS and its web enrolment (docs/stand-ins.md).

Runs on the lab's host ca1 with Debian 13's Python; shares no code with the collection that it judges.
"""
