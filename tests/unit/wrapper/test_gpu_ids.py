"""From an id to a GPU of this host: by index, by UUID, by names of CDI's; two names of one GPU are one."""

import pytest

from nvproxy_wrapper.host.views import ProcDriverView
from nvproxy_wrapper.judge import gpus
from tests.driver_tree import TreeGpu, captured_uuid, write_driver_tree
from tests.unit.wrapper.specs import CSV, CSV_ALL, JIT, NO_DRIVER, asked_by_mounts, asking, captured
from tests.unit.wrapper.specs import judge as judged

DISTINCT = (
    TreeGpu("0000:01:00.0", 2, "GPU-aaaa1111-0000-0000-0000-000000000000"),
    TreeGpu("0000:41:00.0", 0, "GPU-aaaa2222-0000-0000-0000-000000000000"),
    TreeGpu("0000:81:00.0", 1, "GPU-bbbb3333-0000-0000-0000-000000000000"),
)


@pytest.fixture
def distinct_host(tmp_path):
    return ProcDriverView(str(write_driver_tree(tmp_path / "proc", DISTINCT)))


def csv(*values):
    return asking(captured(CSV_ALL), *values, "void")


def judge(spec, host, **given):
    """As on a host of the captured specs' own toolkit, unless something else is given."""
    return judged(spec, host, **{"toolkit_version": "1.20.0", **given})


def test_an_index_counts_in_pci_order_and_is_not_the_minor(shuffled_host):
    assert judge(csv("7"), shuffled_host).gpus == [0]
    assert judge(csv("4,6"), shuffled_host).gpus == [1, 3]
    assert judge(csv(captured_uuid(2)), shuffled_host).gpus == [2]


def test_pci_order_is_by_number_and_not_by_text(tmp_path):
    gpus = (TreeGpu("10000:01:00.0", 0, captured_uuid(0)), TreeGpu("0000:0a:00.0", 1, captured_uuid(1)))
    host = ProcDriverView(str(write_driver_tree(tmp_path / "proc", gpus)))
    assert [gpu.pci for gpu in host.gpus()] == ["0000:0a:00.0", "10000:01:00.0"]
    assert judge(csv("0"), host).gpus == [1]


def test_a_gpu_that_is_kept_from_nvml_has_no_index(tmp_path):
    gpus = (
        TreeGpu("0000:01:00.0", 0, captured_uuid(0), excluded=True),
        TreeGpu("0000:02:00.0", 1, captured_uuid(1)),
    )
    host = ProcDriverView(str(write_driver_tree(tmp_path / "proc", gpus)))
    assert judge(csv("0"), host).gpus == [1]
    assert judge(csv("1"), host).refusal.rule == "devices.scope"


@pytest.mark.parametrize(
    ("value", "gpus"), [("GPU-aaaa1", [2]), ("gpu-BBBB", [1]), ("GPU-aaaa2222", [0]), ("GPU-b", [1])]
)
def test_a_shortened_uuid_counts_while_it_is_the_only_one(value, gpus, distinct_host):
    assert judge(csv(value), distinct_host).gpus == gpus


@pytest.mark.parametrize(
    "value",
    [
        *(
            "8",
            "-1",
            "+1",
            "01",
            "1.0",
            "0x1",
            "\u0661",
            "9" * 5000,
            "ALL",
            "void,0",
            ",",
            "0;1",
            "0 1",
        ),
        *("GPU-", "GPU-4d4f434b", "GPU-ffffffff-0000-0000-0000-000000000000", "4d4f434b", "0000:01:00.0"),
        *(
            "MIG-4d4f434b-0000-0000-0000-000000000001",
            "0:0",
            "1:2",
            "mig-x",
            "nvidia.com/gpu=9",
            "nvidia.com/disk=0",
            "x=.nvidia.com/gpu=0",
            "nvidia.com/gds",
            "acme.com/gpu=0",
            "acme.com/gpu=all",
            "/dev/nvidia0",
        ),
        *("4", "0,7"),
    ],
)
def test_what_names_no_single_listed_gpu_of_this_host_is_refused(value, host):
    spec = csv(value)
    decision = judge(spec, host)
    assert decision.refusal.rule == "devices.scope"
    assert decision.refusal.remedy
    assert decision.spec is spec
    assert decision.devices == []


@pytest.mark.parametrize("value", ["MIG-4d4f434b-0000-0000-0000-000000000001", "0:0", "mig-x"])
def test_a_mig_device_is_refused_as_one(value, host):
    assert "MIG device" in judge(csv(value), host).refusal.message


def test_the_beginning_of_every_uuid_names_none_also_where_there_is_one_gpu(tmp_path):
    host = ProcDriverView(str(write_driver_tree(tmp_path / "proc", DISTINCT[:1])))
    assert judge(csv("GPU-a"), host).gpus == [2]
    assert judge(csv("GPU-"), host).refusal.rule == "devices.scope"


def test_a_refusal_names_the_id_and_what_the_host_has(host):
    message = judge(csv("9"), host).refusal.message
    assert "'9', which names no GPU of this host" in message
    assert captured_uuid(7) in message


def test_a_refusal_says_that_the_host_has_none(tmp_path):
    host = ProcDriverView(str(write_driver_tree(tmp_path / "proc", ())))
    assert judge(csv("9"), host).refusal.message.endswith("/gpus has none")


def test_an_id_without_a_driver_directory_is_refused_and_host_preparation_may_help():
    refusal = judge(csv("0"), NO_DRIVER).refusal
    assert refusal.rule == "devices.scope"
    assert refusal.host_prep_may_help
    assert "/nonexistent/gpus" in refusal.message


@pytest.mark.parametrize("line", ["", "Device Minor: x", "Device Minor: -1"])
def test_a_driver_directory_that_says_no_minor_is_refused(line, tmp_path):
    folder = tmp_path / "gpus/0000:01:00.0"
    folder.mkdir(parents=True)
    (folder / "information").write_text(f"GPU UUID: {captured_uuid(0)}\n{line}\n")
    assert judge(csv("0"), ProcDriverView(str(tmp_path))).refusal.rule == "devices.scope"


def test_a_gpu_whose_uuid_is_not_known_yet_can_be_asked_for_by_index_only(tmp_path):
    gpus = (TreeGpu("0000:01:00.0", 0, "GPU-????????-????-????-????-????????????"),)
    host = ProcDriverView(str(write_driver_tree(tmp_path / "proc", gpus)))
    assert judge(csv("0"), host).gpus == [0]
    assert judge(csv("GPU-????????-????-????-????-????????????"), host).refusal.rule == "devices.scope"


def test_two_names_of_one_gpu_are_one_gpu_and_not_room_for_another(host):
    spec = asking(captured(JIT), f"1,{captured_uuid(1)}", "void")
    assert judge(spec, host).gpus == [1]
    spec["linux"]["devices"].append({"path": "/dev/nvidia3", "type": "c", "major": 195, "minor": 3})
    assert judge(spec, host).refusal.rule == "devices.scope"


@pytest.mark.parametrize("name", [JIT, "1.20.0_cdi_visible-1"])
def test_nothing_is_exact_where_the_driver_cannot_be_read(name):
    refusal = judge(captured(name), NO_DRIVER).refusal
    assert (refusal.rule, refusal.host_prep_may_help) == ("devices.scope", True)


@pytest.mark.parametrize("name", [CSV_ALL, JIT, "1.20.0_cdi_visible-1", "1.14.6_cdi_visible-1"])
@pytest.mark.parametrize("value", ["0:0", "MIG-4d4f434b", "nvidia.com/gpu=0:1", "mig0:1", "1,MIG-x"])
def test_a_mig_device_is_refused_whatever_the_class(name, value, host):
    refusal = judge(asking(captured(name), value, "void"), host).refusal
    assert (refusal.rule, "MIG device" in refusal.message) == ("devices.scope", True)


def test_a_mig_device_is_refused_also_where_mounts_ask_for_it_beside_the_variable(host):
    """After the rewrite the mounts alone would ask."""
    refusal = judge(asked_by_mounts(asking(captured(JIT), "1", "void"), "MIG-1"), host).refusal
    assert refusal.rule == "devices.scope"


def test_an_id_that_is_given_a_thousand_times_is_looked_up_once(host, monkeypatch):
    looked_up = []
    real = gpus._find
    monkeypatch.setattr(gpus, "_find", lambda name, *rest: looked_up.append(name) or real(name, *rest))
    assert judge(csv(",".join(["1"] * 1000)), host).gpus == [1]
    assert looked_up == ["1"]


def test_two_places_that_name_one_gpu_by_two_names_agree(host):
    assert judge(asked_by_mounts(csv("1"), captured_uuid(1)), host).gpus == [1]
    assert judge(csv("1", captured_uuid(1)), host).gpus == [1]


def listing(name, *minors):
    spec = captured(name)
    others = [one for one in spec["linux"]["devices"] if not one["path"][11:].isdigit()]
    gpus = [{"path": f"/dev/nvidia{n}", "type": "c", "major": 195, "minor": n} for n in minors]
    spec["linux"]["devices"] = [*others, *gpus]
    return spec


@pytest.mark.parametrize("name", [CSV, JIT])
def test_an_index_of_a_guest_that_is_another_on_its_host_is_said_with_the_uuid(name, host):
    """canonical/lxd#11442: the guest has one of the host's GPUs, and the driver lists them all."""
    refusal = judge(asking(listing(name, 3), "0", "void"), host).refusal
    assert refusal.rule == "devices.scope"
    for what in ("asks for 0", "/dev/nvidia3", "guest", captured_uuid(3)):
        assert what in refusal.message
    assert judge(asking(listing(name, 3), captured_uuid(3), "void"), host).gpus == [3]
    for value in (captured_uuid(0), "0,1"):
        assert "guest" not in judge(asking(listing(name, 3), value, "void"), host).refusal.message


@pytest.mark.parametrize("uuid", ["GPU-????????-????-????-????-????????????", ""])
def test_a_uuid_that_the_driver_does_not_know_yet_is_said_to_be_so(uuid, tmp_path):
    tree = (TreeGpu("0000:01:00.0", 0, captured_uuid(0)), TreeGpu("0000:02:00.0", 1, uuid))
    host = ProcDriverView(str(write_driver_tree(tmp_path / "proc", tree)))
    refusal = judge(csv(captured_uuid(1)), host).refusal
    assert "does not know the UUID of GPU 1 yet" in refusal.message
    assert "by that index" in refusal.remedy
    assert "nvidia-persistenced" in refusal.remedy
    assert judge(csv("1"), host).gpus == [1]
    assert judge(csv(captured_uuid(0)), host).gpus == [0]
    # It may begin in the same way.
    assert judge(csv("GPU-4d4f434b"), host).refusal.rule == "devices.scope"


def test_a_value_in_quotes_is_shown_with_them(host):
    assert "'\"1\"'" in judge(csv('"1"'), host).refusal.message
