from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...errors import EquipoiseError
from ...technique import Technique, knob, option
from ._numbers import each, pieces, wanted

MOST = 8192  # values of a row: beyond, the covariance and its eigenvectors take gigabytes and minutes


class Whiten(Technique):
    """Decorrelate the inputs and give every direction the same variance.

    On the fit rows Σ = (1/n) Σ_i (x_i − μ)(x_i − μ)ᵀ = U Λ Uᵀ, S = (Λ + ε λ̄ I)^(−1/2), λ̄ = tr Σ / D; then
        zca: x′ = U S Uᵀ (x − μ), of all whitened inputs the closest to the original ones;
        pca: x′ = S Uᵀ (x − μ), one component after the other, the largest variance first.
    With `components` = k only the k largest are kept (zca: and mapped back). A variance λ becomes λ/(λ + ε λ̄).
    Directions without variance on the fit rows are cut: dividing by it would blow up what differs only in new rows.

    Knobs: `epsilon` = ε ≥ 0, in units of the mean variance λ̄, so that it means the same in bytes and in metres.
    Options: `kind` = "zca" (default) or "pca"; `components` = k, or None for all.
    Shapes: x (B, D); (B, T, F) over rows and times, D = F; images (B, C, H, W) flattened, D = C·H·W. zca keeps the
        shape, pca gives (B, k) or (B, T, k). Several inputs are treated one by one; tokens pass unchanged.
    Errors: refused for rows of more than 8,192 values, for k > D, and for data that are tokens alone.
    Trade: all of the inputs' κ goes, so descent is as fast as its rate allows; noise in directions of little variance
        grows (variance), which ε and `components` hold down at the price of bias. pca loses the image's positions.
        Fitting costs O(n D² + D³), the step O(D k) per row.
    Source: Bell and Sejnowski (1997); Krizhevsky (2009); Kessy, Lewin, Strimmer (2018); deck D1.
    """

    slot = "inputs"
    epsilon: float = knob(1e-5, low=0.0)
    kind: str = option("zca", choices=("zca", "pca"))
    components: Any = option(None)

    def check(self) -> None:
        k = self.components
        if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
            raise EquipoiseError(f"Whiten(components={k!r}): a whole number of components to keep, or None for all.")

    def fit(self, x: Any, y: Tensor, data: Any) -> dict[str, Tensor]:
        fitted: dict[str, Tensor] = {}
        for i, v in wanted(self, x):
            rows = _rows(v)
            self._refuse(rows.shape[1])
            fitted[f"mean{i}"], fitted[f"map{i}"] = self._learn(rows)
        return fitted

    def _refuse(self, D: int) -> None:
        if D > MOST:
            raise EquipoiseError(
                f"{self!r}: a row holds {D} values and their covariance {D}²; up to {MOST} are taken: use Standardize."
            )
        if self.components is not None and self.components > D:
            raise EquipoiseError(f"{self!r}: a row holds {D} values, so there are no more components than that.")

    def _learn(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """μ (D,) and the matrix (D, k) that x − μ is multiplied with from the right."""
        n, D = rows.shape
        μ = sum((p.sum(0) for p in pieces(rows)), torch.zeros((), dtype=torch.float64, device=rows.device)) / n
        Σ = torch.zeros(D, D, dtype=torch.float64, device=rows.device)
        for p in pieces(rows):
            Σ += (p - μ).T @ (p - μ)
        Λ, U = torch.linalg.eigh(Σ / n)
        Λ, U = Λ.flip(0)[: self.components], U.flip(1)[:, : self.components]
        U = U * torch.where(U.gather(0, U.abs().argmax(0, keepdim=True)) < 0, -1.0, 1.0)  # eigenvectors have no sign
        mean_variance = Σ.trace() / (n * D)
        rounding = D * torch.finfo(torch.float32).eps ** 2 * Λ[0].clamp(min=0)  # of data that are float32
        alive = rounding < Λ
        S = torch.where(alive, torch.where(alive, Λ + self.epsilon * mean_variance, 1.0).rsqrt(), 0.0)
        return μ, (U * S) @ U.T if self.kind == "zca" else U * S

    def prepare(self, x: Any, fitted: Mapping[str, Tensor]) -> Any:
        return each(x, lambda i, v: self._one(v, fitted[f"mean{i}"], fitted[f"map{i}"]))

    def _one(self, v: Tensor, μ: Tensor, W: Tensor) -> Tensor:
        if v.dim() == 3:
            return (v - μ) @ W
        out = (v.flatten(1) - μ) @ W
        return out.view(v.shape) if self.kind == "zca" else out


def _rows(v: Tensor) -> Tensor:
    """(n, D): the vectors that are whitened."""
    return v.flatten(0, 1) if v.dim() == 3 else v.flatten(1)
