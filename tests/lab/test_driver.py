"""The pretend driver's sources against what the lab and its documentation say of them."""

import json
import re
import subprocess

import pytest

from tests.lab.definition import PretendGpu
from tests.lab.driver import KERNEL_SOURCES, SOURCES, STATIC_CFLAGS, kernel_driver

ABI = (KERNEL_SOURCES / "nvidia-abi.h").read_text()


@pytest.mark.parametrize("minor", [0, 1, 10, 31])
def test_the_driver_makes_a_gpus_uuid_as_the_lab_does(minor):
    (template,) = re.findall(r'#define LAB_UUID "(.*)"', ABI)
    assert template % minor == PretendGpu(0, minor).uuid
    (length,) = re.findall(r"#define LAB_UUID_LENGTH (\d+)", ABI)
    assert len(template % minor) + 1 == int(length)


@pytest.mark.parametrize("index", [0, 9, 31])
def test_the_driver_puts_a_gpu_on_the_bus_that_the_lab_says(index):
    bus = (KERNEL_SOURCES / "nvproxy-lab-pci.c").read_text()
    assert "pci_scan_root_bus(NULL, index + 1," in bus
    assert PretendGpu(index, 0).bus_id == f"00000000:{index + 1:02X}:00.0"


@pytest.mark.parametrize("path", sorted(KERNEL_SOURCES.glob("*.c")), ids=lambda path: path.name)
def test_every_source_of_the_kernel_driver_is_compiled(path):
    assert f"{path.stem}.o" in (KERNEL_SOURCES / "Kbuild").read_text()


def test_every_parameter_of_the_modules_is_in_the_documentation_of_the_part():
    sources = "".join(path.read_text() for path in KERNEL_SOURCES.glob("*.c"))
    parameters = set(re.findall(r"module_param(?:_array)?\((\w+),", sources))
    assert {"gpus", "minors", "excluded", "mig", "driver_version"} <= parameters
    assert {name for name in parameters if name not in kernel_driver.__doc__} == set()


@pytest.fixture(scope="module")
def bare_root(tmp_path_factory):
    """A root with nothing in it but the client."""
    root = tmp_path_factory.mktemp("root")
    subprocess.run(["gcc", *STATIC_CFLAGS, "-o", root / "client", SOURCES / "client.c"], check=True)
    return root


def client(root, *arguments):
    """Its exit status and its lines."""
    done = subprocess.run(
        ["chroot", root, "/client", *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.lab
def test_the_client_says_of_every_node_that_it_does_not_open_where_there_is_nothing(bare_root):
    names = ["nvidiactl", "nvidia-uvm", *(f"nvidia{minor}" for minor in range(32))]
    status, lines = client(bare_root)
    assert status == 0
    assert lines == [{"node": f"/dev/{name}", "call": "open", "result": "ENOENT"} for name in names]


@pytest.mark.lab
def test_the_client_makes_nodes_of_its_own_and_tries_those(bare_root):
    status, lines = client(bare_root, "--mknod", "/here")
    assert status == 0
    made = [line["node"] for line in lines if line["call"] == "mknod" and line["result"] == "ok"]
    assert len(made) == 34
    assert made[0] == "/here/nvidiactl"
    assert (bare_root / "here/nvidia31").is_char_device()


@pytest.mark.lab
def test_the_client_refuses_a_word_that_it_does_not_know(bare_root):
    assert client(bare_root, "--mknods", "/here") == (2, [])


def test_the_client_documents_every_call_that_it_makes():
    head, code = (SOURCES / "client.c").read_text().split("*/", 1)
    calls = set(re.findall(r'(?:say|begin)\(path, "(\w+)"', code))
    assert {"open", "CARD_INFO"} <= calls
    assert {call for call in calls if not re.search(rf"^ \*   {call} ", head, re.MULTILINE)} == set()
