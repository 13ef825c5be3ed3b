"""What every test runs under.

Profiles of hypothesis: ``fixed``, that of ``make test``, tries the same examples in every run, so that a change is
judged by what it changes; ``faults`` draws new ones each time, and twenty times as many.

    pytest --hypothesis-profile=faults tests/test_hostile_bytes.py
"""

from __future__ import annotations

import signal

from hypothesis import settings

settings.register_profile("fixed", derandomize=True)
settings.load_profile("fixed")
settings.register_profile("faults", max_examples=2000, deadline=None, print_blob=True)

# A shell starts what it puts into the background with SIGINT ignored, which Python keeps and hands on to the processes
# that tests start: the tests of Ctrl-C would then wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
