"""Lightning, skorch and fastai: each one's own loop over data in memory, without loggers, checkpoints or bars."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from cases import Case, rows
from gate import FOREVER, Gate
from timing import Variant
from torch.utils.data import DataLoader, TensorDataset


def _loader(case: Case) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*rows(case.name)), case.batch, shuffle=True, drop_last=True)


def _gated(name: str, case: Case, train: Callable[[Callable[[], None]], None]) -> Variant:
    return Variant(name, lambda: Gate(train, case.threads).run)


def lightning(case: Case) -> Variant:
    import lightning as L

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = case.build(True)

        def training_step(self, batch: Any, _: int) -> Any:
            x, y = batch
            return F.cross_entropy(self.net(x), y)

        def configure_optimizers(self) -> Any:
            return case.optimizer_of(self.parameters())

    class Tick(L.Callback):
        def __init__(self, tick: Callable[[], None]) -> None:
            self.tick = tick

        def on_train_epoch_end(self, *_: Any) -> None:
            self.tick()

    def train(tick: Callable[[], None]) -> None:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = L.Trainer(
            max_epochs=FOREVER,
            accelerator="auto",
            devices=1,
            enable_model_summary=False,
            callbacks=[Tick(tick)],
            **quiet,
        )
        trainer.fit(Module(), _loader(case))

    return _gated("Lightning", case, train)


def skorch(case: Case) -> Variant:
    from skorch import NeuralNet
    from skorch.callbacks import Callback

    class Tick(Callback):
        def __init__(self, tick: Callable[[], None]) -> None:
            self.tick = tick

        def on_epoch_end(self, net: Any, **_: Any) -> None:
            self.tick()

    def train(tick: Callable[[], None]) -> None:
        x, y = rows(case.name)
        optimizer = case.optimizer_of([torch.zeros(1)])
        taken = inspect.signature(type(optimizer)).parameters
        options = {f"optimizer__{k}": v for k, v in optimizer.defaults.items() if k in taken}
        net = NeuralNet(
            lambda: case.build(True), criterion=torch.nn.CrossEntropyLoss, optimizer=type(optimizer),
            max_epochs=FOREVER, batch_size=case.batch, iterator_train__shuffle=True, train_split=None, verbose=0,
            callbacks=[("tick", Tick(tick))], device=str(x.device), **options,
        )  # fmt: skip
        net.fit(x, y)

    return _gated("skorch", case, train)


def fastai(case: Case) -> Variant:
    from fastai.basics import Callback, DataLoaders, Learner, OptimWrapper

    class Tick(Callback):
        def __init__(self, tick: Callable[[], None]) -> None:
            self.tick = tick

        def after_epoch(self) -> None:
            self.tick()

    def train(tick: Callable[[], None]) -> None:
        from fastai.data.load import DataLoader as Loader

        x, _ = rows(case.name)
        loader = Loader(TensorDataset(*rows(case.name)), bs=case.batch, shuffle=True, drop_last=True, num_workers=0)
        optimizer = case.optimizer_of([torch.zeros(1)])
        taken = set(inspect.signature(type(optimizer)).parameters) - {"lr"}
        opt = partial(OptimWrapper, opt=type(optimizer), **{k: v for k, v in optimizer.defaults.items() if k in taken})
        dls = DataLoaders(loader, loader, device=x.device)
        learner = Learner(dls, case.build(True).to(x.device), torch.nn.CrossEntropyLoss(), opt_func=opt, lr=case.rate)
        learner._do_epoch_validate = lambda *_, **__: None  # the others have no validation
        with learner.no_logging():
            learner.fit(FOREVER, cbs=[Tick(tick)])

    return _gated("fastai", case, train)


PEERS = {"Lightning": lightning, "skorch": skorch, "fastai": fastai}


def variants(case: Case) -> list[Variant]:
    """A peer whose import fails is a variant that says so when it is started."""
    out = []
    for name, make in PEERS.items():
        try:
            out.append(make(case))
        except Exception as e:
            out.append(absent(name, e))
    return out


def absent(name: str, why: Exception) -> Variant:
    def start() -> Any:
        raise RuntimeError(f"not installed or not importable: {str(why).splitlines()[0] if str(why) else why!r}")

    return Variant(name, start)
