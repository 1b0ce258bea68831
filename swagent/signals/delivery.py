"""What became of one attempt to deliver a signal."""

from __future__ import annotations

from dataclasses import dataclass

DELIVERED, REFUSED, WAITING = "delivered", "refused", "waiting"
# Heat answered, and would answer the same for ever: not a signal it takes, gone, too large.
FINAL = (400, 404, 405, 410, 413, 422)


@dataclass(frozen=True)
class Delivery:
    """kind: delivered, refused (pointless to repeat for ever) or waiting (to be tried again); reason: in words."""

    kind: str
    reason: str = ""


def judge(status: int, said: str) -> Delivery:
    """By the status code alone: only 2xx is delivered. `said` is the reason where it is not."""
    if 200 <= status < 300:
        return Delivery(DELIVERED)
    return Delivery(REFUSED if status in FINAL else WAITING, said)
