"""VGG-16 of *Very Deep Convolutional Networks* (Simonyan and Zisserman, ICLR 2015), in the forms that CIFAR takes."""

from collections import OrderedDict

from torch import Tensor, nn

from ..operators.base import he_init

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG(nn.Module):
    """Images ``(B, 3, H, W)`` → logits ``(B, classes)``: 13 convolutions of 3×3, each with BatchNorm and ReLU.

    Modules are named by stage: ``stage1.conv1`` to ``stage5.conv3``. Each stage ends in a max-pool, the last in a
    global average (of one pixel, at 32 pixels).

    Args:
        hidden: width of a fully connected layer, with BatchNorm and ReLU, before the last one; 0 leaves it out.
    """

    def __init__(self, classes: int, width: float, hidden: int) -> None:
        super().__init__()
        w_in = 3
        for i, stage in enumerate(STAGES):
            widths = [max(1, round(w * width)) for w in stage]
            self.add_module(f"stage{i + 1}", _stage(w_in, widths))
            w_in = widths[-1]
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential()
        if hidden:
            self.classifier.extend([nn.Linear(w_in, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)])
        self.classifier.append(nn.Linear(hidden or w_in, classes))

    def forward(self, x: Tensor) -> Tensor:
        for i in range(len(STAGES)):
            x = getattr(self, f"stage{i + 1}")(x)
        return self.classifier(self.avgpool(x).flatten(1))


def _stage(w_in: int, widths: list[int]) -> nn.Sequential:
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for j, width in enumerate(widths, start=1):
        modules[f"conv{j}"] = he_init(nn.Conv2d(w_in, width, 3, padding=1, bias=False))
        modules[f"bn{j}"] = nn.BatchNorm2d(width)
        modules[f"relu{j}"] = nn.ReLU(inplace=True)
        w_in = width
    modules["pool"] = nn.MaxPool2d(2, ceil_mode=True)  # a single pixel stays one
    return nn.Sequential(modules)


def vgg16(classes: int = 10, width: float = 1.0, resolution: int = 32) -> VGG:
    """CompConv's VGG-16: one fully connected layer (Section 4.2); ``resolution`` changes nothing."""
    return VGG(classes, width, hidden=0)


def vgg16_two_fc(classes: int = 10, width: float = 1.0, resolution: int = 32) -> VGG:
    """SPConv's VGG-16: two fully connected layers (Section 4.1); ``resolution`` changes nothing."""
    return VGG(classes, width, hidden=max(1, round(512 * width)))
