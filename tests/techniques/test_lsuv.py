"""LSUV: unit variance of every affine map's output on the first batch, on any architecture."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data

from ..models_of_users import Cnn, Residual, Shared, TwoInputs
from ..starting import F64, check_contract_of_starts, program, start, started


def variances(model: nn.Module, params: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """Variance of what each affine module gives, over all of its calls, in the user's own model."""
    model, seen = copy.deepcopy(model).to(x.dtype), dict[str, list[Tensor]]()
    for name, m in model.named_modules():
        if isinstance(m, nn.Linear | nn.Conv2d):
            m.register_forward_hook(
                lambda _, __, out, name=name: seen.setdefault(name, []).append(out.flatten().clone())
            )
    torch.func.functional_call(model, params, (x,))
    return {k: torch.cat(v).var(correction=0) for k, v in seen.items()}


def deep(activation: Callable[[], nn.Module]) -> nn.Sequential:
    return nn.Sequential(*(m for _ in range(8) for m in (nn.Linear(20, 20), activation())), nn.Linear(20, 3))


def batch(*shape: int) -> Tensor:
    return 7 * torch.randn(64, *shape, dtype=F64, generator=torch.Generator().manual_seed(1)) + 2


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid])
def test_every_activation_gets_unit_variance_at_every_depth(activation: Callable[[], nn.Module]) -> None:
    model, x = deep(activation), batch(20)
    params, _ = started(model, x, T.LSUV(), seed=2)
    for var in variances(model, params, x).values():
        assert abs(var - 1) < 1e-9  # one call, no bias: the first scaling is exact
    assert not any(v.any() for k, v in params.items() if k.endswith("bias"))


@pytest.mark.parametrize("model", [Cnn(), Residual()], ids=["convolutions", "residual branches"])
def test_images(model: nn.Module) -> None:
    x = batch(2, 8, 8)
    params, _ = started(model, x, T.LSUV(), seed=2)
    for var in variances(model, params, x).values():
        assert abs(var - 1) < 1e-9


@pytest.mark.parametrize("passes", [9, 10])
def test_a_module_called_twice_has_unit_variance_over_both_calls(monkeypatch: pytest.MonkeyPatch, passes: int) -> None:
    """And a tied weight is scaled where it is first used, whatever number of passes a second scaling would take."""
    monkeypatch.setattr(sys.modules[T.LSUV.__module__], "PASSES", passes)
    model, x = Shared(), batch(6)
    params, _ = started(model, x, T.LSUV(), seed=2)
    found = variances(model, params, x)
    assert abs(found["enc"] - 1) < 1e-9 and abs(found["twice"] - 1) <= 0.01 and abs(found["head"] - 1) < 1e-9


def test_directions_are_those_of_orthogonal_weights() -> None:
    model, x = deep(nn.ReLU), batch(20)
    params, _ = started(model, x, T.LSUV(), seed=2)
    w = params["2.weight"]
    gram = w @ w.T
    torch.testing.assert_close(gram, gram[0, 0] * torch.eye(20, dtype=F64), rtol=0, atol=1e-9)


def test_the_variance_before_a_normalization_is_meant() -> None:
    model, x = deep(nn.ReLU), batch(20)
    alone, _ = started(model, x, T.LSUV(), seed=2)
    first = started(model, x, T.LSUV(), T.BatchNorm(), seed=2)[0]["0.weight"]
    assert torch.equal(first, alone["0.weight"])


def test_dead_signals_are_left_alone() -> None:
    model = deep(nn.ReLU)
    params, _ = started(model, torch.zeros(8, 20, dtype=F64), T.LSUV(), seed=2)
    assert all(v.isfinite().all() for v in params.values())


def test_recurrent_modules_keep_their_orthogonal_weights() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.fc = nn.GRU(4, 8, batch_first=True), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.rnn(x)[0][:, -1])

    x = batch(5, 4)
    params, _ = started(Last(), x, T.LSUV(), seed=2)
    for gate in params["rnn.weight_hh_l0"].split(8):
        torch.testing.assert_close(gate @ gate.T, torch.eye(8, dtype=F64), rtol=0, atol=1e-12)


def test_several_inputs() -> None:
    g = torch.Generator().manual_seed(2)
    x = (torch.randn(40, 4, generator=g), 100 * torch.randn(40, 2, generator=g))
    data = Data(x, torch.arange(40) % 3)
    run = eq.train(TwoInputs, eq.Recipe(T.LSUV()), data, epochs=1, batch_size=40)
    assert run.state["params"]["right.weight"].isfinite().all()


def test_the_first_batch_of_a_real_run_is_what_counts(table: Data) -> None:
    """The prepared rows: standardized inputs through orthogonal weights have variance near 1 before any scaling."""
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    recipe = eq.Recipe(T.LSUV(), T.SGD(1e-30), T.Standardize())
    run = eq.train(model, recipe, table, epochs=1, batch_size=32)
    x = table.x[table.rows["fit"][:32]]
    fitted = run.const.fitted["Standardize"]
    z = ((x - fitted["mean0"]) / fitted["std0"]) @ run.state["params"]["0.weight"].T
    assert abs(z.var(correction=0) - 1) < 1e-4


def test_the_seed_alone_decides() -> None:
    model, x = deep(nn.ReLU), batch(20)
    p = program(model, x, T.LSUV())
    one, two = start(p, x, 4)["params"], start(p, x, 4)["params"]
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_what_every_start_keeps() -> None:
    check_contract_of_starts(T.LSUV())
