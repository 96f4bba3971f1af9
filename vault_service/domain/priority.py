"""Who goes first where requests to a provider wait for each other."""

from __future__ import annotations

from enum import IntEnum


class Priority(IntEnum):
    """The lower number goes first; among equals, who came first."""

    CALLER = 1  # somebody waits for the token
    RECOVERY = 2  # a refresh in doubt
    BACKGROUND = 3  # ahead of time: it can wait
