"""YAML documents as runs and ``nas.papers`` write them: whole or not at all, and where they come from."""

import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import yaml

from .cost.latency import describe

PACKAGES = ("torch", "torchvision", "ray", "optuna", "fvcore")


def provenance(device: torch.device) -> dict[str, Any]:
    """Date, commit, versions and hardware."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": {package: version(package) for package in PACKAGES if find_spec(package)},
        "hardware": describe(device)["device"],
    }


def _commit() -> str | None:
    """The checkout's commit, where there is one."""
    folder = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def dump_yaml(path: Path, document: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(yaml.safe_dump(_plain(document), sort_keys=False, allow_unicode=True, width=110))
    partial.replace(path)


def _plain(value: Any) -> Any:
    """Tuples as lists, for YAML."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
