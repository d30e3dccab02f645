"""Fields of any format → names of the canonical event, by table.

The work is compiled per shape: lines of one program have the same keys, so which key goes where is decided once for a
tuple of keys (:class:`Plan`) and mapping a line is picking values by position. What no table maps keeps its name and nesting
under ``unmapped``; nothing is lost or renamed twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exporter.pipeline.parse import Keys

_ALIASES_BY_NAME: dict[str, str] = {
    # canonical name: what programs call it, most telling first (the first that is there wins)
    "message": "message msg @message body",
    "severity.text": "severity.text severity_text severity level log.level log_level loglevel lvl levelname detected_level",
    "service.name": "service.name service_name service app application",
    "host.name": "host.name hostname host",
    "user.name": "user.name user_name username user",
    "user.id": "user.id user_id userid uid",
    "source.ip": "source.ip src_ip client_ip clientip source_ip remote_addr remote_ip client.ip client.address src.ip",
    "source.port": "source.port src_port client_port remote_port source_port client.port",
    "destination.ip": "destination.ip dst_ip dest_ip destination_ip dst.ip server.address",
    "destination.port": "destination.port dst_port dest_port destination_port server.port",
    "http.request.method": "http.request.method http.method http_method request_method req.method request.method method",
    "http.response.status_code": (
        "http.response.status_code http.status_code http.status http_status status_code response.status res.statusCode "
        "response.status_code statusCode status"
    ),
    "url.path": "url.path http.path http.target uri_path request_path req.path request.path path",
    "url.query": "url.query http.query query_string",
    "url.full": "url.full http.url request_url req.url request.url url uri",
    "user_agent.original": "user_agent.original http.user_agent user_agent useragent http_user_agent userAgent",
    "process.pid": "process.pid process_id pid",
    "process.name": "process.name process_name",
    "process.executable": "process.executable exe",
    "process.command_line": "process.command_line command_line cmdline",
    "file.path": "file.path file_path",
    "trace.id": "trace.id trace_id traceId traceID traceid dd.trace_id",
    "span.id": "span.id span_id spanId spanID spanid dd.span_id",
    "event.outcome": "event.outcome outcome",
}
_LABEL_ALIASES_BY_NAME: dict[str, str] = {
    "service.name": "service_name service app app_kubernetes_io_name",
    "host.name": "host hostname host_name",
    "severity.text": "level severity detected_level",
    "k8s.namespace.name": "k8s_namespace_name namespace",
    "k8s.pod.name": "k8s_pod_name pod",
    "k8s.container.name": "k8s_container_name container",
    "k8s.node.name": "k8s_node_name node_name",
    "k8s.deployment.name": "k8s_deployment_name deployment",
    "k8s.cluster.name": "k8s_cluster_name cluster",
    "trace.id": "trace_id traceID",
    "span.id": "span_id spanID",
    "user.id": "user_id",
}


def _by_alias(table: dict[str, str]) -> dict[str, tuple[int, str]]:
    return {alias: (rank, target) for target, names in table.items() for rank, alias in enumerate(names.split())}


FIELD_ALIASES = _by_alias(_ALIASES_BY_NAME)
LABEL_ALIASES = _by_alias(_LABEL_ALIASES_BY_NAME)
#: Objects whose members may be mapped, for example ``http`` because of ``http.method``.
_CONTAINERS = frozenset(alias.split(".")[0] for alias in FIELD_ALIASES if "." in alias)

#: OpenTelemetry severity numbers (logs data model, "Mapping of SeverityNumber"), with syslog's and pino's names.
SEVERITY_NUMBERS: dict[str, int] = {
    "trace": 1, "finest": 1, "10": 1, "debug": 5, "fine": 5, "dbg": 5, "20": 5, "info": 9, "information": 9,
    "informational": 9, "inf": 9, "30": 9, "notice": 10, "warn": 13, "warning": 13, "wrn": 13, "40": 13, "error": 17,
    "err": 17, "severe": 17, "50": 17, "crit": 18, "critical": 18, "alert": 19, "fatal": 21, "panic": 21, "emerg": 21,
    "emergency": 21, "60": 21,
}  # fmt: skip
#: The same by every spelling that programs use, so that one look-up does.
_SEVERITY_OF: dict[Any, int] = {
    spelling: number
    for name, number in SEVERITY_NUMBERS.items()
    for spelling in (name, name.upper(), name.capitalize(), *([int(name)] if name.isdigit() else []))
}
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "REPORT")
#: Types that cannot be the value of a canonical key.
_NOT_SCALAR = frozenset((dict, list, type(None)))


def _integer_within(low: int, high: int) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is str and value.isascii() and value.isdigit() and len(value) < 12:
            value = int(value)
        return value if type(value) is int and low <= value <= high else None

    return check


def _text(value: Any) -> Any:
    return value if type(value) is str else None


#: Returns the value to keep, or None when this value cannot be what its key says (then it stays under ``unmapped``).
_CHECKS: dict[str, Callable[[Any], Any]] = {
    # RFC 9110 section 15: three digits. A table answers faster than a function.
    "http.response.status_code": {key: n for n in range(100, 600) for key in (n, str(n))}.get,
    "http.request.method": {key: m for m in _METHODS for key in (m, m.lower())}.get,
    "source.port": _integer_within(0, 65_535),
    "destination.port": _integer_within(0, 65_535),
    "process.pid": _integer_within(0, 2**32),
    "trace.id": _text,
    "span.id": _text,
    "message": _text,
}

#: Keys and values of a line → the event's own members.
Mapper = Callable[[Keys, tuple[Any, ...]], dict[str, Any]]
#: Values of a line → its canonical members and the rest.
Build = Callable[[tuple[Any, ...]], tuple[dict[str, Any], dict[str, Any]]]


class Plan:
    """Where the values of one tuple of keys go. ``claimed``: canonical names that something else sets already."""

    #: A plan used this often gets a function of its own. Making one costs as much as some hundred uses save.
    COMPILE_AFTER = 64

    __slots__ = ("_uses", "apply", "checks", "keys", "mapped", "nested")

    def __init__(self, keys: Keys, prefix: str, claimed: frozenset[str]) -> None:
        best: dict[str, tuple[int, int]] = {}
        for position, key in enumerate(keys):
            rank, target = FIELD_ALIASES.get(prefix + key, (0, ""))
            if target and target not in claimed and (target not in best or rank < best[target][0]):
                best[target] = (rank, position)
        self.keys = keys
        self.mapped = {position: target for target, (_, position) in best.items()}
        self.checks = tuple((name, _CHECKS[name]) for name in self.mapped.values() if name in _CHECKS)
        taken = claimed.union(best)
        #: Plans of objects in the line, for example of ``http``.
        self.nested = tuple(
            (key, _PlanCache(f"{key}.", taken - {self.mapped.get(position)}, 64))
            for position, key in enumerate(keys)
            if key in _CONTAINERS and not prefix
        )
        #: Canonical members and the rest of a line's values; a value that cannot be what its key says is in the rest.
        self.apply: Build = self._by_table
        self._uses = 0

    def origin(self, target: str) -> str:
        """Return the key that a canonical name came from."""
        return next(self.keys[position] for position, name in self.mapped.items() if name == target)

    def _by_table(self, values: tuple[Any, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
        self._uses += 1
        if self._uses == self.COMPILE_AFTER and self.keys:
            self.apply = self._compiled()
        event: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        for position, value in enumerate(values):
            name = self.mapped.get(position)
            if name is None or type(value) in _NOT_SCALAR:
                rest[self.keys[position]] = value
            else:
                event[name] = value
        for name, check in self.checks:
            if name in event:
                value = check(event[name])
                if value is None:
                    rest[self.origin(name)] = event.pop(name)
                else:
                    event[name] = value
        return event, rest

    def _compiled(self) -> Build:
        """Return a function that does the same with two dictionary displays, six times faster; it leaves to the table what
        fails a check. As in ``dataclasses`` its source is made of names only, each written by ``repr``, so no key can be
        anything but a string in it.
        """
        names = [f"v{position}" for position in range(len(self.keys))]
        mapped = ", ".join(f"{target!r}: {names[p]}" for p, target in self.mapped.items())
        rest = ", ".join(f"{key!r}: {names[p]}" for p, key in enumerate(self.keys) if p not in self.mapped)
        scope: dict[str, Any] = {"by_table": self._by_table, "not_scalar": _NOT_SCALAR}
        lines = [f"{', '.join(names)}, = values"]
        for position, target in self.mapped.items():
            if target in _CHECKS:
                scope[f"check{position}"] = _CHECKS[target]
                lines.append(f"if v{position}.__class__ in not_scalar: return by_table(values)")
                lines.append(f"v{position} = check{position}(v{position})")
                lines.append(f"if v{position} is None: return by_table(values)")
            else:
                lines.append(f"if v{position}.__class__ in not_scalar: return by_table(values)")
        lines.append(f"return {{{mapped}}}, {{{rest}}}")
        exec("def apply(values):\n    " + "\n    ".join(lines), scope)  # noqa: S102 (see above)
        build: Build = scope["apply"]
        return build


class _PlanCache(dict[Keys, Plan]):
    """Plans by keys, of a bounded number, so that nothing grows with hostile keys."""

    def __init__(self, prefix: str, claimed: frozenset[str], limit: int) -> None:
        super().__init__()
        self._prefix, self._claimed, self._limit = prefix, claimed, limit

    def __missing__(self, keys: Keys) -> Plan:
        if len(self) >= self._limit:
            self.clear()
        plan = self[keys] = Plan(keys, self._prefix, self._claimed)
        return plan


class Normaliser:
    """Maps parsed lines. Not thread-safe."""

    #: Plans kept for one set of claimed names, some 2 kB each; and such sets kept.
    MAX_PLANS = 2048
    MAX_CLAIMS = 64

    def __init__(self) -> None:
        self._caches: dict[frozenset[str], _PlanCache] = {}

    def mapper(self, claimed: frozenset[str]) -> Mapper:
        """Return the function that maps the lines of streams whose labels claim these canonical names.

        It returns the event's own keys: ``kind``, canonical names, and the rest under ``unmapped``.
        """
        if len(self._caches) > self.MAX_CLAIMS:
            self._caches.clear()
        plans = self._caches.setdefault(claimed, _PlanCache("", claimed, self.MAX_PLANS))

        def apply(keys: Keys, values: tuple[Any, ...]) -> dict[str, Any]:
            plan = plans[keys]
            event, rest = plan.apply(values)
            for name, inner_plans in plan.nested:
                inner = rest.get(name)
                if type(inner) is dict and inner:
                    _map_inner(event, rest, name, inner_plans[tuple(inner)].apply(tuple(inner.values())))
            _finish(event)
            if rest:
                event["unmapped"] = rest
            return event

        return apply


def _map_inner(
    event: dict[str, Any], rest: dict[str, Any], name: str, mapped: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    found, left = mapped
    if not found:
        return
    event.update(found)
    if left:
        rest[name] = left
    else:
        del rest[name]


def _finish(event: dict[str, Any]) -> None:
    """Add what follows from other keys: the severity's number and the kind."""
    level = event.get("severity.text")
    if level is not None:
        number = _SEVERITY_OF.get(level)
        if number is not None:
            event["severity.number"] = number
        if type(level) is not str:
            event["severity.text"] = str(level)
    is_request = "http.request.method" in event and (
        "http.response.status_code" in event or "url.path" in event or "url.full" in event
    )
    event["kind"] = "http.request" if is_request else "log"


def label_fields(labels: dict[str, Any]) -> dict[str, Any]:
    """Return the canonical keys that labels (or structured metadata) tell. Labels are set by the operator's agents, so
    they win over what a line claims of itself.
    """
    best: dict[str, tuple[int, Any]] = {}
    for key, value in labels.items():
        rank, target = LABEL_ALIASES.get(key, (0, ""))
        if target and type(value) is str and value and (target not in best or rank < best[target][0]):
            best[target] = (rank, value)
    fields: dict[str, Any] = {target: value for target, (_, value) in best.items()}
    number = _SEVERITY_OF.get(fields.get("severity.text"))
    if number is not None:
        fields["severity.number"] = number
    return fields
