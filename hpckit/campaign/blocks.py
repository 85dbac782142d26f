"""What a campaign file says of reductions block by block: functions of its owner, and models that predict."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from hpckit.base.files import digest_file
from hpckit.campaign.functionfiles import digest_of_module, find_module
from hpckit.campaign.graph import GraphReduction
from hpckit.campaign.model import Model
from hpckit.errors import CampaignError

MODELS_WITHOUT_CODE: Final = (".skops", ".onnx")
"""Endings of models that run nothing when they are loaded."""
MODEL_KINDS: Final = (".joblib", ".pkl", ".pickle", *MODELS_WITHOUT_CODE)
"""How names of model files end."""


class BlockOutputs(Model):
    """Where results of blocks end."""

    path: Path = Path("maps")
    """Folder: `<name>.zarr` in it holds the result, `<name>` the files of a format."""
    format: str | None = "GTiff"
    """Of further files: `GTiff` (Cloud-Optimised GeoTIFF), `netCDF`, `Zarr`; null for none."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Of the format."""


class BlockReduction(Model):
    """What all reductions block by block have: pixels that they take, and where their results end."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    bands: Annotated[list[str], Field(min_length=1)] | None = None
    """Bands of the cube, or layers of the composite (`B04_median`), in the order in which blocks have them; all if
    it is left out."""
    composite: str | None = None
    """Composite whose periods blocks are taken from, and not the dates of the cube."""
    collection: Path | None = None
    """Another campaign (file or run directory) whose cube or composite is taken; this one if it is left out."""
    period: tuple[str, str] | None = None
    """First moment and the one after the last: `[2024-04-01, 2024-07-01]`; all if it is left out."""
    outputs: BlockOutputs = Field(default_factory=BlockOutputs)
    memory_mib: Annotated[int, Field(ge=1, le=2**20)] = 768
    """Memory that one block may take while it is computed: the size of blocks follows from it."""

    @property
    def parameters(self) -> dict[str, Any]:
        """Of a process graph; none."""
        return {}

    @property
    def collections(self) -> dict[str, Path]:
        """Other campaigns by the name that they are frozen under."""
        return {} if self.collection is None else {"other": self.collection}

    @abstractmethod
    def files(self) -> Mapping[str, Path]:
        """What it reads, by field."""

    @abstractmethod
    def document(self, folder: Path) -> dict[str, Any]:
        """What pixels depend on, as JSON: settings, and digests of code or model; `folder` is the campaign's.

        Raises
        ------
        CampaignError
            If a file is missing.
        """

    def settings(self) -> dict[str, Any]:
        """Settings that pixels depend on."""
        return self.model_dump(mode="json", exclude={"name", "memory_mib", "collection", "outputs"})


class Makes(Model):
    """What a function gives back."""

    bands: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    """Names of its bands."""
    dtype: Literal["float32", "float64", "uint8", "uint16", "uint32", "int8", "int16", "int32"] = "float32"
    nodata: int | None = None
    """Integer that stands for no data; of floating-point numbers it is always NaN."""
    keeps_time: bool = False
    """Whether results have the dates that blocks have; else they have none."""

    @field_validator("bands")
    @classmethod
    def _once(cls, bands: list[str]) -> list[str]:
        if len(set(bands)) < len(bands):
            raise ValueError("a band is named twice; name each band once")
        return bands

    @model_validator(mode="after")
    def _nodata_fits(self) -> Makes:
        if self.nodata is not None and self.dtype.startswith("float"):
            raise ValueError("`nodata` is for integers: of floating-point numbers it is always NaN")
        return self


class FunctionReduction(BlockReduction):
    """A Python function of the campaign's owner over blocks of pixels."""

    kind: Literal["function"]
    function: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")]
    """`module:name`: a function in `module.py` beside the campaign file, or in an installed package."""
    makes: Makes
    halo: Annotated[int, Field(ge=0, le=256)] = 0
    """Pixels around each block that the function gets as well; hpckit cuts them off what it gives back."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the function, by name."""

    @property
    def module(self) -> str:
        """Name of the module."""
        return self.function.partition(":")[0]

    def files(self) -> Mapping[str, Path]:
        """The campaign that it reads."""
        return {} if self.collection is None else {"collection": self.collection}

    def document(self, folder: Path) -> dict[str, Any]:
        """Settings, and the digest of the source code."""
        try:
            code = digest_of_module(find_module(self.module, folder))
        except CampaignError as error:
            raise CampaignError(f"reduction {self.name!r}: function: {error.message}", hint=error.hint) from None
        return {**self.settings(), "code": code}


class PredictReduction(BlockReduction):
    """Classes and their probabilities by a model that was trained before."""

    kind: Literal["predict"]
    model: Path
    """A classifier of scikit-learn (`.joblib`, `.pkl`, `.skops`), or an ONNX model (`.onnx`)."""
    features: Annotated[list[str], Field(min_length=1)] | None = None
    """Names of the features in the order in which the model takes them: `B04_2024-05-03` of a cube,
    `B04_median_2024-05-01` (first day of the period) of a composite. Those that the model names if it is left out."""
    probabilities: bool = True
    """Whether results have the probability of each class, in per cent, beside the class."""
    missing: Literal["skip", "pass"] = "skip"
    """Pixels that lack a feature stay without a class, or the model gets NaN, for models that take it."""

    @field_validator("model")
    @classmethod
    def _known(cls, path: Path) -> Path:
        if path.suffix not in MODEL_KINDS:
            raise ValueError(f"the name of a model ends in {', '.join(MODEL_KINDS)}, and not in {path.suffix!r}")
        return path

    @model_validator(mode="after")
    def _once(self) -> PredictReduction:
        if self.features and len(set(self.features)) < len(self.features):
            raise ValueError("`features` names one twice; name each feature once")
        return self

    def files(self) -> Mapping[str, Path]:
        """The model, and the campaign that it reads."""
        return {"model": self.model} | ({} if self.collection is None else {"collection": self.collection})

    def document(self, folder: Path) -> dict[str, Any]:
        """Settings, and the digest of the model."""
        path = (folder / self.model.expanduser()).absolute()
        try:
            digest = digest_file(path)
        except FileNotFoundError:
            raise CampaignError(f"{path}: no such file", hint=f"correct `model` of reduction {self.name!r}") from None
        except OSError as error:
            raise CampaignError(f"{path}: cannot be read: {error.strerror or error}") from error
        return {**self.settings(), "digest": digest}


OfWindows = GraphReduction | BlockReduction
"""What is computed window by window."""
