"""torchvision's detectors, with a feature pyramid, on a ResNet of ours: converted, or not.

Faster R-CNN (Ren et al., 2015) and RetinaNet (Lin et al., 2017), both on FPN (Lin et al., 2017), as both papers do.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool, LastLevelP6P7

from .checks import BadInput, require_known

FPN_CHANNELS = 256
PROPOSALS = 1000  # that an image's second stage sees, in MMDetection


def faster_rcnn(body: nn.Module, classes: int = 81) -> FasterRCNN:
    """Faster R-CNN; ``classes`` counts the background.

    Args:
        body: a ResNet with stages ``layer1`` to ``layer4``, such as ``Architecture.build`` returns.

    Raises:
        ValueError: a body without these stages.
    """
    return FasterRCNN(_pyramid(body, [1, 2, 3, 4], LastLevelMaxPool()), num_classes=classes)


def retinanet(body: nn.Module, classes: int = 80) -> RetinaNet:
    """RetinaNet, from the second stage on; its sigmoid has no class for the background."""
    return RetinaNet(_pyramid(body, [2, 3, 4], LastLevelP6P7(FPN_CHANNELS, FPN_CHANNELS)), num_classes=classes)


DETECTORS: dict[str, Callable[..., nn.Module]] = {"faster_rcnn": faster_rcnn, "retinanet": retinanet}
FIRST_LABEL = {"faster_rcnn": 1, "retinanet": 0}  # of an object: 0 is the background, where there is one


def require_detector(name: str) -> None:
    """BadInput where there is none of the name."""
    require_known("detector", name, DETECTORS)


def detector_on(name: str, body: nn.Module, objects: int = 80) -> nn.Module:
    """A detector by name, on this body, for so many classes of objects.

    Raises:
        BadInput: there is none of the name, or the body is no ResNet.
    """
    require_detector(name)
    return DETECTORS[name](body, objects + FIRST_LABEL[name])


class Inference(nn.Module):
    """What a detector computes for an image ``(B, 3, H, W)``, always alike, so that it can be counted and timed.

    The pyramid, and the heads on it; of Faster R-CNN the second stage with ``PROPOSALS`` proposals, as MMDetection has
    them. Without what depends on what is seen: choosing among proposals, pooling them, leaving out doubles.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        known: Any = detector
        self.backbone = known.backbone
        if isinstance(detector, FasterRCNN):
            self.head = known.rpn.head
            self.box_head, self.box_predictor = known.roi_heads.box_head, known.roi_heads.box_predictor
            self.pooled = known.roi_heads.box_roi_pool.output_size
        else:
            self.head, self.pooled = known.head, None

    def forward(self, images: Tensor) -> list[Any]:
        """What the heads give, in whatever order and nesting."""
        features = list(self.backbone(images).values())
        found = [self.head(features)]
        if self.pooled is not None:
            proposals = features[0].new_zeros(PROPOSALS, FPN_CHANNELS, *self.pooled)
            found.append(self.box_predictor(self.box_head(proposals)))
        return found


def _pyramid(body: nn.Module, stages: list[int], extra: ExtraFPNBlock) -> BackboneWithFPN:
    """The body up to its last stage, with a pyramid over the given ones."""
    missing = [f"layer{stage}" for stage in range(1, 5) if not hasattr(body, f"layer{stage}")]
    if missing:
        raise BadInput(f"a detector needs a ResNet with the stages layer1 to layer4, got one without {missing[0]}")
    returned = {f"layer{stage}": str(i) for i, stage in enumerate(stages)}
    norms = [[m for m in getattr(body, name).modules() if isinstance(m, nn.BatchNorm2d)] for name in returned]
    widths = [in_stage[-1].num_features for in_stage in norms]
    return BackboneWithFPN(body, returned, widths, FPN_CHANNELS, extra)
