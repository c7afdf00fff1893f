"""What image augmentations share: which inputs they act on, what they learn from the fit rows, exact gathers and
boxes."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from ...errors import EquipoiseError
from ...technique import At, Batch, Technique

CHUNK = 4096  # rows averaged at once in float64


class ImageAugmentation(Technique):
    """Base: `augment` changes one batch of raw images (B, C, H, W). Every image of an example gets the same draws."""

    kinds = ("image",)
    random = True

    def fit(self, x: Any, y: Tensor, data: Any) -> dict[str, Tensor]:
        learned: dict[str, Tensor] = {}
        found = False
        for i, v in enumerate(x if isinstance(x, tuple) else (x,)):
            if v.dim() == 4:
                found = True
                self.accept(*v.shape[1:])
                learned |= {f"{name}{i}": t for name, t in self.learn(v).items()}
        if not found:
            shape = tuple((x[0] if isinstance(x, tuple) else x).shape[1:])
            raise EquipoiseError(
                f"{self!r} acts on images (C, H, W); an example of this data has shape {shape}: leave it out."
            )
        return learned

    def accept(self, channels: int, height: int, width: int) -> None:
        """Refuses images it cannot act on; overridden where there are any. Raises EquipoiseError."""

    def learn(self, v: Tensor) -> dict[str, Tensor]:
        """What `augment` needs to know of the fit rows v (N, C, H, W), stored values."""
        return {}

    def batch(self, batch: Batch, at: At) -> Batch:
        if not isinstance(batch.x, tuple):
            return batch._replace(x=self._one(batch.x, 0, at))
        return batch._replace(x=tuple(self._one(v, i, at) for i, v in enumerate(batch.x)))

    def _one(self, v: Tensor, i: int, at: At) -> Tensor:
        if v.dim() != 4:
            return v
        return self.augment(v, of_input(at, i)).to(v.dtype)

    def augment(self, x: Tensor, at: At) -> Tensor:
        """Images (B, C, H, W) in the stored units to augmented ones; ``at.fitted`` holds what `learn` found for this
        input."""
        raise NotImplementedError


def of_input(at: At, i: int) -> At:
    """What is told about input ``i``: its own learned tensors, and the same draws as for every other input."""
    mine = {k.removesuffix(str(i)): t for k, t in at.fitted.items() if k.endswith(str(i))}
    return at._replace(noise=copy.copy(at.noise), fitted=mine)


def channel_means(v: Tensor) -> dict[str, Tensor]:
    """Mean of every channel over rows and positions: (C, 1, 1) float64."""
    sums = [part.double().mean((2, 3)) for part in v.split(CHUNK)]
    return {"mean": torch.cat(sums).mean(0)[:, None, None]}


def value_range(v: Tensor) -> dict[str, Tensor]:
    """Lowest and highest value of the format (uint8) or of the fit rows; apart by 1 where all are equal."""
    low, high = (0.0, 255.0) if v.dtype == torch.uint8 else (float(v.min()), float(v.max()))
    ends = torch.tensor([low, high if high > low else low + 1.0], dtype=torch.float64, device=v.device)
    return {"low": ends[0], "high": ends[1]}


def pixels(fraction: Any, side: int) -> Any:
    """A length given as a fraction of a side, in whole pixels (halves up)."""
    return torch.floor(torch.as_tensor(fraction * side + 0.5))


def per_example(v: Tensor) -> Tensor:
    """(B,) in the shape that broadcasts over (B, C, H, W)."""
    return v[:, None, None, None]


def box(centre: Tensor, sides: tuple[Any, Any], height: int, width: int) -> Tensor:
    """(B, 1, H, W), True in the box of ``sides`` (pixels: rows, columns) around the pixel that ``centre`` (B, 2),
    uniform in [0, 1), points at, clipped at the border."""
    inside = [
        _interval(torch.floor(centre[:, a] * n), side, n, centre.device)
        for a, (n, side) in enumerate(zip((height, width), sides, strict=True))
    ]
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


def _interval(middle: Tensor, side: Any, n: int, device: torch.device) -> Tensor:
    """(B, n), True on the ``side`` pixels from middle − ⌊side/2⌋ on, as far as they exist."""
    first = (middle - torch.floor(torch.as_tensor(side / 2)))[:, None]
    i = torch.arange(n, device=device)
    return (i >= first) & (i < first + torch.as_tensor(side)[..., None])
