"""The reduction `predict`: classes of pixels by a model, and the probability of each class in per cent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.files import digest_json
from hpckit.base.quantities import format_count
from hpckit.campaign.blocks import PredictReduction
from hpckit.errors import GraphError, UserCodeError
from hpckit.processgraph.cube import NOTHING, Cube, Dimension
from hpckit.processgraph.process import Call
from hpckit.reduce.blocks.block import notes
from hpckit.reduce.blocks.features import feature_names, features_of
from hpckit.reduce.blocks.function import naming_faults
from hpckit.reduce.blocks.models import Model, open_model

Values = npt.NDArray[Any]
NONE: Final = 255
"""Of all bands: pixels without a class."""
CLASS: Final = "class"
_MOST: Final = 254
_SHOWN: Final = 6
_ROWS: Final = 1 << 18
"""Pixels that a model gets at once: its own arrays stay small."""


@dataclass(eq=False)
class PredictBlocks:
    """A model on blocks, as a node of a graph.

    Parameters
    ----------
    reduction : PredictReduction
    path : Path
        Of the model.
    digest : str
        Of its file.
    """

    reduction: PredictReduction
    path: Path
    digest: str

    @property
    def name(self) -> str:
        """For messages."""
        return f"model {self.path.name}"

    @cached_property
    def identity(self) -> str:
        """Digest of model and settings."""
        return digest_json([self.reduction.settings(), self.digest])

    @cached_property
    def model(self) -> Model:
        """The model, read when it is first needed.

        Raises
        ------
        UserCodeError
            If it cannot be read.
        """
        return open_model(self.path, self.digest)

    def __call__(self, call: Call) -> Cube:
        """A part of the map."""
        data = call.type_of("data")
        if call.asked == NOTHING:
            return Cube(
                np.zeros((len(self.bands), 0, 0), np.uint8),
                self._dims(data),
                data.grid,
                NOTHING,
                attributes=notes(NONE),
            )
        return self.made(call.cube("data"))

    def made(self, data: Cube) -> Cube:
        """Classes and probabilities of pixels.

        Raises
        ------
        GraphError
            If features of the model are not those of the data.
        UserCodeError
            If the model fails.
        """
        assert data.box is not None
        features = features_of(data, self.places(data))
        found = np.full((len(self.bands), features.shape[0]), NONE, np.uint8)
        model = self.model
        for start in range(0, len(features), _ROWS):
            rows = features[start : start + _ROWS]
            whole = ~np.isnan(rows).any(axis=1) if self.reduction.missing == "skip" else np.ones(len(rows), bool)
            if whole.any():
                with naming_faults(self.name):
                    likely = model.probabilities(rows if whole.all() else rows[whole])
                found[:, start : start + _ROWS][:, whole] = self._stored(likely)
        return Cube(found.reshape(-1, *data.box.shape), self._dims(data), data.grid, data.box, attributes=notes(NONE))

    @property
    def _named(self) -> Sequence[str] | None:
        return self.reduction.features

    def places(self, data: Cube) -> Sequence[int] | None:
        """Which features of the data the model takes, in its order; None for all as they are.

        Raises
        ------
        GraphError
            If they differ.
        """
        there = feature_names(data)
        model, wanted = self.model, self._named
        if wanted is not None and model.features is not None and list(wanted) != list(model.features):
            raise GraphError(
                f"`features` is not what {self.name} was trained with: {_difference(wanted, model.features)}",
                hint="leave `features` out: the model knows them",
            )
        wanted = wanted or model.features
        if wanted is None:
            if model.count is not None and model.count != len(there):
                raise GraphError(
                    f"{self.name} takes {format_count(model.count, 'feature')} without names, and the data have "
                    f"{len(there)}",
                    hint=f"name them in `features`; there is {_some(there)}",
                )
            return None
        missing = [name for name in wanted if name not in there]
        if missing:
            raise GraphError(
                f"{self.name} takes {format_count(len(missing), 'feature')} that the data lack: {_some(missing)}",
                hint=f"they have {_some(there)}; train with the bands and dates, or composite, that are mapped",
            )
        if model.count is not None and model.count != len(wanted):
            raise GraphError(
                f"{self.name} takes {format_count(model.count, 'feature')}, and `features` names {len(wanted)}",
                hint="name all of them in the order of the training",
            )
        return None if list(wanted) == there else [there.index(name) for name in wanted]

    @cached_property
    def codes(self) -> Values:
        """What is stored for each class: its label, if that is a number of 0 to 254; else its position.

        Raises
        ------
        UserCodeError
            If there are more classes than a map holds.
        """
        labels = self.model.classes
        if len(labels) > _MOST:
            raise UserCodeError(f"{self.name} has {len(labels)} classes, and a map holds {_MOST}", kind="output")
        plain = all(
            isinstance(label, int) and not isinstance(label, bool) and 0 <= label <= _MOST for label in labels
        )
        return np.array(labels if plain else range(len(labels)), np.uint8)

    @cached_property
    def bands(self) -> list[str]:
        """`class`, and a band for each class."""
        named = [f"p_{label}" for label in self.model.classes] if self.reduction.probabilities else []
        return [CLASS, *named]

    def _stored(self, likely: Values) -> Values:
        """Class and per cent of pixels, shape (bands, pixels)."""
        classes = self.codes[np.argmax(likely, axis=1)][None]
        if not self.reduction.probabilities:
            return np.asarray(classes)
        return np.concatenate([classes, np.rint(likely.T * 100).astype(np.uint8)])

    def _dims(self, data: Cube) -> tuple[Dimension, ...]:
        self.places(data)
        return (Dimension("bands", "bands", tuple(self.bands)), *data.dims[2:])


def legend(blocks: PredictBlocks) -> dict[str, int]:
    """What is stored for each class."""
    return {str(label): int(code) for label, code in zip(blocks.model.classes, blocks.codes.tolist(), strict=True)}


def _difference(given: Sequence[str], known: Sequence[str]) -> str:
    more, less = [name for name in given if name not in known], [name for name in known if name not in given]
    said = [f"{_some(names)} {what}" for names, what in ((more, "is not there"), (less, "is missing")) if names]
    return "; ".join(said) or "the order is another one"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f", … ({len(names)})" if len(names) > _SHOWN else "")
