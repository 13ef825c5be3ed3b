"""What every test runs under.

Profiles of hypothesis: its default is that of ``make test``; ``faults`` looks twenty times as long.

    pytest --hypothesis-profile=faults tests/test_hostile_bytes.py
"""

from __future__ import annotations

import signal

from hypothesis import settings

settings.register_profile("faults", max_examples=2000, deadline=None, print_blob=True)

# A shell starts what it puts into the background with SIGINT ignored, which Python keeps and hands on to the processes
# that tests start: the tests of Ctrl-C would then wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
