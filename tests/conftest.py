"""Profiles of hypothesis: its default is that of ``make test``; ``faults`` looks twenty times as long.

pytest --hypothesis-profile=faults tests/test_hostile_bytes.py
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("faults", max_examples=2000, deadline=None, print_blob=True)
