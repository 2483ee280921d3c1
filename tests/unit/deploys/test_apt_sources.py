"""APT's source files that others have left: each kind with what is told of it, and what becomes of it."""

from __future__ import annotations

import json

import pytest

from deploys.model import paths
from deploys.model.applied import Before
from deploys.model.apt_sources import DISABLED, PARTS, SourceFile, disabled, is_source
from deploys.model.plan import Step
from deploys.model.removal_plan import RemovalPlan, removal_plan
from deploys.model.site_plan import site_plan
from tests.deploys.example_hosts import BLANK, at, drifted, file_record
from tests.deploys.simulated_host import CONVERGED, NOTHING, SETTINGS, SOURCES, after, converged

NVIDIA = "https://nvidia.github.io"
OURS = f"{NVIDIA}/libnvidia-container/stable/deb/amd64"
KEY = "/usr/share/keyrings/nvidia-container-toolkit-keyring.gpg"
PAGE = "<!DOCTYPE html>\n<html>\n  <head>\n    <title>Page not found &middot; GitHub Pages</title>\n"
DOCKER2 = f"""\
deb {NVIDIA}/libnvidia-container/stable/ubuntu18.04/$(ARCH) /
#deb {NVIDIA}/libnvidia-container/experimental/ubuntu18.04/$(ARCH) /
deb {NVIDIA}/nvidia-container-runtime/stable/ubuntu18.04/$(ARCH) /
deb {NVIDIA}/nvidia-docker/ubuntu18.04/$(ARCH) /
"""
TWO_STANZAS = f"""\
Enabled: no
Types: deb
URIs: {NVIDIA}/old
Suites: /

Types: deb deb-src
URIs: {OURS}
Suites: ./ /
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBFnQ
"""

# Files as people have them: name, text, and what is said of them.
IN_THE_WAY = {
    "nvidia-docker2": (
        "nvidia-docker.list",
        DOCKER2,
        "line 1 names .*/ubuntu18.04/amd64, with no key of its own; our own source takes its place",
    ),
    "the distribution's own of 2022": (
        "libnvidia-container.list",
        f"# by the admin\ndeb [signed-by={KEY}] {NVIDIA}/libnvidia-container/stable/debian11/$(ARCH) /\n",
        f"line 2 names .*/debian11/amd64, signed by {KEY}; our own",
    ),
    "today's, by another name": (
        "libnvidia-container.list",
        f"deb [signed-by={KEY}] {NVIDIA}/libnvidia-container/stable/deb/$(ARCH) /\n",
        f"line 1 names {OURS}, signed by {KEY}; apt refuses a repository that is there twice",
    ),
    "today's, with several options": (
        "cuda.list",
        f"deb [ arch=amd64,arm64 signed-by={KEY} ] {OURS}/ /   # toolkit\r\n",
        "line 1 names .*signed by",
    ),
    "today's, spelled out and without a slash": ("nvidia-container.list", f"deb {OURS} /\n", "with no key"),
    "add-apt-repository's": (
        "archive_uri-https_nvidia_github_io_libnvidia-container_stable_deb_amd64_-noble.list",
        f"deb [arch=amd64] {OURS}/ /\n# deb-src [arch=amd64] {OURS}/ /\n",
        "apt refuses a repository that is there twice with different keys",
    ),
    "modernized": (
        "nvidia-container-toolkit.sources",
        f"# was nvidia-container-toolkit.list\nTypes: deb\nURIs: {OURS}/\nSuites: /\nSigned-By: {KEY}\n",
        f"line 2 names {OURS}/, signed by {KEY}; apt refuses",
    ),
    "modernized, with the key in it, in the second stanza": (
        "nvidia.sources",
        TWO_STANZAS,
        "line 6 names .*, signed by a key in it; apt refuses",
    ),
    "without the architecture": (
        "nvidia-toolkit.list",
        f"deb [signed-by={KEY}] {NVIDIA}/libnvidia-container/stable/deb/ /\n",
        "our own source takes its place",
    ),
    "a page instead of a list": ("nvidia-docker.list", PAGE, "line 1 is no entry .*<!DOCTYPE html>"),
    "a shell's complaint instead of a list": (
        "nvidia-container-toolkit-2.list",
        "curl: (22) The requested URL returned error: 404\n",
        "line 1 is no entry",
    ),
    "an entry without a suite": ("other.list", f"deb {OURS}\n", "line 1 is no entry that apt could read"),
    "a stanza without suites": ("nvidia.sources", f"Types: deb\nURIs: {OURS}\n", "a stanza without"),
}
NOT_IN_THE_WAY = {
    "an unknown distribution": (
        "nvidia-docker.list",
        "# Unsupported distribution!\n# Check https://nvidia.github.io/nvidia-docker\n",
    ),
    "another vendor's": ("lambda-repository.list", "deb http://archive.lambdalabs.com/ubuntu focal main\n"),
    "NVIDIA's drivers": (
        "cuda-debian12-x86_64.list",
        "deb https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64/ /\n",
    ),
    "a stanza that is off": (
        "nvidia.sources",
        f"Enabled: no\nTypes: deb\nURIs: {OURS}\nSuites: /\nSigned-By: {KEY}\n",
    ),
    "another that cannot be read": ("broken.list", "deb\n"),
    "disabled": ("nvidia-docker.list", disabled(f"deb {OURS} /\n")),
}


@pytest.mark.parametrize(("name", "text", "sentence"), IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_what_is_in_the_way_is_told_with_its_line_and_its_key(name, text, sentence):
    found = SourceFile.read(PARTS + name, text, "x86_64")
    assert found.is_in_the_way(OURS)
    assert not found.others(OURS)
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError(found.why(OURS, paths.APT_KEYRING))
    off = SourceFile.read(PARTS + name, disabled(text), "x86_64")
    assert not off.is_in_the_way(OURS)
    assert disabled(off.text) is off.text


@pytest.mark.parametrize(("name", "text"), NOT_IN_THE_WAY.values(), ids=NOT_IN_THE_WAY)
def test_what_is_not_in_the_way_is_left_alone(name, text):
    assert not SourceFile.read(PARTS + name, text, "x86_64").is_in_the_way(OURS)


def test_a_mirror_of_ones_own_is_in_the_way_where_it_is_ours():
    text = "deb https://mirror.example.org/nvidia/deb/$(ARCH) /\n"
    found = SourceFile.read(PARTS + "mirror.list", text, "aarch64")
    assert found.is_in_the_way("https://mirror.example.org/nvidia/deb/arm64/")
    assert not found.is_in_the_way(OURS)


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("/etc/apt/sources.list", True),
        (PARTS + "nvidia-docker.list", True),
        (PARTS + "nvidia.sources", True),
        (PARTS + "nvidia-docker.list.bak", False),
        (PARTS + "nvidia docker.list", False),
        ("/etc/yum.repos.d/libnvidia-container.repo", False),
    ],
)
def test_only_files_that_apt_reads_are_sources(path, is_one):
    assert is_source(path) is is_one


@pytest.mark.parametrize(("name", "text", "sentence"), IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_a_file_in_the_way_is_disabled_once_and_given_back_by_a_removal(name, text, sentence):
    path = PARTS + name
    first = drifted(BLANK, at("files", path, value=file_record(text)))
    plan = site_plan(SETTINGS, first, SOURCES)
    (change,) = [change for step, change in plan.files if step is Step.TOOLKIT and change.path == path]
    assert change.text == disabled(text)
    assert change.original, "it is kept as the file that was there before the first run"
    assert path in plan.packages.disabled
    second = after(plan, SETTINGS, first, SOURCES)
    assert site_plan(SETTINGS, second, SOURCES) == NOTHING
    made = removal_plan(SETTINGS, second, Before.read(second))
    assert isinstance(made, RemovalPlan)
    assert path in made.files
    assert path in made.before


def test_a_file_that_comes_later_is_disabled_too_and_kept_as_it_was():
    path = PARTS + "nvidia-docker.list"
    host = drifted(CONVERGED, at("files", path, value=file_record(f"deb {OURS} /\n")))
    plan = site_plan(SETTINGS, host, SOURCES)
    (change,) = [change for _, change in plan.files if change.path == path]
    assert change.original
    assert plan.packages is not None


def test_a_removal_brings_back_a_file_of_a_run_that_did_not_come_to_its_record():
    path = PARTS + "nvidia-docker.list"
    host = drifted(CONVERGED, at("files", path, value=file_record(disabled(f"deb {OURS} /\n"))))
    assert path in removal_plan(SETTINGS, host, Before.read(host)).files


@pytest.mark.parametrize(
    ("path", "text", "sentence"),
    [
        (
            "/etc/apt/sources.list",
            f"deb http://mirror.example/debian bookworm main\ndeb {OURS} /\n",
            "line 2",
        ),
        ("/etc/apt/sources.list", f"deb {OURS} /\n", "line 1"),
        (PARTS + "mine.list", f"deb {OURS} /\ndeb http://example.org/mine bookworm main\n", "line 1"),
        (paths.APT_SOURCE, f"deb http://example.org/mine bookworm main\ndeb {OURS} /\n", "line 1"),
    ],
)
def test_a_file_that_names_something_else_too_is_refused_with_its_name_and_line(path, text, sentence):
    host = drifted(BLANK, at("files", path, value=file_record(text)))
    (refusal,) = site_plan(SETTINGS, host, SOURCES).refusals
    assert path in str(refusal)
    assert sentence in str(refusal)


def test_a_host_with_nothing_of_the_kind_is_as_it_was():
    assert converged(SETTINGS, drifted(BLANK), SOURCES) == CONVERGED
    assert DISABLED not in json.dumps(CONVERGED.model_dump(mode="json"))
