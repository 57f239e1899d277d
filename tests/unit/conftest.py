# SPDX-License-Identifier: GPL-3.0-or-later
"""Profiles of the property tests: HYPOTHESIS_PROFILE=long runs each with at least 100,000 examples."""

from __future__ import annotations

import os

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # the tests that need it say so
    pass
else:
    settings.register_profile("default", max_examples=200, deadline=None)
    settings.register_profile("long", max_examples=100_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
