"""Envelopes of security products: CEF and LEEF.

Sources: Micro Focus, "ArcSight Common Event Format implementation standard" (extension dictionary); IBM, "LEEF event attributes".
"""

from __future__ import annotations

from typing import Any

from exporter.pipeline.normalise.checks import NIL, OUTCOME_OF
from exporter.pipeline.normalise.severity import CEF_SEVERITY
from exporter.pipeline.normalise.source import Derive, Source, Variant

_NOBODY = NIL | {None}
_LOGON_WORDS = ("login", "logon", "log on", "log in", "sign-in", "authentication")


def _choose(*values: Any) -> str:
    """Choose by name, id, category and keys: only what is sure."""
    texts = [value.lower() for value in values[:4] if type(value) is str]
    words = " ".join(texts)
    if any(word in words for word in ("logout", "logoff", "log off", "log out")):
        return "logoff"
    if any(word in words for word in _LOGON_WORDS):
        return "logon_as" if len(values) > 7 and values[7] in _NOBODY else "logon"
    method, destination, signature = values[4:7]
    if method is not None:
        return "http"
    if (
        any(word in words for word in ("malware", "virus", "intrusion", "threat", "exploit", "attack", "ransom"))
        or signature is not None
    ):
        return "detection"
    return "flow" if destination is not None else ""


_VARIANTS = {
    # CEF's source user is empty where the event has only the account that was tried.
    "logon_as": Variant("auth.logon", fields={"user.name": "duser destinationUserName", "user.target.name": ""}),
    "logon": Variant("auth.logon"),
    "logoff": Variant("auth.logoff"),
    "http": Variant("http.request"),
    "detection": Variant("detection"),
    "flow": Variant("net.flow"),
}
#: The action tells the outcome where nothing else does (``act=blocked``).
_ACTION = Derive("event.action", "event.outcome", OUTCOME_OF.get)
_CEF = Source(
    "cef",
    "ArcSight Common Event Format",
    {"observer.vendor": "deviceVendor DeviceVendor vendor", "observer.product": "deviceProduct DeviceProduct product",
     "observer.version": "deviceVersion DeviceVersion", "event.code": "deviceEventClassId deviceEventClassID signatureId signature_id",
     "message": "msg message", "rule.name": "name", "event.severity": "deviceSeverity severity", "event.category": "cat deviceEventCategory",
     "event.action": "act deviceAction", "event.outcome": "outcome eventOutcome", "event.reason": "reason", "event.source_id": "externalId",
     "source.ip": "src sourceAddress", "source.port": "spt sourcePort", "source.mac": "smac sourceMacAddress", "source.address": "shost sourceHostName",
     "source.bytes": "in bytesIn", "destination.bytes": "out bytesOut", "destination.ip": "dst destinationAddress", "destination.port": "dpt destinationPort",
     "destination.mac": "dmac destinationMacAddress", "destination.address": "dhost destinationHostName",
     "network.transport": "proto transportProtocol", "network.protocol": "app applicationProtocol", "user.name": "suser sourceUserName duser destinationUserName",
     "user.target.name": "duser destinationUserName", "user.id": "suid sourceUserId", "user.domain": "sntdom sourceNtDomain",
     "host.name": "dvchost deviceHostName", "host.ip": "dvc deviceAddress", "process.name": "sproc sourceProcessName", "process.pid": "spid sourceProcessId",
     "file.name": "fname fileName", "file.path": "filePath", "file.size": "fsize fileSize", "file.hashes": "fileHash",
     "http.request.method": "requestMethod", "url.full": "request requestUrl", "user_agent.original": "requestClientApplication",
     "http.request.header.referer": "requestContext", "network.interface.in": "deviceInboundInterface", "network.interface.out": "deviceOutboundInterface",
     "network.direction": "deviceDirection"},
    by=("name", "deviceEventClassId", "cat", "act", "requestMethod", "dst", "fileHash", "suser"),
    choose=_choose,
    variants=_VARIANTS,
    # The name says in words what happened; it is the message of a record without one.
    derive=(Derive("event.severity", "severity.number", CEF_SEVERITY.get), _ACTION, Derive("rule.name", "message", str)),
)  # fmt: skip
_LEEF = Source(
    "leef",
    "IBM QRadar Log Event Extended Format",
    {"observer.vendor": "deviceVendor vendor Vendor", "observer.product": "deviceProduct product Product", "observer.version": "deviceVersion version Version",
     "event.code": "eventId eventID EventID", "event.category": "cat", "event.severity": "sev", "source.ip": "src", "source.port": "srcPort",
     "destination.ip": "dst", "destination.port": "dstPort", "source.mac": "srcMAC", "destination.mac": "dstMAC", "source.bytes": "srcBytes",
     "destination.bytes": "dstBytes", "source.packets": "srcPackets", "destination.packets": "dstPackets", "network.transport": "proto",
     "user.name": "usrName accountName", "user.domain": "domain", "host.name": "identHostName devName", "role.name": "role", "policy.name": "policy",
     "url.full": "url", "message": "msg message", "event.action": "action act", "event.outcome": "outcome", "event.reason": "reason", "file.name": "fileName",
     "http.request.method": "method"},
    by=("eventId", "cat", "action", "msg", "method", "dst", "fileHash"),
    choose=_choose,
    variants=_VARIANTS,
    # LEEF's severity has the ten steps of CEF's.
    derive=(Derive("event.severity", "severity.number", CEF_SEVERITY.get), _ACTION),
)  # fmt: skip

SOURCES = (_CEF, _LEEF)
