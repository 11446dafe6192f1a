"""Depthwise 1×1 convolutions as what they are, a factor for each channel: torch may take a call for each channel."""

import copy

import torch
from torch import Tensor, nn


class ChannelScale(nn.Module):
    """``weight * x + bias`` per channel, at every ``stride``-th pixel: ``(B, C, H, W)`` → ``(B, C, H', W')``."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.stride = conv.stride
        self.weight = nn.Parameter(conv.weight.detach().view(-1, 1, 1).clone(), requires_grad=False)
        bias = torch.zeros_like(conv.weight[:, 0, 0, 0]) if conv.bias is None else conv.bias
        self.bias = nn.Parameter(bias.detach().view(-1, 1, 1).clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, x[:, :, :: self.stride[0], :: self.stride[1]], self.weight)


def scaled(module: nn.Module) -> nn.Module | None:
    """A copy, in eval mode, with a ``ChannelScale`` for each depthwise 1×1 convolution; ``None`` if it has none."""
    found = [name for name, m in module.named_modules() if type(m) is nn.Conv2d and _is_scale(m)]
    if not found:
        return None
    module = copy.deepcopy(module).eval()
    for name in found:
        conv = module.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        module.set_submodule(name, ChannelScale(conv))
    return module


def _is_scale(conv: nn.Conv2d) -> bool:
    depthwise = conv.groups == conv.in_channels == conv.out_channels
    return depthwise and conv.kernel_size == (1, 1) and conv.padding in ((0, 0), "same", "valid")
