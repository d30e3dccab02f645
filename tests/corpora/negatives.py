"""Texts that carry nothing, but look as if: ids, hashes, versions, times, numbers of orders, traces, names, metrics."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from uuid import UUID

from tests.corpora.values import ALNUM, HEX, digits, some

WORDS = [
    "order",
    "cache",
    "retry",
    "token",
    "session",
    "user",
    "password",
    "key",
    "phone",
    "mobile",
    "address",
    "host",
    "secret",
    "bearer",
    "basic",
    "card",
    "account",
]


def _uuid(rng: random.Random) -> str:
    return str(UUID(int=rng.getrandbits(128), version=4))


def _stamp(rng: random.Random) -> str:
    return f"2026-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}T{rng.randrange(24):02d}:{rng.randrange(60):02d}:07.{digits(rng, 3)}"


def _version(rng: random.Random) -> str:
    return f"{rng.randrange(30)}.{rng.randrange(30)}.{rng.randrange(300)}"


#: kind → maker of one line
NEGATIVES: dict[str, Callable[[random.Random], str]] = {
    "uuid": lambda r: f'{{"request_id":"{_uuid(r)}","parent":"{_uuid(r).upper()}","n":{r.randrange(99)}}}',
    "sha256": lambda r: f"pulled image registry.example/app@sha256:{some(r, HEX, 64)} in {r.randrange(9)}s",
    "git": lambda r: f"checked out {some(r, HEX, 40)} ({some(r, HEX, 7)}) on release/{_version(r)}",
    "md5": lambda r: f"etag {some(r, HEX, 32)} size={digits(r, 6)}",
    "fingerprint": lambda r: "MD5 " + ":".join(some(r, HEX, 2) for _ in range(16)),
    "trace": lambda r: f"traceparent=00-{some(r, HEX, 32)}-{some(r, HEX, 16)}-01",
    "version": lambda r: f"upgrading core from v{_version(r)} to {_version(r)}-rc.{r.randrange(9)}+build.{digits(r, 4)}",
    "agent": lambda r: f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.{r.randrange(99)} Chrome/{r.randrange(100, 130)}.0.0.0 Safari/537.36",
    "epoch": lambda r: f"ts=17640{digits(r, 5)} ms=17640{digits(r, 8)} ns=17640{digits(r, 14)}",
    "iso": lambda r: f"{_stamp(r)}Z started {_stamp(r)}+02:00 ended {_stamp(r)}-0500",
    "date-time": lambda r: f"{_stamp(r)[:10]} 0{r.randrange(10)}{r.randrange(10)}-{digits(r, 6)} batch closed",
    "order": lambda r: f"order {digits(r, 10)} paid, invoice {digits(r, 4)}-{digits(r, 6)}, position 0{digits(r, 3)} {digits(r, 6)}",
    "order-zero": lambda r: f"order 01{r.choice('567')}{digits(r, 1)} {digits(r, 6)} shipped, sku 00{digits(r, 8)}",
    "parcel": lambda r: f"parcel 00340{digits(r, 15)} left; lot L{digits(r, 7)}",
    "pid": lambda r: f"Nov 24 10:00:00 web-{r.randrange(9)} sshd[{digits(r, 5)}]: uid={digits(r, 4)} pid={digits(r, 7)}",
    "java": lambda r: f"\tat com.example.shop.Cart$Item.add(Cart.java:{r.randrange(900)}) ~[shop-{_version(r)}.jar:?]",
    "python": lambda r: f'  File "/usr/lib/python3.11/site.py", line {r.randrange(900)}, in run_{some(r, string.ascii_lowercase, 6)}',
    "go": lambda r: f"goroutine {r.randrange(900)} [running]: main.run(0xc000{some(r, HEX, 6)}, 0x{some(r, HEX, 8)})",
    "pod": lambda r: f"pod checkout-{some(r, HEX, 10)}-{some(r, string.ascii_lowercase, 5)} Ready, node ip-10-0-{r.randrange(255)}-{r.randrange(255)}.internal",
    "metric": lambda r: f'http_requests_total{{code="200",le="{r.randrange(9)}.{digits(r, 2)}"}} {digits(r, 7)} 17640{digits(r, 8)}',
    "cpp": lambda r: f"std::vector<int>::at(std::size_t) ab::cd::{some(r, string.ascii_lowercase, 3)} line {r.randrange(99)}:{r.randrange(99)}",
    "password-prose": lambda r: f"{r.choice(('password reset mail sent', 'the token was renewed', 'secret rotation: done', 'session expired'))} for id {digits(r, 6)}",
    "flags": lambda r: f'{{"password_set":true,"token_count":{r.randrange(9)},"has_secret":false,"secret":null,"max_tokens":{digits(r, 4)}}}',
    "null-pair": lambda r: f"password=**** token=null secret= pwd=[redacted-password] n={r.randrange(99)}",
    "package": lambda r: f"npm http fetch GET 200 https://registry.example/lodash@{_version(r)} {digits(r, 3)}ms",
    "handle": lambda r: f"@{some(r, string.ascii_lowercase, 6)} mentioned user@{some(r, string.ascii_lowercase, 5)} in thread",
    "url-port": lambda r: f"GET http://svc-{r.randrange(99)}:8080/a@b?v={r.randrange(99)} https://example.com:{digits(r, 4)}/x",
    "base64": lambda r: f"payload {some(r, ALNUM, 80)}== crc {some(r, HEX, 8)}",
    "coordinates": lambda r: f"lat={r.randrange(50)}.{digits(r, 6)} lon=-{r.randrange(90)}.{digits(r, 7)} alt={digits(r, 3)}",
    "arithmetic": lambda r: f"delta +{digits(r, 6)} -{digits(r, 6)} ratio 0.{digits(r, 16)} range {digits(r, 4)}-{digits(r, 4)}",
    "hexdump": lambda r: f"0000{digits(r, 4)}: " + " ".join(some(r, HEX, 4) for _ in range(8)),
    "aws": lambda r: f"arn:aws:iam::{digits(r, 12)}:role/app i-0{some(r, HEX, 16)} vpc-{some(r, HEX, 8)} ami-0{some(r, HEX, 16)}",
    "windows": lambda r: f"S-1-5-21-{digits(r, 10)}-{digits(r, 10)}-{digits(r, 9)}-{digits(r, 4)} logged on, 0x{some(r, HEX, 6)}",
    "words": lambda r: " ".join(r.choices(WORDS, k=8)) + f" {r.randrange(999)}",
    "fields": lambda r: f'{{"hostname":"web-{r.randrange(9)}","file_name":"a_{digits(r, 3)}.log","username":"svc","service_name":"shop","street_level":3}}',
    "duration": lambda r: f"took {digits(r, 2)}:{digits(r, 2)}:{digits(r, 2)}.{digits(r, 6)} ({digits(r, 8)} ns) gc 0{digits(r, 2)}/{digits(r, 6)}",
}  # fmt: skip
