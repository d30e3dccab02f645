"""Whatever stands in the file, the loader returns settings or a report; it never fails in another way."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import ConfigurationError
from exporter.settings.load import load_settings
from tests.support.configs import MODELS, VALID

BASE: dict[str, Any] = yaml.safe_load(
    VALID
    + """\
  soc: {kind: http, url: 'https://h', token_file: '${env:HOME}', ca_file: x, extra_token_files: [a]}
bus: {kind: kafka, bootstrap_servers: 'h:1', tls: {ca_file: x}, sasl_password_file: y}
service: {listen: ':1', identity_key_file: k}
"""
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


def paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(node, dict):
        for key, value in node.items():
            yield from paths(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from paths(value, (*path, index))


def replaced(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(node) if isinstance(node, dict) else list(node)
    copy[path[0]] = replaced(node[path[0]], path[1:], value)
    return copy


def check(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.yaml"
        path.write_bytes(raw)
        report: ConfigurationError | None = None
        try:
            load_settings(path, MODELS)
        except ConfigurationError as error:
            report = error
        assert report is None or (report.findings and all(f.path and f.reason and f.cure for f in report.findings))


@given(st.sampled_from(list(paths(BASE))), VALUES)
@settings(max_examples=250, deadline=None)
def test_any_value_in_any_place(path: tuple[Any, ...], value: Any) -> None:
    check(yaml.safe_dump(replaced(BASE, path, value), allow_unicode=True).encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=200) | st.text(alphabet="{}[]:,-&*!|>'\"% \n#ab1?<", max_size=80).map(str.encode))
@settings(max_examples=250, deadline=None)
def test_any_bytes(raw: bytes) -> None:
    check(raw)
