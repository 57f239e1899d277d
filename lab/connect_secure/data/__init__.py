# SPDX-License-Identifier: GPL-3.0-or-later
"""The data plane of the stand-in appliance: what is configured takes effect on a real ocserv (tunnels) and a real nginx (browsers).

plan.py and judge.py decide and touch nothing; crls.py, ocserv.py, front.py and sessions.py act; runner.py puts them together.
"""
