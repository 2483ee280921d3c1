"""What is read in gVisor's source."""

from __future__ import annotations

from tests.upstream.runsc import annotations, capability_names


def test_every_capability_that_has_a_name_is_found_and_nothing_else_that_is_returned():
    text = """
	switch c {
	case CapCompute:
		return "compute"
	case CapFabricIMEXManagement:
		return "fabric-imex-mgmt"
	default:
		return "", false
	}
	case CapCompute, CapDisplay:
		return fmt.Sprintf("--%s", c.individualString()), true
"""
    assert capability_names(text) == ["compute", "fabric-imex-mgmt"]


def test_annotations_are_the_strings_of_the_source_and_not_of_its_tests_or_comments(tmp_path):
    (tmp_path / "runsc").mkdir()
    (tmp_path / "runsc/nvidia.go").write_text('const A = "dev.gvisor.internal.nvproxy"\n// dev.gvisor.note\n')
    (tmp_path / "mounts.go").write_text(
        'p = "dev.gvisor.spec.mount."\n// "dev.gvisor.flag.<flag-name>": "x"\n'
    )
    (tmp_path / "mounts_test.go").write_text('x = "dev.gvisor.only.a.test"\n')
    assert annotations(tmp_path) == ["dev.gvisor.internal.nvproxy", "dev.gvisor.spec.mount."]
