"""AdamW of one block: a fixed order of element-wise operations, in place, in fp32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamW:
    """What one update needs besides the block; the same for every block of a step."""

    rate: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    updates: int
    """t: updates applied to the block when this one is done; 1 for the first."""

    @staticmethod
    def of(train: Mapping[str, Any], rate: float, updates: int) -> AdamW:
        """From the `train` object of a JobSpec."""
        beta1, beta2 = train["betas"]
        return AdamW(
            rate=rate,
            beta1=float(beta1),
            beta2=float(beta2),
            epsilon=float(train["epsilon"]),
            weight_decay=float(train["weightDecay"]),
            updates=updates,
        )

    def apply(
        self, master: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, gradient: Tensor, scratch: Tensor
    ) -> None:
        """One update of one block, all fp32 of one length.

        p ← p·(1 − lr·wd); m ← β1·m + (1−β1)·g; v ← β2·v + (1−β2)·g²;
        p ← p − (lr / (1−β1^t))·(m / (√(v / (1−β2^t)) + ε)). Corrections are fp64, rounded once.
        """
        correction1 = 1.0 - self.beta1**self.updates
        correction2 = 1.0 - self.beta2**self.updates
        if self.weight_decay != 0.0:
            master.mul_(1.0 - self.rate * self.weight_decay)
        exp_avg.mul_(self.beta1).add_(gradient, alpha=1.0 - self.beta1)
        exp_avg_sq.mul_(self.beta2).addcmul_(gradient, gradient, value=1.0 - self.beta2)
        torch.div(exp_avg_sq, correction2, out=scratch).sqrt_().add_(self.epsilon)
        master.addcdiv_(exp_avg, scratch, value=-self.rate / correction1)
