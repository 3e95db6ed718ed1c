"""What all tests share: how hypothesis searches."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Machines are shared and noisy: how long an example takes says nothing about the code. In the
# continuous integration the same examples are tried each time; chance has its turn everywhere else.
settings.register_profile(
    "talea",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,
    print_blob=True,
)
settings.load_profile("talea")
