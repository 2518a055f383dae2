"""The review loop over HTTP: keys and their scopes, the queue, corrections and their export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from complaints.corrections import read_corrections
from complaints.errors import InvalidInput
from serving.champion import Fixed, Snapshot
from serving.settings import Settings, load_settings
from serving.store.queries import Store
from serving.store.tables import predictions

KEY = "k" * 32
# The tiny model is sure enough of everything to decide itself: only high risks, and what is drawn, wait.
GRAVE = "充电宝起火烧伤了手，13800138000，我已经发了抖音"


@pytest.fixture
def client(served: Any, snapshot: Snapshot, tmp_path: Path, url: str) -> Iterator[httpx.Client]:
    with served(Settings(home=tmp_path, database_url=url, workers=1, audit_share=1.0), Fixed(snapshot)) as one:
        yield one


def send(client: httpx.Client, text: str = GRAVE, **fields: Any) -> dict[str, Any]:
    return client.post("/v1/predictions", json={"text": text, **fields}).json()  # type: ignore[no-any-return]


def say(client: httpx.Client, prediction: dict[str, Any], of: str = "category", **fields: Any) -> httpx.Response:
    answered = prediction["heads"][of]["label"]
    body = {"head": of, "label": answered, "actor": "王芳"} | fields
    return client.post(f"/v1/predictions/{prediction['id']}/corrections", json=body)


def test_the_queue_is_masked_and_tells_no_audit(client: httpx.Client) -> None:
    one = send(client, ticket_id="T1", channel="app", title="我的电话13800138000")
    [line] = client.get("/v1/reviews").json()["reviews"]
    assert (line["prediction_id"], line["ticket_id"], line["channel"]) == (one["id"], "T1", "app")
    assert "<手机号>" in line["text"]
    assert line["title"] == "我的电话<手机号>"
    assert "13800138000" not in json.dumps(line)
    assert "audit" not in json.dumps(line)
    assert client.get("/v1/reviews", params={"channel": "weibo"}).json() == {"waiting": 0, "reviews": []}
    assert client.get("/v1/reviews", params={"level": one["risk"]["level"]}).json()["waiting"] == 1


def test_a_channel_is_masked_and_the_callers_own_ticket_is_not(client: httpx.Client) -> None:
    send(client, ticket_id="13800138000", channel="企微13800138000")
    [line] = client.get("/v1/reviews").json()["reviews"]
    assert (line["ticket_id"], line["channel"]) == ("13800138000", "企微<手机号>")
    assert client.get("/v1/reviews", params={"channel": line["channel"]}).json()["waiting"] == 1


def test_another_models_cases_are_not_in_the_queue(client: httpx.Client, url: str) -> None:
    one, other = send(client)["id"], send(client, "空调坏了")["id"]
    store = Store(url)
    with store._write() as connection:
        connection.execute(update(predictions).where(predictions.c.id == other).values(model_name="mine"))
    store.close()
    assert client.get("/v1/reviews").json()["waiting"] == 1
    claimed = client.post("/v1/reviews:claim", json={"actor": "王芳", "limit": 5}).json()
    assert ([line["prediction_id"] for line in claimed["reviews"]], claimed["waiting"]) == ([one], 1)


def test_search_by_words(client: httpx.Client) -> None:
    one = send(client)
    send(client, "空调坏了")

    def search(text: str) -> httpx.Response:
        return client.post("/v1/reviews:search", json={"filters": {"text": text}})

    assert [found["prediction_id"] for found in search("起火").json()["reviews"]] == [one["id"]]
    refused = search("？火")
    assert refused.status_code == 422
    assert "两个字" in refused.json()["detail"]


def test_claimed_cases_are_nobody_elses(client: httpx.Client) -> None:
    ids = {send(client, f"空调坏了{i}")["id"] for i in range(3)}
    mine = client.post("/v1/reviews:claim", json={"actor": "王芳", "limit": 2}).json()
    theirs = client.post("/v1/reviews:claim", json={"actor": "李明", "limit": 2}).json()
    assert [len(mine["reviews"]), len(theirs["reviews"])] == [2, 1]
    assert {one["prediction_id"] for one in mine["reviews"] + theirs["reviews"]} == ids
    assert {one["lease"]["actor"] for one in mine["reviews"]} == {"王芳"}
    short = client.post("/v1/reviews:claim", json={"actor": "李明", "minutes": 0})
    assert short.status_code == 422


def test_a_correction_is_kept_beside_the_prediction(client: httpx.Client) -> None:
    one = send(client)
    before = client.get(f"/v1/predictions/{one['id']}").content
    said = say(client, one, label="service.rude", note="不是质量问题")
    assert said.status_code == 201, said.text
    assert said.json()["predicted"] == one["heads"]["category"]["label"]
    assert say(client, one, label="service.rude", note="不是质量问题").json()["id"] == said.json()["id"]
    client.post("/v1/reviews:claim", json={"actor": "王芳"})
    assert client.get("/v1/reviews").json()["waiting"] == 1  # all four heads are asked about
    for head in one["heads"]:
        say(client, one, head, label="service.rude" if head == "category" else one["heads"][head]["label"])
    assert client.get("/v1/reviews").json()["waiting"] == 0
    found = client.get(f"/v1/predictions/{one['id']}/corrections").json()["corrections"]
    assert [(x["head"], x["label"]) for x in found[:1]] == [("category", "service.rude")]
    assert client.get(f"/v1/predictions/{one['id']}").content == before


def test_the_same_key_gets_the_same_answer(client: httpx.Client) -> None:
    one = send(client)
    url = f"/v1/predictions/{one['id']}/corrections"
    body = {"head": "category", "label": "service.rude", "actor": "王芳"}
    answers = {client.post(url, json=body, headers={"Idempotency-Key": "k"}).content for _ in range(3)}
    assert len(answers) == 1
    other = client.post(url, json=body | {"label": "quality.defect"}, headers={"Idempotency-Key": "k"})
    assert other.status_code == 409
    assert len(client.get(url).json()["corrections"]) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"head": "nothing"}, ["no head nothing", "category, department"]),
        ({"label": "quality"}, None),
        ({"label": "quality.nothing"}, ["is not a label of head", "quality.defect"]),
        ({"actor": ""}, ["cannot be used"]),
        ({"kind": "guess"}, ["cannot be used"]),
    ],
)
def test_unknown_heads_and_labels_are_refused(client: httpx.Client, fields: dict[str, Any], words: Any) -> None:
    answer = say(client, send(client), **fields)
    if words is None:
        assert answer.status_code == 201  # a parent may be said
        return
    assert answer.status_code == 422
    assert all(word in answer.json()["detail"] for word in words), answer.text


def test_notes_are_masked(client: httpx.Client) -> None:
    one = send(client)
    number = "13900139000"
    assert say(client, one, note=f"回电{number}").json()["note"] == "回电<手机号>"
    found = client.get(f"/v1/predictions/{one['id']}/corrections").json()["corrections"]
    assert [word["note"] for word in found] == ["回电<手机号>"]
    taken = client.delete(f"/v1/corrections/{found[0]['id']}", params={"actor": "王芳"})
    assert taken.json()["note"] == "回电<手机号>"
    verdict = {"level": "low", "actor": "王芳", "note": f"回电{number}"}
    told = client.post(f"/v1/predictions/{one['id']}/risk", json=verdict)
    assert told.json()["verdicts"][0]["note"] == "回电<手机号>"


def test_a_case_of_anothers_is_left_alone(client: httpx.Client) -> None:
    one = send(client)
    client.post("/v1/reviews:claim", json={"actor": "李明"})
    refused = say(client, one)
    assert refused.status_code == 409
    assert refused.json()["type"].endswith(":leased")
    assert say(client, one, kind="implicit", actor="工单系统").status_code == 201
    assert say(client, one, actor="李明").status_code == 201


def test_a_second_review_is_drawn(served: Any, snapshot: Snapshot, tmp_path: Path) -> None:
    with served(Settings(home=tmp_path, workers=1, audit_share=0.0, second_share=1.0), Fixed(snapshot)) as client:
        one = send(client)
        for actor, left in (("王芳", 1), ("李明", 0)):
            for head in one["heads"]:
                assert say(client, one, head, actor=actor).status_code == 201
            assert client.get("/v1/reviews").json()["waiting"] == left


def test_who_was_handed_which_cases_is_logged(served: Any, snapshot: Snapshot, tmp_path: Path, url: str) -> None:
    settings = Settings(home=tmp_path, database_url=url, api_keys=(KEY,), workers=1, audit_share=1.0)
    with served(settings, Fixed(snapshot)) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        client.get("/v1/reviews")  # nothing to see
        one, other = send(client)["id"], send(client, "空调坏了")["id"]
        client.get("/v1/reviews", params={"channel": "weibo"})
        client.get("/v1/reviews", params={"limit": 1, "offset": 1})
        client.post("/v1/reviews:search", json={"filters": {"text": "起火", "level": "high"}})
        client.post("/v1/reviews:claim", json={"actor": "王芳", "limit": 2})
        client.post("/v1/reviews:claim", json={"actor": "王芳", "limit": 2})  # has them already
    store = Store(url)
    claimed, searched, listed = store.logged()
    key = f"key {sha256(KEY.encode()).hexdigest()[:8]}"
    assert (claimed.actor, claimed.action, claimed.subject) == ("王芳", "claim", "reviews")
    assert (claimed.detail["by"], set(claimed.detail["cases"])) == (key, {one, other})
    assert (searched.actor, searched.action, searched.subject) == (key, "list", "reviews")
    assert searched.detail == {"filters": {"level": "high", "text": "起火"}, "cases": [one]}
    assert listed.action == "list"
    assert len(listed.detail["cases"]) == 1
    store.close()


def test_by_which_key_a_word_came_is_logged(served: Any, snapshot: Snapshot, tmp_path: Path, url: str) -> None:
    with served(Settings(home=tmp_path, database_url=url, api_keys=(KEY,), workers=1), Fixed(snapshot)) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        one = send(client)
        said = say(client, one).json()["id"]
        client.delete(f"/v1/corrections/{said}", params={"actor": "王芳"})
        client.post(f"/v1/predictions/{one['id']}/risk", json={"level": "low", "actor": "王芳"})
    store = Store(url)
    logged = [(line.action, line.actor, line.detail["by"]) for line in store.logged()]
    key = f"key {sha256(KEY.encode()).hexdigest()[:8]}"
    assert logged == [("judged", "王芳", key), ("withdrawn", "王芳", key), ("said", "王芳", key)]
    store.close()


def test_only_who_said_it_takes_it_back(client: httpx.Client) -> None:
    said = say(client, send(client)).json()
    url = f"/v1/corrections/{said['id']}"
    assert client.delete(url).status_code == 422
    assert client.delete(url, params={"actor": "李明"}).status_code == 409
    assert client.delete(url, params={"actor": "王芳"}).json()["withdrawn_at"] is not None
    assert client.delete("/v1/corrections/nothing", params={"actor": "王芳"}).status_code == 404
    assert client.get("/v1/corrections/export").text == ""


def test_the_export_is_a_corrections_file(client: httpx.Client, tmp_path: Path) -> None:
    one = send(client)
    say(client, one, label="service.rude")
    say(client, one, "department", label="legal", kind="implicit", actor="工单系统")
    answer = client.get("/v1/corrections/export")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    path = tmp_path / "corrections.jsonl"
    path.write_bytes(answer.content)
    first, second = read_corrections(path)
    assert (first.label, first.kind, first.audit, first.model_version) == ("service.rude", "explicit", False, "7")
    assert (second.kind, second.actor) == ("implicit", "工单系统")
    assert "<手机号>" in first.text
    assert len(client.get("/v1/corrections/export", params={"kind": "implicit"}).text.splitlines()) == 1
    assert client.get("/v1/corrections/export", params={"since": "2199-01-01T00:00:00"}).text == ""


def test_keys_with_scopes(served: Any, snapshot: Snapshot, tmp_path: Path) -> None:
    keys = {"predict": "p" * 32, "review": "r" * 32, "export": "e" * 32}
    written = [f"{key}:{scope}" for scope, key in keys.items()] + ["a" * 32, "b" * 32 + ":predict+review"]
    settings = Settings(home=tmp_path, api_keys=",".join(written), audit_share=1.0)
    with served(settings, Fixed(snapshot)) as client:

        def ask(key: str, method: str, path: str, body: Any = None) -> int:
            answer = client.request(method, path, json=body, headers={"Authorization": f"Bearer {key}"})
            if answer.status_code == 403:
                assert answer.json()["type"].endswith(":forbidden")
                assert "needs the scope" in answer.json()["detail"]
            return answer.status_code

        text, claim = {"text": "空调坏了"}, {"actor": "王芳"}
        table = [
            ("POST", "/v1/predictions", text, {"predict"}),
            ("POST", "/v1/predictions:batch", {"items": [text]}, {"predict"}),
            ("GET", "/v1/reviews", None, {"review"}),
            ("POST", "/v1/reviews:claim", claim, {"review"}),
            ("GET", "/v1/corrections/export", None, {"export"}),
            ("GET", "/v1/alerts", None, {"predict", "review"}),
            ("GET", "/v1/taxonomy", None, {"predict", "review", "export"}),
        ]
        for method, path, body, allowed in table:
            for scope, key in keys.items():
                assert ask(key, method, path, body) == (200 if scope in allowed else 403), (scope, path)
            assert ask("a" * 32, method, path, body) == 200
        assert ask("b" * 32, "GET", "/v1/reviews") == 200
        assert ask("b" * 32, "GET", "/v1/corrections/export") == 403


def test_a_scope_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no scope 'predct': write KEY:predict"):
        load_settings(home=tmp_path, api_keys="k" * 32 + ":predct")
    with pytest.raises(InvalidInput, match="fewer than 16"):
        load_settings(home=tmp_path, api_keys="kkk:predict+review+export")
