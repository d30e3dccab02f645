"""Firewalls that write key=value lines: FortiGate, netfilter (iptables, nftables, ufw), Sophos and others that name the same.

Sources: docs.fortinet.com, "FortiOS log message reference"; netfilter's LOG target (nf_log_syslog).
"""

from __future__ import annotations

import re

from exporter.pipeline.normalise.checks import OUTCOME_OF
from exporter.pipeline.normalise.source import Derive, Source, Variant, keys

#: FortiOS: accept, close and server-rst end allowed sessions; the rest of the words are common.
_FORTI_ACTIONS = dict.fromkeys(("accept", "close", "client-rst", "server-rst", "timeout", "ip-conn", "start", "passthrough", "login", "tunnel-up"), "success")  # fmt: skip
_FORTIGATE = Source(
    "fortigate",
    "Fortinet FortiGate",
    {"host.name": "devname", "host.id": "devid", "event.code": "logid", "event.category": "type", "severity.text": "level", "source.ip": "srcip",
     "source.port": "srcport", "source.mac": "srcmac", "destination.ip": "dstip", "destination.port": "dstport", "destination.mac": "dstmac",
     "network.interface.in": "srcintf", "network.interface.out": "dstintf", "network.transport": "proto", "network.protocol": "service app", "event.action": "action",
     "policy.name": "policyname", "rule.id": "policyid attackid", "rule.name": "attack", "source.bytes": "sentbyte", "destination.bytes": "rcvdbyte",
     "source.packets": "sentpkt", "destination.packets": "rcvdpkt", "event.duration": "duration", "user.name": "user", "group.name": "group",
     "message": "msg logdesc", "event.reason": "reason", "url.domain": "hostname", "url.full": "url", "session.id": "sessionid",
     "event.outcome": "status"},
    keys("logid devname", "logid type subtype", "devid logid"),
    {"observer.vendor": "Fortinet", "observer.product": "FortiGate"},
    by=("type", "subtype", "action"),
    choose=lambda *values: "login" if "login" in values else "ips" if values[1] in {"ips", "virus", "anomaly"} else "traffic" if values[0] == "traffic" else "",
    variants={"login": Variant("auth.logon"), "ips": Variant("detection"), "traffic": Variant("net.flow")},
    derive=(Derive("event.action", "event.outcome", _FORTI_ACTIONS.get), Derive("event.action", "event.outcome", OUTCOME_OF.get)),
)  # fmt: skip
#: The prefix is the administrator's; ufw, firewalld and most others name the verdict in it.
_VERDICT = re.compile(r"\b(?:(BLOCK|DROP|DENY|DENIED|REJECT)|(ALLOW|ACCEPT|PASS))", re.IGNORECASE)


def _verdict(prefix: str) -> str | None:
    match = _VERDICT.search(prefix)
    return None if match is None else "failure" if match[1] else "success"


_NETFILTER = Source(
    "netfilter",
    "packets logged by Linux netfilter (iptables, nftables, ufw)",
    {"source.ip": "SRC", "destination.ip": "DST", "source.port": "SPT", "destination.port": "DPT", "network.transport": "PROTO", "rule.name": "netfilter.prefix",
     "network.interface.in": "IN", "network.interface.out": "OUT", "source.bytes": "LEN", "user.id": "UID"},
    keys("SRC DST PROTO", "SRC DST IN"),
    {"observer.vendor": "Linux", "observer.product": "netfilter"},
    kind="net.flow",
    derive=(Derive("rule.name", "event.outcome", _verdict),),
    generic=True,
)  # fmt: skip
_KV_FLOW = Source(
    "kv_firewall",
    "other firewalls with key=value lines",
    {"source.ip": "src srcip src_ip", "destination.ip": "dst dstip dst_ip", "source.port": "spt srcport src_port sport", "destination.port": "dpt dstport dst_port dport",
     "network.transport": "proto protocol", "event.action": "action act", "rule.id": "rule_id fw_rule_id", "rule.name": "rule fw_rule_name",
     "event.outcome": "log_subtype"},
    keys("src dst action", "src dst proto action", "srcip dstip action", "src_ip dst_ip protocol action", "src dst proto act"),
    kind="net.flow",
    derive=(Derive("event.action", "event.outcome", OUTCOME_OF.get),),
    generic=True,
)  # fmt: skip

SOURCES = (_FORTIGATE, _NETFILTER, _KV_FLOW)
