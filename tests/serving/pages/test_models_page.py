"""The models page in a real Chromium, where two people act on it at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from complaints.errors import NotReady
from serving.champion import Champion
from training.registry import HISTORY, Registry


@pytest.fixture
def registry(place: Any) -> Any:
    """The registry of the pages; v1 answers again when the test is over."""
    found = Registry(place.settings.tracking_uri, place.settings.artifacts)
    yield found
    found.promote("consumer", "1", "the end", force=True)


def answer(page: Any, words: str) -> None:
    page.wait_for_selector("textarea:focus")
    page.keyboard.type(words)
    page.keyboard.press("Enter")


def test_two_leads_who_ask_at_once_go_back_by_one_version(
    enter: Callable[..., Any], place: Any, registry: Registry
) -> None:
    for version in ("2", "3"):
        registry.promote("consumer", version, "x", force=True)
    pages = [enter("陈默"), enter("周宁")]
    for page in pages:
        page.goto(f"{place.url}/review/models")
        page.click("text=回退到上一个现行版本")
        page.wait_for_selector("text=撤下 v3")
    answer(pages[0], "误判多了")
    pages[0].wait_for_selector("text=已回退到 v2")
    answer(pages[1], "我也看到了")
    pages[1].wait_for_selector("text=3 已不是现行版本，现在是 2")
    assert registry.champion("consumer") == "2"
    assert place.store.logged(action="rollback")[0].actor == "陈默"


def test_there_is_no_going_back_from_the_first_champion(
    enter: Callable[..., Any], place: Any, registry: Registry
) -> None:
    registry.client.set_registered_model_tag("consumer", HISTORY, "1")  # whatever the tests before went through
    registry.promote("consumer", "2", "x", force=True)
    page = enter("陈默")
    page.goto(f"{place.url}/review/models")
    page.click("text=回退到上一个现行版本")
    answer(page, "误判多了")
    page.wait_for_selector("text=已回退到 v1")
    page.wait_for_selector("text=回退到上一个现行版本", state="detached")
    assert page.locator(".versions tbody tr").count() == 3


def test_a_version_that_was_measured_against_another_champion_is_for_an_admin(
    enter: Callable[..., Any], place: Any, registry: Registry
) -> None:
    registry.promote("consumer", "3", "x", force=True)
    for name, says in (("陈默", "比较时的现行版本已经换了，只有管理员能推广"), ("周宁", "不顾关口，仍要推广")):
        page = enter(name)
        page.goto(f"{place.url}/review/models")
        page.click(".versions >> text=v2")
        page.wait_for_selector(f"text={says}")
        assert page.locator("text=推广为现行版本").count() == 0
    page.click("text=不顾关口，仍要推广")
    page.wait_for_selector("text=它只与从前的现行版本比较过")
    answer(page, "离线比过")
    page.wait_for_function("() => document.querySelector('.serving').innerText === 'v2'")
    assert registry.champion("consumer") == "2"


def test_a_version_is_promoted_where_none_answers(
    enter: Callable[..., Any], place: Any, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def current(_: Champion) -> None:
        raise NotReady("no champion")

    page = enter("周宁")
    with monkeypatch.context() as patch:
        patch.setattr(Champion, "current", current)
        page.goto(f"{place.url}/review/models")
        page.wait_for_selector("text=模型还没有装载好")
        page.click(".versions >> text=v3")
        page.click("text=不顾关口，仍要推广")
        answer(page, "先用着")
        page.wait_for_selector("text=已推广 v3")
    assert registry.champion("consumer") == "3"
