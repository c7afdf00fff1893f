"""What the initializers share: new values for the weights of every site, biases zero, and what the sites are given."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...errors import EquipoiseError
from ...technique import At, Params

AtSite = Callable[[Any], At]


def draw_weights(
    t: Any, params: Params, at: AtSite, variance: Callable[[float, float], float], kind: str = "normal"
) -> Params:
    """Zero-mean weights of ``variance(fan_in, fan_out)`` at every site, "normal" or "uniform"; biases zero."""

    def draw(site: Any, w: Tensor, noise: Any) -> Tensor:
        sd = math.sqrt(variance(*site.fans(w)))
        if kind == "normal":
            return sd * noise.normal(tuple(w.shape), w.dtype)
        return math.sqrt(3.0) * sd * (2 * noise.uniform(tuple(w.shape), w.dtype) - 1)

    return replace_weights(t, params, at, draw)


def replace_weights(t: Any, params: Params, at: AtSite, draw: Callable[[Any, Tensor, Any], Tensor]) -> Params:
    """``draw(site, w, noise)`` for every trainable weight of the sites, a tied one once; biases of those sites zero."""
    net = at(None).net
    new, done = dict(params), set()
    for site in net.sites:
        noise = at(site).noise
        for name in site.weights:
            if name in params and name not in done:
                done.add(name)
                new[name] = draw(site, params[name], noise).to(params[name])
        if done.intersection(site.weights):
            for name in biases_of(site):
                if name in params:
                    new[name] = torch.zeros_like(params[name])
    _tell(t, net, done)
    return new


def _tell(t: Any, net: Any, done: set[str]) -> None:
    """Say what keeps its own start; setting nothing at all is an error."""
    if not done:
        raise EquipoiseError(
            f"{t!r} finds no trainable weight of an affine module in this model ({net.describe()}): leave it out."
        )
    kept = sorted(net.affine_weights - done)
    if kept:
        some = ", ".join(kept[:3]) + (f" and {len(kept) - 3} more" if len(kept) > 3 else "")
        total = len(done) + len(kept)
        net.note(f"{type(t).__name__} sets {len(done)} of {total} weights; the model's own start stays for {some}.")


def biases_of(site: Any) -> list[str]:
    """Canonical names of a site's biases; a recurrent module has several."""
    if site.kind != "recurrent":
        return [site.bias] if site.bias else []
    return [
        f"{site.name}.{n}" if site.name else n for n, _ in site.module.named_parameters(recurse=False) if "bias" in n
    ]


def shown(at: AtSite, params: Params, module: Any, look: Callable[[Any], None]) -> None:
    """Run the first batch through the network with ``params``; ``look(x)`` is called with each input of ``module``."""
    forward = at(None).forward

    def hook(_: Any, args: Any, kwargs: Any) -> None:
        look(args[0] if args else next(iter(kwargs.values())))

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        with torch.no_grad():
            forward(params)
    finally:
        handle.remove()
