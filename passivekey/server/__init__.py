# SPDX-License-Identifier: GPL-3.0-or-later
"""The enrolment and validation service."""
