"""Keys, request ids, logs, metrics, and the settings that guard them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from complaints.errors import InvalidInput
from serving.champion import Fixed, Snapshot
from serving.settings import Settings, load_settings

KEY = "k" * 32
AUTH = {"Authorization": f"Bearer {KEY}"}
SECRET = "张三的空调坏了13800138000"


def test_without_the_key_only_health_answers(service: httpx.Client) -> None:
    for headers in (
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Bearer {KEY[:-1]}"},
        {"Authorization": b"Bearer \xff\xfe"},
    ):
        for method, path in (
            ("POST", "/v1/predictions"), ("POST", "/v1/predictions:batch"), ("GET", "/v1/predictions/x"),
            ("GET", "/v1/taxonomy"), ("GET", "/v1/model"), ("GET", "/metrics"), ("GET", "/nowhere"),
        ):  # fmt: skip
            response = service.request(method, path, headers=headers)
            assert response.status_code == 401, (headers, path)
            assert response.headers["www-authenticate"].startswith("Bearer")
            assert response.headers["content-type"] == "application/problem+json"
    for path in ("/health/live", "/health/ready", "/docs", "/openapi.json"):
        assert service.get(path, headers={"Authorization": ""}).status_code == 200
    assert service.get("/v1/model", headers={"Authorization": f"bearer {KEY}"}).status_code == 200


def test_callers_do_not_share_idempotency_keys(served: Any, snapshot: Snapshot, tmp_path: Path) -> None:
    other = "o" * 32
    with served(Settings(home=tmp_path, api_keys=(KEY, other)), Fixed(snapshot)) as client:
        ids = {
            client.post(
                "/v1/predictions",
                json={"text": "空调"},
                headers={"Authorization": f"Bearer {key}", "Idempotency-Key": "same"},
            ).json()["id"]
            for key in (KEY, other, KEY)
        }
        assert len(ids) == 2


def test_request_ids(service: httpx.Client) -> None:
    assert service.get("/v1/model", headers={"X-Request-Id": "abc-1.2:3"}).headers["x-request-id"] == "abc-1.2:3"
    made = service.get("/v1/model").headers["x-request-id"]
    assert len(made) == 32
    for insane in ("a b", "x" * 129, "", "{}"):
        assert service.get("/v1/model", headers={"X-Request-Id": insane}).headers["x-request-id"] != insane
    assert service.get("/nowhere", headers={"X-Request-Id": "q"}).json()["request_id"] == "q"


def test_one_line_a_request_and_never_the_text(
    served: Any, snapshot: Snapshot, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with served(Settings(home=tmp_path, api_keys=(KEY,)), Fixed(snapshot)) as client:
        client.headers.update({**AUTH, "X-Request-Id": "r1"})
        client.post("/v1/predictions", json={"text": SECRET, "title": SECRET, "ticket_id": "T9"})
        client.post("/v1/predictions", json={"text": SECRET, SECRET: 1})
        client.post("/v1/predictions", content=f'{{"text": "{SECRET}"', headers={"content-type": "application/json"})
        client.post("/v1/predictions:batch", json={"items": [{"text": SECRET}, {"text": SECRET, "title": 1}]})
        client.get(f"/v1/{SECRET}")
    out, err = capfd.readouterr()
    # Another test's service may write the line of its last answer only now.
    lines = [line for line in map(json.loads, err.splitlines()) if line["request_id"] == "r1"]
    assert not out
    assert [line["status"] for line in lines] == [200, 422, 400, 200, 404]
    assert lines[0].items() >= {
        "method": "POST", "route": "/v1/predictions", "status": 200, "request_id": "r1", "model_version": "7",
    }.items()  # fmt: skip
    for secret in (SECRET, "张三", "13800138000", KEY, json.dumps("张三")[1:-1], "%E5"):
        assert secret not in err


def test_metrics(served: Any, snapshot: Snapshot, tmp_path: Path) -> None:
    with served(Settings(home=tmp_path), Fixed(snapshot)) as client:
        client.post("/v1/predictions", json={"text": "空调"})
        client.post("/v1/predictions:batch", json={"items": [{"text": "空调"}, {}]})
        client.get("/nowhere/one")
        client.get("/nowhere/two")
        text = client.get("/metrics").text
    for line in (
        'jianwei_requests_total{method="POST",route="/v1/predictions",status="200"} 1.0',
        'jianwei_requests_total{method="GET",route="(none)",status="404"} 2.0',
        'jianwei_request_seconds_count{method="POST",route="/v1/predictions:batch"} 1.0',
        "jianwei_batch_items_sum 2.0",
        "jianwei_queue_depth 0.0",
        'jianwei_decisions_total{decision="review",head="category",label="quality.defect"}',
        'jianwei_model_info{digest="',
    ):
        assert line in text or line.replace('"review"', '"auto"') in text, line


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.com"])
def test_settings_refuse_an_open_door(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JIANWEI_API_KEYS", raising=False)
    with pytest.raises(InvalidInput, match="without API keys"):
        load_settings(host=host)
    monkeypatch.setenv("JIANWEI_API_KEYS", "short")
    with pytest.raises(InvalidInput, match="JIANWEI_API_KEYS"):
        load_settings(host=host)
    monkeypatch.setenv("JIANWEI_API_KEYS", f"{KEY}, {'z' * 16}")
    settings = load_settings(host=host)
    assert len(settings.api_keys) == 2
    assert KEY not in repr(settings)
