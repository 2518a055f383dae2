"""A real Chromium at the pages: what a person sees and types, from signing in to promoting a model."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from serving import access
from serving.pages import case
from serving.store.review_order import Filters
from serving.store.tables import predictions

# One case, from its appearing until the next one is there.
SECONDS = 10.0


def says(page: Any) -> str:
    """The case that is shown, by its ticket."""
    return str(page.inner_text(".meta b"))


def wait_for_another(page: Any, before: str) -> None:
    page.wait_for_function(
        "b => { const e = document.querySelector('.meta b'); return e && e.innerText !== b }", arg=before
    )
    page.wait_for_timeout(500)  # a key that comes at once is held to be meant for the case before


def begin(page: Any) -> None:
    page.keyboard.press("Enter")
    page.wait_for_selector(".choice.on")
    page.wait_for_timeout(500)


def test_a_wrong_password_is_told_in_chinese_and_lets_nobody_in(place: Any, chromium: Any) -> None:
    context = chromium.new_context(locale="zh-CN")
    page = context.new_page()
    page.goto(f"{place.url}/review/models")
    assert "/review/sign-in" in page.url
    page.fill("#name", "李岚")
    page.fill("#password", "不是这个密码")
    page.keyboard.press("Enter")
    page.wait_for_selector(".fault")
    assert "密码不对" in page.inner_text(".fault")
    page.goto(f"{place.url}/review/")
    assert "/review/sign-in" in page.url
    context.close()


def test_cases_are_reviewed_by_keyboard_and_taken_back(enter: Callable[..., Any], place: Any) -> None:
    review_by_keyboard(enter("李岚"), place)


def test_cases_are_reviewed_by_keyboard_on_postgresql(enter: Callable[..., Any], elsewhere: Any) -> None:
    review_by_keyboard(enter("李岚", there=elsewhere), elsewhere)


def review_by_keyboard(page: Any, place: Any) -> None:
    rows = page.locator(".table tbody tr")
    assert rows.count() >= 8
    for text in rows.locator(".said").all_inner_texts():  # an audited case, too, shows where it is least sure
        assert re.search(r"\d%", text), text
    begin(page)
    first, started = says(page), time.monotonic()
    page.keyboard.press("2")
    page.wait_for_selector(".answer .a.changed")
    page.keyboard.press("Enter")
    wait_for_another(page, first)
    assert time.monotonic() - started < SECONDS
    done = place.store.logged(actor="李岚", action="corrected")[0]
    words = [word for word in place.store.words(done.subject) if word.label != word.predicted]
    assert [word.head for word in words] == ["category"]

    second = says(page)
    page.keyboard.press("Enter")  # accept
    wait_for_another(page, second)
    assert place.store.logged(actor="李岚", action="accepted")

    third = says(page)
    page.keyboard.press("s")
    wait_for_another(page, third)
    page.keyboard.press("z")
    page.wait_for_function("b => document.querySelector('.meta b').innerText === b", arg=third)
    page.wait_for_selector("text=已撤销")
    assert place.store.logged(actor="李岚", action="undone")

    page.wait_for_timeout(500)
    page.keyboard.press("0")  # a label that is not among the nine
    page.wait_for_selector("input:focus")
    page.keyboard.type("发票")
    page.wait_for_function("() => document.querySelectorAll('.choice.pick').length === 1")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer .a.changed")
    assert "发票" in page.inner_text(".answer .a.changed")


def test_the_level_of_risk_is_overruled_by_keyboard_and_taken_back_with_the_decision(
    enter: Callable[..., Any], place: Any
) -> None:
    page = enter("陈默")
    begin(page)
    first = says(page)
    page.keyboard.press("r")
    page.wait_for_selector(".level-choice.on")
    assert page.locator(".level-choice").count() == 3
    assert "待确认" in page.inner_text(".answer.here")
    page.keyboard.press("3")
    page.wait_for_selector(".answer .level-choice", state="detached")  # on to a question that waits
    page.keyboard.press("Enter")
    wait_for_another(page, first)
    judged = place.store.logged(actor="陈默", action="judged")[0]
    assert judged.detail["level"] == "high"
    headers = {"Authorization": f"Bearer {place.settings.api_keys[0].get_secret_value()}"}
    address = f"{place.url}/v1/predictions/{judged.subject}/risk"
    told = httpx.get(address, headers=headers, trust_env=False).json()
    assert (told["level"], told["decided"], told["verdicts"][0]["actor"]) == ("high", True, "陈默")

    page.keyboard.press("z")
    page.wait_for_function("b => document.querySelector('.meta b').innerText === b", arg=first)
    assert httpx.get(address, headers=headers, trust_env=False).json()["decided"] is False
    assert place.store.logged(actor="陈默", action="undone")[0].subject == judged.subject


def test_two_people_never_have_the_same_case_and_a_closed_browser_gives_its_own_back(
    enter: Callable[..., Any], place: Any, wait_until: Callable[..., None]
) -> None:
    one, other = enter("李岚"), enter("陈默")
    for page in (one, other):
        begin(page)
        page.wait_for_timeout(1500)  # the next one is fetched
    held = {name: {lease.prediction_id for lease in place.store.held(name, _now())} for name in ("李岚", "陈默")}
    assert held["李岚"]
    assert held["陈默"]
    assert not held["李岚"] & held["陈默"]
    assert says(one) != says(other)
    one.context.close()
    wait_until(lambda: not place.store.held("李岚", _now()), 30)


def test_numbers_are_masked_until_a_role_that_may_unmasks_them(
    enter: Callable[..., Any], place: Any, phone: str
) -> None:
    analyst = enter("李岚")
    assert phone not in analyst.content()
    analyst.click("[aria-label=渠道]")
    analyst.click(".q-menu >> text=channel <手机号>")
    analyst.wait_for_function("() => document.querySelectorAll('.table tbody tr').length === 1")
    assert phone not in analyst.content() + analyst.url
    analyst.fill("input[aria-label=搜索]", "快回")
    analyst.keyboard.press("Enter")
    analyst.wait_for_function("() => document.querySelectorAll('.table tbody tr').length === 1")
    link = analyst.locator(".table td.text a").get_attribute("href")
    analyst.goto(f"{place.url}{link}")
    analyst.wait_for_selector(".complaint .hidden-number")
    assert phone not in analyst.content()
    assert analyst.locator("text=显示号码").count() == 0
    analyst.context.close()

    lead = enter("陈默")
    lead.goto(f"{place.url}{link}")
    lead.wait_for_selector(".complaint .hidden-number")
    assert phone not in lead.content()
    lead.click("text=显示号码")
    lead.wait_for_selector(f".complaint:has-text('{phone}')")
    assert lead.inner_text(".meta").count(phone) == 5
    assert place.store.logged(actor="陈默", action="unmask")[0].subject in str(link)


def ahead_of(page: Any, place: Any, name: str) -> str:
    """The case that is fetched behind the one that a person's page shows."""
    page.wait_for_timeout(1500)
    shown = place.store.logged(actor=name, action="view")[0].subject
    [behind] = {lease.prediction_id for lease in place.store.held(name, _now())} - {shown}
    return str(behind)


def hand_over(place: Any, case: str, one: str, other: str) -> None:
    """What happens where one's lease runs out, and another is next."""
    place.store.release(one, [case])
    place.store.take(other, case, now=_now())


def test_a_case_fetched_ahead_that_another_took_meanwhile_is_not_shown(enter: Callable[..., Any], place: Any) -> None:
    page = enter("李岚")
    begin(page)
    first, behind = says(page), ahead_of(page, place, "李岚")
    hand_over(place, behind, "李岚", "周宁")
    page.keyboard.press("s")
    wait_for_another(page, first)
    assert place.store.logged(actor="李岚", action="view")[0].subject != behind
    assert behind in {lease.prediction_id for lease in place.store.held("周宁", _now())}

    second, shown = says(page), place.store.logged(actor="李岚", action="view")[0].subject
    page.wait_for_timeout(1000)
    hand_over(place, shown, "李岚", "周宁")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=周宁正在审核这个案件")
    wait_for_another(page, second)
    place.store.release("周宁")


def test_keeping_a_case_says_nothing_of_one_behind_it_that_another_took(
    enter: Callable[..., Any], place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(case, "LOOK", 1.0)
    page = enter("李岚")
    begin(page)
    behind = ahead_of(page, place, "李岚")
    hand_over(place, behind, "李岚", "周宁")
    page.wait_for_timeout(3000)
    assert page.locator(".says").count() == 0
    held = {lease.prediction_id for lease in place.store.held("李岚", _now())}
    assert len(held) == 2  # another was fetched for it
    assert behind not in held
    place.store.release("周宁")


def test_the_last_case_is_taken_back_from_the_empty_page(enter: Callable[..., Any], place: Any) -> None:
    page = enter("周宁")
    page.goto(f"{place.url}/review/case?text=快回")
    page.wait_for_selector(".choice.on")
    last = says(page)
    for take_back in (lambda: page.keyboard.press("z"), lambda: page.click(".page >> text=撤销")):
        page.wait_for_timeout(1000)
        page.keyboard.press("s")
        page.wait_for_selector("text=没有等待审核的案件")
        take_back()
        page.wait_for_function("b => document.querySelector('.meta b')?.innerText === b", arg=last)
        page.wait_for_selector("text=已撤销")


def test_notes_are_masked_and_unmasked_with_the_text(enter: Callable[..., Any], place: Any) -> None:
    [lease] = place.store.claim("周宁", now=_now())
    note, since = "已回电１３９12345678，客户同意", _now()
    place.store.review(lease.prediction_id, "周宁", {}, note=note, taxonomy_version="1.0.0", now=since)
    page = enter("陈默")
    page.goto(f"{place.url}/review/case/{lease.prediction_id}")
    page.wait_for_selector("text=备注：已回电")
    assert "客户同意" in page.content()
    assert "12345678" not in page.content()
    page.click("text=显示号码")
    page.wait_for_selector(f"text={note}")
    assert place.store.logged(actor="陈默", action="unmask")[0].subject == lease.prediction_id
    place.store.undo("周宁", since=since, until=_now(), now=_now())


def test_the_queue_is_narrowed_to_a_version_that_is_not_the_present_one(enter: Callable[..., Any], place: Any) -> None:
    case = place.store.queue(Filters(), now=_now()).items[-1].prediction_id
    answered = update(predictions).where(predictions.c.id == case)
    with place.store._write() as connection:
        connection.execute(answered.values(model_version="9"))
    page = enter("陈默")
    page.click("[aria-label=模型版本]")
    page.wait_for_selector(".q-menu .q-item")
    assert page.locator(".q-menu .q-item").all_inner_texts() == ["模型 9", "模型 1"]
    page.click(".q-menu >> text=模型 9")
    page.wait_for_function("() => document.querySelectorAll('.table tbody tr').length === 1")
    with place.store._write() as connection:
        connection.execute(answered.values(model_version="1"))


def test_a_search_for_one_character_says_what_to_do(enter: Callable[..., Any]) -> None:
    page = enter("李岚")
    page.fill("input[aria-label=搜索]", "退")
    page.keyboard.press("Enter")
    page.wait_for_selector(".empty")
    assert "至少输入两个字" in page.inner_text(".empty")


def change_password(page: Any, present: str, new: str, again: str) -> None:
    for label, typed in (("当前密码", present), ("新密码，10 个字以上", new), ("再输入一次新密码", again)):
        page.fill(f"input[aria-label='{label}']", typed)
    page.wait_for_timeout(300)  # what is typed is sent a moment later
    page.keyboard.press("Enter")


def test_a_person_changes_their_own_password(enter: Callable[..., Any], place: Any, password: str) -> None:
    access.add_user(place.store, "吴桐", "analyst", password, _now())
    other, page = enter("吴桐"), enter("吴桐")
    page.click("text=修改密码")
    page.wait_for_selector("input[aria-label=当前密码]:focus")
    for present, new, again, told in (
        ("不是这个密码", "更好的密码-2027", "更好的密码-2027", "当前密码不对"),
        (password, "更好的密码-2027", "更好的密码-2028", "两次输入的新密码不一样"),
        (password, "太短", "太短", "密码要 10 到 200 个字"),
    ):
        change_password(page, present, new, again)
        page.wait_for_selector(f"text={told}")
    assert place.store.logged(actor="吴桐", action="password") == []
    assert place.store.logged(actor="吴桐", action="password_refused")[0].detail == {"locked": False, "known": True}
    change_password(page, password, "更好的密码-2027", "更好的密码-2027")
    page.wait_for_selector("text=密码已修改")
    assert place.store.logged(actor="吴桐", action="password")
    page.reload()
    page.wait_for_selector(".page h1")
    other.reload()
    other.wait_for_selector("#password")
    other.fill("#name", "吴桐")
    other.fill("#password", "更好的密码-2027")
    other.keyboard.press("Enter")
    other.wait_for_selector(".page h1")


def test_keys_for_a_dialog_or_a_link_decide_nothing(enter: Callable[..., Any], place: Any) -> None:
    page = enter("周宁")
    begin(page)
    first = says(page)
    page.click("text=修改密码")
    page.wait_for_selector("input[aria-label=当前密码]:focus")
    page.click(".q-dialog h2")  # the keys belong to the dialog still
    for key in ("s", "2", "Enter"):
        page.keyboard.press(key)
    page.wait_for_timeout(700)
    assert says(page) == first
    assert page.locator(".answer .a.changed").count() == 0
    page.keyboard.press("Escape")
    page.wait_for_selector(".q-dialog", state="detached")
    page.evaluate("document.querySelector('.who .ask-password').focus()")
    page.keyboard.press("Enter")
    page.wait_for_selector("input[aria-label=当前密码]:focus")
    page.wait_for_timeout(700)
    assert says(page) == first


def test_the_enter_that_ends_the_composing_of_chinese_saves_no_note(enter: Callable[..., Any]) -> None:
    page = enter("周宁")
    begin(page)
    page.keyboard.press("n")
    page.wait_for_selector("textarea:focus")
    composing = "new KeyboardEvent('keydown', {key: 'Enter', bubbles: true, cancelable: true, isComposing: true})"
    page.evaluate(f"document.activeElement.dispatchEvent({composing})")
    page.wait_for_timeout(700)
    assert page.locator("textarea").count() == 1
    page.keyboard.press("Enter")
    page.wait_for_selector("textarea", state="detached")


def test_a_line_of_the_queue_without_a_place_to_break_it_hides_no_column(enter: Callable[..., Any], place: Any) -> None:
    headers = {"Authorization": f"Bearer {place.settings.api_keys[0].get_secret_value()}"}
    said = {"text": f"空调坏了，图在 https://example.com/{'x' * 300}", "ticket_id": "T" * 150}
    assert httpx.post(f"{place.url}/v1/predictions", json=said, headers=headers, trust_env=False).status_code == 200
    page = enter("周宁", 820)
    page.fill("input[aria-label=搜索]", "图在")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.table tbody tr').length === 1")
    edges = "e => [...e.querySelectorAll('td')].map(td => td.getBoundingClientRect().right)"
    assert max(page.locator(".table.queue").evaluate(edges)) <= 820


def test_below_a_long_text_the_answers_are_in_sight(enter: Callable[..., Any], place: Any) -> None:
    headers = {"Authorization": f"Bearer {place.settings.api_keys[0].get_secret_value()}"}
    said = {"text": "空调坏了，报修没人上门。" * 150, "ticket_id": "很长"}
    sent = httpx.post(f"{place.url}/v1/predictions", json=said, headers=headers, trust_env=False)
    page = enter("周宁", 820)
    page.goto(f"{place.url}/review/case/{sent.json()['id']}")
    page.wait_for_selector(".choice.on")
    assert page.locator(".choice.on").bounding_box()["y"] < 850


def roll_back(page: Any, why: str) -> None:
    """Back to v1, once the last question has gone."""
    page.wait_for_selector("textarea", state="hidden")
    page.click("text=回退到上一个现行版本")
    page.wait_for_selector("textarea:focus")
    page.keyboard.type(why)
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.serving').innerText === 'v1'")


def test_a_model_is_promoted_and_rolled_back_with_a_reason(enter: Callable[..., Any], place: Any) -> None:
    page = enter("陈默")
    page.goto(f"{place.url}/review/models")
    page.click(".versions >> text=v2")
    page.click("text=推广为现行版本")
    page.wait_for_selector("textarea:focus")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=请写明理由")
    page.keyboard.type("退款一类好了两点")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.serving').innerText === 'v2'")
    assert place.store.logged(action="promote")[0].detail == {"reason": "退款一类好了两点"}

    roll_back(page, "误判多了")
    assert place.store.logged(action="rollback")[0].actor == "陈默"


def test_only_an_admin_promotes_against_the_gate_and_says_why(enter: Callable[..., Any], place: Any) -> None:
    lead = enter("陈默")
    lead.goto(f"{place.url}/review/models")
    lead.click(".versions >> text=v3")
    lead.wait_for_selector("text=只有管理员能推广")
    assert lead.locator("text=仍要推广").count() == 0

    page = enter("周宁")
    page.goto(f"{place.url}/review/models")
    page.click(".versions >> text=v3")
    page.click("text=不顾关口，仍要推广")
    page.wait_for_selector("textarea:focus")
    assert "退款慢" in page.inner_text(".q-dialog")  # what speaks against it
    page.keyboard.press("Enter")
    page.wait_for_selector("text=请写明理由")
    page.keyboard.type("现行版本读不了新业务")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.serving').innerText === 'v3'")
    done = place.store.logged(action="promote_forced")[0]
    assert (done.actor, done.detail) == ("周宁", {"reason": "现行版本读不了新业务"})

    roll_back(page, "到此为止")


@pytest.mark.parametrize("width", [1400, 1024, 768])
def test_no_page_is_wider_than_the_screen(enter: Callable[..., Any], place: Any, width: int) -> None:
    page = enter("周宁", width)
    wide = []
    for path in ("", "case", "quality", "models", "people", "log"):
        page.goto(f"{place.url}/review/{path}")
        page.wait_for_selector(".bar")
        page.wait_for_function("() => !document.querySelector('.waits')")
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            wide.append(path)
    assert wide == []


def _now() -> datetime:
    return datetime.now(UTC)
