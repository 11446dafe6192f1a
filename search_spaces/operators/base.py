"""What all operators share: the signature of ``nn.Conv2d``, the 1×1 path's grid, and folding for deployment."""

import inspect
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .binary import in_floats
from .inheriting import NORMS, channel_means, evaluating, take_statistics
from .scaled import scaled

Size = int | tuple[int, int]
Setting = float | str | bool  # the value of a hyper-parameter: a number, a word, or on or off


def pair(value: Size) -> tuple[int, int]:
    """``3`` → ``(3, 3)``; a pair stays as it is."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def same(kernel_size: Size, dilation: Size = 1) -> tuple[int, int] | str:
    """The padding that keeps the size at stride 1: in numbers where they can say it (an even kernel's is uneven)."""
    reach = [d * (k - 1) for k, d in zip(pair(kernel_size), pair(dilation), strict=True)]
    return "same" if any(r % 2 for r in reach) else (reach[0] // 2, reach[1] // 2)


def he_init(conv: nn.Conv2d) -> nn.Conv2d:
    """He initialisation (fan-out), in place; nothing on the meta device, where there is nothing to fill."""
    if not conv.weight.is_meta:
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def conv_bn(in_channels: int, out_channels: int, kernel_size: Size, **geometry: Any) -> nn.Sequential:
    """A convolution without bias and its BatchNorm, He-initialised (fan-out)."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, bias=False, **geometry)
    return nn.Sequential(he_init(conv), nn.BatchNorm2d(out_channels))


def fold_conv_bn(block: nn.Sequential) -> None:
    """Turn the result of ``conv_bn`` into the convolution alone; one that is folded already stays as it is."""
    conv, bn = block
    assert isinstance(conv, nn.Conv2d)
    if isinstance(bn, nn.Identity):
        return
    assert isinstance(bn, nn.BatchNorm2d)
    rescale(conv, *scale_shift(bn))
    block[1] = nn.Identity()


class Operator(nn.Module):
    """A drop-in replacement for ``nn.Conv2d`` (with ``groups=1``): ``(B, C_in, H, W)`` → ``(B, C_out, H', W')``.

    ``H'`` and ``W'`` are those of ``nn.Conv2d`` with the same kernel, stride, padding and dilation, for every size.
    It has no bias, for there is a BatchNorm behind it most times, but ``add_bias`` gives it one.

    Args:
        padding: as in ``nn.Conv2d``; ``None`` keeps the size at stride 1 (odd kernels).

    Raises:
        ValueError: a size that no convolution has.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        padding: Size | None = None,
        *,
        dilation: Size = 1,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.dilation = pair(kernel_size), pair(stride), pair(dilation)
        sizes = (in_channels, out_channels, *self.kernel_size, *self.stride, *self.dilation)
        if min(sizes) < 1:
            raise ValueError(
                f"channels, kernel, stride and dilation must be at least 1, "
                f"got {in_channels} → {out_channels} channels, kernel {self.kernel_size}, "
                f"stride {self.stride}, dilation {self.dilation}"
            )
        reach = [d * (k - 1) for k, d in zip(self.kernel_size, self.dilation, strict=True)]
        self.padding = (reach[0] // 2, reach[1] // 2) if padding is None else pair(padding)
        if min(self.padding) < 0:
            raise ValueError(f"padding must be at least 0, got {self.padding}")
        top, left = (p - r // 2 for p, r in zip(self.padding, reach, strict=True))
        bottom, right = (p - (r - r // 2) for p, r in zip(self.padding, reach, strict=True))
        self.margins = (left, right, top, bottom)
        self.bias: nn.Parameter | None
        self.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        out = self._forward(x)
        return out if self.bias is None else out + self.bias[:, None, None]

    def _forward(self, x: Tensor) -> Tensor:
        """Without the bias."""
        raise NotImplementedError

    def add_bias(self, values: Tensor) -> None:
        """Where a convolution's would be lost: no BatchNorm behind normalises it away. ``values`` are ``(C_out,)``."""
        self.bias = nn.Parameter(values.detach().clone())

    def on_output_grid(self, x: Tensor) -> Tensor:
        """``x`` as a 1×1 path sees it, at the size of the output: ``(B, C, H, W)`` → ``(B, C, H', W')``.

        Average pooling over ``stride × stride`` cells, the last row and column of an odd size over what is there.
        Unusual paddings crop or pad first, so that a cell lies where the centre of the k×k kernel lies.
        """
        return pooled(x, self.margins, self.stride)

    def at_output_points(self, x: Tensor) -> Tensor:
        """``x`` where the centre of the k×k kernel lies, at the size of the output: every ``stride``-th pixel."""
        if any(self.margins):
            x = F.pad(x, self.margins)
        return x[:, :, :: self.stride[0], :: self.stride[1]]

    def fold(self, following: nn.BatchNorm2d | None) -> bool:
        """Turn this module, in eval mode, into its inference form: no BatchNorm that can be folded is left.

        One that is in its inference form already folds what is behind it.

        Args:
            following: the network's BatchNorm behind this operator, if any.

        Returns:
            Whether ``following`` was absorbed too; if so the caller removes it.
        """
        raise NotImplementedError

    def forms(self, size: tuple[int, int], on_gpu: bool) -> dict[str, nn.Module]:
        """Other inference forms of this operator, folded before: the same function, computed in other ways, by name.

        Each is a module in eval mode, ``(B, C_in, H, W)`` → ``(B, C_out, H', W')``, with weights of its own. Which one
        is fastest, if any is faster than the operator, depends on the machine. What isn't exact is left out.

        Args:
            size: (H, W) of the input; the forms hold for no other one.
            on_gpu: whether they are to run on an NVIDIA GPU.
        """
        form = scaled(self)
        return {} if form is None else {"scaled": form}

    def graph_forms(self, size: tuple[int, int]) -> dict[str, nn.Module]:
        """As ``forms``, of nodes that a graph for another runtime can have: nothing is done in place."""
        return {}

    @torch.no_grad()
    def inherit(self, weight: Tensor, inputs: Tensor, outputs: Tensor) -> None:
        """Start from a trained dense convolution: come as near to its outputs as this operator can, without training.

        Afterwards the output is that of the dense layer, in scale too, but for a constant in each channel where the
        operator has no BatchNorm of its own: its bias, or the BatchNorm behind, takes it. Binary convolutions take the
        weights that fit in floating point, and statistics of what they read.

        Args:
            weight: the dense kernel, ``(C_out, C_in, kh, kw)``.
            inputs, outputs: what the dense layer reads and gives, ``(B, C_in, H, W)`` and ``(B, C_out, H', W')``.
        """
        with evaluating(self):
            with in_floats(self) as binary:
                self._inherit(weight, inputs, outputs)
            if binary:
                take_statistics(self, inputs, [m for m in self.modules() if isinstance(m, NORMS)])
            if self.bias is not None:
                self.bias.copy_(channel_means(outputs) - channel_means(self._forward(inputs)))

    def _inherit(self, weight: Tensor, inputs: Tensor, outputs: Tensor) -> None:
        """``inherit``, by the operator itself: in eval mode, without gradients, all its convolutions in floats."""
        raise NotImplementedError

    @classmethod
    def hyper_parameters(cls) -> dict[str, inspect.Parameter]:
        """The operator's own hyper-parameters: its keyword-only arguments but ``dilation``."""
        parameters = inspect.signature(cls.__init__).parameters.values()
        return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "dilation"}

    @classmethod
    def resolved(cls, in_channels: int, /, **params: Any) -> dict[str, Any]:
        """Every number written out, defaults included; a word or a switch only where it differs from its default."""
        defaults = {name: p.default for name, p in cls.hyper_parameters().items()}
        return {
            name: value
            for name, value in (defaults | params).items()
            if value is not None and not (isinstance(value, (str, bool)) and value == defaults[name])
        }

    @classmethod
    def stand_in(cls, in_channels: int, out_channels: int, /, **params: Any) -> dict[str, Any]:
        """The nearest hyper-parameters that these channels can hold; ``params``, resolved, where they can."""
        return params


def pooled(x: Tensor, margins: tuple[int, int, int, int], stride: tuple[int, int]) -> Tensor:
    """What ``Operator.on_output_grid`` does, margins being (left, right, top, bottom)."""
    if any(margins):
        x = F.pad(x, margins)
    if stride != (1, 1):
        x = F.avg_pool2d(x, stride, stride, ceil_mode=True, count_include_pad=False)
    return x


def require_groups(operator: str, groups: int, *channels: int) -> None:
    """Raise a ValueError unless ``groups`` divides all ``channels``."""
    if not isinstance(groups, int) or groups < 1:
        raise ValueError(f"{operator}: groups must be an integer of at least 1, got {groups!r}")
    if any(c % groups for c in channels):
        raise ValueError(f"{operator}: groups must divide the channels, got groups={groups} for {channels}")


def nearest_groups(groups: int, *channels: int) -> int:
    """The largest number, at most ``groups``, that divides all ``channels``."""
    common = math.gcd(*channels)
    return max(g for g in range(1, common + 1) if common % g == 0 and g <= groups)


def scale_shift(bn: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The per-channel ``(scale, shift)`` that ``bn`` applies in eval mode; each ``(C,)``."""
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError(
            "a BatchNorm without running statistics can't be folded: build it with track_running_stats=True"
        )
    scale = torch.rsqrt(bn.running_var + bn.eps) * (1.0 if bn.weight is None else bn.weight)
    shift = -bn.running_mean * scale + (0.0 if bn.bias is None else bn.bias)
    return scale.detach(), shift.detach()


def rescale(conv: nn.Conv2d | nn.Linear, scale: Tensor, shift: Tensor | None = None) -> None:
    """Make ``conv`` return ``scale * conv(x) + shift`` per output channel; of several that are summed, one shifts."""
    per_output = scale.view(-1, *[1] * (conv.weight.dim() - 1))
    conv.weight = nn.Parameter(conv.weight.detach() * per_output, requires_grad=False)
    if conv.bias is not None:
        shift = conv.bias.detach() * scale + (0 if shift is None else shift)
    conv.bias = None if shift is None else nn.Parameter(shift, requires_grad=False)


def absorb(conv: nn.Conv2d, following: nn.BatchNorm2d | None) -> bool:
    """Fold the BatchNorm behind ``conv``, if there is one, into it; returns whether there was one."""
    if following is not None:
        rescale(conv, *scale_shift(following))
    return following is not None
