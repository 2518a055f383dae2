"""A model small enough to be made on the spot, and the service around it over real HTTP."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import onnx
import orjson
import pytest
import uvicorn
from onnx import TensorProto, helper, numpy_helper
from sqlalchemy import text as sql
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from complaints import text
from complaints.bundle import FORMAT, Bundle, Length, Manifest, write_bundle
from complaints.bursts import Arrival
from complaints.concentration import pack
from complaints.decision import Calibration, HeadCalibration
from complaints.examples import write_examples
from complaints.records import Complaint, Context, HeadPrediction
from complaints.risk import Policy, assess
from complaints.taxonomy import Taxonomy
from complaints.text import clean
from serving.app import create_app
from serving.champion import Fixed, Snapshot, Source, load
from serving.models import Opened
from serving.settings import Settings
from serving.store.contexts import Draft
from serving.store.engine import open_engine
from serving.store.queries import Outcome, Store, Stored, new_id

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
KEY = "k" * 32
# When the complaints of the review tests came in.
START = datetime(2026, 3, 2, 2, tzinfo=UTC)
AUTH = {"Authorization": f"Bearer {KEY}"}
CHARACTERS = "空调坏了不制冷客服态度差物流慢退款曝光消协投诉，。！"
WIDTH = 8


def _make_bundle(path: Path, *, favour: int = 0, damage: bool = False) -> Bundle:
    """A bundle of the consumer taxonomy whose heads all lean to their label number `favour`."""
    taxonomy = Taxonomy.load("consumer")
    rng = np.random.default_rng(0)
    vocabulary = {token: i for i, token in enumerate(["[UNK]", "[CLS]", "[SEP]", *sorted(set(CHARACTERS))])}
    bias = np.concatenate([3.0 * (np.arange(size) == favour) for size in taxonomy.sizes.values()]).astype(np.float32)

    def fill(folder: Path) -> None:
        weights = {
            "embedding": rng.normal(size=(len(vocabulary), WIDTH)).astype(np.float32),
            "matrix": rng.normal(scale=0.1, size=(WIDTH, len(bias))).astype(np.float32),
            "bias": bias,
            "axes": np.array([1], dtype=np.int64),
            "last": np.array([2], dtype=np.int64),
        }
        graph = helper.make_graph(
            [
                helper.make_node("Gather", ["embedding", "input_ids"], ["embedded"]),
                helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
                helper.make_node("ReduceSum", ["mask", "axes"], ["read"], keepdims=1),
                helper.make_node("Div", ["mask", "read"], ["even"]),
                helper.make_node("Unsqueeze", ["even", "last"], ["weight"]),
                helper.make_node("Mul", ["embedded", "weight"], ["weighted"]),
                helper.make_node("MatMul", ["weighted", "matrix"], ["contributions"]),
                helper.make_node("ReduceSum", ["contributions", "axes"], ["product"], keepdims=0),
                helper.make_node("Add", ["product", "bias"], ["logits"]),
                helper.make_node("ReduceSum", ["weighted", "axes"], ["mean"], keepdims=0),
                helper.make_node("LpNormalization", ["mean"], ["vectors"], axis=1, p=2),
            ],
            "tiny",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, ["B", "T"])
                for name in ("input_ids", "attention_mask")
            ],
            [
                helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", len(bias)]),
                helper.make_tensor_value_info("contributions", TensorProto.FLOAT, ["B", "T", len(bias)]),
                helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["B", WIDTH]),
            ],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.save(model, folder / "graph.onnx")
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()  # a character a token
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
        tokenizer.save(str(folder / "tokenizer.json"))
        heads = {
            name: HeadCalibration(
                temperature=1.0,
                precision_target=0.9,
                thresholds=dict.fromkeys(head.names, 0.3),
                coverage=0.9,
                set_floors=dict.fromkeys(head.ids, 0.05),
            )
            for name, head in taxonomy.heads.items()
        }
        (folder / "calibration.json").write_text(Calibration(heads=heads).model_dump_json(), encoding="utf-8")
        vectors = np.eye(WIDTH, dtype=np.float32)[:2]
        write_examples(folder, [("空调坏了", {"category": "quality.defect"}), ("物流慢", {})], vectors)

    manifest = Manifest(
        format=FORMAT,
        name="consumer",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        run_id=None,
        base_model="none",
        code_version="test",
        text_version=text.VERSION,
        taxonomy_version=taxonomy.version,
        heads=taxonomy.sizes,
        length=Length(max_tokens=64, tail=16),
        metrics={"test/category/accuracy": 0.5},
    )
    bundle = write_bundle(path, manifest, taxonomy, fill)
    if damage:
        (path / "graph.onnx").write_bytes(b"not a graph")
    return bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle."""
    return _make_bundle(tmp_path_factory.mktemp("bundle") / "consumer")


@pytest.fixture(scope="session")
def snapshot(bundle: Bundle) -> Snapshot:
    """The tiny bundle, loaded."""
    return load(bundle.path, Policy.load(), version="7", alias="champion")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A new, empty database of each kind, in a folder that is not there yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'deep' / 'store.db'}"
        return
    yield request.getfixturevalue("empty_postgres")


@pytest.fixture
def empty_postgres(postgres: str) -> Iterator[str]:
    """The server's database, with nothing in it."""
    _empty(postgres)  # other tests may use the server without this fixture
    yield postgres
    _empty(postgres)


def _empty(address: str) -> None:
    engine = open_engine(address, migrating=True)
    with engine.begin() as connection:
        connection.execute(sql("DROP SCHEMA public CASCADE"))
        connection.execute(sql("CREATE SCHEMA public"))


@contextmanager
def _served(settings: Settings, source: Source | None = None, models: Opened | None = None) -> Iterator[httpx.Client]:
    """The service in a thread on a free port, and a client of it that has no key."""
    config = uvicorn.Config(create_app(settings, source, models), port=0, access_log=False, log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        _wait_until(lambda: server.started or not thread.is_alive())
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive()


SERVER = """
import json, sys
from pathlib import Path
import uvicorn
from complaints.risk import Policy
from serving.app import create_app
from serving.champion import Fixed, load
from serving.settings import Settings

source = Fixed(load(Path(sys.argv[1]), Policy.load(), version="1", alias=None)) if sys.argv[1] else None
app = create_app(Settings(**json.loads(sys.argv[2])), source)
# Lines of the log would fill the pipe, from which one line alone is read.
config = uvicorn.Config(app, port=0, access_log=False, log_config=None)

class Announcing(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)

Announcing(config).run()
"""


@contextmanager
def _apart(bundle: Bundle | None, **settings: object) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The service in a process of its own, which may be killed: its address, and the process.

    Without a bundle the registry's champion answers.
    """
    path = "" if bundle is None else str(bundle.path)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, path, json.dumps({"workers": 2, **settings}, default=str)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}", process
    finally:
        process.kill()
        process.communicate()


def _wait_until(true: Callable[[], object], seconds: float = 20) -> None:
    """Wait for something that happens in another thread or process."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the shared service."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def service(home: Path, snapshot: Snapshot) -> Iterator[httpx.Client]:
    """One service for all tests that do not need their own; its client sends the key."""
    with _served(Settings(home=home, api_keys=(KEY,), workers=2), Fixed(snapshot)) as client:
        client.headers.update(AUTH)
        yield client


@pytest.fixture(scope="session")
def mlflow_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A client of a real registry in SQLite."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow

        uri = f"sqlite:///{tmp_path_factory.mktemp('registry') / 'mlflow.db'}"
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        client = mlflow.MlflowClient(uri, uri)
        client.search_experiments()
    yield client
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server of our own, on a socket in a temporary folder."""
    if not shutil.which("initdb") or not shutil.which("pg_ctl"):
        pytest.skip("PostgreSQL is not installed (initdb, pg_ctl)")
    pytest.importorskip("psycopg")
    folder = Path(subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip())
    user = None
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        try:
            shutil.chown(folder, "postgres")
        except LookupError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        user = "postgres"

    def run(*command: object) -> None:
        subprocess.run(command, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # type: ignore[call-overload]

    try:
        run("initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -F"
        run("pg_ctl", "-D", folder / "data", "-o", options, "-l", folder / "log", "-w", "start")
    except (subprocess.CalledProcessError, OSError) as error:
        pytest.skip(f"PostgreSQL cannot be started: {error}")
    yield f"postgresql://postgres@/postgres?host={folder}"
    run("pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")
    shutil.rmtree(folder)


def _head(label: str, confidence: float, decision: str = "auto") -> HeadPrediction:
    reason = None if decision == "auto" else "below_threshold"
    return HeadPrediction.model_validate(
        {
            "decision": decision, "label": label, "name": label, "confidence": confidence, "threshold": 0.5,
            "reason": reason, "prediction_set": (label,), "top_k": (),
        }
    )  # fmt: skip


@pytest.fixture(scope="session")
def put() -> Callable[..., str]:
    """Store a prediction of one complaint, its risk as said: `put(store, text, confidence=…)`; its id."""
    policy = Policy.load()

    def save(
        store: Store,
        text: str = "空调不制冷",
        *,
        confidence: float = 0.6,
        decision: str = "review",
        customer: str | None = None,
        level: str = "low",
        vector: int = 0,
        share: float = 0.0,
        at: datetime = START,
        channel: str | None = "app",
        label: str = "quality.defect",
        copies: int = 1,
        strangeness: float = 1.0,
    ) -> str:
        heads = {"category": _head(label, confidence, decision), "department": _head("quality", 0.99)}
        request = orjson.dumps({"text": text, "title": None, "channel": channel, "ticket_id": "T"}).decode()

        def settle(_: int, context: Context) -> Outcome:
            stored = Stored(new_id(at), at, "T", request, "{}", "m", "7", "d", "1.0.0", "2.0.0", "r", heads)
            risk = assess(policy, Complaint(text=text), text, heads, None, context)
            return Outcome(stored, risk.model_copy(update={"level": level}), "quality", "2.0.0", "control")

        arrival = Arrival(at, "quality", "", "space", pack(np.eye(512, dtype=np.float32)[vector]))
        draft = Draft(arrival, None, customer, label, None, "{}", channel, clean(text).text, strangeness=strangeness)
        sent, _ = store.save_assessed(
            [draft] * copies, settle, lambda rows: rows[0].id, policy=policy, salt="s", audit_share=share
        )
        return sent

    return save


# Tests cannot import a conftest in importlib mode: they get these as fixtures.


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Bundle]:
    return _make_bundle


@pytest.fixture(scope="session")
def served() -> Callable[..., AbstractContextManager[httpx.Client]]:
    return _served


@pytest.fixture(scope="session")
def apart() -> Callable[..., AbstractContextManager[tuple[str, subprocess.Popen[str]]]]:
    return _apart


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    return _wait_until
