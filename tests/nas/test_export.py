"""From a trained network's YAML to what is shipped: the same predictions in onnxruntime, and a card that says so."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from nas.export.__main__ import main
from nas.export.deployed import Deployed, deployed, logits, sample
from nas.export.onnx import run, write_onnx
from search_spaces import Architecture, build, fold, load_architecture, load_space
from search_spaces.architecture import Backbone
from search_spaces.slots import Choice
from trainers.full.data import load
from trainers.full.recipe import FULL_RECIPES

LAYERS = (
    ("layer2.1.conv2", Choice.of("compconv", depth=2)),
    ("layer3.1.conv1", Choice.of("spconv", alpha=1 / 2, groups=2)),
    ("layer3.2.conv2", Choice.of("spconv", alpha=1 / 4, groups=1)),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a full training leaves it; that it learned nothing does not matter here, its BatchNorms have statistics."""
    folder = tmp_path_factory.mktemp("trained")
    architecture = Architecture(Backbone("resnet20", 10, 16, 0.5), LAYERS)
    torch.manual_seed(0)
    network = architecture.build()
    torch.set_num_threads(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(32, 3, 16, 16))
    save_file(network.state_dict(), folder / "best.safetensors")
    scores = {"top1": 0.1, "top5": 0.5, "cross_entropy": 2.3}
    about = {"dataset": "digits_on_photos", "epochs": 1, "seed": 0, "weights": "best.safetensors"}
    document = {
        "space": "mixed_resnet20",
        **architecture.to_dict(),
        "metrics": {"flops": 1e6, "trained": {**about, "validation": scores, "test": scores}},
        "budget": ["1 MFLOPs"],
        "training": {"source": FULL_RECIPES["spconv_cifar10"].source},
        "provenance": {"run": "a-run", "trial": "0007", "judge": "scratch", "seed": 0, "date": "2026"},
    }
    (folder / "trained.yaml").write_text(yaml.safe_dump(document))
    return folder


@pytest.mark.slow
def test_every_form_gives_what_the_network_gives(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx, program, card = tmp_path / "net.onnx", tmp_path / "net.pt2", tmp_path / "card.md"
    options = ["--onnx", str(onnx), "--int8", "--program", str(program), "--card", str(card)]
    assert main([str(trained / "trained.yaml"), *options]) == 0
    said = capsys.readouterr().out
    network = build(trained / "trained.yaml").eval()
    network.load_state_dict(load_file(trained / "best.safetensors"))
    data = load("digits_on_photos", None, 16, all_images=False)
    for count in (1, 70):  # the batch is dynamic
        images, labels = sample(data, data.test, count)
        expected = logits(network, images)
        assert (run(onnx, images) - expected).abs().max() <= 1e-4 * expected.abs().max()
        ran = torch.export.load(program).module()(images)
        assert (ran - expected).abs().max() <= 1e-4 * expected.abs().max()
        assert run(tmp_path / "net.int8.onnx", images).shape == expected.shape
    images, labels = sample(data, data.test)
    accuracy = (logits(network, images).argmax(1) == labels).float().mean()
    assert f"net.onnx: accuracy {accuracy:.2%} on {len(labels)} test images, 100.00% in the same class" in said
    alike = (run(tmp_path / "net.int8.onnx", images).argmax(1) == logits(network, images).argmax(1)).float().mean()
    assert alike > 0.8
    assert f"{alike:.2%} in the same class" in said
    assert (tmp_path / "net.int8.onnx").stat().st_size < 0.7 * onnx.stat().st_size
    text = card.read_text()
    for part in (
        "resnet20",
        "spconv(alpha=1/4, groups=1)",
        "run `a-run`",
        "1 MFLOPs",
        f"{accuracy:.2%}",
        "MIT licence",
    ):
        assert part in text, part
    assert "None" not in text


def test_onnx_has_few_nodes(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(trained / "trained.yaml"), "--onnx", str(tmp_path / "net.onnx")]) == 0
    said = capsys.readouterr().out
    assert int(re.search(r"(\d+) nodes", said)[1]) < 120


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choice", "nodes"), [(Choice.of("spconv", alpha=1 / 4, groups=2), 240), (Choice.of("compconv", depth=2), 202)]
)
def test_no_operator_has_more_nodes_than_it_needs(choice: Choice, nodes: int, tmp_path: Path) -> None:
    """ResNet-20 with it in 18 layers; the vanilla network has 56."""
    architecture = load_space("mixed_resnet20").uniform(choice)
    made = Deployed(fold(architecture.build().eval()), architecture)
    assert sum(write_onnx(made, tmp_path / "net.onnx").values()) <= nodes


def test_the_network_is_folded(trained: Path) -> None:
    architecture = load_architecture(trained / "trained.yaml")
    made = deployed(architecture, trained / "best.safetensors")
    norms = [name for name, m in made.network.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms == ["layer2.1.bn2"]  # that behind CompConv, which keeps it
    assert made.size == (3, 16, 16)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "name what is to be written"),
        (["--card", "c.md", "--int8"], "--int8 goes with --onnx FILE"),
        (["--card", "c.md", "--weights", "nothing.safetensors"], "--weights nothing.safetensors: can't be read"),
        (["--card", "c.md", "--dataset", "cifar11"], "data set"),
        (["--card", "c.md", "--dataset", "imagefolder"], "needs --data-root"),
    ],
)
def test_bad_input_is_one_line(
    options: list[str], said: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(trained / "trained.yaml"), *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_weights_of_another_network_are_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Architecture(Backbone("resnet20", 10, 16, 0.5)).build()
    save_file(other.state_dict(), tmp_path / "other.safetensors")
    options = ["--weights", str(tmp_path / "other.safetensors"), "--card", str(tmp_path / "c.md")]
    assert main([str(trained / "trained.yaml"), *options]) == 2
    assert "they are of another network" in capsys.readouterr().err
    plain = tmp_path / "plain.yaml"
    plain.write_text(yaml.safe_dump(Architecture(Backbone(**asdict(Backbone("resnet20", 10, 16)))).to_dict()))
    assert main([str(plain), "--card", str(tmp_path / "c.md")]) == 2
    assert "names no weights" in capsys.readouterr().err
