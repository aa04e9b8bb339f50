"""The manifests for Kubernetes: what kustomize makes of them is valid, and fits the gateway."""

import re
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml

from portal_gateway import __version__
from portal_gateway.config.loading import load_config_text
from tests.deploy.shipped import ROOT, SECRETS
from tests.tls.tls_world import Certified

MANIFESTS = ROOT / "deploy" / "kubernetes"

VERSIONS = ("1.30.0", "1.37.0")
"""The Kubernetes that the manifests are held to: the oldest that they are for, and a new one."""

UNKNOWN = {"ServiceMonitor"}
"""What is not Kubernetes' own, but the Prometheus Operator's."""

MARGIN = 5
"""Seconds that the gateway has to write its log and end, after the last request."""


@pytest.fixture(scope="module")
def made(go_tools, tmp_path_factory):
    """What kustomize makes, by kind and name without its hash."""
    place = tmp_path_factory.mktemp("kubernetes") / "manifests"
    shutil.copytree(MANIFESTS, place)
    names = re.findall(r"^(\w+)=", (MANIFESTS / "secret.env.example").read_text(), re.MULTILINE)
    (place / "secret.env").write_text("".join(f"{name}={SECRETS[name]}\n" for name in names))
    built = subprocess.run(
        [go_tools / "kustomize", "build", place],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (built.returncode, built.stderr) == (0, "")
    found = {}
    for manifest in yaml.safe_load_all(built.stdout):
        name = re.sub(r"-[0-9a-z]{10}$", "", manifest["metadata"]["name"])
        found[manifest["kind"], name] = manifest
    return found


@pytest.fixture(scope="module")
def pod(made):
    return made["Deployment", "gateway"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod):
    (only,) = pod["containers"]
    return only


@pytest.fixture(scope="module")
def config(made, container, tmp_path_factory):
    """The configuration of the pods, as the gateway in them reads it."""
    text = made["ConfigMap", "gateway"]["data"]["config.yaml"]
    place = tmp_path_factory.mktemp("tls")
    Certified().write(place)
    (place / "cert.pem").rename(place / "tls.crt")
    (place / "key.pem").rename(place / "tls.key")
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts["tls"] in text
    environ = {key: SECRETS[key] for key in made["Secret", "gateway-environment"]["data"]}
    return load_config_text(text.replace(mounts["tls"], str(place)), "config.yaml", environ)


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_are_what_kubernetes_takes(made, version):
    for (kind, _name), manifest in made.items():
        if kind not in UNKNOWN:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_a_field_that_there_is_not_would_be_told(made):
    deployment = {**made["Deployment", "gateway"], "replicas": 3}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


def test_everything_that_is_promised_is_there(made):
    assert set(made) == {
        ("Namespace", "portal-gateway"),
        ("ConfigMap", "gateway"),
        ("Secret", "gateway-environment"),
        ("Service", "gateway"),
        ("Service", "gateway-metrics"),
        ("Deployment", "gateway"),
        ("PodDisruptionBudget", "gateway"),
        ("NetworkPolicy", "gateway"),
        ("ServiceMonitor", "gateway"),
    }
    assert made["Deployment", "gateway"]["spec"]["replicas"] == 3


def test_the_configuration_is_valid_without_a_warning(config):
    assert config.warnings == ()


def test_the_pod_listens_where_its_ports_are(config, container):
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert config.gateway.listen == f"0.0.0.0:{ports['https']}"
    assert config.metrics.listen[0] == f"0.0.0.0:{ports['metrics']}"
    assert config.metrics.auth


def test_a_pod_may_take_as_long_to_end_as_a_drain(config, pod, container):
    command, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    drain = config.gateway.drain
    needed = float(seconds) + drain.grace + drain.timeout + MARGIN
    assert pod["terminationGracePeriodSeconds"] >= needed


def test_probes_ask_what_there_is(container, config):
    assert config.gateway.tls is not None
    for name, path in {
        "startupProbe": "/health",
        "livenessProbe": "/health",
        "readinessProbe": "/health/ready",
    }.items():
        asked = container[name]["httpGet"]
        assert asked == {"path": path, "port": "https", "scheme": "HTTPS"}


def test_the_image_is_this_version_and_its_user_the_dockerfiles(container, pod):
    assert container["image"] == f"portal-gateway:{__version__}"
    user = f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert re.findall(r"^USER (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE) == [user]


def test_a_pod_can_do_nothing_that_it_need_not(made, pod, container):
    labels = made["Namespace", "portal-gateway"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_what_is_named_is_there(made, pod, container):
    secret = made["Secret", "gateway-environment"]
    assert container["envFrom"] == [{"secretRef": {"name": secret["metadata"]["name"]}}]
    (config,) = [volume["configMap"] for volume in pod["volumes"] if "configMap" in volume]
    assert config["name"] == made["ConfigMap", "gateway"]["metadata"]["name"]
    labels = made["Deployment", "gateway"]["spec"]["template"]["metadata"]["labels"]
    for kind, name, where in [
        ("Service", "gateway", ()),
        ("Service", "gateway-metrics", ()),
        ("Deployment", "gateway", ("matchLabels",)),
        ("PodDisruptionBudget", "gateway", ("matchLabels",)),
    ]:
        selector = made[kind, name]["spec"]["selector"]
        for key in where:
            selector = selector[key]
        assert selector == labels
    policy = made["NetworkPolicy", "gateway"]["spec"]
    assert policy["podSelector"]["matchLabels"] == labels
    # A label that kustomize put into this one, too, would take the pods' DNS away.
    (names,) = policy["egress"][0]["to"]
    assert names["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}


def test_prometheus_finds_the_metrics_and_has_the_key(made):
    (endpoint,) = made["ServiceMonitor", "gateway"]["spec"]["endpoints"]
    service = made["Service", "gateway-metrics"]
    (port,) = service["spec"]["ports"]
    assert endpoint["port"] == port["name"]
    selector = made["ServiceMonitor", "gateway"]["spec"]["selector"]["matchLabels"]
    assert selector.items() <= service["metadata"]["labels"].items()
    assert not selector.items() <= made["Service", "gateway"]["metadata"]["labels"].items()
    credentials = endpoint["authorization"]["credentials"]
    secret = made["Secret", "gateway-environment"]
    assert credentials["name"] == secret["metadata"]["name"]
    assert credentials["key"] in secret["data"]
