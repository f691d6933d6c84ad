"""Which row comes when: a keyed permutation with random access, the twin of planner/src/order.ts.

No shuffle buffer and no state: the order of an epoch is a function of (seed, epoch, number of rows).
"""

from __future__ import annotations

ORDER_ID = "philox4x32-v1"

_U32 = 0xFFFFFFFF
# Constants of the Random123 standard; other ones would give another, untested generator.
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_PHILOX_ROUNDS = 10
# Eight rounds: twice what a Feistel network needs to look random to any statistical test.
_FEISTEL_ROUNDS = 8
# Seeds travel as JSON numbers, which are exact up to here.
SEED_MAX = 2**53 - 1


def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Philox4x32-10 of Random123: four 32-bit words from a 128-bit counter and a 64-bit key."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_PHILOX_ROUNDS):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & _U32, (p0 >> 32) ^ c3 ^ k1, p0 & _U32
        k0, k1 = (k0 + _W0) & _U32, (k1 + _W1) & _U32
    return c0, c1, c2, c3


def permute(seed: int, epoch: int, n: int, index: int) -> int:
    """Row at position `index` of `epoch`: a bijection of [0, n).

    A Feistel network over the next even power of two, walked until it lands inside [0, n).
    Raises ValueError for an index outside [0, n), an epoch below 0 or a seed outside [0, 2^53).
    """
    if not 0 <= index < n:
        raise ValueError(f"index {index} is outside [0, {n})")
    if not 0 <= seed <= SEED_MAX or epoch < 0:
        raise ValueError(f"seed {seed} must be in [0, 2^53) and epoch {epoch} not negative")
    bits = max(2, (n - 1).bit_length())
    half = (bits + 1) // 2
    x = _feistel(seed, epoch, half, index)
    while x >= n:
        x = _feistel(seed, epoch, half, x)
    return x


def _feistel(seed: int, epoch: int, half: int, x: int) -> int:
    mask = (1 << half) - 1
    key = (seed & _U32, seed >> 32)
    left, right = x >> half, x & mask
    for i in range(_FEISTEL_ROUNDS):
        word = philox4x32((right, i, epoch & _U32, epoch >> 32), key)[0]
        left, right = right, left ^ (word & mask)
    return (left << half) | right
