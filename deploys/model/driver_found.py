"""The driver as it is found on a host: what of it stops a run, and what an operator should know. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from deploys.model import paths
from deploys.model.plan import Refusal
from deploys.model.shim_users import DEDICATED_INSTEAD
from deploys.model.toolkit_config import driver_root

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deploys.model.snapshot import Driver, HostSnapshot

# Nodes of nvgpu and nvhost, and NVIDIA's directory on Jetson's Linux: only its own CSV files name them.
_JETSONS = re.compile(r"/dev/nv(?:host|map|gpu|sciipc)|/tegra[-/]|l4t", re.IGNORECASE)


def refusal_of_driver(snapshot: HostSnapshot) -> Refusal | None:
    """The first reason for which no container could be given this driver; None where there is none."""
    return (
        _wsl(snapshot)
        or _tegra(snapshot)
        or _not_loaded(snapshot.driver)
        or _without_gpu(snapshot)
        or _mig(snapshot)
        or _libraries(snapshot)
    )


def notes_of_driver(snapshot: HostSnapshot) -> tuple[str, ...]:
    """What is as it may be, and still limits what containers get, each with what to do."""
    notes = []
    if snapshot.excluded_gpus and snapshot.gpus:
        notes.append(
            f"the driver leaves {_gpus(snapshot.excluded_gpus)} alone (GPU Excluded), so no container gets "
            "it. "
            "Take it out of NVreg_ExcludedGpus (/etc/modprobe.d) and reboot, if that is not meant."
        )
    unknown = [gpu.pci for gpu in snapshot.gpus if gpu.uuid is None]
    if unknown:
        notes.append(
            f"the driver does not tell the UUID of {_gpus(unknown)} yet: until a program has opened it, "
            "containers can ask for it by its index only. Enable nvidia-persistenced, which keeps the GPUs "
            "open; "
            "where 'nvidia-smi -L' does not help, look for an error with 'dmesg | grep -i nvrm'."
        )
    nameless = [gpu.pci for gpu in snapshot.gpus if gpu.minor is None]
    if nameless and len(nameless) < len(snapshot.gpus):
        notes.append(
            f"the driver does not tell the minor of {_gpus(nameless)}, so no container gets it. "
            f"Look into {paths.PROC_DRIVER}/gpus/*/information, and install a newer driver."
        )
    if snapshot.driver.other_libraries and any("/libcuda.so" in path for path in snapshot.driver.libraries):
        notes.append(
            f"beside the NVML of the loaded driver {snapshot.driver.version} the linker finds "
            f"{', '.join(snapshot.driver.other_libraries)}. Remove the packages of the driver that is not "
            "loaded."
        )
    return tuple(notes)


def _wsl(snapshot: HostSnapshot) -> Refusal | None:
    if not snapshot.surroundings.wsl or snapshot.driver.version is not None:
        return None
    return Refusal(
        "this is the Windows Subsystem for Linux: its GPU is reached through /dev/dxg and Windows' own "
        "driver, "
        "which gVisor cannot serve",
        "Use a host that runs Linux itself, or leave this one out of the inventory.",
    )


def _tegra(snapshot: HostSnapshot) -> Refusal | None:
    # Jetson's Linux has one libcuda for every driver, and no other system has it by that name.
    libcuda = next(
        (path for path in snapshot.driver.other_libraries if path.endswith("/libcuda.so.1.1")), None
    )
    version = snapshot.driver.version or ""
    # 34.1.1, 35.3.1: releases of Jetson's Linux; the driver's own numbers have had three digits since 2008.
    number = f"driver {version}" if re.match(r"\d{1,2}\.", version) else None
    sign = snapshot.surroundings.tegra or libcuda or number
    if sign is None:
        return None
    return Refusal(
        f"this is a Jetson or another Tegra system ({sign}): gVisor serves discrete GPUs, and has no driver "
        "for the "
        "nodes of an integrated one",
        "Leave this host out of the inventory.",
    )


def refusal_of_jetsons_csv(snapshot: HostSnapshot) -> Refusal | None:
    """Why the shim's own directory for mode csv is not ours to write to; None where it may be."""
    files = [
        path for path in (paths.DEVICES_CSV, paths.DRIVERS_CSV) if _JETSONS.search(snapshot.text_of(path))
    ]
    # The shim reads that one beside ours, and would give its nodes to every container.
    files += [f"{paths.CSV_DIR}/{name}" for name in snapshot.surroundings.csv_files if name == "l4t.csv"]
    if not files:
        return None
    return Refusal(
        f"{', '.join(files)}: that is of NVIDIA's packages for Jetson, which nobody else may write",
        f"Remove those packages, if this is no Jetson, {DEDICATED_INSTEAD}.",
    )


def _not_loaded(driver: Driver) -> Refusal | None:
    if driver.version is not None:
        return None
    what = f"no NVIDIA driver is loaded ({paths.PROC_DRIVER}/version is not there)"
    if not driver.installed:
        return Refusal(
            what, "Install the driver, load it (modprobe nvidia), and run again; or leave this host out."
        )
    found = ", ".join(f"{version} ({where})" for where, version in driver.installed.items())
    return Refusal(
        f"{what}; installed is {found}",
        "Load it (modprobe nvidia) and run again; where that fails, 'dmesg | grep -i nvrm' says why: a "
        "module for "
        "another kernel, Secure Boot, or nouveau in its place.",
    )


def _without_gpu(snapshot: HostSnapshot) -> Refusal | None:
    version, gpus = snapshot.driver.version, snapshot.gpus
    if any(gpu.minor is not None for gpu in gpus):
        return None
    if gpus:
        return Refusal(
            f"the NVIDIA driver {version} tells of no GPU which device node is its own "
            f"({paths.PROC_DRIVER}/gpus/*/information has no Device Minor)",
            "Install a newer driver, or leave this host out.",
        )
    if snapshot.excluded_gpus:
        return Refusal(
            f"the NVIDIA driver {version} leaves every GPU of this host alone: "
            f"{', '.join(snapshot.excluded_gpus)}",
            "Take them out of NVreg_ExcludedGpus (/etc/modprobe.d) and reboot, or leave this host out.",
        )
    return Refusal(
        f"the NVIDIA driver {version} is loaded, but it has no GPU ({paths.PROC_DRIVER}/gpus is empty)",
        "Look for the reason with 'dmesg | grep -i nvrm', or leave this host out.",
    )


def _mig(snapshot: HostSnapshot) -> Refusal | None:
    if not snapshot.mig_gpus:
        return None
    return Refusal(
        f"{_gpus(snapshot.mig_gpus)} of this host is in MIG mode, and gVisor serves whole GPUs only",
        "Turn it off (nvidia-smi -i ADDRESS -mig 0, for each), or leave this host out.",
    )


def _libraries(snapshot: HostSnapshot) -> Refusal | None:
    driver = snapshot.driver
    version = driver.version
    libcuda = next((path for path in driver.libraries if "/libcuda.so" in path), None)
    if libcuda is None and driver.other_libraries:
        return _mismatch(driver)
    if libcuda is None:
        return Refusal(
            f"the kernel's NVIDIA driver is {version}, but the host's ldconfig knows no libcuda.so.{version}",
            "Install the driver's user-space packages of the same version, and run again.",
        )
    root = driver_root(snapshot.text_of(paths.TOOLKIT_CONFIG))
    if driver.by_linker or (root and libcuda.startswith(f"{root}/")):
        return None
    folder = libcuda.rpartition("/")[0]
    above, is_a_root, _ = folder.partition("/usr/lib")
    remedy = (
        f'Write root = "{above}" below [nvidia-container-cli] in {paths.TOOLKIT_CONFIG}'
        if above and is_a_root
        else f"Write {folder} into /etc/ld.so.conf.d/nvidia.conf and run ldconfig"
    )
    return Refusal(
        f"the libraries of the NVIDIA driver {version} are in {folder}, where neither the linker nor "
        "NVIDIA's "
        "container runtime looks",
        f"{remedy}, and run again.",
    )


def _mismatch(driver: Driver) -> Refusal:
    theirs = sorted({path.partition(".so.")[2] for path in driver.other_libraries})
    what = (
        f"the kernel runs the NVIDIA driver {driver.version}, and the libraries on the host are those of "
        f"{' and '.join(theirs)} ({driver.other_libraries[0]})"
    )
    if driver.version in driver.installed.values():
        return Refusal(
            f"{what}: only a part of the driver's packages was upgraded",
            f"Install its libraries of {driver.version}, or its kernel module of {theirs[0]} and reboot; "
            "then run again.",
        )
    return Refusal(
        f"{what}: it was upgraded, and the host not rebooted since",
        f"Reboot the host, which loads {theirs[0]}, or install the libraries of {driver.version} again; then "
        "run "
        "again.",
    )


def _gpus(addresses: Iterable[str]) -> str:
    return f"GPU {', '.join(addresses)}"
