"""Starting Ray on this machine, or joining a running cluster; the dashboard stays on the loopback, behind a token."""

import logging
import os
import platform
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import AuthenticationError, RayError, RayTaskError

from search_spaces.checks import BadInput

PACKAGES = ("nas", "search_spaces", "trainers")
PROBE_S = 10.0
SOON_S, WAIT_S = 10.0, 600.0  # for a node to have what is wanted free; an autoscaler brings one in minutes
SETTINGS = "LAYERWISE_NAS_"  # variables of the environment that another node's process has from this one


@dataclass(frozen=True)
class Cluster:
    """A Ray that is running: how to log in to its dashboard, and whether it was there before."""

    login: str
    joined: bool

    @property
    def gpus(self) -> float:
        """Those that it has now, in all."""
        return float(ray.cluster_resources().get("GPU", 0))

    def trials_at_once(self, resources: Mapping[str, float]) -> int:
        """How many trials it can run at once now; ``resources`` are one trial's ``cpu`` and ``gpu``.

        Raises:
            BadInput: not even one.
        """
        wanted = {name.upper(): amount for name, amount in resources.items() if amount}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        for name, amount in wanted.items():
            most = max((node.get(name, 0) for node in nodes), default=0)
            if amount > most:
                raise BadInput(
                    f"a trial wants {amount:g} {name}, and no node of Ray has more than {most:g}: "
                    f"lower --{name.lower()}s-per-trial or join a larger cluster"
                )
        return sum(min(int(node.get(n, 0) / amount + 1e-9) for n, amount in wanted.items()) for node in nodes)

    def on_a_gpu(self, doing: Callable[[str], None], function: Callable[..., Any], *arguments: Any) -> Any:
        """What ``function`` returns, run by a process that has one whole GPU, and one core beside it, to itself."""
        return self.on_a_node(doing, {"num_gpus": 1, "num_cpus": 1}, function, *arguments)

    def on_a_node(
        self, doing: Callable[[str], None], wanted: Mapping[str, Any], function: Callable[..., Any], *arguments: Any
    ) -> Any:
        """What ``function`` returns, run once by a process of its own, which ends with it, or with this call.

        Args:
            doing: told what is waited for, and where it runs then.
            wanted: what Ray is to give the process.

        Raises:
            BadInput: no node had as much free for ``WAIT_S``, or the one that ran it was lost.
            Exception: what the function raised, as it was.
        """
        settings = {name: value for name, value in os.environ.items() if name.startswith(SETTINGS)}
        hand = ray.remote(**wanted)(_Hand).remote(settings)
        try:
            host = hand.host.remote()
            if not ray.wait([host], timeout=SOON_S)[0]:
                _wait_for(host, _in_words(wanted), doing)
            doing(f"measuring on {ray.get(host)}, a node of the cluster")
            return ray.get(hand.do.remote(function, *arguments))
        except RayTaskError as error:
            raise error.cause or error from None
        except RayError as error:
            said = " ".join(str(error).split())[:200]
            raise BadInput(f"a process on another node of the cluster ended before it was done: {said}") from None
        finally:
            ray.kill(hand)

    def is_one_machine(self) -> bool:
        """Whether all its nodes are this machine: they reach this one's folders then."""
        return {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]} == {platform.node()}


class _Hand:
    """A process on some node, for one call: an actor tells when it has begun, which a task does not."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        os.environ.update(settings)

    def host(self) -> str:
        return platform.node()

    def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


def _wait_for(begun: Any, wanted: str, doing: Callable[[str], None]) -> None:
    """Until a process has begun."""
    doing(f"waiting for a node of the cluster that has {wanted} free, for {WAIT_S / 60:.0f} minutes at most")
    if not ray.wait([begun], timeout=WAIT_S)[0]:
        raise BadInput(
            f"no node of the cluster had {wanted} free for {WAIT_S / 60:.0f} minutes: "
            "wait for who trains there, or join a larger cluster"
        )


def _in_words(wanted: Mapping[str, Any]) -> str:
    """``{"num_gpus": 1}`` → ``1 GPU``."""
    flat = {**{k: v for k, v in wanted.items() if k != "resources"}, **wanted.get("resources", {})}
    names = {"num_gpus": "GPU", "num_cpus": "CPU"}
    return " and ".join(f"{amount:g} {names.get(name, name)}" for name, amount in flat.items())


@contextmanager
def connected(address: str | None, allow_unauthenticated: bool = False) -> Iterator[Cluster]:
    """Start Ray on this machine, or join the one at ``address``; leave it at the end.

    A Ray that is started here has token authentication. One that is joined must have it, for whoever reaches a
    cluster without it runs code there, unless the user says otherwise.

    Raises:
        BadInput: it can't be started, no cluster answers at ``address``, or it is not authenticated.
    """
    if address is None or not allow_unauthenticated:
        _require_tokens(joining=address is not None)
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # its box of settings; the lines that we print say more
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    try:
        context = _start() if address is None else _join(address)
        if address is not None and not allow_unauthenticated:
            require_locked(address, context.dashboard_url)
        yield Cluster(_login(context.dashboard_url), address is not None)
    finally:
        ray.shutdown()


def _require_tokens(joining: bool) -> None:
    """This process must use a token; a Ray that is started here does so by itself."""
    mode = os.environ.get("RAY_AUTH_MODE", "unset" if joining else "token")
    if mode.lower() == "token":
        return
    if not joining:
        raise BadInput(f"RAY_AUTH_MODE must be token, got {mode!r}: searches run authenticated only")
    raise BadInput(
        f"--address needs token authentication: RAY_AUTH_MODE must be token, it is {mode}; set it, and RAY_AUTH_TOKEN "
        f"or RAY_AUTH_TOKEN_PATH, as on the cluster (--allow-unauthenticated joins a cluster without it)"
    )


def require_locked(address: str, dashboard: str | None) -> None:
    """Refuse a cluster whose dashboard runs jobs for whoever asks."""
    if not dashboard:
        return
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy would answer in its place
    try:
        with direct.open(f"http://{dashboard}/api/jobs/", timeout=PROBE_S):
            pass
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return
    except OSError:
        return  # not to be reached from here: nor by others who are where we are
    raise BadInput(
        f"--address {address}: its dashboard answers without a token, so anyone who reaches it can run code there; "
        f"start the cluster with RAY_AUTH_MODE=token, or join it all the same with --allow-unauthenticated"
    )


def _token_file() -> Path:
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))


def _make_token() -> None:
    """A token that its owner alone can read, before Ray makes one that all can."""
    path = _token_file()
    if "RAY_AUTH_TOKEN" in os.environ or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))


def _login(url: str | None) -> str:
    token = _token_file()
    if token.exists():
        with suppress(OSError):
            token.chmod(0o600)  # an earlier Ray may have written it for all to read
    if not url:
        return "Ray dashboard: not running (it needs ray[default])"
    return f"Ray dashboard: http://{url}\n  log in with the token that `cat {token}` prints"


def _start() -> ray._private.worker.BaseContext:
    try:
        _make_token()
        return ray.init(
            address="local",
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise BadInput(
            f"Ray can't start on this machine: {said}; it needs a home folder that can be written, "
            f"and a temporary one (TMPDIR) that can be, with a short path"
        ) from None


def _join(address: str) -> ray._private.worker.BaseContext:
    """Join a cluster and bring this checkout's packages along."""
    root = Path(__file__).resolve().parent.parent.parent
    modules = [str(root / package) for package in PACKAGES]
    try:
        return ray.init(
            address=address, runtime_env={"py_modules": modules}, log_to_driver=False, logging_level=logging.ERROR
        )
    except (ConnectionError, AuthenticationError, ValueError) as error:
        raise BadInput(f"--address {address}: can't be joined: {' '.join(str(error).split())}") from None
