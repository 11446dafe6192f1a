"""Which spaces there are, and what their YAMLs say: without torch, so that a command line can answer at once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .checks import BadInput, expanded, require_known

FOLDER = Path(__file__).parent / "spaces"
SUFFIXES = (".yaml", ".yml")


class _Loader(yaml.SafeLoader):
    """Refuses a key that comes twice: YAML's reader would take the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (k for k, _ in node.value if isinstance(k, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} comes twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def list_spaces() -> list[str]:
    """The names of the spaces that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def is_path(name_or_path: str | Path) -> bool:
    """Whether it is a YAML's path, and not a space's name."""
    return Path(name_or_path).suffix.lower() in SUFFIXES


def space_path(name_or_path: str) -> Path:
    """The YAML of a space by its name, or the path of one.

    Raises:
        BadInput: a name that no space has; it says the nearest.
    """
    if is_path(name_or_path):
        return expanded(name_or_path)
    require_known("space", name_or_path, list_spaces())
    return FOLDER / f"{name_or_path}.yaml"


def read_space(name_or_path: str) -> tuple[Path, Any]:
    """The path of a space's YAML and what is in it, unchecked.

    Raises:
        BadInput: an unknown name, a file that can't be read, or no YAML.
    """
    path = space_path(name_or_path)
    return path, read_yaml(path, f"space {path}")


def read_yaml(path: Path, what: str) -> Any:
    """What is in a YAML that a person may have written.

    Raises:
        BadInput: it can't be read, is no YAML, or has a key twice; the line begins with ``what``.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{what}: can't be read: {error}") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{what}: is no YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise BadInput(f"{what}: is nested too deep") from None


def operators_of(document: Mapping[str, Any]) -> list[str]:
    """The names of the operators that a space chooses from, in its order."""
    names = (f"{'binary ' if entry.get('binary') else ''}{entry['operator']}" for entry in document["choices"])
    return list(dict.fromkeys(names))
