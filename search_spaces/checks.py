"""Checks of what a person wrote: each failure is one clear line."""

import difflib
import math
from collections.abc import Iterable
from fractions import Fraction
from numbers import Real
from pathlib import Path


class BadInput(ValueError):
    """What a person wrote is wrong; the message is one line: the rule, what was received, what would be right."""


def number(name: str, value: object) -> float:
    """An int, a float (NumPy's too), or a fraction in a string (``1/4``)."""
    try:
        if isinstance(value, str):
            value = Fraction(value)
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise ValueError
    except (ValueError, ZeroDivisionError, OverflowError):
        raise BadInput(f"{name} must be a number or a fraction such as 1/4, got {value!r}") from None
    exact = float(value)
    return int(exact) if exact.is_integer() else exact


def expanded(path: str | Path) -> Path:
    """``~/x`` → the home folder's ``x``; BadInput where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise BadInput(f"{path}: {error}") from None


def require_known(what: str, name: str, known: Iterable[str]) -> None:
    """Raise a ValueError that names the nearest known name if ``name`` isn't one."""
    names = list(known)
    if name in names:
        return
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise BadInput(f"unknown {what} {name!r}: {hint}known: {', '.join(sorted(names)) or 'none'}")
