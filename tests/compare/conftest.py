from __future__ import annotations

from collections.abc import Iterator

import pytest

from compare.browser import Open, chromium


@pytest.fixture(scope="module")
def browse() -> Iterator[Open]:
    """Opens pages. Of a module, not the session: its loop runs in this thread as long as it is
    there, and tests of other modules start loops of their own."""
    with chromium() as visit:
        yield visit
