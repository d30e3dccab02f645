"""The bucket: three calls (put, get, list) and the proof at the start that they work and that conditions are honoured.

One ``PutObject`` per object: all or nothing, and the simplest semantics of conditions. It takes 5 GiB and a batch is 16 MiB
before compression, so multipart uploads are not needed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import urlencode

import orjson
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import AioSession
from botocore import exceptions as sdk
from botocore.credentials import ReadOnlyCredentials

from connectors.base import TargetError, TargetMisconfigured, TargetUnauthorized, TargetUnavailable
from connectors.s3.answers import ConditionRefused, ObjectExists, answer_error, not_implemented, sdk_error
from connectors.s3.settings import S3Settings
from exporter.domain.secrets import Secret, SecretError

CONNECT_SECONDS = 10.0
#: For each lane under way, and as many for batches that span hours.
MAX_CONNECTIONS = 16
#: No object of ours is larger on the wire, see ``connectors.s3.encode.MAX_PLAIN_BYTES``.
MAX_OBJECT_BYTES = 64 * 1024 * 1024
PROBE_BODY = b"Written once by loki-siem-exporter to prove that the store honours conditional writes.\n"
_NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Put:
    """What the store said to an object that it took."""

    etag: str
    version_id: str
    checksum: str


@dataclass(frozen=True, slots=True, repr=False)
class Got:
    """An object that stands there."""

    body: bytes
    metadata: Mapping[str, str]


class ObjectStore(Protocol):
    """What the connector needs of a store. All methods raise TargetError."""

    async def open(self) -> bool:
        """Connect and prove; return whether conditional writes are honoured."""
        ...

    async def close(self) -> None: ...

    async def put(self, key: str, body: bytes, metadata: Mapping[str, str], *, only_new: bool) -> Put:
        """Store an object; with ``only_new`` raise ObjectExists when the key is taken."""
        ...

    async def get(self, key: str) -> Got | None: ...

    async def list(self, prefix: str, after: str) -> list[str]:
        """Return all keys with a prefix that come after a key, in order."""
        ...


class FileCredentials(AioCredentials):  # type: ignore[misc]  # aiobotocore is not typed
    """An access key whose secret parts are read again for each request, so that rotation needs no restart."""

    def __init__(self, access_key: str, secret: Secret, token: Secret | None) -> None:
        super().__init__(access_key, "", method="file")
        self._secret, self._token = secret, token

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Called by the signer. Raises SecretError."""
        token = self._token.reveal() if self._token is not None else None
        return ReadOnlyCredentials(self.access_key, self._secret.reveal(), token, None)


class S3Client:
    """See ObjectStore. Tries nothing again: that is the engine's part."""

    def __init__(self, settings: S3Settings, target: str, user_agent: str) -> None:
        self._settings, self._user_agent = settings, user_agent
        self._extra = _put_parameters(settings)
        # Other settings may need other permissions: they get a probe of their own.
        mark = hashlib.sha256(orjson.dumps([self._extra, settings.checksum], option=orjson.OPT_SORT_KEYS)).hexdigest()
        self._probe_key = f"{settings.probe_prefix}probe-{target}-{mark[:12]}"
        self._stack: AsyncExitStack | None = None
        self._client: Any = None

    async def open(self) -> bool:
        """Raises TargetMisconfigured with the missing permission or the setting to mend, and the other TargetErrors."""
        await self.close()
        await self._connect()
        try:
            return await self._prove()
        except BaseException:
            await self.close()
            raise

    async def _prove(self) -> bool:
        await self.list(self._probe_key, "")
        honours = await self._probe_conditions()
        if await self.get(self._probe_key) is None:
            raise TargetUnavailable(f"S3 bucket {self._settings.bucket}: the probe object is not there after its write")
        return honours

    async def close(self) -> None:
        stack, self._stack, self._client = self._stack, None, None
        if stack is not None:
            await stack.aclose()

    async def put(self, key: str, body: bytes, metadata: Mapping[str, str], *, only_new: bool) -> Put:
        """See ObjectStore; ConditionRefused when the store answers that it knows no conditions."""
        sha256 = base64.b64encode(hashlib.sha256(body).digest()).decode()
        parameters = {
            **self._extra,
            **_lock_parameters(self._settings),
            **_checksum(self._settings.checksum, body, sha256),
            "Key": key,
            "Body": body,
            "Metadata": dict(metadata),
            "ContentType": _NDJSON if metadata else "text/plain",
        }
        if only_new:
            parameters["IfNoneMatch"] = "*"
        async with self._call(_put_permissions(self._settings)) as client:
            answer = await client.put_object(**parameters)
        if not _is_stored(answer):
            raise TargetMisconfigured(
                f"S3 bucket {self._settings.bucket}: an HTTP 200 that is not S3's answer to a PUT",
                hint="check endpoint_url and any proxy on the way",
                code="not_s3",
            )
        return Put(answer["ETag"].strip('"'), answer.get("VersionId", ""), sha256)

    async def get(self, key: str) -> Got | None:
        async with self._call("s3:GetObject (and kms:Decrypt on the object's key)") as client:
            try:
                answer = await client.get_object(Key=key, **self._target())
            except sdk.ClientError as error:
                if error.response.get("Error", {}).get("Code") in {"NoSuchKey", "404"}:
                    return None
                raise
            async with answer["Body"] as stream:
                if answer.get("ContentLength", 0) > MAX_OBJECT_BYTES:
                    raise TargetMisconfigured(
                        f"S3 bucket {self._settings.bucket}: {key} is too large to be ours",
                        hint="somebody else writes under this prefix: move it away, or change prefix",
                        code="foreign_object",
                    )
                return Got(await stream.read(), answer.get("Metadata", {}))

    async def list(self, prefix: str, after: str) -> list[str]:
        keys: list[str] = []
        token: dict[str, str] = {"StartAfter": after} if after else {}
        while True:
            async with self._call("s3:ListBucket") as client:
                page = await client.list_objects_v2(Prefix=prefix, **token, **self._target())
            keys += [item["Key"] for item in page.get("Contents", [])]
            if not page.get("IsTruncated"):
                return keys
            token = {"ContinuationToken": page["NextContinuationToken"]}

    # --- the start ----------------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        settings = self._settings
        _check_ca(settings)
        session = AioSession()
        if settings.access_key_id is not None and settings.secret_access_key_file is not None:
            # Private, but the only place where credentials with a life of their own can be put; covered by a test.
            session._credentials = FileCredentials(  # noqa: SLF001
                settings.access_key_id, settings.secret_access_key_file, settings.session_token_file
            )
        config = AioConfig(
            user_agent_extra=self._user_agent,
            signature_version="s3v4",
            connect_timeout=CONNECT_SECONDS,
            read_timeout=settings.timeout_seconds,
            max_pool_connections=MAX_CONNECTIONS,
            retries={"total_max_attempts": 1},
            # The checksum is ours (see _checksum); the SDK's trailing ones are what compatible stores stumble over.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if settings.path_style else "virtual"},
        )
        stack = AsyncExitStack()
        region = settings.region or ("us-east-1" if settings.endpoint_url else None)
        try:
            self._client = await stack.enter_async_context(
                session.create_client(
                    "s3",
                    region_name=session.get_config_variable("region") or region if settings.region is None else region,
                    endpoint_url=settings.endpoint_url,
                    verify=str(settings.ca_file) if settings.ca_file else None,
                    config=config,
                )
            )
        except (sdk.BotoCoreError, ValueError) as error:
            raise sdk_error(error, settings.bucket) from None
        self._stack = stack

    async def _probe_conditions(self) -> bool:
        """Write the probe, and if it was not there, once more: the second time must be refused."""
        try:
            await self.put(self._probe_key, PROBE_BODY, {}, only_new=True)
            await self.put(self._probe_key, PROBE_BODY, {}, only_new=True)
        except ObjectExists:
            return True
        except ConditionRefused:
            try:
                await self.put(self._probe_key, PROBE_BODY, {}, only_new=False)
            except ConditionRefused:
                raise not_implemented(self._settings.bucket) from None
        return False

    # --- one call -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _call(self, permission: str) -> AsyncIterator[Any]:
        """Give the client to one call, bound its time, and turn what goes wrong into errors of the target."""
        bucket = self._settings.bucket
        if self._client is None:
            raise TargetUnavailable(f"S3 bucket {bucket}: the connector is not open")
        try:
            async with asyncio.timeout(self._settings.timeout_seconds + CONNECT_SECONDS):
                yield self._client
        except sdk.ClientError as error:
            raise answer_error(error, bucket, permission) from None
        except SecretError as error:
            raise TargetUnauthorized(str(error), code="secret_unreadable") from None
        except TargetError:
            raise
        except (sdk.BotoCoreError, sdk.HTTPClientError, TimeoutError, OSError) as error:
            raise sdk_error(error, bucket) from None

    def _target(self) -> dict[str, str]:
        owner = self._settings.expected_bucket_owner
        return {"Bucket": self._settings.bucket, **({"ExpectedBucketOwner": owner} if owner else {})}


def _put_parameters(settings: S3Settings) -> dict[str, Any]:
    """Return what is the same for each object of the target."""
    parameters: dict[str, Any] = {"Bucket": settings.bucket}
    if settings.expected_bucket_owner:
        parameters["ExpectedBucketOwner"] = settings.expected_bucket_owner
    if settings.kms_key_id:
        parameters |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": settings.kms_key_id}
        parameters["BucketKeyEnabled"] = settings.kms_bucket_key
    if settings.storage_class:
        parameters["StorageClass"] = settings.storage_class
    if settings.tags:
        parameters["Tagging"] = urlencode(settings.tags)
    lock = settings.object_lock
    if lock is not None and lock.mode is not None:
        parameters["ObjectLockMode"] = lock.mode
    if lock is not None and lock.legal_hold:
        parameters["ObjectLockLegalHoldStatus"] = "ON"
    return parameters


def _lock_parameters(settings: S3Settings) -> dict[str, Any]:
    lock = settings.object_lock
    if lock is None or lock.retain_days is None:
        return {}
    return {"ObjectLockRetainUntilDate": datetime.now(UTC) + timedelta(days=lock.retain_days)}


def _put_permissions(settings: S3Settings) -> str:
    """Return every action that writing an object needs with these settings."""
    actions = ["s3:PutObject"]
    lock = settings.object_lock
    if lock is not None and lock.mode is not None:
        actions.append("s3:PutObjectRetention")
    if lock is not None and lock.legal_hold:
        actions.append("s3:PutObjectLegalHold")
    if settings.tags:
        actions.append("s3:PutObjectTagging")
    if settings.kms_key_id:
        actions.append("kms:GenerateDataKey on the key")
    return ", ".join(actions)


def _checksum(algorithm: str, body: bytes, sha256: str) -> dict[str, str]:
    """Return the checksum of a body as a parameter. Object Lock refuses a write without one."""
    if algorithm == "md5":
        # Content-MD5 guards the way to the store; it is not a signature.
        return {"ContentMD5": base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()}
    if algorithm == "crc32":
        return {"ChecksumAlgorithm": "CRC32", "ChecksumCRC32": base64.b64encode(zlib.crc32(body).to_bytes(4)).decode()}
    return {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": sha256}


def _check_ca(settings: S3Settings) -> None:
    """Read the CA here, so that a file that cannot be used is named: the SDK would say so at the first request only."""
    if settings.ca_file is not None:
        try:
            ssl.create_default_context(cafile=settings.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise TargetMisconfigured(
                f"ca_file cannot be used ({type(error).__name__})", hint="check ca_file", code="tls"
            ) from None


def _is_stored(answer: Mapping[str, Any]) -> bool:
    """Tell S3's answer to a PUT, an ETag and nothing else, from a proxy's page with 200 that stored nothing."""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    length = headers.get("content-length")
    empty = length == "0" or (length is None and "html" not in headers.get("content-type", ""))
    return bool(answer.get("ETag")) and empty
