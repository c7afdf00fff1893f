"""Compiled loops as machine code, called without Python."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

TINY, ONE = 5e-324, 1.0  # their product is 0 where numbers too small for a whole mantissa are flushed
PLACES = 8  # calls of one library that may run at the same time


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
