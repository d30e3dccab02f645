"""The reference of actions is what the code makes, and every example in the page for privacy officers loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from exporter.pipeline.redact.actions_reference import page
from tests.support.pseudonyms import policy_pipeline

DOCS = Path(__file__).parents[3] / "docs"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", (DOCS / "privacy" / "policy.md").read_text(), re.DOTALL)


def test_the_page_is_up_to_date():
    assert (DOCS / "reference" / "actions.md").read_text() == page()


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_of_the_page_for_privacy_officers_load(number: int):
    tenants = yaml.safe_load(EXAMPLES[number])["tenants"]
    for tenant in tenants.values():
        policy_pipeline(tenant["policy"])
