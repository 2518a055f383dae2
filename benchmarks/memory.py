"""What a service holds in memory: at its start, after predictions, with people at its pages.

python -m benchmarks.memory --jianwei …/bin/jianwei. Give the command of a serving install (`pip install '.[pages]'` in
an environment of its own): the tools of training, where they are there too, are imported with mlflow and take more.
People sign in, all at once first; some then, in a Chromium, review a case and look at quality and models.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from playwright.sync_api import Browser, sync_playwright

from benchmarks.service import environment, running
from benchmarks.texts import read

PASSWORD = "correct horse battery"  # noqa: S105  of nobody
AT_ONCE, AT_PAGES = 4, 2  # people


def resident(process: int) -> str:
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    now, peak = (int(re.findall(rf"{name}:\s+(\d+)", status)[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return f"{now:.0f} MB, at most {peak:.0f} MB so far"


def sign_in(address: str, name: str) -> None:
    with httpx.Client(base_url=f"{address}/review/", trust_env=False, timeout=60) as client:
        [mark] = re.findall(r'name="form" value="([^"]+)"', client.get("sign-in").text)
        found = client.post("sign-in", data={"form": mark, "name": name, "password": PASSWORD})
        assert found.status_code == 303, found.text  # noqa: S101


def work(browser: Browser, address: str, name: str) -> None:
    page = browser.new_context(locale="zh-CN").new_page()
    page.goto(f"{address}/review/")
    page.fill("#name", name)
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector(".page h1")
    page.keyboard.press("Enter")
    page.wait_for_selector(".choice.on")
    page.wait_for_timeout(600)
    page.keyboard.press("Enter")
    page.wait_for_timeout(2000)
    for path in ("quality", "models"):
        page.goto(f"{address}/review/{path}")
        page.wait_for_timeout(4000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jianwei", required=True, help="The command of the installation to measure")
    parser.add_argument("--predictions", type=int, default=200)
    options = parser.parse_args()
    command = [options.jianwei]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with running(home, command) as (_, process):
            print(f"first start: {resident(process)}")
        people = [f"person{i}" for i in range(AT_ONCE)]
        for name in people:
            add = [*command, "users", "add", name, "--role", "lead"]
            subprocess.run(add, input=f"{PASSWORD}\n", text=True, env=environment(home), check=True)  # noqa: S603
        with running(home, command) as (address, process):
            print(f"later starts: {resident(process)}")
            with httpx.Client(base_url=address, trust_env=False, timeout=30) as client:
                for text in read()[: options.predictions]:
                    client.post("/v1/predictions", json={"text": text}).raise_for_status()
            print(f"{options.predictions} predictions: {resident(process)}")
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(lambda name: sign_in(address, name), people))
            print(f"{AT_ONCE} people sign in at once: {resident(process)}")
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                for number, name in enumerate(people[:AT_PAGES], 1):
                    work(browser, address, name)
                    print(f"{number} at the pages: {resident(process)}")
                browser.close()


if __name__ == "__main__":
    main()
