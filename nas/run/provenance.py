"""Where a document comes from: date, commit, versions, hardware."""

import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ..cost.device import device_name

PACKAGES = ("torch", "torchvision", "ray", "optuna", "fvcore")


def provenance(device: torch.device) -> dict[str, Any]:
    """Date, commit, versions and hardware."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": {package: version(package) for package in PACKAGES if find_spec(package)},
        "hardware": device_name(device.type),
    }


def _commit() -> str | None:
    """The checkout's commit, where there is one."""
    folder = Path(__file__).parent.parent.parent
    if not (folder / ".git").exists():  # installed somewhere, perhaps inside of another project's checkout
        return None
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
