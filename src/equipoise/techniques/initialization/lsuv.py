from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...technique import At, Params, Technique
from ._draw import replace_weights, shown
from ._orthogonal import orthogonal

TOLERANCE, PASSES = 0.01, 10


class LSUV(Technique):
    """Layer-sequential unit variance: orthogonal weights, scaled layer by layer until the data have variance 1 there.

    W orthogonal, b = 0; then for each affine map in the order of execution W ← W/√Var(W x), until |Var(W x) − 1| ≤ .01
    or ten times: Var over rows, units and positions of the run's first batch, all calls of the module together, without
    noise and before any normalization. Recurrent modules keep their orthogonal weights.

    Shapes: every trainable weight of every site.
    Errors: no trainable weight of a site in the model.
    Trade: none on bias or variance; fits the start to any activation, and to the data, where formulas assume one. Costs
        two forward passes of one batch per layer.
    Source: Mishkin and Matas (2016), All you need is a good init.
    """

    slot = "initialization"

    def init(self, params: Params, at: Callable[[Any], At]) -> Params:
        params = replace_weights(self, params, at, orthogonal)
        done: set[str] = set()
        for site in at(None).net.sites:
            name = site.weights[0] if site.weights else ""
            if site.kind != "recurrent" and name in params and name not in done:
                done.add(name)  # a tied weight is scaled where it is first used
                params = self._scaled(params, site, name, at)
        return params

    def _scaled(self, params: Params, site: Any, name: str, at: Callable[[Any], At]) -> Params:
        for _ in range(PASSES):
            z: list[Tensor] = []
            w, b = params[name], params.get(site.bias)
            shown(at, params, site.module, lambda x, z=z, w=w, b=b: z.append(site.affine(x, w, b).double().flatten()))
            var = float(torch.cat(z).var(correction=0))
            if not 0 < var < float("inf") or abs(var - 1) <= TOLERANCE:
                break
            params = {**params, name: w / var**0.5}
        return params
