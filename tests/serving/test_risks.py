"""Risks in their context: history, bursts, observations, verdicts, policies; on SQLite and on PostgreSQL."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import insert, text

from complaints.bursts import MOST_ISSUES, Memory, place
from complaints.concentration import lexical, pack
from complaints.errors import PolicyError
from complaints.policy import PACKAGED, Policy
from complaints.records import Complaint, Context, HeadPrediction, Observation
from complaints.risk import assess
from serving.champion import Fixed, Snapshot
from serving.policies import Policies
from serving.settings import Settings
from serving.store.contexts import Arrival, Draft, Issues
from serving.store.engine import open_engine
from serving.store.queries import Outcome, Store, Stored, new_id
from serving.store.tables import issues

DEFAULT = (PACKAGED / "default.yaml").read_text(encoding="utf-8")
START = datetime(2026, 3, 2, 2, tzinfo=UTC)
URL = "/v1/predictions"


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.load()


@pytest.fixture
def client(served: Any, snapshot: Snapshot, tmp_path: Path, url: str) -> Iterator[httpx.Client]:
    with served(Settings(home=tmp_path, database_url=url), Fixed(snapshot)) as one:
        yield one


def send(client: httpx.Client, said: str = "空调不制冷", at: datetime = START, **fields: Any) -> dict[str, Any]:
    response = client.post(URL, json={"text": said, "created_at": at.isoformat(), **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def codes(answer: dict[str, Any]) -> set[str]:
    return {reason["code"] for reason in answer["risk"]["reasons"]}


# ---- history


def test_the_third_complaint_on_one_subject(client: httpx.Client) -> None:
    customer = {"customer": {"id": "C1"}, "product": "空调"}
    first = send(client, ticket_id="1", **customer)
    # The same ticket sent again, another customer, another product and long ago are none of his.
    send(client, ticket_id="1", **customer)
    send(client, ticket_id="2", customer={"id": "C2"}, product="空调")
    send(client, ticket_id="3", customer={"id": "C1"}, product="冰箱")
    send(client, ticket_id="4", at=START - timedelta(days=200), **customer)
    second = send(client, ticket_id="5", at=START + timedelta(days=1), **customer)
    third = send(client, ticket_id="6", at=START + timedelta(days=2), **customer)
    assert ["third" in codes(one) for one in (first, second, third)] == [False, False, True]
    assert third["risk"]["upgraded_from"] == second["risk"]["level"]
    [detail] = [reason["detail"] for reason in third["risk"]["reasons"] if reason["code"] == "third"]
    assert "第 3 次" in detail
    now = client.get(f"{URL}/{third['id']}/risk").json()
    assert (now["alike_before"], now["risk"]) == (2, third["risk"])


def test_a_batch_counts_its_own_items(client: httpx.Client) -> None:
    body = {"text": "空调不制冷", "created_at": START.isoformat(), "customer": {"id": "C9"}}
    items = client.post(f"{URL}:batch", json={"items": [body] * 4}).json()["items"]
    assert ["third" in codes(item["prediction"]) for item in items] == [False, False, True, True]


def test_customers_are_not_stored_by_number(client: httpx.Client, url: str) -> None:
    send(client, customer={"id": "C1-13800138000"})
    engine = open_engine(url)
    with engine.begin() as connection:
        [found] = connection.execute(text("SELECT customer FROM assessments")).scalars()
    engine.dispose()
    assert len(found) == 64


def test_a_repeated_request_counts_once(client: httpx.Client) -> None:
    body = {"text": "空调不制冷", "created_at": START.isoformat(), "customer": {"id": "C3"}}
    first = client.post(URL, json=body, headers={"Idempotency-Key": "k"})
    for _ in range(3):
        assert client.post(URL, json=body, headers={"Idempotency-Key": "k"}).content == first.content
    assert "third" not in codes(send(client, customer={"id": "C3"}, at=START + timedelta(hours=1)))


def test_each_caller_numbers_their_own_tickets(served: Any, snapshot: Snapshot, tmp_path: Path, url: str) -> None:
    keys = ("a" * 32, "b" * 32)
    with served(Settings(home=tmp_path, database_url=url, api_keys=keys), Fixed(snapshot)) as client:
        for key in (keys[0], keys[1], keys[0], keys[1]):
            client.headers["Authorization"] = f"Bearer {key}"
            last = send(client, ticket_id="1", customer={"id": "C1"})
    engine = open_engine(url)
    with engine.begin() as connection:
        query = text("SELECT counted FROM assessments ORDER BY stored_at, prediction_id")
        assert [bool(one) for one in connection.execute(query).scalars()] == [True, True, False, False]
        connection.execute(text("UPDATE assessments SET caller = NULL"))  # as before callers were kept
    engine.dispose()
    with served(Settings(home=tmp_path, database_url=url, api_keys=keys), Fixed(snapshot)) as client:
        client.headers["Authorization"] = f"Bearer {keys[1]}"
        assert client.get(f"{URL}/{last['id']}/risk").json()["alike_before"] == 1
        again = send(client, ticket_id="1", customer={"id": "C1"})
        assert client.get(f"{URL}/{again['id']}/risk").json()["alike_before"] == 0


# ---- observations and verdicts


def test_a_repeated_word_on_a_risk_is_kept_once(client: httpx.Client) -> None:
    where = f"{URL}/{send(client)['id']}"
    for path, body in (("observations", {"reads": 5000}), ("risk", {"level": "high", "actor": "王芳"})):
        key = {"Idempotency-Key": path}
        first = client.post(f"{where}/{path}", json=body, headers=key)
        assert first.status_code == 201, first.text
        client.post(f"{where}/observations", json={"reads": 9_000_000})
        again = client.post(f"{where}/{path}", json=body, headers=key)
        assert (again.status_code, again.content) == (201, first.content)
        other = client.post(f"{where}/{path}", json=body | {"actor": "李强"}, headers=key)
        assert (other.status_code, other.json()["type"]) == (409, "urn:jianwei:problem:conflict")
    now = client.get(f"{where}/risk").json()
    assert (len(now["observations"]), len(now["verdicts"])) == (3, 1)
    # What is refused leaves its key free.
    key = {"Idempotency-Key": "new"}
    body = {"level": "high", "actor": "王芳"}
    assert client.post(f"{URL}/pred_x/risk", json=body, headers=key).status_code == 404
    assert client.post(f"{where}/risk", json=body, headers=key).status_code == 201


def test_the_same_word_on_a_risk_at_once_is_kept_once(client: httpx.Client) -> None:
    where = f"{URL}/{send(client)['id']}"

    def post(_: int) -> int:
        key = {"Idempotency-Key": "k"}
        return client.post(f"{where}/observations", json={"reads": 5000}, headers=key).status_code

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(post, range(12))) == {201}
    assert len(client.get(f"{where}/risk").json()["observations"]) == 1


def test_observations_move_the_index_and_leave_the_answer(client: httpx.Client) -> None:
    answer = send(client)
    where = f"{URL}/{answer['id']}"
    kept = client.get(where).content
    before = answer["risk"]["propagation"]
    assert not before["observed"]
    indices = [before["index"]]
    for hours, reads in ((1, 50_000), (3, 800_000), (6, 9_000_000)):
        seen = {"at": (START + timedelta(hours=hours)).isoformat(), "reads": reads, "comments": reads // 1000}
        response = client.post(f"{where}/observations", json=seen)
        assert response.status_code == 201, response.text
        indices.append(response.json()["risk"]["propagation"]["index"])
    assert indices == sorted(indices)
    assert indices[-1] > indices[0] + 2
    now = client.get(f"{where}/risk").json()
    assert [one["reads"] for one in now["observations"]] == [50_000, 800_000, 9_000_000]
    assert now["risk"]["propagation"]["observed"]
    low, high = now["risk"]["propagation"]["interval"]
    assert low <= indices[-1] <= high
    assert client.get(where).content == kept


def test_a_person_confirms_or_overrules(client: httpx.Client) -> None:
    answer = send(client)
    where, level = f"{URL}/{answer['id']}/risk", answer["risk"]["level"]
    assert (client.get(where).json()["level"], client.get(where).json()["decided"]) == (level, False)
    first = client.post(where, json={"level": level, "actor": "王芳"}).json()
    assert (first["decided"], first["verdicts"][0]["confirmed"]) == (True, True)
    second = client.post(where, json={"level": "high", "actor": "李强", "note": "记者来过"}).json()
    assert (second["level"], second["given"], second["risk"]["level"]) == ("high", level, level)
    assert [(one["confirmed"], one["actor"], one["note"]) for one in second["verdicts"]] == [
        (True, "王芳", None),
        (False, "李强", "记者来过"),
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("observations", {}),
        ("observations", {"reads": -1}),
        ("observations", {"reads": 1.5}),
        ("observations", {"likes": 10**16}),
        ("observations", {"reads": 1, "at": "0001-01-01T00:00:00Z"}),
        ("risk", {"level": "worst", "actor": "x"}),
        ("risk", {"level": "high"}),
        ("risk", {"level": "high", "actor": "\x00"}),
        ("risk", {"level": "high", "actor": "x", "note": "\x00"}),
    ],
)
def test_what_cannot_be_used_is_refused(service: httpx.Client, path: str, body: dict[str, Any]) -> None:
    answer = service.post(URL, json={"text": "空调"}).json()
    assert service.post(f"{URL}/{answer['id']}/{path}", json=body).status_code == 422


def test_what_is_not_there_is_not_found(client: httpx.Client) -> None:
    for path in ("pred_x/risk", "pred_x/observations", "%00/risk"):
        body = {"reads": 1} if "obs" in path else {"level": "low", "actor": "x"}
        assert client.post(f"{URL}/{path}", json=body).status_code == 404
    for path in (f"{URL}/pred_x/risk", f"{URL}/%00/risk", "/v1/alerts/alert_x", "/v1/alerts/%00"):
        assert client.get(path).status_code == 404
    assert client.post("/v1/alerts/%00/decision", json={"accept": True, "actor": "x"}).status_code == 404
    assert client.post("/v1/alerts/alert_x/decision", json={"accept": True, "actor": "x"}).status_code == 404


# ---- bursts


def test_a_burst_is_told_once_and_decided_once(client: httpx.Client) -> None:
    def burst(start: int, count: int) -> list[dict[str, Any]]:
        return [
            {
                "text": "空调不制冷",
                "ticket_id": f"T{i}",
                "product": "空调",
                "created_at": (START + i * timedelta(minutes=2)).isoformat(),
            }
            for i in range(start, start + count)
        ]

    first = client.post(f"{URL}:batch", json={"items": burst(0, 60)}).json()["items"]
    levels = [codes(item["prediction"]) for item in first]
    assert ["burst_50" in one for one in levels] == [False] * 49 + [True] * 11
    [alert] = client.get("/v1/alerts", params={"status": "open"}).json()["alerts"]
    assert (alert["members"], alert["count"], alert["reason"], alert["product"]) == (60, 50, "count", "空调")
    whole = client.get(f"/v1/alerts/{alert['id']}").json()
    assert [one["ticket_id"] for one in whole["first_members"]] == [f"T{i}" for i in range(60)]
    where = f"/v1/alerts/{alert['id']}/decision"
    told = client.post(where, json={"accept": False, "actor": "王芳", "note": "演练，找13900139000"})
    assert (told.status_code, told.json()["status"], told.json()["decided_by"]) == (201, "rejected", "王芳")
    assert told.json()["note"] == "演练，找<手机号>"
    same = {"accept": False, "actor": "王芳", "note": "演练，找13900139000"}
    for headers in ({}, {"Idempotency-Key": "k"}, {"Idempotency-Key": "k"}):
        again = client.post(where, json=same, headers=headers)
        assert (again.status_code, again.json()) == (201, told.json())
    again = client.post(where, json={"accept": True, "actor": "王芳"}, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["type"]) == (409, "urn:jianwei:problem:conflict")
    again = client.post(where, json={"accept": True, "actor": "李强"})
    assert (again.status_code, again.json()["type"]) == (409, "urn:jianwei:problem:already-decided")
    after = client.post(f"{URL}:batch", json={"items": burst(60, 5)}).json()["items"]
    assert not any("burst" in codes(item["prediction"]) for item in after)
    assert len(client.get("/v1/alerts").json()["alerts"]) == 1


def test_a_back_dated_ticket_teaches_no_baseline(client: httpx.Client) -> None:
    send(client, at=START - timedelta(days=60))
    for i in range(15):
        last = send(client, at=START + i * timedelta(minutes=1))
    assert not client.get("/v1/alerts").json()["alerts"]
    assert client.get(f"{URL}/{last['id']}/risk").json()["burst"] == 0


HEADS = {
    "category": HeadPrediction(
        decision="auto", label="a", name="甲", confidence=0.9, threshold=0.5, prediction_set=("a",), top_k=()
    )
}


def stream(seed: int, count: int) -> list[Draft]:
    """Complaints of four kinds, one of them in a burst, some tickets twice."""
    rng = random.Random(seed)
    texts = ["空调不制冷报修没人", "快递没到还不回电话", "退款一直不来怎么办", "登录不了收不到验证码"]
    drafts = []
    for i in range(count):
        which = 0 if 60 < i < 140 and rng.random() < 0.8 else rng.randrange(4)
        at = START + timedelta(minutes=i, seconds=rng.randrange(60))
        arrival = Arrival(at, "quality", rng.choice(["", "空调"]), "s", pack(lexical(texts[which])))
        ticket = f"T{i - 1 if rng.random() < 0.1 else i}"
        drafts.append(Draft(arrival, ticket, f"C{rng.randrange(20)}", "quality.defect", None, "{}"))
    return drafts


def save(store: Store, policy: Policy, draft: Draft, contexts: list[Context]) -> None:
    def settle(at: int, context: Context) -> Outcome:
        contexts.append(context)
        now = datetime.now(UTC)
        stored = Stored(new_id(now), now, draft.ticket_id, "{}", "{}", "m", "1", "d", "1", "1", "r", HEADS)
        risk = assess(policy, Complaint(text="x"), "x", {}, None, context)
        return Outcome(stored, risk, None, "1", "control")

    store.save_assessed([draft], settle, lambda rows: rows[0].response, policy=policy, salt="s")


def small(policy: Policy) -> Policy:
    return policy.model_copy(update={"burst": policy.burst.model_copy(update={"count": 20, "least": 8})})


def test_the_store_and_the_memory_agree(url: str, policy: Policy) -> None:
    policy = small(policy)
    store, memory, contexts = Store(url), Memory(), []
    placed, tickets = [], set()
    drafts = stream(0, 250)
    drafts[100:120] = drafts[119:99:-1]  # some come in late
    for draft in drafts:
        save(store, policy, draft, contexts)
        arrival = draft.arrival
        if draft.ticket_id in tickets:
            arrival = Arrival(arrival.at, arrival.category, arrival.product, arrival.space, arrival.vector, False)
        tickets.add(draft.ticket_id)
        placed.append(place(memory, arrival, policy.burst, policy.calendar))
    assert [one.burst for one in placed] == [one.burst for one in contexts]
    stored = {one.alert.id: one.alert for one in store.alerts(None, None, 100)}
    assert stored == memory.alerts
    assert stored
    again = Memory()
    for one in store.between(START - timedelta(days=1), START + timedelta(days=1)):
        arrival = Arrival(one.at, one.category, one.product, one.space, one.vector, one.counted)
        place(again, arrival, policy.burst, policy.calendar)
    assert again.alerts == stored  # replayed from the store, in the order that they came
    assert max(one.alike_before for one in contexts) > 2
    store.close()


@pytest.mark.parametrize("later", [timedelta(hours=5), timedelta(hours=1)])
def test_a_ticket_that_comes_again_after_many_others_finds_its_issue(
    url: str, policy: Policy, later: timedelta
) -> None:
    store, contexts = Store(url), list[Context]()
    [draft] = stream(0, 1)
    save(store, policy, draft, contexts)
    arrival = draft.arrival
    centre = pack(np.eye(len(arrival.vector) // 2, dtype=np.float32)[0])
    others = [
        {
            "id": f"issue_{i}", "category": arrival.category, "product": arrival.product, "space": arrival.space,
            "centre": centre, "members": 1, "first_at": arrival.at + later, "last_at": arrival.at + later,
            "received_at": arrival.at + later,
        }
        for i in range(MOST_ISSUES + 1)
    ]  # fmt: skip
    with store._write() as connection:
        connection.execute(insert(issues), others)
    save(store, policy, draft, contexts)
    save(store, policy, replace(draft, ticket_id=None), contexts)
    stored = list(store.between(START - timedelta(days=1), START + timedelta(days=1)))
    assert len({one.issue_id for one in stored}) == 1
    assert [one.counted for one in stored] == [True, False, True]
    with store._read() as connection:
        assert Issues(connection, policy).crowd(stored[0].issue_id, arrival.at, timedelta(hours=3))[0] == 3
    store.close()


def test_replicas_agree(url: str, policy: Policy) -> None:
    """Two replicas take complaints of one burst at once: one alert, every complaint counted once."""
    policy = small(policy)
    stores = [Store(url), Store(url)]
    drafts = [
        Draft(
            Arrival(START + timedelta(seconds=i), "quality", "", "s", pack(lexical("空调不制冷"))),
            f"T{i}", "C1", "quality.defect", None, "{}",
        )
        for i in range(60)
    ]  # fmt: skip
    contexts: list[Context] = []
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda i: save(stores[i % 2], policy, drafts[i], contexts), range(60)))
    [found] = stores[0].alerts(None, None, 10)
    assert found.alert.members == 60
    assert sorted(one.burst for one in contexts if one.burst) == list(range(20, 61))
    assert len({store.salt() for store in stores}) == 1
    for store in stores:
        store.close()


# ---- policies


def test_a_changed_policy_comes_into_force_and_a_broken_one_does_not(
    served: Any, snapshot: Snapshot, tmp_path: Path, wait_until: Any
) -> None:
    path = tmp_path / "risk.yaml"
    path.write_text(DEFAULT, encoding="utf-8")
    with served(Settings(home=tmp_path, policy=str(path), poll=0.05), Fixed(snapshot)) as client:
        calm = send(client)
        assert (calm["policy_version"], calm["risk"]["severity"]) == ("2.1.0", "normal")
        path.write_text(DEFAULT.replace("respond: 30m", "respond: 30 minutes"), encoding="utf-8")
        wait_until(lambda: client.get("/v1/policy").json()["control"]["refused"])
        refused = client.get("/v1/policy").json()["control"]
        line = DEFAULT[: DEFAULT.index("respond: 30m")].count("\n") + 1
        assert f"{path}:{line}: severities.low.respond" in refused["refused"]["reason"]
        assert "30m minutes" in refused["refused"]["reason"]
        assert refused["version"] == "2.1.0"
        assert send(client)["risk"] == calm["risk"]  # the old one stays in force
        path.write_text(DEFAULT.replace("respond: 30m", "respond: 20m").replace("2.1.0", "2.2.0"), encoding="utf-8")
        wait_until(lambda: client.get("/v1/policy").json()["control"]["version"] == "2.2.0")
        assert client.get("/v1/policy").json()["control"]["refused"] is None
        assert send(client)["risk"]["respond_by"] == "2026-03-02T10:20:00+08:00"
        # Changed again without a new version: it is told apart all the same.
        path.write_text(DEFAULT.replace("respond: 30m", "respond: 15m").replace("2.1.0", "2.2.0"), encoding="utf-8")
        wait_until(lambda: client.get("/v1/policy").json()["control"]["version"].startswith("2.2.0+"))
        version = send(client)["policy_version"]
        assert version == f"2.2.0+{Policy.load(path).digest[:8]}"
        kept = path.read_text(encoding="utf-8")
        path.unlink()
        wait_until(lambda: client.get("/v1/policy").json()["control"]["refused"])
        assert send(client)["policy_version"] == version
        path.write_text(kept, encoding="utf-8")
        wait_until(lambda: client.get("/v1/policy").json()["control"]["refused"] is None)
        assert send(client)["policy_version"] == version


def test_a_policy_is_tried_on_some_business_lines(served: Any, snapshot: Snapshot, tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    path.write_text(DEFAULT.replace("2.1.0", "3.0.0-rc1").replace("respond: 30m", "respond: 5m"), encoding="utf-8")
    settings = Settings(home=tmp_path, pilot_policy=str(path), pilot_share=0.5, pilot_lines=("信用卡",))
    with served(settings, Fixed(snapshot)) as client:
        versions = {line: send(client, business_line=line)["policy_version"] for line in map(str, range(60))}
        assert 15 < list(versions.values()).count("3.0.0-rc1") < 45
        assert versions == {line: send(client, business_line=line)["policy_version"] for line in versions}
        assert send(client, business_line="信用卡")["policy_version"] == "3.0.0-rc1"
        assert send(client)["policy_version"] == "2.1.0"
        told = client.get("/v1/policy").json()
        assert (told["control"]["version"], told["pilot"]["version"]) == ("2.1.0", "3.0.0-rc1")


def test_a_broken_policy_to_begin_with_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "risk.yaml"
    path.write_text("name: x\n", encoding="utf-8")
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    for settings in (Settings(policy=str(path)), Settings(pilot_policy=str(path))):
        with pytest.raises(PolicyError, match="version: Field required"):
            Policies(settings, store)
    store.close()


def test_observations_are_read_back_as_they_were(url: str, policy: Policy) -> None:
    store = Store(url)
    contexts: list[Context] = []
    [draft] = stream(1, 1)
    save(store, policy, draft, contexts)
    [one] = store.between(START, START + timedelta(days=1))
    seen = Observation(at=START, reads=10**15, likes=0)
    store.observe(one.prediction_id, seen, None, START)
    assert store.assessed(one.prediction_id, policy).observations == (seen,)
    assert store.register(policy, START) == store.register(policy, START) == "2.1.0"
    store.close()
