"""The tools of customer service. Nothing is paid or sent: this is an example."""

from __future__ import annotations

from typing import Any


def find_order(number: str) -> dict[str, Any]:
    """Find an order.

    Args:
        number: such as A-1042.
    """
    return {"number": number, "item": "reading lamp", "paid": 48.5, "customer": "Ida Brandt"}


def refund(order: str, amount: float, idempotency_key: str) -> str:
    """Pay money back to who ordered.

    Args:
        order: the order's number.
        amount: in euros.
    """
    # A bank that is told the key does not pay twice, should the call be repeated.
    return f"paid back {amount:.2f} euros for {order}"


def send_letter(customer: str, text: str) -> str:
    """Send a letter.

    Args:
        customer: the full name.
        text: the letter.
    """
    return f"sent {len(text.split())} words to {customer}"


def close_case(order: str, note: str) -> str:
    """Close the case of an order, with a note on how it went."""
    return f"{order} closed: {note}"
