"""Why a broker does not let us in or do something, and the cure: tables for ``faults``.

librdkafka tells most of what goes wrong with TLS and logins only as text (seen with 2.16 and Kafka 4.1). Numbers are TLS alerts
(RFC 8446 §6): with TLS 1.3 a refused client certificate comes after the handshake, as a lost connection with such a number.
Operations are those that Kafka's authorizer asks for (kafka ``KafkaApis``).
"""

from __future__ import annotations

from typing import NamedTuple

from confluent_kafka import KafkaError


class Reason(NamedTuple):
    """Where in the configuration the fault lies, and what to do."""

    path: str
    cure: str


_CLIENT_CERTIFICATE = Reason(
    "bus.tls.cert_file",
    "The brokers refuse the client certificate or got none: name one that their truststore knows and that has not expired "
    "(bus.tls.cert_file and key_file).",
)

#: Part of librdkafka's text → reason. These need a human; whatever else breaks a connection is tried again.
REFUSALS = {
    "certificate verify failed": Reason(
        "bus.tls.ca_file",
        "Name the brokers' CA in bus.tls.ca_file; if it is that one, look whether the brokers' certificate has expired and holds "
        "the host name of bus.bootstrap_servers and advertised.listeners.",
    ),
    "SSL alert number 42": _CLIENT_CERTIFICATE,  # bad_certificate: what Java says when none came
    "SSL alert number 44": _CLIENT_CERTIFICATE,  # certificate_revoked
    "SSL alert number 45": _CLIENT_CERTIFICATE,  # certificate_expired
    "SSL alert number 46": _CLIENT_CERTIFICATE,  # certificate_unknown: what Java says of an expired one
    "SSL alert number 48": _CLIENT_CERTIFICATE,  # unknown_ca
    "SSL alert number 116": _CLIENT_CERTIFICATE,  # certificate_required
    "SSL alert number 70": Reason("bus.tls", "The brokers speak no common TLS version: allow TLS 1.2 or 1.3 there."),
    "SASL authentication error": Reason(
        "bus.sasl_password_file",
        "Mend bus.sasl_username, the password in bus.sasl_password_file or bus.sasl_mechanism, or create the user on the brokers.",
    ),
    "mechanism handshake failed": Reason(
        "bus.sasl_mechanism", "Set bus.sasl_mechanism to one that sasl.enabled.mechanisms of the brokers names."
    ),
}

#: Part of the text → hint for what is tried again.
HINTS = {
    "PLAINTEXT broker listener": "the port may be one without TLS: see bus.security_protocol",
    "SSL listener": "the port may be one with TLS: see bus.security_protocol",
    "incorrect security.protocol": "the port may want another bus.security_protocol",
}

_WHO = "the user of bus.sasl_username (with SSL: the subject of bus.tls.cert_file)"

#: What an authorization error asks an administrator for.
GRANTS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "Read, Write, DescribeConfigs (and Create with bus.create_topics) on topics "
    "that begin with bus.topic_prefix and a dot",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "Read on groups that begin with bus.topic_prefix and a dot",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "Write on transactional ids that begin with bus.topic_prefix and -shard-",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "IdempotentWrite on the cluster (brokers before 2.8), "
    "and Create there if topics are made by the service",
}


def refusal(text: str) -> Reason | None:
    """Return why a broker refused the connection, None when it is just away."""
    return next((reason for part, reason in REFUSALS.items() if part in text), None)


def hint(text: str) -> str:
    """Return what a lost connection may come from, or what always holds."""
    found = next((words for part, words in HINTS.items() if part in text), "")
    return found or "the broker cannot be reached or is not ready; it is tried again"


def grant(code: int) -> str:
    """Return the cure of an authorization error."""
    return f"Grant {_WHO}: {GRANTS[code]} (docs/kafka.md has the commands)."
