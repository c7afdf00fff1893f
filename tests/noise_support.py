"""What the tests of noise share: techniques as the step sees them, enumeration, quadrature, statistical bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equipoise.cohort import Cohort
from equipoise.data import Data
from equipoise.executor import Single, of_run
from equipoise.feed import Schedule
from equipoise.plan import Member, Options, group
from equipoise.programs import make_program
from equipoise.recipe import resolve
from equipoise.rng import Noise, source
from equipoise.sites import Network, Site, fold
from equipoise.sites.network import Pass
from equipoise.technique import At, Technique

SIGMAS = 6.5  # |z| of a standard normal exceeds it with probability 8e-11: fit for thousands of comparisons in a test


def bound(t: Technique) -> Any:
    """The technique with its knobs as the step sees them: 0-d float64 tensors."""
    return t.bind({k: torch.tensor(v, dtype=torch.float64) for k, v in t.knobs().items()})


def site(module: nn.Module, kind: str = "linear", reads_input: bool = False) -> Site:
    """A site of its own around an affine module."""
    return Site(0, "map", module, kind, ("weight",), "bias", reads_input=reads_input)


def at(where: Site, noise: Any, training: bool = True) -> At:
    return At(None, noise, where, training=training)


def noise(seed: int = 0, name: str = "test") -> Noise:
    return source(seed, name)


class Enumerated:
    """In the place of a `Noise`: row i draws the i-th of all 2^n outcomes of n Bernoulli variables, however many calls
    share them. `weights` are the outcomes' probabilities: sums over rows are exact expectations."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.outcomes = ((torch.arange(2**n)[:, None] >> torch.arange(n)) & 1).bool()
        self.weights = torch.ones(2**n, dtype=torch.float64)
        self._next = 0

    def bernoulli(self, shape: Sequence[int], p: Any, shared: bool = False) -> Tensor:
        k = math.prod(shape[1:])
        assert shape[0] == len(self.outcomes) and not shared, "one outcome per row"
        drawn = self.outcomes[:, self._next : self._next + k]
        assert drawn.shape[1] == k, "more draws than variables"
        self._next += k
        p = torch.as_tensor(p, dtype=torch.float64)
        self.weights = self.weights * torch.where(drawn, p, 1 - p).prod(1)
        return drawn.reshape(tuple(shape))

    def mean(self, values: Tensor) -> Tensor:
        """The expectation of values (2^n, …)."""
        assert self._next == self.n, "fewer draws than variables"
        return torch.tensordot(self.weights, values.double(), dims=1)

    def moments(self, values: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.mean(values)
        return mean, self.mean((values.double() - mean) ** 2)


class Quadrature:
    """In the place of a `Noise`: row i draws the i-th node of Gauss–Hermite quadrature for every normal; one normal per
    row makes weighted sums over rows exact expectations of polynomials up to degree 2n − 1."""

    def __init__(self, n: int = 8) -> None:
        nodes, weights = np.polynomial.hermite_e.hermegauss(n)
        self.nodes = torch.from_numpy(nodes)
        self.weights = torch.from_numpy(weights / weights.sum())

    def normal(self, shape: Sequence[int], dtype: torch.dtype = torch.float32, shared: bool = False) -> Tensor:
        assert shape[0] == len(self.nodes)
        return self.nodes.view(-1, *([1] * (len(shape) - 1))).expand(tuple(shape)).to(dtype)


def assert_moments(samples: Tensor, mean: Tensor, variance: Tensor) -> None:
    """Sample means (rows first, independent) within SIGMAS standard errors of ``mean``; mean squared deviations from it
    within SIGMAS of theirs, estimated from the sample's fourth moments, of ``variance``."""
    x, n = samples.double(), len(samples)
    mean, variance = (torch.as_tensor(v, dtype=torch.float64).expand(x.shape[1:]) for v in (mean, variance))
    z = (x.mean(0) - mean).abs() / (variance / n).sqrt().clamp(min=1e-12)
    assert z.max() < SIGMAS, f"mean off by {z.max():.1f} standard errors"
    squares = (x - mean) ** 2
    se = (squares.std(0) / math.sqrt(n)).clamp(min=1e-12)
    z = (squares.mean(0) - variance).abs() / se
    assert z.max() < SIGMAS, f"variance off by {z.max():.1f} standard errors"


def assert_uncorrelated(a: Tensor, b: Tensor) -> None:
    """The sample correlation of independent draws is within SIGMAS/√n of 0."""
    r = float(np.corrcoef(a.double().flatten().numpy(), b.double().flatten().numpy())[0, 1])
    assert abs(r) < SIGMAS / math.sqrt(a.numel()), r


# --- networks ---------------------------------------------------------------------------------------------------------
class Noisy:
    """A network with techniques in place, to be run on any rows with noise of a seed and step, or without."""

    def __init__(self, model: nn.Module, x: Any, *techniques: Technique) -> None:
        self.net = Network(model, x)
        self.net.build(techniques)
        self.techniques = {t.key: bound(t) for t in techniques}
        self.entries = techniques
        module = self.net.module
        self.params = {k: p.detach().clone() for k, p in module.named_parameters()}
        self.buffers = {k: b.detach().clone() for k, b in module.named_buffers()}

    def noise(self, seed: int = 0, step: int = 0) -> Callable[[Any, int, int], Noise | None]:
        def of(who: Any, place: int, call: int) -> Noise | None:
            row = self.net.entries.get((who, place, call))
            return None if row is None else source(seed, f"{who}/{place}", step, call)

        return of

    def __call__(self, x: Any, training: bool | None = None, seed: int = 0, step: int = 0, **params: Tensor) -> Tensor:
        """``training`` None: the deterministic rule; False: a Monte-Carlo sample; True: as in a step."""
        of = (lambda *_: None) if training is None else self.noise(seed, step)
        now = Pass(self.techniques, lambda _: At(self.net, training=bool(training)), of)
        given = {**self.params, **{k.replace("__", "."): v for k, v in params.items()}}
        return self.net.call(given, self.buffers, x, now, training=bool(training))[0]

    def folded(self) -> tuple[nn.Module, list[str]]:
        return fold(self.net, self.entries, self.params, self.buffers)


class OneStep:
    """The first step of a real training run, and what is needed to compute it by hand: float64, SGD at rate 0.5."""

    def __init__(self, build: Callable[[], nn.Module], data: Data, t: Technique, batch_size: int = 16) -> None:
        from equipoise import techniques as T

        recipe = resolve((T.SGD(0.5), t), data.task)
        member = Member(recipe, 3)
        [(shared, _)] = group([member])
        self.program = make_program(build, shared, member, data, Options(precision="float64"))
        cohort = Cohort(self.program, [member], data, Schedule(1, batch_size), Single)
        self.now = of_run(next(iter(cohort.feed.steps(0, [1.0]))), 0)
        self.before: Mapping[str, Tensor] = cohort.state[0]["params"]
        self.fitted = cohort.const[0].fitted
        state, self.loss = self.program.step(cohort.state[0], cohort.const[0], self.now, cohort.executor.differentiate)
        self.after: Mapping[str, Tensor] = state["params"]
        self.key = t.key

    def noise(self, place: int = 0xFFFF, call: int = 0) -> Noise:
        """The technique's noise at a site, or of the whole batch."""
        drawn = self.program.noise(self.now.keys, self.now.row0)(self.key, place, call)
        assert drawn is not None
        return drawn

    @property
    def raw(self) -> Tensor:
        return self.now.x.double()

    @property
    def standardized(self) -> Tensor:
        return self._standardize(self.raw)

    def _standardize(self, x: Tensor) -> Tensor:
        fit = self.fitted["Standardize"]
        return (x - fit["mean0"]) / fit["std0"]

    def assert_follows(self, forward: Callable[[Mapping[str, Tensor]], Tensor]) -> None:
        """The step was θ − 0.5 ∇ of the mean cross-entropy of ``forward(θ)``, computed here by plain PyTorch."""
        params = {k: v.detach().clone().requires_grad_() for k, v in self.before.items()}
        loss = nn.functional.cross_entropy(forward(params), self.now.y)
        torch.testing.assert_close(self.loss, loss.detach(), rtol=1e-12, atol=1e-12)
        grads = torch.autograd.grad(loss, list(params.values()))
        for (k, p), g in zip(params.items(), grads, strict=True):
            torch.testing.assert_close(self.after[k], (p - 0.5 * g).detach(), rtol=1e-12, atol=1e-12)
