"""The command that asks a run's question again."""

import shlex
from dataclasses import MISSING
from typing import Any

from trainers.recipe import RECIPES, Recipe

from ..question import Question, options

LEFT_OUT = ("space", "name", "output")  # another run is another folder's


def command_of(question: Question) -> str:
    """``python launch.py`` with every option that differs from its default; what a machine decides is written out."""
    words = ["python", "launch.py", "--space", str(question.space)]
    for name, (field, how) in options().items():
        value = getattr(question, field.name)
        if field.name in LEFT_OUT or not how.stored or value == _default(field.name, field.default, question):
            continue
        option = f"--{name.replace('_', '-')}"
        if how.flag:
            words.append(option)
            continue
        for each in value if how.repeated else (value,):
            words += [option, _worded(each)]
    return shlex.join(words)


def _default(name: str, default: Any, question: Question) -> Any:
    if name == "recipe":
        own = RECIPES.get(question.judge, Recipe())
        return question.recipe if question.recipe.epochs == own.epochs else None
    return None if default is MISSING else default


def _worded(value: Any) -> str:
    """A recipe by its epochs; a share of the vanilla network's cost without what it came to."""
    if isinstance(value, Recipe):
        return str(value.epochs)
    return str(value).partition(" (")[0] if hasattr(value, "share") else str(value)
