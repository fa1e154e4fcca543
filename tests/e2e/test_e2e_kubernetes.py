"""The manifests of deploy/kubernetes: valid, consistent with the settings that they mount, and served from."""

import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import aiohttp
import kubernetes_validate
import orjson
import pytest
import yarl

from gateway.settings import Settings
from sandbox import Sandbox
from sandbox.common.pki import CALLER, Pki
from sandbox.common.ports import free_ports
from sandbox.gateway import channel
from sandbox.nats import NatsServer, ServerTls
from tests.e2e.calls import register
from tests.e2e.command import ended, started
from tests.e2e.kubelet import KUBERNETES, Manifests, Pod, rendered

_OVERLAYS: Final = ("embedded", "cluster")
_ISSUER: Final = "ISSUER0001"
_CONFIG: Final = Path("/etc/d1-gateway")
_PAGE: Final = KUBERNETES.parents[1] / "docs" / "kubernetes.md"
_OLDEST_VERSION: Final = "1.30"
"""The first one in which a preStop hook may sleep without a feature gate."""
_CLOSING_SECONDS: Final = 10.0
"""Time to close the storage and to send the last traces, once all calls have ended."""


@pytest.fixture(params=_OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return rendered(KUBERNETES / "overlays" / request.param)


@pytest.fixture
def root() -> Iterator[Path]:
    """A root folder that every user can enter, unlike pytest's own."""
    made = Path(mkdtemp(prefix="d1-pod-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def _text_of(manifests: Manifests) -> str:
    return str(manifests.one("ConfigMap", "d1-gateway-config")["data"]["gateway.toml"])


def _settings_of(manifests: Manifests) -> dict[str, Any]:
    return tomllib.loads(_text_of(manifests))


def _sources(manifests: Manifests) -> set[tuple[str, str, str]]:
    """Return kind, name and key of the object behind each file that the settings name, or the command line."""
    named = {Path(each) for each in re.findall(rf'"({_CONFIG}/[^"]+)"', _text_of(manifests))}
    found = {
        (*mount.source, key)
        for file in named
        for mount in manifests.pod.mounts
        if (key := mount.key_of(file)) is not None
    }
    assert len(found) == len(named), "a file is on no mount"
    return found


@pytest.mark.parametrize("kubernetes", [_OLDEST_VERSION, kubernetes_validate.latest_version()])
def test_every_object_is_valid_in_the_oldest_and_the_newest_kubernetes(manifests: Manifests, kubernetes: str) -> None:
    for each in manifests.objects:
        kubernetes_validate.validate(each, kubernetes, strict=True)


def test_the_overlay_that_the_docs_show_renders_with_all_components(tmp_path: Path) -> None:
    shown = re.search(r"```yaml\n(# kustomization\.yaml\n.*?)```", _PAGE.read_text(), re.DOTALL)
    assert shown is not None
    (tmp_path / "d1-gateway").symlink_to(KUBERNETES.parents[1])
    (tmp_path / "kustomization.yaml").write_text(shown[1])
    for name in ("gateway.toml", "policy.toml"):
        (tmp_path / name).write_text(f'mark = "{name}"')

    bank = rendered(tmp_path)

    assert {each["metadata"]["namespace"] for each in bank.objects} == {"d1-gateway"}
    assert bank.pod.container["image"].startswith("registry.bank.example/")
    assert [each["data"] for each in bank.all("ConfigMap")] == [
        {name: f'mark = "{name}"'} for name in ("gateway.toml", "policy.toml")
    ]
    edge, monitor = bank.one("Service", "d1-gateway-edge"), bank.one("ServiceMonitor")
    assert (edge["spec"]["type"], edge["spec"]["externalTrafficPolicy"]) == ("LoadBalancer", "Local")
    admin = bank.one("Service", "d1-gateway-admin")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= admin["metadata"]["labels"].items()
    assert [each["port"] for each in monitor["spec"]["endpoints"]] == [each["name"] for each in admin["spec"]["ports"]]
    ingress = bank.one("NetworkPolicy")["spec"]["ingress"]
    assert ingress[-1] == {"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": "edge"}]}


def test_the_clusters_settings_are_the_bases_and_nats() -> None:
    base, cluster = ((KUBERNETES / folder / "gateway.toml").read_text() for folder in ("base", "overlays/cluster"))
    assert cluster.startswith(base)
    assert re.findall(r"(?m)^\[.*?\]", cluster.removeprefix(base)) == ["[nats]"]


def test_the_image_is_that_of_this_version(manifests: Manifests) -> None:
    assert manifests.pod.container["image"].rpartition(":")[2] == version("d1-gateway")


def test_ports_of_settings_pods_services_and_policy_are_the_same(manifests: Manifests) -> None:
    settings, pod = _settings_of(manifests), manifests.pod
    ports = {each["name"]: each["containerPort"] for each in pod.container["ports"]}
    assert ports == {name: settings[name]["port"] for name in ("grpc", "edge", "admin")}
    # A headless Service cannot map ports.
    services = {each["spec"]["ports"][0]["targetPort"]: each["spec"] for each in manifests.all("Service")}
    assert services.keys() == ports.keys()
    for name in ("grpc", "admin"):
        assert services[name]["clusterIP"] == "None"
        assert services[name]["ports"][0]["port"] == ports[name]
    labels = manifests.workload["spec"]["template"]["metadata"]["labels"]
    policy = manifests.one("NetworkPolicy")["spec"]
    for selected in (*(each["selector"] for each in services.values()), policy["podSelector"]["matchLabels"]):
        assert selected == labels
    allowed = [each["port"] for rule in policy["ingress"] for each in rule["ports"]]
    assert allowed == ["grpc", "edge", "admin"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert pod.container[probe]["httpGet"]["port"] == "admin"


def test_pods_may_reach_dns_and_what_the_settings_name_and_nothing_else(manifests: Manifests) -> None:
    settings = _settings_of(manifests)
    urls = [settings["d1"]["base_url"], settings["threeds"]["base_url"], *settings.get("nats", {}).get("servers", ())]
    needed = {(yarl.URL(url).port or 443, "TCP") for url in urls} | {(53, "UDP"), (53, "TCP")}
    egress = manifests.one("NetworkPolicy")["spec"]["egress"]
    assert {(each["port"], each.get("protocol", "TCP")) for rule in egress for each in rule["ports"]} == needed


def test_pods_have_time_to_drain(manifests: Manifests) -> None:
    settings, pod = _settings_of(manifests), manifests.pod
    drain = settings["drain_grace_seconds"]
    pause = pod.container.get("lifecycle", {"preStop": {"sleep": {"seconds": 0}}})["preStop"]["sleep"]["seconds"]
    assert pause + drain + _CLOSING_SECONDS <= pod.spec["terminationGracePeriodSeconds"]
    assert pause > 0 or manifests.workload["spec"]["replicas"] == 1
    tables = {name: Settings.model_fields[name].annotation for name in ("d1", "threeds")}
    longest = [_total_timeout_seconds(settings[name], annotation) for name, annotation in tables.items()]
    assert drain > max(longest)


def _total_timeout_seconds(table: Mapping[str, Any], annotation: Any) -> float:
    kinds = getattr(annotation, "__args__", (annotation,))
    field = kinds[0].model_fields["total_timeout_seconds"]
    return float(table.get("total_timeout_seconds", field.default))


def test_drains_of_nodes_are_held_up_by_one_pod_at_most_and_never_by_one_that_is_not_ready(
    manifests: Manifests,
) -> None:
    budget = manifests.one("PodDisruptionBudget")["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


def test_pods_are_restricted_and_know_no_token_and_no_foreign_variables(manifests: Manifests) -> None:
    spec, container = manifests.pod.spec, manifests.pod.container
    assert spec["automountServiceAccountToken"] is False
    assert manifests.one("ServiceAccount")["automountServiceAccountToken"] is False
    # Kubernetes would set D1_GATEWAY_EDGE_PORT, which is no setting.
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all(mount["readOnly"] for mount in container["volumeMounts"] if mount["name"] != "data")


def test_the_docs_name_every_key_that_a_pod_needs(manifests: Manifests) -> None:
    given = set(manifests.config_maps)
    needed = {(name, key) for kind, name, key in _sources(manifests) if (kind, name) not in given}
    rows = re.findall(r"(?m)^\| `(d1-gateway-\w+)` \|(.*)$", _PAGE.read_text())
    assert needed <= {(name, key) for name, rest in rows for key in re.findall("`([^` ]+)`", rest)}


async def test_a_pod_serves_from_its_mounts_as_its_user_and_drains(
    manifests: Manifests, root: Path, tmp_path: Path
) -> None:
    if os.geteuid() != 0 or (await _help_status(manifests.pod)):
        pytest.skip("only root can become another user, who needs access to the interpreter and this checkout")
    async with Sandbox.start(tmp_path / "keys", issuer_id=_ISSUER) as sandbox:
        pod, pki = manifests.pod, sandbox.pki
        pod.mount(root, _objects(manifests, sandbox, root))
        async with _nats(pod, pki, tmp_path / "nats") as nats_url, asyncio.timeout(50):
            environment = _environment(pod, root, pki, nats_url)
            async with started(*_command(pod), "config", "check", environment=environment, folder=root) as process:
                checked = await ended(process)
            assert (checked.status, checked.stderr) == (0, "")
            serve = (*_command(pod), *pod.container["args"])
            async with started(*serve, environment=environment, folder=root) as process:
                at = {name: _loopback(address) for name, address in (await _started(process)).items()}
                probes = [
                    pod.container[f"{each}Probe"]["httpGet"]["path"] for each in ("startup", "liveness", "readiness")
                ]
                assert [await _status(f"http://{at['admin']}{path}") for path in probes] == [200] * 3
                async with channel(at["grpc"], pki) as connected:
                    await register(connected, "card_1")
                process.send_signal(signal.SIGTERM)
                assert (await ended(process)).status == 0
    assert (root / "var/lib/d1-gateway/events.db").exists() == bool(pod.claims)


@asynccontextmanager
async def _nats(pod: Pod, pki: Pki, folder: Path) -> AsyncIterator[str]:
    """Run the NATS server of pods without a volume; yield its URL."""
    if pod.claims:
        yield ""
        return
    async with await NatsServer.start(folder, tls=ServerTls(pki.nats_server, pki.nats_ca)) as server:
        yield server.url


def _command(pod: Pod) -> Sequence[str]:
    return (*pod.as_user, sys.executable, "-m", "gateway")


async def _started(process: asyncio.subprocess.Process) -> dict[str, str]:
    """Wait until it serves; return its addresses."""
    assert process.stderr is not None
    lines = []
    async for line in process.stderr:
        lines.append(line.decode())
        if b'"gateway_started"' in line:
            logged = orjson.loads(line)
            return {name: logged[name] for name in ("grpc", "edge", "admin")}
    raise AssertionError("".join(lines))


def _loopback(address: str) -> str:
    return f"127.0.0.1:{address.rpartition(':')[2]}"


async def _help_status(pod: Pod) -> int:
    async with started(*_command(pod), "--help") as process:
        return (await ended(process)).status


async def _status(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status


def _environment(pod: Pod, root: Path, pki: Pki, nats_url: str) -> dict[str, str]:
    given = {each["name"]: str(root) + each["value"] for each in pod.container["env"]}
    grpc_port, edge_port, admin_port = free_ports(3)
    changed = {
        "GRPC__PORT": grpc_port,
        "EDGE__PORT": edge_port,
        "ADMIN__PORT": admin_port,
        "D1__TLS_CA_FILE": (simulators_ca := shutil.copy(pki.server_ca, root)),
        "THREEDS__TLS_CA_FILE": simulators_ca,
    }
    if nats_url:
        changed |= {"NATS__SERVERS": json.dumps([nats_url]), "NATS__REPLICAS": 1}
    return given | {f"D1_GATEWAY_{name}": str(value) for name, value in changed.items()}


def _objects(manifests: Manifests, sandbox: Sandbox, root: Path) -> dict[tuple[str, str], dict[str, bytes]]:
    """Return the files of every mounted object: those of the manifests in the sandbox's words, and those of a bank."""
    pki = sandbox.pki
    given = manifests.config_maps
    kids = (str(orjson.loads(file.read_bytes())["kid"]) for file in (pki.assertion_key, pki.encryption_public_key))
    replaced = {
        f'"{_CONFIG}/': f'"{root}{_CONFIG}/',
        '"/var/lib/': f'"{root}/var/lib/',
        "https://api.d1.thalescloud.io": sandbox.d1_url,
        "https://service.3dsecure.io": sandbox.threeds_url,
        "spiffe://bank.example/card-service": CALLER,
        **dict(zip(("assertion-2026", "d1-2026"), kids, strict=True)),
    }
    for files in given.values():
        for key, content in files.items():
            text = content.decode()
            for old, new in replaced.items():
                text = text.replace(old, new)
            files[key] = text.encode()
    needed: dict[tuple[str, str], dict[str, bytes]] = {}
    for kind, name, key in _sources(manifests):
        if (kind, name) not in given:
            needed.setdefault((kind, name), {})[key] = _bank_file(sandbox, name, key)
    return given | needed


def _bank_file(sandbox: Sandbox, name: str, key: str) -> bytes:
    pki = sandbox.pki
    if key == "idempotency.key":
        return secrets.token_hex(32).encode()
    if key == "threeds-api-key":
        return sandbox.threeds_api_key.encode()
    trusted = {
        "callers-ca.pem": pki.caller_ca,
        "d1-client-ca.pem": pki.d1_client_ca,
        "d1-encryption.jwk.json": pki.encryption_public_key,
        "assertion.jwk.json": pki.assertion_key,
        "ca.crt": pki.nats_ca,
    }
    if key in trusted:
        return trusted[key].read_bytes()
    identity = {
        "d1-gateway-grpc": pki.grpc_server,
        "d1-gateway-edge": pki.edge_server,
        "d1-gateway-d1": pki.gateway_client,
        "d1-gateway-nats": pki.nats_client,
    }[name]
    return {"tls.crt": identity.certificate, "tls.key": identity.key}[key].read_bytes()
