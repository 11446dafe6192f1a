"""A network run by onnxruntime on the CPU, by one thread."""

import warnings
from collections.abc import Callable
from io import BytesIO

import torch
from torch import nn

from search_spaces.checks import BadInput

try:
    import onnx
    import onnxruntime

    from .onnx_passes import split_producers
except ImportError as error:
    raise BadInput(f"--latency-on onnxruntime needs the extra [export]: pip install '.[export]' ({error})") from None


def onnx_run(network: nn.Module, shape: tuple[int, int, int], batch: int) -> Callable[[], object]:
    """A function that runs ``network`` once, on the same random images ``(batch, *shape)``.

    Written by torch's older exporter: it takes 0.1 s a layer and 3 s a network where the newer one takes 3 and 22, and
    a table has hundreds of layers.
    """
    images, file = torch.randn(batch, *shape), BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is the older one
        torch.onnx.export(network.eval(), (images,), file, dynamo=False, input_names=["images"])  # type: ignore[arg-type]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    model = onnx.load_from_string(file.getvalue())
    split_producers(model)
    opened = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = {"images": images.numpy()}
    return lambda: opened.run(None, given)
