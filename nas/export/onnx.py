"""ONNX: written with a dynamic batch, checked against torch in onnxruntime, quantised to INT8."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from trainers.whole_file import write_whole

from ..cost.onnx_passes import pool_means, split_producers
from .deployed import Deployed, logits

BATCH = 64


@dataclass(frozen=True)
class Agreement:
    """Of a file with the network: the largest difference of two logits, relative to the largest logit.

    Args:
        alike: the share of images that both put into the same class; ``accuracy`` is the file's.
    """

    difference: float
    alike: float
    accuracy: float
    images: int


def write_onnx(made: Deployed, path: Path) -> dict[str, int]:
    """The folded network as ONNX, its batch dynamic, made quick for onnxruntime; returns how many nodes of each type.

    Raises:
        OSError: the file can't be written.
    """
    example = torch.zeros(2, *made.size)
    batch = torch.export.Dim("batch", min=1)
    program = torch.onnx.export(
        made.network,
        (example,),
        dynamo=True,
        verbose=False,
        optimize=True,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: batch},),
    )
    assert program is not None
    model = program.model_proto
    split_producers(model)
    pool_means(model)
    write_whole(path, model.SerializeToString())
    return dict(Counter(node.op_type for node in model.graph.node).most_common())


def session(path: Path) -> onnxruntime.InferenceSession:
    """By one thread, on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(path: Path, images: Tensor) -> Tensor:
    """``(N, 3, H, W)`` → ``(N, classes)``."""
    opened = session(path)
    name = opened.get_inputs()[0].name
    return torch.cat([torch.from_numpy(opened.run(None, {name: part.numpy()})[0]) for part in images.split(BATCH)])


def agreement(path: Path, network: nn.Module, images: Tensor, labels: Tensor) -> Agreement:
    """Of a file and the network that it was made of, on these images."""
    expected, found = logits(network, images), run(path, images)
    return Agreement(
        difference=float((found - expected).abs().max() / expected.abs().max()),
        alike=float((found.argmax(1) == expected.argmax(1)).float().mean()),
        accuracy=float((found.argmax(1) == labels).float().mean()),
        images=len(labels),
    )


def quantise(path: Path, into: Path, calibration: Tensor) -> None:
    """To INT8, statically: weights per channel, activations by what these images give; in the QDQ form."""
    with TemporaryDirectory() as folder:
        prepared, made = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        name = onnx.load(prepared).graph.input[0].name
        quantize_static(
            str(prepared),
            str(made),
            _Images(name, calibration),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
        write_whole(into, made.read_bytes())


class _Images(CalibrationDataReader):
    def __init__(self, name: str, images: Tensor) -> None:
        self.parts: Iterator[dict[str, Any]] = iter([{name: part.numpy()} for part in images.split(BATCH)])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.parts, None)
