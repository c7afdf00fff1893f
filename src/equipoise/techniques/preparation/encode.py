from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import EquipoiseError
from ...technique import Technique, option

MOST = 4096  # columns after encoding


class Encode(Technique):
    """Turn the columns of a table into finite numbers: categories, and missing values.

    Numbers: x′ = x, where missing the mean or median m_j of the column on the fit rows. Categories, "one-hot": one
    column x′_l = [x = l] for each level l of the fit rows; "ordinal": the rank 0, 1, … of the level among those of the
    fit rows, in the order of the data (sorted, or of the pandas categories). A category that the fit rows do not show,
    and a missing one, are all zeros (one-hot) or the column's mean or median rank. With `flags` every column with
    missing values in the fit rows gains a column [x is missing]. Columns keep their order; which there are is told by
    the data's fit rows, which levels and values count by the run's own rows.

    Options: `categories` = "one-hot" (default) or "ordinal"; `fill` = "mean" (default) or "median"; `flags` = True or
        False.
    Shapes: x (B, D) as the data holds it, codes of categories and NaN for missing, to (B, K), finite.
    Errors: refused for data that are no single table, and where more than 4,096 columns would come out.
    Trade: one-hot has no bias but a weight per level, so rare levels add variance; "ordinal" has one weight and biases
        where the levels have no order. Filling biases towards the mean; flags let the network learn what missing means.
    Source: deck D2 ("appropriate representation"); Little and Rubin (2002) on filling and indicators.
    """

    slot = "encoding"
    turn = -1  # before the inputs are scaled
    kinds = ("table",)
    categories: str = option("one-hot", choices=("one-hot", "ordinal"))
    fill: str = option("mean", choices=("mean", "median"))
    flags: bool = option(True, choices=(True, False))

    def fit(self, x: Any, y: Tensor, data: Any) -> dict[str, Tensor]:
        if data.columns is None or isinstance(x, tuple):
            raise EquipoiseError(f"{self!r} is for one table, but {data.name} is {data.kind} data: leave it out.")
        every = data.x[data.rows["fit"]]
        ranks = _ranks(x, data.columns)
        values = _ranked(x, ranks) if self.categories == "ordinal" else x
        made = [
            c
            for j, column in enumerate(data.columns)
            for c in self._columns(j, column, every[:, j], x[:, j], values[:, j])
        ]
        if len(made) > MOST:
            sources = [int(c[0]) for c in made]
            widest = max(set(sources), key=sources.count)
            raise EquipoiseError(
                f"{self!r} would make {len(made)} columns, {sources.count(widest)} of them from "
                f"{data.columns[widest].name!r}; up to {MOST} are taken: drop it, or use Encode(categories='ordinal')."
            )
        source, code, level, fill, flag = torch.tensor(made, dtype=torch.float64, device=x.device).unbind(1)
        fitted = {"source": source.long(), "codes": code, "level": level, "fill": fill, "flag": flag}
        return fitted | ({"ranks": ranks} if self.categories == "ordinal" else {})

    def _columns(self, j: int, column: Any, every: Tensor, own: Tensor, values: Tensor) -> Iterator[tuple[float, ...]]:
        """What comes out of column ``j``, as (source, code, level, fill, flag): a level has a code, a value a fill."""
        nan = float("nan")
        if column.kind == "category" and self.categories == "one-hot":
            seen = set(own[~own.isnan()].tolist())
            for code in every[~every.isnan()].unique().tolist():
                yield j, code, float(code in seen), nan, 0.0
        else:
            yield j, nan, 0.0, self._middle(values), 0.0
        if self.flags and bool(every.isnan().any()):
            yield j, nan, 0.0, nan, float(own.isnan().any())

    def _middle(self, values: Tensor) -> float:
        present = values[~values.isnan()].double().cpu().numpy()
        return float(np.mean(present) if self.fill == "mean" else np.median(present)) if len(present) else 0.0

    def prepare(self, x: Any, fitted: Mapping[str, Tensor]) -> Any:
        source, fill = fitted["source"], fitted["fill"]
        missing = x.isnan()[..., source]
        values = (_ranked(x, fitted["ranks"]) if "ranks" in fitted else x)[..., source]
        number = torch.where(values.isnan(), fill, values)
        symbol = fitted["level"] * (values == fitted["codes"]) + fitted["flag"] * missing
        return torch.where(fill.isnan(), symbol, number).to(fill.dtype)


def _ranks(x: Tensor, columns: Sequence[Any]) -> Tensor:
    """(S, D): in row c + 1 the rank of code c among those that occur, NaN for others, ∞ throughout a column of numbers;
    the first and the last row stand for codes the data do not have."""
    longest = max((len(c.levels) for c in columns), default=0)
    ranks = torch.full((longest + 2, len(columns)), float("inf"), dtype=torch.float64, device=x.device)
    for j, column in enumerate(columns):
        if column.kind == "category":
            codes = x[:, j][~x[:, j].isnan()].unique()
            ranks[:, j] = float("nan")
            ranks[codes.long() + 1, j] = torch.arange(len(codes), dtype=torch.float64, device=x.device)
    return ranks


def _ranked(x: Tensor, ranks: Tensor) -> Tensor:
    """The table with its categories as ranks, NaN where missing or never seen."""
    slot = (x.nan_to_num(-1.0) + 1).clamp(0, len(ranks) - 1).long()
    rank = ranks.gather(0, slot)
    return torch.where(rank.isinf(), x, rank.to(x.dtype))
