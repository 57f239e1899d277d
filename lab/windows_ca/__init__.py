# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in for a Windows host with Active Directory Certificate Services: there is no Windows in the lab."""
