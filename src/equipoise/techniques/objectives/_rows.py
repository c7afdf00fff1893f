"""What every objective ends with: the weighted mean over rows."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_over_rows(loss: Tensor, w: Tensor) -> Tensor:
    """Σ_i w_i l_i/Σ_i w_i over the first axis; 0, with gradient 0, where no row has weight."""
    total = w.sum(0)
    return (loss * w).sum(0) / torch.where(total > 0, total, 1.0)
