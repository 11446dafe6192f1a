"""Spaces: a backbone, its searched slots, and the choices that each allows. Written as YAML, one file each."""

import hashlib
import itertools
import math
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, cached_property
from typing import Any

import torch

from .architecture import Architecture, Backbone
from .backbones.foreign import classes_of
from .catalogue import read_space
from .checks import BadInput, number, require_known
from .slots import VANILLA, Choice, Slot, called_once, find_slots, why_no_slots

KEYS = ("description", "backbone", "per", "exclude", "choices")


@dataclass(frozen=True)
class Option:
    """What a variable can be: the choice as the space's YAML words it, and what it means for each of its slots."""

    asked: Choice
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Variable:
    """One decision of the search: the slots it governs (one, or a stage) and its options."""

    name: str
    slots: tuple[str, ...]
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Space:
    """A target backbone and the variables that are searched. An architecture is one option index per variable.

    ``document`` is the YAML that it was read from.
    """

    name: str
    backbone: Backbone
    variables: tuple[Variable, ...]
    description: str = ""
    document: Mapping[str, object] = field(default_factory=dict, compare=False, hash=False)

    def __hash__(self) -> int:
        """Quick: what is computed once for a space is looked up by it, often."""
        return hash((self.name, self.backbone, len(self.variables)))

    @property
    def size(self) -> int:
        """The number of architectures."""
        return math.prod(len(v.options) for v in self.variables)

    @cached_property
    def slots(self) -> dict[str, Slot]:
        """The searched slots, by name, in the network's order."""
        searched = {slot for v in self.variables for slot in v.slots}
        return {name: slot for name, slot in backbone_slots(self.backbone).items() if name in searched}

    def architecture(self, indices: Sequence[int]) -> Architecture:
        """Option indices ``(variables,)`` → the architecture."""
        chosen: dict[str, Choice] = {}
        for variable, index in zip(self.variables, indices, strict=True):
            chosen.update(zip(variable.slots, variable.options[index].choices, strict=True))
        return Architecture(self.backbone, tuple((slot, chosen[slot]) for slot in self.slots))

    def indices(self, architecture: Architecture) -> tuple[int, ...] | None:
        """The option indices that say ``architecture``, or ``None`` if it is not in the space."""
        layers = dict(architecture.layers)
        found = []
        for variable in self.variables:
            wanted = tuple(layers.get(slot, VANILLA) for slot in variable.slots)
            matching = [i for i, option in enumerate(variable.options) if option.choices == wanted]
            found += matching[:1]
        return tuple(found) if len(found) == len(self.variables) else None

    def uniform(self, asked: Choice) -> Architecture:
        """The papers' way: one setting wherever the space allows it; the other slots stay vanilla."""
        allowed = {
            slot: {option.choices[i] for option in v.options} for v in self.variables for i, slot in enumerate(v.slots)
        }
        layers = ((name, _resolved_or_vanilla(asked, slot)) for name, slot in self.slots.items())
        return Architecture(self.backbone, tuple((s, c if c in allowed[s] else VANILLA) for s, c in layers))


def backbone_slots(backbone: Backbone) -> dict[str, Slot]:
    """All slots of a backbone, by name, in the network's order.

    Of a foreign one those that it calls exactly once for an image: of others no cost table could be right. Of a
    detector's those that are in the detector.

    Raises:
        BadInput: a foreign network that can't take images of its resolution, or gives no logits; or no detector can be
            built on it.
    """
    found = _slots_of(backbone)
    if backbone.detector is None:
        return found
    with torch.device("meta"):
        detector: Any = Architecture(backbone).build()
    inside = {name for name, _ in detector.backbone.body.named_modules()}
    return {name: slot for name, slot in found.items() if name in inside}


def _slots_of(backbone: Backbone) -> dict[str, Slot]:
    if not backbone.is_foreign:
        with torch.device("meta"):
            return find_slots(backbone.build())
    with torch.random.fork_rng(devices=[]):
        network = backbone.build()
    classes = classes_of(network, backbone.resolution)
    if classes != backbone.classes:
        raise BadInput(f"{backbone.name} gives {classes} classes, not the {backbone.classes} that are wanted")
    with warnings.catch_warnings(action="ignore"):
        found = find_slots(network)
    if not found:
        raise BadInput(why_no_slots(network))
    once = called_once(network, found, torch.zeros(1, *backbone.shape))
    return {name: slot for name, slot in found.items() if name in once}


def fingerprint(backbone: Backbone) -> str | None:
    """What tells a foreign network from another of its name: a hash of its modules and tensors. ``None`` of ours."""
    if not backbone.is_foreign:
        return None
    with torch.random.fork_rng(devices=[]):
        network = backbone.build()
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    said = re.sub(r" at 0x[0-9a-f]+", "", repr(network))  # where a function was in memory tells nothing
    return hashlib.sha256(f"{said} {shapes}".encode()).hexdigest()[:16]


def load_space(name_or_path: str, backbone: Backbone | None = None) -> Space:
    """A space by its name, or by the path of a YAML file.

    Args:
        backbone: another network, to whose slots the space's choices are applied; what fits none of them is left out.

    Raises:
        ValueError: an unknown name (with the nearest), an unknown key, or a choice that fits no slot.
    """
    path, document = read_space(name_or_path)
    return parse_space(path.stem, document, str(path), backbone)


def parse_space(name: str, document: object, source: str, backbone: Backbone | None = None) -> Space:
    """A space from what its YAML says, or for another network; ``source`` is what an error names."""
    try:
        return _parse(name, document, backbone)
    except ValueError as error:
        raise BadInput(f"space {source}: {error}") from None


def _parse(name: str, document: object, other: Backbone | None) -> Space:
    if not isinstance(document, Mapping):
        raise BadInput(f"must be a mapping with the keys {', '.join(KEYS)}")
    for key in document:
        require_known("key", key, KEYS)
    for key in ("backbone", "choices"):
        if key not in document:
            raise BadInput(f"the key {key!r} is missing")
    if not isinstance(document["choices"], list):
        raise BadInput(f"'choices' must be a list, got {document['choices']!r}")
    excluded = document.get("exclude", [])
    if not isinstance(excluded, list) or not all(isinstance(pattern, str) for pattern in excluded):
        raise BadInput(f"'exclude' must be a list of slot names, with * for any text, got {excluded!r}")
    backbone = other or Backbone.from_dict(document["backbone"])
    every = backbone_slots(backbone)
    unmatched = [p for p in excluded if not any(fnmatchcase(slot_name, p) for slot_name in every)]
    if unmatched and other is None:
        raise BadInput(f"'exclude': {unmatched[0]!r} matches no slot of {backbone.name}")
    slots = {n: slot for n, slot in every.items() if not any(fnmatchcase(n, pattern) for pattern in excluded)}
    families = [_Family(entry) for entry in document["choices"]]
    groups = _grouped(list(slots.values()), str(document.get("per", "slot")))
    variables = tuple(v for v in (_variable(n, g, families) for n, g in groups.items()) if len(v.options) > 1)
    if other is not None:
        document = {
            "description": f"The choices of {name}, for the slots of {backbone.name}.",
            "backbone": backbone.to_dict(),
            "per": str(document.get("per", "slot")),
            "exclude": [pattern for pattern in excluded if pattern not in unmatched],
            "choices": [used for family in families if (used := family.used()) is not None],
        }
    else:
        for family in families:
            family.require_all_used()
    if not variables:
        raise BadInput(f"nothing to search: no slot of {backbone.name} has more than one choice{_why_none(every)}")
    return Space(name, backbone, variables, str(document.get("description", "")), document)


def _why_none(slots: Mapping[str, Slot]) -> str:
    """Of how many and which convolutions."""
    kinds = Counter(f"{s.kernel_size[0]}×{s.kernel_size[1]}" for s in slots.values())
    return f"; its {len(slots)} slots: {', '.join(f'{n} of {kind}' for kind, n in kinds.items()) or 'none'}"


class _Family:
    """One entry of ``choices``: an operator, the grid of its hyper-parameters, and the kernels it is meant for."""

    def __init__(self, entry: object) -> None:
        if not isinstance(entry, Mapping) or "operator" not in entry:
            raise BadInput(f"an entry of choices is a mapping with 'operator', got {entry!r}")
        lists = {k: v if isinstance(v, list) else [v] for k, v in entry.items() if k != "operator"}
        for key, values in lists.items():
            if not values:
                raise BadInput(f"{key} of {entry['operator']} must have a value or more, got an empty list")
        self.lists = dict(lists)
        self.operator = entry["operator"]
        self.kernels = lists.pop("kernel_size", None)
        grid = itertools.product(*([(k, v) for v in values] for k, values in lists.items()))
        self.choices = [Choice.from_dict({"operator": entry["operator"], **dict(point)}) for point in grid]
        reason = f"no slot has a kernel of {self.kernels}"
        self.unused = {setting: reason for choice in self.choices for setting in _settings(choice)}

    def options(self, slots: Sequence[Slot]) -> Iterator[Option]:
        """The choices that fit every slot, as options."""
        if self.kernels is not None and any(k not in self.kernels for s in slots for k in s.kernel_size):
            return
        for choice in self.choices:
            try:
                resolved = tuple(_resolve(choice, slot) for slot in slots)
            except ValueError as error:
                self.unused.update({s: str(error) for s in _settings(choice) if s in self.unused})
                continue
            for setting in _settings(choice):
                self.unused.pop(setting, None)
            yield Option(choice, resolved)

    def used(self) -> dict[str, object] | None:
        """The entry without the values that fit no slot; ``None`` where nothing is left."""
        if ("operator", self.operator) in self.unused:
            return None
        left = {key: [v for v in values if not self._is_unused(key, v)] for key, values in self.lists.items()}
        return {"operator": self.operator, **left}

    def _is_unused(self, key: str, value: object) -> bool:
        return any(name == key and _same(known, value) for name, known in self.unused)

    def require_all_used(self) -> None:
        """Refuse a value that fits no slot in any combination with the others."""
        for (name, value), reason in reversed(self.unused.items()):
            raise BadInput(f"{name} = {value} fits no slot of the network: {reason}")


def _same(known: object, value: object) -> bool:
    """``value`` as it is written in a YAML: a number may be a fraction in a string."""
    if isinstance(value, bool) or isinstance(known, (bool, str)):
        return known is value or known == str(value)
    return known == number("a value", value)


def _settings(choice: Choice) -> list[tuple[str, object]]:
    """The operator and each hyper-parameter with its value."""
    return list(choice.to_dict().items())


def _variable(name: str, slots: Sequence[Slot], families: Sequence[_Family]) -> Variable:
    """Options that mean the same network are one option: the first."""
    distinct: dict[tuple[Choice, ...], Option] = {}
    for family in families:
        for option in family.options(slots):
            distinct.setdefault(option.choices, option)
    return Variable(name, tuple(s.name for s in slots), tuple(distinct.values()))


@cache
def _resolve(choice: Choice, slot: Slot) -> Choice:
    """What a choice means at a slot; a ValueError where it does not fit. Remembered: a resumed run asks thousands."""
    resolved = choice.resolved(slot)
    with torch.device("meta"):
        resolved.build(slot)
    return resolved


@cache
def _resolved_or_vanilla(choice: Choice, slot: Slot) -> Choice:
    try:
        return _resolve(choice, slot)
    except ValueError:
        return VANILLA


def _grouped(slots: Sequence[Slot], per: str) -> dict[str, list[Slot]]:
    """Slots by variable: each its own, or by stage, the first part of its name (``layer1.0.conv2`` → ``layer1``)."""
    require_known("value of 'per'", per, ("slot", "stage"))
    groups: dict[str, list[Slot]] = {}
    for slot in slots:
        groups.setdefault(slot.name if per == "slot" else slot.name.split(".")[0], []).append(slot)
    return groups
