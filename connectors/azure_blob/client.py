"""The container: put, get and list, and the proof at the start that they work and that conditions are honoured.

One ``Put Blob`` an object: all or nothing. It takes 5,000 MiB and a batch is 16 MiB before compression, so blocks are not staged
one by one and none is ever left behind.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs, quote, unquote

import orjson
from azure.core.credentials import AccessToken, AzureNamedKeyCredential, AzureSasCredential
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob import ContentSettings, ImmutabilityPolicy, StandardBlobTier
from azure.storage.blob.aio import ContainerClient

from connectors.azure.identity import fetch_token
from connectors.azure_blob.answers import BlobExists, code_of, error_of_answer, error_of_sdk
from connectors.azure_blob.settings import AzureBlobSettings
from connectors.base import TargetError, TargetMisconfigured, TargetUnauthorized, TargetUnavailable
from connectors.s3.answers import ObjectExists
from connectors.s3.client import Got, Put
from connectors.tokens import Token, TokenSource
from exporter.domain.clock import Clock, SystemClock
from exporter.domain.secrets import Secret, SecretError

T = TypeVar("T")
#: Audience of tokens for storage, the same in every cloud (Azure Storage, authorise with Microsoft Entra ID).
SCOPE = "https://storage.azure.com/.default"
CONNECT_SECONDS = 10.0
#: No blob of ours is larger on the wire; one Put Blob takes 5,000 MiB.
MAX_BLOB_BYTES = 64 * 1024 * 1024
PROBE_BODY = b"Written once by loki-siem-exporter to prove that the container honours conditional writes.\n"
PROBE_PREFIX = "_loki-siem/"
#: Parameters without which a SAS cannot be one.
_SAS_NEEDS = frozenset({"sv", "sig"})


class AzureBlobClient:
    """See ``connectors.s3.client.ObjectStore``. Tries nothing again: that is the engine's part. ``fetch`` (of a token, blocking) is a
    seam for tests.
    """

    def __init__(
        self,
        settings: AzureBlobSettings,
        target: str,
        user_agent: str,
        *,
        clock: Clock | None = None,
        fetch: Callable[[], Token] | None = None,
    ) -> None:
        self._settings, self._user_agent = settings, user_agent
        self._name = f"{settings.account}/{settings.container}"
        ask = fetch or partial(fetch_token, settings, SCOPE)
        self._tokens = TokenSource(partial(asyncio.to_thread, ask), clock or SystemClock())
        self._login = _Login(settings, self._tokens)
        # Other settings may need other permissions: they get a probe of their own.
        policy = settings.immutability.model_dump() if settings.immutability else None
        extra = [policy, settings.access_tier, settings.encryption_scope, dict(settings.tags)]
        mark = hashlib.sha256(orjson.dumps(extra, option=orjson.OPT_SORT_KEYS)).hexdigest()
        self._probe_key = f"{PROBE_PREFIX}probe-{quote(target, safe='')}-{mark[:12]}"
        self._client: ContainerClient | None = None

    async def open(self) -> bool:
        """Raises TargetMisconfigured or TargetUnauthorized with what is missing, and the other TargetErrors."""
        await self.close()
        settings = self._settings
        try:
            transport = AioHttpTransport(
                connection_timeout=CONNECT_SECONDS,
                read_timeout=settings.timeout_seconds,
                connection_verify=str(settings.ca_file) if settings.ca_file is not None else True,
                use_env_settings=False,  # a proxy variable must not reroute events or credentials
            )
            self._client = ContainerClient(
                settings.account_url,
                settings.container,
                credential=await self._login.credential(),
                transport=transport,
                retry_total=0,
                user_agent=self._user_agent,
                max_single_put_size=MAX_BLOB_BYTES,
            )
        except ValueError as error:
            raise error_of_sdk(error, self._name) from None
        try:
            return await self._prove()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _prove(self) -> bool:
        """Write the probe, and if it was not there, once more: the second time must be refused."""
        await self.list(self._probe_key, "")
        honours = False
        try:
            for _ in range(2):
                await self.put(self._probe_key, PROBE_BODY, {}, only_new=True)
        except ObjectExists:
            honours = True
        if await self.get(self._probe_key) is None:
            raise TargetUnavailable(f"Azure container {self._name}: the probe is not there after its write")
        return honours

    # --- the calls ----------------------------------------------------------------------------------------------------

    async def put(self, key: str, body: bytes, metadata: Mapping[str, str], *, only_new: bool) -> Put:
        """See ObjectStore. The service checks Content-MD5 before it stores anything, and keeps it with the blob."""
        md5 = hashlib.md5(body, usedforsecurity=False).digest()
        settings = self._settings
        options: dict[str, Any] = {
            "overwrite": not only_new,  # False sends If-None-Match: *
            "metadata": {_metadata_name(name): quote(value) for name, value in metadata.items()},
            "content_settings": ContentSettings(
                content_type="application/x-ndjson" if metadata else "text/plain", content_md5=bytearray(md5)
            ),
            "validate_content": True,
            "tags": dict(settings.tags) or None,
            "standard_blob_tier": StandardBlobTier(settings.access_tier) if settings.access_tier else None,
            "encryption_scope": settings.encryption_scope,
            **_policy(settings),
        }
        answer = await self._call(lambda client: client.get_blob_client(key).upload_blob(body, **options))
        if not answer.get("etag") or not answer.get("request_id"):
            raise TargetMisconfigured(
                f"Azure container {self._name}: a success that is not Azure's answer to a write",
                hint="check account_url and any proxy on the way",
                code="not_azure",
            )
        sha256 = base64.b64encode(hashlib.sha256(body).digest()).decode()
        return Put(answer["etag"].strip('"'), answer.get("version_id") or "", sha256)

    async def get(self, key: str) -> Got | None:
        async def read(client: ContainerClient) -> Got | None:
            try:
                stream = await client.get_blob_client(key).download_blob(max_concurrency=1)
            except HttpResponseError as error:
                if code_of(error) == "BlobNotFound":
                    return None
                raise
            if stream.size > MAX_BLOB_BYTES:
                raise TargetMisconfigured(
                    f"Azure container {self._name}: {key} is too large to be ours",
                    hint="somebody else writes under this prefix: move it away, or change prefix",
                    code="foreign_object",
                )
            found = stream.properties.metadata or {}
            body: bytes = await stream.readall()
            return Got(body, {name.lower().replace("_", "-"): unquote(value) for name, value in found.items()})

        return await self._call(read)

    async def list(self, prefix: str, after: str) -> list[str]:
        async def names(client: ContainerClient) -> list[str]:
            # Emulators and older accounts know no place to start from; a lane's blobs of an hour are few.
            return [name async for name in client.list_blob_names(name_starts_with=prefix) if name > after]

        return await self._call(names)

    # --- one call -----------------------------------------------------------------------------------------------------

    async def _call(self, act: Callable[[ContainerClient], Awaitable[T]]) -> T:
        """Make one call, after a refused login once more with a fresh one, and turn what goes wrong into errors of the target."""
        async with self._errors():
            client = self._client
            if client is None:
                raise TargetUnavailable(f"Azure container {self._name}: the connector is not open")
            used = await self._login.refresh()
            try:
                return await act(client)
            except HttpResponseError as error:
                if error.status_code not in {401, 403} or not await self._login.is_renewed(used):
                    raise
            return await act(client)

    @asynccontextmanager
    async def _errors(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._settings.timeout_seconds + CONNECT_SECONDS):
                yield
        except HttpResponseError as error:
            found = error_of_answer(error, self._name)
            if isinstance(found, BlobExists):
                raise ObjectExists from None
            raise found from None
        except SecretError as error:
            raise TargetUnauthorized(str(error), code="secret_unreadable") from None
        except TargetError:
            raise
        except (AzureError, TimeoutError, OSError, ValueError) as error:
            raise error_of_sdk(error, self._name) from None


class _Bearer:
    """Tokens of Entra as the SDK wants them. It asks for each request anew, because ours are kept in the token source."""

    def __init__(self, tokens: TokenSource) -> None:
        self._tokens = tokens
        self.last = ""

    async def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        self.last = await self._tokens.token()
        return AccessToken(self.last, 0)

    async def close(self) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


class _Login:
    """The credential of the SDK, brought up to date before each call: keys and signatures are read again when their files change."""

    def __init__(self, settings: AzureBlobSettings, tokens: TokenSource) -> None:
        self._settings, self._tokens = settings, tokens
        self._bearer = _Bearer(tokens)
        self._key: AzureNamedKeyCredential | None = None
        self._sas: AzureSasCredential | None = None

    async def credential(self) -> Any:
        """Return it. Raises TargetError when there is none."""
        settings = self._settings
        if settings.account_key_file is not None:
            self._key = AzureNamedKeyCredential(settings.account, _account_key(settings.account_key_file))
            return self._key
        if settings.sas_file is not None:
            self._sas = AzureSasCredential(_signature(settings.sas_file))
            return self._sas
        await self._tokens.token()
        return self._bearer

    async def refresh(self) -> str:
        """Take over what stands in the files now; return what is used."""
        settings = self._settings
        if self._key is not None and settings.account_key_file is not None:
            key = _account_key(settings.account_key_file)
            self._key.update(settings.account, key)
            return key
        if self._sas is not None and settings.sas_file is not None:
            signature = _signature(settings.sas_file)
            self._sas.update(signature)
            return signature
        return self._bearer.last

    async def is_renewed(self, used: str) -> bool:
        """Tell, after a refusal, whether another credential is at hand now."""
        if self._key is None and self._sas is None:
            self._tokens.drop(self._bearer.last)
            return await self._tokens.token() != self._bearer.last
        return await self.refresh() != used


def _account_key(secret: Secret) -> str:
    """Raises TargetUnauthorized when it is no key."""
    key = _reveal(secret)
    try:
        base64.b64decode(key, validate=True)
    except ValueError:
        raise TargetUnauthorized(
            f"{secret.place} holds no account key (Base64)",
            hint="copy key1 or key2 of the account",
            code="secret_unreadable",
        ) from None
    return key


def _signature(secret: Secret) -> str:
    """Raises TargetUnauthorized when it is no shared access signature."""
    signature = _reveal(secret).lstrip("?")
    if not (signature.isascii() and signature.isprintable() and parse_qs(signature).keys() >= _SAS_NEEDS):
        raise TargetUnauthorized(
            f"{secret.place} holds no shared access signature",
            hint="put what stands behind the question mark there (sv=…&sig=…)",
            code="secret_unreadable",
        )
    return signature


def _reveal(secret: Secret) -> str:
    try:
        return secret.reveal()
    except SecretError as error:
        raise TargetUnauthorized(str(error), code="secret_unreadable") from None


def _metadata_name(name: str) -> str:
    """Names of metadata must be identifiers of C#."""
    return name.replace("-", "_")


def _policy(settings: AzureBlobSettings) -> dict[str, Any]:
    policy = settings.immutability
    if policy is None:
        return {}
    found: dict[str, Any] = {"legal_hold": True} if policy.legal_hold else {}
    if policy.mode is not None and policy.retain_days is not None:
        until = datetime.now(UTC) + timedelta(days=policy.retain_days)
        found["immutability_policy"] = ImmutabilityPolicy(expiry_time=until, policy_mode=policy.mode.capitalize())
    return found
