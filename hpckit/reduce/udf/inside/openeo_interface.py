"""Functions of user code that the openEO client defines, and its classes where the image lacks the client.

The signatures are those of `openeo.udf` (github.com/Open-EO/openeo-python-client, `openeo/udf/udf_signatures.py`);
the classes here are a small part of the client's, with the same names and behaviour.
"""

from __future__ import annotations

import importlib
import inspect as signatures
import logging
import sys
import typing
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import xarray


class NoFunctionError(Exception):
    """The code has no function that openEO knows."""


class OpenEoUdfException(Exception):  # noqa: N818 -- the client's name
    """A wrong use of the classes."""


class XarrayDataCube:
    """A thin cover of `xarray.DataArray`."""

    def __init__(self, array: xarray.DataArray) -> None:
        if not isinstance(array, xarray.DataArray):
            raise OpenEoUdfException("Argument data must be of type xarray.DataArray")
        self._array = array

    def get_array(self) -> xarray.DataArray:
        """The data."""
        return self._array

    array = property(fget=get_array)

    @property
    def id(self) -> Any:
        """Name of the array."""
        return self._array.name


class StructuredData:
    """Lists and dictionaries."""

    def __init__(self, data: Any, description: str | None = None, type: str | None = None) -> None:
        self.data = data
        self.type = type or data.__class__.__name__
        self.description = description or self.type


class UdfData:
    """All that a function gets."""

    def __init__(
        self,
        proj: dict[str, Any] | None = None,
        datacube_list: list[Any] | None = None,
        feature_collection_list: list[Any] | None = None,
        structured_data_list: list[Any] | None = None,
        user_context: dict[str, Any] | None = None,
    ) -> None:
        self.proj = proj
        self.datacube_list = datacube_list
        self.feature_collection_list = feature_collection_list
        self.structured_data_list = structured_data_list
        self._user_context = user_context or {}

    @property
    def user_context(self) -> dict[str, Any]:
        """What the graph gave as `context`."""
        return self._user_context

    def get_datacube_list(self) -> list[Any] | None:
        """Data cubes."""
        return self.datacube_list

    def set_datacube_list(self, datacube_list: list[Any] | None) -> None:
        """Replace the data cubes."""
        self.datacube_list = datacube_list

    def get_feature_collection_list(self) -> list[Any] | None:
        """Features."""
        return self.feature_collection_list

    def get_structured_data_list(self) -> list[Any] | None:
        """Lists and dictionaries."""
        return self.structured_data_list

    def set_structured_data_list(self, structured_data_list: list[Any] | None) -> None:
        """Replace lists and dictionaries."""
        self.structured_data_list = structured_data_list


def inspect(data: Any = None, message: str = "", code: str = "User", level: str = "info") -> None:
    """Write something to the log of the job."""
    number = logging.getLevelName(level.upper())
    logging.getLogger("openeo.udf.user").log(number, message, extra={"data": data, "code": code})


def _ours() -> dict[str, Any]:
    names = (XarrayDataCube, StructuredData, UdfData, OpenEoUdfException)
    return {one.__name__: one for one in names} | {"inspect": inspect}


def _install() -> Any:
    """The client's `openeo.udf`, or modules of that name with the classes above."""
    try:
        return importlib.import_module("openeo.udf")
    except ImportError:
        pass
    made = {name: ModuleType(name) for name in ("openeo", "openeo.udf")}
    made["openeo"].udf = made["openeo.udf"]  # type: ignore[attr-defined]
    for name, kind in (
        ("udf_data", UdfData),
        ("xarraydatacube", XarrayDataCube),
        ("structured_data", StructuredData),
    ):
        part = made[f"openeo.udf.{name}"] = ModuleType(f"openeo.udf.{name}")
        setattr(part, kind.__name__, kind)
    made["openeo.udf.debug"] = ModuleType("openeo.udf.debug")
    made["openeo.udf.debug"].inspect = inspect  # type: ignore[attr-defined]
    vars(made["openeo.udf"]).update(_ours())
    for part in made.values():
        part.__path__ = []
    sys.modules.update(made)
    return made["openeo.udf"]


udf: Any = _install()


def prepare(module: ModuleType) -> None:
    """Give code the names that it finds at other openEO back-ends without an import."""
    names = {"np": np, "numpy": np, "pd": pd, "pandas": pd, "xarray": xarray}
    classes = {name: getattr(udf, name) for name in ("XarrayDataCube", "StructuredData", "UdfData")}
    vars(module).update(names | classes | {"DataCube": udf.XarrayDataCube})


def call(module: ModuleType, array: xarray.DataArray, context: Any) -> xarray.DataArray:
    """Call the function of some code that openEO defines.

    Raises
    ------
    NoFunctionError
        If there is none.
    TypeError
        If it returns something else than data.
    """
    for name, kind in _KINDS.items():
        function = vars(module).get(name)
        if callable(function):
            return _checked(kind(function, array, context), array, name)
    for name, function in vars(module).items():
        if signatures.isfunction(function) and function.__module__ == module.__name__ and _takes_udf_data(function):
            return _checked(_udf_data(function, array, context), array, name)
    theirs = [name for name, value in vars(module).items() if signatures.isfunction(value)]
    there = f"; it defines {', '.join(theirs[:8])}" if theirs else ""
    raise NoFunctionError(f"the code has none of the functions {', '.join(_KINDS)}{there}")


def _checked(made: Any, array: xarray.DataArray, name: str) -> xarray.DataArray:
    if isinstance(made, udf.XarrayDataCube):
        made = made.get_array()
    if not isinstance(made, xarray.DataArray):
        raise TypeError(f"{name} returned {type(made).__name__}; it must return an xarray.DataArray")
    return made


def _datacube(function: Callable[..., Any], array: xarray.DataArray, context: Any) -> Any:
    hints = _hints(function)
    first = next(iter(signatures.signature(function).parameters), "")
    return _with_context(function, udf.XarrayDataCube(array) if _is_cube(hints.get(first)) else array, context)


def _timeseries(function: Callable[..., Any], array: xarray.DataArray, context: Any) -> xarray.DataArray:
    """Call a function for each series in time, as `pandas.Series`."""
    time = next((dim for dim in array.dims if array[dim].dtype.kind == "M"), None)
    if time is None:
        raise ValueError("apply_timeseries needs a cube with a dimension of time")
    last = array.transpose(..., time)
    index = pd.DatetimeIndex(array[time].values)
    series = np.asarray(last.values).reshape(-1, len(index))
    made = np.empty(series.shape, np.result_type(series.dtype, np.float32))
    for place, values in enumerate(series):
        found = np.asarray(_with_context(function, pd.Series(values, index), context))
        if found.shape != (len(index),):
            raise ValueError(f"apply_timeseries returned {found.size} values, and the series has {len(index)}")
        made[place] = found
    return last.copy(data=made.reshape(last.shape)).transpose(*array.dims)


def _udf_data(function: Callable[..., Any], array: xarray.DataArray, context: Any) -> Any:
    data = udf.UdfData(datacube_list=[udf.XarrayDataCube(array)], user_context=context or {})
    returned = function(data)
    cubes = (returned if isinstance(returned, udf.UdfData) else data).get_datacube_list() or []
    if len(cubes) != 1:
        raise ValueError(f"{function.__name__} left {len(cubes)} data cubes in its data; one is needed")
    return cubes[0]


_KINDS: dict[str, Callable[..., Any]] = {
    "apply_timeseries": _timeseries,
    "apply_datacube": _datacube,
    "apply_hypercube": _datacube,
    "apply_udf_data": _udf_data,
}


def _with_context(function: Callable[..., Any], data: Any, context: Any) -> Any:
    """Call with the context by its name, if the function takes one."""
    return (
        function(data, context=context) if "context" in signatures.signature(function).parameters else function(data)
    )


def _takes_udf_data(function: Callable[..., Any]) -> bool:
    parameters = list(signatures.signature(function).parameters)
    return len(parameters) == 1 and _named(_hints(function).get(parameters[0]), "UdfData")


def _is_cube(hint: Any) -> bool:
    return _named(hint, "XarrayDataCube") or _named(hint, "DataCube")


def _named(hint: Any, name: str) -> bool:
    """Whether an annotation, which may be a text, is a class of the client."""
    return (hint if isinstance(hint, str) else getattr(hint, "__name__", "")).rpartition(".")[2] == name


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # a name in it that is not imported
        return dict(getattr(function, "__annotations__", {}))
