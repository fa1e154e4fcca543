"""``compose.yaml``, ``Containerfile`` and ``.dockerignore`` name what there is. No engine runs them here."""

import re
from pathlib import Path
from typing import Any

import yaml

from sandbox.playground.ports import Ports

_ROOT = Path(__file__).parents[3]
_COMPOSE: dict[str, Any] = yaml.safe_load((_ROOT / "compose.yaml").read_text())
_SERVICES: dict[str, dict[str, Any]] = _COMPOSE["services"]
_CONTAINERFILE = (_ROOT / "Containerfile").read_text()
_CLUSTER = [each for name, each in _SERVICES.items() if name.startswith("gateway-")]
_GIVEN = [line[1:] for line in (_ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
"""What the build of an image gets."""
_SANDBOX_PORTS = Ports(*range(7440, 7446))


def _of_nats(variable: str) -> list[str]:
    return [str(each["environment"][variable]) for name, each in _SERVICES.items() if name.startswith("nats-")]


def test_what_is_mounted_is_there() -> None:
    mounted = [volume.split(":")[0] for each in _SERVICES.values() for volume in each.get("volumes", [])]
    assert [name for name in mounted if name.startswith(".") and not (_ROOT / name).exists()] == []
    assert {name for name in mounted if not name.startswith(".")} == _COMPOSE["volumes"].keys()


def test_everything_is_published_on_loopback_alone_at_the_port_where_it_listens() -> None:
    published = [port for each in _SERVICES.values() for port in each.get("ports", [])]
    assert [port for port in published if not re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)] == []
    listening = {str(getattr(_SANDBOX_PORTS, name)) for name in ("control", "threeds", "grpc", "admin")}
    for table in ("GRPC", "ADMIN"):
        listening |= {each["environment"][f"D1_GATEWAY_{table}__PORT"] for each in _CLUSTER}
    assert {port.split(":")[1] for port in _SERVICES["sandbox"]["ports"]} == listening


def test_each_variable_is_one_of_a_setting() -> None:
    known = (_ROOT / "docs" / "settings.md").read_text()
    named = {name for each in _CLUSTER for name in each["environment"]}
    assert len(named) > 5
    assert [name for name in named if f"`{name}`" not in known] == []


def test_profiles_need_services_of_their_own_or_of_every_profile() -> None:
    profiles = {name: set(each.get("profiles", ())) for name, each in _SERVICES.items()}
    assert set().union(*profiles.values()) == {"cluster", "observe"}
    assert [name for name, own in profiles.items() if not own] == ["sandbox"]
    for name, each in _SERVICES.items():
        for needed in each.get("depends_on", ()):
            assert profiles[needed] <= profiles[name], name


def test_images_that_are_built_are_stages_of_the_containerfile() -> None:
    stages = re.findall(r"^FROM .* AS (\S+)$", _CONTAINERFILE, re.MULTILINE)
    built = {each["build"]["target"]: each["image"] for each in _SERVICES.values() if "build" in each}
    assert built == {"gateway": "d1-gateway", "sandbox": "d1-gateway-sandbox"}
    assert built.keys() <= set(stages)
    assert stages[-1] == "gateway", "it is built where no target is named"


def test_the_gateways_of_the_cluster_know_its_nats_servers_and_d1_knows_their_edges() -> None:
    for each in _CLUSTER:
        servers = re.findall(r":(\d+)", each["environment"]["D1_GATEWAY_NATS__SERVERS"])
        assert servers == _of_nats("NATS_PORT")
        assert each["environment"]["D1_GATEWAY_NATS__REPLICAS"] == str(len(servers))
    routes = re.findall(r"nats://127\.0\.0\.1:(\d+)", (_ROOT / "deploy" / "compose" / "nats.conf").read_text())
    assert routes == _of_nats("NATS_ROUTE")
    (told,) = _SERVICES["cluster-edge"]["command"]
    assert re.findall(r"https://127\.0\.0\.1:(\d+)", told) == [
        each["environment"]["D1_GATEWAY_EDGE__PORT"] for each in _CLUSTER
    ]


def test_prometheus_reads_the_admin_ports_where_its_configuration_looks_for_them() -> None:
    (config,) = (_ROOT / "deploy" / "observability" / "prometheus").glob("prometheus.yaml")
    groups = yaml.safe_load((_ROOT / "deploy" / "compose" / "targets.yaml").read_text())
    own, cluster = ([target.split(":") for target in group["targets"]] for group in groups)
    assert own == [["sandbox", str(_SANDBOX_PORTS.admin)]]
    assert cluster == [["sandbox", each["environment"]["D1_GATEWAY_ADMIN__PORT"]] for each in _CLUSTER]
    (place,) = (each.split(":")[1] for each in _SERVICES["prometheus"]["volumes"] if "targets" in each)
    assert Path(place).name in yaml.safe_load(config.read_text())["scrape_configs"][0]["file_sd_configs"][0]["files"]


def test_the_build_of_an_image_gets_what_there_is_and_all_that_it_copies_and_makes_wheels_of() -> None:
    assert [name for name in _GIVEN if not (_ROOT / name).exists()] == []
    copied = " ".join(re.findall(r"^COPY (?!--from)(.*) \S+$", _CONTAINERFILE, re.MULTILINE)).split()
    assert {name for name in copied if name != "."} <= set(_GIVEN)
    wheels = {"gen", "clients/python", "pyproject.toml", "README.md", "LICENSE", "tools/build_commit.py"}
    assert wheels | {"gateway", "adapters", "sandbox", "d1gateway"} <= set(_GIVEN)
