"""How many cores this process may really use: a container or a task set often has fewer than the machine."""

from __future__ import annotations

import math
import os
from pathlib import Path

# More threads than this bring no model anything, whatever a machine has.
MOST = 256


def usable_cores(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """The least of MOST, the cores of the process's affinity, and its quotas of CPU time, rounded up; at least 1.

    `cgroups` is where control groups (Linux, both versions) are mounted, `own` says in which this process is.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(MOST, cores, *_quotas(cgroups, own))))


def _quotas(cgroups: Path, own: Path) -> list[float]:
    """Every quota, in cores, on the way from this process's group to the top: each of them binds."""
    found = []
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)  # version 2 names no controller
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = cgroups / "cpu" if controllers else cgroups
        group = top / path.lstrip("/")
        # A container may see the host's path to its group here and that group mounted as the top: look there too.
        for folder in (group, *group.parents[: len(group.parts) - len(top.parts)]):
            if controllers:
                said = [_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")]
            else:
                said = _read(folder / "cpu.max").split()
            try:
                quota, period = map(int, said)
            except ValueError:  # "max", or no such file
                continue
            if quota > 0 and period > 0:  # version 1 says -1 where there is none
                found.append(quota / period)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
