"""Source files of functions that a campaign names: found and read without running them."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hpckit.base.files import digest_json
from hpckit.errors import CampaignError


@dataclass(frozen=True, slots=True)
class Module:
    """A module that a campaign names.

    Parameters
    ----------
    name : str
    folder : Path
        From which its files are imported.
    files : tuple of Path
        The module, and what it imports of the same folder; relative to `folder`.
    is_own : bool
        Whether it lies beside the campaign file, and is not that of an installed package.
    """

    name: str
    folder: Path
    files: tuple[Path, ...]
    is_own: bool


def find_module(name: str, folder: Path) -> Module:
    """Find a module beside a campaign file, else that of an installed package.

    Parameters
    ----------
    name : str
        `trend`, `tools.trend`.
    folder : Path
        Of the campaign file.

    Raises
    ------
    CampaignError
        If there is none, or its source is no Python.
    """
    parts = name.split(".")
    own = _file(folder, parts)
    if own is not None:
        files = dict.fromkeys([own, *_packages(folder, parts)])
        for found in _imported(folder, own):
            files.setdefault(found)
        return Module(name, folder, tuple(path.relative_to(folder) for path in files), True)
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        path = folder.joinpath(*parts).with_suffix(".py")
        raise CampaignError(
            f"there is no module {name!r}: neither {path}, nor in an installed package",
            hint="write the file beside the campaign file, or correct the name",
        )
    origin = Path(spec.origin)
    return Module(name, origin.parent, (Path(origin.name),) if origin.suffix == ".py" else (), False)


def digest_of_module(module: Module) -> str:
    """Digest of the source code of a module, and of what it imports from beside it."""
    return digest_json(
        [module.name, [[str(path), (module.folder / path).read_text("utf-8")] for path in sorted(module.files)]]
    )[:16]


def _file(folder: Path, parts: list[str]) -> Path | None:
    """File of a module or package in a folder."""
    path = folder.joinpath(*parts)
    for found in (path.with_suffix(".py"), path / "__init__.py"):
        if found.is_file():
            return found
    return None


def _packages(folder: Path, parts: list[str]) -> Iterator[Path]:
    """`__init__.py` of the packages that a module lies in."""
    for count in range(1, len(parts)):
        path = folder.joinpath(*parts[:count], "__init__.py")
        if path.is_file():
            yield path


def _imported(folder: Path, start: Path) -> Iterator[Path]:
    """Files of the folder that a file imports, those that these import, and so on."""
    seen, waiting = {start}, [start]
    while waiting:
        file = waiting.pop()
        for name in _names(file, folder):
            parts = name.split(".")
            for count in range(1, len(parts) + 1):
                found = _file(folder, parts[:count])
                if found is not None and found not in seen:
                    seen.add(found)
                    waiting.append(found)
                    yield found


def _names(file: Path, folder: Path) -> Iterator[str]:
    """Modules that a file imports, at any depth, by their names from the folder."""
    try:
        tree = ast.parse(file.read_text("utf-8"), str(file))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise CampaignError(
            f"{file}{f', line {line}' if line else ''}: no Python: {getattr(error, 'msg', error)}",
            hint="correct the file",
        ) from None
    except OSError as error:
        raise CampaignError(f"{file}: cannot be read: {error.strerror or error}") from error
    own = file.parent.relative_to(folder).parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            around = own[: len(own) - node.level + 1] if node.level else ()
            module = ".".join([*around, *([node.module] if node.module else [])])
            yield from ([module] if module else [])
            yield from (f"{module}.{alias.name}" if module else alias.name for alias in node.names)
