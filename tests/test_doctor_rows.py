"""What the doctor sees does not hang on the order of the rows, on how rare a class is, or on writing in place."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from equipoise import techniques as T
from equipoise.cohort import Cohort
from equipoise.data import Data
from equipoise.doctor import Course, doctor
from equipoise.doctor.bench import Bench
from equipoise.executor import Single
from equipoise.plan import Member, Options, group
from equipoise.programs import make_program
from equipoise.recipe import Recipe, resolve

SMALL = "mlp(hidden=(16,))"
PLAIN = Options(compile="never")


def classes(rows: int, share: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two normal clouds two deviations apart in each of four numbers; ``share`` of the rows are of the second."""
    g = torch.Generator().manual_seed(seed)
    y = (torch.rand(rows, generator=g) < share).long()
    return torch.randn(rows, 4, generator=g) + 2.0 * y[:, None], y


def bench(data: Data, model: Any) -> Bench:
    recipe = resolve(Recipe(T.SGD(0.1)), "classify")
    member = Member(recipe, 0)
    ((techniques, _),) = group([member])
    program = make_program(model, techniques, member, data, PLAIN)
    return Bench(Cohort(program, [member], data, Course(4).schedule(len(data.rows["fit"])), Single), 0)


def test_rows_of_a_sorted_file_are_drawn_and_nothing_is_found():
    """6,000 rows, those of one class first, and 900 of them in stop: of its first 256 rows none is of the other class,
    of 256 drawn ones less than a quarter is with a probability of 2⁻⁵⁷."""
    x, y = classes(6000, 0.5)
    order = y.sort().indices
    data = Data(x[order], y[order], name="sorted")
    assert int(data.y[data.rows["stop"][:256]].sum()) == 0
    rows = bench(data, SMALL).drawn
    for role, every in data.rows.items():
        assert rows[role].sort().values.equal(every.sort().values)
        assert 0.25 < float(data.y[rows[role][:256]].double().mean()) < 0.75
    seen = doctor(SMALL, Recipe(T.SGD(0.1)), data, steps=120, options=PLAIN)
    assert seen.ok, [f.why for f in seen.findings]


def test_a_rare_class_is_no_start_too_large():
    """One row in twenty: a start that takes both classes as equally likely loses .69, the shares themselves .2."""
    x, y = classes(2000, 0.05)
    seen = doctor(SMALL, Recipe(T.SGD(0.1)), Data(x, y, name="rare"), steps=120, options=PLAIN)
    assert seen.ok, [f.why for f in seen.findings]
    [start] = [m for m in seen.measures if m.probe == "activation_profile" and m.unit.startswith("loss at the start")]
    assert 0.5 < start.value < 1.5


# --- what a look sees -------------------------------------------------------------------------------------------------
class InPlace(torch.nn.Module):
    """ReLU and an addition that write over what came before them."""

    def __init__(self, inplace: bool = True) -> None:
        super().__init__()
        self.a, self.b, self.head = torch.nn.Linear(4, 8), torch.nn.Linear(8, 8), torch.nn.Linear(8, 2)
        self.inplace = inplace

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.nn.functional.relu(self.a(x), inplace=self.inplace)
        z = self.b(h)
        if self.inplace:
            z += h
        else:
            z = z + h
        return self.head(z)


@pytest.mark.parametrize("inplace", [False, True])
def test_a_look_sees_what_was_there_before_it_was_written_over(inplace: bool):
    """The same numbers with copies and without; a network that writes in place is found out at the first look."""
    torch.manual_seed(0)
    net = InPlace(inplace)
    seen = bench(Data(*classes(300, 0.5), name="clouds"), net)
    found = seen.look(0)
    assert seen.copies == inplace
    seen.copies = True
    copied, moment = seen.look(0), seen.moment(0)
    assert found == copied
    before = torch.nn.functional.linear(moment.layers[1].x, net.b.weight, net.b.bias).detach()
    assert torch.allclose(moment.layers[1].z, before)
    assert found.scales["b"] == pytest.approx(float(before.square().mean()), rel=1e-5)
