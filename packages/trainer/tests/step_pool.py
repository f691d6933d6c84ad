"""One pool of rank processes for a whole test session: importing torch five times would cost more than the
tests."""

from __future__ import annotations

import atexit
from functools import cache

from gang import RankPool


@cache
def shared_pool() -> RankPool:
    pool = RankPool()
    atexit.register(pool.close)
    return pool
