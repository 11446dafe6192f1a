"""The examples for clusters are what Ray and Kubernetes expect, as far as one machine can tell."""

from pathlib import Path

import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

DEPLOY = Path(__file__).parent.parent / "deploy"


def test_the_cluster_configuration_is_valid() -> None:
    """By Ray's own schema, which ``ray up`` checks first."""
    config = yaml.safe_load((DEPLOY / "cluster.yaml").read_text())
    validate_config(prepare_config(config))
    starts = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    assert all("RAY_AUTH_MODE=token" in command for command in starts if "ray start" in command)
    assert "0.0.0.0" not in (DEPLOY / "cluster.yaml").read_text()


def test_the_ray_job_has_what_kuberay_needs() -> None:
    job = yaml.safe_load((DEPLOY / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        assert container["volumeMounts"] == [{"name": "results", "mountPath": "/results"}]
    assert job["spec"]["entrypoint"].startswith("python launch.py ")
