"""Runs in a verification container: which device nodes open, and whether CUDA works.

Prints lines of a word and what was found; `deploys.model.sight` reads them. Python 3.8, standard library
only, and no single module more than is needed: it starts once in each container.

CUDA is the driver API by ctypes, as it needs no more than libcuda.so.1. Names and constants: NVIDIA, cuda.h.
"""

import ctypes
import errno
import os
import stat

MINORS = range(32)
VOLUME = "/nvproxy-verify-nodes"
CONTROL_MINOR = 255
NVIDIA_MAJOR = 195
# Any GPU of the last ten years runs it: the driver compiles it for the one that is there.
PTX = b"""
.version 6.0
.target sm_50
.address_size 64
.visible .entry add(.param .u64 pa, .param .u64 pb, .param .u64 pc, .param .u32 pn)
{
    .reg .pred %p<2>;
    .reg .b32 %r<6>;
    .reg .f32 %f<4>;
    .reg .b64 %d<11>;
    ld.param.u64 %d1, [pa];
    ld.param.u64 %d2, [pb];
    ld.param.u64 %d3, [pc];
    ld.param.u32 %r1, [pn];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    setp.ge.u32 %p1, %r5, %r1;
    @%p1 bra DONE;
    mul.wide.u32 %d4, %r5, 4;
    cvta.to.global.u64 %d5, %d1;
    cvta.to.global.u64 %d6, %d2;
    cvta.to.global.u64 %d7, %d3;
    add.s64 %d8, %d5, %d4;
    add.s64 %d9, %d6, %d4;
    add.s64 %d10, %d7, %d4;
    ld.global.f32 %f1, [%d8];
    ld.global.f32 %f2, [%d9];
    add.f32 %f3, %f1, %f2;
    st.global.f32 [%d10], %f3;
DONE:
    ret;
}
"""
LENGTH = 4096
BLOCK = 256


def say(*words):
    """One line."""
    print(*words, flush=True)


def reason_not_to_open(path):
    """The name of the error with which a node does not open; None where it does."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    return None


def made(directory, name, minor):
    """The path of a node of these numbers, made here; None where that is not allowed."""
    path = directory + "/" + name
    try:
        os.makedirs(directory, exist_ok=True)
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(NVIDIA_MAJOR, minor))
    except OSError:
        return None
    return path


def open_everything():
    """Say of every node of NVIDIA's that opens by which path it did, and that all were tried."""
    names = [("nvidiactl", CONTROL_MINOR)] + [("nvidia%d" % minor, minor) for minor in MINORS]
    for name, minor in names:
        places = ["/dev/" + name, made("/tmp/nvproxy-verify-made", name, minor), VOLUME + "/" + name]
        for path in filter(None, places):
            why = reason_not_to_open(path)
            if why is None:
                say("opens", name, path)
            elif why != "ENOENT":
                say("closed", name, path, why)
    why = reason_not_to_open("/dev/nvidia-uvm")
    say(*(("opens", "nvidia-uvm", "/dev/nvidia-uvm") if why is None else ("closed", "nvidia-uvm", "-", why)))
    say("tried all")


class Failed(Exception):
    """A call of the driver API did not succeed."""


class Cuda:
    """libcuda.so.1; a call that does not return 0 is a Failed with its name and CUDA's own word for it."""

    def __init__(self):
        self.library = ctypes.CDLL("libcuda.so.1")

    def __call__(self, name, *arguments):
        status = getattr(self.library, name)(*arguments)
        if status:
            text = ctypes.c_char_p()
            if hasattr(self.library, "cuGetErrorName"):
                self.library.cuGetErrorName(status, ctypes.byref(text))
            raise Failed("%s %d %s" % (name, status, (text.value or b"").decode()))


def uuid_of(cuda, device):
    """As nvidia-smi writes it."""
    raw = (ctypes.c_ubyte * 16)()
    # _v2 tells MIG instances apart, and is there from CUDA 11.4 on.
    name = "cuDeviceGetUuid_v2" if hasattr(cuda.library, "cuDeviceGetUuid_v2") else "cuDeviceGetUuid"
    cuda(name, raw, device)
    digits = bytes(raw).hex()
    return "GPU-%s-%s-%s-%s-%s" % (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])


def add_vectors(cuda, device):
    """Copy two vectors to a GPU, add them there, and compare what comes back.

    Raises:
        Failed: a call did not succeed, or the sum is wrong.
    """
    context = ctypes.c_void_p()
    cuda("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    try:
        cuda("cuCtxSetCurrent", context)
        size = ctypes.c_size_t(LENGTH * 4)
        vector = ctypes.c_float * LENGTH
        first, second = vector(*range(LENGTH)), vector(*(3 * n for n in range(LENGTH)))
        back = vector()
        on_gpu = [ctypes.c_uint64() for _ in range(3)]
        for place in on_gpu:
            cuda("cuMemAlloc_v2", ctypes.byref(place), size)
        cuda("cuMemcpyHtoD_v2", on_gpu[0], first, size)
        cuda("cuMemcpyHtoD_v2", on_gpu[1], second, size)
        cuda("cuMemcpyDtoH_v2", back, on_gpu[1], size)
        if list(back) != list(second):
            raise Failed("copy there and back: other data came back")
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        cuda("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(PTX))
        cuda("cuModuleGetFunction", ctypes.byref(function), module, b"add")
        length = ctypes.c_uint32(LENGTH)
        values = [*on_gpu, length]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        blocks = (LENGTH + BLOCK - 1) // BLOCK
        cuda("cuLaunchKernel", function, blocks, 1, 1, BLOCK, 1, 1, 0, None, pointers, None)
        cuda("cuCtxSynchronize")
        cuda("cuMemcpyDtoH_v2", back, on_gpu[2], size)
        if list(back) != [4.0 * n for n in range(LENGTH)]:
            raise Failed("vector add: the sum is wrong")
        for place in on_gpu:
            cuda("cuMemFree_v2", place)
    finally:
        cuda("cuDevicePrimaryCtxRelease_v2", device)


def compute():
    """Say which GPUs CUDA has, of each whether it computes, and what failed."""
    try:
        cuda = Cuda()
        cuda("cuInit", 0)
        version, count = ctypes.c_int(), ctypes.c_int()
        cuda("cuDriverGetVersion", ctypes.byref(version))
        cuda("cuDeviceGetCount", ctypes.byref(count))
        say("cuda version", version.value)
        for index in range(count.value):
            device = ctypes.c_int()
            cuda("cuDeviceGet", ctypes.byref(device), index)
            name = uuid_of(cuda, device)
            say("cuda gpu", name)
            add_vectors(cuda, device)
            say("cuda computes", name)
    except (Failed, OSError, AttributeError) as error:
        say("cuda failed", str(error).replace("\n", " "))
    else:
        say("cuda done")


open_everything()
if any(os.path.exists("/dev/nvidia%d" % minor) for minor in MINORS):
    compute()
