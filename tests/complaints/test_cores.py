"""Cores that a process may use, by files such as the kernel shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from complaints.cores import MOST, usable_cores


@pytest.fixture(autouse=True)
def _eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def cores(folder: Path, own: str, **files: str) -> int:
    """Cores with groups in `folder`: `own` is /proc/self/cgroup, `files` are by name, / written __, . written _dot_."""
    (folder / "own").write_text(own)
    for name, text in files.items():
        path = folder / "groups" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return usable_cores(folder / "groups", folder / "own")


def test_affinity_counts_and_not_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores(tmp_path / "none", tmp_path / "none") == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(1000)))
    assert usable_cores(tmp_path / "none", tmp_path / "none") == MOST
    monkeypatch.delattr(os, "sched_getaffinity")  # no Linux
    assert usable_cores(tmp_path / "none", tmp_path / "none") == 64


@pytest.mark.parametrize(
    ("said", "expected"),
    [("max 100000", 8), ("150000 100000", 2), ("10000 100000", 1), ("6400000 100000", 8), ("", 8), ("nonsense", 8)],
)
def test_a_quota_of_version_2(tmp_path: Path, said: str, expected: int) -> None:
    assert cores(tmp_path, "0::/\n", cpu_dot_max=said + "\n") == expected


def test_a_quota_of_a_group_above(tmp_path: Path) -> None:
    files = {"a__cpu_dot_max": "300000 100000\n", "a__b__cpu_dot_max": "max 100000\n"}
    assert cores(tmp_path, "0::/a/b\n", **files) == 3


@pytest.mark.parametrize("path", ["/", "/docker/0123"])
@pytest.mark.parametrize(("quota", "expected"), [("-1", 8), ("250000", 3)])
def test_a_quota_of_version_1(tmp_path: Path, path: str, quota: str, expected: int) -> None:
    own = f"5:cpuset:/x\n4:cpu,cpuacct:{path}\n1:name=systemd:/\n0::/\n"
    files = {"cpu__cpu_dot_cfs_quota_us": quota + "\n", "cpu__cpu_dot_cfs_period_us": "100000\n"}
    assert cores(tmp_path, own, **files) == expected
