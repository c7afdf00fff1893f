"""What the random initializers share: new values for the weights of every site, biases zero."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...technique import At, Params


def draw_weights(
    params: Params, at: Callable[[Any], At], variance: Callable[[Any, Tensor], float], kind: str
) -> Params:
    """Zero-mean weights of the given variance at every site, "normal" or "uniform"; biases of the sites zero."""

    def draw(site: Any, w: Tensor, noise: Any) -> Tensor:
        sd = math.sqrt(variance(site, w))
        if kind == "normal":
            return sd * noise.normal(tuple(w.shape), w.dtype)
        return math.sqrt(3.0) * sd * (2 * noise.uniform(tuple(w.shape), w.dtype) - 1)

    return replace_weights(params, at, draw)


def replace_weights(params: Params, at: Callable[[Any], At], draw: Callable[[Any, Tensor, Any], Tensor]) -> Params:
    """``draw(site, w, noise)`` for every trainable weight, each tied weight once; biases of the sites zero."""
    new, done = dict(params), set()
    for site in at(None).net.sites:
        noise = at(site).noise
        for name in site.weights:
            if name in params and name not in done:
                done.add(name)
                new[name] = draw(site, params[name], noise).to(params[name])
        for name in biases_of(site):
            if name in params:
                new[name] = torch.zeros_like(params[name])
    return new


def biases_of(site: Any) -> list[str]:
    """Canonical names of a site's biases; a recurrent module has several."""
    if site.kind != "recurrent":
        return [site.bias] if site.bias else []
    return [
        f"{site.name}.{n}" if site.name else n for n, _ in site.module.named_parameters(recurse=False) if "bias" in n
    ]
