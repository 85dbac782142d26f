"""Source code of functions that were defined in a notebook or script, with what they use of it."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from hpckit.campaign.functionfiles import find_module
from hpckit.errors import CampaignError, UserCodeError

_AGAIN: Final = "give it as an option, or read it from a file within the function"


def written(function: Callable[..., Any], folder: Path, module: str) -> str:
    """Write the source code of a function into a folder, unless an installed package has it.

    Parameters
    ----------
    module : str
        Name of the file for code of a notebook or script.

    Returns
    -------
    str
        `module:name`, from the folder.

    Raises
    ------
    UserCodeError
        If its source is not known, or it uses objects that cannot be written down.
    """
    plain = _plain(function)
    if plain.__name__ == "<lambda>":
        raise UserCodeError("a lambda cannot be applied to a campaign", hint="write a function with `def`")
    if plain.__qualname__ != plain.__name__ or plain.__closure__:
        raise UserCodeError(
            f"{plain.__qualname__} is defined within another function or class",
            hint="define it at the top of the notebook or of a file, and give what it needs as options",
        )
    if (
        getattr(sys.modules.get(plain.__module__), plain.__name__, None) is not function
        or plain.__module__ == "__main__"
    ):
        (folder / f"{module}.py").write_text(source_of(plain), "utf-8")
        return f"{module}:{plain.__name__}"
    _copy_module(plain, folder)
    return f"{plain.__module__}:{plain.__name__}"


def source_of(function: types.FunctionType) -> str:
    """Source code of a function, of functions of the same notebook that it calls, and imports and constants of both.

    Raises
    ------
    UserCodeError
        If it uses an object that is none of these.
    """
    imports: dict[str, None] = {}
    codes: dict[str, str] = {}
    waiting = [function]
    while waiting:
        one = waiting.pop()
        code = _code(one)
        codes = {one.__name__: code, **{name: text for name, text in codes.items() if name != one.__name__}}
        for name in _names(code):
            if name == one.__name__ or name in codes or name not in one.__globals__:
                continue
            used = one.__globals__[name]
            plain = _plain(used)
            if isinstance(plain, types.FunctionType) and plain.__module__ == one.__module__:
                waiting.append(plain)
            else:
                imports[_line(name, used, function.__name__)] = None
    lines = sorted(imports, key=lambda line: not line.startswith(("import", "from")))
    return "\n".join([*lines, *(f"\n\n{code}" for code in codes.values())]) + "\n"


def _plain(function: Any) -> Any:
    """The Python function within what numba, functools.wraps and others make of it."""
    return getattr(function, "py_func", function)


def _code(function: types.FunctionType) -> str:
    try:
        return textwrap.dedent(inspect.getsource(function)).rstrip()
    except (OSError, TypeError) as error:
        raise UserCodeError(
            f"the source of {function.__name__} is not known: {error}",
            hint="write it into a file beside the campaign file, and import it from there",
        ) from None


def _names(code: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Name):
            yield node.id


def _line(name: str, used: Any, function: str) -> str:
    """Code that gives a name its object."""
    if isinstance(used, types.ModuleType):
        return f"import {used.__name__}" if used.__name__ == name else f"import {used.__name__} as {name}"
    module, qualname = getattr(used, "__module__", None), getattr(used, "__qualname__", None)
    if module and qualname and module != "__main__" and "." not in qualname and "<" not in qualname:
        return f"from {module} import {qualname}" + ("" if qualname == name else f" as {name}")
    try:
        if ast.literal_eval(repr(used)) == used:
            return f"{name} = {used!r}"
    except (ValueError, SyntaxError, TypeError):
        pass
    raise UserCodeError(
        f"{function} uses {name!r} of the notebook ({type(used).__name__}), which cannot go along with it",
        hint=_AGAIN,
    )


def _copy_module(function: types.FunctionType, folder: Path) -> None:
    """Copy the file of a function, and what it imports from beside it; not those of installed packages."""
    file = Path(inspect.getsourcefile(function) or "")
    if "site-packages" in file.parts:
        return
    parts = function.__module__.split(".")
    root = file.parents[len(parts) - (0 if file.name == "__init__.py" else 1)]
    try:
        module = find_module(function.__module__, root)
    except CampaignError as error:
        raise UserCodeError(error.message, hint=error.hint) from None
    for path in module.files if module.is_own else ():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((root / path).read_bytes())
