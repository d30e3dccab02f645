"""The Kafka bus over TLS, client certificates and logins, with ACLs: it works over each, and each refusal says what to do."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator

import pytest

from exporter.bus.kafka.bus import KafkaEventBus
from exporter.errors import ConfigurationError
from exporter.settings.model import KafkaBus
from tests.support.buses import PATIENCE_SECONDS, Member, Reading, numbered, settle
from tests.support.fixtures import kafka_settings
from tests.support.kafka import KafkaMissingError
from tests.support.secure_kafka import PASSWORD, SecureKafka, secure_kafka

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    try:
        with secure_kafka(tmp_path_factory.mktemp("secure")) as running:
            yield running
    except KafkaMissingError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


def settings_of(secure: SecureKafka, listener: str, **changes: object) -> KafkaBus:
    values = secure.connection(listener) | changes
    return kafka_settings(str(values.pop("bootstrap_servers")), **values)


def refused(settings: KafkaBus) -> str:
    """Try to prepare and to check; both must name the same fault, and neither the password."""
    bus = KafkaEventBus(settings)
    try:
        with pytest.raises(ConfigurationError) as caught:
            bus.prepare(["acme"], ["soc"])
        (finding,) = caught.value.findings
        assert [found.path for found in bus.check()] == [finding.path]
    finally:
        bus.close()
    assert PASSWORD not in str(finding)
    return finding.path


@pytest.mark.parametrize(
    ("listener", "mechanism"),
    [("sasl", "PLAIN"), ("sasl", "SCRAM-SHA-256"), ("sasl", "SCRAM-SHA-512"), ("mtls", "SCRAM-SHA-512")],
)
def test_the_bus_works_with_the_rights_of_the_documentation_alone(
    secure: SecureKafka, listener: str, mechanism: str
) -> None:
    settings = settings_of(secure, listener, sasl_mechanism=mechanism)
    secure.grant_all(secure.principal(listener), settings.topic_prefix)
    bus = KafkaEventBus(settings)
    bus.prepare(["acme"], ["soc"])
    member = Member(bus.membership("w"))
    settle([member], lambda: len(member.owned) == 4)
    writer = bus.open_shard(0, "w")
    assert writer.checkpoints() == {}
    writer.commit(numbered(range(100)))
    reading = Reading(bus.reader, "soc", ["acme"])
    assert reading.read(100) == list(range(100))
    reading.commit()
    bus.append_receipts([b"{}"])
    assert bus.all_checkpoints() == {"live/acme": b"100"}
    assert bus.dead_letters().counts() == {"soc": 0}
    assert bus.check() == []
    reading.reader.close()
    writer.close()
    member.membership.close()
    bus.close()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_wrong_password_is_named(secure: SecureKafka, mechanism: str) -> None:
    wrong = secure.certificates / f"wrong-{uuid.uuid4().hex}"
    wrong.write_text(f"not-{PASSWORD}")
    settings = settings_of(secure, "sasl", sasl_mechanism=mechanism, sasl_password_file=str(wrong))
    assert refused(settings) == "bus.sasl_password_file"
    bus, started = KafkaEventBus(settings), time.monotonic()
    with pytest.raises(ConfigurationError):
        bus.open_shard(0, "w")
    assert time.monotonic() - started < PATIENCE_SECONDS  # not tried for ever
    bus.close()


def test_certificates_that_cannot_be_trusted_are_named(secure: SecureKafka) -> None:
    stranger = {"ca_file": str(secure.certificates / "stranger-ca.pem")}
    assert refused(settings_of(secure, "tls", tls=stranger)) == "bus.tls.ca_file"
    assert refused(settings_of(secure, "expired")) == "bus.tls.ca_file"
    assert refused(settings_of(secure, "misnamed")) == "bus.tls.ca_file"


@pytest.mark.parametrize("certificate", [None, "stranger", "expired-client"])
def test_a_client_certificate_that_is_missing_or_refused_is_named(secure: SecureKafka, certificate: str | None) -> None:
    tls = {"ca_file": str(secure.certificates / "ca.pem")}
    tls |= {key: str(value) for key, value in (secure.client(certificate) if certificate else {}).items()}
    assert refused(settings_of(secure, "mtls", tls=tls)) == "bus.tls.cert_file"


def test_a_missing_right_names_what_to_grant_and_once_granted_the_commit_passes(secure: SecureKafka) -> None:
    settings = settings_of(secure, "sasl")
    principal, prefix = secure.principal("sasl"), settings.topic_prefix
    bus = KafkaEventBus(settings)
    with pytest.raises(ConfigurationError, match="Create with bus"):
        bus.prepare(["acme"], ["soc"])
    secure.grant_all(principal, prefix)
    bus.prepare(["acme"], ["soc"])
    secure.revoke(principal, "TRANSACTIONAL_ID")
    with pytest.raises(ConfigurationError, match="Write on transactional ids"):
        bus.open_shard(0, "w")
    secure.grant_all(principal, prefix)
    secure.revoke(principal, "TOPIC", "WRITE")
    writer = bus.open_shard(0, "w")
    with pytest.raises(ConfigurationError, match="Read, Write, DescribeConfigs"):
        writer.commit(numbered(range(10)))
    writer.close()
    secure.grant_all(principal, prefix)
    writer = bus.open_shard(0, "w")
    assert writer.checkpoints() == {}
    writer.commit(numbered(range(10)))
    writer.close()
    reading = Reading(bus.reader, "soc", ["acme"])
    assert reading.read(10) == list(range(10))
    reading.reader.close()
    bus.close()
