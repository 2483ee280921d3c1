"""pod.joined, pod.privileged, and what a decision says of a pod."""

import json
import subprocess
import sys

import pytest

from nvproxy_wrapper.host import sandbox_state
from nvproxy_wrapper.host.views import CreateView, ProcDriverView
from nvproxy_wrapper.judge.host_view import HostError
from nvproxy_wrapper.judge.rewrite import decide
from nvproxy_wrapper.judge.settings import DEFAULTS
from tests.driver_tree import LAB_HOST, write_driver_tree
from tests.specs.kubernetes_specs import CONTAINERS, shims_spec
from tests.unit.wrapper.specs import asking, judge, node, rules_of

GPU = "nvidia-gvisor.cdi1.c0"
NONE = "nvidia-gvisor.none.c0"
ID = "io.kubernetes.cri.sandbox-id"
NVPROXY = "dev.gvisor.internal.nvproxy"
BOTH_GPU = [name for name in CONTAINERS if shims_spec(name)["linux"].get("devices")]
HOSTS_NODES = [
    node("/dev/null", 1, 3, fileMode=438),
    *(node(f"/dev/nvidia{minor}", minor=minor, fileMode=438) for minor in range(8)),
    node("/dev/nvidiactl", minor=255, fileMode=438),
    node("/dev/nvidia-modeset", minor=254, fileMode=438),
    node("/dev/nvidia-uvm", 511, 0, fileMode=438),
    node("/dev/nvidia-caps/nvidia-cap1", 236, 1, fileMode=438),
]
EVERYTHING = {"allow": True, "access": "rwm"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The host of the specs: index 1 is not its GPU with the minor 6 here, which nothing hangs on."""
    return ProcDriverView(str(write_driver_tree(tmp_path_factory.mktemp("proc"), LAB_HOST)))


def privileged(name, env=(), plugins=()):
    """A spec as containerd writes it for a privileged pod: a plugin's nodes, the host's, one rule, CDI's."""
    spec = shims_spec(name)
    if env:
        spec = asking(spec)
    linux = spec["linux"]
    by_cdi = linux.get("devices", [])
    taken = {device["path"] for device in by_cdi}
    named = [one for one in HOSTS_NODES if one["path"] in plugins]
    linux["devices"] = [*named, *(one for one in HOSTS_NODES if one["path"] not in taken), *by_cdi]
    linux["resources"]["devices"] = [EVERYTHING, *linux["resources"]["devices"][1:]]
    spec["process"]["env"] += env
    return spec


@pytest.mark.parametrize("name", BOTH_GPU)
@pytest.mark.parametrize("env", [[], ["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_VISIBLE_DEVICES=void"]])
def test_a_privileged_pod_has_the_gpus_that_cdi_gave_it_and_no_other(name, env, lab):
    plain, decision = judge(shims_spec(name), lab), judge(privileged(name, env), lab)
    assert decision.refusal is None
    assert decision.gpus == plain.gpus
    assert decision.spec_class == plain.spec_class
    assert set(decision.opens) == set(plain.opens)
    assert "/dev/null" in decision.devices
    listed = {device["path"] for device in privileged(name)["linux"]["devices"] if "nvidia" in device["path"]}
    by_cdi = {device["path"] for device in shims_spec(name)["linux"]["devices"]}
    assert {one.target for one in decision.actions if one.rule == "pod.privileged"} == listed - by_cdi
    assert any("linux.resources.devices allows everything" in sentence for sentence in decision.evidence)
    assert not judge(decision.spec, lab).changed


@pytest.mark.parametrize("env", [[], ["NVIDIA_VISIBLE_DEVICES=void"], ["NVIDIA_VISIBLE_DEVICES="]])
def test_a_privileged_pod_that_was_given_no_gpu_has_none_and_is_told_why(env, lab):
    decision = judge(privileged(NONE, env), lab)
    assert (decision.gpu_requested, decision.gpus, decision.runsc_flags) == (False, [], [])
    assert decision.devices == ["/dev/null"]
    assert decision.spec["linux"]["resources"]["devices"] == [EVERYTHING]
    assert rules_of(decision) >= {"pod.privileged"}
    assert "privileged" in decision.actions[0].why


@pytest.mark.parametrize(
    ("asked", "gpus"),
    [("2", [2]), ("0,4", [0, 5]), (LAB_HOST[3].uuid, [3]), ("none", []), ("all", [*range(8)])],
)
def test_a_privileged_pod_may_ask_by_the_variable(asked, gpus, lab):
    decision = judge(privileged(NONE, [f"NVIDIA_VISIBLE_DEVICES={asked}"]), lab)
    assert decision.refusal is None
    assert decision.gpus == gpus
    assert not judge(decision.spec, lab).changed


def test_a_privileged_pod_that_asks_for_a_gpu_that_is_not_there_is_refused(lab):
    assert judge(privileged(NONE, ["NVIDIA_VISIBLE_DEVICES=9"]), lab).refusal.rule == "devices.scope"


def test_a_privileged_pod_has_the_nodes_that_a_plugin_named(lab):
    plugins = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia3"]
    for env in ([], [f"NVIDIA_VISIBLE_DEVICES={LAB_HOST[3].uuid}"]):
        decision = judge(privileged(NONE, env, plugins), lab)
        assert decision.refusal is None
        assert decision.gpus == [3]
        assert not judge(decision.spec, lab).changed


def test_where_nothing_tells_what_a_privileged_pod_was_given_the_cure_is_named(lab):
    spec = privileged(GPU)
    spec["linux"]["resources"]["devices"] = [EVERYTHING]
    refusal = judge(spec, lab).refusal
    assert refusal.rule == "pod.privileged"
    assert "privileged_without_host_devices = true" in refusal.remedy


def test_a_rule_that_allows_everything_counts_in_each_of_its_forms_and_no_other(lab):
    for rule in ({"type": "a"}, {"type": "a", "major": -1, "minor": -1}, {"type": ""}, {"major": None}):
        spec = privileged(NONE)
        spec["linux"]["resources"]["devices"] = [{**EVERYTHING, **rule}]
        assert judge(spec, lab).gpus == []
    # What was allowed before everything was is no edit of CDI's.
    spec["linux"]["resources"]["devices"].insert(0, {"allow": True, "type": "c", "major": 195, "minor": 3})
    decision = judge(spec, lab)
    assert (decision.refusal, decision.devices) == (None, ["/dev/null"])
    for rule in ({"allow": False}, {"type": "c"}, {"major": 195}, {"allow": 1}):
        spec = privileged(NONE)
        spec["linux"]["resources"]["devices"] = [{**EVERYTHING, **rule}]
        assert judge(spec, lab).gpus == [*range(8)]


class Sandbox(ProcDriverView):
    """A host whose pod sandbox answers so."""

    answer: bool | str | None = None
    asked: str = ""

    def sandbox_has_nvproxy(self, sandbox):
        self.asked = sandbox
        if isinstance(self.answer, str):
            raise HostError(self.answer)
        return self.answer


@pytest.fixture
def sandbox(lab):
    return Sandbox(lab.proc_driver)


def test_a_gpu_container_that_joins_a_sandbox_without_nvproxy_is_refused(sandbox):
    for sandbox.answer, words in (
        (False, "without nvproxy"),
        ("x.state is not there", "x.state is not there"),
    ):
        refusal = judge(shims_spec(GPU), sandbox).refusal
        assert refusal.rule == "pod.joined"
        assert words in refusal.message
        assert "Delete the pod" in refusal.remedy
        assert not refusal.host_prep_may_help
    assert sandbox.asked == shims_spec(GPU)["annotations"][ID]


@pytest.mark.parametrize("answer", [True, None])
def test_a_gpu_container_joins_a_sandbox_with_nvproxy_or_one_that_is_not_looked_at(answer, sandbox):
    sandbox.answer = answer
    assert judge(shims_spec(GPU), sandbox).gpus == [6]


@pytest.mark.parametrize(
    "annotations",
    [
        {},
        {"io.kubernetes.cri.container-type": "sandbox", ID: "x"},
        {"io.kubernetes.cri.container-type": "other", ID: "x"},
        {"io.kubernetes.cri.container-type": "container"},
        {
            "io.kubernetes.cri.container-type": "sandbox",
            "io.kubernetes.cri-o.ContainerType": "container",
            ID: "x",
        },
    ],
)
def test_what_joins_no_sandbox_asks_for_none(annotations, sandbox):
    spec = {**shims_spec(GPU), "annotations": annotations}
    sandbox.answer = False
    assert judge(spec, sandbox).refusal is None
    assert not sandbox.asked


def test_cri_os_containers_and_plain_ones_and_dockers(sandbox):
    sandbox.answer = False
    spec = shims_spec(GPU)
    assert decide(spec, DEFAULTS, sandbox, engine_has_no_pods=True).refusal is None
    assert judge(shims_spec(NONE), sandbox).refusal is None
    assert not sandbox.asked
    spec["annotations"] = {
        "io.kubernetes.cri-o.ContainerType": "container",
        "io.kubernetes.cri-o.SandboxID": "y",
    }
    assert judge(spec, sandbox).refusal.rule == "pod.joined"
    assert sandbox.asked == "y"


@pytest.fixture
def state(tmp_path):
    """Write a sandbox's state, and start something with a sandbox's command line; its root directory."""
    running = []

    def write(annotations, flags=(), name="abc", text=None, arguments=None):
        words = ["-c", "print(flush=True); input()", *flags, *(arguments or ["boot", "--x=y", name])]
        process = subprocess.Popen([sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # Popen returns before the kernel shows the new command line.
        process.stdout.readline()
        running.append(process)
        file = tmp_path / f"{name}_sandbox:{name}.state"
        spec = {"annotations": annotations} if annotations is not None else {}
        file.write_text(text or json.dumps({"spec": spec, "sandbox": {"pid": process.pid}}))
        file.chmod(0o640)
        return file

    tmp_path.chmod(0o711)
    yield tmp_path, write
    for process in running:
        process.communicate(b"\n")


@pytest.mark.parametrize(
    ("annotations", "flags", "answer"),
    [
        ({NVPROXY: "true"}, [], True),
        ({NVPROXY: "false"}, [], False),
        ({}, ["--root=/x", "--nvproxy=true"], True),
        (None, ["--nvproxy"], True),
        (None, ["--nvproxy=false", "--nvproxy-docker=true"], False),
        ({"a": "b"}, ["--root=/x"], False),
    ],
)
def test_the_state_and_the_command_line_of_a_sandbox_tell(annotations, flags, answer, state):
    root, write = state
    write(annotations, flags)
    assert sandbox_state.has_nvproxy(str(root), "abc") is answer
    assert CreateView("/nonexistent", str(root)).sandbox_has_nvproxy("abc") is answer


def test_what_cannot_be_told_is_not_taken_for_an_answer(state, tmp_path):
    root, write = state

    def why(name="abc", folder=root):
        with pytest.raises(HostError) as failure:
            sandbox_state.has_nvproxy(str(folder), name)
        return str(failure.value)

    assert "is not there" in why()
    assert "is not there" in why(folder=tmp_path / "none")
    assert "is no id" in why("../abc")
    file = write({})
    file.chmod(0o666)
    assert "0666" in why()
    write({}, text="{").chmod(0o640)
    assert "is not JSON" in why()
    write({}, text="[]")
    assert "abc.state" in why()
    for text in ('{"spec":[]}', '{"spec":{},"sandbox":null}', '{"Spec":{}}', '{"spec":{"annotations":7}}'):
        write({}, text=text)
        assert "as runsc is known to write it" in why()
    for pid in ("0", "-1", "true", '"1"', "null"):
        write({}, text=f'{{"spec":{{}},"sandbox":{{"pid":{pid}}}}}')
        assert "names no process" in why()
    write({}, text='{"spec":{},"sandbox":{"pid":4194305}}')
    assert "cmdline cannot be read" in why()
    # Another process has the pid by now, or another sandbox.
    for arguments in (["sleep", "abc"], ["boot", "another"], ["abc", "boot"]):
        write({}, ["--nvproxy=true"], arguments=arguments)
        assert "is not that sandbox" in why()
    # What the container's own arguments say is not the sandbox's.
    write({}, arguments=["boot", "--nvproxy=true", "abc"])
    assert sandbox_state.has_nvproxy(str(root), "abc") is False
    file.unlink()
    file.symlink_to("/etc/passwd")
    assert "cannot be opened" in why()


def test_a_decision_names_the_pod_in_containerds_words_or_the_kubelets():
    pod = judge(shims_spec(GPU)).pod
    assert (pod.namespace, pod.name, pod.container) == ("nvidia-gvisor.cdi1", "p", "c0")
    spec = shims_spec(GPU)
    spec["annotations"] = {
        "io.kubernetes.cri-o.ContainerType": "container",
        "io.kubernetes.pod.name": "web",
        "io.kubernetes.pod.namespace": "shop",
        "io.kubernetes.container.name": 7,
        "cdi.k8s.io/plugin": "nvidia.com/gpu=1,nvidia.com/gpu=2",
    }
    pod = judge(spec).pod
    assert (pod.namespace, pod.name, pod.container) == ("shop", "web", "")
    assert pod.cdi_devices == ["nvidia.com/gpu=1", "nvidia.com/gpu=2"]
    assert decide(spec, DEFAULTS, ProcDriverView("/x"), engine_has_no_pods=True).pod is None
    del spec["annotations"]
    assert judge(spec).pod is None
