"""The full training of a detector on a folder as COCO's, evaluated as COCO is: ``pycocotools``."""

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import tv_tensors
from torchvision.transforms import v2

from search_spaces.checks import BadInput
from search_spaces.detectors import FIRST_LABEL
from search_spaces.late import Late

from ..data.base import digest
from ..data.imagefolder import opened
from ..turns import give_way
from .augmentation import augmentation_of_boxes
from .data import HELD_OUT, Order, training_batches
from .training import FullTraining

Target = dict[str, Any]
Item = tuple[Tensor, Target]
LEAST_PX = 1.0  # a box's sides
PARTS = {"train": "train2017", "val": "val2017"}
EVALUATION_BATCH = 4
_COCO = Late("pycocotools.coco", "COCO")
_COCOeval = Late("pycocotools.cocoeval", "COCOeval")


@dataclass(frozen=True)
class DetectionScores:
    """COCO's: the mean average precision over IoU 0.5 to 0.95, and at 0.5 and 0.75; each in [0, 1]."""

    ap: float
    ap50: float
    ap75: float
    main: ClassVar[str] = "ap"

    def said(self) -> str:
        return f"AP {self.ap:.1%}, AP50 {self.ap50:.1%}, AP75 {self.ap75:.1%}"


class Boxes(Dataset[Item]):
    """Images with their boxes: float ``(3, H, W)`` in [0, 1]; ``boxes`` XYXY in pixels, ``labels``, ``image_id``.

    Crowds are left out.
    """

    def __init__(self, folder: Path, coco: Any, ids: Sequence[int], labels: Mapping[int, int]) -> None:
        self.folder, self.coco, self.ids, self.labels = folder, coco, list(ids), dict(labels)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Item:
        number = self.ids[index]
        path = self.folder / self.coco.loadImgs(number)[0]["file_name"]
        image = tv_tensors.Image(v2.functional.pil_to_tensor(opened(path)))
        found = boxes_of(self.coco, number)
        corners = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in found)]).reshape(-1, 4)
        boxes = tv_tensors.BoundingBoxes(corners.float(), format="XYXY", canvas_size=image.shape[-2:])
        labels = torch.tensor([self.labels[a["category_id"]] for a in found], dtype=torch.int64)
        return image, {"boxes": boxes, "labels": labels, "image_id": number}


def boxes_of(coco: Any, number: int) -> list[dict[str, Any]]:
    """The annotations of an image that can be trained on."""
    found = coco.loadAnns(coco.getAnnIds(imgIds=number, iscrowd=False))
    return [a for a in found if min(a["bbox"][2:]) >= LEAST_PX]


@dataclass(frozen=True)
class DetectionData:
    """``classes`` counts objects, not the background; ``categories``: label → COCO's own number of it.

    ``digest`` is a hash of which images there are.
    """

    name: str
    classes: int
    train: Boxes
    validation: Boxes
    test: Boxes
    categories: Mapping[int, int]
    digest: str = ""


def load_coco(data_root: Path | None, detector: str, all_images: bool) -> DetectionData:
    """``annotations/instances_train2017.json``, ``train2017/``, and the same for ``val2017``, which is the test.

    One of ten training images is held out for validation, whatever is trained on then.

    Raises:
        BadInput: the folder is none such, or pycocotools is not there.
    """
    if find_spec("pycocotools") is None:
        raise BadInput("coco needs pycocotools: pip install 'layerwise-nas[detection]'")
    if data_root is None:
        raise BadInput("coco needs --data-root, a folder with annotations/, train2017/ and val2017/")
    train, test = (_annotations(data_root, part) for part in PARTS.values())
    numbers = sorted(train.getCatIds())
    labels = {number: label for label, number in enumerate(numbers, FIRST_LABEL[detector])}
    ids = sorted(number for number in train.getImgIds() if boxes_of(train, number))
    if len(ids) < 2:
        raise BadInput(f"{data_root}: two training images with boxes are needed at least, got {len(ids)}")
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(0)).tolist()
    count = max(1, len(ids) // HELD_OUT)
    held_out, rest = ([ids[i] for i in part] for part in (order[:count], order[count:]))
    parts = {
        "train": Boxes(data_root / PARTS["train"], train, ids if all_images else rest, labels),
        "validation": Boxes(data_root / PARTS["train"], train, held_out, labels),
        "test": Boxes(data_root / PARTS["val"], test, sorted(test.getImgIds()), labels),
    }
    found = digest([json.dumps([numbers, ids, sorted(test.getImgIds())]).encode()])
    return DetectionData("coco", len(numbers), **parts, categories={v: k for k, v in labels.items()}, digest=found)


def _annotations(root: Path, part: str) -> Any:
    path = root / "annotations" / f"instances_{part}.json"
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints how long it took
            return _COCO(str(path))
    except (OSError, json.JSONDecodeError, KeyError, AssertionError, TypeError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"{path}: can't be read as COCO's annotations: {said}") from None


class DetectorTraining(FullTraining):
    """As ``FullTraining``, of a detector of torchvision's, which resizes and normalises images itself."""

    data: DetectionData  # type: ignore[assignment]

    def _loading(self) -> tuple[Order, DataLoader[Any]]:
        transform, how = augmentation_of_boxes(self.recipe.augmentation), (self.recipe.batch, self.seed, self.loaders)
        return training_batches(self.data.train, transform, *how, self.team, collate_fn=list)

    def _step(self, batch: list[Item]) -> Tensor:
        total = torch.zeros((), device=self.device)
        size = -(-len(batch) // self.micro_batches)
        parts = [batch[i : i + size] for i in range(0, len(batch), size)]
        for i, part in enumerate(parts, 1):
            images, targets = self._moved(part)
            with contextlib.nullcontext() if i == len(parts) else self.team.apart(self.joined):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
                    losses = self.joined(images, targets)
                loss = sum(losses.values()) * (len(part) / len(batch))
                loss.backward()
            total += loss.detach()
        return total

    def _moved(self, part: Sequence[Item]) -> tuple[list[Tensor], list[Target]]:
        images = [image.as_subclass(Tensor).to(self.device) for image, _ in part]
        kept = ("boxes", "labels")
        return images, [{n: t[n].as_subclass(Tensor).to(self.device) for n in kept} for _, t in part]

    @torch.inference_mode()
    def scores(self, part: Boxes) -> DetectionScores:  # type: ignore[override]
        """Of the network that is kept, on ``part``, as COCO's program counts."""
        network = self.trained.eval()
        to_float = v2.ToDtype(torch.float32, scale=True)
        mine = Subset(part, range(self.team.rank, len(part), self.team.size))
        found: list[dict[str, Any]] = []
        for batch in DataLoader(mine, EVALUATION_BATCH, collate_fn=list, num_workers=self.loaders):
            images = [to_float(image).as_subclass(Tensor).to(self.device) for image, _ in batch]
            for (_, target), given in zip(batch, network(images), strict=True):
                found += self._results(target["image_id"], given)
            give_way()
        self.model.train()
        every = [result for results in self.team.gathered(found) for result in results]
        return evaluated(part, every)

    def _results(self, number: int, given: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        """As COCO's program reads them."""
        rows = zip(given["boxes"].tolist(), given["labels"].tolist(), given["scores"].tolist(), strict=True)
        return [
            {
                "image_id": number,
                "category_id": self.data.categories[label],
                "bbox": [x, y, x2 - x, y2 - y],
                "score": score,
            }
            for (x, y, x2, y2), label, score in rows
            if label in self.data.categories
        ]


def evaluated(part: Boxes, results: list[dict[str, Any]]) -> DetectionScores:
    """COCO's figures of these results; where nothing was found, zeros."""
    if not results:
        return DetectionScores(0.0, 0.0, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        counted = _COCOeval(part.coco, part.coco.loadRes(results), "bbox")
        counted.params.imgIds = part.ids
        counted.evaluate()
        counted.accumulate()
        counted.summarize()
    ap, ap50, ap75 = (max(0.0, float(value)) for value in counted.stats[:3])  # -1 where there is nothing to find
    return DetectionScores(ap, ap50, ap75)
