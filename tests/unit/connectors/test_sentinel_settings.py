"""What a configuration may say, what is refused, and that no secret shows in a finding."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from connectors.azure.identity import AUTHORITIES
from connectors.sentinel.columns import DEFAULT_COLUMNS
from connectors.sentinel.connector import SCOPES
from exporter.domain.secrets import Secret
from tests.support.sentinel import settings

GUID = "11111111-2222-3333-4444-555555555555"
APPLICATION = {"tenant_id": GUID, "client_id": GUID}


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"client_id": GUID},
        {"auth": "client_secret", **APPLICATION, "client_secret_file": Secret(env="X")},
        {"auth": "certificate", **APPLICATION, "certificate_file": "app.pem"},
        {"auth": "workload_identity"},
        {"auth": "workload_identity", **APPLICATION, "federated_token_file": "t"},
        {"columns": {**DEFAULT_COLUMNS, "user_agent.original": "UserAgent"}},
        {"endpoint": "http://127.0.0.1:8080"},
        {"endpoint": "http://localhost:8080/"},
        {"endpoint": "https://x.ingest.monitor.azure.com/"},
    ],
    ids=str,
)
def test_sound(keys):
    settings(**keys)


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"auth": "client_secret"}, "needs client_id, client_secret_file, tenant_id"),
        ({"auth": "certificate", **APPLICATION}, "needs certificate_file"),
        ({"auth": "managed_identity", "tenant_id": GUID}, "no use for tenant_id"),
        ({"auth": "workload_identity", "client_secret_file": Secret(env="X")}, "no use for client_secret_file"),
        ({"auth": "password"}, "auth"),
        ({"endpoint": "http://dce.example.com"}, "https"),
        ({"endpoint": "https://user:pw@dce.example.com"}, "endpoint"),
        ({"endpoint": "https://dce.example.com/path"}, "endpoint"),
        ({"authority": "http://login.example.com"}, "authority"),
        ({"dcr_id": "/subscriptions/x/dataCollectionRules/y"}, "dcr_id"),
        ({"stream": "LokiEvents"}, "stream"),
        ({"stream": "Microsoft-ASimDnsActivityLogs"}, "stream"),
        ({"columns": {**DEFAULT_COLUMNS, "kind": "service.name"}}, "columns"),
        ({"columns": {**DEFAULT_COLUMNS, "kind": "1st"}}, "columns"),
        ({"columns": {**DEFAULT_COLUMNS, "kind": "x" * 46}}, "columns"),
        ({"columns": {**DEFAULT_COLUMNS, "kind": "Kind:text"}}, "columns"),
        ({"columns": {**DEFAULT_COLUMNS, "kind": "Type"}}, "Azure's own"),
        ({"columns": {}}, "needs a column for event.id"),
        ({"quota_share": 0}, "quota_share"),
        ({"quota_share": 17}, "quota_share"),
        ({"tenant_id": "contoso"}, "tenant_id"),
        ({"surprise": 1}, "surprise"),
    ],
    ids=str,
)
def test_refused(keys, what):
    with pytest.raises(ValidationError) as caught:
        settings(**keys)
    assert what in str(caught.value)
    assert "user:pw" not in str(caught.value)


def test_every_cloud_has_its_login_and_audience():
    assert {cloud: scope.split("/")[2].rsplit(".", 1)[1] for cloud, scope in SCOPES.items()} == {
        "public": "com",
        "us_government": "us",
        "china": "cn",
    }
    assert set(AUTHORITIES) == set(SCOPES)
