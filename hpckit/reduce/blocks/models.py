"""Models: classifiers of scikit-learn and ONNX models, read from files and asked for probabilities.

Files of joblib and pickle are code: they are read like the functions of a campaign, and like these they are trusted
because they are those of the campaign's owner (see docs/how-to/trust.md). ONNX and skops files run nothing.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hpckit.base.files import digest
from hpckit.errors import UserCodeError

Values = npt.NDArray[Any]


class Model(Protocol):
    """A model that gives probabilities of classes."""

    @property
    def classes(self) -> Sequence[Any]:
        """Labels of the classes."""

    @property
    def features(self) -> Sequence[str] | None:
        """Names of the features in their order; None if the model does not know them."""

    @property
    def count(self) -> int | None:
        """Number of features; None if the model does not say it."""

    def probabilities(self, features: Values) -> Values:
        """Probabilities, shape (pixels, classes), of features, shape (pixels, features)."""


def open_model(path: Path, wanted: str) -> Model:
    """Read a model.

    Parameters
    ----------
    wanted : str
        Digest of the file when it was planned.

    Raises
    ------
    UserCodeError
        If the file was replaced since, is no model, one of another version, or none that gives probabilities; or if
        a package is missing.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserCodeError(f"{path}: cannot be read: {error.strerror or error}", kind="output") from error
    if digest(content) != wanted:
        raise UserCodeError(
            f"{path}: the file was replaced since the campaign was planned", hint="`hpckit plan` takes the new one"
        )
    if path.suffix == ".onnx":
        return _onnx(path, content)
    return _estimator(path, content)


@dataclass(frozen=True)
class Estimator:
    """A classifier of scikit-learn, or a pipeline that ends in one."""

    found: Any

    @property
    def classes(self) -> Sequence[Any]:
        """Labels of the classes."""
        return list(self.found.classes_.tolist())

    @property
    def features(self) -> Sequence[str] | None:
        """Names of the columns that it was trained with."""
        names = getattr(self.found, "feature_names_in_", None)
        return None if names is None else [str(name) for name in names]

    @property
    def count(self) -> int | None:
        """Number of features."""
        found = getattr(self.found, "n_features_in_", None)
        return None if found is None else int(found)

    def probabilities(self, features: Values) -> Values:
        """Probabilities of the classes; names of features were compared before, once for all blocks."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            return np.asarray(self.found.predict_proba(features))


@dataclass(frozen=True)
class Onnx:
    """A classifier as ONNX: one input of features, outputs of labels and probabilities."""

    session: Any
    features: Sequence[str] | None
    classes: Sequence[Any]
    output: str

    @property
    def count(self) -> int | None:
        """Number of features."""
        length = self.session.get_inputs()[0].shape[-1]
        return int(length) if isinstance(length, int) else None

    def probabilities(self, features: Values) -> Values:
        """Probabilities of the classes."""
        name = self.session.get_inputs()[0].name
        return np.asarray(self.session.run([self.output], {name: features.astype(np.float32, copy=False)})[0])


def _estimator(path: Path, content: bytes) -> Estimator:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = _loaded(path, content)
    for warning in said:
        if type(warning.message).__name__ == "InconsistentVersionWarning":
            was, now = (getattr(warning.message, name, "?") for name in _VERSIONS)
            raise UserCodeError(
                f"{path}: the model was saved with scikit-learn {was}, and {now} is installed here",
                hint=f"install scikit-learn {was} where it is computed, or train and save the model again; "
                "an ONNX model does not depend on versions",
                kind="package",
            )
    # One process computes one window: threads of its own would compete with those of other processes.
    for name in ("n_jobs", *(f"{step}__n_jobs" for step, _ in getattr(found, "steps", ()))):
        if name in (found.get_params() if hasattr(found, "get_params") else {}):
            found.set_params(**{name: 1})
    if not hasattr(found, "predict_proba") or not hasattr(found, "classes_"):
        kind = type(found)
        raise UserCodeError(
            f"{path}: {kind.__module__}.{kind.__qualname__} is no trained classifier that gives probabilities",
            hint="save a classifier after fit(), for example RandomForestClassifier; of an SVC with probability=True",
            kind="type",
        )
    return Estimator(found)


_VERSIONS = ("original_sklearn_version", "current_sklearn_version")


def _loaded(path: Path, content: bytes) -> Any:
    try:
        if path.suffix == ".skops":
            from skops import io as skops

            return skops.loads(content)
        import joblib

        return joblib.load(io.BytesIO(content))
    except ModuleNotFoundError as error:
        raise UserCodeError(
            f"{path}: the model needs the package {error.name!r}, which is not installed here",
            hint="`pip install 'hpckit-eo[learn]'`, also in the image of the site",
            kind="package",
        ) from error
    except Exception as error:
        raise UserCodeError(
            f"{path}: no model that can be read: {_line(error)}",
            hint="write it with joblib.dump(model, file), or as ONNX",
            kind="type",
        ) from error


def _onnx(path: Path, content: bytes) -> Onnx:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise UserCodeError(
            f"{path}: an ONNX model needs the package 'onnxruntime', which is not installed here",
            hint="`pip install 'hpckit-eo[learn]'`, also in the image of the site",
            kind="package",
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UserCodeError(
            f"{path}: no ONNX model that can be read: {_line(error)}",
            hint="write it again, for an operator set that this onnxruntime has",
            kind="type",
        ) from error
    return _known_onnx(path, session)


def _known_onnx(path: Path, session: Any) -> Onnx:
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 2 or inputs[0].type != "tensor(float)":
        raise UserCodeError(
            f"{path}: the model takes {', '.join(f'{item.name}: {item.type}{item.shape}' for item in inputs)}, and "
            "not one tensor(float) of pixels and features",
            hint="convert it with one FloatTensorType([None, features])",
            kind="type",
        )
    numbers = [item for item in session.get_outputs() if item.type == "tensor(float)" and len(item.shape or ()) == 2]
    if len(numbers) != 1:
        raise UserCodeError(
            f"{path}: the model has {len(numbers)} outputs tensor(float) of pixels and classes instead of one",
            hint="convert it with zipmap=False",
            kind="type",
        )
    known = session.get_modelmeta().custom_metadata_map
    classes = json.loads(known["classes"]) if "classes" in known else None
    length = numbers[0].shape[-1]
    if classes is None:
        found = session.run([numbers[0].name], {inputs[0].name: np.zeros((1, inputs[0].shape[-1] or 1), np.float32)})
        length = length if isinstance(length, int) else found[0].shape[-1]
        classes = list(range(length))
    features = json.loads(known["features"]) if "features" in known else None
    return Onnx(session, features, classes, numbers[0].name)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
