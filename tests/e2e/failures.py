"""Ways to break a host or a request, so that no GPU container starts, and what must be said of each."""

from __future__ import annotations

from dataclasses import dataclass

ENTRY = "/usr/local/bin/nvproxy-container-runtime"
LAUNCHER = "/usr/local/bin/nvproxy-runsc"
SHIM = "/usr/bin/nvidia-container-runtime"
CONFIG = "/etc/nvidia-container-runtime/config.toml"
SETTINGS = "/etc/nvproxy-wrapper/settings.json"
WRAPPER = "/opt/nvproxy-wrapper/current"


@dataclass(frozen=True)
class Failure:
    """One failure.

    Attributes:
        id: of the known failure that must be found; `chain` where the chain's own sentence says all.
        host: on which; gpu-a has Docker 20.10 and mode csv, gpu-b a current one and mode auto.
        breaking: a shell line; empty where the request alone is at fault.
        mending: the line that undoes it.
        options: of `docker run`.
        gpus: what NVIDIA_VISIBLE_DEVICES says.
        command: what is run in the container.
        runtime: the runtime that Docker is asked for; empty for none.
        image: another image than verify's.
        words: what the cause or the remedy must hold.
    """

    id: str
    host: str = "gpu-a"
    breaking: str = ""
    mending: str = ""
    options: tuple[str, ...] = ()
    gpus: str = "0"
    command: tuple[str, ...] = ("true",)
    runtime: str = "nvidia"
    image: str = ""
    words: str = ""


def _moved(path: str, into: str = "/root") -> dict[str, str]:
    name = path.rsplit("/", 1)[1]
    return {"breaking": f"mv {path} {into}/{name}", "mending": f"mv {into}/{name} {path}"}


def _edited(path: str, sed: str) -> dict[str, str]:
    """`cp -p` back and forth, as sed writes a new file that may have another mode."""
    return {
        "breaking": f"cp -p {path} /root/kept && sed -i '{sed}' {path}",
        "mending": f"cp -p /root/kept {path} && rm /root/kept",
    }


FAILURES = {
    "the launcher is gone": Failure("launcher-missing", **_moved(LAUNCHER)),
    "the launcher is not executable": Failure(
        "launcher-missing", breaking=f"chmod 644 {LAUNCHER}", mending=f"chmod 755 {LAUNCHER}"
    ),
    "the entry is gone": Failure("entry-missing", **_moved(ENTRY)),
    "the entry is not executable": Failure(
        "entry-missing", "gpu-b", breaking=f"chmod 644 {ENTRY}", mending=f"chmod 755 {ENTRY}"
    ),
    "NVIDIA's runtime is gone": Failure("chain", words=SHIM, **_moved(SHIM)),
    "the wrapper's package is gone": Failure(
        "chain", breaking=f"mv {WRAPPER} {WRAPPER}.away", mending=f"mv {WRAPPER}.away {WRAPPER}"
    ),
    "the settings have an unknown key": Failure(
        "chain", words="runsk", **_edited(SETTINGS, '1s/{/{"runsk": 1,/')
    ),
    "others may write the settings": Failure(
        "chain", words="chmod", breaking=f"chmod 666 {SETTINGS}", mending=f"chmod 644 {SETTINGS}"
    ),
    "runsc is gone": Failure(
        "chain",
        "gpu-b",
        breaking="mv /opt/gvisor/current /opt/gvisor/away",
        mending="mv /opt/gvisor/away /opt/gvisor/current",
        words="runsc",
    ),
    "a device node is gone and cannot be made": Failure(
        "chain",
        breaking="mv /dev/nvidia0 /root/ && mv /usr/local/bin/nvproxy-device-nodes /root/",
        mending="mv /root/nvproxy-device-nodes /usr/local/bin/; mv /root/nvidia0 /dev/",
        words="nvidia0",
    ),
    "a GPU that csv does not take": Failure("csv-id", gpus="7"),
    "a GPU that the host has not": Failure("gpu-not-there", "gpu-b", gpus="31"),
    "a GPU by a UUID of nobody's": Failure(
        "gpu-not-there", "gpu-b", gpus="GPU-00000000-0000-0000-0000-0000000000ff"
    ),
    "a MIG device of nobody's": Failure(
        "gpu-not-there", "gpu-b", gpus="MIG-00000000-0000-0000-0000-0000000000ff"
    ),
    "the driver's NVML is gone": Failure(
        "nvml",
        "gpu-b",
        breaking="mkdir /root/nvml && mv /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.* /root/nvml/",
        mending="mv /root/nvml/* /usr/lib/x86_64-linux-gnu/ && rmdir /root/nvml",
    ),
    "config.toml names a mode that is none": Failure(
        "toolkit-mode", "gpu-b", **_edited(CONFIG, 's/^mode = .*/mode = "fast"/')
    ),
    "config.toml is no TOML": Failure("toolkit-config", "gpu-b", **_edited(CONFIG, "1s/^/[[[/")),
    "config.toml names runsc itself": Failure(
        "driver-silent",
        "gpu-b",
        **_edited(CONFIG, 's|^runtimes = .*|runtimes = ["/opt/gvisor/current/runsc"]|'),
    ),
    "the image asks for a newer CUDA": Failure(
        "requirement", options=("-e", "NVIDIA_REQUIRE_CUDA=cuda>=99.0"), words="cuda>=99.0"
    ),
    "--gpus, where Docker knows no hook": Failure("gpus-no-driver", runtime="", options=("--gpus", "all")),
    "a runtime that Docker has not": Failure("runtime-unknown", runtime="nvidia2", words="nvidia2"),
    "the same, on a current Docker": Failure("runtime-unknown", "gpu-b", runtime="nvidia2", words="nvidia2"),
    "dockerd is stopped": Failure(
        "engine-down",
        breaking="systemctl stop docker.socket docker",
        mending="systemctl start docker.socket docker",
    ),
    "an image that is not there": Failure(
        "image-missing", options=("--pull=never",), image="nowhere/nothing:1"
    ),
    "a driver that runsc does not support": Failure(
        "driver-unsupported",
        words="570.99.99",
        **_edited(SETTINGS, "s/nvproxy-driver-version=[0-9.]*/nvproxy-driver-version=570.99.99/"),
    ),
    "a launcher without its first line": Failure("exec-format", **_edited(LAUNCHER, "1d")),
    "an entry without its first line": Failure("exec-format", "gpu-b", **_edited(ENTRY, "1d")),
    "a volume with shared propagation": Failure("mount-propagation", options=("-v", "/tmp:/there:shared")),
    "a program that the image has not": Failure("program-missing", command=("frobnicate",)),
}
