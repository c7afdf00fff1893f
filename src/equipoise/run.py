"""A run: one trained model with its history, recipe and seed. Saving it to a folder, and `load`."""

from __future__ import annotations

import csv
import io
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from . import files, metrics, tree
from .errors import EquipoiseError
from .predict import Predictor
from .recipe import Recipe
from .sites import fold
from .step import Const, Program, State

if TYPE_CHECKING:
    from .data import Data


@dataclass(frozen=True)
class Signature:
    """What a trained network takes and gives: enough to predict without the training data."""

    task: str
    outputs: int
    classes: tuple[Any, ...] | None
    targets: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]  # of one raw example, per input
    dtypes: tuple[str, ...]
    many: bool  # several inputs, given as a tuple

    @classmethod
    def of(cls, data: Data) -> Signature:
        shapes = tuple(tuple(v.shape[1:]) for v in data.inputs)
        dtypes = tuple(str(v.dtype).removeprefix("torch.") for v in data.inputs)
        classes = None if data.classes is None else tuple(c.item() if hasattr(c, "item") else c for c in data.classes)
        return cls(
            data.task, data.outputs, classes, tuple(data.target_names), shapes, dtypes, isinstance(data.x, tuple)
        )

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Signature:
        classes = None if d["classes"] is None else tuple(d["classes"])
        shapes, targets = tuple(map(tuple, d["shapes"])), tuple(map(str, d["targets"]))
        told = classes if d["task"] == "classify" else targets
        if d["task"] not in ("classify", "regress") or told is None or len(told) != d["outputs"]:
            raise ValueError("its signature contradicts itself")
        return cls(d["task"], d["outputs"], classes, targets, shapes, tuple(d["dtypes"]), bool(d["many"]))

    def inputs(self, x: Any) -> Any:
        """Raw inputs (arrays, tensors, lists; a tuple where there are several) as tensors; shapes are checked."""
        given = tuple(x) if self.many else (x,)
        if len(given) != len(self.shapes):
            raise EquipoiseError(f"{len(given)} inputs came, the model takes {len(self.shapes)}.")
        out = []
        for v, shape, dtype in zip(given, self.shapes, self.dtypes, strict=True):
            try:
                t = v if isinstance(v, Tensor) else torch.as_tensor(np.asarray(v))
            except (TypeError, ValueError):
                raise EquipoiseError("inputs are no arrays of numbers: give them as in training.") from None
            if tuple(t.shape[1:]) != shape or t.dim() != len(shape) + 1:
                raise EquipoiseError(
                    f"inputs of shape {tuple(t.shape)} came; the model was trained on rows of shape {shape}: "
                    f"give (n, {', '.join(map(str, shape))})."
                )
            out.append(t.to(getattr(torch, dtype)))
        return tuple(out) if self.many else out[0]


@dataclass
class Record:
    """Everything about a run that is no tensor; becomes run.json."""

    seed: int
    epochs: int
    batch_size: int
    shuffle: str
    plan: dict[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ended: str = ""  # why training stopped before its time
    failed: str = ""  # where it became non-finite
    model: str = ""  # the spec that rebuilds the network ("" where it was a Python object)
    command: str = ""
    data: dict[str, Any] = field(default_factory=dict)  # source, fingerprint, split
    test_looks: int = 0


class Run:
    """One trained model.

    ``model``: the user's own class with its own state_dict keys, taking prepared inputs; ``predict`` takes raw ones.
    ``history``: one dict per epoch (epoch, loss, rate, stop_loss, …); losses of training are those of the objective.
    """

    def __init__(
        self,
        program: Program,
        recipe: Recipe,
        state: State,
        const: Const,
        record: Record,
        signature: Signature,
        data: Data | None,
    ) -> None:
        self.program, self.recipe, self.state, self.const = program, recipe, state, const
        self.record, self.signature, self.data = record, signature, data

    def __repr__(self) -> str:
        ending = self.record.failed or self.record.ended or f"{len(self.history)} epochs"
        return f"Run({type(self.program.net.original).__name__}, seed={self.seed}, {ending})"

    @property
    def history(self) -> list[dict[str, float]]:
        return self.record.history

    @property
    def seed(self) -> int:
        return self.record.seed

    @property
    def failed(self) -> str:
        return self.record.failed

    @property
    def notes(self) -> list[str]:
        """What was reached and what was not, what folding had to keep, how it was executed."""
        return [*self.record.notes, *self._folded[1]]

    @cached_property
    def _techniques(self) -> dict[str, Any]:
        return {
            k: t.bind({n: float(v) for n, v in self.const.knobs[k].items()}) for k, t in self.program.by_key.items()
        }

    @cached_property
    def _folded(self) -> tuple[nn.Module, list[str]]:
        return fold(self.program.net, self._techniques.values(), self.state["params"], self.state["buffers"])

    @property
    def model(self) -> nn.Module:
        """The plain trained network in evaluation mode."""
        return self._folded[0]

    @cached_property
    def predictor(self) -> Predictor:
        return Predictor(self.program, self.recipe, self.state, self.const, self.seed)

    def predict(self, x: Any, samples: int | None = None) -> np.ndarray[Any, Any]:
        """Raw inputs to class probabilities (n, C), or targets in the user's units (n, T).

        By the recipe's own rule (deterministic without an entry such as MonteCarlo), or the mean of ``samples`` draws.
        """
        return self.predictor(self.signature.inputs(x), samples).double().cpu().numpy()

    def monte_carlo(self, x: Any) -> dict[str, float]:
        """Where the recipe predicts by averaging over noise: `spread` over it, `gap` to the deterministic rule and the
        gap's standard error `error`, means over rows and outputs; empty for every other rule."""
        return self.predictor.measure(self.signature.inputs(x))

    def per_example(self, split: str, metric: str) -> np.ndarray[Any, Any]:
        """The metric of every row of a role; a run that failed scores as the fallback a user would have."""
        x, y = self._need_data().select(split)
        return metrics.per_example(metric, self.outcome(x), y.cpu().numpy())

    def outcome(self, x: Any) -> Any:
        """Predictions, or class priors / the mean where the run failed."""
        if not self.failed:
            return self.predictor(x).double().cpu().numpy()
        data = self._need_data()
        fallback = metrics.baseline_prediction(data.select("fit")[1].cpu().numpy(), data.task, data.outputs)
        n = len(x[0] if isinstance(x, tuple) else x)
        return np.broadcast_to(fallback, (n, *np.shape(fallback))).copy()

    def score(self, split: str = "test") -> dict[str, float]:
        """Every metric of the task on one role."""
        data = self._need_data()
        x, y = data.select(split)
        if split == "test":
            self.record.test_looks += 1
        prediction, target = self.outcome(x), y.cpu().numpy()
        return {m: float(metrics.score(m, prediction, target)) for m in metrics.metrics_for(data.task, data.outputs)}

    def _need_data(self) -> Data:
        if self.data is None:
            raise EquipoiseError("this run was loaded without its data: set run.data = eq.Data.load(...), then score.")
        return self.data

    # --- files --------------------------------------------------------------------------------------------------------
    def save(self, folder: str | Path, scores: Mapping[str, Mapping[str, float]] | None = None) -> Path:
        """Write weights.safetensors (the plain network), state.safetensors (what predicts, preparation included),
        recipe.yaml, history.csv and, last, run.json: a folder without run.json is unfinished."""
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        scores = scores or ({s: self.score(s) for s in ("assess", "test")} if self.data is not None else {})
        plain = {k: v.detach().cpu().contiguous().clone() for k, v in self.model.state_dict().items()}
        files.write_bytes(folder / "weights.safetensors", lambda path: save_file(plain, path))
        everything = tree.flatten(
            {"state": {k: self.state[k] for k in ("params", "buffers")}, "fitted": self.const.fitted}
        )
        everything = {k: v.detach().cpu().contiguous().clone() for k, v in everything.items()}
        metadata = {
            "signature": json.dumps(files.plain(asdict(self.signature))),
            "precision": self.program.precision,
            "model": self.record.model,
            "program": json.dumps([Recipe(t).to_list()[0] for t in self._entries()]),
        }
        files.write_bytes(folder / "state.safetensors", lambda path: save_file(everything, path, metadata))
        files.write_text(folder / "recipe.yaml", self.recipe.to_yaml())
        files.write_text(folder / "history.csv", _csv(self.history))
        files.write_json(folder / "run.json", self.to_dict(scores, folder.name))
        return folder

    def _entries(self) -> list[Any]:
        """The program's techniques: the recipe's own, and those of other runs of its cohort, switched off."""
        own = {t.key: t for t in self.recipe.active()}
        return [own.get(t.key) or t.switched_off() for t in self.program.techniques]

    def to_dict(self, scores: Mapping[str, Mapping[str, float]], name: str = "") -> dict[str, Any]:
        """run.json of CONTRACT §11."""
        r = self.record
        return {
            "schema": "equipoise/run/1", "run": name, "model": r.model, "recipe": self.recipe.to_list(),
            "epochs": r.epochs, "epochs_trained": len(r.history), "batch_size": r.batch_size,
            "shuffle": r.shuffle, "seconds": r.seconds,
            "valid": dict(scores.get("assess", {})), "test": dict(scores.get("test", {})), "plan": r.plan,
            "command": r.command, "seed": r.seed, "versions": versions(), "data": r.data,
            "test_looks": r.test_looks, "notes": self.notes, "ended": r.ended, "failed": r.failed,
        }  # fmt: skip


def load_run(folder: str | Path, *, model: Any = None, data: Data | None = None) -> Run:
    """One saved run: `combined.load` without the members of an ensemble."""
    from safetensors import SafetensorError, safe_open

    from .programs import rebuild

    folder = Path(folder)
    if not (folder / "run.json").is_file():
        raise EquipoiseError(
            f"{folder} holds no finished run (run.json is not there): give a folder written by train, or resume it."
        )
    try:
        saved = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        recipe = Recipe.from_yaml((folder / "recipe.yaml").read_text(encoding="utf-8"))
        with safe_open(str(folder / "state.safetensors"), "pt") as f:
            metadata, flat = dict(f.metadata() or {}), {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118
        signature = Signature.from_dict(json.loads(metadata["signature"]))
        entries = [Recipe.from_list([e])[0] for e in json.loads(metadata["program"])]
        record = Record(
            saved["seed"], saved["epochs"], saved["batch_size"], saved["shuffle"], saved["plan"], saved["seconds"],
            model=saved["model"], command=saved["command"], data=saved["data"], test_looks=saved["test_looks"],
            notes=saved["notes"], ended=saved["ended"], failed=saved["failed"],
        )  # fmt: skip
        with open(folder / "history.csv", newline="", encoding="utf-8") as h:
            record.history = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(h)]
        if not model and ":" in record.model:
            way = f"name it again to run it, model={record.model!r} (--model)."
            raise EquipoiseError(f"{folder} was trained with the code {record.model}: {way}")
        made = rebuild(model or record.model, entries, signature, tree.unflatten(flat), metadata["precision"])
    except EquipoiseError:
        raise
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, SafetensorError) as e:
        why = " ".join(f"{type(e).__name__}: {e}".split())[:120]
        raise EquipoiseError(f"{folder} is damaged ({why}): train again or restore the folder.") from None
    return Run(made[0], recipe, made[1], made[2], record, signature, data)


def versions() -> dict[str, str]:
    from . import __version__

    return {
        "equipoise": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _csv(rows: Sequence[Mapping[str, float]]) -> str:
    out = io.StringIO()
    names = list(dict.fromkeys(k for r in rows for k in r))
    writer = csv.DictWriter(out, names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
