"""Append-only JSON lines that survive SIGKILL, power cuts and full disks: what ``append`` returned from is there."""

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_spaces.checks import BadInput
from trainers.whole_file import sync_folder


class TornWarning(UserWarning):
    """A last line that was being written when its writer died: no record, and nothing that had been promised."""


def append(path: Path, entry: Mapping[str, Any]) -> None:
    """On disk when this returns; an OSError (a full disk) leaves the file as it was."""
    line = (json.dumps(entry) + "\n").encode()
    new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        try:
            written = 0
            while written < len(line):
                written += os.write(descriptor, line[written:])
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
    if new:
        sync_folder(path.parent)


def read(path: Path) -> list[dict[str, Any]]:
    """All entries in order; no file is no entries. Warns of a torn last line, which is dropped.

    Raises:
        BadInput: a damaged line before the last: it names the line, and says what can be done.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    unfinished = lines.pop()
    entries = []
    for number, line in enumerate(lines, start=1):
        entry = _parsed(line)
        if entry is None:
            raise BadInput(
                f"{path}, line {number}: is damaged, it is no JSON object; "
                f"mend it from a copy, or delete it: what it says is lost then, and nothing else"
            )
        entries.append(entry)
    if not unfinished.strip(b"\0"):
        return entries
    last = _parsed(unfinished)
    if last is None:
        text = f"{path}, line {len(lines) + 1}: torn by a crash while it was written; it is dropped"
        warnings.warn(TornWarning(text), stacklevel=2)
        return entries
    return [*entries, last]


def mend(path: Path) -> None:
    """Make the last line whole, or drop it where it is torn, so that more can be appended."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole == len(data):
        return
    with path.open("r+b") as file:
        if _parsed(data[whole:]) is None:
            file.truncate(whole)
        else:
            file.seek(0, os.SEEK_END)
            file.write(b"\n")
        file.flush()
        os.fsync(file.fileno())


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
