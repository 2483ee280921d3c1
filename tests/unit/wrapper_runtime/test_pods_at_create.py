"""A pod's containers from the launcher on. Not real: the driver and runsc, which tells how it was started."""

import json
import os
import subprocess
import sys

import pytest

from tests.specs.kubernetes_specs import shims_spec

GPU = "nvidia-gvisor.cdi1.c0"
SANDBOX = "k8s.empty-nvidia-gvisor.sandbox"


@pytest.fixture
def sandbox(wrapper):
    """Something with a sandbox's command line, and its state under the root that is returned by `start`."""
    running = []

    def start(spec, root, *flags):
        name = spec["annotations"]["io.kubernetes.cri.sandbox-id"]
        words = ["-c", "print(flush=True); input()", *flags, "boot", name]
        process = subprocess.Popen([sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # Popen returns before the kernel shows the new command line.
        process.stdout.readline()
        running.append(process)
        folder = wrapper.home / root
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        state = {"spec": {}, "sandbox": {"pid": running[-1].pid}}
        (folder / f"{name}_sandbox:{name}.state").write_text(json.dumps(state))
        return str(folder)

    yield start
    for process in running:
        process.communicate(b"\n")


def create(wrapper, name, spec, *flags, **options):
    bundle = wrapper.bundle(name, json.dumps(spec).encode())
    return wrapper.call(*flags, "create", "--bundle", str(bundle), name, **options), bundle


def test_a_gpu_container_joins_only_a_sandbox_that_has_nvproxy(wrapper, sandbox):
    spec = shims_spec(GPU)
    root = sandbox(spec, "root")
    call, bundle = create(wrapper, "without", spec, "--root", root)
    assert (call.status, call.runsc) == (1, None)
    assert "without nvproxy" in call.errors[0]
    assert json.loads((bundle / "config.json").read_bytes()) == spec
    sandbox(spec, "root", "--nvproxy=true")
    call, _ = create(wrapper, "with", spec, f"--root={root}")
    assert call.status == 0
    first, second = wrapper.decisions()
    assert (first["refused"], second["refused"]) == ("pod.joined", None)
    for line in (first, second):
        assert (line["pod"], line["namespace"], line["container"]) == ("p", "nvidia-gvisor.cdi1", "c0")
    assert second["asked"] == second["given"]
    assert sorted(second["given"]) == ["/dev/nvidia-uvm", "/dev/nvidia6", "/dev/nvidiactl"]


def test_where_no_state_of_the_sandbox_is_the_gpu_container_is_refused(wrapper):
    call, _ = create(wrapper, "c", shims_spec(GPU), "--root", str(wrapper.home))
    assert call.status == 1
    assert ".state is not there" in call.errors[0]


def test_the_root_is_runscs_own_wherever_it_is_given(wrapper, sandbox):
    spec = shims_spec(GPU)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(wrapper.home / "session")}
    sandbox(spec, "session/runsc", "--nvproxy")
    assert create(wrapper, "default", spec, env=environment)[0].status == 0
    wrapper.write_settings(runsc_args=["--root", sandbox(spec, "ours", "--nvproxy")])
    assert create(wrapper, "settings", spec)[0].status == 0
    # What the caller says comes behind the settings' on runsc's command line.
    assert create(wrapper, "caller", spec, "--root", str(wrapper.home))[0].status == 1


@pytest.mark.parametrize("subcommand", ["run", "restore"])
def test_other_ways_to_start_one_are_judged_alike(wrapper, subcommand):
    bundle = wrapper.bundle("b", json.dumps(shims_spec(GPU)).encode())
    call = wrapper.call("--root", str(wrapper.home), subcommand, "--bundle", str(bundle), "b")
    assert "(pod.joined)" in call.errors[0]


def test_a_sandboxs_own_decision_is_in_the_decision_log(wrapper):
    spec = shims_spec(SANDBOX)
    call, _ = create(wrapper, "s", spec)
    assert "--nvproxy" in call.runsc.arguments
    made = json.loads(call.runsc.spec)["annotations"]
    assert made == {**spec["annotations"], "dev.gvisor.internal.nvproxy": "true"}
    (line,) = wrapper.decisions()
    assert line["rules"] == ["pod.sandbox"]
    assert (line["class"], line["asked"], line["given"], line["refused"]) == ("none", None, [], None)
    assert (line["pod"], line["namespace"]) == ("empty-nvidia-gvisor", "default")
    assert "container" not in line


def test_a_pods_plain_container_and_dockers_have_no_line_or_no_pod_in_it(wrapper):
    call, _ = create(wrapper, "plain", shims_spec("nvidia-gvisor.none.c0"))
    assert call.status == 0
    assert wrapper.decisions() == []
    create(wrapper, "docker", shims_spec(GPU), "--root", "/run/docker/runtime-runc/moby")
    (line,) = wrapper.decisions()
    assert {"pod", "namespace", "container"}.isdisjoint(line)


def test_what_a_pod_is_called_has_no_power_over_the_decision_log(wrapper, sandbox):
    spec = shims_spec(GPU)
    spec["annotations"]["io.kubernetes.cri.sandbox-name"] = "\x1b[31m\n" + "x" * 5000
    spec["annotations"]["cdi.k8s.io/a"] = "nvidia.com/gpu=1,nvidia.com/gpu=\x1b" + ",nvidia.com/gpu=y" * 5000
    create(wrapper, "c", spec, "--root", sandbox(spec, "root", "--nvproxy=true"))
    (line,) = wrapper.decisions()
    assert line["pod"].startswith("\\x1b[31m\\nx")
    assert line["asked"][:2] == ["nvidia.com/gpu=1", "nvidia.com/gpu=\\x1b"]
    assert wrapper.audit_log.stat().st_size < 4096
