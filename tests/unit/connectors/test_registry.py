from __future__ import annotations

from importlib import metadata

import pytest

from connectors.registry import ConnectorError, _Factories, factories


def point(name, value):
    return metadata.EntryPoint(name, value, "loki_siem.connectors")


def test_ours_are_there():
    found = factories()
    assert {"file", "splunk_hec"} <= set(found)
    assert all(found[kind].kind == kind for kind in ("file", "splunk_hec"))
    assert "nothing" not in found
    with pytest.raises(KeyError):
        found["nothing"]


def test_one_from_outside_is_found():
    found = _Factories({}, [point("file", "connectors.file:FACTORY")])
    assert found["file"].kind == "file"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("gone", "no.such.module:FACTORY", "ModuleNotFoundError"),
        ("gone", "connectors.file:NOTHING", "AttributeError"),
        ("odd", "connectors.file:FileConnectorX", "cannot be loaded"),
        ("odd", "connectors.base:Batch", "no ConnectorFactory"),
        ("other", "connectors.file:FACTORY", "calls itself 'file'"),
    ],
)
def test_a_broken_one_is_named_when_it_is_used(name, value, words):
    found = _Factories({}, [point(name, value)])
    assert list(found) == [name]
    with pytest.raises(ConnectorError, match=words) as caught:
        found[name]
    assert name in str(caught.value)
    assert "Update or remove" in str(caught.value)


def test_two_packages_cannot_have_one_kind():
    with pytest.raises(ConnectorError, match="that kind already"):
        _Factories({"file": "connectors.file:FACTORY"}, [point("file", "x:Y")])


def test_an_installed_package_is_found_and_named(tmp_path, monkeypatch):
    """As pip leaves it: a module and its entry points, on the path."""
    (tmp_path / "outsider.py").write_text(
        "from connectors.base import ConnectorFactory, TargetSettings\n"
        "FACTORY = ConnectorFactory('outsider', TargetSettings, lambda settings, context: None)\n"
    )
    info = tmp_path / "outsider_connectors-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outsider-connectors\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[loki_siem.connectors]\noutsider = outsider:FACTORY\nbroken = outsider:MISSING\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = factories()
    assert found["outsider"].kind == "outsider"
    with pytest.raises(ConnectorError, match="package outsider-connectors"):
        found["broken"]
