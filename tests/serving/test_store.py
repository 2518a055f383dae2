"""What is kept, on SQLite and on PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import func, select, text

from complaints.bursts import Arrival
from complaints.concentration import pack
from complaints.errors import Conflict, NotFound
from complaints.policy import Policy
from complaints.records import Complaint, Context, HeadPrediction
from complaints.risk import assess
from serving.champion import Fixed, Snapshot
from serving.settings import Settings
from serving.store import engine as engine_module
from serving.store.contexts import Draft, Issues
from serving.store.engine import open_engine
from serving.store.queries import Key, Outcome, Store, Stored, StoreError, new_id
from serving.store.review_order import Filters
from serving.store.tables import idempotency_keys, issues, metadata, prediction_heads, predictions

HEAD = HeadPrediction(
    decision="auto", label="a", name="甲", confidence=0.9, threshold=0.5, prediction_set=("a",), top_k=()
)


def row(**changes: object) -> Stored:
    now = datetime.now(UTC)
    values = {
        "id": new_id(now),
        "created_at": now,
        "ticket_id": "T",
        "request": '{"text":"\\u0000"}',
        "response": "{}",
        "model_name": "m",
        "model_version": "1",
        "bundle_digest": "d" * 64,
        "taxonomy_version": "1",
        "policy_version": "1",
        "request_id": "r",
        "heads": {"category": HEAD, "sentiment": HEAD},
    }
    return Stored(**(values | changes))  # type: ignore[arg-type]


def count(store: Store, table: object) -> int:
    with store._read() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())  # type: ignore[arg-type]


def known(thing: object, name: str, kind: str, *_: object) -> bool:
    # The full-text index is of another kind on each database.
    return not (kind == "table" and name.startswith("review_words"))


def test_the_migrations_make_the_tables(url: str) -> None:
    Store(url).close()
    engine = open_engine(url)
    with engine.connect() as connection:
        options = {"compare_type": True, "include_object": known}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    engine.dispose()


def test_a_store_of_the_release_before_is_brought_up_to_date(url: str, put: Any) -> None:
    before = datetime.now(UTC) - timedelta(days=100)
    store = Store(url)
    cases = [put(store, at=before + timedelta(days=i)) for i in range(3)]
    store.close()
    config = Config()
    config.set_main_option("script_location", str(Path(engine_module.__file__).parent / "migrations"))
    engine = open_engine(url, migrating=True)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0005")
        connection.execute(text("UPDATE issues SET first_at = :at"), {"at": datetime(2001, 1, 1, tzinfo=UTC)})
    store = Store(url)
    with store._read() as connection:
        # One issue, received with the first of its complaints.
        assert list(connection.execute(select(issues.c.received_at)).scalars()) == [before]
        assert Issues(connection, Policy.load()).since("space") == before
    assert [store.response(one) for one in cases] == ["{}"] * 3
    assert put(store)
    store.close()


def test_many_start_at_once(url: str) -> None:
    code = "import sys; from serving.store.queries import Store; Store(sys.argv[1]).ping()"
    started = [subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE) for _ in range(2)]
    results = [(process.communicate()[1].decode(), process.returncode) for process in started]
    assert all(code == 0 for _, code in results), results


def test_all_or_nothing(url: str) -> None:
    store, twice = Store(url), row()
    assert store.save([row(), twice], "x") == "x"
    before = count(store, predictions)
    with pytest.raises(StoreError):
        store.save([row(), twice], "x", Key("k", "b"))
    assert (count(store, predictions), count(store, idempotency_keys)) == (before, 0)
    assert store.response(twice.id) == "{}"
    with pytest.raises(NotFound):
        store.response(new_id(datetime.now(UTC)))
    store.close()


def test_one_key_one_answer(url: str) -> None:
    store, key = Store(url), Key("k", "b")
    with ThreadPoolExecutor(6) as pool:
        answers = set(pool.map(lambda i: store.save([row()], f"answer {i}", key), range(12)))
    assert len(answers) == 1
    assert (count(store, predictions), count(store, prediction_heads)) == (1, 2)
    assert {store.recall(key)} == answers
    with pytest.raises(Conflict):
        store.recall(Key("k", "other"))
    with pytest.raises(Conflict):
        store.save([row()], "answer", Key("k", "other"))
    assert store.recall(Key("other", "b")) is None
    store.close()


def test_keys_are_forgotten_after_a_day(url: str) -> None:
    store, key = Store(url), Key("k", "b")
    store.save([], "first", key)
    with store._write() as connection:
        connection.execute(idempotency_keys.update().values(created_at=datetime.now(UTC) - timedelta(hours=25)))
    assert store.recall(key) is None
    assert store.save([], "second", key) == "second"
    assert store.recall(key) == "second"
    store.close()


def test_a_ticket_that_is_sent_again_waits_once(url: str) -> None:
    store, policy = Store(url), Policy.load()
    doubtful = {"category": HEAD.model_copy(update={"decision": "review", "confidence": 0.5})}

    def send(text: str = "空调不制冷", ticket: str | None = "T", caller: str | None = "a", level: str = "low") -> str:
        def settle(_: int, context: Context) -> Outcome:
            risk = assess(policy, Complaint(text=text), text, doubtful, None, context)
            stored = row(request=orjson.dumps({"text": text, "title": None}).decode(), heads=doubtful)
            return Outcome(stored, risk.model_copy(update={"level": level}), None, "1", "control")

        arrival = Arrival(datetime.now(UTC), "a", "", "space", pack(np.eye(512, dtype=np.float32)[0]))
        draft = Draft(arrival, ticket, None, "a", None, "{}", None, text, caller)
        _, [outcome] = store.save_assessed([draft], settle, lambda rows: rows[0].id, policy=policy, salt="s")
        return outcome.stored.id

    def waiting() -> set[str]:
        return {one.prediction_id for one in store.queue(Filters(), now=datetime.now(UTC)).items}

    first = send()
    again = send()
    assert waiting() == {first}
    assert store.response(again) == "{}"  # stored and answered as before
    others = {send(caller="b"), send(ticket="T2"), send(ticket=None), send("空调还是不制冷")}
    assert waiting() == {first, *others}
    send("空调还是不制冷")
    grave = send(level="high")  # it must not wait at the place of one that was not
    send(level="high")
    assert waiting() == {first, *others, grave}
    now = datetime.now(UTC)
    for one in (first, grave):
        store.accept(one, "甲", taxonomy_version="1", now=now)
    late = send()  # nobody has it before them any more
    assert waiting() == {*others, late}
    store.close()


def test_writers_do_not_get_in_each_others_way(url: str) -> None:
    store = Store(url)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.save([row(), row()], "x"), range(60)))
    assert count(store, predictions) == 120
    store.close()


def test_foreign_keys_and_durability_are_on(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    with store._read() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    store.close()


def test_ids_sort_by_time() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ids = [new_id(start + timedelta(milliseconds=i)) for i in range(500)]
    assert ids == sorted(ids)
    assert len({new_id(start) for _ in range(1000)}) == 1000
    assert {len(one) for one in ids} == {31}


def test_a_database_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"something else" * 100)
    with pytest.raises(StoreError):
        Store(f"sqlite:///{tmp_path / 'x.db'}")


def test_what_cannot_be_opened_is_said_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    newer = f"sqlite:///{tmp_path / 'newer.db'}"
    Store(newer).close()
    engine = open_engine(newer)
    with engine.connect().execution_options(jianwei_writes=0.0) as connection, connection.begin():
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    for url, said in (
        (f"sqlite:///{tmp_path / 'file' / 'x.db'}", "x.db cannot be made"),
        (f"sqlite:///{tmp_path}", "cannot be opened"),
        (newer, "newer.db was written by a newer release"),
        ("mysql://u:secret@h/x", "not in mysql"),
        ("postgresql+none://u:secret@h/x", "that is no database URL"),
        ("postgresql://u:secret@h:port/x", "that is no database URL"),
        ("secret", "that is no database URL"),
        ("postgresql+pg8000://u:secret@h/x", r"needs pg8000: pip install .*'\.\[postgres\]'"),
        (f"postgresql://u:secret@/x?host={tmp_path}", "database x on this machine cannot be opened"),
    ):
        with pytest.raises(StoreError, match=said) as raised:
            Store(url)
        assert "secret" not in str(raised.value)


def test_others_on_the_machine_do_not_read_it(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    store.save([row()], "x")
    assert {one.name: one.stat().st_mode & 0o777 for one in tmp_path.iterdir()} == {
        "x.db": 0o600, "x.db-wal": 0o600, "x.db-shm": 0o600
    }  # fmt: skip
    store.close()


def test_the_service_on_postgresql(served: Any, snapshot: Snapshot, tmp_path: Path, postgres: str) -> None:
    with served(Settings(home=tmp_path, database_url=postgres), Fixed(snapshot)) as client:
        nul = client.post("/v1/predictions", json={"text": "空\x00调", "channel": "\x00", "customer": {"id": "\x00"}})
        assert nul.status_code == 200
        assert client.get(f"/v1/predictions/{nul.json()['id']}").content == nul.content
        assert client.get("/v1/predictions/%00").status_code == 404

        def post(_: int) -> httpx.Response:
            return client.post("/v1/predictions", json={"text": "退款"}, headers={"Idempotency-Key": "k"})

        with ThreadPoolExecutor(6) as pool:
            assert len({response.content for response in pool.map(post, range(6))}) == 1
    assert not list(tmp_path.glob("*.db"))
