# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded domain: a real Samba domain controller and a control host on one machine (`python -m lab up`)."""
