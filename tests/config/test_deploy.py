"""What cannot run without containers is at least well formed: compose file, image, work pools, and their scripts."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import re
import stat
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from polite_flamingo import __version__
from polite_flamingo.launch.team.folder import PREFECT_SERVER

PROJECT = Path(__file__).resolve().parents[2]
DEPLOY = PROJECT / "deploy"
SCHEMA = PROJECT / "tests" / "data" / "compose-spec" / "schema.json"  # as check-jsonschema 0.39.0 has it
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DEPLOYMENTS = yaml.safe_load((DEPLOY / "prefect.yaml").read_text())["deployments"]
OWN = f"polite-flamingo:{__version__}"
VERSION = re.compile(r"[\w./-]+:v?\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?")
ONE_SHOT = {"databases", "bucket"}


def test_the_compose_file_follows_the_specification() -> None:
    errors = Draft7Validator(json.loads(SCHEMA.read_text())).iter_errors(COMPOSE)
    assert [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in errors] == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_bounded_and_local(name: str) -> None:
    service = SERVICES[name]
    assert VERSION.fullmatch(service["image"])
    assert "build" not in service or service["image"] == OWN
    assert service["restart"].startswith("on-failure" if name in ONE_SHOT else "unless-stopped")
    assert name in ONE_SHOT or {"test", "retries", "interval"} <= set(service["healthcheck"])
    assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"])
    assert "no-new-privileges:true" in service["security_opt"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert not service.get("privileged")


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_refers_to_exists(name: str) -> None:
    service = SERVICES[name]
    secrets = set(service.get("secrets", []))
    assert secrets <= set(COMPOSE["secrets"])
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    values = [str(value) for value in (*service.get("environment", {}).values(), *service.get("command", []))]
    used = {match for value in values for match in re.findall(r"/run/secrets/([\w.]+)", value)}
    script = DEPLOY / f"{name}.sh"
    if script.exists():
        used |= {"postgres_password", "mlflow_password", "prefect_password"}
    assert used == secrets
    for needed, wanted in service.get("depends_on", {}).items():
        ended = "service_completed_successfully"
        assert wanted["condition"] == (ended if needed in ONE_SHOT else "service_healthy")
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or source.startswith("$") or (DEPLOY / source).exists()


def test_no_secret_stands_in_the_compose_file_and_git_ignores_them() -> None:
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            named = re.search(r"PASSWORD|SECRET|AUTH_STRING|ACCESS_KEY_ID", key)
            assert named is None or str(value).startswith("/run/secrets/")
            assert not re.search(r"://[^/]*:[^/]*@", str(value))
    assert all(secret["file"].startswith("./secrets/") for secret in COMPOSE["secrets"].values())
    assert "/deploy/secrets/" in (PROJECT / ".gitignore").read_text().splitlines()


def test_databases_and_objects_are_reached_by_their_servers_alone() -> None:
    assert COMPOSE["networks"]["stores"]["internal"] is True
    for name in ("postgres", "s3", "databases", "bucket"):
        assert SERVICES[name]["networks"] == ["stores"]
        assert "ports" not in SERVICES[name]


def test_prefect_outlasts_a_restart_of_the_database_in_containers_too() -> None:
    assert PREFECT_SERVER.items() <= SERVICES["prefect"]["environment"].items()


def test_the_image_is_pinned_runs_as_nobody_special_and_copies_what_there_is() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(set(bases)) == 1
    assert VERSION.fullmatch(bases[0])
    assert re.findall(r"^USER (.*)", text, re.MULTILINE) == ["1000:1000"]
    copied = re.findall(r"^COPY (?!--from)(?:--\S+ )*(.*) \S+$", text, re.MULTILINE)
    kept = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {word for words in copied for word in words.split()} == kept
    assert all((PROJECT / path).exists() for path in kept)


def test_secrets_are_made_once_and_reach_the_program_they_are_for(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    for _ in range(2):
        subprocess.run(["sh", str(DEPLOY / "secrets.sh"), str(folder)], check=True, capture_output=True)
        made = {file.name: file.read_text() for file in folder.iterdir()}
        assert set(made) == set(COMPOSE["secrets"])
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert len(made["postgres_password"]) == 32
    credentials = json.loads(made["s3.json"])["identities"][0]["credentials"]
    assert credentials == [{"accessKey": made["s3_access_key"], "secretKey": made["s3_secret_key"]}]
    environment = {"PATH": os.environ["PATH"], "SECRETS": str(folder), "SSL_CERT_FILE": "/etc/ssl/cert.pem"}
    environment["PGPASSWORD_FILE"] = str(folder / "mlflow_password")
    shown = subprocess.run(
        ["sh", str(DEPLOY / "with-secrets.sh"), "env"], env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert f"PGPASSWORD={made['mlflow_password']}" in shown
    assert "SSL_CERT_FILE=/etc/ssl/cert.pem" in shown
    assert not any(line.startswith("PGPASSWORD_FILE") for line in shown)


def test_the_bucket_is_made_once(tmp_path: Path) -> None:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "MLFLOW_S3_ENDPOINT_URL": f"http://{host}:{port}"}
    try:
        for _ in range(2):
            subprocess.run(
                [sys.executable, str(DEPLOY / "bucket.py"), "flamingo"], env={**os.environ, **keys}, check=True
            )
    finally:
        server.stop()


def rendered(kind: str, variables: dict[str, Any]) -> Any:
    """The configuration that a worker of this kind makes of a pool's template and a deployment's variables."""
    if kind == "docker":
        from prefect_docker.worker import DockerWorkerJobConfiguration as Configuration
    else:
        from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration as Configuration
    from prefect.client.orchestration import PrefectClient

    template = json.loads((DEPLOY / f"{kind}-pool.json").read_text())
    Draft7Validator(template["variables"]).validate(variables)
    given = copy.deepcopy({**variables, "command": "prefect flow-run execute"})
    nobody = PrefectClient("http://127.0.0.1:9/api")  # asked only where a template names blocks
    return asyncio.run(Configuration.from_template_and_values(template, given, client=nobody))


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_a_template_uses_every_variable_it_declares(kind: str) -> None:
    template = json.loads((DEPLOY / f"{kind}-pool.json").read_text())
    used = set(re.findall(r"{{ (\w+) }}", json.dumps(template["job_configuration"])))
    assert used == set(template["variables"]["properties"])
    assert template["variables"]["properties"]["image"]["default"] == OWN


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: str(deployment["name"]))
def test_a_deployment_in_containers_points_at_a_flow_and_fills_its_template(deployment: dict[str, Any]) -> None:
    file, _, function = deployment["entrypoint"].partition(":")
    assert f"{function} = " in (PROJECT / file).read_text()
    pool = deployment["work_pool"]
    assert pool["name"] in ("docker", "kubernetes")
    assert rendered(pool["name"], pool["job_variables"]).command == "prefect flow-run execute"


def test_a_docker_job_has_a_gpu_shared_memory_and_no_rights() -> None:
    from docker.models.containers import _create_container_args

    variables = next(each for each in DEPLOYMENTS if each["name"] == "tune-docker-gpu")["work_pool"]["job_variables"]
    job = rendered("docker", variables)
    made = _create_container_args({**job.container_create_kwargs, "image": job.image, "version": "1.47"})
    host = made["host_config"]
    assert host["DeviceRequests"][0]["Capabilities"] == [["gpu"]]
    assert host["ShmSize"] == 8 * 1024**3
    assert (host["CapDrop"], host["ReadonlyRootfs"]) == (["ALL"], True)
    assert made["user"] == "1000:1000"
    assert job.volumes == ["/srv/polite-flamingo:/work", "/srv/polite-flamingo/deploy/secrets:/run/secrets:ro"]
    assert job.env["PREFECT_API_AUTH_STRING_FILE"] == "/run/secrets/prefect_auth"


def test_a_kubernetes_job_has_gpus_claims_and_no_rights() -> None:
    from kubernetes_asyncio.client import ApiClient
    from prefect.client.schemas.objects import FlowRun

    variables = next(each for each in DEPLOYMENTS if each["name"] == "tune-kubernetes")["work_pool"]["job_variables"]
    prepared = rendered("kubernetes", variables)
    prepared.prepare_for_flow_run(FlowRun(flow_id=uuid.uuid4(), name="try"))

    async def as_job() -> Any:  # the client's own models refuse what the cluster would
        async with ApiClient() as client:
            return client._ApiClient__deserialize(prepared.job_manifest, "V1Job")

    job = asyncio.run(as_job())
    pod = job.spec.template.spec
    container = pod.containers[0]
    assert (job.kind, job.metadata.namespace, job.spec.backoff_limit) == ("Job", "polite-flamingo", 0)
    assert (pod.restart_policy, pod.security_context.run_as_non_root) == ("Never", True)
    assert container.resources.limits == {"memory": "256Gi", "nvidia.com/gpu": "8"}
    assert container.security_context.capabilities.drop == ["ALL"]
    assert container.args == ["prefect", "flow-run", "execute"]
    assert {"PREFECT_API_URL", "MLFLOW_TRACKING_URI"} <= {entry.name for entry in container.env}
    assert container.env_from[0].secret_ref.name == "polite-flamingo"
    claims = {volume.name: volume.persistent_volume_claim for volume in pod.volumes}
    assert {name: claim.claim_name for name, claim in claims.items() if claim} == {
        name: f"polite-flamingo-{name}" for name in ("project", "cache", "data")
    }
    assert {mount.name for mount in container.volume_mounts} == set(claims)
    assert next(volume for volume in pod.volumes if volume.name == "shm").empty_dir.size_limit == "64Gi"
