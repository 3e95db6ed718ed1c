"""What a run has used, as the gateway counts it, and how much it may use.

A framework may make calls that it tells nobody of, or not tell what they used: here all are seen,
and those beyond the run's limits are not made.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from talea.adapter import Endpoint
from talea.events import Usage
from talea.gateway.chat import Rejection
from talea.gateway.meter import Exchange
from talea.ir import Limits
from talea.limits import refuses_model_call

Price = Callable[[Endpoint, Usage], float | None]
"""(endpoint, what a call used) → US dollars; None where nobody knows."""
CODE = "talea_limit"
"""The code of the error that a client gets, by which talea knows it again."""


@dataclass(slots=True, eq=False)
class Account:
    """One run's. `before` is what it had used when it was cut off. Any thread may ask it."""

    limits: Limits = field(default_factory=Limits)
    before: Usage = field(default_factory=Usage)
    price: Price | None = None
    """For calls whose provider does not say what they cost; None where that is no limit."""
    _used: Usage = field(init=False)
    _open: list[tuple[Exchange, Endpoint | None]] = field(
        default_factory=list[tuple[Exchange, Endpoint | None]], init=False
    )
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self._used = replace(self.before)

    def check(self) -> None:
        """Refuse a call that the run may not make any more. Raises Rejection."""
        refusal = refuses_model_call(self.limits, self.used())
        if refusal is not None:
            raise Rejection(403, CODE, refusal)

    def begin(self, exchange: Exchange, endpoint: Endpoint | None) -> None:
        """Count a call."""
        with self._lock:
            self._used.begin_call()
            self._open.append((exchange, endpoint))

    def used(self) -> Usage:
        """Give what has been used so far."""
        with self._lock:
            open_now, self._open = self._open, []
            for exchange, endpoint in open_now:
                if exchange.duration:  # Looked at once: it may end while others are counted.
                    self._end(exchange, endpoint)
                else:
                    self._open.append((exchange, endpoint))
            return replace(self._used)

    def _end(self, exchange: Exchange, endpoint: Endpoint | None) -> None:
        call = exchange.as_metered(0.0)
        if call.is_refused:
            return
        if call.usage.cost is None and self.price is not None and endpoint is not None:
            call.usage.cost = self.price(endpoint, call.usage)
        self._used.end_call(call.usage)
