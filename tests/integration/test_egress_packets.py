"""Threat T11, counted by the kernel: in a network where every address is this machine, no hostile
URL and no resolver makes the client send one packet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).parents[2]
_NO_NETWORK_OF_ITS_OWN = 77
_PROXIES = {
    name: "http://10.0.0.1:3128"
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")
}


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What was counted in a process of its own, with proxies in its environment."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.egress_child"],
        cwd=_ROOT, env={**os.environ, **_PROXIES}, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    if done.returncode == _NO_NETWORK_OF_ITS_OWN:
        pytest.skip(f"no network namespace for this user: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_not_one_packet(seen: dict[str, Any]) -> None:
    """Over a hundred hostile URLs, each with seven answers of a hostile resolver: nothing is sent,
    dialled, looked up or started."""
    assert seen["tried"] >= 7 * 100
    assert seen["sent"] == 0
    assert seen["hostile"] == {"packets": 0, "dialled": [], "asked": []}


def test_not_one_packet_to_mixed_answers(seen: dict[str, Any]) -> None:
    """A name that resolves to private addresses, or to a public one among them, is not dialled."""
    assert seen["rebound"] == {"packets": 0, "dialled": [], "asked": []}


def test_rebinding(seen: dict[str, Any]) -> None:
    """A name whose first answer is public and whose later ones are private is dialled once, at the
    public address: which shows that all three instruments see what is sent."""
    rebinding = seen["rebinding"]
    assert rebinding["dialled"] == ["8.8.8.8"]
    assert rebinding["packets"] > 3
    (connect,) = rebinding["asked"]
    assert connect.startswith("socket.connect (('8.8.8.8', ")
