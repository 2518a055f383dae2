"""What a measurement was made on: a line for the top of a table."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from complaints.bundle import Bundle

PACKAGES = ("onnxruntime", "tokenizers", "torch", "transformers", "scikit-learn", "numpy")
# Instructions that decide how fast int8 is.
TELLING = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")


def described(bundle: Bundle) -> list[str]:
    """Date, processor, versions and model."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    made = bundle.manifest
    return [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {os.cpu_count()} cores, {_processor()}; {platform.system()}, "
        f"Python {platform.python_version()}; {packages}; model {made.name} of {made.created_at:%Y-%m-%d}, "
        f"{bundle.digest[:12]}."
    ]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    fields = dict(
        (part.strip() for part in line.split(":", 1)) for line in info.read_text().splitlines() if ":" in line
    )
    words = (fields.get("flags") or fields.get("Features", "")).split()
    name = fields.get("model name", platform.machine())
    return f"{name} ({', '.join(word for word in TELLING if word in words)})"
