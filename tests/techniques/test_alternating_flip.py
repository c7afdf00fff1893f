"""AlternatingFlip: which version of each row an epoch shows, by the definition of its source."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from equipoise import techniques as T
from equipoise.cohort import Cohort
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.executor import Single, of_run
from equipoise.feed import Schedule
from equipoise.plan import Member, Options, group
from equipoise.programs import make_program
from equipoise.recipe import Recipe, resolve

from ..image_support import assert_share, augmented, photos

N = 5000


def mirrored(epoch: int, p: float = 1.0, rows: torch.Tensor | None = None) -> torch.Tensor:
    x = torch.tensor([0.0, 1.0]).expand(N, 1, 1, 2)
    rows = torch.arange(N) if rows is None else rows
    return augmented(T.AlternatingFlip(p), x, rows=rows, epoch=torch.tensor(float(epoch)).double())[:, 0, 0, 0] == 1


def test_an_image_is_mirrored_left_to_right():
    x = photos()
    out = augmented(T.AlternatingFlip(), x, rows=torch.arange(6), epoch=torch.tensor(0.0))
    same = (out == x).flatten(1).all(1)
    assert torch.equal(out[~same], x.flip(-1)[~same]) and 0 < int(same.sum()) < 6


def test_two_epochs_show_both_versions_of_every_row():
    first = mirrored(0)
    assert_share(first, 0.5)
    for epoch in range(1, 6):
        assert torch.equal(mirrored(epoch), first if epoch % 2 == 0 else ~first)


def test_the_row_decides_not_its_place_in_the_batch():
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mirrored(0, rows=order), mirrored(0)[order])
    assert not torch.equal(mirrored(0, rows=torch.arange(N) + 1), mirrored(0))


def test_neighbouring_rows_are_independent():
    first = mirrored(0)
    for lag in (1, 2, 3, 64):
        assert_share(first[lag:] == first[:-lag], 0.5)


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_a_share_p_of_the_rows_alternates(p: float):
    even, odd = mirrored(0, p), mirrored(1, p)
    assert not (even & odd).any()
    if p == 0:
        assert not (even | odd).any()
    else:
        assert_share(even | odd, p)
        assert_share(even[even | odd], 0.5)


@pytest.mark.parametrize("p", [1.0, 0.4])
def test_monte_carlo_draws_for_rows_without_a_number(p: float):
    x = torch.tensor([0.0, 1.0]).expand(N, 1, 1, 2)
    assert_share(augmented(T.AlternatingFlip(p), x)[:, 0, 0, 0] == 1, p / 2)


def test_it_excludes_a_random_flip():
    with pytest.raises(EquipoiseError, match="exclude each other: a random flip undoes the alternation"):
        Recipe(T.FlipHorizontal(), T.AlternatingFlip())


def test_training_shows_each_row_by_number_and_epoch(images: Data):
    """The steps of epochs 0 and 1 of a real run, computed by hand from the rows' numbers."""
    model = lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 3))  # noqa: E731
    member = Member(resolve((T.SGD(0.5), T.AlternatingFlip()), images.task), 3)
    [(shared, _)] = group([member])
    program = make_program(model, shared, member, images, Options(precision="float64"))
    cohort = Cohort(program, [member], images, Schedule(2, 16), Single)
    state, const = cohort.state[0], cohort.const[0]
    seen: dict[int, dict[int, bool]] = {0: {}, 1: {}}
    for epoch in seen:
        for now in cohort.feed.steps(epoch, [1.0]):
            one = of_run(now, 0)
            x = one.x.double()
            flip = augmented(T.AlternatingFlip(), x, rows=one.rows, epoch=one.epoch)
            seen[epoch] |= dict(zip(one.rows.tolist(), (flip != x).flatten(1).any(1).tolist(), strict=True))
            fitted = const.fitted["Standardize"]
            p = {k: v.clone().requires_grad_() for k, v in state["params"].items()}
            z = ((flip - fitted["mean0"]) / fitted["std0"]).flatten(1) @ p["1.weight"].T + p["1.bias"]
            loss = nn.functional.cross_entropy(z, one.y)
            loss.backward()
            state, got = program.step(state, const, one, cohort.executor.differentiate)
            torch.testing.assert_close(got, loss.detach(), rtol=1e-12, atol=1e-12)
            for k, v in p.items():
                torch.testing.assert_close(state["params"][k], (v - 0.5 * v.grad).detach(), rtol=1e-11, atol=1e-12)  # type: ignore[operator]
    assert set(seen[0]) == set(images.rows["fit"].tolist())
    assert all(seen[1][row] != flipped for row, flipped in seen[0].items())
