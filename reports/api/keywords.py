"""A keyword that a function does not take, or a value of another type than it takes, is refused by one line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from functools import wraps
from inspect import Parameter, signature
from typing import Any

from reports.api.expected import check_type

VARIABLE = Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD


def like[**P, R](
    model: Callable[P, Any], *others: Callable[..., Any], typed: bool = True
) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """Give a function the parameters, the docstring and the name of another, for readers, editors and type checkers alike.

    It then takes no other keywords than ``model`` and ``others``, such as the class that the ``**options`` of ``model`` are of,
    and, if ``typed``, no values of other types than their annotations say; see `reports.api.expected`.
    """
    given = [one for taker in (model, *others) for one in signature(taker).parameters.values()]
    known = {one.name: one.annotation for one in given if one.kind not in VARIABLE}

    def decorate(function: Callable[..., R]) -> Callable[P, R]:
        name = function.__name__

        @wraps(model)
        def checked(*args: Any, **settings: Any) -> R:
            check_keywords(name, settings, list(known))
            if typed:
                for keyword, value in (*zip(known, args, strict=False), *settings.items()):
                    check_type(keyword, value, known[keyword])
            return function(*args, **settings)

        return checked

    return decorate


def careful[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Let a function refuse keywords that it does not take by the line that offers the nearest."""
    return like(function)(function)


def check_keywords(name: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Refuse the first keyword that is not known with a TypeError that offers the nearest.

    Examples
    --------
    >>> check_keywords("compare", ["restart"], ["draws", "restarts"])
    Traceback (most recent call last):
    TypeError: compare() has no argument 'restart'; did you mean 'restarts'?
    """
    for keyword in given:
        if keyword not in known:
            near = get_close_matches(keyword, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
            raise TypeError(f"{name}() has no argument {keyword!r}; {hint}")
