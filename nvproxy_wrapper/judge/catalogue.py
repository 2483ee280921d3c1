"""The rules as data, for `rules` and docs/wrapper.md; not imported while a container waits."""

from __future__ import annotations

import json
from dataclasses import dataclass

from nvproxy_wrapper.judge.refused_flags import REFUSED, REFUSED_ANNOTATIONS
from nvproxy_wrapper.judge.rules.asked import CAPABILITIES, FEATURES
from nvproxy_wrapper.judge.settings import DEFAULTS, SETTINGS_PATH, allowed_values


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        id: as in actions and refusals.
        what: what it does.
        why: the reason; what happens without it.
        runsc: which releases need it.
        source: where the facts come from.
    """

    id: str
    what: str
    why: str
    runsc: str
    source: str


PREAMBLE = """\
The device list is the truth: where `/dev/nvidiactl` is in `linux.devices`, NVIDIA's runtime has done its
work, and the rules only take away. Nothing is added but read-only binds of files that are mounted already
(`hooks.emulate`), one environment entry (`env.void`), a file mode and one annotation.

Who shapes a container's spec, and what is believed of it:

- The author of the image: the environment, command and labels. `NVIDIA_VISIBLE_DEVICES` says which GPUs are
  wanted, which is NVIDIA's own interface, and where it is not set `CUDA_VERSION` may mean `all`; the answer
  is never more than the nodes that the host listed. `NVIDIA_CTK_LIBCUDA_DIR` would tell jit-cdi from csv and
  is not looked at: an image could then switch the narrowing of csv off.
- The user of the engine: environment, annotations (`docker run --annotation`, a pod's), mounts, `--device`,
  the command line. Annotations that change the sandbox go. A mount never makes a device or a hook, and may
  only ask for less. A node under one of NVIDIA's names has to be that very node.
- The engine, NVIDIA's runtime and the host's CDI files: hooks, device nodes, their mounts. They are root's
  own; still, a hook stays only where it is to the letter what NVIDIA's toolkit writes, as it runs as root on
  the host.
- Whoever may write into the bundle, the settings or `/proc` is root, and not guarded against.

Where a GPU is asked for and something is not understood, the container is refused and its spec left as it
was. It never falls back to another runtime.

A plain container whose spec needs no change is as under runsc alone: command line, streams, exit status, and
the environment, but for what a linker obeys (`LD_PRELOAD` and the like), GVISOR_SIDECAR_BINARIES_DIR and
GREP_OPTIONS. What is odd about its spec or its bundle, runsc sees for itself and says. Of the environment of
a GPU container, runsc and the hooks without one of their own get a fixed PATH, and USER, PWD,
XDG_RUNTIME_DIR, NOTIFY_SOCKET and LISTEN_* as they were. A signal ends the wrapper as it ends runsc, at once
and without a word; the spec is then the old one or the new one. Two things are not as under runsc: a SIGINT
in the millisecond in which Python starts and has a handler of its own ends it with Python's traceback, the
spec untouched; and in a working directory that was removed, the shell that /bin/sh is on the host (dash,
bash) says so on the error stream of every call, before it reads its program.

The *class* of a spec is what wrote it: `csv`, `cdi` and `jit-cdi` are the modes of NVIDIA's runtime that list
device nodes (jit-cdi is what `auto` means from toolkit 1.18 on), `legacy` the one that leaves a prestart hook
and lists nothing, `device-plugin` nodes that an engine or Kubernetes' plugin listed, `none` a plain
container, `mixed` more than one of these or a part of one. Other words: the *shim* is
`nvidia-container-runtime`, which edits the spec and calls runsc; the *gofer* is runsc's process that opens
the host's files for a sandbox; a *SONAME* is the name by which programs load a library, libcuda.so.1; the
*minor* is the N in /dev/nvidiaN, the *index* the number that NVML and nvidia-smi show."""

_DESIGN = "google/gvisor#12794"

RULES = (
    Rule(
        "env.void",
        "Every NVIDIA_VISIBLE_DEVICES is replaced by one `void`; where none is set, one is added.",
        "CDI edits append `void` to the image's value, up to toolkit 1.20.0. runsc 20260406 and later take"
        " the last but one of [all, void], want nvidia-container-cli and expose every GPU. Not set at all"
        " means `all` to NVIDIA's tools in an image with CUDA_VERSION.",
        "20260406 and later need it; harmless before",
        "gVisor 4750c79b8, runsc/specutils/nvidia.go; toolkit, internal/config/image; " + _DESIGN,
    ),
    Rule(
        "hooks.legacy",
        "The hooks nvidia-container-runtime-hook, nvidia-container-toolkit and oci-nvidia-hook are dropped"
        " where devices are listed (but for legacy.listed).",
        "Both paths at once give the union of their devices and mount everything twice; two binds of one"
        " socket kill the gofer.",
        "all",
        "gVisor, runsc/container/container.go; toolkit, internal/modifier/hook_remover.go",
    ),
    Rule(
        "hooks.allow",
        "Of NVIDIA's hooks only create-symlinks, update-ldcache, enable-cuda-compat and"
        " update-application-profile stay: at createContainer, with a program out of `trusted_hooks`, in"
        " the form `nvidia-ctk hook NAME` or `nvidia-cdi-hook NAME`, with the arguments and environment"
        " that NVIDIA's toolkit writes; update-ldcache with an ldconfig out of `trusted_ldconfig`. With"
        " `drop_update_ldcache` that one goes as well. And"
        " apply-cuda-memory-limits at createRuntime: hooks.memory. A hook of these programs with a name that"
        " is in no toolkit known here is dropped and said, and tells nothing about the class.",
        "A hook runs as root in the host's mount namespace, so a name alone (nvidia-ctk in /tmp) is no"
        " reason to run it, and neither is a known subcommand with an argument that makes it read a file"
        " or run a program of somebody's choice (--container-spec, --ldconfig-path)."
        " disable-device-node-modification is fatal in the nvidia-ctk form. Each one dropped is said.",
        "20260520 and later run hooks; earlier ones skip them",
        "gVisor ae18a84df, 8f3bcd05c, google/gvisor#13283; toolkit, internal/discover/hooks.go,"
        " cmd/nvidia-cdi-hook",
    ),
    Rule(
        "hooks.memory",
        "apply-cuda-memory-limits stays where NVIDIA_GPU_MEMORY_REQUEST or NVIDIA_GPU_MEMORY_LIMIT is set,"
        " with a --driver-root of the host or of NVIDIA's operator and the UUIDs of GPUs. Refused where one"
        " of them is set and the limit would not hold for this container alone: a GPU without this hook"
        " (older toolkits, CSV files, mode legacy), `hooks_run` false, a pod's container, --ignore-cgroups"
        " in `runsc_args`.",
        "The hook has NVML limit the cgroup of the process that runsc names to it, the sandbox: it and its"
        " gofer open the GPU. A pod shares one sandbox, so the last container's limit would be that of all.",
        "20260520 and later; earlier ones run createRuntime hooks too, but are not tried for it",
        "toolkit 1.20.1, cmd/nvidia-cdi-hook/apply-cuda-memory-limits, internal/info/cgroup; gVisor,"
        " runsc/container/container.go, State, createRoot, createSubcontainer",
    ),
    Rule(
        "hooks.emulate",
        "What a hook would have made that was dropped, for whatever reason (hooks.allow, `hooks_run` false,"
        " `drop_update_ldcache`), is bound, read-only: the links of each create-symlinks, and where no"
        " update-ldcache stays the SONAMEs of mounted libraries; not what a hook that stays will make, and"
        " nothing inside of another mount. With `hooks_run` false no NVIDIA hook is left. Refused: where a"
        " hook was dropped that would have seen to libcuda.so.1, and neither such a name can be bound nor a"
        " loader finds it there, which looks in /lib, /lib64 and the like and in LD_LIBRARY_PATH.",
        "Without them libcuda.so.1 is missing: only libcuda.so.570.124.06 is mounted. NVIDIA's operator,"
        " Talos, NixOS and DRA drivers have the hooks' programs elsewhere. What a link says is data, and"
        " harmless from any program. A bind needs a source, and no source is used that was not mounted"
        " already; a link to anything else is left out and said. The SONAME comes from the file's name, at"
        " create time from its ELF header on the host.",
        "all; without `hooks_run` those before 20260520",
        "gVisor, runsc/container/container.go before ae18a84df; tried with 20250503 to 20260518; glibc,"
        " elf/dl-load.c; NVIDIA/gpu-operator#375, siderolabs/extensions#1019",
    ),
    Rule(
        "devices.scope",
        "No GPU is given that was not asked for, in any class. What is asked is read in the spec as the"
        " engine wrote it, where that was kept, and otherwise in the spec itself: NVIDIA_VISIBLE_DEVICES"
        " (the last value in the kept spec, as the toolkit takes it; without the toolkit's own last `void`"
        " and each of several in the other), the variables of `swarm_resources` in its place, other"
        " DOCKER_RESOURCE_* that name GPUs, mounts under /var/run/nvidia-container-devices/, annotations"
        " cdi.k8s.io/*, CUDA_VERSION without NVIDIA_REQUIRE_CUDA. Of several places, one that says all gives"
        " way; two that mean different GPUs are refused. Each id is looked up in proc_driver: index (NVML"
        " order = PCI order), UUID, also shortened while it is the only one, and so behind nvidia.com/gpu=,"
        " runtime., management. and k8s.device-plugin.nvidia.com/gpu=. Nodes of other GPUs are removed, with"
        " their lines in linux.resources.devices, where it is known who listed them: csv mode, the toolkit"
        " where the kept spec lists none, or `--privileged` (the first rule of linux.resources.devices"
        " allows all; a GPU with a rule of its own was given). Else what the engine gave and what was asked"
        " for have to be the same GPUs, or it is refused; an image's `all` gives way to what the engine"
        " gave. Refused, too: an id that is not on this host, names several GPUs, or is a UUID that the"
        " driver does not know yet; a GPU whose node is not listed; ids without a readable proc_driver; no"
        " request at all beside a list that the toolkit made in csv mode; in csv mode a value beside `void`"
        " with toolkit 1.20.1 or later, or `all` beside it where toolkit_version does not say, unless"
        " apply-cuda-memory-limits hooks name just the GPUs listed; a MIG device.",
        "csv mode lists every GPU of its CSV files whatever was asked (1.13 to 1.18), or odd sets (1.20:"
        " `0` gives 0, 2 and 3); from 1.20.1 on `0`, `none` and `all` leave the same spec, and `void` stands"
        " in the place of the value that counted: an image's `all` is left of `--gpus device=0`. The index"
        " is not the minor on many machines, and two ids may be of one GPU, so that their number tells"
        " nothing. A device of the engine's and a variable of the image's are two requests, and neither is"
        " more right. Without a kept spec one with a lone `void` is taken as it is where nvproxy is on"
        " already and no node is left that a rewrite removes: that is this wrapper's own output.",
        "all",
        "toolkit, internal/config/image/cuda_image.go, internal/modifier/csv.go, pkg/nvcdi/lib-csv.go; moby,"
        " daemon/nvidia_linux.go; gVisor 05b7c55c1 (#9389)",
    ),
    Rule(
        "devices.mig",
        "Refused: a node /dev/nvidia-caps/nvidia-capN, listed or bound, of a MIG instance, unless the GPU"
        " that it is a part of was taken away by devices.scope. proc_driver's `capabilities` says what N is;"
        " where it does not, 0, 1 and 2 (nvlink, config, monitor) and what follows MIG's are none.",
        "Engines, plugins and `all` on a host in MIG mode name an instance by these nodes alone. Without them"
        " the container got its GPU whole, which in MIG mode no CUDA program can use. A privileged container"
        " lists the instances of the host, too: where there are any, their GPU is in that mode.",
        "all",
        "open-gpu-kernel-modules, kernel-open/nvidia/nv-caps.c; toolkit, internal/nvcaps;"
        " kubernetes-sigs/dra-driver-nvidia-gpu#787",
    ),
    Rule(
        "devices.igpu",
        "Refused: an integrated GPU like Orin's, told by the nodes of its driver nvgpu (/dev/nvgpu/,"
        " /dev/nvhost-gpu and the like) or by the driver's version (34 to 36, 540), where neither"
        " /dev/nvidia-uvm nor a GPU but nvidia0 is listed.",
        "gVisor has no driver for it; the nvidia0 that is beside it is the display's. Thor has NVIDIA's"
        " driver for discrete GPUs, and its CSV files name nvgpu's nodes all the same: what is not on the"
        " host gets into no spec. Its other nodes go by devices.dead.",
        "all",
        "toolkit, pkg/nvcdi/lib-csv_test.go, testdata/lookup/rootfs-orin, rootfs-thor-dgpu;"
        " dusty-nv/jetson-containers#1703, anduril/jetpack-nixos#510",
    ),
    Rule(
        "devices.dead",
        "Nodes that gVisor cannot serve are removed: nvidia-modeset, nvidia-uvm-tools, nvidia-caps, dri,"
        " gdrdrv, nvhost and the like, and a GPU under another name.",
        "They are dead in the sandbox: gVisor serves /dev/nvidiactl, /dev/nvidia-uvm and /dev/nvidiaN by"
        " these names.",
        "all",
        "gVisor, runsc/cmd/sandboxsetup/gofer_mount.go, ShouldExposeNvidiaDevice",
    ),
    Rule(
        "devices.mode",
        "fileMode is filled with 0666. Refused: /dev/nvidiaN that is not c 195:N, /dev/nvidiactl that is"
        " not c 195:255, /dev/nvidia-uvm that is not c with a dynamic major, any of them twice with"
        " different numbers, a path that is not plain.",
        "runsc before 20260223 panics where any node has no fileMode. A node with such a name and other"
        " numbers is another device: with --device /dev/nvidia3:/dev/nvidia0 one GPU would pass for"
        " another.",
        "fileMode: before 20260223; the check: all",
        "gVisor 231534428 (#12616); Linux, Documentation/admin-guide/devices.txt",
    ),
    Rule(
        "devices.exist",
        "Each node has to be on the host with the numbers that the spec gives, and none may be left out:"
        " /dev/nvidiactl where NVIDIA's hooks are, /dev/nvidia-uvm where a GPU is (but for Thor's, whose CSV"
        " files are NVIDIA's and name none). Where not, host"
        " preparation runs once; then it is refused.",
        "runsc binds the node by its path and says only EOF. NVIDIA's runtime lists what is on the host and"
        " leaves out the rest without a word, and CUDA fails inside. Nodes are looked at when a container is"
        " created, not by explain and rewrite.",
        "all",
        "gVisor, runsc/cmd/sandboxsetup/gofer_mount.go, SetupDev; " + _DESIGN,
    ),
    Rule(
        "mounts.nodev",
        "Every bind mount of a GPU container gets `nodev`, and an explicit `dev` goes; so does every bind of"
        " a pod's plain containers on a host whose proc_driver lists a GPU. Mounts of other types stay as"
        " they are. So does the root file system: runsc itself mounts it with nodev, which `runsc_args` may"
        " not undo.",
        "nvproxy opens /dev/nvidiaN for any N, through the container's /dev as it is on the host after its"
        " mounts, and there is no device cgroup. With -v /dev/nvidia1:/dev/nvidia1, -v /dev:/data, or a"
        " VOLUME over nodes in a layer of the image it opened GPUs that nobody had asked for, after `none`"
        " as well. The destination does not tell: it may lead through links in the image. What an image puts"
        " over /dev by such links closes also the GPUs that were asked for, and runsc then says only EOF.",
        "all",
        "gVisor, runsc/cmd/sandboxsetup/gofer_mount.go, pkg/sentry/devices/nvproxy/frontend.go,"
        " runsc/specutils/fs.go; tried on a virtual machine with 20260905",
    ),
    Rule(
        "mounts.dev",
        "Refused for a GPU container: a bind at /, /dev, /dev/nvidiactl, /dev/nvidia-uvm or /dev/nvidiaN; a"
        " recursive bind of a directory below which another mount without `nodev` has device nodes, as / has"
        " /dev. Which mounts there are is looked at when a container is created; explain and rewrite know"
        " only of /.",
        "Over /dev the GPU's own nodes cannot be made under `nodev`, and runsc says only EOF. A node as a"
        " volume asks for a GPU in a way that nobody counts, and under `nodev` it would be there and not"
        " open. `nodev` is set on the mount itself and not on those below it, so that -v /:/mnt:ro and a"
        " link in the image opened every GPU, after `none` as well.",
        "all",
        "gVisor, runsc/cmd/sandboxsetup/gofer_mount.go, SetupMounts and SetupDev; mount(2);"
        " tried with 20260905",
    ),
    Rule(
        "mounts.sockets",
        "Binds of NVIDIA's sockets and FIFOs (persistenced, fabricmanager, MPS) are removed: by name, at"
        " create time also by type.",
        "The gofer dies opening them: no such device or address.",
        "all",
        "gVisor PR 13383 and 14214; toolkit, internal/discover/ipc.go",
    ),
    Rule(
        "annotation.nvproxy",
        'dev.gvisor.internal.nvproxy: "true", and --nvproxy before the caller\'s arguments, for containers'
        " that ask for a GPU; with other `allowed_capabilities` than runsc's own default also"
        " --nvproxy-allowed-driver-capabilities, where this runsc has it.",
        "The annotation is kept in the container's state, so that `start` and `restore` know as well. For"
        " plain containers it is never set: it makes runsc open /dev/nvidiactl, and a broken driver would"
        " break them too.",
        "20231030 and later; before 20260525 nothing else turns nvproxy on",
        "gVisor 70783b4ce, 0bf82b30d, runsc/specutils/nvidia.go",
    ),
    Rule(
        "annotation.user",
        "dev.gvisor.* is removed from every container, and io.kubernetes.cri* from those of Docker (told by"
        " runsc's --root), unless `allow_user_annotations` is set; then those alone that undo the wrapper"
        " (at the end of this page). In a pod what gVisor's own containerd shim has written stays, to the"
        " letter: spec.cgroup-parent, worked out anew from linux.cgroupsPath;"
        " spec.mount.gvisorinternaldevshm.* from the mount at /dev/shm and the sandbox's id;"
        " spec.mount.NAME.* where its source is this very pod's"
        " /var/lib/kubelet/pods/UID/volumes/kubernetes.io~empty-dir/NAME.",
        "They change the sandbox, and who may run a container can set them. flag. and internal. set flags;"
        " bundle. overrides those that the host gives; spec.cgroup-parent leaves the cgroup that holds the"
        " limits; spec.rootfs. mounts any image on the host as the root; spec.mount. writes beside a mount's"
        " source. In Docker, which has no pods, the annotations of a pod's container name somebody's sandbox,"
        " and runsc joins it. Without the shim's own, a pod's containers no longer share /dev/shm and their"
        " emptyDirs, as the shim has made a tmpfs of them by then, and the sandbox is in the cgroup of the"
        " pause container. flag.host-uds goes, which the shim sets for a volume called gke-gcsfuse-tmp: it"
        " opens the host's sockets, and whoever writes a pod names its volumes.",
        "all",
        "gVisor, runsc/config/flags.go, runsc/specutils, tried by hand with 20260905; moby,"
        " daemon/runtime_unix.go; gVisor, pkg/shim/v1/runsc/service.go and pkg/shim/v1/utils/volumes.go,"
        " 20231106 to 20260905",
    ),
    Rule(
        "legacy.hook",
        "Where no devices are listed, of the hooks nvidia-container-runtime-hook, nvidia-container-toolkit"
        " and oci-nvidia-hook that one stays which NVIDIA's toolkit writes and runsc knows: at prestart,"
        " /usr/bin/nvidia-container-runtime-hook or the program of that name beside one of `trusted_hooks`,"
        " with its one argument `prestart`. Refused where a GPU is asked for and none of them is that one;"
        " the others are dropped, from every container, at every stage.",
        "runsc takes the hook for a request by its last name alone, wherever it lies, and does not run it."
        " nvidia-container-toolkit, as it was called up to 1.10, and the script around it are not known to"
        " runsc: it would run them as root on the host, for each container that has such a hook, and an"
        " engine that reads hooks out of a directory puts it on every one. The container would have no GPU.",
        "all; 20240305 and later take the hook for a request",
        "gVisor, runsc/specutils/nvidia.go and hooks.go; toolkit v1.10.0, oci-nvidia-hook.json,"
        " internal/modifier/stable.go",
    ),
    Rule(
        "legacy.env",
        "Of several values of NVIDIA_VISIBLE_DEVICES or NVIDIA_DRIVER_CAPABILITIES the last one is left."
        " Where mounts under /var/run/nvidia-container-devices/ or Swarm's variables ask for less, or a"
        " variable of `swarm_resources` asks in its place, it says what they ask for; refused where they ask"
        " for other GPUs.",
        "It is the one that NVIDIA's hook and runsc take; every reader now sees the same one. runsc does not"
        " read the others, and would hand out what an image's `all` says.",
        "all",
        "gVisor, runsc/specutils/nvidia.go; toolkit, internal/config/image/cuda_image.go",
    ),
    Rule(
        "legacy.capabilities",
        "NVIDIA_DRIVER_CAPABILITIES is clipped to `allowed_capabilities`; `all` becomes that list."
        " asked.capabilities says what is lost, and refuses where that is too much.",
        "runsc fails on a capability that it is not told to allow, late and unclear; left empty, the"
        " variable means its default.",
        "20240930 and later",
        "gVisor 3ca94ff9e, 9d6be7c51",
    ),
    Rule(
        "legacy.listed",
        "Nodes that an engine listed beside NVIDIA's hook (--device, --privileged), where a GPU is asked for"
        " in NVIDIA_VISIBLE_DEVICES and nothing of the toolkit's is there: they go, the hook stays. What"
        " counts is the variable, where it names the GPUs listed or every GPU is listed; of `all` and fewer"
        " nodes, the nodes. Else refused.",
        "The hook is the only one that brings libraries, and its program makes the nodes; both ways at once"
        " give the union of their devices.",
        "all",
        "gVisor, runsc/container/container.go, nvproxySetup, runsc/boot/vfs.go; nvidia-container-toolkit#48",
    ),
    Rule(
        "legacy.mig",
        "A MIG device in NVIDIA_VISIBLE_DEVICES is refused.",
        "gVisor cannot serve it, and says so only after the sandbox has started.",
        "all",
        "gVisor, runsc/specutils/nvidia.go, ParseNvidiaVisibleDevices",
    ),
    Rule(
        "legacy.cli",
        "Refused where nvidia-container-cli is not in runsc's PATH. Looked for when a container is created.",
        "runsc calls it to set the container up. The prestart hook itself stays: it is runsc's trigger,"
        " and runsc never runs it.",
        "all",
        "gVisor, runsc/container/container.go, nvProxyPreGoferHostSetup; " + _DESIGN,
    ),
    Rule(
        "pod.sandbox",
        "A CRI pod sandbox (containerd, CRI-O) gets annotation.nvproxy on a host whose proc_driver lists"
        " a GPU.",
        "runsc decides on GPU support for a whole pod at its sandbox, which asks for no GPU itself; from"
        " 20260126 on it panics when a GPU container joins another one. Of the annotations of containerd and"
        " CRI-O the first that is there counts, as in runsc. In Docker neither does (annotation.user).",
        "all",
        "google/gvisor#13620, #13621; containerd, pkg/cri/annotations; CRI-O, pkg/annotations",
    ),
    Rule(
        "asked.capabilities",
        "A capability that NVIDIA_DRIVER_CAPABILITIES asks for and `allowed_capabilities` has not is said."
        " Refused where nothing is left of what was asked for, or `utility` alone and what it"
        " lives by is gone (docs/gpu-modes.md). `all` is whatever is allowed. Where the variable is not set"
        " or empty, NVIDIA's `utility,compute` is meant, and one of the two is enough.",
        "Where devices are listed runsc does not read the variable: the sandbox has what the host allows, and"
        " NVENC or Vulkan fail in it without a word. In legacy mode runsc ends where more is asked for.",
        "all",
        "gVisor, runsc/specutils/nvidia.go, NVProxyDriverCapsFromEnv, runsc/boot/vfs.go,"
        " nvproxyRegisterDevices; toolkit, internal/config/image/capabilities.go",
    ),
    Rule(
        "asked.features",
        "A feature beside GPUs that gVisor does not serve is refused or said; docs/gpu-modes.md has the"
        " reason for each. Refused are nodes of such a feature without a GPU, as NVSwitches alone.",
        "The toolkit lists the nodes, gVisor binds none of them, and devices.dead removes them: it would be"
        " lost in silence.",
        "all",
        "gVisor, runsc/cmd/sandboxsetup/gofer_mount.go, ShouldExposeNvidiaDevice; toolkit,"
        " internal/modifier/cdi.go; NVIDIA/k8s-device-plugin, api/config/v1/imex.go,"
        " cmd/mps-control-daemon/mps/daemon.go",
    ),
    Rule(
        "pod.joined",
        "Refused: a GPU container that joins a pod sandbox without nvproxy, or one of which that cannot be"
        " told. runsc's state of the sandbox tells, ROOT/ID_sandbox:ID.state under its --root, and the"
        " sandbox's command line. Looked at when a container is created.",
        "From 20260126 on the sandbox panics and every container of the pod dies with it; before, there is no"
        " GPU. A sandbox is without nvproxy where the driver could not be read when it was made.",
        "all",
        "gVisor, runsc/boot/vfs.go, runsc/container/state_file.go, runsc/sandbox/sandbox.go, 20231106 to"
        " 20260905; tried with 20260905",
    ),
    Rule(
        "pod.privileged",
        "Where linux.resources.devices of a pod's container allows every device, those of NVIDIA's nodes stay"
        " that were given: by CDI, which adds a line for each behind that one, or by a device plugin, whose"
        " nodes are there twice. Where there are none, NVIDIA_VISIBLE_DEVICES tells (devices.scope); where"
        " that is not set either, the container has no GPU. Refused where traces of NVIDIA's toolkit say that"
        " there was a request, and nothing says which.",
        "For a privileged container an engine lists every node of the host, and a pod that was given one GPU,"
        " or none, opened all. privileged_without_host_devices = true in containerd's runtime handler keeps"
        " the engine from it.",
        "all",
        "containerd 2.2.0, internal/cri/server/container_create.go, pkg/oci/spec_opts.go; CDI library,"
        " pkg/cdi/container-edits.go",
    ),
    Rule(
        "spec.class",
        "Refused: a part of a GPU spec that cannot be repaired, hooks or GPU nodes of NVIDIA's without"
        " /dev/nvidiactl. A hook that runs nvidia-container-cli or NVIDIA's hook by way of another program"
        " is one of NVIDIA's, too: `ctr run --gpus` makes such a one. Said by themselves: nodes that are"
        " bind mounts, as rootless engines make them; /dev/dxg, the GPU of WSL 2,"
        " in the spec or, at create time, on a host without proc_driver.",
        "Half of a spec is somebody's mistake or an attack; neither starts as a container that was"
        " thought to have a GPU.",
        "all",
        _DESIGN,
    ),
    Rule(
        "spec.json",
        "Refused: a GPU container's config.json that is not JSON, or could be read in two ways: a name"
        " twice in an object, NaN, lone surrogates, more than 200 levels, more than 16 MiB, anything after"
        " its end, a field in another shape, or `Devices` for `devices`, which Go takes for the same. Where"
        " in no reading NVIDIA's name is in a hook or a node, nor an annotation of gVisor's or a pod's there,"
        " it is a plain container, and runsc gets it as it is.",
        "The rules would judge another spec than the one that runsc reads. Go reads two values of one name"
        " one into the other, so that words of both count.",
        "all",
        "Go, encoding/json; gVisor, runsc/specutils/specutils.go, ReadSpec",
    ),
    Rule(
        "settings",
        "Refused: a GPU container, where the settings file has an unknown key, a wrong value, a flag that"
        " undoes the wrapper, or may be written by others; where `allowed_capabilities` has a name that is"
        " not in `runsc_capabilities`, or fabric-imex-mgmt and proc_driver has no such capability.",
        "Nothing is known then of this host's runsc. Plain containers go on.",
        "all",
        "the settings below",
    ),
    Rule(
        "bundle.file",
        "Refused, for a GPU container and a plain one whose spec has to be changed: a bundle or config.json"
        " that may be written by others, is a link, or linked more than once; a bundle whose path has .."
        " behind a name; also where the new one cannot be written. Refused for whatever has a trace of"
        " NVIDIA, gVisor or a pod: a command line that may mean two bundles. Refused for all: a FIFO or a"
        " device in the place of config.json.",
        "The wrapper is root, and would write where somebody else points it, or give GPUs for what others"
        " may change. What it leaves alone it leaves to runsc, which reads config.json again, and by then it"
        " may be another one; but whoever can write it, or turn a link in its path, can have hooks of his"
        " choice run as root on the host, and gains no more by a GPU.",
        "all",
        "open(2), rename(2)",
    ),
    Rule(
        "bundle.kept",
        "What was asked for is read in the spec that the entry has kept in the bundle, as the engine wrote it"
        " (.config.json.asked). Refused: a GPU container whose kept spec is of an earlier creation, by"
        " NVPROXY_ENTRY or by its time; another container's, by its command, root, hostname, cgroup, mounts,"
        " nodes or annotations; a link, not root's, or open to others; or missing where NVPROXY_ENTRY is set."
        " Without both, the spec's own evidence serves.",
        "From 1.20.1 on the toolkit replaces the variable by `void`, and csv mode lists every GPU, whatever"
        " was asked: the request is gone from the spec. A request of another creation would give its GPUs to"
        " this one.",
        "all",
        "toolkit 1.20.1, CDI library 1.1.1, pkg/cdi/container-edits.go; toolkit, internal/oci",
    ),
    Rule(
        "wrapper.fault",
        "Refused: a GPU container that the wrapper itself fails on.",
        "A fault is no reason to let a spec through unjudged.",
        "all",
        "docs/architecture.md",
    ),
)


LOG_PAGE = """\
# The decision log

`/var/log/nvproxy-wrapper/decisions.jsonl`: one JSON line for each container that asked for a GPU or was
refused, and for each pod sandbox that got nvproxy (its `rules` have pod.sandbox); none where the settings
themselves cannot be read, as they say where the log is. A text has at most
256 letters, and what is not printable in it is escaped.

| key | what |
|---|---|
| `time` | when, UTC |
| `id` | the container's id, as Docker shows it; neither its image nor its user |
| `class` | of the spec |
| `pod`, `namespace`, `container` | in a pod: its name, its namespace, the container's name in it |
| `asked` | `"all"`, `"none"`, the ids as they were written, or null: nothing names any. In a pod, where CDI \
leaves no request, the names in its annotations cdi.k8s.io/*, or else the nodes that it gave |
| `given` | the device nodes of NVIDIA's that can be opened in it; null: only nvidia-container-cli knows |
| `rules` | the rules that changed something |
| `warnings` | what was asked for and is not given: `rule`, `asked`, `not_given`, `why` and `remedy` of each |
| `refused` | the rule that refused it, or null |
| `ms` | how long the decision took, in milliseconds |
| `pid` | of the process that became runsc |"""


_FLAGS = """\
What undoes the wrapper may stand neither in `runsc_args`, of these settings or of the inventory, nor, where
`allow_user_annotations` is set, in an annotation `dev.gvisor.flag.NAME`: there it is removed. *But* are the
values that change nothing. The flags that an engine gives are root's own and not looked at."""


def asked_tables() -> str:
    """What may be asked for beside GPUs, and what becomes of it: the part of docs/gpu-modes.md on that."""
    lines = ["| asked for | by | what gVisor lacks | what is lost | answer |", "|---|---|---|---|---|"]
    for feature in FEATURES:
        cells = (feature.name, feature.asked_by, feature.why, feature.lost, feature.answer)
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "| capability | what fails without it | alone, or beside `utility` alone |",
        "|---|---|---|",
    ]
    for name, capability in CAPABILITIES.items():
        answer = "refused; beside `utility` a warning" if capability.is_beside else "refused"
        lines.append(f"| `{name}` | {capability.fails} | {answer} |")
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """The text of docs/wrapper.md."""
    lines = ["# What the wrapper does to a spec", "", PREAMBLE, ""]
    lines += ["This page is made by `make docs` from `nvproxy_wrapper/judge/catalogue.py`.", ""]
    for rule in RULES:
        lines += [f"## {rule.id}", "", rule.what, "", f"**Why:** {rule.why}", ""]
        lines += [f"**runsc:** {rule.runsc}. **Source:** {rule.source}.", ""]
    lines += [LOG_PAGE, "", "# Settings", ""]
    lines += [f"`{SETTINGS_PATH}`, JSON; a key left out takes its default. The deploys write it: change the"]
    lines += [
        "inventory and not this file, or the next run undoes it. The defaults are the wrapper's own.",
        "",
    ]
    lines += ["| key | takes | default |", "|---|---|---|"]
    for key, allowed in allowed_values():
        lines.append(f"| `{key}` | {allowed} | `{json.dumps(getattr(DEFAULTS, key))}` |")
    lines += [
        "",
        "## Flags of runsc that are refused",
        "",
        _FLAGS,
        "",
        "| flag | but | why |",
        "|---|---|---|",
    ]
    for name, (but, why) in REFUSED.items():
        shown = f"`--{name}…`" if name.endswith("-") else f"`--{name}`"
        harmless = ", ".join(f"`{value}…`" for value in but) if but[:1] != ("f",) else "`false`"
        lines.append(f"| {shown} | {harmless} | {why} |")
    for name, why in REFUSED_ANNOTATIONS.items():
        lines.append(f"| the annotations `{name}…` | | {why} |")
    return "\n".join(lines) + "\n"
