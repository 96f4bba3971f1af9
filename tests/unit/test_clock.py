"""SystemClock and SystemEntropy."""

from __future__ import annotations

import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_service.adapters.clock import SystemClock, SystemEntropy


def unix_ms_of(value: uuid.UUID) -> int:
    return value.int >> 80


def test_now_is_aware_and_utc() -> None:
    """now() is this moment, aware and in UTC; monotonic() never goes back."""
    clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    assert clock.monotonic() <= clock.monotonic()


def test_uuid7_has_version_variant_and_this_moment() -> None:
    """An id carries version 7, the RFC's variant and the current milliseconds."""
    before = time.time_ns() // 1_000_000
    value = SystemEntropy().uuid7()
    assert value.version == 7
    assert value.variant == uuid.RFC_4122
    assert before <= unix_ms_of(value) <= time.time_ns() // 1_000_000 + 1


def test_uuid7_layout_matches_the_rfc_example() -> None:
    """The milliseconds of RFC 9562's appendix A.6 stand where its example has them."""
    value = SystemEntropy(unix_ms=lambda: 0x017F22E279B0).uuid7()
    assert str(value).startswith("017f22e2-79b0-7")


@given(st.lists(st.integers(0, 3), min_size=1, max_size=200), st.integers(1, 2**47))
def test_uuid7_increases_whatever_the_clock_does(steps: list[int], start: int) -> None:
    """Ids increase strictly when the clock stands still, jumps ahead or goes back."""
    moments = iter([start + (0, 0, 1, -1)[step] for step in steps])
    entropy = SystemEntropy(unix_ms=lambda: next(moments))
    ids = [entropy.uuid7() for _ in steps]
    assert ids == sorted(set(ids))


def test_uuid7_increases_past_a_full_counter() -> None:
    """More ids than the counter holds in one millisecond borrow from the next."""
    entropy = SystemEntropy(unix_ms=lambda: 1_000)
    ids = [entropy.uuid7() for _ in range(10_000)]
    assert ids == sorted(set(ids))
    assert all(i.version == 7 for i in ids)
    assert unix_ms_of(ids[-1]) <= 1_000 + 10_000 // 2_048


def test_uuid7_is_unique_across_threads() -> None:
    """Threads that share the source never get the same id."""
    entropy = SystemEntropy()
    ids: list[uuid.UUID] = []

    def work() -> None:
        ids.extend([entropy.uuid7() for _ in range(2_000)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 8_000


def test_token_has_the_size_asked() -> None:
    """token() gives that many bytes, others each time, and refuses none at all."""
    entropy = SystemEntropy()
    assert len(entropy.token(32)) == 32
    assert entropy.token(32) != entropy.token(32)
    with pytest.raises(ValueError, match="at least 1"):
        entropy.token(0)
