import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
COMPOSE = Path(sys.executable).with_name("docker-compose")
GPU = ("-f", "docker-compose.yml", "-f", "docker-compose.gpu.yml")
PROFILES = ("--profile", "aws", "--profile", "minio")
PINNED = re.compile(r"[a-z0-9./-]+:(?!latest)[\w.-]*\d[\w.-]*(@sha256:[0-9a-f]{64})?")

Service = Mapping[str, Any]


def compose(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [COMPOSE, *arguments], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60, check=False
    )


def config(*files: str) -> Mapping[str, Any]:
    done = compose(*files, *PROFILES, "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=[(), GPU], ids=["cpu", "gpu"])
def services(request: pytest.FixtureRequest) -> Mapping[str, Service]:
    return config(*request.param)["services"]


def lasting(services: Mapping[str, Service]) -> Mapping[str, Service]:
    return {name: service for name, service in services.items() if service.get("restart") != "no"}


@pytest.mark.parametrize("files", [(), GPU], ids=["cpu", "gpu"])
@pytest.mark.parametrize("profiles", [PROFILES, PROFILES[:2], PROFILES[2:]], ids=["both", "aws", "minio"])
def test_compose_takes_the_files(files: Sequence[str], profiles: Sequence[str]) -> None:
    done = compose(*files, *profiles, "config", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_published_port_is_one_of_this_machine_alone(services: Mapping[str, Service]) -> None:
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(ports) == {"emulator", "store"}
    for each in ports.values():
        assert {port["host_ip"] for port in each} == {"127.0.0.1"}
    assert not [name for name, service in services.items() if service.get("network_mode") == "host"]


def test_every_image_is_pinned_or_built_here(services: Mapping[str, Service]) -> None:
    for name, service in services.items():
        if "build" in service:
            assert service["image"].endswith(":local"), name
            assert (ROOT / service["build"]["dockerfile"]).is_file(), name
        else:
            assert PINNED.fullmatch(service["image"]), (name, service["image"])


def test_every_service_that_stays_says_how_it_is_and_starts_again(services: Mapping[str, Service]) -> None:
    for name, service in lasting(services).items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert service["restart"] == "unless-stopped", name


def test_a_service_waits_for_a_healthy_or_finished_one(services: Mapping[str, Service]) -> None:
    stays = lasting(services)
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            expected = "service_healthy" if needed in stays else "service_completed_successfully"
            assert how["condition"] == expected, (name, needed)
            assert set(service["profiles"]) <= set(services[needed]["profiles"]), (name, needed)


def test_no_service_is_root_or_writes_outside_its_volumes(services: Mapping[str, Service]) -> None:
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    roots = {name for name, service in services.items() if service["user"].split(":")[0] in ("0", "root")}
    assert roots == {"volumes"}
    assert services["volumes"]["cap_add"] == ["CHOWN"]
    assert services["volumes"]["network_mode"] == "none"


def test_every_service_has_limits(services: Mapping[str, Service]) -> None:
    for name, service in services.items():
        limits = service["deploy"]["resources"]["limits"]
        assert int(limits["memory"]) <= 4 << 30, name
        assert limits["pids"] <= 512, name
        assert service["logging"]["options"]["max-size"], name


def test_what_is_built_here_runs_as_the_user_of_its_image(services: Mapping[str, Service]) -> None:
    for name, service in services.items():
        if "build" in service and name != "volumes":
            said = (ROOT / service["build"]["dockerfile"]).read_text("utf-8")
            assert f"\nUSER {service['user']}\n" in said, name


def test_no_container_is_given_the_engine(services: Mapping[str, Service]) -> None:
    mounts = [mount for service in services.values() for mount in service.get("volumes", [])]
    assert not [mount for mount in mounts if "docker.sock" in mount["source"]]
    assert all(mount.get("read_only") for mount in mounts if mount["type"] == "bind")


def test_the_store_tells_the_gateway_with_its_token_and_spools_on_a_volume() -> None:
    whole = config()
    store, gateway = whole["services"]["store"], whole["services"]["gateway"]
    told = {name: value for name, value in store["environment"].items() if name.startswith("MINIO_NOTIFY_WEBHOOK_")}
    listen = gateway["command"][gateway["command"].index("--listen") + 1]
    assert told["MINIO_NOTIFY_WEBHOOK_ENABLE_BYTEREEL"] == "on"
    assert told["MINIO_NOTIFY_WEBHOOK_ENDPOINT_BYTEREEL"] == f"http://gateway:{listen.rpartition(':')[2]}/events"
    assert told["MINIO_NOTIFY_WEBHOOK_AUTH_TOKEN_BYTEREEL"] == whole["configs"]["gateway_token"]["content"]
    assert told["MINIO_NOTIFY_WEBHOOK_QUEUE_DIR_BYTEREEL"] in {mount["target"] for mount in store["volumes"]}
    assert gateway["environment"]["BYTEREEL_GATEWAY_TOKEN_FILE"] == gateway["configs"][0]["target"]
    assert "arn:minio:sqs::BYTEREEL:webhook" in whole["services"]["store-bootstrap"]["command"]


def test_gateway_and_worker_share_one_state_on_a_volume(services: Mapping[str, Service]) -> None:
    def kept(name: str) -> set[str]:
        home = services[name]["environment"]["BYTEREEL_HOME"]
        return {mount["source"] for mount in services[name]["volumes"] if mount["target"] == home}

    assert kept("gateway") == kept("worker") == {"home"}


def test_the_gpu_file_gives_a_card_to_what_encodes_and_changes_nothing_else() -> None:
    plain, with_card = config()["services"], config(*GPU)["services"]
    changed = {name for name in plain if plain[name] != with_card[name]}
    assert changed == {"functions", "worker"}
    for name in changed:
        devices = with_card[name]["deploy"]["resources"]["reservations"]["devices"]
        assert [(device["driver"], device["count"], device["capabilities"]) for device in devices] == [
            ("nvidia", 1, ["gpu"])
        ]
        assert with_card[name]["build"]["dockerfile"] == "functions/Dockerfile.gpu"
        assert plain[name]["environment"] == with_card[name]["environment"]
