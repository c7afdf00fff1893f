"""Making compiled loops: by AOTInductor, kept in a folder of the user's cache.

A library is named by everything that decides its code: graph, constants, shapes, versions, processor. Loading one runs
the code in it, so the folder belongs to the user alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .hoisting import hoisting
from .native import Native
from .tracing import ALONE

QUICK = {  # what takes long to compile and gives a loop of small steps nothing
    "aot_inductor.precompile_headers": False,
    "pattern_matcher": False,
}
PLAIN = {"aot_inductor.compile_wrapper_opt_level": "O0"}  # of what calls the kernels: 3 s less to compile, 10 µs a step
FORM = 2  # to be raised where other code is made of the same
PATIENCE = 600.0  # seconds to wait for a library that another process makes
_loaded: dict[str, Native] = {}


class Build:
    """The making of the library of ``body``, unless it is in the cache. ``steps``: which inputs have an axis of steps;
    ``short``: a step is so short that the calls between its kernels count; ``beside``: by a process of its own, which
    begins at once, so that another library can be made here meanwhile."""

    def __init__(
        self, body: Any, example: list[Tensor], steps: Sequence[bool], threads: int, short: bool, beside: bool = False
    ) -> None:
        shapes = [tuple(t.shape)[s:] for t, s in zip(example, steps, strict=True)]
        self._name = _name(body, shapes, example, (threads, short))
        self._path, self._how = folder() / f"{self._name}.so", {"cpp.threads": threads, "short": short}
        self._outputs, self._flush = body.state + 1, threads == 1
        self._exported = lambda: _exported(body, example, steps)
        self._beside = _Beside(self._exported(), self._how, self._path) if beside and not self._there else None

    @property
    def _there(self) -> bool:
        return self._name in _loaded or self._path.exists()

    def result(self) -> Native:
        """The library, which is waited for where another process makes it; made here where that one failed."""
        if self._beside is not None:
            self._beside.wait()
        if not self._there:
            _build(self._exported(), self._how, self._path)
        if self._name not in _loaded:
            _loaded[self._name] = Native(self._path, self._outputs, self._flush)
        return _loaded[self._name]


def folder() -> Path:
    """Where libraries are kept: $EQUIPOISE_CACHE, or "equipoise" in the user's cache folder."""
    given = os.environ.get("EQUIPOISE_CACHE")
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "equipoise"
    where = base / "loops"
    where.mkdir(parents=True, exist_ok=True, mode=0o700)
    if hasattr(os, "getuid") and where.stat().st_uid != os.getuid():
        raise RuntimeError(f"{where} belongs to another user")
    return where


def _name(body: Any, shapes: Sequence[tuple[int, ...]], example: Sequence[Tensor], how: tuple[int, bool]) -> str:
    """``shapes`` of one step: a library takes any number of steps."""
    digest = hashlib.sha256()
    facts = (
        FORM, torch.__version__, torch.version.git_version, torch.backends.cpu.get_cpu_capability(), platform.machine(),
        platform.python_version(), how, body.state, body.moving, body.step.code,
        [(tuple(t.shape), t.dtype) for t in (*body.leaves, *body.examples)],
        [*zip(shapes, [t.dtype for t in example], strict=True)],
    )  # fmt: skip
    digest.update(repr(facts).encode())
    for key, value in sorted(body.step.state_dict().items()) + sorted(_constants(body.step).items()):
        digest.update(f"{key}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data if value.numel() else b"")
    return digest.hexdigest()[:32]


def _constants(module: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in vars(module).items() if isinstance(v, Tensor)}


def _exported(body: nn.Module, example: Sequence[Tensor], steps: Sequence[bool]) -> Any:
    many = torch.export.Dim("steps", min=2, max=1 << 16)
    shapes = tuple({0: many} if s else None for s in steps)
    with ALONE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(body, tuple(example), dynamic_shapes=(shapes,))


def _build(exported: Any, how: dict[str, Any], path: Path) -> None:
    """Compile, and move the library to its place at once."""
    from torch._inductor import aoti_compile_and_package, config

    threads = {"cpp.threads": how["cpp.threads"]}
    with ALONE, warnings.catch_warnings(), tempfile.TemporaryDirectory(dir=path.parent) as near:
        warnings.simplefilter("ignore")
        package = Path(near) / "loop.pt2"
        try:
            quick = {**threads, **QUICK, **({} if how["short"] else PLAIN)}
            with config.patch(quick), _no_trials(), hoisting() if how["short"] else nullcontext():
                aoti_compile_and_package(exported, package_path=str(package))
        except Exception:  # an older compiler may not know them, or not all instructions
            with config.patch(threads):
                aoti_compile_and_package(exported, package_path=str(package))
        with zipfile.ZipFile(package) as archive:
            libraries = [n for n in archive.namelist() if n.endswith(".so")]
            outside = [n for n in archive.namelist() if "extern_kernel_nodes" in n or n.endswith("wrapper.json")]
            if len(libraries) != 1 or any(b'"nodes":[]' not in archive.read(n).replace(b" ", b"") for n in outside):
                raise RuntimeError("the loop calls operators that only Python can reach")
            made = Path(near) / "loop.so"
            made.write_bytes(archive.read(libraries[0]))
            os.replace(made, path)


class _Beside:
    """A process that makes a library. Where it cannot, none is there when it ends."""

    def __init__(self, exported: Any, how: dict[str, Any], path: Path) -> None:
        self._file = path.with_name(f"{path.stem}-{os.getpid()}.pt2")
        self._process: subprocess.Popen[bytes] | None = None
        task = json.dumps([str(self._file), how, str(path)])
        with suppress(Exception):  # whatever cannot be handed over is made here
            torch.export.save(exported, self._file)
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"from {__name__} import beside; beside()", task],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip

    def wait(self) -> None:
        if self._process is not None:
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._file.unlink(missing_ok=True)


def beside() -> None:
    """What that process does."""
    file, how, path = json.loads(sys.argv[1])
    _build(torch.export.load(file), how, Path(path))


@contextmanager
def _no_trials() -> Iterator[None]:
    """PyTorch asks the processor which instructions it has, and then tries for each whether the C++ compiler knows it,
    in processes of their own: 3 s. Where one does not, the build fails and is begun again with trials."""
    from torch._inductor import cpu_vec_isa

    tried = cpu_vec_isa.VecISA.check_build
    cpu_vec_isa.VecISA.check_build = lambda self, code: True
    try:
        yield
    finally:
        cpu_vec_isa.VecISA.check_build = tried
        cpu_vec_isa.valid_vec_isa_list.cache_clear()
