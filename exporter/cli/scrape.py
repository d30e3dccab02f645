"""What only a running service knows, from its own ``/metrics``."""

from __future__ import annotations

import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

#: The service is on this machine or near; whoever does not answer in this time is reported as not running.
TIMEOUT_SECONDS = 2.0
_MAX_BYTES = 50_000_000
_STATES = {0.0: "closed", 1.0: "half open", 2.0: "open"}


def scrape(listen: str) -> dict[str, Any] | None:
    """Return ``breakers`` (target → failure → state), ``stopped_tenants`` and ``ledger_breaks`` (chain → number, where not 0); None
    when no service answers there.

    ``listen`` is ``service.listen``: an address that means "any" is asked on loopback.
    """
    host, _, port = listen.rpartition(":")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never by way of a proxy
    try:
        with opener.open(f"http://{host}:{port}/metrics", timeout=TIMEOUT_SECONDS) as answer:
            text = answer.read(_MAX_BYTES).decode("utf-8", "replace")
        return _parse(text)
    except (OSError, HTTPException, ValueError):  # not there, or something else listens there
        return None


def _parse(text: str) -> dict[str, Any]:
    breakers: dict[str, dict[str, str]] = {}
    stopped: set[str] = set()
    broken: dict[str, int] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "loki_siem_breaker_state":
                state = _STATES.get(sample.value, "unknown")
                breakers.setdefault(sample.labels["target"], {})[sample.labels["failure"]] = state
            elif sample.name == "loki_siem_tenant_stopped" and sample.value:
                stopped.add(sample.labels["tenant"])
            elif sample.name == "loki_siem_ledger_breaks" and sample.value:
                broken[sample.labels["chain"]] = int(sample.value)
    return {"breakers": breakers, "stopped_tenants": stopped, "ledger_breaks": broken}
