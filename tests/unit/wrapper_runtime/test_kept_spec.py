"""The kept spec from the entry on: what is believed of it, and what a container is refused for.

Not real: the driver, runsc, which tells how it was started, and NVIDIA's runtime, in whose place a program
puts a captured spec into the bundle.
"""

import json
import os
import time
from pathlib import Path

import pytest

from nvproxy_wrapper.host import kept_spec
from nvproxy_wrapper.host.bundle import Bundle
from nvproxy_wrapper.host.kept_spec import NAME
from nvproxy_wrapper.judge.decision import Refusal
from tests.installed_wrapper import CAPTURED

EDITED = (CAPTURED / "1.20.0_csv_visible-0.json").read_bytes()
PLAIN = (CAPTURED / "1.20.0_csv_no-gpu.json").read_bytes()
# In a spec without a GPU nothing of the kept one matters, though it has a trace of NVIDIA.
PLAIN_WITH_A_TRACE = PLAIN.replace(b'"env":[', b'"env":["SAYS=nvidia",')
OURS = {"NVPROXY_ENTRY", "NVIDIA_CTK_CONFIG_FILE_PATH", "XDG_CONFIG_HOME"}


def asking(value: str) -> bytes:
    """The spec as the engine has written it for this request."""
    spec = json.loads(PLAIN)
    spec["process"]["env"].append(f"NVIDIA_VISIBLE_DEVICES={value}")
    return json.dumps(spec).encode()


@pytest.fixture
def bundle(wrapper):
    return wrapper.bundle("b", asking("0"))


def create(wrapper, bundle, **options):
    return wrapper.call_entry("create", "--bundle", str(bundle), "abc", **{"edited": EDITED, **options})


def by_hand(wrapper, bundle, *, says=None, spec=EDITED, subcommand="create"):
    """As a caller without the entry, whose environment may say something all the same."""
    (bundle / "config.json").write_bytes(spec)
    env = {**os.environ, **({} if says is None else {"NVPROXY_ENTRY": says})}
    return wrapper.call(subcommand, "--bundle", str(bundle), "abc", env=env)


def claim(wrapper, bundle, *, spec=EDITED):
    """As from the entry, but with whatever the test has put in the place of the kept spec."""
    (bundle / "config.json").write_bytes(spec)
    says = ["sh", "-c", 'export NVPROXY_ENTRY=docker:$$; exec "$@"', "sh"]
    return wrapper.call("create", "--bundle", str(bundle), "abc", prefix=says)


def keep(bundle: Path, data: bytes = b"", mode: int = 0o600) -> Path:
    """A kept spec that the test has made."""
    kept = bundle / NAME
    kept.write_bytes(data or asking("0"))
    kept.chmod(mode)
    return kept


def assert_refused(call, *words):
    assert (call.status, call.runsc) == (1, None)
    assert "(bundle.kept)" in call.errors[-1]
    for word in words:
        assert word in call.errors[-1]


def test_through_the_entry_a_gpu_container_starts_and_the_kept_spec_stays_for_who_looks(wrapper, bundle):
    call = create(wrapper, bundle)
    assert (call.status, call.errors) == (0, [])
    assert (bundle / NAME).read_bytes() == asking("0")
    assert sorted(path.name for path in bundle.iterdir()) == [NAME, "config.json"]


@pytest.mark.parametrize("spec", [PLAIN, PLAIN_WITH_A_TRACE], ids=["without a trace", "with one"])
def test_what_the_entry_says_does_not_reach_the_runsc_of_a_plain_container(wrapper, spec):
    call = create(wrapper, wrapper.bundle("b", spec), edited=None)
    assert call.status == 0
    assert not OURS & set(call.runsc.environment)


def test_the_runsc_of_a_gpu_container_has_nothing_of_it_either(wrapper, bundle):
    assert OURS.isdisjoint(create(wrapper, bundle).runsc.environment)


def test_other_calls_leave_no_trace_in_the_environment_of_runsc(wrapper):
    call = wrapper.call_entry("state", "abc", nodes=False)
    assert not OURS & set(call.runsc.environment)


@pytest.mark.parametrize("subcommand", ["create", "run", "restore"])
@pytest.mark.parametrize("says", [None, "docker:1", "docker:", "docker", "docker:01x", ""])
def test_a_kept_spec_of_an_earlier_creation_refuses_a_gpu_container_and_says_what_to_remove(
    wrapper, bundle, says, subcommand
):
    keep(bundle)
    call = by_hand(wrapper, bundle, says=says, subcommand=subcommand)
    assert_refused(call, f"{bundle}/{NAME} was kept for an earlier creation", "Remove it")
    assert (bundle / "config.json").read_bytes() == EDITED
    assert wrapper.decisions()[-1]["refused"] == "bundle.kept"


def test_an_earlier_creation_through_the_entry_is_one_too(wrapper, bundle):
    assert create(wrapper, bundle).status == 0
    assert_refused(by_hand(wrapper, bundle), "earlier creation")
    (bundle / "config.json").write_bytes(asking("0"))
    assert create(wrapper, bundle).status == 0


def test_without_the_entry_and_without_a_kept_spec_the_specs_own_evidence_serves(wrapper, bundle):
    assert by_hand(wrapper, bundle).status == 0


@pytest.mark.parametrize("says", [None, "docker:1"])
def test_a_plain_container_is_not_refused_for_it(wrapper, bundle, says):
    keep(bundle, b"{", mode=0o666)
    assert by_hand(wrapper, bundle, says=says, spec=PLAIN_WITH_A_TRACE).status == 0


@pytest.mark.parametrize("ours", [True, False])
def test_a_kept_spec_that_is_said_to_be_there_and_is_not_refuses_a_gpu_container(wrapper, bundle, ours):
    call = claim(wrapper, bundle) if ours else by_hand(wrapper, bundle, says="docker:1")
    assert_refused(call, "docker:", f"{bundle}/{NAME}, is not there")


def test_what_is_kept_for_this_process_is_believed(wrapper, bundle):
    keep(bundle)
    assert claim(wrapper, bundle).status == 0


def test_a_shim_that_forks_is_believed_by_its_parents_number(wrapper, bundle):
    shim = wrapper.home / "shim"
    shim.write_text(shim.read_text().replace("exec ", "") + "exit $?\n")
    assert create(wrapper, bundle).status == 0


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda kept: kept.chmod(0o640), "mode 0640"),
        (lambda kept: kept.chmod(0o604), "mode 0604"),
        (lambda kept: kept.chmod(0o622), "mode 0622"),
        (lambda kept: os.chown(kept, 1000, 0), "belongs to user 1000"),
        (lambda kept: kept.with_name("second").hardlink_to(kept), "2 hard links"),
        (lambda kept: (kept.rename(kept.with_name("x")), kept.symlink_to("x")), "cannot be opened"),
        (lambda kept: (kept.unlink(), os.mkfifo(kept, 0o600)), "not a regular file"),
        (lambda kept: (kept.unlink(), kept.mkdir(0o700)), "not a regular file"),
        (lambda kept: os.truncate(kept, 17 << 20), "bytes, more than"),
        (lambda kept: kept.write_bytes(kept.read_bytes()[:-9]), "is not JSON"),
        (lambda kept: kept.write_bytes(b'{"process":{},"process":{}}'), "twice"),
        (lambda kept: os.utime(kept, (0, time.time() - 60)), "before process"),
    ],
)
def test_a_kept_spec_that_is_not_to_be_trusted_refuses_a_gpu_container_and_no_plain_one(
    wrapper, bundle, damage, says
):
    damage(keep(bundle))
    assert_refused(claim(wrapper, bundle), f"{bundle}/{NAME}", says)
    assert claim(wrapper, bundle, spec=PLAIN_WITH_A_TRACE).status == 0


def test_where_the_beginning_of_the_process_cannot_be_told_its_time_stops_nobody(bundle, monkeypatch):
    kept = keep(bundle)
    os.utime(kept, (0, time.time() - 86400))
    says = {kept_spec.VARIABLE: b"docker:%d" % os.getpid()}
    with pytest.raises(Refusal, match="before process"):
        kept_spec.read(Bundle(str(bundle)), says)
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    assert kept_spec.read(Bundle(str(bundle)), says) == kept.read_bytes()


def test_another_containers_spec_refuses_a_gpu_container(wrapper, bundle):
    keep(bundle, asking("0").replace(b'"args": ["', b'"args": ["x'))
    assert_refused(claim(wrapper, bundle), "is the spec of another container", "process.args")


PODS = {"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": "victim"}


def in_a_pod() -> bytes:
    return json.dumps({**json.loads(EDITED), "annotations": PODS}).encode()


@pytest.mark.parametrize("root", [None, "/run/containerd/runc/k8s.io"])
def test_the_entry_says_that_the_engine_is_docker_whatever_its_root_is(wrapper, root):
    spec = json.dumps({**json.loads(asking("0")), "annotations": PODS}).encode()
    bundle = wrapper.bundle("b", spec)
    flags = [] if root is None else ["--root", root]
    call = wrapper.call_entry(*flags, "create", "--bundle", str(bundle), "abc", edited=in_a_pod())
    assert not set(PODS) & set(json.loads(call.runsc.spec).get("annotations", {}))
    (bundle / NAME).unlink()
    (bundle / "config.json").write_bytes(in_a_pod())
    again = wrapper.call(*flags, "create", "--bundle", str(bundle), "abc")
    assert again.status or set(PODS) <= set(json.loads(again.runsc.spec)["annotations"])
