"""A function as its operators gives what it gave, on other numbers too, to the last bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from equipoise.recording import Recorded


def arguments(seed: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g)  # noqa: E731
    return {"a": draw(3, 5, 8), "b": draw(3, 8), "c": draw(3, 8, 4)}, draw(6, 5), draw(6, 4)


def by_transform(p: dict[str, Tensor], x: Tensor, y: Tensor) -> Any:
    def loss(p: dict[str, Tensor]) -> Tensor:
        out = torch.softmax(torch.relu(x @ p["a"] + p["b"]) @ p["c"], 1)
        return ((out - y) ** 2).sum() + out.exp().std()

    g, value = torch.func.grad_and_value(loss)(p)
    parts = torch.cat([value.reshape(1), g["b"]]).split([1, 8])  # lists in and out
    return {k: p[k] - 0.1 * g[k] for k in p}, parts, x


def by_autograd(p: dict[str, Tensor], x: Tensor, y: Tensor) -> Any:
    a, c = (p[k][0].detach().requires_grad_() for k in ("a", "c"))
    with torch.enable_grad():
        loss = ((torch.softmax((x @ a).exp() @ c, 1) - y) ** 2).mean()  # exp and softmax keep their results
        grads = torch.autograd.grad(loss, [a, c])
    return grads, loss.detach()


FUNCTIONS = {"vmap": torch.vmap(by_transform, in_dims=(0, None, None)), "autograd": by_autograd}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_gives_the_same_bits_on_other_numbers(name: str) -> None:
    f = FUNCTIONS[name]
    recorded = Recorded(f, *arguments(0))
    for seed in range(4):
        ours, theirs = recorded(*arguments(seed)), f(*arguments(seed))
        ours, spec = pytree.tree_flatten(ours)
        theirs, other = pytree.tree_flatten(theirs)
        assert spec == other and all(map(torch.equal, ours, theirs))


def test_what_nobody_reads_is_left_out_and_the_rest_is_let_go() -> None:
    def f(x: Tensor) -> Tensor:
        x.exp().sum()  # unused
        return (x + 1) * 2

    recorded = Recorded(f, torch.ones(3))
    assert [str(c.operator) for c in recorded._calls] == ["aten.add.Tensor", "aten.mul.Tensor"]
    assert recorded._calls[0].last == (0,) and len(recorded._calls[1].last) == 1  # x, then the sum


def test_writing_in_place_is_kept() -> None:
    def f(x: Tensor) -> Tensor:
        y = x.clone()
        y.add_(1)
        y[0] = 5.0
        return y * 2

    recorded = Recorded(f, torch.zeros(3))
    assert recorded(torch.tensor([1.0, 2.0, 3.0])).tolist() == [10.0, 6.0, 8.0]


def test_constants_and_other_leaves_stay() -> None:
    scale = torch.full((), 3.0)
    recorded = Recorded(lambda x, n: (x * scale + n, n, None), torch.ones(2), 4)
    out, n, none = recorded(torch.zeros(2), 4)
    assert out.tolist() == [4.0, 4.0] and n == 4 and none is None
    scale.fill_(5.0)  # read when it is called
    assert recorded(torch.ones(2), 4)[0].tolist() == [9.0, 9.0]


@pytest.mark.parametrize(
    "reads", [lambda x: x * float(x.sum()), lambda x: x if x.sum() > 0 else -x, lambda x: x.sum().item() * x]
)
def test_numbers_that_python_reads_are_refused(reads: Any) -> None:
    with pytest.raises(RuntimeError, match="cannot be recorded"):
        Recorded(reads, torch.ones(2))


def test_another_structure_is_refused() -> None:
    recorded = Recorded(lambda d: d["a"] + 1, {"a": torch.ones(1)})
    with pytest.raises(RuntimeError, match="another structure"):
        recorded({"b": torch.ones(1)})
