"""How a field of a question is asked for: how it is worded and read, and which values are of the right kind."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field
from pathlib import Path
from typing import Any

from search_spaces.catalogue import is_path, space_path
from search_spaces.checks import BadInput, expanded
from trainers.recipe import Recipe

from .budget import Budget, parse_budget
from .form import parse_form

PRETRAINED = "pretrained"  # in place of a file of weights


@dataclass(frozen=True)
class Option:
    """How a field of ``Question`` is asked for.

    Args:
        fixed: why a run that is gone on with can't change it; empty where it can.
        same: it may be written again all the same, as it was: a name that lets code be imported.
        name: where it differs from the field's; ``flag`` has no value and turns the field's default around.
        type: what the command line makes of the text, ``read`` what the field holds of what was written or stored.
        stored: whether ``search.yaml`` keeps it.
    """

    group: str
    help: str
    fixed: str = ""
    same: bool = False
    name: str = ""
    flag: bool = False
    repeated: bool = False
    type: Callable[[str], Any] = str
    read: Callable[[Any], Any] = lambda value: value
    stored: bool = True


def option(default: Any, group: str, help: str, fixed: str = "", **how: Any) -> Any:
    """A dataclass field with an ``Option``; ``how`` are its other entries."""
    return field(default=default, metadata={"option": Option(group, help, fixed, **how)})


def read_budgets(texts: str | Iterable[str]) -> tuple[Budget, ...]:
    """One or several."""
    return tuple(parse_budget(str(text)) for text in ([texts] if isinstance(texts, str) else texts))


def read_form(text: str | None) -> str | None:
    """With all that was not said."""
    return None if text is None else str(parse_form(text))


def read_words(texts: str | Iterable[str]) -> tuple[str, ...]:
    """One or several."""
    return (texts,) if isinstance(texts, str) else tuple(texts)


def read_space(name_or_path: str) -> str:
    """A name, or a whole path, known to be there or not yet."""
    path = space_path(str(name_or_path))
    return str(path.resolve()) if is_path(name_or_path) else str(name_or_path)


def read_whole(path: str | Path | None) -> Path | None:
    """A path as it holds in every folder."""
    return None if path is None else expanded(path).resolve()


def read_weights_option(path: str | Path | None) -> Path | str | None:
    """A path as it holds in every folder, or the word for a library's own weights."""
    return PRETRAINED if path == PRETRAINED else read_whole(path)


def read_address(url: str | Path | None) -> str | None:
    """A path whole, since trials run in other folders; an address such as ``s3://…`` as it is."""
    if url is None or "://" in str(url):
        return None if url is None else str(url).rstrip("/")
    return str(read_whole(url))


def read_recipe(epochs: int | Recipe | Mapping[str, Any] | None) -> Recipe | int | None:
    """One as a document has it, or the epochs of the judge's own (``Question`` knows the judge)."""
    return Recipe(**epochs) if isinstance(epochs, Mapping) else epochs


def read_trials(count: int) -> int:
    """At least one."""
    if count < 1:
        raise BadInput(f"--trials must be at least 1, got {count}")
    return count


def check_kind(name: str, f: Field[Any], option: Option, value: object) -> None:
    """The command line's values have the right kind by themselves; Python's and a document's may not."""
    kinds: dict[Any, tuple[tuple[type, ...], str]] = {
        int: ((int,), "a whole number"),
        float: ((int, float), "a number"),
        str: ((str, Path), "text"),
        bool: ((bool,), "True or False"),
    }
    right, words = kinds[bool if option.flag else option.type]
    if f.name == "recipe":
        right = (int, Recipe, Mapping)
    if option.repeated:
        right, words = (str, list, tuple), "text, or several"
    if (value is None and f.default is None) or (isinstance(value, right) and isinstance(value, bool) == option.flag):
        return
    raise BadInput(f"--{name.replace('_', '-')} must be {words}, got {value!r}")
