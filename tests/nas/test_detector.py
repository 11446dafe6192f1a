"""A detector's backbone is searched: its costs are those in the detector, its accuracy is a classifier's."""

from pathlib import Path

import pytest
import yaml

from nas import search
from nas.cost.flops import count_flops, count_params
from nas.preparation import space_of
from nas.question import asked, from_document, to_document
from search_spaces import build, load_architecture
from search_spaces.checks import BadInput
from trainers.full import program

SPACE = {
    "backbone": {"name": "resnet18", "classes": 1000, "resolution": 224, "width": 1.0},
    "exclude": ["conv1", "*downsample*"],
    "choices": [
        {"operator": "vanilla"},
        {"operator": "spconv", "alpha": ["1/4", "1/2"], "groups": [1, 2], "kernel_size": 3},
    ],
}


@pytest.fixture
def space(tmp_path: Path) -> Path:
    (tmp_path / "narrow.yaml").write_text(yaml.safe_dump(SPACE))
    return tmp_path / "narrow.yaml"


def test_what_is_asked_is_the_spaces_network_in_a_detector(space: Path, tmp_path: Path) -> None:
    question = asked({"space": str(space), "budget": "99%", "detector": "retinanet", "trials": 3})
    assert from_document(to_document(question), tmp_path).detector == "retinanet"
    assert question.title == "narrow-retinanet"
    backbone = space_of(question).backbone
    assert (backbone.classes, backbone.resolution, backbone.detector) == (80, 800, "retinanet")
    assert backbone.shape == (3, 800, 1333)
    smaller = asked({"space": str(space), "budget": "99%", "detector": "retinanet", "classes": 4, "resolution": 96})
    assert space_of(smaller).backbone.shape == (3, 96, 160)
    own = asked({"budget": "99%", "detector": "faster_rcnn", "model": "torchvision:resnet18"})
    assert space_of(own).backbone.to_dict() == {
        **{"name": "torchvision:resnet18", "classes": 80, "resolution": 800, "width": 1.0},
        "detector": "faster_rcnn",
    }


def test_what_no_detector_can_be_built_on_is_said_with_the_options() -> None:
    for wanted, said in (
        ({"detector": "yolo"}, "--detector yolo: unknown detector 'yolo'"),
        (
            {"detector": "retinanet", "space": "mixed_resnet20"},
            "--detector retinanet: .*needs a ResNet with the stages",
        ),
        (
            {"detector": "retinanet", "model": "torchvision:squeezenet1_1"},
            "--model torchvision:squeezenet1_1 --detector",
        ),
    ):
        with pytest.raises(BadInput, match=said):
            space_of(asked({"budget": "99%", **wanted}))
    with pytest.raises(BadInput, match="--classes and --resolution are those of --model or --detector"):
        asked({"budget": "99%", "resolution": 96})


@pytest.mark.slow
def test_it_is_searched_and_gone_on_with(space: Path, tmp_path: Path) -> None:
    small = {"references": False, "final": 0, "repeats": 0, "output": tmp_path, "name": "a", "resolution": 64}
    outcome = search(str(space), "99.9%", detector="faster_rcnn", trials=2, epochs=1, **small)  # type: ignore[arg-type]
    assert len(search(resume=tmp_path / "a", trials=3).candidates) == 3
    path = tmp_path / "a" / "best.yaml"
    assert type(build(path)).__name__ == "FasterRCNN"
    document, architecture = yaml.safe_load(path.read_text()), load_architecture(path)
    network = architecture.inference()
    assert document["metrics"]["flops"] == count_flops(network, (1, 3, 64, 107))
    assert document["metrics"]["params"] == count_params(network)
    assert document["metrics"]["latency_ms"] > 0
    assert outcome.best is not None
    _, question = program.asked(path, {})
    assert (question.recipe.dataset, question.detector, question.resolution) == ("coco", "faster_rcnn", 64)
    assert question.recipe.augmentation[0] == "resize 64 107"
