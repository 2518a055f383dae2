"""The OpenAPI document: complete, and true."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

SETTINGS = hypothesis_settings(
    max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


OPERATIONS = [
    ("POST", "/v1/predictions"),
    ("POST", "/v1/predictions:batch"),
    ("POST", "/v1/predictions/{prediction_id}/observations"),
    ("POST", "/v1/predictions/{prediction_id}/risk"),
    ("POST", "/v1/alerts/{alert_id}/decision"),
    ("POST", "/v1/reviews:search"),
    ("POST", "/v1/reviews:claim"),
    ("POST", "/v1/predictions/{prediction_id}/corrections"),
    ("GET", "/v1/reviews"),
    ("GET", "/v1/predictions/{prediction_id}/corrections"),
    ("GET", "/v1/corrections/export"),
    ("DELETE", "/v1/corrections/{correction_id}"),
    ("GET", "/v1/predictions/{prediction_id}"),
    ("GET", "/v1/predictions/{prediction_id}/risk"),
    ("GET", "/v1/alerts"),
    ("GET", "/v1/alerts/{alert_id}"),
    ("GET", "/v1/policy"),
    ("GET", "/v1/taxonomy"),
    ("GET", "/v1/model"),
    ("GET", "/v1/shadow"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/metrics"),
]
# What has no body cannot be wrong in a way that is not simply another address.
CASES = [(*one, GenerationMode.POSITIVE) for one in OPERATIONS] + [
    (*one, GenerationMode.NEGATIVE) for one in OPERATIONS if one[0] == "POST"
]


@pytest.mark.parametrize(("method", "path", "mode"), CASES)
def test_it_keeps_its_word(service: httpx.Client, method: str, path: str, mode: GenerationMode) -> None:
    document = service.get("/openapi.json").json()
    assert {(m.upper(), p) for p, methods in document["paths"].items() for m in methods} == set(OPERATIONS)
    # Items of a batch are judged one by one: a bad one is a 200 with a problem in it.
    always = [negative_data_rejection] if path.endswith(":batch") else []
    operation = schemathesis.openapi.from_dict(document)[path][method]

    @given(case=operation.as_strategy(generation_mode=mode))
    @SETTINGS
    def check(case: Any) -> None:
        # Which heads there are, the model says, not the document; nor can that say which years there are.
        named = isinstance(case.body, dict) and (
            "heads" in (case.body.get("options") or {})
            or {"created_at", "at"} & set(case.body)
            or {"text", "since", "until"} & set(case.body.get("filters") or {})
        )
        named = named or bool({"since", "until"} & set(case.query or {}))
        excluded = [*always, positive_data_acceptance] if named else always
        case.call_and_validate(
            base_url=str(service.base_url),
            headers={"Authorization": service.headers["authorization"]},
            excluded_checks=excluded,
        )

    check()


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
    assert {"200", "400", "401", "403", "408", "409", "413", "415", "422", "500", "503"} == set(posts)
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
