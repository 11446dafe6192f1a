"""Slots and choices: which convolutions of a network can be replaced, by what, and doing it."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from torch import nn

from .checks import number, require_known
from .operators import OPERATORS


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


def hyper_parameters(operator: str) -> list[str]:
    """The names of an operator's own hyper-parameters: its keyword-only arguments but ``dilation``."""
    parameters = inspect.signature(OPERATORS[operator].__init__).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "dilation"]


@dataclass(frozen=True)
class Choice:
    """An operator with its hyper-parameters: ``Choice.of("spconv", alpha=1/4, groups=2)``.

    Raises:
        ValueError: an unknown operator or hyper-parameter. (Whether the values fit a slot, ``build`` tells.)
    """

    operator: str
    params: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        require_known("operator", self.operator, OPERATORS)
        for name, _ in self.params:
            require_known(f"hyper-parameter of {self.operator}", name, hyper_parameters(self.operator))

    @classmethod
    def of(cls, operator: str, **params: float) -> "Choice":
        return cls(operator, tuple(sorted(params.items())))

    @classmethod
    def from_dict(cls, entry: Mapping[str, object]) -> "Choice":
        """``{"operator": "spconv", "alpha": "1/4", "groups": 2}`` → a choice; numbers may be written as fractions."""
        if not isinstance(entry, Mapping) or "operator" not in entry:
            raise ValueError(f"a choice is a mapping with 'operator' and its hyper-parameters, got {entry!r}")
        params = {name: number(name, value) for name, value in entry.items() if name != "operator"}
        return cls.of(str(entry["operator"]), **params)

    def to_dict(self) -> dict[str, object]:
        return {"operator": self.operator, **dict(self.params)}

    def build(self, slot: Slot) -> nn.Module:
        """The operator, freshly initialised, at the slot's channels and geometry; ValueError where it does not fit."""
        try:
            return OPERATORS[self.operator](
                slot.in_channels,
                slot.out_channels,
                slot.kernel_size,
                slot.stride,
                slot.padding,
                dilation=slot.dilation,
                **dict(self.params),
            )
        except ValueError as error:
            raise ValueError(f"slot {slot.name!r}: {error}") from None

    def resolved(self, slot: Slot) -> "Choice":
        """Every hyper-parameter written out; CompConv's depth 0 is the vanilla convolution."""
        choice = Choice.of(self.operator, **OPERATORS[self.operator].resolved(slot.in_channels, **dict(self.params)))
        return VANILLA if choice == Choice.of("compconv", depth=0) else choice

    def stand_in(self, slot: Slot) -> "Choice":
        """The nearest choice that the slot's channels can hold; this one where they can."""
        params = OPERATORS[self.operator].stand_in(slot.in_channels, slot.out_channels, **dict(self.params))
        return Choice.of(self.operator, **params)

    def __str__(self) -> str:
        values = ", ".join(f"{name}={Fraction(value).limit_denominator(1024)}" for name, value in self.params)
        return f"{self.operator}({values})" if values else self.operator


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
