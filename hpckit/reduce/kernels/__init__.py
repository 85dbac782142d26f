"""The inner loops. They know numpy and numba, no file and nothing else of hpckit.

`select` picks the pair `signatures`, `histogram` for a device; both devices give the same numbers.
"""

from __future__ import annotations

from types import ModuleType
from typing import Literal

from hpckit.reduce.kernels.result import Statistics

__all__ = ["Statistics", "select", "select_composite"]


def select(device: Literal["auto", "cpu", "cuda"]) -> ModuleType:
    """Module with the kernels for a device; `auto` takes a GPU where there is one.

    Raises
    ------
    RuntimeError
        If `cuda` is asked for and there is no usable GPU.
    """
    if device != "cpu" and _cuda_is_available():
        from hpckit.reduce.kernels import cuda

        return cuda
    if device == "cuda":
        raise RuntimeError("device: cuda was asked for, but numba finds no usable GPU; use device: auto or cpu")
    from hpckit.reduce.kernels import cpu

    return cpu


def select_composite(device: Literal["auto", "cpu", "cuda"]) -> ModuleType:
    """Module with the kernels of composites for a device; see `select`.

    Raises
    ------
    RuntimeError
        If `cuda` is asked for and there is no usable GPU.
    """
    if device != "cpu" and select(device).__name__.endswith("cuda"):
        from hpckit.reduce.kernels import composite_cuda

        return composite_cuda
    from hpckit.reduce.kernels import composite_cpu

    return composite_cpu


def _cuda_is_available() -> bool:
    from numba import cuda

    return bool(cuda.is_available())
