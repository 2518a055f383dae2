"""Versions, the champion and the way back, in a SQLite registry of the test's own."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from complaints.bundle import Bundle
from complaints.errors import Conflict, RegistryError
from complaints.predictor import Predictor
from complaints.records import Complaint
from complaints.risk import Policy
from serving.models import Models, ModelVersion
from training.gate import weigh
from training.recipe import Gate
from training.registry import CHAMPION, COMPARISON, HISTORY_LENGTH, Registry, gate_tags
from training.sources import Example

LAX = Gate(slower=9, fewest=1)  # the machine may be busy, and one row is enough here


@pytest.fixture
def registry(new_registry: Callable[[Path], str], tmp_path: Path) -> Iterator[Registry]:
    yield Registry(new_registry(tmp_path), tmp_path / "artifacts")
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


REASON = "topic money (退款): recall fell from 0.900 to 0.400 on 40 rows (test); 0.850 would have passed"


def add(registry: Registry, name: str = "m", n: int = 1) -> list[str]:
    return [registry.register(name, f"file:///nowhere/{i}", None, {"origin": "test"}) for i in range(n)]


def judged(registry: Registry, champion: str | None, passed: bool = True) -> str:
    """A version that was measured against a version, as training leaves it."""
    against = champion and registry.client.get_model_version("m", champion).tags["digest"]
    run = registry.client.create_run(registry.experiment("m")).info.run_id
    registry.client.log_text(run, json.dumps({"champion": against}), COMPARISON)
    reasons = [] if passed else [REASON]
    digest = {"digest": f"digest of {run}"}
    return registry.register("m", f"runs:/{run}/model", run, gate_tags(passed, reasons) | digest)


def test_versions_count_from_one_and_are_listed_newest_first(registry: Registry) -> None:
    assert registry.versions() == []
    assert add(registry, "m", 11) == [str(i) for i in range(1, 12)]
    add(registry, "a", 1)
    registry.promote("m", "2", "why")
    found = registry.versions()
    assert [(v.name, v.version) for v in found] == [("a", "1")] + [("m", str(i)) for i in range(11, 0, -1)]
    assert {v.version: v.aliases for v in registry.versions("m") if v.aliases} == {"2": (CHAMPION,)}
    assert found[0].tags == {"origin": "test"}
    assert found[0].run_id in (None, "")
    assert found[0].created_at.tzinfo is not None


def test_there_is_no_champion_of_a_model_that_is_not_there(registry: Registry) -> None:
    assert registry.champion("nobody") is None
    add(registry)
    assert registry.champion("m") is None


def test_promote_and_roll_back_through_the_history(registry: Registry) -> None:
    add(registry, "m", 4)
    for version in ("1", "3", "2"):
        registry.promote("m", version, f"reason {version}", force=True)
        assert registry.champion("m") == version
    assert registry.past("m") == ["1", "3"]
    assert registry.rollback("m", "worse") == "3"
    assert registry.champion("m") == "3"
    assert registry.rollback("m", "still worse") == "1"
    assert registry.past("m") == []
    with pytest.raises(RegistryError, match="m has no earlier champion"):
        registry.rollback("m", "no further")
    assert registry.champion("m") == "1"
    tags = {v.version: v.tags for v in registry.versions("m")}
    assert tags["3"]["promoted"].endswith(" (not measured against the champion) reason 3")
    assert tags["3"]["rolled_back"].endswith("still worse")
    assert tags["2"]["rolled_back"].endswith(" worse")
    assert "promoted" not in tags["4"]


def test_promoting_the_champion_again_or_an_old_one_leaves_no_double(registry: Registry) -> None:
    add(registry, "m", 2)
    for version in ("1", "2", "2", "1"):
        registry.promote("m", version, "x", force=True)
    assert registry.rollback("m", "x") == "2"
    with pytest.raises(RegistryError):
        registry.rollback("m", "x")


def test_a_rollback_is_not_undone_by_another(registry: Registry) -> None:
    add(registry, "m", 3)
    for version in ("1", "2"):
        registry.promote("m", version, "x", force=True)
    registry.rollback("m", "2 is bad")
    registry.promote("m", "3", "x", force=True)
    assert registry.rollback("m", "3 is bad") == "1"  # not 2, which was left


def test_an_alias_moved_by_hand_is_part_of_the_history(registry: Registry) -> None:
    add(registry, "m", 3)
    registry.promote("m", "1", "x", force=True)
    registry.client.set_registered_model_alias("m", CHAMPION, "3")
    assert registry.champion("m") == "3"
    assert registry.rollback("m", "x") == "1"
    registry.client.set_registered_model_alias("m", CHAMPION, "2")
    registry.promote("m", "3", "x", force=True)
    assert [registry.rollback("m", "x"), registry.rollback("m", "x")] == ["2", "1"]


def test_an_alias_set_by_hand_before_any_promotion(registry: Registry) -> None:
    add(registry, "m", 2)
    registry.client.set_registered_model_alias("m", CHAMPION, "1")
    with pytest.raises(RegistryError, match="no earlier champion"):
        registry.rollback("m", "x")
    registry.promote("m", "2", "x", force=True)
    assert registry.rollback("m", "x") == "1"


def test_an_unknown_version_is_not_promoted_and_nothing_moves(registry: Registry) -> None:
    add(registry, "m", 2)
    registry.promote("m", "1", "x")
    for version in ("9", "abc", ""):
        with pytest.raises(RegistryError, match="the model registry refused"):
            registry.promote("m", version, "x")
    assert registry.champion("m") == "1"
    with pytest.raises(RegistryError):
        registry.rollback("m", "x")


def test_rollback_passes_over_a_version_that_was_deleted(registry: Registry) -> None:
    add(registry, "m", 3)
    for version in ("1", "2", "3"):
        registry.promote("m", version, "x", force=True)
    registry.client.delete_model_version("m", "2")
    assert registry.rollback("m", "x") == "1"


def test_the_history_is_bounded(registry: Registry) -> None:
    add(registry, "m", 3)
    longest = HISTORY_LENGTH + 5
    registry.client.set_registered_model_tag("m", "jianwei.champions", ",".join(map(str, range(100, 100 + longest))))
    registry.promote("m", "1", "x")
    tag = registry.client.get_registered_model("m").tags["jianwei.champions"].split(",")
    assert len(tag) == HISTORY_LENGTH
    assert tag[-1] == "1"


def test_a_long_reason_is_cut(registry: Registry) -> None:
    add(registry)
    registry.promote("m", "1", "因" * 9000)
    assert len(registry.versions("m")[0].tags["promoted"]) == 4000


@pytest.mark.parametrize("call", ["versions", "promote", "rollback"])
def test_an_unknown_model_is_refused(registry: Registry, call: str) -> None:
    arguments = {"versions": ("none",), "promote": ("none", "1", "x"), "rollback": ("none", "x")}[call]
    with pytest.raises(RegistryError, match="none"):
        getattr(registry, call)(*arguments)


def test_an_experiment_is_made_once_with_files_beside_the_database(registry: Registry, tmp_path: Path) -> None:
    made = registry.experiment("e")
    assert registry.experiment("e") == made
    assert registry.client.get_experiment(made).artifact_location == str(tmp_path / "artifacts" / "e")


def test_a_bundle_made_elsewhere_is_registered_with_its_numbers(
    registry: Registry, bundle: Bundle, tmp_path: Path
) -> None:
    version = registry.register_bundle(bundle, "packaged")
    (found,) = registry.versions("three")
    assert (found.version, found.tags["origin"], found.tags["digest"]) == (version, "packaged", bundle.digest)
    assert found.run_id is not None
    run = registry.client.get_run(found.run_id)
    assert (run.info.status, run.data.metrics) == ("FINISHED", bundle.manifest.metrics)
    copy = mlflow.artifacts.download_artifacts(
        run_id=found.run_id, artifact_path="bundle", dst_path=str(tmp_path), tracking_uri=registry.tracking_uri
    )
    assert Bundle.open(copy).digest == bundle.digest


def test_a_bundle_that_cannot_be_logged_leaves_a_failed_run_and_no_version(
    registry: Registry, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(MlflowClient, "log_artifacts", full)
    with pytest.raises(OSError, match="no space left"):
        registry.register_bundle(bundle, "packaged")
    experiment = registry.experiment("three")
    assert [run.info.status for run in registry.client.search_runs([experiment])] == ["FAILED"]
    assert registry.versions() == []


EVALUATED = {"heads": {"topic": {"rows": 9, "macro_f1": 0.5, "quadratic_kappa": None, "classes": []}}}


def logged(registry: Registry, run_id: str) -> dict[str, str]:
    """Files of a run's evaluations."""
    folders = [file.path for file in registry.client.list_artifacts(run_id, "evaluations")]
    files = [file.path for folder in folders for file in registry.client.list_artifacts(run_id, folder)]
    return {path: mlflow.artifacts.load_text(f"runs:/{run_id}/{path}") for path in files}


def test_an_evaluation_is_logged_to_the_run_of_its_version(registry: Registry, bundle: Bundle) -> None:
    registry.register_bundle(bundle, "packaged")
    registry.register_bundle(bundle, "import")  # the same once more
    run_id = registry.log_evaluation(bundle, "一/held out.csv", "<p>页</p>", EVALUATED)
    assert run_id == registry.versions("three")[-1].run_id
    run = registry.client.get_run(run_id)
    assert (run.data.metrics["evaluation/topic/rows"], run.data.metrics["evaluation/topic/macro_f1"]) == (9, 0.5)
    assert run.data.metrics["test/topic/macro_f1"] == bundle.manifest.metrics["test/topic/macro_f1"]  # is as it was
    found = logged(registry, run_id)
    page, numbers = sorted(found)
    assert page.endswith("一_held out.csv/report.html")
    assert (found[page], json.loads(found[numbers])) == ("<p>页</p>", EVALUATED)


def test_an_evaluation_of_a_bundle_that_is_no_version_has_a_run_of_its_own(registry: Registry, bundle: Bundle) -> None:
    add(registry, "three")  # another bundle's
    run_id = registry.log_evaluation(bundle, "a.csv", "<p>", EVALUATED)
    run = registry.client.get_run(run_id)
    assert (run.info.status, run.info.experiment_id) == ("FINISHED", registry.experiment("three"))
    assert len(logged(registry, run_id)) == 2


def test_an_evaluation_that_cannot_be_logged_is_an_error_of_the_registry(
    registry: Registry, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(MlflowClient, "log_text", full)
    with pytest.raises(RegistryError, match="no space left"):
        registry.log_evaluation(bundle, "a.csv", "<p>", EVALUATED)
    assert [run.info.status for run in registry.client.search_runs([registry.experiment("three")])] == ["FAILED"]


def test_a_server_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = Registry("http://127.0.0.1:9")
    for call in (lambda: registry.champion("m"), registry.versions, lambda: registry.experiment("e")):
        with pytest.raises(RegistryError, match="the model registry refused"):
            call()
    with pytest.raises(RegistryError):
        registry.register("m", "file:///nowhere", None, {})
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database\n" * 1000, encoding="utf-8")
    with pytest.raises(RegistryError):
        Registry(f"sqlite:///{tmp_path}/mlflow.db")


def test_the_registry_is_what_serving_asks_for(registry: Registry) -> None:
    for name, member in vars(Models).items():
        if not name.startswith("_") and callable(member):
            asked, given = inspect.signature(member), inspect.signature(getattr(Registry, name))
            assert list(asked.parameters) == list(given.parameters), name
    add(registry, "m", 1)
    [version] = registry.versions("m")
    assert all(hasattr(version, name) for name in vars(ModelVersion) if not name.startswith("_"))


def test_a_version_that_its_gate_refused_is_promoted_by_force_alone(registry: Registry) -> None:
    first = judged(registry, None)
    registry.promote("m", first, "x")
    refused = judged(registry, first, passed=False)
    with pytest.raises(RegistryError, match=r"did not pass its gate: topic money \(退款\): recall fell from 0\.900"):
        registry.promote("m", refused, "I want it")
    assert registry.champion("m") == first
    registry.promote("m", refused, "退款将由人工处理", force=True)
    assert registry.champion("m") == refused
    tags = {v.version: v.tags for v in registry.versions("m")}
    assert tags[refused]["promoted"].endswith("(against the gate) 退款将由人工处理")
    passed = judged(registry, refused)
    registry.promote("m", passed, "better")
    assert registry.champion("m") == passed


def test_a_pass_counts_against_the_champion_of_today_alone(registry: Registry) -> None:
    first = judged(registry, None)
    registry.promote("m", first, "nothing to be measured against")
    old, new = judged(registry, first), judged(registry, first)
    [unjudged] = add(registry, "m")
    registry.promote("m", new, "better")
    assert [registry.objection("m", one) for one in (new, old, unjudged)] == [None, "outdated", "unjudged"]
    with pytest.raises(RegistryError, match=f"another champion, which is version {new} now.*Train it again.*--force"):
        registry.promote("m", old, "x")
    with pytest.raises(RegistryError, match=f"not measured against the champion, which is version {new} now.*--force"):
        registry.promote("m", unjudged, "x")
    assert registry.champion("m") == new
    registry.rollback("m", "x")
    registry.promote("m", old, "the champion that it was measured against is back")
    registry.promote("m", unjudged, "x", force=True)
    assert registry.champion("m") == unjudged


def test_what_training_compared_with_the_champion_is_promoted(registry: Registry, bundle: Bundle) -> None:
    """The digest that the gate writes down is that of the champion's version."""
    first = registry.register_bundle(bundle, "packaged")
    registry.promote("three", first, "first start")
    one, other = (Predictor(bundle, Policy.load()) for _ in range(2))
    verdict, found = weigh(one, other, {"test": [Example(Complaint(text="客服不好"), {"topic": "goods"}, "s")]}, LAX)
    run = registry.client.create_run(registry.experiment("three")).info.run_id
    registry.client.log_text(run, json.dumps(found), COMPARISON)
    second = registry.register("three", f"runs:/{run}/model", run, gate_tags(verdict.passed, []))
    registry.promote("three", second, "jianwei train --promote")
    assert registry.champion("three") == second


def test_two_who_roll_back_the_same_version_roll_back_once(registry: Registry) -> None:
    add(registry, "m", 3)
    for version in ("1", "2", "3"):
        registry.promote("m", version, "x", force=True)
    assert registry.rollback("m", "x", "3") == "2"
    with pytest.raises(Conflict, match="version 3 is not champion any more, version 2 is"):
        registry.rollback("m", "x", "3")
    assert registry.champion("m") == "2"


def test_a_rollback_ends_the_challenge_of_what_it_crowns(registry: Registry) -> None:
    add(registry, "m", 2)
    for version in ("1", "2"):
        registry.promote("m", version, "x", force=True)
    registry.set_challenger("m", "1")
    assert registry.rollback("m", "x") == "1"
    assert registry.challenger("m") is None


@pytest.mark.parametrize("call", ["set_registered_model_alias", "set_registered_model_tag"])
def test_what_is_cut_short_leads_nobody_astray(registry: Registry, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry is gone for one of its two writes: first in a promotion, then in a rollback."""
    add(registry, "m", 4)
    for version in ("1", "2", "3"):
        registry.promote("m", version, "x", force=True)

    def gone(*_: object) -> None:
        raise MlflowException("the database is locked")

    with monkeypatch.context() as cut:
        cut.setattr(registry.client, call, gone)
        with pytest.raises(RegistryError, match="locked"):
            registry.promote("m", "4", "x", force=True)
    crowned = registry.champion("m")
    assert crowned == ("3" if call == "set_registered_model_alias" else "4")
    with monkeypatch.context() as cut:
        cut.setattr(registry.client, call, gone)
        with pytest.raises(RegistryError, match="locked"):
            registry.rollback("m", "x")
    assert registry.champion("m") == crowned
    order = [registry.rollback("m", "x") for _ in range(int(crowned) - 1)]
    assert order == ["3", "2", "1"][-len(order) :]  # never 4 where it was never champion


def test_names_that_mlflow_refuses_are_logged_all_the_same(registry: Registry, bundle: Bundle) -> None:
    metrics = {"test/部门（一级）/macro_f1": 0.5, "fidelity/A&B/macro_f1_lost": 0.0}
    renamed = Bundle(bundle.path, bundle.manifest.model_copy(update={"metrics": metrics}), bundle.taxonomy)
    version = registry.register_bundle(renamed, "import")
    run_id = next(one.run_id for one in registry.versions("three") if one.version == version)
    logged = registry.client.get_run(str(run_id)).data.metrics
    assert logged == {"test/部门_一级_/macro_f1": 0.5, "fidelity/A_B/macro_f1_lost": 0.0}


def test_a_challenger_is_set_ended_and_crowned(registry: Registry) -> None:
    add(registry, "m", 3)
    registry.promote("m", "1", "x", force=True)
    assert registry.challenger("m") is None
    registry.set_challenger("m", "2")
    registry.set_challenger("m", "3")
    assert registry.challenger("m") == "3"
    registry.set_challenger("m", None)
    assert registry.challenger("m") is None
    registry.set_challenger("m", None)
    for version, says in (("1", "is the champion"), ("9", "refused")):
        with pytest.raises(RegistryError, match=says):
            registry.set_challenger("m", version)
    registry.set_challenger("m", "2")
    registry.promote("m", "2", "it was better in shadow", force=True)
    assert (registry.champion("m"), registry.challenger("m")) == ("2", None)


def test_what_a_version_came_without(registry: Registry, bundle: Bundle) -> None:
    version = registry.register_bundle(bundle, "import")
    assert registry.comparison("three", version) is None
    assert registry.recipe("three", version) is None
    assert registry.card("three", version) is None
    add(registry, "m", 1)
    assert registry.card("m", "1") is None
    assert registry.comparison("m", "1") is None
