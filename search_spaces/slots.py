"""Slots and choices: which convolutions of a network can be replaced, by what, and doing it."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args, get_origin

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from .checks import BadInput, number, require_known
from .folding import normalised
from .operators import OPERATORS, Operator, Setting, binarize


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
    def of(cls, operator: str, **params: object) -> "Choice":
        """Numbers may be NumPy's, or fractions in a string (``"1/4"``)."""
        kinds = cls(operator, tuple((name, 0) for name in params))._kinds()
        values = {n: _setting(n, v, kinds.get(n, bool)) for n, v in params.items()}
        return cls(operator, tuple(sorted(values.items())))

    @classmethod
    def from_dict(cls, entry: Mapping[str, object]) -> "Choice":
        """``{"operator": "spconv", "alpha": "1/4", "groups": 2}`` → a choice; numbers may be written as fractions."""
        if not isinstance(entry, Mapping) or "operator" not in entry:
            raise BadInput(f"a choice is a mapping with 'operator' and its hyper-parameters, got {entry!r}")
        return cls.of(str(entry["operator"]), **{str(n): v for n, v in entry.items() if n != "operator"})

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


def _setting(name: str, value: object, kind: Any) -> Any:
    """What a person says, as the hyper-parameter's type: a switch, one of some words, a number, none where allowed."""
    if value is None and type(None) in get_args(kind):
        return value
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
    """All replaceable convolutions, by their first name, in the network's order: dense, zero-padded ``nn.Conv2d``.

    The inside of an operator is none: it has been replaced. A network that has neither slots nor operators is worth a
    warning, which says what its convolutions are.
    """
    inside = _inside_operators(model)
    found = {
        name: _slot(name, module)
        for name, module in model.named_modules()
        if type(module) is nn.Conv2d and module not in inside and _obstacle(module) is None
    }
    if not found and not inside:
        warnings.warn(why_no_slots(model), stacklevel=2)
    return found


@torch.no_grad()
def called_once(model: nn.Module, names: Iterable[str], image: torch.Tensor) -> set[str]:
    """Those modules that a pass in eval mode calls exactly once; others cost nothing, or several times as much."""
    calls = dict.fromkeys(names, 0)

    def counting(name: str) -> Callable[[nn.Module, Any], None]:
        def count(module: nn.Module, read: Any) -> None:
            calls[name] += 1

        return count

    handles = [model.get_submodule(name).register_forward_pre_hook(counting(name)) for name in calls]
    before = model.training
    try:
        model.eval()(image)
    finally:
        model.train(before)
        for handle in handles:
            handle.remove()
    return {name for name, count in calls.items() if count == 1}


def convert(model: nn.Module, choices: "Mapping[str, Choice | str | Mapping[str, object]]") -> nn.Module:
    """Replace convolutions of ``model``, in place, and return it; a convolution alone is replaced by what is returned.

    Works on any network. The vanilla choice leaves a convolution as it is, weights included; every other operator
    starts freshly initialised, in the convolution's mode, data type and memory layout, on its device, trainable where
    it is, and under all names that it has. A bias stays where no BatchNorm behind the convolution normalises it away.
    Hooks go with the convolution, with a warning.

    Args:
        choices: by slot: a choice, an operator's name, or a mapping as in a YAML (``{"operator": "spconv", …}``).

    Raises:
        ValueError: a name that is no slot of the network, a choice that does not fit its slot, or two choices for one
            convolution.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    inside, built = _inside_operators(model), dict[nn.Module, tuple[str, Choice, nn.Module]]()
    for name, asked in choices.items():
        choice, module = _as_choice(name, asked), _required(model, modules, name)
        obstacle = "it is inside an operator" if module in inside else _obstacle(module)
        if obstacle:
            raise BadInput(f"slot {name!r} can't be replaced: {obstacle}")
        other, before, _ = built.get(module, (name, choice, module))
        if before != choice:
            raise BadInput(f"slots {other!r} and {name!r} are one convolution: got {before} and {choice} for it")
        if module not in built:
            operator = module if choice == VANILLA else choice.build(_slot(name, module))
            built[module] = (name, choice, operator)
    replaced = {conv: operator for conv, (_, _, operator) in built.items() if operator is not conv}
    biased = any(conv.bias is not None for conv in replaced)
    without = _normalised(model) if biased else set()
    for conv, operator in replaced.items():
        _take_over(operator, conv, with_bias=conv not in without)
        for path in [name for name, module in modules.items() if module is conv]:
            parent, _, leaf = path.rpartition(".")
            if path:
                setattr(modules[parent], leaf, operator)
    hooked = [built[conv][0] for conv in replaced if _has_hooks(conv)]
    if hooked:
        warnings.warn(f"convert: hooks of {', '.join(hooked)} are gone with the convolutions", stacklevel=2)
    return replaced.get(model, model)


def _as_choice(name: str, asked: object) -> Choice:
    if isinstance(asked, Choice):
        return asked
    if isinstance(asked, str):
        return Choice.of(asked)
    if isinstance(asked, Mapping):
        return Choice.from_dict(asked)
    raise BadInput(f"slot {name!r}: a choice, an operator's name or a mapping is needed, got {asked!r}")


def _required(model: nn.Module, modules: Mapping[str, nn.Module], name: str) -> nn.Module:
    """The module of that name."""
    if name not in modules:
        with warnings.catch_warnings(action="ignore"):
            slots = find_slots(model)
        if not slots:
            raise BadInput(f"unknown slot {name!r}: {why_no_slots(model)}")
        require_known("slot", name, slots)
    return modules[name]


def why_no_slots(model: nn.Module) -> str:
    """What the convolutions of a network without slots are, and why none can be replaced."""
    inside = _inside_operators(model)
    convs = [m for m in model.modules() if isinstance(m, _ConvNd) and m not in inside]
    found = Counter(f"{type(m).__name__}: {_obstacle(m)}" for m in convs)
    said = "; ".join(f"{count} × {what}" for what, count in found.most_common(4)) or "it has none"
    return f"no convolution of {type(model).__name__} can be replaced: {said}"


def _inside_operators(model: nn.Module) -> set[nn.Module]:
    return {m for operator in model.modules() if isinstance(operator, Operator) for m in operator.modules()}


def _normalised(model: nn.Module) -> set[nn.Module]:
    """Convolutions whose bias a BatchNorm takes away; none where the network can't be followed."""
    try:
        return {model.get_submodule(name) for name in normalised(model)}
    except BadInput:
        return set()


def _take_over(operator: nn.Module, conv: nn.Module, with_bias: bool) -> None:
    """The convolution's mode, type, layout, device, whether it is trained, and its bias, if that counts."""
    assert isinstance(operator, Operator)
    assert isinstance(conv, nn.Conv2d)
    weight = conv.weight
    if conv.bias is not None and with_bias:
        operator.add_bias(conv.bias)
    operator.to(device=weight.device, dtype=weight.dtype).train(conv.training)
    if not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last):
        operator.to(memory_format=torch.channels_last)
    if not weight.requires_grad:
        operator.requires_grad_(requires_grad=False)


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def _obstacle(conv: nn.Module) -> str | None:
    """Why a module is no slot."""
    if nn.utils.parametrize.is_parametrized(conv):
        return "it is parametrized (weight norm, for instance): remove that first"
    if type(conv) is not nn.Conv2d:
        return "it is no nn.Conv2d"
    if conv.groups != 1:
        return f"it has {conv.groups} groups"
    if conv.padding_mode != "zeros":
        return f"it pads with {conv.padding_mode!r}"
    if isinstance(conv.padding, str):
        return f"its padding is {conv.padding!r}, not numbers"
    return None


def _slot(name: str, conv: nn.Module) -> Slot:
    assert isinstance(conv, nn.Conv2d)
    geometry = (conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    return Slot(name, conv.in_channels, conv.out_channels, *((v[0], v[1]) for v in geometry))  # type: ignore[arg-type]
