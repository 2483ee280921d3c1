"""config.toml: what is rendered is what go-toml, tomllib and the `toml` package read alike."""

from __future__ import annotations

import tomllib

import pytest
import toml
from hypothesis import example, given
from hypothesis import strategies as st

from deploys.model import paths
from deploys.model.settings import ToolkitMode
from deploys.model.toolkit_config import config_toml, runtimes_of

WANTED = {
    "nvidia-container-runtime": {
        "log-level": "info",
        "runtimes": [paths.LAUNCHER],
        "modes": {
            "csv": {"mount-spec-path": paths.CSV_DIR},
            "cdi": {
                "annotation-prefixes": ["cdi.k8s.io/"],
                "default-kind": "nvidia.com/gpu",
                "spec-dirs": ["/etc/cdi", "/var/run/cdi"],
            },
        },
    },
    "nvidia-container-runtime-hook": {"path": "nvidia-container-runtime-hook", "skip-mode-detection": False},
    "nvidia-ctk": {"path": "nvidia-ctk"},
}


@pytest.mark.parametrize("mode", ToolkitMode)
@pytest.mark.parametrize("read", [toml.loads, tomllib.loads])
def test_both_readers_find_the_mode_and_the_wrapper_as_the_only_runtime(mode, read):
    found = read(config_toml(mode))
    assert found["nvidia-container-runtime"].pop("mode") == mode.value
    assert found == WANTED


def test_the_runtimes_of_the_rendered_file_are_the_launcher_alone():
    assert runtimes_of(config_toml(ToolkitMode.CSV)) == (paths.LAUNCHER,)


@pytest.mark.parametrize(
    ("text", "runtimes"),
    [
        ("", ("runc", "crun")),
        ("[nvidia-container-runtime]\n", ("runc", "crun")),
        ("[nvidia-container-runtime]\nruntimes = []\n", ()),
        ('[nvidia-container-runtime]\nruntimes = ["docker-runc", "runc"]\n', ("docker-runc", "runc")),
        ('[nvidia-container-runtime]\nruntimes = "runc"\n', None),
        ("[nvidia-container-runtime]\nruntimes = [1, 2]\n", None),
        ('nvidia-container-runtime = "x"\n', None),
        ("nvidia-container-runtime = [1]\n", None),
        ("not toml at all", None),
        ('[nvidia-container-runtime]\nruntimes = ["runc"\n', None),
    ],
)
def test_the_runtimes_of_a_file_that_was_there_are_told_or_cannot_be_told(text, runtimes):
    assert runtimes_of(text) == runtimes


@example("[a]\n[[a]]")
@example("a = 1 b = 2")
@example("=")
@given(
    st.text(max_size=30)
    | st.text(alphabet="[]=\"\n'\\#.,{}a1-_ :TZ", max_size=40)
    | st.lists(st.sampled_from(config_toml(ToolkitMode.CSV).splitlines()), max_size=20).map("\n".join)
)
def test_no_text_makes_reading_fail_in_another_way(text):
    found = runtimes_of(text)
    assert found is None or all(isinstance(runtime, str) for runtime in found)
