"""The other files of the wrapper on a host, by the programs that read them."""

import subprocess

import pytest

from tests.installed_wrapper import CAPTURED, PYTHON, ROOT, SHELLS, render


@pytest.mark.parametrize("shell", SHELLS.values(), ids=SHELLS)
def test_the_admin_command_is_the_module(tmp_path, shell):
    command = tmp_path / "nvproxy-wrapper"
    command.write_text(render("nvproxy-wrapper.sh.j2", python=PYTHON, wrapper_dir=str(ROOT)))
    arguments = ["explain", "--format", "json", str(CAPTURED / "1.20.0_csv_no-gpu.json")]
    by_command = subprocess.run([*shell, str(command), *arguments], capture_output=True, text=True)
    by_module = subprocess.run(
        [PYTHON, "-m", "nvproxy_wrapper", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert by_command.returncode == by_module.returncode == 0
    assert by_command.stdout == by_module.stdout
    assert '"class"' in by_command.stdout


def test_logrotate_rotates_the_decision_log_and_the_next_line_starts_a_new_one(tmp_path):
    log = tmp_path / "decisions.jsonl"
    log.write_text("{}\n")
    config = tmp_path / "logrotate"
    config.write_text(render("logrotate.j2", audit_log=str(log)))
    config.chmod(0o644)
    subprocess.run(["logrotate", "--force", "--state", str(tmp_path / "state"), str(config)], check=True)
    assert not log.exists()
    assert (tmp_path / "decisions.jsonl.1").read_text() == "{}\n"
