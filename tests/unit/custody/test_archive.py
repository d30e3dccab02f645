"""A target's files against the ledger: gzipped objects, lanes, late lines, dead letters, other schemas."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.custody.archive import Archive
from exporter.custody.comparison import Comparison, Receipts
from exporter.custody.evidence import compare_receipts
from exporter.custody.records import read
from exporter.custody.verify import Verdict
from tests.support.events import BASE_NS, events
from tests.support.ledgers import Commits, Store, entry, receipt

VALUES = events(200, padding=50)


def records_of(*windows: Sequence[bytes], tenant: str = "acme") -> list[dict]:
    commits = Commits()
    return [read(commits.commit(entry(window, tenant))) for window in windows]


def receipts(*, at_ns: int = BASE_NS * 2, letters: Sequence[bytes] = ()) -> Receipts:
    found = Receipts()
    found({"kind": "receipt", "target": "soc", "tenant": "acme", "at_ns": at_ns})
    ids = [[0, value[13:45].decode(), "400"] for value in letters]
    found({"kind": "dead_letters", "target": "soc", "tenant": "acme", "at_ns": at_ns, "letters": ids})
    return found


def lines(values: Sequence[bytes]) -> bytes:
    return b"".join(value + b"\n" for value in values)


def compare(folder: Path, records: list[dict], found: Receipts | None = None, **options) -> Verdict:
    verdict, work = Verdict("x"), folder.parent / f"work-{folder.name}"
    work.mkdir(exist_ok=True)
    (work / "archive.db").unlink(missing_ok=True)
    archive = Archive([folder], work)
    try:
        whole = options.pop("whole", True)
        Comparison(archive, (found or receipts()).targets["soc"], verdict, **options).run(records, whole=whole)
    finally:
        archive.close()
    return verdict


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out" / "acme").mkdir(parents=True)
    return tmp_path / "out"


@given(st.permutations(range(60)), st.integers(1, 59))
def test_the_order_of_an_archive_does_not_matter(tmp_path_factory, order: list[int], cut: int) -> None:
    """Lanes, late lines, objects by hour: the ids in the ledger tell the order of the commit."""
    folder = tmp_path_factory.mktemp("any") / "out"
    folder.mkdir()
    moved = [VALUES[i] for i in order]
    (folder / "a.ndjson").write_bytes(lines(moved[:cut]))
    (folder / "b.ndjson.gz").write_bytes(gzip.compress(lines(moved[cut:])))
    verdict = compare(folder, records_of(VALUES[:23], VALUES[23:60]))
    assert verdict.problems == []
    assert verdict.figures["proven"] == 60


def test_an_unfinished_file_may_end_in_the_middle_of_a_line_and_a_finished_may_not(folder: Path) -> None:
    data = lines(VALUES[:10]) + VALUES[10][:30]
    (folder / "a.ndjson.part").write_bytes(data)
    assert compare(folder, records_of(VALUES[:10])).problems == []
    (folder / "a.ndjson.part").rename(folder / "a.ndjson")
    assert "its last line is cut" in compare(folder, records_of(VALUES[:10])).problems[0]


def test_what_was_refused_is_explained_and_what_was_not_delivered_yet_is_no_loss(folder: Path) -> None:
    (folder / "a.ndjson").write_bytes(lines(VALUES[1:10]))
    records = records_of(VALUES[:10], VALUES[10:20])
    verdict = compare(folder, records, receipts(at_ns=records[0]["at_ns"], letters=VALUES[:1]))
    assert verdict.problems == []
    assert verdict.figures["dead-lettered"] == 1
    assert "10 events were committed after" in verdict.notes[0]
    assert "1 of its 10 events" in compare(folder, records[:1]).problems[0]


def test_what_was_not_meant_for_the_target_is_no_loss_but_more_than_that_is(folder: Path) -> None:
    (folder / "a.ndjson").write_bytes(lines(VALUES[3:10]))
    found = receipts()
    found({"kind": "skipped", "target": "soc", "tenant": "acme", "at_ns": 1, "skipped": 3})
    assert compare(folder, records_of(VALUES[:10]), found).problems == []
    (folder / "a.ndjson").write_bytes(lines(VALUES[4:10]))
    assert "4 of its 10 events are missing" in compare(folder, records_of(VALUES[:10]), found).problems[0]


def test_bounds_and_tenants_limit_what_is_asked_for(folder: Path) -> None:
    (folder / "a.ndjson").write_bytes(lines(VALUES[:10]))
    records = records_of(VALUES[:10], VALUES[10:20])
    assert len(compare(folder, records).problems) == 1
    assert compare(folder, records, to_ns=BASE_NS + 10).problems == []
    assert compare(folder, records, from_ns=BASE_NS + 10).problems != []
    assert compare(folder, records, tenants=frozenset({"other"})).problems == []
    assert (
        compare(folder, [*records_of(VALUES[:10]), *records_of(VALUES[100:], tenant="not-this-target")]).problems == []
    )


def test_a_second_copy_is_counted_and_is_no_problem(folder: Path) -> None:
    (folder / "a.ndjson").write_bytes(lines([*VALUES[:10], VALUES[3]]))
    verdict = compare(folder, records_of(VALUES[:10]))
    assert verdict.problems == []
    assert verdict.figures["repeated"] == 1


def test_events_with_the_same_short_id_are_told_apart_by_the_root(folder: Path) -> None:
    """One in four thousand million pairs; here by force."""
    twins = [value[:37] + b"00000007" + value[45:] for value in VALUES[:3]]
    window = [twins[2], *VALUES[10:15], twins[0], twins[1]]
    (folder / "a.ndjson").write_bytes(lines(sorted(window)))
    assert compare(folder, records_of(window)).problems == []
    changed = [twins[2], *VALUES[10:15], twins[0], twins[1].replace(b"xx", b"yy")]
    (folder / "a.ndjson").write_bytes(lines(sorted(changed)))
    assert compare(folder, records_of(window)).problems != []


def test_short_ids_of_a_large_archive_meet_and_the_window_tells_them_apart(folder: Path) -> None:
    """As in an archive of thousands of millions: every event has a twin by short id in another window."""
    twins = [b'{"event.id":"' + b"%024x" % 9 + value[37:] for value in events(30)]
    twins = [value.replace(b'"time":17', b'"time":16') for value in twins]
    records = records_of(VALUES[:30], twins)
    (folder / "a.ndjson").write_bytes(lines([*twins, *VALUES[:30]]))
    verdict = compare(folder, records)
    assert verdict.problems == []
    assert verdict.figures["proven"] == 60
    foreign = VALUES[3].replace(b'{"event.id":"' + b"0" * 24, b'{"event.id":"' + b"e" * 24)
    (folder / "b.ndjson").write_bytes(lines([foreign]))  # one that short ids let pass
    assert compare(folder, records).problems == ["1 events are there that the ledger does not name"]


def test_other_schemas_broken_objects_and_other_files_are_named(folder: Path) -> None:
    (folder / "a.ndjson").write_bytes(lines(VALUES[:10]) + b'{"class_uid":3002}\n')
    (folder / "b.ndjson.gz").write_bytes(gzip.compress(lines(VALUES[10:20]))[:-9])
    (folder / "c.parquet").write_bytes(b"PAR1")
    (folder / ".probe").write_bytes(b"")
    verdict = compare(folder, records_of(VALUES[:10]))
    assert any("no canonical events" in problem for problem in verdict.problems)
    assert any("cannot be read to its end" in problem for problem in verdict.problems)
    assert "1 files of other kinds were not looked at" in verdict.notes


def test_commits_of_format_1_and_parts_of_a_ledger_are_not_held_against_an_archive(folder: Path) -> None:
    (folder / "a.ndjson").write_bytes(lines(VALUES[:20]))
    old, new = records_of(VALUES[:10], VALUES[10:20])
    for part in old["entries"]:
        del part["root"], part["ids"]
    verdict = compare(folder, [old, new])
    assert verdict.problems == []
    assert any("format 1" in note for note in verdict.notes)
    part = compare(folder, [new], whole=False)
    assert part.problems == []
    assert "10 events" in part.notes[0]
    assert compare(folder, [new]).problems == ["10 events are there that the ledger does not name"]


# --- what the target answered -----------------------------------------------------------------------------------------


def evidence(folder: Path, records: list[dict], *, complete: bool = True) -> Verdict:
    verdict, work = Verdict("x"), folder.parent / f"work-{folder.name}"
    work.mkdir(exist_ok=True)
    (work / "archive.db").unlink(missing_ok=True)
    archive = Archive([folder], work)
    compare_receipts(records, archive, verdict, target="soc", complete=complete)
    archive.close()
    return verdict


def test_objects_are_compared_by_their_checksums_whatever_their_schema(folder: Path) -> None:
    body = gzip.compress(b'{"class_uid":3002}\n')
    key = "siem/acme/2026/acme-0-00000000000000000000.ndjson.gz"
    path = folder / key
    path.parent.mkdir(parents=True)
    path.write_bytes(body)
    checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
    said = {"bucket": "b", "objects": [{"key": key, "sha256": checksum}]}
    record = receipt(0) | {"receipt": said}
    verdict = evidence(folder, [record, receipt(1, target="other") | {"receipt": {"objects": [{"key": "x"}]}}])
    assert (verdict.problems, verdict.figures) == ([], {"objects": 1})
    path.write_bytes(body + b"\n")
    assert "not the object" in evidence(folder, [record]).problems[0]
    path.unlink()
    assert "is not there" in evidence(folder, [record]).problems[0]
    assert evidence(folder, [record], complete=False).problems == []


def test_pieces_of_files_are_compared_by_the_digest_of_their_receipt(folder: Path) -> None:
    data = lines(VALUES[:20])
    (folder / "acme" / "acme-0-0.ndjson.part").write_bytes(data)
    half = len(lines(VALUES[:10]))
    store = Store()
    log = store.begin("w")
    log.seal(
        [
            receipt(0, values=VALUES[:10]) | {"receipt": {"file": "acme-0-0", "start": 0, "end": half, "skipped": 0}},
            receipt(1, values=VALUES[10:20])
            | {"receipt": {"file": "acme-0-0", "start": half, "end": len(data), "skipped": 0}},
            receipt(2) | {"receipt": {"file": "gone", "start": 0, "end": 0, "skipped": 10}},
        ]
    )
    records = [read(raw) for raw in log.pending]
    assert (evidence(folder, records).problems, evidence(folder, records).figures["pieces"]) == ([], 2)
    (folder / "acme" / "acme-0-0.ndjson.part").write_bytes(data.replace(b"xx}", b"xy}").replace(b'x"}', b'y"}', 1))
    assert len(evidence(folder, records).problems) == 1
