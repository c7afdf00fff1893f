"""Compiled loops as machine code: built by AOTInductor, kept in a folder of the user's cache, called without Python.

A library is named by everything that decides its code: graph, constants, shapes, versions, processor. Loading one runs
the code in it, so the folder belongs to the user alone.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

QUICK = {  # what takes long to compile and gives a loop of small steps nothing
    "aot_inductor.precompile_headers": False,
    "pattern_matcher": False,
}
TINY, ONE = 5e-324, 1.0  # their product is 0 where numbers too small for a whole mantissa are flushed
PLAIN = {"aot_inductor.compile_wrapper_opt_level": "O0"}  # of what calls the kernels: 3 s less to compile, 10 µs a step
PLACES = 8  # calls of one library that may run at the same time
_loaded: dict[str, Native] = {}


class Native:
    """One library of AOTInductor. Calls release Python's lock, so that threads run side by side.

    ``flush``: numbers too small for a whole mantissa count as zero. Moments of vanishing gradients are such numbers,
    and each operation on one takes a processor a hundred times as long. Only where the loop has no threads of its
    own, which would not know.
    """

    def __init__(self, path: Path, outputs: int, flush: bool) -> None:
        from torch._C import _aoti  # type: ignore[attr-defined]

        self._to_handles = _aoti.unsafe_alloc_void_ptrs_from_tensors
        self._to_tensors = _aoti.alloc_tensors_by_stealing_from_void_ptrs
        library, self._container = ctypes.CDLL(str(path)), ctypes.c_void_p()
        create = library.AOTInductorModelContainerCreateWithDevice
        create.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_char_p, ctypes.c_char_p]
        if create(ctypes.byref(self._container), PLACES, b"cpu", None):
            raise RuntimeError(f"{path} cannot be loaded")
        self._run = library.AOTInductorModelContainerRun
        self._run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_void_p] * 4
        self._run.argtypes[4] = ctypes.c_size_t
        self._outputs, self._flush = outputs, flush

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        handles = self._to_handles([t.detach().contiguous() for t in tensors])
        given = (ctypes.c_void_p * len(handles))(*(_pointer(h, None) for h in handles))
        made = (ctypes.c_void_p * self._outputs)()
        with flushed(self._flush):  # it takes the inputs
            failed = self._run(self._container, given, len(handles), made, self._outputs, None, None)
        if failed:
            raise RuntimeError("a compiled loop failed")
        return self._to_tensors([_capsule(m, None, None) for m in made])


def flushes() -> bool:
    """Whether this thread takes numbers too small for a whole mantissa for zero."""
    return TINY * ONE == 0.0


@contextmanager
def flushed(wanted: bool = True) -> Iterator[None]:
    """Within, this thread takes numbers too small for a whole mantissa for zero, where that is ``wanted``."""
    change = wanted and not flushes() and torch.set_flush_denormal(True)
    try:
        yield
    finally:
        if change:
            torch.set_flush_denormal(False)


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_capsule = ctypes.pythonapi.PyCapsule_New
_capsule.restype, _capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


def built(body: Any, example: list[Tensor], steps: Sequence[bool], threads: int, short: bool) -> Native:
    """The library of ``body``, from the cache where it is there. ``steps``: which inputs have an axis of steps;
    ``short``: a step is so short that the calls between its kernels count."""
    name = _name(body, [tuple(t.shape)[s:] for t, s in zip(example, steps, strict=True)], example, (threads, short))
    if name not in _loaded:
        path = folder() / f"{name}.so"
        if not path.exists():
            _build(body, example, steps, {"cpp.threads": threads, **({} if short else PLAIN)}, path)
        _loaded[name] = Native(path, body.state + 1, threads == 1)
    return _loaded[name]


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
        torch.__version__, torch.version.git_version, torch.backends.cpu.get_cpu_capability(), platform.machine(),
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


def _build(body: nn.Module, example: list[Tensor], steps: Sequence[bool], how: dict[str, Any], path: Path) -> None:
    """Export, compile, and move the library to its place at once."""
    import torch._inductor
    from torch._inductor import config

    many = torch.export.Dim("steps", min=2, max=1 << 16)
    shapes = tuple({0: many} if s else None for s in steps)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(dir=path.parent) as near:
        warnings.simplefilter("ignore")
        exported = torch.export.export(body, tuple(example), dynamic_shapes=(shapes,))
        package = Path(near) / "loop.pt2"
        try:
            with config.patch({**how, **QUICK}), _no_trials():
                torch._inductor.aoti_compile_and_package(exported, package_path=str(package))
        except Exception:  # an older compiler may not know them, or not all instructions
            with config.patch({"cpp.threads": how["cpp.threads"]}):
                torch._inductor.aoti_compile_and_package(exported, package_path=str(package))
        with zipfile.ZipFile(package) as archive:
            libraries = [n for n in archive.namelist() if n.endswith(".so")]
            outside = [n for n in archive.namelist() if "extern_kernel_nodes" in n or n.endswith("wrapper.json")]
            if len(libraries) != 1 or any(b'"nodes":[]' not in archive.read(n).replace(b" ", b"") for n in outside):
                raise RuntimeError("the loop calls operators that only Python can reach")
            made = Path(near) / "loop.so"
            made.write_bytes(archive.read(libraries[0]))
            os.replace(made, path)


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
