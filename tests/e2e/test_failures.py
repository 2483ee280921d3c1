"""Real failures: a host or a request is broken, a container does not start, and its cause has to be found.

What was said is kept in `tests/unit/verification/said/` where NVPROXY_KEEP_SAID is set, for the quick tests.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from deploys.host.remote_program import answer, shell_line, stdin_for
from deploys.host.verification import SURROUNDINGS
from deploys.model.verification.answers import KERNEL_LOG
from deploys.model.verification.questions import task
from nvproxy_wrapper.judge import known_failures
from tests.e2e.conftest import verify_image
from tests.e2e.failures import FAILURES
from tests.unit.verification.lab_hosts import asked

pytestmark = pytest.mark.long

SAID = Path(__file__).resolve().parents[1] / "unit/verification/said"


@pytest.fixture(scope="module")
def images(lab, site):
    """Verify's image of each host, asked for while nothing is broken."""
    return {name: verify_image(lab, name) for name in ("gpu-a", "gpu-b")}


def program(host, name, task_, seconds=120):
    done = host.run(["sh", "-c", shell_line(name, seconds)], stdin=stdin_for(name, task_), check=False)
    return answer(done.stdout.splitlines())


def bundle_task(gpus):
    """A verification's task with one bundle and nothing else."""
    whole = task(asked("csv_2_gpus"))
    (one,) = [run for run in whole["runs"] if run["id"] == "bundle.all"]
    asks = {"id": "bundle", "env": [f"NVIDIA_VISIBLE_DEVICES={gpus}"]}
    return {**whole, "commands": {}, "runs": [{**one, **asks}]}


def said_of(host, failure, image):
    """(what Docker said, and a bundle that asks for the same, what the kernel said)."""
    runtime = (f"--runtime={failure.runtime}",) if failure.runtime else ()
    variable = f"NVIDIA_VISIBLE_DEVICES={failure.gpus}"
    argv = ["docker", "run", "--rm", "--network=none", *runtime, "-e", variable, *failure.options]
    docker = host.run([*argv, failure.image or image, *failure.command], check=False)
    assert docker.returncode != 0, docker.stdout
    told = docker.stderr
    # What only Docker was asked for, a bundle does not show.
    if not failure.options and failure.runtime == "nvidia" and not failure.image:
        run = program(host, "container_runs", bundle_task(failure.gpus))["runs"].get("bundle", {})
        told = "\n".join([told, run.get("err", ""), *run.get("said", {}).values()])
    around = program(host, "surroundings", {**SURROUNDINGS, "seconds": 60})
    return told, around["said"].get(KERNEL_LOG, "")


@pytest.mark.parametrize("name", FAILURES)
def test_a_real_failure_is_answered_with_its_cause_and_what_to_do(lab, images, name):
    failure = FAILURES[name]
    host = lab.host(failure.host)
    host.run(failure.breaking or "true")
    try:
        told, around = said_of(host, failure, images[failure.host])
    finally:
        host.run(failure.mending or "true")
    if "NVPROXY_KEEP_SAID" in os.environ:
        SAID.mkdir(exist_ok=True)
        text = json.dumps({"id": failure.id, "said": told}, indent=1, ensure_ascii=False) + "\n"
        (SAID / f"{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}.json").write_text(text)
    found = known_failures.find(told, around)
    assert found.id == failure.id, f"{found}\n{told}\n--\n{around[-3000:]}"
    assert failure.words in f"{found.cause} {found.remedy}"
    assert found.id == known_failures.OWN or (found.remedy and found.link)
