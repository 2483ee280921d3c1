"""The stand-in for nvidia-container-cli: calls at the same time are recorded each by itself."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SCRIPT = Path(__file__).parent / "toolkit/nvidia-container-cli"


def test_calls_at_once_are_lines_of_their_own(tmp_path):
    log = tmp_path / "log"
    script = tmp_path / "nvidia-container-cli"
    script.write_text(SCRIPT.read_text().replace("/var/log/nvidia-container-cli.stand-in.log", str(log)))
    calls = [
        ["configure", f"--pid={number}", "--device=all", "--compute", "--utility"] for number in range(400)
    ]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda words: subprocess.run(["/bin/sh", script, *words], check=True), calls))
    lines = [line.split()[1:] for line in log.read_text().splitlines()]
    assert sorted(lines) == sorted(calls)
