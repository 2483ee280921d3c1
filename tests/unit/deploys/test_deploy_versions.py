"""Versions of the toolkit and the driver, and whether a runsc serves a driver."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploys.model.drivers import ALLOW_UNSUPPORTED, unsupported
from deploys.model.versions import (
    AUTO_FLOOR,
    GVISOR_RELEASE,
    TOOLKIT_FLOOR,
    DriverVersion,
    ToolkitVersion,
)
from tests.deploys.example_hosts import settings

NUMBER = st.integers(0, 999)
SUPPORTED = ("535.183.01", "550.54.14", "550.90.07", "550.90.12", "570.124.06", "580.65.06")


@given(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER), st.tuples(NUMBER, NUMBER, NUMBER, NUMBER))
def test_toolkit_versions_are_ordered_by_number_and_not_by_letter(one, other):
    first, second = ToolkitVersion(*one), ToolkitVersion(*other)
    assert (first < second, first == second) == (one < other, one == other)
    assert ToolkitVersion.parse(str(first)) == first


def test_the_floors_are_in_order():
    assert ToolkitVersion.parse("1.9.0-1") < TOOLKIT_FLOOR < AUTO_FLOOR < ToolkitVersion.parse("1.20.0-1")


@given(st.tuples(NUMBER, NUMBER, NUMBER), st.tuples(NUMBER, NUMBER, NUMBER))
def test_driver_versions_are_ordered_by_number_and_survive_being_written(one, other):
    first, second = DriverVersion(*one), DriverVersion(*other)
    assert (first < second, first == second) == (one < other, one == other)
    assert DriverVersion.parse(str(first)) == first


def test_a_driver_version_is_the_same_however_wide_it_is_written():
    assert DriverVersion.parse("550.90.7") == DriverVersion.parse("550.90.07\n")
    assert str(DriverVersion.parse("550.90.7")) == "550.90.07"
    assert DriverVersion.parse("550.120") == DriverVersion(550, 120, 0)


@pytest.mark.parametrize("text", ["", "570", "570.124.06.1", "570.124.06-rc1", "a.b.c", "570 .124"])
def test_what_is_no_driver_version_is_told_with_what_it_was(text):
    with pytest.raises(ValueError, match="is not a driver version like"):
        DriverVersion.parse(text)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("20260905", True),
        ("20260905.1", True),
        ("20260905.0", True),
        ("latest", False),
        ("20260905\n", False),
    ],
)
def test_a_release_of_gvisor_is_a_date(text, is_one):
    assert (GVISOR_RELEASE.fullmatch(text) is not None) is is_one


@pytest.mark.parametrize("driver", SUPPORTED)
def test_a_driver_that_runsc_lists_is_served(driver):
    assert unsupported(settings(), driver, SUPPORTED) is None


@pytest.mark.parametrize(
    ("driver", "nearest"),
    [
        ("570.124.07", "550.90.12, 570.124.06, 580.65.06"),
        ("550.90.08", "550.54.14, 550.90.07, 550.90.12"),
        ("999.1.1", "550.90.12, 570.124.06, 580.65.06"),
    ],
)
def test_a_driver_that_runsc_does_not_list_is_refused_with_the_nearest_ones(driver, nearest):
    found = unsupported(settings(runsc_args=["--debug"]), driver, SUPPORTED)
    shown = DriverVersion.parse(driver)
    assert found.what == (
        f"the NVIDIA driver {shown} is not among the 6 that gVisor 20260905 supports (nearest: {nearest})"
    )
    assert f"prints {shown}." in found.remedy


def test_a_runsc_that_lists_nothing_serves_nothing():
    assert (
        "not among the 0 that gVisor 20260905 supports (nearest: none)"
        in unsupported(settings(), "570.124.06", ()).what
    )


@pytest.mark.parametrize("flag", [f"--{ALLOW_UNSUPPORTED}", f"-{ALLOW_UNSUPPORTED}=true"])
def test_an_operator_may_let_runsc_try(flag):
    assert unsupported(settings(runsc_args=[flag]), "999.1.1", SUPPORTED) is None


def test_a_flag_that_says_false_does_not_let_runsc_try():
    refused = settings(runsc_args=[f"--{ALLOW_UNSUPPORTED}=false"])
    assert unsupported(refused, "999.1.1", SUPPORTED) is not None
