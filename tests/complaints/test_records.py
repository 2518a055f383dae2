"""What travels: strict about fields, frozen, the same in JSON and out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from complaints.records import Complaint, Customer


def test_text_alone_is_a_complaint() -> None:
    complaint = Complaint(text="屏幕坏了")
    assert complaint.customer == Customer(id=None, vip=False, followers=None)
    assert complaint.created_at is None


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "text"),
        ({"text": None}, "text"),
        ({"text": "坏", "txet": "x"}, "txet"),
        ({"text": "坏", "title": "题" * 1001}, "title"),
        ({"text": "坏", "channel": "x" * 201}, "channel"),
        ({"text": "坏", "customer": {"followers": -1}}, "followers"),
        ({"text": "坏", "customer": {"name": "张三"}}, "name"),
        ({"text": "坏", "created_at": "昨天"}, "created_at"),
    ],
)
def test_what_is_no_complaint_is_refused_by_field(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        Complaint.model_validate(fields)


def test_a_complaint_does_not_change() -> None:
    complaint = Complaint(text="屏幕坏了")
    with pytest.raises(ValidationError, match="frozen"):
        complaint.text = "好了"  # type: ignore[misc]


def test_a_complaint_survives_json() -> None:
    complaint = Complaint(
        text="坏\n了😡",
        title="题",
        created_at=datetime(2026, 3, 15, 2, 0, tzinfo=UTC),
        customer=Customer(id="7", vip=True, followers=3),
    )
    assert Complaint.model_validate_json(complaint.model_dump_json()) == complaint
