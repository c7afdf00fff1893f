"""ZeroResidual: every branch starts at exactly zero, by the weight or by the γ that ends it, and can leave it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.sites.network import Pass
from equipoise.step import Program, State
from equipoise.technique import Technique

from ..models_of_users import Residual, Transformer, mlp
from ..starting import F64, check_distribution, program, start, started


def batch(*shape: int) -> Tensor:
    return torch.randn(8, *shape, dtype=F64, generator=torch.Generator().manual_seed(1))


class Branches(nn.Module):
    """A stem, h + end(second(relu(first(h)))), and a head; ``end`` makes the module that closes the branch."""

    def __init__(self, end: Callable[[], nn.Module] = nn.Identity, width: int = 4) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.end = end()
        self.stem, self.head = nn.Conv2d(width, width, 1), nn.Linear(width, 3)

    def trunk(self, h: Tensor) -> Tensor:
        return h + self.end(self.second(F.relu(self.first(h))))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(self.stem(x)).mean((2, 3)))


def trunk(model: Branches, params: dict[str, Tensor], h: Tensor) -> Tensor:
    """What the user's own module makes of h with these parameters."""
    model = copy.deepcopy(model).double()
    with torch.no_grad():
        for k, v in params.items():
            model.get_parameter(k).copy_(v)
    return model.trunk(h)


def through(p: Program, state: State, x: Tensor) -> Tensor:
    """Outputs of the network with our normalizations in it, in training mode."""
    return p.net.call(state["params"], state["buffers"], x, Pass(p.by_key), training=True)[0]


def without_branch(params: dict[str, Tensor], x: Tensor) -> Tensor:
    h = F.conv2d(x, params["stem.weight"], params["stem.bias"])
    return F.linear(h.mean((2, 3)), params["head.weight"], params["head.bias"])


def test_the_last_affine_map_of_every_branch_is_zero_and_all_others_are_he() -> None:
    x = batch(2, 8, 8)
    params, _ = started(Residual(), x, T.ZeroResidual(), seed=2)
    assert not params["a2.weight"].any() and not params["b2.weight"].any()
    scaled = [
        params[f"{n}.weight"] * (fan / 2) ** 0.5 for n, fan in (("stem", 18), ("a1", 36), ("b1", 36), ("head", 4))
    ]
    assert stats.kstest(torch.cat([w.ravel() for w in scaled]), "norm").pvalue > 1e-6
    assert not any(v.any() for k, v in params.items() if k.endswith("bias"))
    wide, _ = started(Branches(width=128), batch(128, 4, 4), T.ZeroResidual(), seed=2)
    check_distribution(wide["first.weight"], stats.norm(0, (2 / (128 * 9)) ** 0.5))


def test_x_plus_f_of_x_is_x_exactly() -> None:
    model, x = Branches(), batch(4, 8, 8)
    params, _ = started(model, x, T.ZeroResidual(), seed=2)
    assert torch.equal(trunk(model, params, x), x)
    he, _ = started(model, x, T.He(), seed=2)
    assert trunk(model, he, x).var() > 1.5 * x.var()


@pytest.mark.parametrize(
    "end", [lambda: nn.BatchNorm2d(4), lambda: nn.GroupNorm(2, 4), lambda: nn.InstanceNorm2d(4, affine=True)]
)
def test_the_users_own_norm_at_the_end_is_zeroed_and_its_map_is_not(end: Callable[[], nn.Module]) -> None:
    model, x = Branches(end), batch(4, 8, 8)
    params, _ = started(model, x, T.ZeroResidual(), seed=2)
    assert not params["end.weight"].any() and not params["end.bias"].any()
    assert params["second.weight"].std() > 0.1
    assert torch.equal(trunk(model, params, x), x)


def test_a_norm_that_ends_the_branch_behind_an_activation() -> None:
    model, x = Branches(lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4))), batch(4, 8, 8)
    params, _ = started(model, x, T.ZeroResidual(), seed=2)
    assert not params["end.1.weight"].any() and params["second.weight"].any()
    assert torch.equal(trunk(model, params, x), x)


def test_a_norm_in_the_middle_of_a_branch_is_left_alone() -> None:
    class Middle(Branches):
        def trunk(self, x: Tensor) -> Tensor:
            return x + self.second(F.relu(self.end(self.first(x))))

    model, x = Middle(lambda: nn.BatchNorm2d(4)), batch(4, 8, 8)
    params, _ = started(model, x, T.ZeroResidual(), seed=2)
    assert (params["end.weight"] == 1).all() and not params["second.weight"].any()


def test_modules_behind_the_last_map() -> None:
    model, x = Branches(lambda: nn.Sequential(nn.BatchNorm2d(4), nn.Dropout(0.2))), batch(4, 8, 8)
    params, _ = started(model, x, T.ZeroResidual(), seed=2)
    assert not params["end.0.weight"].any() and params["second.weight"].any()


def test_the_feed_forward_branches_of_a_transformer() -> None:
    params, _ = started(Transformer(), batch(5, 4), T.ZeroResidual(), seed=2)
    assert not params["encoder.layers.0.linear2.weight"].any() and params["encoder.layers.0.linear1.weight"].any()
    assert (params["encoder.layers.0.norm2.weight"] == 1).all()  # it follows the addition


@pytest.mark.parametrize(
    "norm", [T.BatchNorm(where=("first", "second")), T.BatchNorm(where="second")], ids=["inside too", "at the end"]
)
def test_our_norm_at_the_end_is_zeroed_instead(norm: Technique) -> None:
    model, x = Branches(), batch(4, 8, 8)
    p = program(model, x, T.ZeroResidual(), norm)
    state = start(p, x, 2)
    params = state["params"]
    assert not params["second.normalization.weight"].any() and not params["second.normalization.bias"].any()
    assert params["second.weight"].std() > 0.1
    assert torch.equal(through(p, state, x), without_branch(params, x))


@pytest.mark.parametrize("w", [0.0, 0.5, 1.0])
def test_a_gate_between_the_norm_and_the_plain_map(w: float) -> None:
    """The branch is zero at every gate, and at the gate 0 the start is the one without the normalization."""
    model, x = Branches(), batch(4, 8, 8)
    p = program(model, x, T.ZeroResidual(), T.BatchNorm(w, where=("first", "second")))
    state = start(p, x, 2)
    params = state["params"]
    assert torch.equal(through(p, state, x), without_branch(params, x))
    assert params["second.weight"].any() == (w == 1)
    assert params["second.normalization.weight"].any() == (w == 0)
    if w == 0:
        plain, _ = started(model, x, T.ZeroResidual(), seed=2)
        assert all(torch.equal(params[k], plain[k]) for k in plain)


def test_chosen_units() -> None:
    model, x = Branches(), batch(4, 8, 8)
    p = program(model, x, T.ZeroResidual(), T.BatchNorm(where="second", units=(1, 3)))
    params = start(p, x, 2)["params"]
    assert params["second.normalization.weight"].tolist() == [1, 0, 1, 0]
    assert params["second.weight"].flatten(1).any(1).tolist() == [False, True, False, True]


def test_a_branch_leaves_zero_in_training(images: Data) -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), Branches())
    for company in ((), (T.BatchNorm(),)):
        run = eq.train(model, eq.Recipe(T.ZeroResidual(), T.SGD(0.1), *company), images, epochs=2, batch_size=16)
        name = "1.second.normalization.weight" if company else "1.second.weight"
        assert run.state["params"][name].abs().max() > 1e-4


def test_what_cannot_start_at_zero_is_refused() -> None:
    with pytest.raises(EquipoiseError, match="finds no residual addition"):
        started(mlp(), batch(6), T.ZeroResidual())
    with pytest.raises(EquipoiseError, match="no trainable γ"):
        started(Branches(lambda: nn.InstanceNorm2d(4)), batch(4, 8, 8), T.ZeroResidual())
    with pytest.raises(EquipoiseError, match="no trainable γ"):
        started(Branches(), batch(4, 8, 8), T.ZeroResidual(), T.BatchNorm(affine=False))


def test_a_frozen_end_of_a_branch_stays_and_is_told() -> None:
    model, x = Branches(), batch(4, 8, 8)
    model.second.weight.requires_grad_(False)
    params, p = started(model, x, T.ZeroResidual(), seed=2)
    assert "second.weight" not in params and any("second" in n and "frozen" in n for n in p.net.notes)
