"""Slots and choices: which convolutions of a network can be replaced, by what, and doing it."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args, get_origin

from torch import nn

from .checks import BadInput, number, require_known
from .operators import OPERATORS, Setting, binarize


@dataclass(frozen=True)
class Slot:
    """One replaceable convolution: ``layer1.0.conv2``, with its channels and geometry."""

    name: str
    in_channels: int
    out_channels: int
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]


@dataclass(frozen=True)
class Choice:
    """An operator with its hyper-parameters: ``Choice.of("spconv", alpha=1/4, groups=2)``.

    ``binary=True`` goes with every operator: its convolutions work on signs (``BinaryConv2d``).

    Raises:
        ValueError: an unknown operator or hyper-parameter. (Whether the values fit a slot, ``build`` tells.)
    """

    operator: str
    params: tuple[tuple[str, Setting], ...] = ()

    def __post_init__(self) -> None:
        require_known("operator", self.operator, OPERATORS)
        for name, _ in self.params:
            require_known(f"hyper-parameter of {self.operator}", name, [*self._kinds(), "binary"])

    @classmethod
    def of(cls, operator: str, **params: Setting) -> "Choice":
        return cls(operator, tuple(sorted(params.items())))

    @classmethod
    def from_dict(cls, entry: Mapping[str, object]) -> "Choice":
        """``{"operator": "spconv", "alpha": "1/4", "groups": 2}`` → a choice; numbers may be written as fractions."""
        if not isinstance(entry, Mapping) or "operator" not in entry:
            raise BadInput(f"a choice is a mapping with 'operator' and its hyper-parameters, got {entry!r}")
        values = {str(name): value for name, value in entry.items() if name != "operator"}
        kinds = cls(str(entry["operator"]), tuple((name, 0) for name in values))._kinds()
        return cls.of(str(entry["operator"]), **{n: _setting(n, v, kinds.get(n, bool)) for n, v in values.items()})

    def to_dict(self) -> dict[str, object]:
        return {"operator": self.operator, **dict(self.params)}

    @property
    def binary(self) -> bool:
        return bool(dict(self.params).get("binary", False))

    def build(self, slot: Slot) -> nn.Module:
        """The operator, freshly initialised, at the slot's channels and geometry; ValueError where it does not fit."""
        try:
            operator = OPERATORS[self.operator](
                slot.in_channels,
                slot.out_channels,
                slot.kernel_size,
                slot.stride,
                slot.padding,
                dilation=slot.dilation,
                **self._own(),
            )
        except ValueError as error:
            raise ValueError(f"slot {slot.name!r}: {error}") from None
        return binarize(operator) if self.binary else operator

    def resolved(self, slot: Slot) -> "Choice":
        """Every hyper-parameter written out; CompConv's depth 0 is the vanilla convolution."""
        choice = Choice.of(self.operator, **OPERATORS[self.operator].resolved(slot.in_channels, **self._own()))
        return self._as_binary(VANILLA if choice == Choice.of("compconv", depth=0) else choice)

    def stand_in(self, slot: Slot) -> "Choice":
        """The nearest choice that the slot's channels can hold; this one where they can."""
        params = OPERATORS[self.operator].stand_in(slot.in_channels, slot.out_channels, **self._own())
        return self._as_binary(Choice.of(self.operator, **params))

    def _own(self) -> dict[str, Any]:
        """The operator's own hyper-parameters."""
        return {name: value for name, value in self.params if name != "binary"}

    def _as_binary(self, choice: "Choice") -> "Choice":
        """``choice``, binary if this one is."""
        return Choice.of(choice.operator, **dict(choice.params), binary=True) if self.binary else choice

    def _kinds(self) -> dict[str, Any]:
        """Hyper-parameter of the operator → its type."""
        return {name: p.annotation for name, p in OPERATORS[self.operator].hyper_parameters().items()}

    def __str__(self) -> str:
        values = ", ".join(f"{name}={_shown(value)}" for name, value in self.params)
        return f"{self.operator}({values})" if values else self.operator


def _shown(value: Setting) -> str:
    return str(value) if isinstance(value, (str, bool)) else str(Fraction(value).limit_denominator(1024))


def _setting(name: str, value: object, kind: Any) -> Setting:
    """What a YAML says, as the hyper-parameter's type: a switch, one of some words, or a number."""
    if kind is bool:
        if not isinstance(value, bool):
            raise BadInput(f"{name} must be true or false, got {value!r}")
        return value
    if get_origin(kind) is Literal:
        require_known(name, str(value), get_args(kind))
        return str(value)
    return number(name, value)


VANILLA = Choice("vanilla")


def find_slots(model: nn.Module) -> dict[str, Slot]:
    """All replaceable convolutions, by name, in the network's order: dense, zero-padded ``nn.Conv2d``."""
    return {
        name: _slot(name, module)
        for name, module in model.named_modules()
        if type(module) is nn.Conv2d and _obstacle(module) is None
    }


def convert(model: nn.Module, choices: Mapping[str, Choice]) -> nn.Module:
    """Replace convolutions of ``model``, in place, and return it.

    Works on any network. The vanilla choice leaves a convolution as it is, weights included; every other operator
    starts freshly initialised, without bias (each ends in a BatchNorm, its own or the network's, that has one).

    Raises:
        ValueError: a name that is no slot of the network, or a choice that does not fit its slot.
    """
    modules = dict(model.named_modules())
    replacements = {}
    for name, choice in choices.items():
        require_known("slot", name, find_slots(model) if name not in modules else modules)
        module = modules[name]
        obstacle = "it is no nn.Conv2d" if type(module) is not nn.Conv2d else _obstacle(module)
        if obstacle:
            raise ValueError(f"slot {name!r} can't be replaced: {obstacle}")
        if choice != VANILLA:
            built = choice.build(_slot(name, module))
            replacements[name] = built.to(device=module.weight.device, dtype=module.weight.dtype)
    for name, operator in replacements.items():
        parent, _, leaf = name.rpartition(".")
        setattr(modules[parent], leaf, operator)
    return model


def _obstacle(conv: nn.Conv2d) -> str | None:
    """Why a convolution is no slot."""
    if conv.groups != 1:
        return f"it has {conv.groups} groups"
    if conv.padding_mode != "zeros":
        return f"it pads with {conv.padding_mode!r}"
    if isinstance(conv.padding, str):
        return f"its padding is {conv.padding!r}, not numbers"
    return None


def _slot(name: str, conv: nn.Conv2d) -> Slot:
    geometry = (conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    return Slot(name, conv.in_channels, conv.out_channels, *((v[0], v[1]) for v in geometry))  # type: ignore[arg-type]
