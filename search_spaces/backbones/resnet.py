"""ResNets of *Deep Residual Learning* (He et al., CVPR 2016), every module named as torchvision names it."""

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ..operators.base import he_init

Stem = Literal["imagenet", "small", "cifar"]


def _conv(w_in: int, w_out: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    return he_init(nn.Conv2d(w_in, w_out, kernel_size, stride, kernel_size // 2, bias=False))


class PadShortcut(nn.Module):
    """Option A: every ``stride``-th pixel, missing channels are zero. No parameters."""

    def __init__(self, w_in: int, w_out: int, stride: int) -> None:
        super().__init__()
        self.missing, self.stride = w_out - w_in, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))


def _shortcut(w_in: int, w_out: int, stride: int, pad: bool) -> nn.Module | None:
    if stride == 1 and w_in == w_out:
        return None
    if pad:
        return PadShortcut(w_in, w_out, stride)
    return nn.Sequential(_conv(w_in, w_out, 1, stride), nn.BatchNorm2d(w_out))


class BasicBlock(nn.Module):
    """3×3, 3×3. The last BatchNorm starts at zero, so that the block starts as the identity.

    With parameter-free shortcuts it starts at a half: a network of identities alone has nothing to learn shapes from
    (measured on ResNet-20: 10% after 192 steps that give 77% so).
    """

    expansion = 1

    def __init__(self, w_in: int, width: int, stride: int, pad_shortcut: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(w_in, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(w_in, width, stride, pad_shortcut)
        nn.init.constant_(self.bn2.weight, 0.5 if pad_shortcut else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + identity)


class Bottleneck(nn.Module):
    """1×1, 3×3 (which strides, as in torchvision), 1×1. The last BatchNorm starts at zero."""

    expansion = 4

    def __init__(self, w_in: int, width: int, stride: int, pad_shortcut: bool) -> None:
        super().__init__()
        w_out = width * self.expansion
        self.conv1, self.bn1 = _conv(w_in, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, w_out, 1), nn.BatchNorm2d(w_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(w_in, w_out, stride, pad_shortcut)
        nn.init.zeros_(self.bn3.weight)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.bn3(self.conv3(out)) + identity)


class ResNet(nn.Module):
    """Images ``(B, 3, H, W)`` → logits ``(B, classes)``.

    Args:
        depths: blocks in each stage.
        widths: channels of each stage's 3×3 convolutions.
        stem: ``imagenet``: 7×7 stride 2 and max-pool; ``small`` (inputs of 64 pixels and less): 3×3 stride 2, no
            max-pool; ``cifar``: 3×3 stride 1, no max-pool.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        widths: Sequence[int],
        classes: int,
        stem: Stem,
        pad_shortcut: bool = False,
    ) -> None:
        super().__init__()
        w_in = widths[0]
        kernel, stride = {"imagenet": (7, 2), "small": (3, 2), "cifar": (3, 1)}[stem]
        self.conv1, self.bn1 = _conv(3, w_in, kernel, stride), nn.BatchNorm2d(w_in)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem == "imagenet" else nn.Identity()
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            strides = [1 if i == 0 else 2] + [1] * (depth - 1)
            blocks = []
            for s in strides:
                blocks.append(block(w_in, width, s, pad_shortcut))
                w_in = width * block.expansion
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.stages = len(depths)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(w_in, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for i in range(self.stages):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.fc(self.avgpool(x).flatten(1))


def _scaled(widths: Sequence[int], width: float) -> list[int]:
    return [max(1, round(w * width)) for w in widths]


def resnet50(classes: int = 1000, width: float = 1.0, resolution: int = 224) -> ResNet:
    """ResNet-50 (Table 1 of the paper); ``width`` scales every channel count."""
    return ResNet(Bottleneck, [3, 4, 6, 3], _scaled([64, 128, 256, 512], width), classes, _stem(resolution))


def resnet18(classes: int = 1000, width: float = 1.0, resolution: int = 224) -> ResNet:
    """ResNet-18 (Table 1 of the paper); ``width`` scales every channel count."""
    return ResNet(BasicBlock, [2, 2, 2, 2], _scaled([64, 128, 256, 512], width), classes, _stem(resolution))


def resnet50_cifar(classes: int = 100, width: float = 1.0, resolution: int = 32) -> ResNet:
    """ResNet-50 with a 3×3 stem of stride 1, as small images take it; ``resolution`` changes nothing."""
    return ResNet(Bottleneck, [3, 4, 6, 3], _scaled([64, 128, 256, 512], width), classes, "cifar")


def resnet18_cifar(classes: int = 100, width: float = 1.0, resolution: int = 32) -> ResNet:
    """ResNet-18 with a 3×3 stem of stride 1, as small images take it; ``resolution`` changes nothing."""
    return ResNet(BasicBlock, [2, 2, 2, 2], _scaled([64, 128, 256, 512], width), classes, "cifar")


def resnet20(classes: int = 10, width: float = 1.0, resolution: int = 32) -> ResNet:
    """ResNet-20 for CIFAR (Section 4.2 of the paper), with shortcuts of option A; ``resolution`` changes nothing."""
    return ResNet(BasicBlock, [3, 3, 3], _scaled([16, 32, 64], width), classes, "cifar", pad_shortcut=True)


def _stem(resolution: int) -> Stem:
    return "imagenet" if resolution > 64 else "small"
