"""Ray clusters of several nodes on this machine: processes of their own, started and ended by one test alone."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

RAY = str(Path(sys.executable).parent / "ray")
QUIET = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_worker_niceness": "0"}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@dataclass
class Nodes:
    """A head and its workers; ``environment`` is that of a program that may join."""

    address: str
    dashboard: str
    environment: dict[str, str]
    folder: Path
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def add(self, *arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
        """A node, as ``ray start`` starts it, in a process group of its own."""
        log = (self.folder / f"node{len(self.processes)}.txt").open("wb")
        command = [RAY, "start", "--block", "--disable-usage-stats", *arguments]
        settings = {**self.environment, **environment}
        process = subprocess.Popen(command, env=settings, stdout=log, stderr=log, start_new_session=True)
        self.processes.append(process)
        return process

    def wait_for(self, count: int) -> None:
        """Until as many nodes are there, the head included."""
        command = [RAY, "list", "nodes", "--address", f"http://{self.dashboard}", "--format", "json"]

        def there() -> bool:
            said = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False).stdout
            return said.count('"ALIVE"') >= count

        _wait(there)

    def add_worker(self, cpus: int, gpus: int = 0, *arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
        """It has joined when this returns: nodes of one machine that start at once get in each other's way.

        It has a temporary folder of its own, as on another machine: in a shared one, nodes delete each other's files.
        """
        folder = Path("/tmp") / f"r{self.address.rpartition(':')[2]}-{len(self.processes)}"
        where = ("--address", self.address, "--node-ip-address", "127.0.0.1", "--temp-dir", str(folder))
        process = self.add(*where, "--num-cpus", str(cpus), "--num-gpus", str(gpus), *arguments, **environment)
        self.wait_for(len(self.processes))
        return process


@contextmanager
def nodes(folder: Path, authenticated: bool = True, head_cpus: int = 0) -> Iterator[Nodes]:
    """A cluster whose head runs no trials, unless it is given CPUs."""
    port, dashboard = free_port(), free_port()
    environment = {**os.environ, **QUIET, "RAY_AUTH_MODE": "token" if authenticated else "disabled"}
    environment.pop("RAY_AUTH_TOKEN_PATH", None)
    if authenticated:
        environment["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    cluster = Nodes(f"127.0.0.1:{port}", f"127.0.0.1:{dashboard}", environment, folder)
    try:
        cluster.add(
            *("--head", "--port", str(port), "--dashboard-port", str(dashboard), "--num-cpus", str(head_cpus)),
            *("--node-ip-address", "127.0.0.1", "--dashboard-host", "127.0.0.1", "--include-dashboard", "true"),
            *("--ray-client-server-port", str(free_port()), "--dashboard-agent-listen-port", str(free_port())),
            *("--temp-dir", str(Path("/tmp") / f"r{port}")),
        )
        _wait(lambda: jobs_status(cluster.dashboard) in (200, 401, 403))
        yield cluster
    finally:
        for process in reversed(cluster.processes):
            end(process)
        for left in Path("/tmp").glob(f"r{port}*"):
            shutil.rmtree(left, ignore_errors=True)


def jobs_status(dashboard: str) -> int:
    """What the job API says to someone without a token; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{dashboard}/api/jobs/", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def end(process: "subprocess.Popen[bytes]") -> None:
    """The node and all that it started: their process group, and what has left it."""
    children = descendants(process.pid)
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    kill_all(children)


def kill_node(process: "subprocess.Popen[bytes]") -> None:
    """As a power cut does: everything at once."""
    children = descendants(process.pid)
    process.kill()
    kill_all(children)
    process.wait()


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def descendants(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout
    parents = [tuple(map(int, line.split())) for line in listed.splitlines()[1:]]
    found, wanted = [], [pid]
    while wanted:
        parent = wanted.pop()
        children = [p for p, of in parents if of == parent]
        found += children
        wanted += children
    return found


def _wait(condition, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the cluster did not start")
        time.sleep(0.3)
