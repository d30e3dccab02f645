"""Every command of docs/ledger.md works as it is written there, and every message that it explains exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from exporter.bus import create_bus
from exporter.domain.events import event_id_of
from exporter.settings.model import SqliteBus
from tests.support.cli import invoke, write_config
from tests.support.events import events
from tests.support.ledgers import fill_bus

ROOT = Path(__file__).parents[3]
DOC = (ROOT / "docs/ledger.md").read_text("utf-8")
BLOCKS = [block.strip().splitlines() for block in re.findall(r"```\n(.*?)```", DOC, re.DOTALL)]
COMMANDS = [line for block in BLOCKS for line in block if line.startswith("loki-siem ")]
VALUES = events(40)


def shell(block: list[str], folder: Path) -> str:
    done = subprocess.run(["bash", "-ec", "\n".join(block)], cwd=folder, capture_output=True, timeout=50, check=True)
    return done.stdout.decode()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not there")
def test_the_commands_in_their_order(tmp_path: Path) -> None:
    (key_block,) = [block for block in BLOCKS if block[0].startswith("openssl")]
    shell(key_block, tmp_path)
    bus = create_bus(SqliteBus(path=tmp_path / "state" / "bus.db", partitions=1))
    bus.prepare(["acme", "beta"], ["archive"])
    fill_bus(bus, VALUES)
    bus.close()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.ndjson").write_bytes(b"".join(v + b"\n" for i, v in enumerate(VALUES) if i != 7))
    keys = "  signing_key_file: ledger.key\nbus: {kind: sqlite, path: state/bus.db, partitions: 1}\n"
    config = write_config(tmp_path)
    config.write_text(config.read_text().replace('service: {listen: "127.0.0.1:9"}\n', "service:\n") + "")
    config.write_text(config.read_text().replace("service:\n", "service:\n" + keys))
    assert len(COMMANDS) >= 7
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        for command in COMMANDS:
            words = command.replace("loki-siem.yaml", "c.yaml").replace("--target soc", "--target archive").split()[1:]
            words = [event_id_of(VALUES[3]) if re.fullmatch(r"[0-9a-f]{32}", word) else word for word in words]
            result = invoke(*words)
            assert result.exit_code == 0, f"{command}: {result.output}"
    finally:
        os.chdir(before)
    (segment,) = (tmp_path / "ledger" / "segments").glob("shard-*")
    (by_hand,) = [block for block in BLOCKS if block[0].startswith("line=")]
    printed = shell([line.replace("segment.ndjson", str(segment)) for line in by_hand], tmp_path)
    digest = printed.split()[0]
    assert f'"hash":"{digest}"' in segment.read_text().splitlines()[0]


def test_every_message_that_is_explained_exists() -> None:
    rows = re.findall(r"^\| `([^`|]+)` \| [a-zA-Z]", DOC, re.MULTILINE)
    explained = [row for row in rows if not row.startswith("ledger ")]
    code = "".join(
        path.read_text("utf-8") for folder in ("custody", "cli") for path in (ROOT / "exporter" / folder).glob("*.py")
    )
    assert len(explained) >= 9
    for message in explained:
        pieces = [piece.strip() for piece in re.split(r"\b[NM]\b|\b[0-9]+\b|;.*", message) if len(piece.strip()) > 3]
        assert pieces
        assert [piece for piece in pieces if piece not in code] == []


def test_the_readme_lists_the_commands() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for name in ("show", "trace", "verify", "export"):
        assert f"`ledger {name}" in readme
    assert "`verify PATH" in readme
