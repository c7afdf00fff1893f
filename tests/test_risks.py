"""Risky choices are named before they are trained, with the better order or entry."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import equipoise as eq
from equipoise import Data, Options, Recipe
from equipoise import techniques as T
from equipoise.plan import Member, group
from equipoise.programs import make_program
from equipoise.recipe import resolve
from equipoise.risks import warnings_for


def warned(model: object, data: Data, *entries: object, batch_size: int = 64) -> list[str]:
    member = Member(resolve(Recipe(*entries), data.task), 0)
    program = make_program(model, group([member])[0][0], member, data, Options())
    return warnings_for(member.recipe, data, program.net, batch_size)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def with_own_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def test_dropout_before_batch_norm_names_the_place_behind_it(table: Data) -> None:
    [line] = warned(mlp, table, T.BatchNorm(), T.Dropout(0.5))
    assert line.startswith("Dropout() acts at 2, before the batch norm of 2:")
    assert "Better: where='4', or BatchNorm(statistics='population')." in line
    assert warned(mlp, table, T.BatchNorm(), T.Dropout(0.5, where="4")) == []  # what the line says
    assert warned(mlp, table, T.BatchNorm(statistics="population"), T.Dropout(0.5)) == []


def test_several_places_behind_are_all_named(table: Data) -> None:
    [line] = warned(mlp, table, T.BatchNorm(where="0"), T.Dropout(0.5, p_input=0.1))
    assert "acts at 0, before the batch norm of 0:" in line and "where=('2', '4')" in line
    assert warned(mlp, table, T.BatchNorm(where="0"), T.Dropout(0.5)) == []


@pytest.mark.parametrize(
    "entries",
    [
        (T.Dropout(0.5),),
        (T.BatchNorm(),),
        (T.LayerNorm(), T.Dropout(0.5)),
        (T.BatchNorm(), T.Dropout(0.0)),
        (T.BatchNorm(w=0.0), T.Dropout(0.5)),
        (T.BatchNorm(), T.GaussianNoise(0.1)),
    ],
    ids=str,
)
def test_nothing_is_said_where_there_is_no_risk(entries: tuple[object, ...], table: Data) -> None:
    assert warned(mlp, table, *entries) == []


def test_noise_in_the_weights_counts_too(table: Data) -> None:
    [line] = warned(mlp, table, T.BatchNorm(), T.DropConnect(0.3, where="2"))
    assert line.startswith("DropConnect(") and "acts at 2, before the batch norm of 2" in line


def test_the_users_own_batch_norm_counts(table: Data) -> None:
    [order] = warned(with_own_norm, table, T.Dropout(0.5))
    assert "acts at 2, before the batch norm of 2" in order and order.endswith("Better: where='5'.")
    [few] = warned(with_own_norm, table, batch_size=4)
    assert few.startswith("the model's own 3: 4 values per unit and batch at 2")


@pytest.mark.parametrize(("rows", "said"), [(2, True), (7, True), (8, False), (64, False)])
def test_batch_norm_of_few_values(rows: int, said: bool, table: Data) -> None:
    lines = warned(mlp, table, T.BatchNorm(), batch_size=rows)
    assert bool(lines) == said
    if rows == 7:  # √(2/6) = .58
        assert lines == [
            "BatchNorm(): 7 values per unit and batch at 0, fewer than 8: the variance is off by 58% in a typical "
            "batch. Better: larger batches, or LayerNorm()."
        ]


def test_positions_count_as_values_and_ghosts_divide_the_batch(images: Data, table: Data) -> None:
    cnn = lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))  # noqa: E731
    assert warned(cnn, images, T.BatchNorm(), batch_size=2) == []  # 2 rows × 36 positions
    [line] = warned(mlp, table, T.GhostBatchNorm(size=4), batch_size=64)
    assert line.startswith("GhostBatchNorm(size=4): 4 values per unit and batch")


def test_a_batch_larger_than_the_data_is_the_data() -> None:
    x = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
    data = Data(x, torch.arange(9) % 3, split={"fit": range(6), "stop": [6], "assess": [7], "test": [8]})
    [line] = warned(mlp, data, T.BatchNorm(), batch_size=64)
    assert "6 values per unit" in line


def test_a_run_carries_them(table: Data) -> None:
    run = eq.train(mlp, Recipe(T.BatchNorm(), T.Dropout(0.5)), table, epochs=1, batch_size=5)
    assert sum("before the batch norm" in n for n in run.notes) == 1
    assert sum("5 values per unit" in n for n in run.notes) == 1
