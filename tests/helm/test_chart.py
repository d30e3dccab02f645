"""The chart, rendered by a real helm: what every object must hold, and what wrong values are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from connectors.registry import settings_models
from deploy.helm.values_schema import values_schema
from exporter.ops import metrics
from exporter.settings.load import load_settings
from tests.support.helm import CHART, documents, helm_path, render, run

pytestmark = pytest.mark.skipif(helm_path() is None, reason="no helm (set HELM_BIN or install Go)")

EXAMPLES = sorted((CHART / "ci").glob("*-values.yaml"))
BY_NAME = {path.name.removesuffix("-values.yaml"): path for path in EXAMPLES}
#: Kinds whose schema comes with Kubernetes itself.
CUSTOM = {"ScaledObject", "ServiceMonitor", "PrometheusRule", "ExternalSecret"}
SMALL: dict[str, Any] = {
    "reader": {"replicas": 1},
    "config": {
        "version": 1,
        "loki": {"url": "http://loki:3100"},
        "tenants": {"acme": {"selector": '{a="b"}', "targets": ["soc"]}},
        "targets": {"soc": {"kind": "file", "directory": "/var/lib/loki-siem/out"}},
    },
}


def example(name: str) -> list[dict[str, Any]]:
    return documents(BY_NAME[name])


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {o["metadata"]["name"].removeprefix("rel-loki-siem-exporter"): o for o in objects if o["kind"] == kind}


def pods(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for item in objects:
        if item["kind"] == "Pod":
            yield item["spec"]
        elif "template" in item.get("spec", {}):
            yield item["spec"]["template"]["spec"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_pass_lint_and_kubernetes_own_schemas(path: Path) -> None:
    assert run("lint", "--strict", str(CHART), "-f", str(path)).returncode == 0
    for version in ("1.32", "1.34", "1.37"):
        for item in documents(path, kube_version=f"{version}.0"):
            if item["kind"] not in CUSTOM:
                kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_container_runs_without_privileges_and_within_limits(path: Path) -> None:
    specs = list(pods(documents(path)))
    assert specs
    for spec in specs:
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"]["memory"]
            assert container["resources"]["limits"]["memory"]
            assert "env" not in container, "secrets are files, never environment"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_configuration_of_the_pods_is_what_was_written(path: Path, tmp_path: Path) -> None:
    """Numbers stay integers (Helm would write 2e+10), and the exporter itself accepts the file."""
    text = of_kind(documents(path), "ConfigMap")["-config"]["data"]["config.yaml"]
    written = yaml.safe_load(path.read_text())["config"]
    for name in ("loki", "tenants", "targets"):
        assert yaml.safe_load(text)[name] == written[name]
    for folder, name in (
        ("secrets", "hec"),
        ("secrets", "loki"),
        ("secrets", "kafka"),
        ("secrets", "identity"),
        ("csi", "hec"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text("0" * 64)
    (tmp_path / "config.yaml").write_text(text)
    settings = load_settings(tmp_path / "config.yaml", settings_models())
    assert settings.service.listen == "0.0.0.0:9464"
    assert str(settings.service.state_dir) == "/var/lib/loki-siem"
    assert set(settings.tenants) == set(written["tenants"])
    if path.stem.startswith("embedded"):
        assert settings.bus.retention_bytes == 15_000_000_000  # type: ignore[union-attr]


def test_one_workload_for_the_readers_and_one_for_each_target() -> None:
    objects = example("splunk")
    assert of_kind(objects, "StatefulSet").keys() == {"-reader", "-to-files"}
    assert of_kind(objects, "Deployment").keys() == {"-to-soc"}
    assert of_kind(objects, "Deployment")["-to-soc"]["spec"]["replicas"] == 3
    container = next(pods(list(of_kind(objects, "Deployment").values())))["containers"][0]
    assert container["args"][3:] == ["--role", "delivery", "--target", "soc"]
    claim = of_kind(objects, "StatefulSet")["-to-files"]["spec"]["volumeClaimTemplates"][0]["spec"]
    assert claim["resources"]["requests"]["storage"] == "200Gi"


def test_the_embedded_bus_is_one_pod_with_a_volume_that_does_everything() -> None:
    objects = example("embedded")
    assert not of_kind(objects, "Deployment")
    (spec,) = (o["spec"] for o in of_kind(objects, "StatefulSet").values())
    assert spec["replicas"] == 1
    assert spec["template"]["spec"]["containers"][0]["args"] == ["run", "-c", "/etc/loki-siem/config.yaml"]
    assert spec["volumeClaimTemplates"][0]["metadata"]["name"] == "state"


def test_replicas_are_left_to_the_autoscalers() -> None:
    objects = example("forty-tenants")
    for workload in [*of_kind(objects, "StatefulSet").values(), *of_kind(objects, "Deployment").values()]:
        assert "replicas" not in workload["spec"], workload["metadata"]["name"]
    scaled = of_kind(objects, "ScaledObject")
    assert scaled.keys() == {"-to-sentinel", "-to-archive"}
    trigger = scaled["-to-archive"]["spec"]["triggers"][0]
    assert trigger["metadata"]["consumerGroup"] == "siem.delivery.archive"
    assert trigger["authenticationRef"] == {"name": "kafka-scram"}
    assert of_kind(objects, "HorizontalPodAutoscaler").keys() == {"-reader"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_pods_are_given_longer_to_end_than_a_drain_takes(path: Path) -> None:
    drain = yaml.safe_load(path.read_text())["config"].get("service", {}).get("drain_deadline_seconds", 25)
    for item in documents(path):
        if item["kind"] in {"Deployment", "StatefulSet"}:
            assert item["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= drain + 10


def test_egress_is_what_the_configuration_names() -> None:
    def ports(name: str) -> set[int]:
        (policy,) = of_kind(example(name), "NetworkPolicy").values()
        return {port["port"] for port in policy["spec"]["egress"][1]["ports"]}

    assert ports("embedded") == {80, 8088}
    assert ports("splunk") == {3100, 9092, 8088}
    assert ports("forty-tenants") == {443, 9093}


def test_secrets_are_files_of_existing_or_fetched_secrets() -> None:
    def sources(name: str) -> list[dict[str, Any]]:
        (volume,) = (
            v
            for v in next(pods(list(of_kind(example(name), "StatefulSet").values())))["volumes"]
            if v["name"] == "secrets"
        )
        found: list[dict[str, Any]] = volume["projected"]["sources"]
        return found

    assert sources("embedded") == [{"secret": {"name": "splunk-hec", "items": [{"key": "token", "path": "hec"}]}}]
    assert sources("forty-tenants") == [{"secret": {"name": "rel-loki-siem-exporter-external"}}]
    fetched = of_kind(example("forty-tenants"), "ExternalSecret")[""]["spec"]["data"]
    assert [entry["secretKey"] for entry in fetched] == ["identity", "kafka", "loki"]


def test_a_check_runs_before_every_change() -> None:
    job = of_kind(example("splunk"), "Job")["-preflight"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == [
        "check",
        "-c",
        "/etc/loki-siem/config.yaml",
        "--connect",
    ]


def test_pods_are_replaced_when_the_configuration_changes() -> None:
    def checksum(values: dict[str, Any]) -> str:
        (workload,) = of_kind(documents(values), "StatefulSet").values()
        found: str = workload["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        return found

    other = json.loads(json.dumps(SMALL))
    other["config"]["tenants"]["acme"]["start"] = "now"
    assert checksum(SMALL) == checksum(dict(SMALL))
    assert checksum(SMALL) != checksum(other)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"config": {}}, "config: is required"),
    ({"reader": {"replicas": 2}}, "reader.replicas: the SQLite bus is one file for one pod"),
    ({"delivery": {"keda": {"enabled": True}}}, "delivery.keda: it scales by Kafka's consumer lag"),
    ({"delivery": {"targets": {"sock": {}}}}, "config.targets has no target of this name; it has: soc."),
    ({"delivery": {"targets": {"soc": {"replicas": 2}}}}, "a target of kind file writes to one volume"),
    ({"externalSecrets": {"enabled": True}}, "externalSecrets.storeRef.name: is required"),
    ({"secretsStoreCsi": {"enabled": True}}, "secretsStoreCsi.secretProviderClass: is required"),
    ({"readers": {}}, "additional properties 'readers' not allowed"),
    ({"reader": {"replica": 1}}, "additional properties 'replica' not allowed"),
    ({"config": SMALL["config"] | {"lokii": {}}}, "at '/config': additional properties 'lokii' not allowed"),
    ({"config": SMALL["config"] | {"loki": {"url": "loki"}}}, "at '/config/loki/url'"),
    ({"image": {"digest": "latest"}}, "at '/image/digest'"),
]


@pytest.mark.parametrize(("change", "told"), WRONG, ids=range(len(WRONG)))
def test_wrong_values_are_told_in_words(change: dict[str, Any], told: str) -> None:
    done = render(SMALL | change)
    assert done.returncode != 0
    assert told in done.stderr


def test_the_schema_of_the_values_is_made_from_the_settings() -> None:
    """Made anew by ``python deploy/helm/values_schema.py``."""
    assert json.loads((CHART / "values.schema.json").read_text()) == values_schema()


def test_alerts_speak_of_metrics_that_exist_and_each_has_a_runbook() -> None:
    known = {
        name
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
        for family in metric.describe()
        for name in (family.name, f"{family.name}_total", f"{family.name}_bucket")
    }
    alerts = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["alerts"]
    rendered = of_kind(example("forty-tenants"), "PrometheusRule")[""]["spec"]["groups"][0]["rules"]
    assert [rule["alert"] for rule in rendered] == [alert["alert"] for alert in alerts]
    for rule, alert in zip(rendered, alerts, strict=True):
        assert rule["expr"] == alert["expr"]
        names = {
            word
            for word in alert["expr"].replace("(", " ").replace("{", " ").replace(")", " ").replace("[", " ").split()
            if word.startswith("loki_siem_")
        }
        assert names
        assert names <= known, names - known
        assert (CHART.parents[2] / "docs" / "runbooks" / f"{alert['alert']}.md").is_file()
        assert rule["annotations"]["runbook_url"].endswith(alert["alert"])
