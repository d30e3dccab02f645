"""§5 of the reading facts: every status and text of Loki has one outcome."""

from __future__ import annotations

import httpx
import pytest

from exporter.errors import BadAnswer, RetryLater, ShrinkPage, SplitWindow, TenantStopped, Throttled
from exporter.loki.errors import error_of_status, error_of_transport


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (429, "too many outstanding requests", Throttled),
        (429, "", Throttled),
        (429, "querying is disabled, please contact your Loki operator", TenantStopped),
        (400, "max entries limit per query exceeded, limit > max_entries_limit (9 > 5)", ShrinkPage),
        (400, "the query time range exceeds the limit (query length: 800h, limit: 721h)", SplitWindow),
        (400, "maximum number of series (500) reached for a single query", SplitWindow),
        (400, "the query would read too many bytes (query: 5GB, limit: 1GB)", SplitWindow),
        (400, "query too large to execute on a single querier", SplitWindow),
        (400, "parse error at line 1, col 2: syntax error", TenantStopped),
        (400, "something new", BadAnswer),
        (413, "response larger than the max message size", ShrinkPage),
        (413, "", ShrinkPage),
        (500, "rpc error: code = ResourceExhausted desc = grpc: received message larger than max", ShrinkPage),
        (500, "context deadline exceeded", SplitWindow),
        (500, "multiple org IDs present", TenantStopped),
        (500, "empty ring", RetryLater),
        (502, "<html>bad gateway</html>", RetryLater),
        (503, "", RetryLater),
        (504, "request timed out", SplitWindow),
        (499, "", RetryLater),
        (401, "no org id", TenantStopped),
        (401, "", TenantStopped),
        (403, "", TenantStopped),
        (404, "404 page not found", TenantStopped),
        (400, "tenant ID 'a b' contains unsupported character ' '", TenantStopped),
        (302, "", TenantStopped),
        (200 + 4, "", BadAnswer),
    ],
)
def test_status_and_text_decide(status: int, text: str, kind: type[Exception]):
    error = error_of_status(status, text + " user@example.com")
    assert type(error) is kind
    assert "example.com" not in str(error)
    assert error.hint or not isinstance(error, TenantStopped | BadAnswer)


def test_retry_after_of_a_gateway_is_kept_within_reason():
    assert error_of_status(429, "", "7").retry_after_seconds == 7
    assert error_of_status(503, "", "99999").retry_after_seconds == 300
    assert error_of_status(503, "", "Wed, 21 Oct 2026 07:28:00 GMT").retry_after_seconds is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectError("refused"), RetryLater),
        (httpx.ConnectTimeout(""), RetryLater),
        (httpx.PoolTimeout(""), RetryLater),
        (httpx.ReadTimeout(""), SplitWindow),
        (httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"), TenantStopped),
        (httpx.UnsupportedProtocol("x"), TenantStopped),
    ],
)
def test_transport_failures_decide(error: Exception, kind: type[Exception]):
    assert type(error_of_transport(error)) is kind
