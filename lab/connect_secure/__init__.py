# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for an Ivanti Connect Secure appliance: its REST interface and a real data plane (docs/stand-ins.md).

Runs on the lab's host vpn1 with Debian 13's Python; shares no code with the collection that it judges, only the table of what is known
of the interface (plugins/module_utils/connect_secure/resources.yml).
"""
