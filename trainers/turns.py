"""Whose turn a device is: while one process measures on it, no training of this user's trains there.

Two lock files in the temporary folder, for each user and device. Trainings share the room while they step. A
measurement takes the gate, and waits until the room is empty; a training looks at the gate between its steps
(``give_way``), and where it is taken leaves the room and waits. Locks end with their process, however that ends. Where
there are no such locks (no ``flock``, a folder that can't be written), nobody waits for anybody.

Processes that don't share the temporary folder, two containers for instance, don't know of each other.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import torch

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOOK_EVERY_S = 0.05  # at the gate, so that steps of a millisecond don't pay for it
POLL_S = 0.005
LONGEST_MEASUREMENT_S = 900.0  # one that takes longer has hung, or was stopped: trainings go on


class _Lock:
    """One lock file, as one holder sees it. A file that can't be locked is always free."""

    def __init__(self, path: Path) -> None:
        self.fd: int | None = None
        if fcntl is not None:
            with suppress(OSError):
                self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                _open.add(self)

    def take(self, alone: bool) -> bool:
        """Without waiting; whether it was free. Shared with others, unless ``alone``."""
        if self.fd is None:
            return True
        try:
            fcntl.flock(self.fd, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
        return True

    def wait(self, alone: bool, until: float) -> bool:
        """As ``take``, again and again until a moment of the monotonic clock."""
        while not (taken := self.take(alone)) and time.monotonic() < until:
            time.sleep(POLL_S)
        return taken

    def leave(self) -> None:
        if self.fd is not None:
            with suppress(OSError):
                fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        self.leave()
        self.disown()

    def disown(self) -> None:
        """Close the file; the lock is still held by the process that this one was forked from, if it was."""
        _open.discard(self)
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


_open: set[_Lock] = set()


class _Place:
    """A training's place on a device."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.name = device, _name(device)
        self.gate, self.room = _locks(self.name)
        self.looked = 0.0
        self.tired = False  # of a measurement that does not end

    def enter(self) -> None:
        """Past the gate, which is held until the room is entered, so that no measurement comes between."""
        self.tired = not self.gate.wait(alone=False, until=time.monotonic() + LONGEST_MEASUREMENT_S)
        self.room.take(alone=False)
        self._looked()

    def give_way(self) -> None:
        now = time.monotonic()
        if now - self.looked < LOOK_EVERY_S:
            return
        if self.gate.take(alone=False):
            self.tired = False
            self._looked()
        elif self.tired:
            self.looked = now
        else:
            self.leave()
            self.enter()

    def leave(self) -> None:
        """When what it has begun on the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.room.leave()

    def close(self) -> None:
        self.gate.close()
        self.room.close()

    def _looked(self) -> None:
        self.gate.leave()
        self.looked = time.monotonic()


_places: ContextVar[tuple[_Place, ...]] = ContextVar("places", default=())
_measured: ContextVar[dict[str, bool]] = ContextVar("measured", default={})  # noqa: B039  device → whether alone


@contextmanager
def training_on(device: torch.device) -> Iterator[None]:
    """Train on ``device``, in turn with those who measure there: call ``give_way`` between steps.

    Within another one for the same device, or within a measurement on it, there is nothing to wait for.
    """
    places, name = _places.get(), _name(device)
    if name in _measured.get() or any(place.name == name for place in places):
        yield
        return
    place = _Place(device)
    try:
        place.enter()
        token = _places.set((*places, place))
        try:
            yield
        finally:
            _places.reset(token)
            if device.type == "cuda":
                with suppress(RuntimeError):  # what failed on the device has been said already
                    torch.cuda.synchronize(device)
    finally:
        place.close()


def give_way() -> None:
    """Between two steps of a training: wait while somebody measures on its device. Microseconds where nobody does."""
    for place in _places.get():
        place.give_way()


@contextmanager
def measuring_on(device: torch.device, patience_s: float) -> Iterator[bool]:
    """Measure on ``device``, alone; yields whether it is: ``False`` after ``patience_s`` seconds of waiting in vain.

    Who trains meanwhile has given way, but for trainings that never do. Measurements come one after another. One within
    a training leaves that training's place and takes it again; one within another is that one.
    """
    measured, name = _measured.get(), _name(device)
    if name in measured:
        yield measured[name]
        return
    places = _places.get()
    with ExitStack() as stack:
        for place in places:
            place.leave()
            stack.callback(place.enter)
        gate, room = _locks(name)
        stack.callback(gate.close)
        stack.callback(room.close)
        until = time.monotonic() + patience_s
        alone = gate.wait(alone=True, until=until) and room.wait(alone=True, until=until)
        inside, outside = _measured.set({**measured, name: alone}), _places.set(())
        try:
            yield alone
        finally:
            _places.reset(outside)
            _measured.reset(inside)


def _locks(name: str) -> tuple[_Lock, _Lock]:
    """The device's gate and its room."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    path = Path(tempfile.gettempdir()) / f"layerwise-nas-{user}-{name}"
    return _Lock(path.with_name(path.name + ".gate")), _Lock(path.with_name(path.name + ".room"))


def _name(device: torch.device) -> str:
    """Of a device, for all processes of this machine, whatever each calls it."""
    if device.type != "cuda":
        return device.type
    index = torch.cuda.current_device() if device.index is None else device.index
    uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    return f"cuda-{index if uuid is None else uuid}"


def _forked() -> None:
    """A child neither trains nor measures because its parent does, and doesn't hold its locks when that has died."""
    for lock in tuple(_open):
        lock.disown()
    _places.set(())
    _measured.set({})


if fcntl is not None:
    os.register_at_fork(after_in_child=_forked)
