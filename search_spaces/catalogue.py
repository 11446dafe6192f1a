"""Which spaces there are, and what their YAMLs say: without torch, so that a command line can answer at once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .checks import BadInput, expanded, require_known

FOLDER = Path(__file__).parent / "spaces"
SUFFIXES = (".yaml", ".yml")


def list_spaces() -> list[str]:
    """The names of the spaces that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def space_path(name_or_path: str) -> Path:
    """The YAML of a space by its name, or the path of one.

    Raises:
        BadInput: a name that no space has; it says the nearest.
    """
    path = Path(name_or_path)
    if path.suffix in SUFFIXES:
        return expanded(path)
    require_known("space", name_or_path, list_spaces())
    return FOLDER / f"{name_or_path}.yaml"


def read_space(name_or_path: str) -> tuple[Path, Any]:
    """The path of a space's YAML and what is in it, unchecked.

    Raises:
        BadInput: an unknown name, a file that can't be read, or no YAML.
    """
    path = space_path(name_or_path)
    try:
        return path, yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"space {path}: can't be read: {error}") from None
    except yaml.YAMLError as error:
        raise BadInput(f"space {path}: is no YAML: {' '.join(str(error).split())}") from None


def operators_of(document: Mapping[str, Any]) -> list[str]:
    """The names of the operators that a space chooses from, in its order."""
    names = (f"{'binary ' if entry.get('binary') else ''}{entry['operator']}" for entry in document["choices"])
    return list(dict.fromkeys(names))
