"""The reference pages say what the tables say."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.reference import pages

FOLDER = Path(__file__).parents[3] / "docs" / "reference"


@pytest.mark.parametrize(("name", "text"), pages().items(), ids=pages())
def test_page(name: str, text: str):
    same = (FOLDER / name).read_text("utf-8") == text
    assert same, "run `python -m exporter.reference`"
