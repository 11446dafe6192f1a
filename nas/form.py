"""The form in which a network is deployed, and so timed: what runs it, in which type, how many images at once."""

import re
from dataclasses import dataclass
from importlib.util import find_spec

from search_spaces.checks import BadInput

DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
RUNNERS = {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "fp16", "bf16"), "onnxruntime": ("fp32",)}
USUAL = {"cpu": ("fp32", 1), "cuda": ("fp16", 64), "onnxruntime": ("fp32", 1)}
MOST_IMAGES = 4096
WORDING = "cpu, cuda or onnxruntime, then :fp32, :fp16 or :bf16, then :bN for N images at once, such as cuda:fp16:b64"


@dataclass(frozen=True)
class Form:
    """``runner``: torch on the CPU or the GPU, or onnxruntime on the CPU; by one thread where it is a CPU."""

    runner: str
    dtype: str
    batch: int

    def __str__(self) -> str:
        return f"{self.runner}:{self.dtype}:b{self.batch}"

    def require(self) -> "Form":
        """Itself; BadInput where what runs it is not installed here."""
        missing = [n for n in ("onnx", "onnxruntime") if self.runner == "onnxruntime" and find_spec(n) is None]
        if missing:
            raise BadInput(f"--latency-on {self} needs the extra [export]: pip install '.[export]' (no {missing[0]})")
        return self

    @property
    def device(self) -> str:
        """As torch names its kind."""
        return "cuda" if self.runner == "cuda" else "cpu"


def parse_form(text: str) -> Form:
    """``cuda:fp16:b64``; what is not said is usual there: on a CPU fp32 and b1, on a GPU fp16 and b64.

    Raises:
        BadInput: it is none.
    """
    runner, *rest = str(text).strip().lower().split(":")
    if runner not in RUNNERS:
        raise BadInput(f"--latency-on must be {WORDING}; got {text!r}")
    dtype, batch = USUAL[runner]
    for part in rest:
        if part in RUNNERS[runner]:
            dtype = part
        elif part in DTYPES:
            raise BadInput(f"--latency-on {text}: {runner} is timed in {' or '.join(RUNNERS[runner])}, got {part}")
        elif (found := re.fullmatch(r"b(\d{1,5})", part)) and 1 <= int(found[1]) <= MOST_IMAGES:
            batch = int(found[1])
        else:
            raise BadInput(f"--latency-on must be {WORDING}, N from 1 to {MOST_IMAGES}; got {text!r}")
    return Form(runner, dtype, batch)


def usual(device: str) -> Form:
    """Where it trains on a device of this kind (``cpu``, ``cuda``)."""
    return parse_form(device)
