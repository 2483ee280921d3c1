"""Every path on a host that this project writes or relies on, once."""

from __future__ import annotations

GVISOR_DIR = "/opt/gvisor"
GVISOR_CURRENT = f"{GVISOR_DIR}/current"
RUNSC = f"{GVISOR_CURRENT}/runsc"

WRAPPER_DIR = "/opt/nvproxy-wrapper"
WRAPPER_CURRENT = f"{WRAPPER_DIR}/current"
ENTRY = "/usr/local/bin/nvproxy-container-runtime"
LAUNCHER = "/usr/local/bin/nvproxy-runsc"
ADMIN_COMMAND = "/usr/local/bin/nvproxy-wrapper"
WRAPPER_SETTINGS_DIR = "/etc/nvproxy-wrapper"
WRAPPER_SETTINGS = f"{WRAPPER_SETTINGS_DIR}/settings.json"
WRAPPER_LOGROTATE = "/etc/logrotate.d/nvproxy-wrapper"
DECISION_LOG_DIR = "/var/log/nvproxy-wrapper"
DECISION_LOG = f"{DECISION_LOG_DIR}/decisions.jsonl"

STATE_DIR = "/var/lib/nvproxy-fleet"
APPLIED = f"{STATE_DIR}/applied.json"
BEFORE = f"{STATE_DIR}/before.json"
BACKUP_DIR = f"{STATE_DIR}/backup"
STAGING_DIR = f"{STATE_DIR}/staging"
VERIFY_DIR = f"{STATE_DIR}/verify"
LOCK = "/run/nvproxy-fleet.lock"
# config.toml as it was before the packages that are being installed; it goes when that is back.
KEPT_FROM_PACKAGES = f"{STATE_DIR}/kept-from-packages.json"
# The way back out of a run that has begun and not ended; the unit is there for as long, for a reboot.
WAY_BACK_DIR = f"{STATE_DIR}/way-back"
WAY_BACK = f"{WAY_BACK_DIR}/record.json"
WAY_BACK_UNIT = "/etc/systemd/system/nvproxy-fleet-way-back.service"
WAY_BACK_WANTED = "/etc/systemd/system/multi-user.target.wants/nvproxy-fleet-way-back.service"

SHIM = "/usr/bin/nvidia-container-runtime"
# XDG_CONFIG_HOME for the shim, which adds the rest (nvidia-container-toolkit v1.20.2, api/config/v1).
TOOLKIT_CONFIG_HOME = "/etc"
TOOLKIT_CONFIG = f"{TOOLKIT_CONFIG_HOME}/nvidia-container-runtime/config.toml"
CSV_DIR = "/etc/nvidia-container-runtime/host-files-for-container.d"
# The shim reads only files of these names in CSV_DIR and ignores any other without a word
# (nvidia-container-toolkit v1.20.0, internal/modifier/csv.go, BaseFilesOnly).
DEVICES_CSV = f"{CSV_DIR}/devices.csv"
DRIVERS_CSV = f"{CSV_DIR}/drivers.csv"
# The same, of ours, beside the host's own: in the layout `dedicated`.
OWN_CONFIG_HOME = WRAPPER_SETTINGS_DIR
OWN_TOOLKIT_CONFIG = f"{OWN_CONFIG_HOME}/nvidia-container-runtime/config.toml"
OWN_CSV_DIR = f"{OWN_CONFIG_HOME}/nvidia-container-runtime/host-files-for-container.d"
OWN_DEVICES_CSV = f"{OWN_CSV_DIR}/devices.csv"
OWN_DRIVERS_CSV = f"{OWN_CSV_DIR}/drivers.csv"

APT_KEYRING = "/etc/apt/keyrings/nvidia-container-toolkit.asc"
# The name that NVIDIA's own instructions give it: a second entry with another key is a conflict for apt.
APT_SOURCE = "/etc/apt/sources.list.d/nvidia-container-toolkit.list"

DAEMON_JSON = "/etc/docker/daemon.json"
MODULES_LOAD = "/etc/modules-load.d/nvproxy-fleet.conf"
DEVICE_NODES_PROGRAM = "/usr/local/bin/nvproxy-device-nodes"
DEVICE_NODES_UNIT = "/etc/systemd/system/nvproxy-device-nodes.service"
# What `systemctl enable` would make; it would also reload systemd, which takes GPUs away from containers that
# have them by a device cgroup (nvidia-container-toolkit issue 48).
DEVICE_NODES_WANTED = "/etc/systemd/system/multi-user.target.wants/nvproxy-device-nodes.service"

PROC_DRIVER = "/proc/driver/nvidia"
PYTHON = "/usr/bin/python3"

# Every file outside of the versioned directories that a run writes.
MANAGED_FILES = (
    MODULES_LOAD,
    DEVICE_NODES_PROGRAM,
    DEVICE_NODES_UNIT,
    APT_KEYRING,
    APT_SOURCE,
    ENTRY,
    LAUNCHER,
    ADMIN_COMMAND,
    WRAPPER_SETTINGS,
    WRAPPER_LOGROTATE,
    DEVICES_CSV,
    DRIVERS_CSV,
    TOOLKIT_CONFIG,
    OWN_DEVICES_CSV,
    OWN_DRIVERS_CSV,
    OWN_TOOLKIT_CONFIG,
    DAEMON_JSON,
)
MANAGED_LINKS = (GVISOR_CURRENT, WRAPPER_CURRENT, DEVICE_NODES_WANTED)


def original_of(path: str) -> str:
    """Where a file is kept as it was before a run replaced it (`kept_path` of host/remote/prelude.py)."""
    return f"{BACKUP_DIR}/original/{path.strip('/').replace('/', '%')}"


def release_directory(release: str) -> str:
    """Where a release of gVisor lies."""
    return f"{GVISOR_DIR}/{release}"
