"""nn.RNN, nn.GRU and nn.LSTM unrolled in time, with states that are kept now and then, under the same names."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import EquipoiseError
from ...rng import Noise


class Zones(NamedTuple):
    """How states are kept in one pass: with probability z, or, without noise, in the proportion z."""

    z_cell: Any
    z_hidden: Any
    noise: Noise | None = None
    shared: bool = False  # one draw for cell and hidden state

    def mix(self, which: str, d: Tensor | None, old: Tensor, new: Tensor) -> Tensor:
        """d ⊙ old + (1 − d) ⊙ new, with z in the place of d without noise."""
        if d is not None:
            return torch.where(d, old, new)
        z = self.z_cell if which == "cell" else self.z_hidden
        return (z * old + (1 - z) * new).to(new.dtype)

    def draws(self, rows: int, cells: int, steps: int, hidden: int, cell: int) -> tuple[Tensor | None, Tensor | None]:
        """d of hidden and cell states, True where the old one is kept: (rows, cells, steps, units)."""
        if self.noise is None:
            return None, None
        u = self.noise.uniform((rows, cells, steps, hidden))
        v = u if self.shared or not cell else self.noise.uniform((rows, cells, steps, cell))
        return u < self.z_hidden, v < self.z_cell


class FixedZones:
    """The proportions of prediction: what a zoned layer of a plain model follows."""

    def __init__(self, z_cell: float, z_hidden: float) -> None:
        self.z_cell, self.z_hidden = z_cell, z_hidden

    def __call__(self) -> Zones:
        return Zones(self.z_cell, self.z_hidden)


class ZonedLayer(nn.RNNBase):
    """A recurrent layer whose ``zones()`` say how states are kept in this pass."""

    zones: Callable[[], Zones]

    def forward(self, input: Any, hx: Any = None) -> Any:
        """As the class it was: input (T, B, F), (B, T, F) with batch_first, or (T, F); states (cells, B, H)."""
        if not isinstance(input, Tensor):
            raise EquipoiseError(f"Zoneout takes tensors, not a {type(input).__name__}: pad the sequences instead.")
        batched = input.dim() == 3
        x = input if batched else input.unsqueeze(0 if self.batch_first else 1)
        x = x.transpose(0, 1) if self.batch_first else x
        h, c = self._start(x, hx, batched)
        x, h, c = _unroll(self, x, h, c, self.zones())
        x = x.transpose(0, 1) if self.batch_first else x
        if not batched:
            x, h, c = x.squeeze(0 if self.batch_first else 1), h.squeeze(1), c.squeeze(1)
        return x, (h, c) if self.mode == "LSTM" else h

    def _start(self, x: Tensor, hx: Any, batched: bool) -> tuple[Tensor, Tensor]:
        cells, rows = self.num_layers * (2 if self.bidirectional else 1), x.shape[1]
        if hx is None:
            h, c = (x.new_zeros(cells, rows, n) for n in (self.proj_size or self.hidden_size, self.hidden_size))
            return h, c
        h, c = hx if self.mode == "LSTM" else (hx, hx)
        return (h, c) if batched else (h.unsqueeze(1), c.unsqueeze(1))


class ZonedRNN(ZonedLayer, nn.RNN):
    """nn.RNN with zoneout."""


class ZonedGRU(ZonedLayer, nn.GRU):
    """nn.GRU with zoneout."""


class ZonedLSTM(ZonedLayer, nn.LSTM):
    """nn.LSTM with zoneout."""


@cache
def zoned(cls: type[nn.Module]) -> type[nn.Module]:
    """The zoned class of a recurrent class."""
    known: dict[Any, Any] = {nn.RNN: ZonedRNN, nn.GRU: ZonedGRU, nn.LSTM: ZonedLSTM}
    return known.get(cls) or type(cls.__name__, (ZonedLayer, cls), {})


# --- unrolling --------------------------------------------------------------------------------------------------------
def _unroll(m: Any, x: Tensor, h: Tensor, c: Tensor, zones: Zones) -> tuple[Tensor, Tensor, Tensor]:
    """All layers and directions of x (T, B, F) from the states (cells, B, H); returns outputs and last states."""
    directions, last_h, last_c = 2 if m.bidirectional else 1, [], []
    units = m.hidden_size if m.mode == "LSTM" else 0
    keep_h, keep_c = zones.draws(x.shape[1], len(h), len(x), h.shape[-1], units)
    for layer in range(m.num_layers):
        outputs = []
        for back in range(directions):
            cell = layer * directions + back
            d = [None if k is None else k[:, cell].unbind(1) for k in (keep_h, keep_c)]
            out, h_n, c_n = _direction(m, f"_l{layer}{'_reverse' * back}", x, (h[cell], c[cell]), (zones, *d))
            outputs.append(out)
            last_h.append(h_n)
            last_c.append(c_n)
        x = torch.cat(outputs, -1) if directions == 2 else outputs[0]
        if m.dropout > 0 and layer + 1 < m.num_layers:
            x = F.dropout(x, m.dropout, m.training)  # PyTorch's own draw, as in the layer it was
    return x, torch.stack(last_h), torch.stack(last_c)


def _direction(m: Any, suffix: str, x: Tensor, start: Any, keeping: Any) -> tuple[Tensor, Tensor, Tensor]:
    """One layer in one direction: the maps of all inputs at once, then step by step through time."""
    (h, c), (zones, keep_h, keep_c) = start, keeping
    w, b = getattr(m, f"weight_hh{suffix}"), getattr(m, f"bias_hh{suffix}", None)
    project = getattr(m, f"weight_hr{suffix}", None)
    inputs = F.linear(x, getattr(m, f"weight_ih{suffix}"), getattr(m, f"bias_ih{suffix}", None)).unbind(0)
    times = range(len(x) - 1, -1, -1) if suffix.endswith("reverse") else range(len(x))
    outputs: list[Any] = [None] * len(x)
    for t in times:
        d_h, d_c = (None if k is None else k[t] for k in (keep_h, keep_c))
        if m.mode == "LSTM":
            i, f, g, o = (inputs[t] + F.linear(h, w, b)).chunk(4, -1)
            new_c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            new_h = torch.sigmoid(o) * torch.tanh(new_c)  # of c̃, not of the mixture
            new_h = new_h if project is None else F.linear(new_h, project)
            c = zones.mix("cell", d_c, c, new_c)
        elif m.mode == "GRU":
            new_h = _gru(inputs[t], F.linear(h, w, b), h)
        else:
            new_h = (torch.tanh if m.mode == "RNN_TANH" else torch.relu)(inputs[t] + F.linear(h, w, b))
        h = zones.mix("hidden", d_h, h, new_h)
        outputs[t] = h
    return torch.stack(outputs), h, c


def _gru(from_input: Tensor, from_state: Tensor, h: Tensor) -> Tensor:
    """PyTorch's GRU: the reset gate acts behind the recurrent map."""
    (r_x, u_x, n_x), (r_h, u_h, n_h) = from_input.chunk(3, -1), from_state.chunk(3, -1)
    r, u = torch.sigmoid(r_x + r_h), torch.sigmoid(u_x + u_h)
    n = torch.tanh(n_x + r * n_h)
    return (1 - u) * n + u * h
