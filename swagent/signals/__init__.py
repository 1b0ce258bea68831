"""The transports of a signal to Heat. To add one, write its `send` and give it a line in KINDS."""

from __future__ import annotations

from typing import Callable, Mapping

from swagent.model import Signal
from swagent.settings import Settings
from swagent.signals import cfn, heat, swift
from swagent.signals.delivery import DELIVERED, REFUSED, WAITING, Delivery

# `now` is in seconds since the epoch. Each may raise SwagentError: the signal waits, with the error as its reason.
KINDS: Mapping[str, Callable[[Signal, Settings, float], Delivery]] = {
    "HEAT_SIGNAL": heat.send,
    "CFN_SIGNAL": cfn.send,
    "TEMP_URL_SIGNAL": swift.send,
}

__all__ = ["DELIVERED", "KINDS", "REFUSED", "WAITING", "Delivery"]
