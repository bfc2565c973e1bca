"""Python files of the user's own: how a command runs one, and what it takes from it."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import typer

from reports.commands.options import UNUSABLE

NAME = "mixtures_script_"


def load_script(path: Path) -> ModuleType:
    """Run a Python file, and return it as a module whose functions worker processes can be handed.

    It finds what stands beside it. Where it raises, the user's own traceback is shown and the command ends.

    Raises
    ------
    ValueError
        If there is no such file.
    """
    import cloudpickle

    if not path.is_file():
        what = f"{path} is a folder; expected a Python file" if path.is_dir() else f"there is no file {path}"
        raise ValueError(what)
    if path.suffix != ".py":
        raise ValueError(f"{path.name} is no Python file; expected a name that ends in .py")
    name = f"{NAME}{path.stem}"
    spec = spec_from_file_location(
        name, path, loader=SourceFileLoader(name, str(path))
    )  # which shows the path as given
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the user's file raises, SystemExit too, is shown as Python would show it
        show(error, path)
        raise typer.Exit(UNUSABLE) from error
    cloudpickle.register_pickle_by_value(module)
    return module


def tried(function: Callable[[], Any]) -> Any:
    """What a function of the user's returns; where it raises, its traceback is shown and the command ends."""
    try:
        return function()
    except Exception as error:  # as in `load_script`
        show(error, Path(inspect.getsourcefile(function) or ""))
        raise typer.Exit(UNUSABLE) from error


def show(error: BaseException, path: Path) -> None:
    """Write the traceback of an error from the first line of the user's file on, if it has one there."""
    frame = error.__traceback__
    while frame is not None and Path(frame.tb_frame.f_code.co_filename).resolve() != path.resolve():
        frame = frame.tb_next
    traceback.print_exception(error.with_traceback(frame))


def function_of(module: ModuleType, name: str, does: str) -> Callable[..., Any]:
    """A function that a script defines.

    Raises
    ------
    ValueError
        If it does not, or if that is no function.
    """
    found = getattr(module, name, None)
    where = Path(str(module.__file__)).name
    if found is None:
        raise ValueError(f"{where} does not define {name}; expected a function that {does}")
    if not callable(found):
        raise ValueError(f"{name} in {where} is a {type(found).__name__}; expected a function that {does}")
    function: Callable[..., Any] = found
    return function
