"""``policy explain``: for each line of standard input, what acts on it and why. Shows redacted text only."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from exporter.cli.config import ConfigOption, JsonOption, read_settings
from exporter.cli.trial import LabelsOption, TenantOption, require_tenant, streams_from, tokens_of_a_trial
from exporter.cli.trial import labels_of as parsed_labels

if TYPE_CHECKING:
    from exporter.pipeline.explain import Explanation, FilterStep


def explain(
    config: ConfigOption, tenant: TenantOption, labels: LabelsOption = None, as_json: JsonOption = False
) -> None:
    """Explain what becomes of each line of standard input: parser, kind, rules with their offsets, field policies, filters,
    and the redacted event. With --json one object a line. Pseudonyms are those of this trial, not of the service.
    """
    settings = read_settings(config, policies=False)
    require_tenant(settings, tenant)
    of_stream = parsed_labels(labels)
    from exporter.app import identity_key  # noqa: PLC0415 - loads the scan engine
    from exporter.pipeline.explain import Explainer  # noqa: PLC0415

    key = identity_key(settings)
    explainer = Explainer(tenant, settings.tenants[tenant], tokens=tokens_of_a_trial(tenant), identity_key=key)
    number = 0
    for stream in streams_from(sys.stdin.buffer, tenant, of_stream, key):
        for explanation in explainer.explain(stream):
            number += 1
            if as_json:
                row = {"line": number, "policy": explainer.policy_id, **asdict(explanation)}
                print(_plain(row))
            else:
                _show(number, explanation)
        sys.stdout.flush()


def _show(number: int, explanation: Explanation) -> None:
    by = f" by {explanation.dropped_by}" if explanation.dropped_by else ""
    parser = explanation.parser or "none (text)"
    print(f"line {number}: {explanation.outcome}{by}  parser {parser}  kind {explanation.kind or '-'}")
    for rule in explanation.rules:
        print(f"  rule    {rule.rule}  {rule.start}-{rule.end}  {rule.action}")
    for name, hits in explanation.elsewhere.items():
        print(f"  rule    {name}  {hits} in labels or decoded values")
    for member in explanation.fields:
        print(f"  field   {_plain(member.field)}  {member.action}")
    for step in explanation.filters:
        print(f"  filter  {step.filter}  {_why(step)}")
    event = "none leaves" if explanation.event is None else _plain(explanation.event)
    print(f"  event   {event}")


_DECIDED = {"always": "no condition", "stream": "by its labels", "event": "by the event"}


def _why(step: FilterStep) -> str:
    holds = "holds" if step.holds else "does not hold"
    tests = "; ".join(f"{test.test}: {'yes' if test.holds else 'no'}" for test in step.tests)
    effect = "" if step.effect == "none" else f" → {step.effect.replace('_', ' ')}"
    return f"{step.then}: {holds} ({_DECIDED[step.decided_by]}){effect}" + (f"  [{tests}]" if tests else "")


def _plain(value: object) -> str:
    """Return data as JSON in ASCII, so that nothing in it reaches the terminal as a control sequence."""
    return json.dumps(value, ensure_ascii=True).replace("\x7f", "\\u007f")
