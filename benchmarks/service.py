"""A service of its own for a measurement: `jianwei serve` in a process, on a free port, with a home that is given."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

# What runs `jianwei` of this installation; another one is measured by giving its path.
HERE = (sys.executable, "-m", "jianwei")
# A first start registers the packaged model.
PATIENCE = 120.0


def environment(home: Path) -> dict[str, str]:
    """The environment of a service whose files are all under `home`, without settings and paths of the caller's own."""
    own = ("JIANWEI_", "MLFLOW_", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return kept | {"JIANWEI_HOME": str(home), "MLFLOW_DISABLE_TELEMETRY": "true"}


@contextmanager
def running(home: Path, jianwei: Sequence[str] = HERE) -> Iterator[tuple[str, int]]:
    """Its address and process id once it is ready, with the settings it has by default."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [*jianwei, "serve", "--port", str(port)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment(home), stdout=quiet, stderr=quiet) as process:  # noqa: S603
        try:
            _wait(process, address)
            yield address, process.pid
        finally:
            process.terminate()


def _wait(process: subprocess.Popen[bytes], address: str) -> None:
    end = time.monotonic() + PATIENCE
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < end and process.poll() is None:
            try:
                if client.get(f"{address}/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
    if process.poll() is not None:
        raise SystemExit(f"the service ended at once (exit status {process.returncode}); jianwei serve says why")
    raise SystemExit(f"the service was not ready within {PATIENCE:g} s")
