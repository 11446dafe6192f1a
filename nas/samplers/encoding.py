"""Between Optuna's parameters and option indices: ``layer1.0.conv2.alpha`` = 0.25, as a person reads it."""

from collections.abc import Mapping
from dataclasses import dataclass
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
    """The option indices that parameters say; of those that say no option, of the nearest."""
    found = [_exactly(lookup, values) for lookup in _lookups(space)]
    if None in found:
        return tuple(int(np.argmax(w)) for w in weights(space, values))
    return tuple(i for i in found if i is not None)


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


@dataclass(frozen=True)
class _Lookup:
    """Of one variable. ``names``: operator → its settings' parameters; ``options``: operator and their values → index.

    ``operator`` is the name of the parameter that says the operator, ``only`` the operator where there is no other.
    """

    operator: str
    only: str
    names: Mapping[str, tuple[str, ...]]
    options: Mapping[tuple[object, ...], int]


@cache
def _lookups(space: Space) -> list[_Lookup]:
    found = []
    for variable, wanted in zip(space.variables, _wanted(space), strict=True):
        names: dict[str, tuple[str, ...]] = {}
        options: dict[tuple[object, ...], int] = {}
        for i, (option, settings_of) in enumerate(zip(variable.options, wanted, strict=True)):
            operator = option.asked.operator
            names.setdefault(operator, tuple(settings_of))
            options.setdefault((operator, *settings_of.values()), i)
        found.append(_Lookup(f"{variable.name}.operator", variable.options[0].asked.operator, names, options))
    return found


def _exactly(lookup: _Lookup, values: Mapping[str, object]) -> int | None:
    operator = str(values.get(lookup.operator, lookup.only))
    names = lookup.names.get(operator)
    return None if names is None else lookup.options.get((operator, *(values.get(name) for name in names)))


def _mismatches(variable: Variable, option: Option, wanted: Params, proposal: Mapping[str, object]) -> int:
    if proposal.get(f"{variable.name}.operator", option.asked.operator) != option.asked.operator:
        return len(wanted)
    return sum(name in proposal and proposal[name] != value for name, value in wanted.items())
