"""Fields of any format → names of the canonical event, by table.

The work is compiled per shape: lines of one program have the same keys, so which key goes where is decided once for a
tuple of keys (:class:`Plan`) and mapping a line is picking values by position. What no table maps keeps its name and nesting
under ``unmapped``; nothing is lost or renamed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
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

#: Source, keys and values of a line → the event's own members.
Mapper = Callable[[str, Keys, tuple[Any, ...]], dict[str, Any]]
#: For every key that may hold an object to be mapped: the keys of that object, None where it is something else.
Shape = tuple[Keys | None, ...]
#: Values of a line → the event's own members.
Build = Callable[[tuple[Any, ...]], dict[str, Any]]


class Plan:
    """Where the values of one tuple of keys go. ``claimed``: canonical names that something else sets already."""

    #: A shape used this often gets a function of its own. Making one costs as much as some hundred uses save.
    COMPILE_AFTER = 64
    #: Functions for one tuple of keys (lines that differ in the keys of their inner objects).
    MAX_COMPILED = 16

    __slots__ = ("_compiled", "_inner_at", "_uses", "checks", "event", "keys", "mapped", "nested")

    def __init__(self, keys: Keys, prefix: str, claimed: frozenset[str]) -> None:
        best: dict[str, tuple[int, int]] = {}
        for position, key in enumerate(keys):
            rank, target = FIELD_ALIASES.get(prefix + key, (0, ""))
            if target and target not in claimed and (target not in best or rank < best[target][0]):
                best[target] = (rank, position)
        self.keys = keys
        self.mapped = dict(sorted((p, t) for t, (_, p) in best.items()))
        self.checks = tuple((name, _CHECKS[name]) for name in self.mapped.values() if name in _CHECKS)
        taken = claimed.union(best)
        #: Plans of objects in the line, for example of ``http``.
        self.nested = tuple(
            (key, _PlanCache(f"{key}.", taken - {self.mapped.get(position)}, 64))
            for position, key in enumerate(keys)
            if key in _CONTAINERS and not prefix
        )
        self._inner_at = tuple(keys.index(name) for name, _ in self.nested)
        self._compiled: dict[Shape, Build] = {}
        self._uses: dict[Shape, int] = {}
        #: The event's own members of a line's values.
        self.event: Build = self._by_shape

    def origin(self, target: str) -> str:
        """Return the key that a canonical name came from."""
        return next(self.keys[position] for position, name in self.mapped.items() if name == target)

    def split(self, values: Iterable[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return canonical members and the rest; a value that cannot be what its key says is in the rest."""
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

    def _by_table(self, values: tuple[Any, ...]) -> dict[str, Any]:
        event, rest = self.split(values)
        for name, inner_plans in self.nested:
            inner = rest.get(name)
            if type(inner) is dict and inner:
                _map_inner(event, rest, name, inner_plans[tuple(inner)].split(inner.values()))
        _finish(event)
        if rest:
            event["unmapped"] = rest
        return event

    def _by_shape(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """Use, make, or do without the function for the keys of this line's inner objects."""
        shape: Shape = tuple([tuple(v) if type(v) is dict else None for v in map(values.__getitem__, self._inner_at)])
        build = self._compiled.get(shape)
        if build is not None:
            return build(values)
        if self.keys and len(self._compiled) < self.MAX_COMPILED:
            if len(self._uses) > self.MAX_COMPILED:
                self._uses.clear()
            uses = self._uses[shape] = self._uses.get(shape, 0) + 1
            if uses >= self.COMPILE_AFTER:
                build = self._compiled[shape] = self._compile(shape)
                if len(self._compiled) == 1:
                    self.event = build
        return self._by_table(values)

    def _compile(self, shape: Shape) -> Build:
        """Return a function that does the same as the table with one dictionary display, five times faster. It leaves to
        the table what fails a check, and other shapes to :meth:`_by_shape`.
        """
        source = _Source(self._by_table, self._by_shape)
        source.unpack("v", len(self.keys), "values")
        inner: dict[int, tuple[_PlanCache, Keys]] = {}
        for position, (_, plans), keys in zip(self._inner_at, self.nested, shape, strict=True):
            source.expect(f"v{position}", keys)
            if keys is not None:
                inner[position] = plans, keys
        mapped = {position: target for position, target in self.mapped.items() if position not in inner}
        source.take(mapped, "v")
        rest = {position: f"v{position}" for position in range(len(self.keys)) if position not in mapped}
        for position, (plans, keys) in inner.items():
            plan, prefix = plans[keys], f"v{position}_"
            if plan.mapped:
                source.unpack(prefix, len(keys), f"v{position}.values()")
                source.take(plan.mapped, prefix)
                left = {key: f"{prefix}{p}" for p, key in enumerate(keys) if p not in plan.mapped}
                rest[position] = _display(left)
                if not left:
                    del rest[position]
        return source.build({self.keys[position]: value for position, value in rest.items()})


def _display(members: dict[str, str]) -> str:
    """Return the source of a dictionary of keys and variables."""
    return "{" + ", ".join(f"{key!r}: {variable}" for key, variable in members.items()) + "}"


class _Source:
    """The source of a function that maps lines of one shape. As in ``dataclasses`` it is made of our own variables and of
    names each written by ``repr``, so no key of a line can be anything but a string in it.
    """

    def __init__(self, by_table: Build, by_shape: Build) -> None:
        self._lines: list[str] = []
        self._event: dict[str, str] = {}
        self._scope: dict[str, Any] = {
            "not_scalar": _NOT_SCALAR,
            "severity": _SEVERITY_OF.get,
            "by_table": by_table,
            "by_shape": by_shape,
        }

    def unpack(self, prefix: str, count: int, values: str) -> None:
        """Give the values names: the prefix and their position."""
        self._lines.append(", ".join(f"{prefix}{position}" for position in range(count)) + f", = {values}")

    def expect(self, variable: str, keys: Keys | None) -> None:
        """Check that a value is an object of these keys, or none at all."""
        wrong = f"type({variable}) is dict"
        if keys is not None:
            self._scope[f"keys_{variable}"] = keys
            wrong = f"type({variable}) is not dict or tuple({variable}) != keys_{variable}"
        self._lines.append(f"if {wrong}: return by_shape(values)")

    def take(self, mapped: dict[int, str], prefix: str) -> None:
        """Check values by position and note them as members of the event. Nearly all are texts, which one comparison
        tells; only where one is not, each is looked at.
        """
        variables = {target: f"{prefix}{position}" for position, target in mapped.items()}
        texts = {t: v for t, v in variables.items() if t not in _CHECKS or _CHECKS[t] is _text}
        others = [(t, v) for t, v in variables.items() if t not in texts]
        if texts:
            self._lines.append(f"if not ({''.join(f'type({v}) is ' for v in texts.values())}str):")
            for target, variable in texts.items():
                wrong = f"type({variable}) is not str" if target in _CHECKS else f"type({variable}) in not_scalar"
                self._lines.append(f"    if {wrong}: return by_table(values)")
        for target, variable in others:
            self._scope[f"check_{variable}"] = _CHECKS[target]
            self._lines.append(f"if type({variable}) in not_scalar: return by_table(values)")
            self._lines.append(f"{variable} = check_{variable}({variable})")
            self._lines.append(f"if {variable} is None: return by_table(values)")
        self._event |= variables

    def build(self, rest: dict[str, str]) -> Build:
        """Return the function; see :func:`_finish` for what it adds."""
        last = {"kind": repr(_kind(self._event))} | ({"unmapped": _display(rest)} if rest else {})
        level = self._event.get("severity.text")
        if level is not None:
            self._lines.append(f"number = severity({level})")
            self._lines.append(f"if type({level}) is not str: {level} = str({level})")
            self._lines.append(
                f"if number is not None: return {_display(self._event | {'severity.number': 'number'} | last)}"
            )
        self._lines.append(f"return {_display(self._event | last)}")
        exec("def event(values):\n    " + "\n    ".join(self._lines), self._scope)  # noqa: S102 (see the class)
        function: Build = self._scope["event"]
        return function


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

        def apply(source: str, keys: Keys, values: tuple[Any, ...]) -> dict[str, Any]:  # noqa: ARG001 (one vocabulary so far)
            return plans[keys].event(values)

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
    event["kind"] = _kind(event)


def _kind(event: Container[str]) -> str:
    """Return what an event with these keys tells of."""
    is_request = "http.request.method" in event and (
        "http.response.status_code" in event or "url.path" in event or "url.full" in event
    )
    return "http.request" if is_request else "log"


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
