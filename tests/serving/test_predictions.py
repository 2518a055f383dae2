"""What comes back for what was sent."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import orjson
import pytest

from complaints.taxonomy import Taxonomy

URL = "/v1/predictions"
BATCH = "/v1/predictions:batch"


def rows(home: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    with sqlite3.connect(home / "jianwei.db") as connection:
        found = connection.execute(query, values).fetchall()
    connection.close()
    return found


def conforms(document: dict[str, Any], schema: str, value: object) -> None:
    resolved = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    jsonschema.Draft202012Validator(resolved, format_checker=jsonschema.FormatChecker()).validate(value)


def test_answer_has_the_promised_shape(service: httpx.Client, home: Path) -> None:
    sent = {
        "ticket_id": "T1",
        "text": "空调坏了，客服态度差，我要曝光！",
        "title": "空调不制冷",
        "channel": "weibo",
        "created_at": "2026-03-01T09:30:00+08:00",
        "customer": {"id": "C1", "vip": True, "verified": False, "followers": 20000},
        "region": "上海",
        "product": "空调",
        "business_line": "家电",
        "public": False,
        "complex": False,
        "options": {"heads": ["category", "sentiment"], "top_k": 2, "explain": True},
    }
    response = service.post(URL, json=sent)
    assert response.status_code == 200, response.text
    answer = response.json()
    conforms(service.get("/openapi.json").json(), "PredictionOut", answer)
    assert list(answer) == [
        "id", "ticket_id", "model", "taxonomy_version", "policy_version", "heads", "risk", "evidence", "similar",
        "warnings", "latency_ms",
    ]  # fmt: skip
    assert answer["model"] == {"name": "consumer", "version": "7", "alias": "champion"}
    assert list(answer["heads"]) == ["category", "sentiment"]
    assert len(answer["heads"]["category"]["top_k"]) == 2
    assert answer["heads"]["category"]["label"] == "quality.defect"
    assert {note["code"] for note in answer["risk"]["reasons"]} >= {"public", "vip", "followers_10k", "social"}
    assert (answer["risk"]["level"], answer["risk"]["upgraded_from"]) == ("high", "medium")  # a VIP
    assert answer["risk"]["respond_by"] == "2026-03-01T09:40:00+08:00"
    assert all(sent[one["field"]][one["start"] : one["end"]] for one in answer["risk"]["reasons"] if one["field"])
    assert answer["evidence"]
    assert {one["head"] for one in answer["evidence"]} <= {"category", "sentiment"}
    assert all(sent["text"][one["start"] : one["end"]] for one in answer["evidence"])
    assert sorted(one["text"] for one in answer["similar"]) == ["物流慢", "空调坏了"]
    assert answer["similar"][0]["similarity"] >= answer["similar"][1]["similarity"]

    [(request, kept)] = rows(home, "SELECT request, response FROM predictions WHERE id = ?", answer["id"])
    assert orjson.loads(request) == sent
    assert kept.encode() == response.content
    assert service.get(f"{URL}/{answer['id']}").content == response.content
    heads = rows(home, "SELECT head, label, decision FROM prediction_heads WHERE prediction_id = ?", answer["id"])
    assert sorted(heads) == sorted((name, one["label"], one["decision"]) for name, one in answer["heads"].items())


def test_missing_created_at_becomes_the_time_of_receipt(service: httpx.Client, home: Path) -> None:
    answer = service.post(URL, json={"text": "空调坏了"}).json()
    [(request,)] = rows(home, "SELECT request FROM predictions WHERE id = ?", answer["id"])
    created = datetime.fromisoformat(orjson.loads(request)["created_at"])
    assert abs((datetime.now(UTC) - created).total_seconds()) < 30
    assert answer["risk"]["respond_by"] is not None


@pytest.mark.parametrize("text", [" ", "\u200b\n\t", "\x00"])
def test_nothing_left_to_read_goes_to_a_person(service: httpx.Client, text: str) -> None:
    answer = service.post(URL, json={"text": text})
    assert answer.status_code == 200
    assert {(one["decision"], one["reason"]) for one in answer.json()["heads"].values()} == {
        ("review", "empty_after_cleaning")
    }


def test_truncation_is_said(service: httpx.Client) -> None:
    assert service.post(URL, json={"text": "空调坏了" * 100}).json()["warnings"] == ["truncated"]
    assert service.post(URL, json={"text": "空" * 100_000}).json()["warnings"] == ["truncated"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": None}, "text"),
        ({"text": 1}, "text"),
        ({"text": "坏了", "txet": 1}, "txet"),
        ({"text": "坏了", "customer": {"followers": -1}}, "customer.followers"),
        ({"text": "坏了", "customer": {"followers": 1e308}}, "customer.followers"),
        ({"text": "坏了", "customer": {"vip": "yes"}}, "customer.vip"),
        ({"text": "坏了", "customer": {"followers": 1.5}}, "customer.followers"),
        ({"text": "坏了", "customer": {"followers": "7"}}, "customer.followers"),
        ({"text": "坏了", "options": {"top_k": True}}, "options.top_k"),
        ({"text": "坏了", "options": {"top_k": 0}}, "options.top_k"),
        ({"text": "坏了", "options": {"top_k": 21}}, "options.top_k"),
        ({"text": "坏了", "options": {"heads": []}}, "options.heads"),
        ({"text": "坏了", "created_at": "yesterday"}, "created_at"),
        ({"text": "坏了", "created_at": 12}, "created_at"),
        ({"text": "坏了", "created_at": "9999-12-31T23:59:59Z"}, "created_at"),
        ({"text": "坏了", "created_at": "0001-01-01T00:00:00Z"}, "created_at"),
        ({"text": "坏了", "ticket_id": "a\x00b"}, "ticket_id"),
        ({"text": "坏了", "ticket_id": "T" * 201}, "ticket_id"),
        ({"text": "坏了", "title": "T" * 1001}, "title"),
        ([], ""),
        ("坏了", ""),
    ],
)
def test_what_cannot_be_used_is_named(service: httpx.Client, body: object, field: str) -> None:
    response = service.post(URL, json=body)
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert [fault["field"] for fault in response.json()["errors"]] == [field]
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert "坏了" not in response.text


def test_unknown_head_names_those_there_are(service: httpx.Client) -> None:
    response = service.post(URL, json={"text": "坏了", "options": {"heads": ["colour"]}})
    assert response.status_code == 422
    assert "category" in response.json()["detail"]


def test_unknown_prediction(service: httpx.Client) -> None:
    for name in ("pred_00000000000000000000000000", "x", "%00", "pred_" + "é" * 26):
        response = service.get(f"{URL}/{name}")
        assert (response.status_code, response.json()["type"]) == (404, "urn:jianwei:problem:not-found")


def test_bad_items_do_not_spoil_a_batch(service: httpx.Client, home: Path) -> None:
    items = [
        {"text": "空调坏了", "ticket_id": "B0"},
        {"text": ""},
        None,
        {"text": "长" * 100_001},
        {"text": "客服态度差", "ticket_id": "B4", "options": {"heads": ["sentiment"]}},
        {"text": "物流慢", "options": {"heads": ["colour"]}},
        {"text": " "},
    ]
    before = rows(home, "SELECT count(*) FROM predictions")[0][0]
    response = service.post(BATCH, json={"items": items})
    assert response.status_code == 200, response.text
    answered = response.json()["items"]
    conforms(service.get("/openapi.json").json(), "BatchOut", response.json())
    assert [one["status"] for one in answered] == [200, 422, 422, 413, 200, 422, 200]
    assert [set(one) for one in answered] == [
        {"status", "prediction" if one["status"] == 200 else "problem"} for one in answered
    ]
    assert [answered[i]["prediction"]["ticket_id"] for i in (0, 4)] == ["B0", "B4"]
    assert rows(home, "SELECT count(*) FROM predictions")[0][0] == before + 3
    one = answered[4]["prediction"]
    assert service.get(f"{URL}/{one['id']}").json() == one


def test_batch_sizes(service: httpx.Client) -> None:
    assert service.post(BATCH, json={"items": [{"text": "坏了"}] * 257}).status_code == 422
    assert service.post(BATCH, json={"items": []}).status_code == 422
    response = service.post(BATCH, json={"items": [{"text": f"坏了{i}", "ticket_id": str(i)} for i in range(256)]})
    assert [one["prediction"]["ticket_id"] for one in response.json()["items"]] == [str(i) for i in range(256)]


@pytest.mark.parametrize(("url", "body"), [(URL, {"text": "空调坏了"}), (BATCH, {"items": [{"text": "空调坏了"}, {}]})])
def test_a_repeated_key_gets_the_stored_answer(service: httpx.Client, url: str, body: dict[str, Any]) -> None:
    key = {"Idempotency-Key": f"again {url}"}
    first = service.post(url, json=body, headers=key)
    again = service.post(url, json=body, headers=key)
    assert first.status_code == again.status_code == 200
    assert first.content == again.content
    other = service.post(url, json=body | {"x": 1} if url == URL else {"items": [{"text": "别的"}]}, headers=key)
    assert other.status_code in (409, 422)
    changed = {"text": "别的"} if url == URL else {"items": [{"text": "别的"}]}
    assert service.post(url, json=changed, headers=key).status_code == 409
    assert service.post(url, json=body).content != first.content


def test_a_key_is_the_callers_own_and_lives_a_day(service: httpx.Client, home: Path) -> None:
    body, key = {"text": "退款"}, {"Idempotency-Key": "old"}
    first = service.post(URL, json=body, headers=key).json()["id"]
    with sqlite3.connect(home / "jianwei.db") as connection:
        connection.execute("UPDATE idempotency_keys SET created_at = '2020-01-01 00:00:00.000000'")
    connection.close()
    assert service.post(URL, json={"text": "别的"}, headers=key).status_code == 200
    assert service.post(URL, json=body, headers=key).status_code == 409
    assert first != service.post(URL, json=body).json()["id"]
    assert service.post(URL, json=body, headers={"Idempotency-Key": "x" * 256}).status_code == 422


def test_simultaneous_requests_with_one_key_make_one_prediction(service: httpx.Client, home: Path) -> None:
    barrier = threading.Barrier(8)

    def post(_: int) -> bytes:
        barrier.wait()
        response = service.post(URL, json={"text": "退款", "ticket_id": "once"}, headers={"Idempotency-Key": "race"})
        assert response.status_code == 200
        return response.content

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(post, range(8)))
    assert len(answers) == 1
    assert rows(home, "SELECT count(*) FROM predictions WHERE ticket_id = 'once'") == [(1,)]


def test_taxonomy_and_model(service: httpx.Client) -> None:
    document = service.get("/openapi.json").json()
    taxonomy = service.get("/v1/taxonomy").json()
    conforms(document, "TaxonomyOut", taxonomy)
    expected = Taxonomy.load("consumer")
    assert {head["id"] for head in taxonomy["heads"]} == set(expected.heads)
    category = next(head for head in taxonomy["heads"] if head["id"] == "category")
    labels = {label["id"]: label for label in category["labels"]}
    assert labels["quality"] == {"id": "quality", "name": "产品质量", "parent": None, "leaf": False}
    assert labels["quality.defect"]["parent"] == "quality"
    model = service.get("/v1/model").json()
    conforms(document, "ServedOut", model)
    assert (model["version"], model["alias"]) == ("7", "champion")
    assert model["calibration"]["category"]["thresholds"]["quality.defect"] == 0.3
    assert model["metrics"] == {"test/category/accuracy": 0.5}
