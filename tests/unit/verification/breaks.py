"""Hosts broken in one way each: the answers of whole ones, changed in one place.

The lab's own broken hosts are in `answers/`; here stands what the lab cannot break, or what takes too long
there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploys.model import paths

if TYPE_CHECKING:
    from collections.abc import Callable

    Breaking = Callable[[dict[str, Any]], None]

CSV, AUTO = "csv_2_gpus", "auto_8_gpus"


@dataclass(frozen=True)
class Break:
    """One way to break a host.

    Attributes:
        check: the id of the one check that must turn red.
        how: in words.
        base: the answer of the whole host.
        apply: changes it in place.
        says: what its sentence must have in it.
        remedy: what its remedy must have in it.
    """

    check: str
    how: str
    base: str
    apply: Breaking
    says: str
    remedy: str


def at(*keys: str | int, value: Any) -> Breaking:
    """One place of the answer gets another value."""

    def apply(answer: dict[str, Any]) -> None:
        place: Any = answer
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return apply


def without(*keys: str | int) -> Breaking:
    """One place of the answer goes."""

    def apply(answer: dict[str, Any]) -> None:
        place: Any = answer
        for key in keys[:-1]:
            place = place[key]
        del place[keys[-1]]

    return apply


def said(part: str, name: str, old: str, new: str) -> Breaking:
    """What a command or a container printed has `new` in the place of `old`."""

    def apply(answer: dict[str, Any]) -> None:
        out = answer[part][name]["out"]
        assert old in out, f"{name} does not say {old!r}"
        answer[part][name]["out"] = out.replace(old, new)

    return apply


def in_all(way: str, old: str, new: str) -> Breaking:
    """The same in every container of a way in that says it."""

    def apply(answer: dict[str, Any]) -> None:
        hit = [run for name, run in answer["runs"].items() if name.startswith(way) and old in run["out"]]
        assert hit
        for run in hit:
            run["out"] = run["out"].replace(old, new)

    return apply


def both(*breakings: Breaking) -> Breaking:
    """Several changes that are one in the world."""

    def apply(answer: dict[str, Any]) -> None:
        for breaking in breakings:
            breaking(answer)

    return apply


def finding(subject: str, what: str, remedy: str) -> Breaking:
    """The wrapper's own check says no to one thing."""

    def apply(answer: dict[str, Any]) -> None:
        told = json.loads(answer["commands"]["chain"]["out"])
        mine = [one for one in told["findings"] if one["subject"] == subject]
        assert mine
        mine[0].update(answer="no", what=what, remedy=remedy)
        answer["commands"]["chain"].update(code=1, out=json.dumps(told))

    return apply


def did_not_start(name: str, sentence: str) -> Breaking:
    """A container that the runtime has refused."""
    return lambda answer: answer["runs"][name].update(code=1, out="", err=sentence)


def an_open_gpu(name: str) -> Breaking:
    """A container in which a GPU opens that was not asked for, where a driver is behind the nodes."""

    def apply(answer: dict[str, Any]) -> None:
        answer["opens"] = ""
        for run in answer["runs"].values():
            for line in [one for one in run["out"].splitlines() if one.startswith("device ")]:
                node = line.removeprefix("device /dev/")
                run["out"] = run["out"].replace("tried all", f"opens {node} /dev/{node}\ntried all")
        run = answer["runs"][name]
        run["out"] = run["out"].replace(
            "tried all", "opens nvidia7 /tmp/nvproxy-verify-made/nvidia7\ntried all"
        )

    return apply


def without_stand_ins(answer: dict[str, Any]) -> None:
    """The host as a real one: its modules are in the kernel, and CUDA is tried."""
    answer["marks"] = ["/sys/module/nvidia", "/sys/module/nvidia_uvm"]
    answer["commands"]["smi_help"]["out"] = "NVIDIA System Management Interface\n"


def real(*breakings: Breaking) -> Breaking:
    """A real host on which all is well, but for what follows."""

    def apply(answer: dict[str, Any]) -> None:
        without_stand_ins(answer)
        answer["opens"] = ""
        for run in answer["runs"].values():
            nodes = [line for line in run["out"].splitlines() if line.startswith("device /dev/")]
            opens = "".join(f"opens {line[12:]} {line[7:]}\n" for line in nodes)
            uuids = [
                line.partition("(UUID: ")[2].rstrip(")")
                for line in run["out"].splitlines()
                if "(UUID: " in line
            ]
            cuda = "".join(f"cuda gpu {uuid}\ncuda computes {uuid}\n" for uuid in uuids) + "cuda done\n"
            lines = [
                line
                for line in run["out"].splitlines(keepends=True)
                if not line.startswith(("cuda", "closed"))
            ]
            run["out"] = "".join(lines).replace("tried all\n", f"{opens}tried all\n{cuda if uuids else ''}")
        for breaking in breakings:
            breaking(answer)

    return apply


FIRST = "GPU-6c616200-0000-0000-0000-000000000000"
BREAKS = (
    Break(
        "host.driver",
        "no driver is loaded",
        CSV,
        at("look", "driver", "version", value=None),
        "no NVIDIA driver",
        "modprobe",
    ),
    Break(
        "host.modules",
        "nvidia-uvm is not loaded",
        CSV,
        real(at("marks", value=["/sys/module/nvidia"])),
        "nvidia_uvm is not in the kernel",
        "modprobe nvidia-uvm",
    ),
    Break(
        "host.nodes",
        "a node has another GPU's number",
        CSV,
        lambda answer: next(
            node for node in answer["look"]["nodes"] if node["path"] == "/dev/nvidia1"
        ).update(minor=0),
        "/dev/nvidia1 is 195:0, not 195:1",
        "nvproxy-device-nodes",
    ),
    Break(
        "host.libraries",
        "libraries of another version than the driver's",
        CSV,
        at("look", "driver", "links", value=[]),
        "libcuda.so.1 and libnvidia-ml.so.1 of driver 570.124.06",
        "reboot",
    ),
    Break(
        "host.nvidia-smi",
        "a GPU whose UUID the driver does not know",
        CSV,
        said("commands", "smi_list", FIRST, "N/A"),
        "nvidia-smi lists 1 GPUs with a UUID",
        "NVRM",
    ),
    Break(
        "host.nvidia-smi",
        "a GPU of question marks",
        CSV,
        said("commands", "smi_list", FIRST, "GPU-????????-????-????-????-????????????"),
        "nvidia-smi lists 1 GPUs with a UUID",
        "NVRM",
    ),
    Break(
        "host.supported",
        "runsc does not know the driver",
        CSV,
        at("commands", "drivers", "out", value="535.129.03\n"),
        "is not among the 1 that gVisor",
        "gvisor_release",
    ),
    Break(
        "toolkit.floor",
        "a toolkit that lets containers out",
        CSV,
        lambda answer: answer["look"]["packages"].update(
            dict.fromkeys(answer["look"]["packages"], "1.17.7-1")
        ),
        "1.17.7-1",
        "toolkit_version",
    ),
    Break(
        "toolkit.packages",
        "one of four packages is another's version",
        CSV,
        at("look", "packages", "libnvidia-container1", value="1.19.1-1"),
        "libnvidia-container1 is 1.19.1-1",
        "site.py",
    ),
    Break(
        "toolkit.packages",
        "a package is gone",
        CSV,
        without("look", "packages", "nvidia-container-toolkit-base"),
        "nvidia-container-toolkit-base is not installed",
        "site.py",
    ),
    Break(
        "toolkit.config",
        "a second runtime",
        AUTO,
        said("commands", "config", f'["{paths.LAUNCHER}"]', f'["{paths.LAUNCHER}", "runc"]'),
        "leads elsewhere than into gVisor",
        "Let nobody's code run",
    ),
    Break(
        "toolkit.config",
        "another mode",
        AUTO,
        said("commands", "config", 'mode = "auto"', 'mode = "legacy"'),
        'mode = "legacy"',
        "site.py",
    ),
    Break(
        "toolkit.specs",
        "devices.csv was edited",
        CSV,
        at("look", "files", paths.DEVICES_CSV, "sha256", value="0" * 64),
        "devices.csv is not as it was written",
        "site.py",
    ),
    Break(
        "gvisor.release",
        "another release is the current one",
        AUTO,
        at("look", "links", paths.GVISOR_CURRENT, value="/opt/gvisor/20240729"),
        "leads to /opt/gvisor/20240729",
        "site.py",
    ),
    Break(
        "gvisor.release",
        "a side binary was replaced",
        AUTO,
        lambda answer: answer["look"]["trees"].update(dict.fromkeys(answer["look"]["trees"], "0" * 64)),
        "not as it was installed",
        "site.py",
    ),
    Break(
        "gvisor.files",
        "a directory above runsc is everybody's",
        AUTO,
        finding(
            "runsc", "/opt/gvisor/current/runsc: /opt has mode 0777", "chown root /opt; chmod go-w /opt."
        ),
        "/opt has mode 0777",
        "Let nobody's code run",
    ),
    Break(
        "wrapper.files",
        "the launcher was replaced",
        AUTO,
        at("look", "files", paths.LAUNCHER, "sha256", value="0" * 64),
        "is not as it was written",
        "Let nobody's code run",
    ),
    Break(
        "wrapper.files",
        "the entry cannot be executed",
        AUTO,
        at("look", "files", paths.ENTRY, "mode", value=0o644),
        "has mode 0644",
        "site.py",
    ),
    Break(
        "wrapper.rewrite",
        "the wrapper leaves every GPU",
        AUTO,
        lambda answer: answer["commands"]["rewrite"].update(
            out=json.dumps({"gpus": [0, 1], "refusal": None})
        ),
        "it leaves [0, 1]",
        "explain",
    ),
    Break(
        "host.engine",
        "Docker has another path",
        AUTO,
        at("commands", "engine", "out", value='{"nvidia": {"path": "/usr/bin/runc"}}'),
        "nvidia: /usr/bin/runc",
        "reloads Docker",
    ),
    Break(
        "host.engine",
        "the runtime is loaded and no longer in daemon.json",
        AUTO,
        at("look", "files", paths.DAEMON_JSON, "text", value="{}"),
        "next reload loses it",
        "site.py",
    ),
    Break(
        "control.all",
        "the toolkit gives no library under runc",
        AUTO,
        said("runs", "control.all", "library libcuda.so.1", "library libother.so.1"),
        "libcuda.so.1 cannot be loaded",
        "does not work with runc either",
    ),
    Break(
        "docker.sandbox",
        "a container on the host's kernel",
        AUTO,
        said("runs", "docker.gpu-0", "kernel gvisor", "kernel other"),
        "docker.gpu-0: on the host's own kernel",
        "Let nobody's code run",
    ),
    Break(
        "bundle.sandbox",
        "a container whose process on the host is none of gVisor's, whatever its kernel log says",
        AUTO,
        at("runs", "bundle.all", "process", value="/usr/bin/sh"),
        "its process on the host is /usr/bin/sh",
        "Let nobody's code run",
    ),
    Break(
        "docker.gpu-0",
        "a GPU beyond the one asked for",
        AUTO,
        said("runs", "docker.gpu-0", "device /dev/nvidia0\n", "device /dev/nvidia0\ndevice /dev/nvidia3\n"),
        "it sees /dev/nvidia3",
        "did not narrow",
    ),
    Break(
        "bundle.none",
        "none gives a GPU",
        AUTO,
        said(
            "runs", "bundle.none", "device /dev/nvidiactl\n", "device /dev/nvidiactl\ndevice /dev/nvidia3\n"
        ),
        "it sees /dev/nvidia3",
        "did not narrow",
    ),
    Break(
        "docker.several",
        "of two GPUs one is missing",
        AUTO,
        said("runs", "docker.several", "device /dev/nvidia7\n", ""),
        "/dev/nvidia7 is missing",
        "decisions.jsonl",
    ),
    Break(
        "docker.uuid-7",
        "a UUID that the toolkit does not find",
        AUTO,
        did_not_start("docker.uuid-7", "unresolvable CDI devices runtime.nvidia.com/gpu=GPU-1"),
        "in no CDI specification",
        "nvidia-ctk cdi list",
    ),
    Break(
        "docker.gpu-7-of-all",
        "the image's variable wins",
        AUTO,
        said(
            "runs",
            "docker.gpu-7-of-all",
            "device /dev/nvidia7\n",
            "device /dev/nvidia6\ndevice /dev/nvidia7\n",
        ),
        "it sees /dev/nvidia6",
        "did not narrow",
    ),
    Break(
        "docker.opens",
        "a GPU opens by mknod that is not listed",
        AUTO,
        an_open_gpu("docker.gpu-0"),
        "in docker.gpu-0, /dev/nvidia7 opens",
        "did not narrow",
    ),
    Break(
        "bundle.opens",
        "a GPU opens for who asks for nothing",
        AUTO,
        an_open_gpu("bundle.nothing"),
        "in bundle.nothing, /dev/nvidia7 opens",
        "did not narrow",
    ),
    Break(
        "docker.libraries",
        "libcuda.so.1 is not in Docker's containers",
        AUTO,
        in_all("docker", "library libcuda.so.1", "library libother.so.1"),
        "libcuda.so.1 cannot be loaded by name",
        "decisions.jsonl",
    ),
    Break(
        "bundle.nvidia-smi",
        "nvidia-smi shows another GPU",
        AUTO,
        said("runs", "bundle.gpu-0", FIRST, FIRST[:-1] + "5"),
        "in bundle.gpu-0, nvidia-smi -L lists",
        "decisions.jsonl",
    ),
    Break(
        "docker.cuda",
        "CUDA does not start",
        AUTO,
        real(said("runs", "docker.all", "cuda done", "cuda failed cuInit 999 CUDA_ERROR_UNKNOWN")),
        "cuInit 999 CUDA_ERROR_UNKNOWN",
        "Xid",
    ),
    Break(
        "bundle.cuda",
        "CUDA has a GPU too few",
        AUTO,
        real(said("runs", "bundle.all", f"cuda gpu {FIRST}\ncuda computes {FIRST}\n", "")),
        "in bundle.all, CUDA has",
        "Xid",
    ),
    Break(
        "docker.nothing",
        "who asks for nothing sees a GPU",
        AUTO,
        said("runs", "docker.nothing", "version ", "device /dev/nvidia0\nversion "),
        "it sees /dev/nvidia0",
        "did not narrow",
    ),
    Break(
        "bundle.run",
        "run leads out of gVisor",
        AUTO,
        said("runs", "bundle.run", "kernel gvisor", "kernel other"),
        "on the host's own kernel",
        "Let nobody's code run",
    ),
    Break(
        "bundle.no-driver",
        "a plain container needs the driver",
        AUTO,
        did_not_start("bundle.no-driver", "failed to get Nvidia driver version"),
        "could not ask the NVIDIA driver",
        "nvidia-smi",
    ),
    Break(
        "bundle.no-launcher",
        "without the wrapper a container starts under runc",
        AUTO,
        lambda answer: answer["runs"]["bundle.no-launcher"].update(
            code=0, out=answer["runs"]["bundle.nothing"]["out"].replace("kernel gvisor", "kernel other")
        ),
        "a container started without the wrapper, on the host's own kernel",
        "nothing else",
    ),
    Break(
        "bundle.annotation",
        "an annotation reaches runsc",
        AUTO,
        did_not_start("bundle.annotation", "flag override disabled, use --allow-flag-override to enable it"),
        "flag override disabled",
        "",
    ),
    Break(
        "bundle.loader",
        "a hook has the container's environment",
        AUTO,
        at("runs", "bundle.gpu-0", "loaded", value=["/var/lib/nvproxy-fleet/verify/loader/x.123"]),
        "reaches programs that run as root",
        "Update the toolkit",
    ),
    Break(
        "host.mig",
        "a GPU is split",
        AUTO,
        said(
            "commands",
            "smi_list",
            "\nGPU 1",
            "\n  MIG 1g.10gb     Device  0: (UUID: MIG-6c616200-0000-0000-0000-000000000001)\nGPU 1",
        ),
        "1 MIG instances",
        "nvidia-smi -mig 0",
    ),
    Break(
        "host.files",
        "the unit for the next boot is gone",
        AUTO,
        without("look", "files", paths.DEVICE_NODES_UNIT),
        "is gone",
        "site.py",
    ),
)
