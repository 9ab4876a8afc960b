"""What a real run writes for other tools is of the published schemas."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

from support.project import Project
from trainrelay.cli.schema import SCHEMAS

pytestmark = [pytest.mark.xdist_group("trained"), pytest.mark.slow]


def test_every_record_of_a_run_is_of_its_schema(trained: Project) -> None:
    for name in ("train", "attempt", "analysis"):
        records = sorted((trained.folder / "runs").rglob(f"{name}.json"))
        assert records, name
        for record in records:
            Draft202012Validator(SCHEMAS[name]()).validate(json.loads(record.read_text()))
