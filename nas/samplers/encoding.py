"""Between Optuna's parameters and option indices: ``layer1.0.conv2.alpha`` = 0.25, as a person reads it."""

from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution

from search_spaces import Choice, Option, Space, Variable
from search_spaces.operators import OPERATORS

MISMATCH = 1e-2
Params = dict[str, object]


@cache
def settings(asked: Choice) -> Params:
    """The operator and all its settings, defaults included: two options that differ have settings that differ."""
    defaults = {name: p.default for name, p in OPERATORS[asked.operator].hyper_parameters().items()}
    return {"binary": False, **defaults, **asked.to_dict()}


@cache
def distributions(space: Space) -> dict[str, BaseDistribution]:
    """One categorical parameter for the operator and for each hyper-parameter that a variable leaves open."""
    found: dict[str, BaseDistribution] = {}
    for variable in space.variables:
        values: dict[str, dict[object, None]] = {}
        for option in variable.options:
            for setting, value in settings(option.asked).items():
                values.setdefault(setting, {})[value] = None
        for setting, options in values.items():
            if len(options) > 1:
                found[f"{variable.name}.{setting}"] = CategoricalDistribution(tuple(options))  # type: ignore[arg-type]
    return found


def weights(space: Space, proposal: Mapping[str, object]) -> list[NDArray[np.float64]]:
    """Options as likely as they are near to the proposal: each setting that differs makes one a hundred times rarer.

    A setting that the proposal leaves out is free.
    """
    return [
        np.array([MISMATCH ** _mismatches(v, o, w, proposal) for o, w in zip(v.options, wanted, strict=True)])
        for v, wanted in zip(space.variables, _wanted(space), strict=True)
    ]


def params(space: Space, indices: tuple[int, ...], proposal: Mapping[str, object]) -> Params:
    """The parameters that say ``indices``. Those without a meaning there (vanilla's α) stay as proposed."""
    result: Params = {}
    known = distributions(space)
    for variable, index in zip(space.variables, indices, strict=True):
        for setting, value in settings(variable.options[index].asked).items():
            if f"{variable.name}.{setting}" in known:
                result[f"{variable.name}.{setting}"] = value
    for name, distribution in known.items():
        assert isinstance(distribution, CategoricalDistribution)
        result.setdefault(name, proposal.get(name, distribution.choices[0]))
    return result


def indices(space: Space, values: Mapping[str, object]) -> tuple[int, ...]:
    """The option indices that parameters say."""
    return tuple(int(np.argmax(w)) for w in weights(space, values))


@cache
def _wanted(space: Space) -> list[list[Params]]:
    """Variable → option → its settings by the names of Optuna's parameters, but those that never differ."""
    known = distributions(space)
    return [
        [
            {name: value for setting, value in settings(o.asked).items() if (name := f"{v.name}.{setting}") in known}
            for o in v.options
        ]
        for v in space.variables
    ]


def _mismatches(variable: Variable, option: Option, wanted: Params, proposal: Mapping[str, object]) -> int:
    if proposal.get(f"{variable.name}.operator", option.asked.operator) != option.asked.operator:
        return len(wanted)
    return sum(name in proposal and proposal[name] != value for name, value in wanted.items())
