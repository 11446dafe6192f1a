"""A detector with a converted backbone is trained on a folder as COCO's, and evaluated by COCO's own program."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from search_spaces import build
from search_spaces.checks import BadInput
from search_spaces.operators import Operator
from trainers.full.__main__ import main
from trainers.full.augmentation import augmentation_of_boxes, resizing
from trainers.full.detection import Boxes, DetectionScores, DetectorTraining, evaluated, load_coco
from trainers.full.recipe import FULL_RECIPES, sized

SIDE, CATEGORIES = 64, (3, 17)  # COCO's numbers have gaps
RECIPE = {
    **{"dataset": "coco", "epochs": 2, "batch": 4, "lr": 0.005, "lr_steps": [], "lr_divisor": 10, "momentum": 0.9},
    **{"weight_decay": 1e-4, "augmentation": ["resize 64 107", "horizontal_flip"], "source": "a test"},
}
BACKBONE = {"name": "resnet18", "classes": 2, "resolution": SIDE, "width": 0.25}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright rectangles on noise: red ones are of one category, blue ones of the other."""
    root = tmp_path_factory.mktemp("coco")
    rng = np.random.default_rng(0)
    for part, count in (("train2017", 24), ("val2017", 6)):
        (root / part).mkdir()
        (root / "annotations").mkdir(exist_ok=True)
        images, annotations = [], []
        for number in range(1, count + 1):
            pixels = rng.integers(80, size=(SIDE, SIDE, 3)).astype(np.uint8)
            for i in range(number % 3):  # some have none
                x, y, w, h = (int(v) for v in (*rng.integers(30, size=2), *rng.integers(15, 30, size=2)))
                pixels[y : y + h, x : x + w, 2 * (i % 2)] = 255
                box = {"bbox": [x, y, w, h], "area": w * h, "category_id": CATEGORIES[i % 2]}
                annotations.append({"id": len(annotations) + 1, "image_id": number, "iscrowd": 0, **box})
            crowd = {"bbox": [0, 0, 9, 9], "area": 81, "category_id": 3, "iscrowd": 1}
            annotations.append({"id": len(annotations) + 1, "image_id": number, "segmentation": [], **crowd})
            Image.fromarray(pixels).save(root / part / f"{number}.png")
            images.append({"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE})
        categories = [{"id": c, "name": str(c)} for c in CATEGORIES]
        found = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(found))
    return root


@pytest.fixture(params=["faster_rcnn", "retinanet"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    layers = {"layer2.0.conv2": {"operator": "spconv", "alpha": "1/4", "groups": 2}}
    document = {"backbone": {**BACKBONE, "detector": request.param}, "layers": layers, "training": RECIPE}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(document))
    return tmp_path / "a.yaml"


def test_images_without_boxes_and_crowds_are_not_trained_on(root: Path) -> None:
    data = load_coco(root, "faster_rcnn", all_images=False)
    assert data.classes == 2
    assert data.categories == {1: 3, 2: 17}
    assert load_coco(root, "retinanet", all_images=False).categories == {0: 3, 1: 17}
    assert (len(data.train), len(data.validation), len(data.test)) == (15, 1, 6)
    assert len(load_coco(root, "faster_rcnn", all_images=True).train) == 16
    image, target = data.train[0]
    assert image.shape == (3, SIDE, SIDE)
    assert target["boxes"].shape == (len(target["labels"]), 4)
    assert set(target["labels"].tolist()) <= {1, 2}


def test_boxes_move_with_what_is_in_them(root: Path) -> None:
    data = load_coco(root, "faster_rcnn", all_images=True)
    image, target = data.train[0]
    torch.manual_seed(0)
    flip = augmentation_of_boxes(["resize 800 1333", "horizontal_flip"])
    flipped = next(
        (i, t) for i, t in (flip(image, target) for _ in range(20)) if not torch.equal(t["boxes"], target["boxes"])
    )
    assert torch.allclose(flipped[0], image.flip(2).float() / 255)
    x1, x2 = target["boxes"][:, 0], target["boxes"][:, 2]
    assert torch.equal(flipped[1]["boxes"][:, 0], SIDE - x2)
    assert torch.equal(flipped[1]["boxes"][:, 2], SIDE - x1)


def results_of(part: Boxes, categories: dict[int, int]) -> list[dict]:
    found = []
    for i in range(len(part)):
        _, target = part[i]
        for (x, y, x2, y2), label in zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True):
            box = {"bbox": [x, y, x2 - x, y2 - y], "category_id": categories[label], "score": 0.9}
            found.append({"image_id": target["image_id"], **box})
    return found


def test_what_is_right_has_an_ap_of_one_and_nothing_of_zero(root: Path) -> None:
    data = load_coco(root, "faster_rcnn", all_images=False)
    right = results_of(data.test, dict(data.categories))
    assert evaluated(data.test, right) == DetectionScores(1.0, 1.0, 1.0)
    assert evaluated(data.test, []) == DetectionScores(0.0, 0.0, 0.0)
    other = [{**r, "category_id": CATEGORIES[r["category_id"] == CATEGORIES[0]]} for r in right]
    assert evaluated(data.test, other).ap < 0.2


def test_sizes_are_the_recipes() -> None:
    recipe = FULL_RECIPES["spconv_coco"]
    assert resizing(recipe.augmentation) == (800, 1333)
    assert resizing(sized(recipe, 400).augmentation) == (400, 666)
    assert resizing(["horizontal_flip"]) is None
    with pytest.raises(BadInput, match="must be written as resize SHORTER LONGEST"):
        resizing(["resize 800"])
    with pytest.raises(BadInput, match="unknown step of a detector's augmentation 'random_crop'"):
        augmentation_of_boxes(["random_crop 32"])


def test_a_detectors_yaml_builds_the_detector(path: Path) -> None:
    network = build(path)
    assert type(network).__name__ in ("FasterRCNN", "RetinaNet")
    assert sum(isinstance(m, Operator) for m in network.modules()) == 1


@pytest.mark.slow
def test_it_is_trained_and_gone_on_with(
    path: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in its second epoch, it ends with the same weights."""
    words = [str(path), "--data-root", str(root), "--lr", "0.01", "--epochs", "3", "--output"]
    assert main([*words, str(tmp_path / "whole")]) == 0
    said = capsys.readouterr().out
    assert "epoch 3 of 3: loss" in said
    assert "test images, once: AP " in said
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert lines[2]["loss"] < lines[0]["loss"]
    assert {"ap", "ap50", "ap75"} <= set(lines[1])
    metrics = yaml.safe_load((tmp_path / "whole" / "trained.yaml").read_text())["metrics"]["trained"]
    assert set(metrics["test"]) == set(asdict(DetectionScores(0, 0, 0)))

    steps, step = [], DetectorTraining._step

    def interrupted(training: DetectorTraining, batch: list) -> Tensor:
        steps.append(batch)
        if len(steps) == 5:
            raise KeyboardInterrupt
        return step(training, batch)

    monkeypatch.setattr(DetectorTraining, "_step", interrupted)
    assert main([*words, str(tmp_path / "parts")]) == 130
    assert main(["--resume", str(tmp_path / "parts")]) == 0
    whole, parts = (load_file(tmp_path / n / "best.safetensors") for n in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.slow
def test_its_backbone_starts_from_a_classifiers_weights(path: Path, root: Path, tmp_path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    classifier = tmp_path / "classifier.yaml"
    classifier.write_text(yaml.safe_dump({"backbone": BACKBONE, "layers": document["layers"]}))
    state = build(classifier).state_dict()
    save_file({n: t.contiguous() for n, t in state.items()}, tmp_path / "w.safetensors")
    words = [str(path), "--data-root", str(root), "--epochs", "1", "--lr", "1e-12", "--output", str(tmp_path / "out")]
    assert main([*words, "--from", str(tmp_path / "w.safetensors")]) == 0
    found = load_file(tmp_path / "out" / "best.safetensors")
    assert torch.allclose(found["backbone.body.layer3.0.conv1.weight"], state["layer3.0.conv1.weight"], atol=1e-6)


def test_an_unknown_detector_is_one_line(path: Path, capsys: pytest.CaptureFixture) -> None:
    path.write_text(path.read_text().replace("faster_rcnn", "yolo").replace("retinanet", "yolo"))
    assert main([str(path)]) == 2
    assert "unknown detector 'yolo'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--teacher", "w.pt"], "--teacher is for classifiers"),
        (["--dataset", "cifar10"], "a detector trains on coco, got --dataset cifar10"),
        ([], "coco needs --data-root"),
        (["--data-root", "/nowhere"], "can't be read as COCO's annotations"),
        (["--data-root", "ROOT", "--batch", "99"], "a batch of 99 is more than the 15 training images"),
    ],
)
def test_what_is_wrong_is_one_line(
    words: list[str], said: str, path: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    given = [str(root) if word == "ROOT" else word for word in words]
    assert main([str(path), *given, "--output", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
