"""Haar-distributed orthogonal matrices in the shape of a weight."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def orthogonal(site: Any, w: Tensor, noise: Any) -> Tensor:
    """Rows (or columns, where they are fewer) of length 1 and orthogonal, float64; recurrent weights gate by gate."""
    gate = site.units if site.kind == "recurrent" and len(w) % site.units == 0 else len(w)
    blocks = [_haar(gate, w[0].numel(), noise) for _ in range(len(w) // gate)]
    return torch.cat(blocks).view(w.shape)


def _haar(rows: int, columns: int, noise: Any) -> Tensor:
    tall = noise.normal((max(rows, columns), min(rows, columns)), torch.float64)
    Q, R = torch.linalg.qr(tall)
    Q = Q * torch.where(R.diagonal() < 0, -1.0, 1.0)  # QR's own choice of signs is not uniform
    return Q if rows >= columns else Q.T
