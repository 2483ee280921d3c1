"""devices.csv and drivers.csv: one line for each thing, and nothing that gVisor cannot serve."""

from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st

from deploys.model.device_specs import CONTROL_NODES, device_nodes, devices_csv, drivers_csv
from tests.deploys.example_hosts import BLANK, DRIVER, snapshot

LIB = "/usr/lib/x86_64-linux-gnu"


def host(**changes: object):
    return snapshot({**copy.deepcopy(BLANK), **changes})


def test_devices_are_the_control_nodes_and_a_line_for_each_gpu_by_its_minor():
    assert devices_csv(snapshot(BLANK)) == (
        "dev, /dev/nvidiactl\ndev, /dev/nvidia-uvm\ndev, /dev/nvidia1\ndev, /dev/nvidia0\n"
    )


def test_libraries_and_programs_are_lib_lines_and_their_names_are_sym_lines():
    assert drivers_csv(snapshot(BLANK)) == (
        f"lib, {LIB}/libcuda.so.{DRIVER}\nlib, {LIB}/libnvidia-ml.so.{DRIVER}\nlib, /usr/bin/nvidia-smi\n"
        f"sym, {LIB}/libcuda.so.1\nsym, {LIB}/libnvidia-ml.so.1\n"
    )


def test_a_gpu_whose_minor_is_not_known_has_no_line():
    gpus = [{**gpu, "minor": minor} for gpu, minor in zip(BLANK["gpus"], (None, 4), strict=True)]
    assert device_nodes(host(gpus=gpus).gpus) == (*CONTROL_NODES, "/dev/nvidia4")


@given(st.lists(st.none() | st.integers(0, 31), max_size=16, unique=True))
def test_no_line_is_a_glob_or_a_node_that_is_dead_in_gvisor(minors):
    gpus = [{**BLANK["gpus"][0], "minor": minor} for minor in minors]
    lines = devices_csv(host(gpus=gpus)).splitlines()
    assert len(lines) == 2 + sum(minor is not None for minor in minors)
    assert all(line.startswith("dev, /dev/nvidia") and not set("*?[") & set(line) for line in lines)
    assert not any(dead in line for line in lines for dead in ("modeset", "uvm-tools", "caps"))
