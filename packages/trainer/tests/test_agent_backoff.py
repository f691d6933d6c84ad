"""How long an agent waits before it connects again: bounded, growing, spread, and the same each time."""

from __future__ import annotations

import statistics
from collections import Counter

from shardwright_trainer.agent.session import BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN, reconnect_seconds

MEMBERS = [f"job-m{slot}" for slot in range(1000)]


def test_every_wait_is_within_the_bounds_and_grows() -> None:
    for failures in (0, 1, 2, 3, 5, 50, 10**9):
        waits = [reconnect_seconds(member, failures) for member in MEMBERS]
        longest = min(2 * BACKOFF_SECONDS_MIN * 2.0 ** min(failures, 40), BACKOFF_SECONDS_MAX)
        assert min(waits) >= BACKOFF_SECONDS_MIN
        assert longest / 2 <= min(waits) and max(waits) <= longest


def test_members_spread_evenly_over_the_half_before_the_bound() -> None:
    for failures in (0, 7):
        waits = sorted(reconnect_seconds(member, failures) for member in MEMBERS)
        span = waits[-1] / 2
        tenths = Counter(min(int(10 * (wait / span - 1)), 9) for wait in waits).values()
        assert len(tenths) == 10
        assert min(tenths) > 60 and max(tenths) < 150
        assert abs(statistics.mean(waits) / span - 1.5) < 0.05


def test_the_same_member_waits_the_same_and_not_always_alike() -> None:
    again = [reconnect_seconds("a-m0", failures) for failures in range(8)]
    assert again == [reconnect_seconds("a-m0", failures) for failures in range(8)]
    at_the_bound = {reconnect_seconds("a-m0", failures) for failures in range(6, 30)}
    assert len(at_the_bound) == 24
