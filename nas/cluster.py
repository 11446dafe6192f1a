"""Starting Ray on this machine, or joining a running cluster; the dashboard stays on the loopback, behind a token."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.exceptions import AuthenticationError

from search_spaces.checks import BadInput

PACKAGES = ("nas", "search_spaces", "trainers")


@dataclass(frozen=True)
class Cluster:
    """A Ray that is running: how to log in to its dashboard, and how many trials it runs at once."""

    login: str
    at_once: int


@contextmanager
def cluster(address: str | None, cpus_per_trial: float, gpus_per_trial: float) -> Iterator[Cluster]:
    """Start Ray on this machine, or join the one at ``address``; leave it at the end.

    A Ray that is started here turns token authentication on by itself; one that is joined has it if it was started so.

    Raises:
        ValueError: no cluster answers at ``address``, or it can't hold even one trial.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        raise BadInput(
            f"RAY_AUTH_MODE must be token, got {os.environ['RAY_AUTH_MODE']!r}: searches run authenticated only"
        )
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # its box of settings; the lines that we print say more
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    try:
        context = _start() if address is None else _join(address)
        yield Cluster(_login(context.dashboard_url), _trials_at_once(cpus_per_trial, gpus_per_trial))
    finally:
        ray.shutdown()


def _login(url: str | None) -> str:
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    if token.exists():
        token.chmod(0o600)  # Ray writes it for all to read
    if not url:
        return "Ray dashboard: not running (it needs ray[default])"
    return f"Ray dashboard: http://{url}\n  log in with the token that `cat {token}` prints"


def _start() -> ray._private.worker.BaseContext:
    return ray.init(
        address="local",
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def _join(address: str) -> ray._private.worker.BaseContext:
    """Join a cluster and bring this checkout's packages along."""
    root = Path(__file__).resolve().parent.parent
    modules = [str(root / package) for package in PACKAGES]
    try:
        return ray.init(
            address=address, runtime_env={"py_modules": modules}, log_to_driver=False, logging_level=logging.ERROR
        )
    except (ConnectionError, AuthenticationError, ValueError) as error:
        raise BadInput(f"--address {address}: can't be joined: {' '.join(str(error).split())}") from None


def _trials_at_once(cpus_per_trial: float, gpus_per_trial: float) -> int:
    """How many trials the cluster can run at once.

    Raises:
        ValueError: not even one.
    """
    have = ray.cluster_resources()
    wanted = {"CPU": cpus_per_trial, "GPU": gpus_per_trial}
    for resource, amount in wanted.items():
        if amount > have.get(resource, 0):
            raise BadInput(
                f"a trial wants {amount:g} {resource}, and Ray has {have.get(resource, 0):g}: "
                f"lower --{resource.lower()}s-per-trial or join a larger cluster"
            )
    return min(int(have[r] / amount + 1e-9) for r, amount in wanted.items() if amount)
