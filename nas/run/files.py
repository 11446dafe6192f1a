"""YAML and JSON documents, written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from trainers.whole_file import write_whole


def write_yaml(path: Path, document: Mapping[str, Any]) -> None:
    text = yaml.safe_dump(_plain(document), sort_keys=False, allow_unicode=True, width=110)
    write_whole(path, text.encode())


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    write_whole(path, json.dumps(document, indent=1).encode())


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _plain(value: Any) -> Any:
    """Tuples as lists, for YAML."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
