"""Network sensors: Suricata's EVE and Zeek's JSON.

Sources: docs.suricata.io, "EVE JSON format"; docs.zeek.org, "Logs" (conn, dns, http, ssh, dhcp, notice).
"""

from __future__ import annotations

from typing import Any

from exporter.pipeline.normalise.checks import OUTCOME_OF
from exporter.pipeline.normalise.severity import SURICATA_SEVERITY
from exporter.pipeline.normalise.source import Derive, Source, Variant, keys

_SURICATA = Source(
    "suricata",
    "Suricata EVE",
    {"source.ip": "src_ip", "source.port": "src_port", "destination.ip": "dest_ip", "destination.port": "dest_port", "network.transport": "proto",
     "network.protocol": "app_proto", "network.community_id": "community_id", "network.interface.in": "in_iface", "event.category": "event_type",
     "host.name": "host", "event.source_id": "flow_id", "event.action": "alert.action", "rule.id": "alert.signature_id", "rule.name": "alert.signature",
     "rule.category": "alert.category", "event.severity": "alert.severity", "http.request.method": "http.http_method", "url.domain": "http.hostname",
     "url.full": "http.url", "http.response.status_code": "http.status", "user_agent.original": "http.http_user_agent",
     "http.request.header.referer": "http.http_refer", "http.response.body.size": "http.length", "dns.question.name": "dns.rrname",
     "dns.question.type": "dns.rrtype", "dns.response_code": "dns.rcode", "tls.protocol.version": "tls.version", "tls.server.name": "tls.sni",
     "tls.client.ja3": "tls.ja3.hash", "file.name": "fileinfo.filename", "file.size": "fileinfo.size", "file.hash.sha256": "fileinfo.sha256",
     "file.hash.md5": "fileinfo.md5", "source.bytes": "flow.bytes_toserver", "destination.bytes": "flow.bytes_toclient",
     "source.packets": "flow.pkts_toserver", "destination.packets": "flow.pkts_toclient", "event.reason": "flow.reason",
     "email.from.address": "email.from", "email.to.address": "email.to[0]"},
    keys("event_type src_ip dest_ip", "event_type flow_id", "event_type timestamp src_ip"),
    {"observer.vendor": "OISF", "observer.product": "Suricata"},
    by=("event_type",),
    variants={"alert": Variant("detection"), "dns": Variant("dns.query"), "http": Variant("http.request"), "flow": Variant("net.flow"),
              "netflow": Variant("net.flow"), "tls": Variant("net.flow"), "ssh": Variant("net.session"), "rdp": Variant("net.session"),
              "smtp": Variant("email.message"), "dhcp": Variant("dhcp.lease"), "anomaly": Variant("detection"), "drop": Variant("net.flow", {"event.outcome": "failure"})},
    derive=(Derive("event.severity", "severity.number", SURICATA_SEVERITY.get), Derive("event.action", "event.outcome", OUTCOME_OF.get)),
)  # fmt: skip


def _zeek(path: Any, query: Any, method: Any, ssh: Any, state: Any, note: Any) -> str:
    """Choose by ``_path`` where a shipper adds it, else by a key that only one log has."""
    if type(path) is str:
        return path
    by_key = {"dns": query, "http": method, "ssh": ssh, "conn": state, "notice": note}
    return next((name for name, value in by_key.items() if value is not None), "")


_ZEEK = Source(
    "zeek",
    "Zeek's logs as JSON",
    {"event.source_id": "uid", "event.category": "_path", "source.ip": "id.orig_h", "source.port": "id.orig_p", "destination.ip": "id.resp_h",
     "destination.port": "id.resp_p", "network.transport": "proto", "network.protocol": "service", "source.bytes": "orig_bytes", "destination.bytes": "resp_bytes",
     "source.packets": "orig_pkts", "destination.packets": "resp_pkts", "event.action": "conn_state", "dns.question.name": "query",
     "dns.question.type": "qtype_name", "dns.response_code": "rcode_name", "http.request.method": "method", "url.domain": "host", "url.full": "uri",
     "http.response.status_code": "status_code", "user_agent.original": "user_agent", "http.request.header.referer": "referrer",
     "http.request.body.size": "request_body_len", "http.response.body.size": "response_body_len", "tls.protocol.version": "version", "tls.cipher": "cipher",
     "tls.server.name": "server_name", "event.outcome": "auth_success", "rule.name": "note", "message": "msg", "source.mac": "mac",
     "network.community_id": "community_id", "user.name": "user username"},
    keys("uid id.orig_h id.resp_h", "uid id proto", "ts note msg", "ts uids mac"),
    {"observer.vendor": "Zeek", "observer.product": "Zeek"},
    by=("_path", "query", "method", "auth_attempts", "conn_state", "note"),
    choose=_zeek,
    variants={"conn": Variant("net.flow"), "dns": Variant("dns.query"), "http": Variant("http.request"), "ssh": Variant("net.session"),
              "ssl": Variant("net.flow"), "notice": Variant("detection"), "dhcp": Variant("dhcp.lease"), "rdp": Variant("net.session"), "smtp": Variant("email.message")},
)  # fmt: skip

SOURCES = (_SURICATA, _ZEEK)
