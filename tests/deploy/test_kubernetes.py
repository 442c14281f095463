"""The Kubernetes manifests against Kubernetes's own schemas, and against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import kubernetes_validate
import pytest
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, TypeAdapter

from broker_plugin.settings.sections import Settings
from tests.deploy.containers import KUBERNETES, PREFIX, ROOT, documents, manifests, pod_spec

# the oldest supported upstream at the time of writing, and the newest that the package has
VERSIONS = ("1.34", "1.37")
MANIFESTS = manifests()
WORKLOADS = [document for _, document in MANIFESTS if pod_spec(document) is not None]
OPERATORS = {"keda.sh/v1alpha1", "monitoring.coreos.com/v1"}


class Strict(BaseModel):
    """Kinds of operators, as far as they are used here: no unknown keys."""

    model_config = ConfigDict(extra="forbid")


class Metadata(Strict):
    """Name and labels."""

    name: str = Field(pattern=r"^[a-z0-9-]{1,63}$")
    labels: dict[str, str]


class TargetRef(Strict):
    """What is scaled."""

    name: str


class Fallback(Strict):
    """Replicas while the trigger cannot be asked."""

    failureThreshold: PositiveInt
    replicas: PositiveInt


class PrometheusQuery(Strict):
    """Metadata of KEDA's Prometheus trigger; every value is a string."""

    serverAddress: str = Field(pattern=r"^https?://")
    query: str
    threshold: str = Field(pattern=r"^\d+$")


class Trigger(Strict):
    """One KEDA trigger."""

    type: Literal["prometheus"]
    metadata: PrometheusQuery


class Advanced(Strict):
    """KEDA hands the behaviour to a HorizontalPodAutoscaler, which has a schema."""

    horizontalPodAutoscalerConfig: dict[Literal["behavior"], dict[str, Any]]


class ScaledObjectSpec(Strict):
    """keda.sh/v1alpha1 ScaledObject."""

    scaleTargetRef: TargetRef
    minReplicaCount: PositiveInt
    maxReplicaCount: PositiveInt
    pollingInterval: PositiveInt
    cooldownPeriod: PositiveInt
    fallback: Fallback
    advanced: Advanced
    triggers: list[Trigger] = Field(min_length=1)


class ScaledObject(Strict):
    """A ScaledObject as a document."""

    apiVersion: Literal["keda.sh/v1alpha1"]
    kind: Literal["ScaledObject"]
    metadata: Metadata
    spec: ScaledObjectSpec


class Selector(Strict):
    """A label selector."""

    matchLabels: dict[str, str]


class Endpoint(Strict):
    """Where a ServiceMonitor scrapes."""

    port: str
    path: str = Field(pattern="^/")
    interval: str = Field(pattern=r"^\d+s$")
    scrapeTimeout: str = Field(pattern=r"^\d+s$")


class ServiceMonitorSpec(Strict):
    """monitoring.coreos.com/v1 ServiceMonitor."""

    jobLabel: str
    selector: Selector
    endpoints: list[Endpoint] = Field(min_length=1)


class ServiceMonitor(Strict):
    """A ServiceMonitor as a document."""

    apiVersion: Literal["monitoring.coreos.com/v1"]
    kind: Literal["ServiceMonitor"]
    metadata: Metadata
    spec: ServiceMonitorSpec


class PrometheusRule(Strict):
    """A PrometheusRule as a document; promtool checks what is in its groups."""

    apiVersion: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PrometheusRule"]
    metadata: Metadata
    spec: dict[Literal["groups"], list[dict[str, Any]]]


def named(kind: str, name: str) -> dict[str, Any]:
    """The one document of that kind and name."""
    (found,) = [d for _, d in MANIFESTS if d["kind"] == kind and d["metadata"]["name"] == name]
    return found


def template_labels(document: dict[str, Any]) -> dict[str, str]:
    """The labels of a workload's pods."""
    spec = document["spec"]["jobTemplate"]["spec"] if document["kind"] == "CronJob" else document["spec"]
    found: dict[str, str] = spec["template"]["metadata"]["labels"]
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("path", "document"), MANIFESTS, ids=[f"{d['kind']}-{d['metadata']['name']}" for _, d in MANIFESTS]
)
def test_manifests_have_their_schema(path: Path, document: dict[str, Any], version: str) -> None:
    """Kubernetes's strict schema accepts each of its own kinds; kinds of operators have the keys that they document.

    The operators' kinds are checked against the models above, written from their documentation: no package has their
    schemas.
    """
    if document["apiVersion"] in OPERATORS:
        assert path.parent == KUBERNETES / "operators"
        TypeAdapter(ScaledObject | ServiceMonitor | PrometheusRule).validate_python(document)
    else:
        assert path.parent == KUBERNETES
        kubernetes_validate.validate(document, version, strict=True)


def test_the_operator_gets_the_rules_that_are_tested() -> None:
    """Word for word those of deploy/prometheus/alerts.yml."""
    (rules,) = documents(KUBERNETES.parent / "prometheus" / "alerts.yml")
    assert named("PrometheusRule", "convention-broker")["spec"] == rules


def test_the_validator_refuses_a_misspelt_key() -> None:
    """The schema test can fail."""
    document = named("PodDisruptionBudget", "convention-classify")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            document | {"spec": document["spec"] | {"maxUnavailible": 1}}, VERSIONS[-1], strict=True
        )


def test_the_scaling_behaviour_is_an_autoscalers() -> None:
    """What KEDA hands on to the HorizontalPodAutoscaler it makes has that kind's schema."""
    scaled = named("ScaledObject", "convention-ingest")
    assert scaled["spec"]["scaleTargetRef"]["name"] == named("Deployment", "convention-ingest")["metadata"]["name"]
    assert "replicas" not in named("Deployment", "convention-ingest")["spec"]  # or each apply undoes the scaling
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "made-by-keda"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "convention-ingest"},
            "maxReplicas": scaled["spec"]["maxReplicaCount"],
            "behavior": scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
        },
    }
    kubernetes_validate.validate(autoscaler, VERSIONS[-1], strict=True)


def test_selectors_find_what_they_mean() -> None:
    """Services, budgets and the monitor select the pods and services of their role, and no others."""
    pods = {document["metadata"]["name"]: template_labels(document) for document in WORKLOADS}
    for name in ("convention-ingest", "convention-classify"):
        for selector in (
            named("Service", name)["spec"]["selector"],
            named("PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"],
        ):
            assert [pod for pod, labels in pods.items() if selector.items() <= labels.items()] == [name]
    for kind, name in (("Deployment", "convention-ingest"), ("StatefulSet", "convention-classify")):
        assert named(kind, name)["spec"]["selector"]["matchLabels"] == pods[name]
    monitor = named("ServiceMonitor", "convention-broker")["spec"]
    services = [d for _, d in MANIFESTS if d["kind"] == "Service"]
    for service in services:
        assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert monitor["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]
        # the alert rules name this job
        assert service["metadata"]["labels"][monitor["jobLabel"]] == "convention-broker"
    assert named("StatefulSet", "convention-classify")["spec"]["serviceName"] == "convention-classify"


def test_classify_is_a_static_member_by_its_pods_name() -> None:
    """A pod that is replaced comes back as the same member of its group, with its own volume."""
    workload = named("StatefulSet", "convention-classify")
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    (entry,) = [entry for entry in container["env"] if entry["name"] == f"{PREFIX}WORKER__INSTANCE_ID"]
    assert entry["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert [claim["metadata"]["name"] for claim in workload["spec"]["volumeClaimTemplates"]] == ["state"]


@pytest.mark.parametrize("document", WORKLOADS, ids=lambda document: document["metadata"]["name"])
def test_pods_are_restricted(document: dict[str, Any]) -> None:
    """Pods satisfy the restricted pod security standard, with a read-only root, requests and a memory limit."""
    pod = pod_spec(document)
    assert pod is not None
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == user_of_the_image()
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*pod.get("initContainers", []), *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
    if document["kind"] != "CronJob":
        assert pod["terminationGracePeriodSeconds"] >= Settings().worker.drain_deadline_s + 5


@pytest.mark.parametrize("document", WORKLOADS, ids=lambda document: document["metadata"]["name"])
def test_volumes_claims_and_secrets_hang_together(document: dict[str, Any]) -> None:
    """Each mount has its volume, each volume its ConfigMap or claim, and each secret is on the page."""
    pod = pod_spec(document)
    assert pod is not None
    claims = {d["metadata"]["name"] for _, d in MANIFESTS if d["kind"] == "PersistentVolumeClaim"}
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    volumes = {volume["name"] for volume in pod["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in document["spec"].get("volumeClaimTemplates", [])}
    for volume in pod["volumes"]:
        if "persistentVolumeClaim" in volume:
            assert volume["persistentVolumeClaim"]["claimName"] in claims
        if "configMap" in volume:
            named("ConfigMap", volume["configMap"]["name"])
        if "secret" in volume:
            assert volume["secret"]["secretName"] in page
    for container in (*pod.get("initContainers", []), *pod["containers"]):
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        for entry in container.get("env", []):
            reference = entry.get("valueFrom", {}).get("secretKeyRef")
            if reference is not None:
                assert reference["name"] in page
                assert reference["key"] in page


def user_of_the_image() -> int:
    """The numeric user that the Dockerfile ends with."""
    lines = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    (user,) = [line.split()[1] for line in lines if line.startswith("USER ")]
    return int(user.partition(":")[0])
