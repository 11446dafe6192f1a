"""Starting Ray on this machine, or joining a running cluster; the dashboard stays on the loopback, behind a token."""

import logging
import os
from pathlib import Path

import ray

PACKAGES = ("nas", "search_spaces", "trainers")


def connect(address: str | None, cpus: int | None = None) -> str:
    """Start or join Ray; returns the dashboard's address and how to log in, as lines for the user.

    A Ray that is started here has token authentication on; so has one that is joined, if it was started with it.

    Raises:
        ValueError: no cluster answers at ``address``.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # its box of settings; the lines that we print say more
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    if address is None:
        context = ray.init(
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            num_cpus=cpus,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    else:
        context = _join(address)
    if token.exists():
        token.chmod(0o600)
    url = context.dashboard_url
    where = f"http://{url}" if url else "not running (it needs ray[default])"
    return f"Ray dashboard: {where}\n  log in with the token that `cat {token}` prints"


def _join(address: str) -> ray._private.worker.BaseContext:
    """Join a cluster and bring this checkout's packages along."""
    root = Path(__file__).resolve().parent.parent
    modules = [str(root / package) for package in PACKAGES]
    try:
        return ray.init(
            address=address, runtime_env={"py_modules": modules}, log_to_driver=False, logging_level=logging.ERROR
        )
    except ConnectionError as error:
        raise ValueError(f"--address {address}: no Ray cluster answers there: {' '.join(str(error).split())}") from None


def slots_for_trials(cpus_per_trial: float, gpus_per_trial: float) -> int:
    """How many trials the cluster can run at once.

    Raises:
        ValueError: not even one.
    """
    have = ray.cluster_resources()
    wanted = {"CPU": cpus_per_trial, "GPU": gpus_per_trial}
    for resource, amount in wanted.items():
        if amount > have.get(resource, 0):
            raise ValueError(
                f"a trial wants {amount:g} {resource}, and Ray has {have.get(resource, 0):g}: "
                f"lower --{resource.lower()}s-per-trial or join a larger cluster"
            )
    return min(int(have[r] / amount + 1e-9) for r, amount in wanted.items() if amount)
