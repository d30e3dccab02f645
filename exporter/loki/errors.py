"""Loki's answers mapped to the error tree, in this one place.

Loki answers errors as plain text and sets no ``Retry-After`` (a gateway before it may). The text can quote the query or
log lines, so it is only classified by known fragments and never repeated in a message. Statuses and fragments: loki
``pkg/querier/queryrange/limits.go``, ``pkg/util/server/error.go``, ``pkg/validation/limits.go``, gRPC ``rpc_util.go``.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import NamedTuple

import httpx

from exporter.errors import BadAnswer, ExporterError, RetryLater, ShrinkPage, SplitWindow, TenantStopped, Throttled

#: Bytes of an error's text that are looked at; Loki's fragments stand in the first few hundred.
ERROR_TEXT_BYTES = 4096


class _Rule(NamedTuple):
    fragment: str  # lower case
    statuses: tuple[int, ...]  # empty: any error status
    error: Callable[[str], ExporterError]


def _stop(hint: str) -> Callable[[str], ExporterError]:
    return lambda message: TenantStopped(message, hint=hint)


_SELECTOR_HINT = "check the tenant's selector with `loki-siem check`"
#: First match wins. The names on the left are what a message shows instead of Loki's text.
_RULES: tuple[_Rule, ...] = (
    _Rule(
        "querying is disabled",
        (),
        _stop("queries are switched off for this tenant in Loki (its query parallelism is 0)"),
    ),
    _Rule("no org id", (), _stop("Loki wants a tenant; set loki.send_org_id and the tenant's org_id")),
    _Rule("multiple org ids", (), _stop("name one tenant per entry under tenants; a|b is not supported")),
    _Rule("unsupported character", (), _stop("the tenant's org_id holds a character that Loki refuses")),
    _Rule("tenant id is too long", (), _stop("Loki takes at most 150 bytes as org_id")),
    _Rule("max entries limit", (), ShrinkPage),
    _Rule("larger than the max message size", (), ShrinkPage),
    _Rule("larger than max", (), ShrinkPage),
    _Rule("resourceexhausted", (), ShrinkPage),
    _Rule("query time range exceeds", (), SplitWindow),
    _Rule("too many bytes", (), SplitWindow),
    _Rule("too large to execute", (), SplitWindow),
    _Rule("maximum number of series", (), SplitWindow),
    _Rule("maximum of series", (), SplitWindow),
    _Rule("too many outstanding requests", (), Throttled),
    _Rule("parse error", (400,), _stop(_SELECTOR_HINT)),
    _Rule("queries require at least one", (400,), _stop(_SELECTOR_HINT)),
    _Rule("request timed out", (), SplitWindow),
    _Rule("context deadline exceeded", (), SplitWindow),
)

_AUTH_HINTS = {
    401: "Loki or its gateway refuses the credentials; check loki.auth and the secret's file",
    403: "the credentials may not read this tenant; grant access or correct org_id",
    404: "no Loki answers at this address; loki.url is the base without /loki/api/v1",
    407: "a proxy wants credentials",
}


def error_of_status(status: int, text: str, retry_after: str | None = None) -> ExporterError:
    """Return the error for an answer that is not a 200. ``text`` is the start of its body, which is never repeated."""
    lowered = text.lower()
    for rule in _RULES:
        if rule.fragment in lowered and (not rule.statuses or status in rule.statuses):
            return rule.error(f"Loki answered {status}, {rule.fragment}")
    return _by_status(status, f"Loki answered {status}", _seconds(retry_after))


def _by_status(status: int, message: str, seconds: float | None) -> ExporterError:
    error: ExporterError
    if status == 429:
        error = Throttled(message, retry_after_seconds=seconds)
    elif status in _AUTH_HINTS:
        error = TenantStopped(message, hint=_AUTH_HINTS[status])
    elif status == 413:
        error = ShrinkPage(message)
    elif status == 504:
        error = SplitWindow(message)
    elif status in {408, 499} or status >= 500:
        error = RetryLater(message, retry_after_seconds=seconds)
    elif 300 <= status < 400:
        hint = "loki.url is redirected, perhaps to a login page; use the final address"
        error = TenantStopped(message, hint=hint)
    else:
        hint = "Loki refuses a request that should be right; compare its version and its log"
        error = BadAnswer(message, hint=hint)
    return error


def error_of_transport(error: Exception) -> ExporterError:
    """Return the error for a request that got no whole answer. Messages name only the kind of failure."""
    kind = type(error).__name__
    if isinstance(error, httpx.ReadTimeout):
        return SplitWindow(f"no answer from Loki in time ({kind})")
    if isinstance(error, (httpx.ConnectError, ssl.SSLError)) and _is_certificate(error):
        return TenantStopped(
            "Loki's certificate or ours is refused",
            hint="check loki.tls.ca_file, cert_file, key_file and the host name",
        )
    if isinstance(error, (httpx.UnsupportedProtocol, httpx.InvalidURL)):
        return TenantStopped("loki.url cannot be used", hint="write it as http://host:port or https://host:port")
    return RetryLater(f"Loki is out of reach ({kind})")


def is_closed(error: Exception) -> bool:
    """Tell whether the peer closed the connection before or within the answer: a restart, a connection that idled too
    long, or a query above ``http_write_timeout``. The same request again tells them apart.
    """
    return isinstance(error, (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError))


def _is_certificate(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError) or "certificate" in str(seen).lower():
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _seconds(retry_after: str | None) -> float | None:
    """Read ``Retry-After`` in seconds; the date form is rare and ignored (the back-off covers it)."""
    if retry_after is not None and retry_after.strip().isdigit():
        return min(float(retry_after), 300.0)
    return None
