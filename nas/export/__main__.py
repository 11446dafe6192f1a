"""``python -m nas.export TRAINED.yaml``: ONNX, INT8, a torch.export program, a model card; checked on images."""

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from search_spaces import Architecture
from search_spaces.backbones.foreign import imported
from search_spaces.catalogue import read_yaml
from search_spaces.checks import BadInput, expanded
from search_spaces.late import Late
from search_spaces.one_line import BAD_INPUT, Parser
from trainers.data import DATASETS
from trainers.full.data import FullData, load
from trainers.whole_file import write_whole

from ..cost.latency import Meter
from ..form import parse_form
from .card import card
from .deployed import Deployed, deployed, sample

if TYPE_CHECKING:
    from .onnx import Agreement

NEEDED = ("onnx", "onnxscript", "onnxruntime")
_agreement, _quantise, _write_onnx = (
    Late("nas.export.onnx", name) for name in ("agreement", "quantise", "write_onnx")
)  # these import what may not be installed
CALIBRATION = 256  # training images, by which INT8's ranges are chosen
FEW_TYPES = 6
DESCRIPTION = """Exports a trained network in its deployed form: BatchNorm folded, a dynamic batch. Every file is run in
onnxruntime on test images, beside the network in torch.
"""


def parser() -> argparse.ArgumentParser:
    made = Parser("python -m nas.export", description=DESCRIPTION)
    made.add_argument("architecture", type=Path, help="its YAML, such as trained.yaml of python -m trainers.full")
    made.add_argument("--model", help="PACKAGE.MODULE:FUNCTION, where the YAML names a network of your own code")
    made.add_argument("--weights", type=Path, help="safetensors or a torch state dict; default: what the YAML names")
    made.add_argument("--onnx", type=Path, metavar="FILE", help="write it as ONNX")
    made.add_argument("--int8", action="store_true", help="beside it, quantised to INT8: FILE with .int8.onnx")
    made.add_argument("--program", type=Path, metavar="FILE", help="write it as a torch.export program (.pt2)")
    made.add_argument("--card", type=Path, metavar="FILE", help="write a model card, in Markdown")
    made.add_argument("--dataset", help=f"of the images; default: what it was trained on; {', '.join(DATASETS)}")
    made.add_argument("--data-root", type=Path, help="the folder of a data set that does not come with the package")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    made = parser()
    asked = made.parse_args(arguments)
    try:
        _export(asked, Console(soft_wrap=True, highlight=False))
    except BadInput as error:
        Console(stderr=True, soft_wrap=True).print(f"{made.prog}: {error}", highlight=False, markup=False)
        return BAD_INPUT
    except OSError as error:
        said = f"{error.filename or 'a file'} can't be written: {error.strerror or error}"
        Console(stderr=True, soft_wrap=True).print(f"{made.prog}: {said}", highlight=False, markup=False)
        return BAD_INPUT
    return 0


def _export(asked: argparse.Namespace, console: Console) -> None:
    if asked.int8 and asked.onnx is None:
        raise BadInput("--int8 goes with --onnx FILE")
    missing = [package for package in NEEDED if find_spec(package) is None] if asked.onnx is not None else []
    if missing:
        raise BadInput(f"--onnx needs {', '.join(missing)}: pip install 'layerwise-nas[export]'")
    if asked.onnx is None and asked.program is None and asked.card is None:
        raise BadInput("name what is to be written: --onnx, --program or --card")
    torch.set_num_threads(1)
    if asked.model is not None:
        imported(asked.model)
    document = read_yaml(expanded(asked.architecture), str(asked.architecture))
    try:
        architecture = Architecture.from_dict(document)
    except ValueError as error:
        raise BadInput(f"{asked.architecture}: {error}") from None
    made = deployed(architecture, _weights(asked, document))
    forms = _forms(asked, made, _data(asked, document, architecture), console)
    if asked.program is not None:
        write_program(made, asked.program)
        console.print(f"{asked.program}: a torch.export program", markup=False)
    if asked.card is not None:
        figures = {name: asdict(found) for name, found in forms.items()}
        write_whole(asked.card, card(document, architecture, figures).encode())
        console.print(f"{asked.card}: the model card", markup=False)


def _weights(asked: argparse.Namespace, document: Mapping[str, Any]) -> Path:
    if asked.weights is not None:
        return Path(asked.weights)
    named = ((document.get("metrics") or {}).get("trained") or {}).get("weights")
    if named is None:
        raise BadInput(f"{asked.architecture} names no weights: give them by --weights FILE")
    return Path(asked.architecture).parent / str(named)


def _data(asked: argparse.Namespace, document: Mapping[str, Any], architecture: Architecture) -> FullData:
    trained = (document.get("metrics") or {}).get("trained") or {}
    name = asked.dataset or trained.get("dataset")
    if name is None:
        raise BadInput(f"{asked.architecture} does not say what it was trained on: name it by --dataset")
    root = None if asked.data_root is None else expanded(asked.data_root)
    data = load(str(name), root, architecture.backbone.resolution, all_images=False)
    if data.classes != architecture.backbone.classes:
        raise BadInput(
            f"--dataset {name} has {data.classes} classes, the network {architecture.backbone.classes}: "
            "it was trained on other data"
        )
    return data


def _forms(asked: argparse.Namespace, made: Deployed, data: FullData, console: Console) -> "dict[str, Agreement]":
    """Of each file what it gives on test images."""
    if asked.onnx is None:
        return {}
    images, labels = sample(data, data.test)
    fastest = Meter(parse_form("onnxruntime")).deployed(made.network, made.size)
    nodes = _write_onnx(replace(made, network=fastest), asked.onnx)
    most = ", ".join(f"{count} {kind}" for kind, count in list(nodes.items())[:FEW_TYPES])
    console.print(f"{asked.onnx}: {sum(nodes.values())} nodes ({most})", markup=False)
    found = {asked.onnx.name: _agreement(asked.onnx, made.network, images, labels)}
    if asked.int8:
        into = asked.onnx.with_suffix(".int8.onnx")
        _quantise(asked.onnx, into, sample(data, data.train, CALIBRATION)[0])
        found[into.name] = _agreement(into, made.network, images, labels)
    for name, figures in found.items():
        console.print(
            f"{name}: accuracy {figures.accuracy:.2%} on {figures.images} test images, {figures.alike:.2%} in the same "
            f"class as by torch; logits differ by at most {figures.difference:.1e} of the largest",
            markup=False,
        )
    return found


def write_program(made: Deployed, path: Path) -> None:
    """A torch.export program, with a dynamic batch."""
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(made.network, (torch.zeros(2, *made.size),), dynamic_shapes=({0: batch},))
    file = io.BytesIO()
    torch.export.save(program, file)
    write_whole(path, file.getvalue())


if __name__ == "__main__":
    sys.exit(main())
