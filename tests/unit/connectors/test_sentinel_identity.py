"""Every way to a token, over TLS against a token endpoint that checks secrets, signatures, issuers, subjects and audiences."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from contextlib import asynccontextmanager

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from connectors.base import ConnectorContext, TargetMisconfigured, TargetUnauthorized, TargetUnavailable
from connectors.sentinel.connector import SentinelConnector
from connectors.testing import make_batch
from connectors.tokens import AGAIN_SECONDS, EARLY_SECONDS, Token, TokenSource
from exporter.domain.clock import ManualClock
from exporter.domain.secrets import Secret
from exporter.sandbox.certificates import self_signed
from exporter.sandbox.entra import AUDIENCE_OF_FEDERATION, Entra, Federation
from exporter.sandbox.logs_ingestion import StandInLogs
from tests.support.sentinel import ids, now_event, settings

ENTRA = Entra()
SECRET = "s3cret~value-of-the-application"
ISSUER, SUBJECT = "https://oidc.example.com/cluster", "system:serviceaccount:siem:exporter"


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def certificate(key):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "exporter")])
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )


@asynccontextmanager
async def azure(directory, **keys):
    """Yield the stand-in behind TLS and the settings that lead there."""
    logs = StandInLogs(entra=Entra(**keys))
    tls, ca_file = self_signed(directory / "tls")
    await logs.start(tls=tls)
    try:
        yield logs, {"endpoint": logs.url, "authority": logs.url, "ca_file": ca_file}
        assert not logs.failures
    finally:
        await logs.stop()


def application(**keys):
    return {"tenant_id": ENTRA.tenant_id, "client_id": ENTRA.client_id, **keys}


def secret_in(directory, value=SECRET):
    file = directory / "secret"
    file.write_text(value)
    return {"auth": "client_secret", "client_secret_file": Secret(path=file)}


def pem(directory, key, certificate, password=None):
    encryption = (
        serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password.encode())
    )
    file = directory / "application.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file


def projected(directory, key, **claims):
    file = directory / "projected"
    everything = {"iss": ISSUER, "sub": SUBJECT, "aud": AUDIENCE_OF_FEDERATION, "exp": int(time.time()) + 600, **claims}
    file.write_text(jwt.encode(everything, key, algorithm="RS256"))
    return file


async def deliver_one(given) -> None:
    connector = SentinelConnector(settings(**given), ConnectorContext("soc", ""))
    try:
        await connector.open()
        await connector.deliver(make_batch([now_event(1)]))
    finally:
        await connector.close()


async def test_client_secret(tmp_path):
    async with azure(tmp_path, secrets={SECRET}) as (logs, place):
        await deliver_one({**place, **application(), **secret_in(tmp_path)})
        assert logs.accepted == ids([1])
        assert logs.entra.requests == 1


@pytest.mark.parametrize("password", [None, "p4ss"])
async def test_certificate(tmp_path, key, certificate, password):
    async with azure(tmp_path, certificates=[certificate]) as (logs, place):
        given = {"auth": "certificate", "certificate_file": pem(tmp_path, key, certificate, password)}
        if password:
            (tmp_path / "password").write_text(password)
            given["certificate_password_file"] = Secret(path=tmp_path / "password")
        await deliver_one({**place, **application(), **given})
        assert logs.accepted == ids([1])


@pytest.mark.parametrize("from_environment", [True, False])
async def test_workload_identity(tmp_path, key, monkeypatch, from_environment):
    async with azure(tmp_path, federations=[Federation(ISSUER, SUBJECT, key.public_key())]) as (logs, place):
        file = projected(tmp_path, key)
        given = {"auth": "workload_identity"}
        if from_environment:
            monkeypatch.setenv("AZURE_TENANT_ID", ENTRA.tenant_id)
            monkeypatch.setenv("AZURE_CLIENT_ID", ENTRA.client_id)
            monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(file))
        else:
            given |= application(federated_token_file=file)
        await deliver_one({**place, **given})
        assert logs.accepted == ids([1])


@pytest.mark.parametrize("client_id", [None, ENTRA.client_id])
async def test_managed_identity(tmp_path, monkeypatch, client_id):
    """The endpoint of App Service; that of virtual machines has a fixed link-local address."""
    async with azure(tmp_path, identity_header="header") as (logs, place):
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{logs.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "header")
        del place["authority"]
        await deliver_one({**place, "auth": "managed_identity", "client_id": client_id})
        assert logs.accepted == ids([1])


async def refused(given, error=TargetUnauthorized):
    with pytest.raises(error) as caught:
        await deliver_one(given)
    assert SECRET not in f"{caught.value!s}{caught.value!r}"
    assert caught.value.__cause__ is None
    return str(caught.value)


async def test_refused_secrets(tmp_path):
    async with azure(tmp_path, secrets={SECRET}, expired_secrets={"old"}) as (logs, place):
        known = {**place, **application()}
        assert "not its id" in await refused({**known, **secret_in(tmp_path, "wrong")})
        assert "expired" in await refused({**known, **secret_in(tmp_path, "old")})
        assert "is empty" in await refused({**known, **secret_in(tmp_path, "")})
        strange = {**known, **secret_in(tmp_path), "client_id": ENTRA.tenant_id}
        assert "not an application" in await refused(strange)
        assert "cloud" in await refused({**known, **secret_in(tmp_path), "cloud": "china"})
        assert not logs.accepted


async def test_a_token_of_another_cloud_is_refused_by_the_service(tmp_path):
    async with azure(tmp_path, secrets={SECRET}) as (logs, place):
        given = {**place, **application(), **secret_in(tmp_path), "cloud": "us_government"}
        assert "check cloud" in await refused(given)
        assert logs.stats.answers == {"401": 2}


async def test_refused_certificates(tmp_path, key, certificate):
    async with azure(tmp_path) as (_, place):
        known = {**place, **application(), "auth": "certificate"}
        file = pem(tmp_path, key, certificate)
        assert "not registered" in await refused({**known, "certificate_file": file})
        assert "FileNotFoundError" in await refused({**known, "certificate_file": tmp_path / "none"})
        (tmp_path / "odd").write_text("no certificate")
        assert "cannot be used" in await refused({**known, "certificate_file": tmp_path / "odd"})


@pytest.mark.parametrize(
    ("claims", "hint"),
    [
        ({"iss": "https://elsewhere"}, "issuer"),
        ({"sub": "system:serviceaccount:siem:other"}, "subject"),
        ({"exp": int(time.time()) - 600}, "expired"),
        ({"aud": "api://other"}, "AADSTS700212"),
    ],
)
async def test_refused_workload_identity(tmp_path, key, claims, hint):
    async with azure(tmp_path, federations=[Federation(ISSUER, SUBJECT, key.public_key())]) as (_, place):
        file = projected(tmp_path, key, **claims)
        given = {**place, **application(federated_token_file=file), "auth": "workload_identity"}
        assert hint in await refused(given)


async def test_workload_identity_without_its_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("AZURE_TENANT_ID", raising=False)
    async with azure(tmp_path) as (_, place):
        text = await refused({**place, "auth": "workload_identity"}, TargetMisconfigured)
        assert "AZURE_TENANT_ID" in text


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_entra_is_away_for_a_moment(tmp_path, status):
    async with azure(tmp_path, secrets={SECRET}) as (logs, place):
        logs.entra.faults.append(status)
        await refused({**place, **application(), **secret_in(tmp_path)}, TargetUnavailable)


async def test_entra_cannot_be_reached_or_trusted(tmp_path):
    async with azure(tmp_path, secrets={SECRET}) as (_, place):
        given = {**place, **application(), **secret_in(tmp_path), "authority": "https://127.0.0.1:9"}
        await refused(given, TargetUnavailable)
        del given["ca_file"]
        given["authority"] = place["authority"]
        await refused(given, (TargetUnavailable, TargetMisconfigured))


async def test_a_rotated_secret_is_used_for_the_next_token(tmp_path):
    async with azure(tmp_path, secrets={SECRET}) as (logs, place):
        connector = SentinelConnector(
            settings(**place, **application(), **secret_in(tmp_path)), ConnectorContext("soc", "")
        )
        await connector.open()
        logs.entra.secrets = {"rotated-secret"}
        logs.entra.revoke_all()
        with pytest.raises(TargetUnauthorized):
            await connector.deliver(make_batch([now_event(1)]))
        (tmp_path / "secret").write_text("rotated-secret")
        await connector.deliver(make_batch([now_event(1)]))
        assert logs.accepted == ids([1])
        await connector.close()


class Fetcher:
    """Hands out tokens of an hour; ``away`` makes it fail."""

    def __init__(self, clock, life=3600.0):
        self.clock, self.life, self.calls, self.away = clock, life, 0, False

    async def __call__(self):
        self.calls += 1
        if self.away:
            raise TargetUnavailable("away")
        return Token(f"t{self.calls}", self.clock.now_ns() / 1e9 + self.life)


async def test_a_token_is_kept_and_replaced_early():
    clock = ManualClock(10**18)
    fetch = Fetcher(clock)
    source = TokenSource(fetch, clock)
    assert set(await asyncio.gather(*(source.token() for _ in range(20)))) == {"t1"}
    clock.advance(3600 - EARLY_SECONDS - 1)
    assert await source.token() == "t1"
    clock.advance(2)
    assert await source.token() == "t2"
    source.drop("t1")  # a late refusal of the old one
    assert await source.token() == "t2"
    source.drop("t2")
    assert await source.token() == "t3"
    assert fetch.calls == 3


async def test_while_a_token_is_good_entra_may_be_away():
    clock = ManualClock(10**18)
    fetch = Fetcher(clock)
    source = TokenSource(fetch, clock)
    await source.token()
    fetch.away = True
    clock.advance(3600 - EARLY_SECONDS)
    assert await source.token() == "t1"
    assert await source.token() == "t1"
    assert fetch.calls == 2
    clock.advance(AGAIN_SECONDS)
    assert await source.token() == "t1"
    assert fetch.calls == 3
    clock.advance(EARLY_SECONDS - 2 * AGAIN_SECONDS)
    with pytest.raises(TargetUnavailable):
        await source.token()
    fetch.away = False
    assert await source.token() == "t5"


def test_a_token_does_not_show():
    assert "very-secret" not in f"{Token('very-secret', 1.0)!r}{Token('very-secret', 1.0)!s}"


async def test_tokens_of_a_short_life():
    clock = ManualClock(10**18)
    fetch = Fetcher(clock, life=60.0)
    source = TokenSource(fetch, clock)
    await source.token()
    clock.advance(40)
    assert await source.token() == "t1"
    clock.advance(6)
    assert await source.token() == "t2"
