"""Makes ``values.schema.json`` of the chart: the values' own keys below, and under ``config`` the schema of the exporter's
configuration, so that a typo there is an error when the chart is rendered.

``python deploy/helm/values_schema.py > deploy/helm/loki-siem-exporter/values.schema.json``; a test compares.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

SETTINGS_SCHEMA = Path(__file__).parents[2] / "config" / "schema.json"

TEXT: dict[str, Any] = {"type": "string"}
FLAG: dict[str, Any] = {"type": "boolean"}
OBJECT: dict[str, Any] = {"type": "object"}
LIST: dict[str, Any] = {"type": "array", "items": OBJECT}
TEXTS_BY_NAME: dict[str, Any] = {"type": "object", "additionalProperties": TEXT}
NAME: dict[str, Any] = {"type": "string", "minLength": 1}
#: Names of files below one folder.
FILE_NAME = "^[A-Za-z0-9_][A-Za-z0-9._-]*$"


def integer(least: int) -> dict[str, Any]:
    """An integer from ``least`` on."""
    return {"type": "integer", "minimum": least}


def closed(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """An object of just these keys."""
    made = {"type": "object", "additionalProperties": False, "properties": properties}
    return made | ({"required": list(required)} if required else {})


def by_name(value: dict[str, Any], names: str) -> dict[str, Any]:
    """An object of one kind of value under the user's own names."""
    return {"type": "object", "additionalProperties": False, "patternProperties": {names: value}}


PERSISTENCE = closed(size=NAME, storageClassName=TEXT)
TARGET = closed(replicas=integer(0), resources=OBJECT, persistence=PERSISTENCE)
SECRET = closed(("secretName", "key"), secretName=NAME, key=NAME)
REMOTE = closed(("key",), key=NAME, property=TEXT, version=TEXT)

PROPERTIES: dict[str, Any] = {
    "global": OBJECT,
    "secrets": by_name(SECRET, FILE_NAME),
    "externalSecrets": closed(
        enabled=FLAG,
        refreshInterval={"type": "string", "pattern": "^[0-9]+(s|m|h)$"},
        storeRef=closed(kind={"enum": ["SecretStore", "ClusterSecretStore"]}, name=TEXT),
        data=by_name(REMOTE, FILE_NAME),
    ),
    "secretsStoreCsi": closed(enabled=FLAG, secretProviderClass=TEXT),
    "image": closed(
        repository=NAME,
        tag=TEXT,
        digest={"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
        pullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
    ),
    "imagePullSecrets": LIST,
    "reader": closed(
        replicas=integer(0),
        resources=OBJECT,
        autoscaling=closed(
            enabled=FLAG, minReplicas=integer(1), maxReplicas=integer(1), targetCPUUtilizationPercentage=integer(1)
        ),
    ),
    "delivery": closed(
        replicas=integer(0),
        resources=OBJECT,
        keda=closed(
            enabled=FLAG,
            # From zero a group that never committed would never be woken.
            minReplicas=integer(1),
            maxReplicas=integer(1),
            lagThreshold=integer(1),
            authenticationRef=TEXT,
        ),
        targets=by_name(TARGET, "^[a-z0-9][a-z0-9_-]{0,62}$"),
    ),
    "persistence": PERSISTENCE,
    "serviceAccount": closed(create=FLAG, name=TEXT, annotations=TEXTS_BY_NAME),
    "podLabels": TEXTS_BY_NAME,
    "podAnnotations": TEXTS_BY_NAME,
    "priorityClassName": TEXT,
    "nodeSelector": TEXTS_BY_NAME,
    "tolerations": LIST,
    "affinity": OBJECT,
    "topologySpreadConstraints": LIST,
    "extraVolumes": LIST,
    "extraVolumeMounts": LIST,
    "podDisruptionBudget": closed(enabled=FLAG, maxUnavailable={"type": ["integer", "string"]}),
    "networkPolicy": closed(enabled=FLAG, metricsFrom=OBJECT, egressTo=LIST, extraEgress=LIST),
    "preflight": closed(enabled=FLAG, connect=FLAG),
    "metrics": closed(
        serviceMonitor=closed(enabled=FLAG, interval=NAME, labels=TEXTS_BY_NAME),
        prometheusRule=closed(enabled=FLAG, labels=TEXTS_BY_NAME, runbookUrl=TEXT),
    ),
}


def for_go(value: Any) -> Any:
    """Return a schema whose patterns Helm's regular expressions (RE2) take: they count no further than 1,000. What is longer
    is found by the check before the upgrade.
    """
    if isinstance(value, dict):
        return {
            key: re.sub(r"\{(\d+),\d{4,}\}", r"{\1,}", item)
            if key == "pattern" and isinstance(item, str)
            else for_go(item)
            for key, item in value.items()
        }
    return [for_go(item) for item in value] if isinstance(value, list) else value


def values_schema() -> dict[str, Any]:
    """Return the schema of the chart's values."""
    settings = for_go(json.loads(SETTINGS_SCHEMA.read_text("utf-8")))
    definitions = settings.pop("$defs")
    draft = settings.pop("$schema")
    # An empty one is refused by the chart itself, in words.
    return {
        "$schema": draft,
        "type": "object",
        "additionalProperties": False,
        "properties": {"config": {"type": "object", "if": {"minProperties": 1}, "then": settings}} | PROPERTIES,
        "$defs": definitions,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(values_schema(), indent=1) + "\n")
