"""How far each choice alone moves a trained network: known before any candidate is judged, in a minute."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .operators import Operator
from .operators.inheriting import channel_means, evaluating
from .slots import VANILLA, Choice, Slot, find_slots
from .space import Space


@torch.no_grad()
def sensitivity(space: Space, dense: nn.Module, images: Tensor) -> list[list[float]]:
    """The mean KL divergence, in nats, from the trained network's predictions when one variable has an option.

    The sensitivity of ZeroQ (Cai et al., CVPR 2020, Section 3.2), of an operator in place of a bit width: all other
    layers stay as they are, the operators start in closed form from the kernels that they replace
    (``Operator.inherit``). That of the vanilla convolution is 0. Deterministic; ``dense`` stays as it is.

    Args:
        dense: the trained vanilla network of the space's backbone, or its proxy: for a choice that its channels can't
            hold the one that stands in for it counts.
        images: normalised, ``(B, 3, H, W)``; a few hundred are enough. What the convolutions give is in memory at once.

    Returns:
        Of each variable ``(options,)``.
    """
    devices = [images.device] if images.is_cuda else []
    with evaluating(dense), torch.random.fork_rng(devices):
        torch.manual_seed(0)  # an operator's first weights count for nothing, or should
        trained = _Trained.of(dense, images, {n: s for n, s in find_slots(dense).items() if n in space.slots})
        known: dict[_Chosen, float] = {}
        found = []
        for variable in space.variables:
            keys = [trained.replaced(dict(zip(variable.slots, o.choices, strict=True))) for o in variable.options]
            known |= {key: trained.divergence(key) for key in dict.fromkeys(keys)}
            found.append([known[key] for key in keys])
    return found


_Chosen = tuple[tuple[str, Choice], ...]
_Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]


@dataclass(frozen=True)
class _Trained:
    """``outputs``: what the convolutions of ``slots`` give; ``expected``: the log of what the network predicts."""

    network: nn.Module
    images: Tensor
    slots: Mapping[str, Slot]
    outputs: Mapping[str, Tensor]
    expected: Tensor

    @classmethod
    def of(cls, network: nn.Module, images: Tensor, slots: Mapping[str, Slot]) -> "_Trained":
        outputs: dict[str, Tensor] = {}
        with _hooked(network, {name: _keeping(name, outputs) for name in slots}):
            expected = F.log_softmax(network(images), dim=1)
        return cls(network, images, slots, outputs, expected)

    def replaced(self, choices: Mapping[str, Choice]) -> _Chosen:
        """What is no longer vanilla, as these channels can hold it."""
        held = {name: choice.stand_in(self.slots[name]) for name, choice in choices.items()}
        return tuple((name, choice) for name, choice in held.items() if choice != VANILLA)

    def divergence(self, chosen: _Chosen) -> float:
        """Of ``expected`` from what the network predicts with these operators."""
        if not chosen:
            return 0.0
        operators = {name: choice.build(self.slots[name]).to(self.images.device).eval() for name, choice in chosen}
        with _hooked(self.network, {n: _replacing(o, self.outputs[n]) for n, o in operators.items()}):
            predicted = F.log_softmax(self.network(self.images), dim=1)
        return max(0.0, F.kl_div(predicted, self.expected, reduction="batchmean", log_target=True).item())


def _keeping(name: str, outputs: dict[str, Tensor]) -> _Hook:
    def keep(conv: nn.Module, read: tuple[Tensor, ...], given: Tensor) -> None:
        outputs[name] = given.clone()

    return keep


def _replacing(operator: nn.Module, target: Tensor) -> _Hook:
    """What the operator gives, with the dense outputs' means: the BatchNorm behind would take what differs."""

    def replace(conv: nn.Module, read: tuple[Tensor, ...], given: Tensor) -> Tensor:
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(operator, Operator)
        operator.inherit(conv.weight, read[0], target)
        own = operator(read[0])
        moved: Tensor = own + (channel_means(target) - channel_means(own))[:, None, None]
        return moved

    return replace


@contextmanager
def _hooked(network: nn.Module, hooks: Mapping[str, _Hook]) -> Iterator[None]:
    handles = [network.get_submodule(name).register_forward_hook(hook) for name, hook in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
