"""A run that became non-finite is located by replay: faults planted at every place, at a known step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from equipoise import techniques as T
from equipoise.cohort import Cohort
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.executor import Single, Stack
from equipoise.feed import Schedule
from equipoise.plan import Member, Options, group
from equipoise.programs import make_program
from equipoise.recipe import Recipe, resolve
from equipoise.replay import Watch
from equipoise.technique import At, Batch, Empty, Params, State, Technique, knob
from equipoise.train import train

from .models_of_users import Cnn, mlp

BREAKS = 5  # the step in which planted techniques break
EAGER = Options(compile="never")


def broken(v: Tensor, at: At) -> Tensor:
    return torch.where(torch.as_tensor(at.t >= BREAKS), torch.nan, v)


class AtBatch(Technique):
    """Breaks the batch."""

    def batch(self, batch: Batch, at: At) -> Batch:
        return batch.map_x(lambda v: broken(v, at))


class AtAct(Technique):
    """Breaks the input of the second layer."""

    def act(self, x: Tensor, at: At) -> Tensor:
        return broken(x, at) if at.site.index == 1 else x


class AtAffine(Technique):
    """Breaks the affine map of the last layer."""

    def affine(self, x: Tensor, w: Tensor, b: Tensor | None, at: At) -> Tensor:
        z = at.site.affine(x, w, b)
        return broken(z, at) if at.site.is_output else z


class AtWeights(Technique):
    """Breaks the weights of a pass."""

    def weights(self, params: Params, at: Callable[[Any], At]) -> Params:
        return {k: broken(v, at(None)) for k, v in params.items()}


class AtPenalty(Technique):
    """Breaks the loss by a penalty."""

    def penalty(self, params: Params, at: At) -> Tensor:
        return broken(torch.zeros(()), at)


class AtLoss(Technique):
    """Breaks the loss."""

    slot = "objective"

    def loss(self, output: Any, batch: Batch, at: At) -> Tensor:
        return broken((output.log_softmax(-1) * -batch.y).sum(-1).mean(), at)


class Huge(Technique):
    """Gradients that a high rate takes out of float32."""

    def grads(self, grads: Params, params: Params, at: At) -> Params:
        return {k: v.sign() * 100 for k, v in grads.items()}


class AtGrads(Technique):
    """Breaks the gradients."""

    strength: float = knob(1.0)

    def grads(self, grads: Params, params: Params, at: At) -> Params:
        return {k: broken(v, at) for k, v in grads.items()}


class AtUpdate(Technique):
    """Breaks the second layer's bias after the optimizer."""

    turn = 5

    def update(self, grads: Params, state: State, params: Params, at: At) -> tuple[Params, State]:
        return {k: broken(v, at) if k == "2.bias" else v for k, v in params.items()}, state


class AtProject(Technique):
    """Breaks the weights where they are projected."""

    def project(self, params: Params, at: At) -> Params:
        return {k: broken(v, at) if k == "0.weight" else v for k, v in params.items()}


def why(model: Any, data: Data, *entries: Technique, **schedule: Any) -> str:
    with pytest.raises(EquipoiseError, match=r"^training failed: ") as e:
        train(model, Recipe(*entries), data, **{"epochs": 2, "batch_size": 24, "options": EAGER, **schedule})
    assert "\n" not in str(e.value)
    return str(e.value)


@pytest.mark.parametrize(
    ("planted", "place", "way"),
    [
        (AtBatch(), "what AtBatch makes of the batch", "or leave it out"),
        (AtAct(), "what AtAct makes of its input at layer '2'", "Leave AtAct() out"),
        (AtAffine(), "what AtAffine makes of the affine map at layer '4'", "Leave AtAffine() out"),
        (AtWeights(), "what AtWeights makes of the weights", "Leave AtWeights() out"),
        (AtPenalty(), "the penalty of AtPenalty", "Leave AtPenalty() out"),
        (AtLoss(), "the loss that AtLoss computes from finite outputs", "ClipGradients(1.0)"),
        (AtGrads(2.0), "what AtGrads makes of the gradients", "Leave AtGrads(strength=2.0) out"),
        (AtUpdate(), "the update of parameter '2.bias' by AtUpdate", "Lower the rate: SGD(rate=0.01)"),
        (AtProject(), "the update of parameter '0.weight' by AtProject", "Lower the rate: SGD(rate=0.01)"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Technique) else "",
)
def test_a_technique_that_breaks_is_named_with_its_stage_and_step(
    planted: Technique, place: str, way: str, table: Data
) -> None:
    told = why(mlp, table, T.SGD(0.1), planted)
    assert place in told and f"at step {BREAKS}." in told and way in told


def test_a_row_that_is_not_finite_is_named(table: Data, images: Data) -> None:
    data = Data(table.x.clone(), table.y)
    rows = data.rows["fit"]
    data.x[rows[30], 4] = torch.inf  # a fault that loading refuses
    told = why(mlp, data, Empty("inputs"), T.SGD(0.1), shuffle="never")
    assert f"row {int(rows[30])} of the data, entry [4], is infinite, at step 1." in told and "drop such rows" in told
    data = Data(images.x.clone(), images.y)
    data.x[data.rows["fit"][30], 0, 2, 2] = torch.nan
    told = why(Cnn, data, Empty("inputs"), T.SGD(0.1), shuffle="never")
    assert "a missing value (NaN) that no preparation fills, at step 1." in told and "Encode()" in told


class Exp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(60 * x * x)


class Between(nn.Module):
    """The exponential is no module."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.exp(60 * self.a(x) ** 2))


class Root(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sqrt(x.abs())


class Masked(nn.Module):
    """Minus infinity on purpose, in every step; then a softmax that takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.mask, self.softmax, self.b = nn.Linear(6, 6), Mask(), nn.Softmax(-1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.softmax(self.mask(self.a(x))))


class Mask(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.masked_fill(torch.arange(6) > 3, -torch.inf)


def sequential(middle: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(6, 8), middle, nn.Linear(8, 3))


def test_a_layer_that_overflows_is_named(table: Data) -> None:
    told = why(sequential(Exp()), table, T.SGD(0.1))
    assert "the output of layer '1' (Exp), at step 0. It is so before anything was learned: put in He()" in told
    told = why(Between, table, T.SGD(0.1), T.He(), Empty("inputs"))
    assert "what the network computes after layer 'a' (Linear), outside of its layers, at step 0." in told
    assert "put in Standardize()" in told


def test_a_gradient_without_bound_is_named(table: Data) -> None:
    told = why(sequential(Root()), table, T.SGD(0.1), T.Constant(0.0))
    assert "the gradient of parameter '0.bias', at step 0." in told and "division at 0" in told


def test_a_rate_too_high_is_named(targets: Data) -> None:
    build = lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))  # noqa: E731
    told = why(build, targets, T.SGD(1e38))
    assert "Lower the rate: SGD(rate=1e+37). Or bound the gradients: ClipGradients(1.0)." in told
    told = why(build, targets, T.SGD(1e38), T.SquaredError(), Empty("inputs"), Huge(), epochs=1, batch_size=120)
    assert "the weights were not finite after epoch 1; first" in told
    assert "by SGD, at step 0. Lower the rate: SGD(rate=1e+37). Or bound" in told


def test_weights_too_large_to_predict_with_are_told(targets: Data) -> None:
    told = why("mlp(hidden=(8,))", targets, T.SGD(1e37), epochs=1, batch_size=120)
    assert "the predictions on `stop` were not finite after epoch 1, so its weights are too large; Lower the" in told


def test_a_normalization_that_divides_by_nothing_is_named(table: Data) -> None:
    told = why(mlp, table, T.SGD(0.1), T.RMSNorm(epsilon=1e-46), T.Constant(0.0))
    assert "what RMSNorm/all makes of the affine map at layer '0', at step 0. Give RMSNorm a larger epsilon" in told


def test_infinities_on_purpose_are_not_blamed(table: Data) -> None:
    told = why(Masked, table, T.SGD(0.1), AtPenalty())
    assert "the penalty of AtPenalty" in told


# --- cohorts ----------------------------------------------------------------------------------------------------------
def cohort(data: Data, executor: Any, *rates: float, model: Any = mlp) -> Cohort:
    members = [Member(resolve(Recipe(T.SGD(r), T.Dropout(0.2)), data.task), i) for i, r in enumerate(rates)]
    [(techniques, _)] = group(members)
    program = make_program(model, techniques, members[0], data, EAGER)
    return Cohort(program, members, data, Schedule(3, 24), executor)


def trained(c: Cohort) -> Cohort:
    while not c.finished:
        c.train_epoch()
    return c


@pytest.mark.parametrize("executor", [Stack, Single])
def test_a_failed_run_harms_no_other(executor: Any, table: Data) -> None:
    """Bit for bit, in the same cohort with a healthy run in its place."""
    sick, healthy = trained(cohort(table, executor, 0.1, 1e38, 0.3)), trained(cohort(table, executor, 0.1, 0.2, 0.3))
    assert [bool(r.failed) for r in sick.runs] == [False, True, False] and not any(r.failed for r in healthy.runs)
    assert "Lower the rate: SGD(rate=1e+37)" in sick.runs[1].failed
    for i in (0, 2):
        a, b = sick.result(i)["params"], healthy.result(i)["params"]
        assert all(torch.equal(a[k], b[k]) for k in b) and sick.runs[i].history == healthy.runs[i].history
    assert len(sick.runs[1].history) == 0


def test_the_replay_leaves_nothing_behind(table: Data) -> None:
    c = trained(cohort(table, Stack, 0.1, 1e38))
    modules = list(c.program.net.module.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks or "gated" in m.__dict__ for m in modules)
    with Watch(c.program):
        assert any(m._forward_hooks for m in modules)  # the check sees them while there are some


def test_a_run_that_goes_on_inside_an_epoch_is_replayed_from_there(table: Data) -> None:
    members = [Member(resolve(Recipe(T.SGD(0.1), AtPenalty()), table.task), 0)]
    [(techniques, _)] = group(members)
    program = make_program(mlp, techniques, members[0], table, EAGER)
    first, second = (Cohort(program, members, table, Schedule(2, 24), Single) for _ in range(2))
    asked = iter((False, False, True))  # after steps 1, 2, 3
    assert not first.train_epoch(lambda: next(asked))
    second.load_state_dict(first.state_dict())
    assert second.snapshot[0] == 3 and second.train_epoch() and second.train_epoch()
    assert f"the penalty of AtPenalty, at step {BREAKS}." in second.runs[0].failed
