"""The part of a campaign file that adds stages of a user's own: `steps`."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from hpckit.base.quantities import parse_walltime
from hpckit.campaign.outputs import is_pattern
from hpckit.campaign.scenes import Products
from hpckit.campaign.stages import STAGES, STEP_PREFIX
from hpckit.campaign.words import OF_ALL, OF_SCENE, OF_TILE, PATHS, require_known, words_in

Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
Line = Annotated[str, Field(pattern=r"^[^\x00]*$", min_length=1)]


def _split(value: Any) -> Any:
    """Words of a command line, as a shell would cut it; nothing else of a shell."""
    if not isinstance(value, str):
        return value
    try:
        return shlex.split(value)
    except ValueError as error:
        raise ValueError(f"the command line cannot be split into words: {error}; correct its quotes") from error


class Step(BaseModel):
    """One more stage: a command line that runs once for each scene or tile."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, allow_inf_nan=False)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,20}$")]
    each: Literal["scene", "tile"]
    """A unit for each product that is used, or for each tile of the campaign."""
    command: Annotated[list[Line], BeforeValidator(_split, json_schema_input_type=str | list[str])] = Field(
        min_length=1
    )
    """Program and arguments, as one line or a list of words; no shell reads it. Words in braces are filled in."""
    outputs: Annotated[dict[Word, Line], Field(min_length=1)]
    """What it makes, by name: paths within `into`. `{name}` in the command is where to write it. May hold `*`."""
    inputs: dict[Word, Line] = Field(default_factory=dict)
    """What it needs, by name: files or folders, relative to the campaign file. `{name}` in the command."""
    scenes: Products | None = None
    """Products to make others from, before anything else; those that it makes are found by `scenes.paths`."""
    after: str | None = None
    """Stage that it waits for: ingest, signatures, composites, export, or an earlier step. Tiles wait for ingest."""
    into: Path | None = None
    """Folder of the outputs; the step's name if not given."""
    image: Line | None = None
    """Image that the command runs in (SIF file or URI); where the worker runs if not given."""
    binds: list[Line] = Field(default_factory=list)
    """Further folders that are seen in `image`: `SOURCE[:TARGET[:ro]]`."""
    environment: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = Field(default_factory=dict)
    cores: Annotated[int, Field(ge=1)] = 1
    memory_mib: Annotated[int, Field(ge=16)] = 2048
    """Of one unit."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """Of an element of a job array."""
    seconds: Annotated[float, Field(gt=0)] = 60
    """Expected duration of a unit, until the journal contains measured ones."""
    timeout: Annotated[int, BeforeValidator(parse_walltime, json_schema_input_type=str | int), Field(ge=1)] | None = (
        None
    )
    """A unit that lasts longer is ended and fails."""

    @property
    def stage(self) -> str:
        """Name of its stage."""
        return f"{STEP_PREFIX}{self.name}"

    @property
    def makes_products(self) -> bool:
        """Whether what it makes are scenes of this campaign."""
        return self.scenes is not None

    @property
    def folder(self) -> Path:
        """Folder of the outputs, as the campaign file has it."""
        return self.into or Path(self.name)

    def waits_for(self, extensions: Collection[str] = ()) -> str | None:
        """Stage that must have ended before it.

        Parameters
        ----------
        extensions : collection of str
            Stages that installed packages add to the campaign.
        """
        if self.after is None:
            return "ingest" if self.each == "tile" else None
        return self.after if self.after in STAGES or self.after in extensions else f"{STEP_PREFIX}{self.after}"

    def words(self) -> tuple[str, ...]:
        """Words that describe a unit."""
        return OF_SCENE if self.each == "scene" else OF_TILE

    @field_validator("outputs")
    @classmethod
    def _within(cls, outputs: dict[str, str]) -> dict[str, str]:
        for name, text in outputs.items():
            path = PurePosixPath(text)
            if path.is_absolute() or ".." in path.parts or any(part.startswith(".") for part in path.parts):
                raise ValueError(
                    f"output {name} must lie within the step's folder: a relative path without `..` or hidden names"
                )
            if "**" in path.parts:
                raise ValueError(f"output {name}: `**` is not known here; name the folder itself, or write `*`")
        return outputs

    @model_validator(mode="after")
    def _words_known(self) -> Step:
        taken = {*OF_ALL, *OF_SCENE, *OF_TILE}
        for name in (*self.inputs, *self.outputs):
            if name in taken or (name in self.inputs and name in self.outputs):
                raise ValueError(f"{name!r} has a meaning already; give that input or output another name")
        for name, text in self.outputs.items():
            require_known(text, set(self.words()) - PATHS, f"output {name}")
        for name, text in self.inputs.items():
            require_known(text, {*self.words(), "folder"}, f"input {name}")
        named = [name for name, text in self.outputs.items() if not is_pattern(text)]
        if "/" in self.command[0] and self.command[0][0] not in "/{":
            raise ValueError(
                f"{self.command[0]}: units run in folders of their own; write {{folder}}/{self.command[0]}"
            )
        for text in self.command:
            for word in words_in(text):
                if word in self.outputs and word not in named:
                    raise ValueError(f"output {word} is a pattern; let the command write it into {{out}}")
            require_known(text, {*OF_ALL, *self.words(), *self.inputs, *named}, "command")
        return self

    @model_validator(mode="after")
    def _place_in_flow(self) -> Step:
        if self.scenes is not None and self.each != "scene":
            raise ValueError("a step that has scenes of its own makes products: `each: scene`")
        if self.scenes is not None and self.scenes.addresses:
            raise ValueError(f"a step reads files of this machine; {self.scenes.addresses[0]} is in an object store")
        if self.scenes is not None and self.after is not None:
            raise ValueError("a step that has scenes of its own comes before all others; leave `after` out")
        if self.image is not None and any("{python}" in text for text in self.command):
            raise ValueError("{python} is hpckit's own, which the image lacks; write python3")
        return self


def require_order(steps: Sequence[Step], stages: Sequence[str]) -> None:
    """Refuse steps that wait for what does not come before them.

    Parameters
    ----------
    stages : sequence of str
        Stages that the campaign has, apart from steps.

    Raises
    ------
    ValueError
        Names the step.
    """
    earlier: dict[str, Step] = {}
    for step in steps:
        if step.name in STAGES:
            raise ValueError(f"step {step.name!r} has the name of a stage of hpckit's own; rename it")
        if step.name in earlier:
            raise ValueError(f"two steps are named {step.name!r}; rename one")
        for other in earlier.values():
            same_text = set(step.outputs.values()) & set(other.outputs.values())
            if step.folder == other.folder and same_text and step.each == other.each:
                raise ValueError(
                    f"steps {other.name!r} and {step.name!r} would both write {min(same_text)} into {step.folder}; "
                    "give one another name of its outputs, or another `into`"
                )
        if step.after is not None:
            same = [name for name, other in earlier.items() if other.each == step.each]
            allowed = [*(stages if step.each == "tile" else ()), *same]
            if step.after not in allowed:
                raise ValueError(
                    f"step {step.name!r} waits for {step.after!r}, which this campaign does not have before it for "
                    f"each {step.each}; there {'are' if len(allowed) > 1 else 'is'} {', '.join(allowed) or 'nothing'}"
                )
        earlier[step.name] = step
