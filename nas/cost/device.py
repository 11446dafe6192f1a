"""The device that latency is measured on, in words: what stands beside every figure."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

from ..form import DTYPES, Form

HOW = {
    "cpu": "eager; BatchNorm folded, each operator in the form that was fastest in its place, and the faster layout",
    "cuda": "a CUDA graph replayed, timed by events; BatchNorm folded, each operator in its fastest form",
    "onnxruntime": "onnxruntime, all optimisations; BatchNorm folded, each operator in its fastest form",
}


def device_name(kind: str) -> str:
    """Of this machine's ``cpu`` or ``cuda``."""
    if kind == "cuda":
        return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return _cpu_name()


def describe(form: Form) -> dict[str, Any]:
    """What decides a latency, and changes with the machine or the libraries alone."""
    said: dict[str, Any] = {"device": device_name(form.device), "torch": str(torch.__version__)}
    if form.runner == "cuda":
        said |= {"cuda": torch.version.cuda, "driver": _nvidia("driver_version")}
    else:
        said["threads"] = 1
    if form.runner == "onnxruntime":
        said["onnxruntime"] = version("onnxruntime")
    return {**said, "batch": form.batch, "dtype": DTYPES[form.dtype], "form": HOW[form.runner], "latency_on": str(form)}


def conditions(form: Form) -> dict[str, Any]:
    """What holds for a moment: the process's niceness, the clock's rate in MHz."""
    if form.runner == "cuda":
        return {"clock_mhz": _nvidia("clocks.sm"), "niceness": os.nice(0)}
    frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    return {"clock_mhz": round(frequency.current) if frequency else None, "niceness": os.nice(0)}


def gpu_processes() -> int | None:
    """Processes that compute on the GPU that torch uses, as the driver counts them; ``None`` where it can't say."""
    found = _nvidia("pid", "--query-compute-apps")
    return None if found is None else len(set(found.split()))


def _nvidia(field: str, query: str = "--query-gpu") -> str | None:
    tool = shutil.which("nvidia-smi")
    if tool is None or not torch.cuda.is_available():
        return None
    uuid = getattr(torch.cuda.get_device_properties(torch.cuda.current_device()), "uuid", None)
    command = [
        tool,
        f"{query}={field}",
        "--format=csv,noheader,nounits",
        *([] if uuid is None else [f"--id=GPU-{uuid}"]),
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
