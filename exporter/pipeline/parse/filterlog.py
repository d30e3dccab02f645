"""Packets as pfSense and OPNsense log them: the CSV of ``filterlog``.

Source: docs.netgate.com, "Raw Filter Log Format": rule, sub-rule, anchor, tracker, interface, reason, action, direction, IP
version; then fields of IPv4 (``tos … protocol, length, source, destination``) or IPv6, then ports for TCP and UDP.
"""

from __future__ import annotations

from exporter.pipeline.parse import Parsed
from exporter.pipeline.parse.fields import collect, present

_COMMON = (
    "rule.id",
    "filterlog.subrule",
    "filterlog.anchor",
    "filterlog.tracker",
    "interface",
    "event.reason",
    "event.action",
)
#: Position of the protocol's name, of the length, and of the source's address, by IP version.
_PLACES = {"4": (16, 17, 18), "6": (12, 14, 15)}
_DIRECTIONS = {"in": "inbound", "out": "outbound"}
_OUTCOMES = {"pass": "success", "block": "failure", "reject": "failure"}


def parse_filterlog(text: str) -> Parsed | None:
    """Return the fields of a packet, or None when the text is none. What stands behind the ports is `filterlog.rest`."""
    parts = text.split(",")
    places = _PLACES.get(parts[8]) if len(parts) > 8 else None
    if places is None or len(parts) < places[2] + 2 or parts[6] not in _OUTCOMES:
        return None
    protocol, length, source = places
    names = dict(present(_COMMON, parts[:7]))
    direction = _DIRECTIONS.get(parts[7], parts[7])
    interface = names.pop("interface", None)
    if interface:
        names["network.interface.out" if direction == "outbound" else "network.interface.in"] = interface
    pairs = [
        ("kind", "net.flow"),
        ("observer.product", "filterlog"),
        *names.items(),
        ("event.outcome", _OUTCOMES[parts[6]]),
        ("network.direction", direction),
        *present(("network.transport", "source.bytes"), (parts[protocol].lower(), parts[length])),
        *present(("source.ip", "destination.ip"), parts[source : source + 2]),
    ]
    at = source + 2
    if parts[protocol].lower() in {"tcp", "udp"} and len(parts) >= at + 2:
        pairs += present(("source.port", "destination.port"), parts[at : at + 2])
        at += 2
    if rest := ",".join(parts[at:]):
        pairs.append(("filterlog.rest", rest))
    return collect([*pairs, ("message", text)])
