"""The OpenAPI document: complete, and true."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from schemathesis.specs.openapi.checks import negative_data_rejection


@pytest.fixture(scope="module")
def api(service: httpx.Client) -> Any:
    return schemathesis.openapi.from_url(f"{service.base_url}/openapi.json", headers=dict(service.headers))


schema = schemathesis.pytest.from_fixture("api")
SETTINGS = hypothesis_settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


@schema.parametrize()
@SETTINGS
def test_it_keeps_its_word(case: Any, service: httpx.Client) -> None:
    # Items of a batch are judged one by one: a bad one is a 200 with a problem in it.
    excluded = [negative_data_rejection] if case.path.endswith(":batch") else []
    case.call_and_validate(headers={"Authorization": service.headers["authorization"]}, excluded_checks=excluded)


def test_it_is_complete(service: httpx.Client) -> None:
    document = service.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["summary"], path
            assert operation["description"], path
            assert operation["security"] == ([] if path.startswith("/health") else [{"key": []}])
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"], (path, status)
    posts = document["paths"]["/v1/predictions"]["post"]["responses"]
    assert {"200", "400", "401", "409", "413", "415", "422", "500", "503"} == set(posts)
    schemas = document["components"]["schemas"]
    assert schemas["ComplaintIn"]["examples"]
    assert schemas["PredictionOut"]["examples"]
    bare = [
        f"{name}.{field}"
        for name, one in schemas.items()
        for field, value in one.get("properties", {}).items()
        if "description" not in value and "$ref" not in value
    ]
    assert [one for one in bare if one.split(".")[0].endswith(("In", "Out")) or one.startswith("Problem")] == []
