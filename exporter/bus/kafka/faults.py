"""KafkaError → our errors, in one place.

librdkafka answers every transactional call with three flags: ``retriable`` (call again), ``txn_requires_abort`` (abort and
begin again), ``fatal`` (this producer is finished); none of the three counts as fatal (librdkafka INTRODUCTION.md,
"Transactional producer"). ``_FENCED`` also stands for an expired transaction, so it always means: reopen and look who owns the
shard.
"""

from __future__ import annotations

from enum import Enum

from confluent_kafka import KafkaError, KafkaException

from exporter.bus.kafka.reasons import GRANTS, grant, hint, refusal
from exporter.errors import BusUnavailable, ConfigurationError, ExporterError, Fenced, Finding

# librdkafka's own codes carry a leading underscore in its public interface.
# ruff: noqa: SLF001

_LOGIN = frozenset(
    {
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
    }
)
_REFUSED = frozenset(
    {
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
        KafkaError.INVALID_SESSION_TIMEOUT,
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_PARTITIONS,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.POLICY_VIOLATION,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
        KafkaError._INVALID_ARG,
        KafkaError._UNSUPPORTED_FEATURE,
    }
)
_REPLACED = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})
_NO_TOPIC = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})

#: The broker does not answer.
OUT_OF_REACH = frozenset(
    {
        KafkaError._MSG_TIMED_OUT,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
    }
)
#: A group commit that came too late: the lanes belong to another reader already.
NOT_OURS = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.FENCED_MEMBER_EPOCH,
    }
)


class Verdict(Enum):
    """What a transactional call's error asks for."""

    RETRY = "retry"
    ABORT = "abort"
    REOPEN = "reopen"


def error_of(exception: KafkaException) -> KafkaError:
    """Return the KafkaError inside."""
    error = exception.args[0]
    assert isinstance(error, KafkaError)
    return error


def verdict(error: KafkaError) -> Verdict:
    """Read librdkafka's flags."""
    if error.txn_requires_abort():
        return Verdict.ABORT
    return Verdict.RETRY if error.retriable() and not error.fatal() else Verdict.REOPEN


def _finding(error: KafkaError, text: str) -> Finding | None:
    """Return what a human must mend, None for what passes by itself."""
    code = error.code()
    if code in GRANTS:
        return Finding("bus", text, grant(code))
    if (reason := refusal(error.str())) is not None:
        return Finding(reason.path, text, reason.cure)
    if code in _LOGIN:
        return Finding("bus", text, "Mend bus.security_protocol, the SASL keys or bus.tls.")
    if code in _REFUSED:
        return Finding("bus", text, "Mend the named setting of the bus or of the broker.")
    return None


def translate(error: KafkaError, doing: str, cause: KafkaError | None = None) -> ExporterError:
    """Return the error to raise. ``cause`` is what the client's error callback heard last: a refused login shows only there."""
    code = error.code()
    if cause is not None and code not in GRANTS and (cause.code() in _LOGIN or refusal(cause.str())):
        error, code = cause, cause.code()
    text = f"Kafka: {doing}: {error.name()} ({error.str()})"
    if code in _REPLACED:
        return Fenced(
            text,
            hint="another worker owns the shard, or the transaction took longer than bus.transaction_timeout_seconds",
        )
    if (finding := _finding(error, text)) is not None:
        return ConfigurationError([finding])
    if code in _NO_TOPIC:
        return BusUnavailable(text, hint="a topic is missing: start once with bus.create_topics, or create it")
    return BusUnavailable(text, hint=hint(cause.str() if cause is not None else error.str()))
