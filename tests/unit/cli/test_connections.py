"""`check --connect` against real sockets."""

from __future__ import annotations

from pathlib import Path

from exporter.cli.config import read_settings
from exporter.cli.connections import try_all
from exporter.sandbox.http import Request, Response, Server
from tests.support.cli import write_config

EMPTY = b'{"status":"success","data":{"resultType":"vector","result":[],"stats":{}}}'


async def test_a_loki_that_answers_is_reached_for_every_tenant(tmp_path: Path) -> None:
    seen: list[str] = []

    async def loki(request: Request) -> Response:
        seen.append(request.headers["x-scope-orgid"])
        return Response(200, EMPTY, {"content-type": "application/json"})

    server = Server(loki)
    await server.start()
    try:
        findings, reached = await try_all(read_settings(write_config(tmp_path, loki=server.url), policies=False))
    finally:
        await server.stop()
    assert [str(f) for f in findings] == []
    assert reached == ["bus", "loki, tenant acme", "loki, tenant beta", "target archive"]
    assert sorted(seen) == ["acme", "beta"]


async def test_refusals_are_findings_with_cures_and_one_does_not_hide_the_other(tmp_path: Path) -> None:
    async def loki(request: Request) -> Response:
        if request.headers["x-scope-orgid"] == "acme":
            return Response(401, b"no such user, password was hunter2")
        return Response(200, EMPTY, {"content-type": "application/json"})

    server = Server(loki)
    await server.start()
    path = write_config(tmp_path, loki=server.url)
    (tmp_path / "state").write_text("a file where a folder must be")
    try:
        findings, reached = await try_all(read_settings(path, policies=False))
    finally:
        await server.stop()
    by_path = {f.path: f for f in findings}
    assert "tenants.acme" in by_path
    assert by_path["tenants.acme"].cure
    assert "bus.path" in by_path
    assert "hunter2" not in " ".join(map(str, findings))
    assert "loki, tenant beta" in reached


async def test_an_unreachable_loki(tmp_path: Path) -> None:
    findings, _ = await try_all(read_settings(write_config(tmp_path), policies=False))
    paths = [f.path for f in findings]
    assert {"tenants.acme", "tenants.beta"} <= set(paths)
