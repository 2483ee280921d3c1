/* A stand-in for NVIDIA's NVML, for lab hosts that have no GPU. It answers what the NVIDIA Container Toolkit asks while it writes a
 * CDI specification, and what nvidia-smi -L shows; every other function of nvml.h is a weak stub that returns
 * NVML_ERROR_NOT_SUPPORTED (made from the header when this is compiled).
 *
 * Where its GPUs come from, the first of these that there is (lab_source() says which):
 *   1. the pretend driver, where it answers behind /dev/nvidiactl: kernel/ on a host that is a virtual machine, nvproxy in a sandbox. A GPU
 *      counts when its node opens. As the real library does on a host, it has nvidia-modprobe load the driver and make the nodes that
 *      are missing; nvidia-uvm never: that is CUDA's.
 *   2. the lines "MINOR UUID PCI-BUS-ID" of GPUS_FILE, in NVML's order: a host that is a container.
 *   3. the nodes /dev/nvidia0, 1, ... that are there, with the same UUIDs, for a UUID is made of the minor: a list that a container
 *      prints can be compared with the host's.
 *
 * Only functions that have been in glibc for ever are called (no strtol: its symbol depends on the compiler's language version; no
 * stat(): glibc before 2.33 has none), so that what a newer machine compiles still loads in an older host and in an older image. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define NVML_NO_UNVERSIONED_FUNC_DEFS 1
#include "nvml.h"

#include "nodes.h"

#define GPUS_FILE "/etc/nvproxy-lab/gpus"
#define MAX_GPUS 64
#define CUDA_VERSION 12080

const char *lab_source(void);

#define MIG_UUID "MIG-6c616200-0000-0000-%04x-%012x" /* of the instance and the GPU's minor */
#define MIG_DIRECTORY "/proc/driver/nvidia/capabilities/gpu%u/mig"
#define MAX_INSTANCES 7

/* A GPU, or a MIG device: then `gpu` is the one that it is a part of. */
struct nvmlDevice_st {
    unsigned int index, minor;
    char uuid[64], bus_id[32];
    struct nvmlDevice_st *gpu;
    unsigned int instance;       /* of a MIG device: gi1, gi2, ..., each with ci0 */
    unsigned int mig, mig_count; /* of a GPU: whether MIG is on, and its MIG devices */
};

static struct nvmlDevice_st gpus[MAX_GPUS], mig_devices[MAX_GPUS][MAX_INSTANCES];
static unsigned int gpu_count;
static const char *source = "nothing";

const char *lab_source(void) { return source; }

/* The driver. Each call's numbers and parameters: kernel/nvidia-abi.h. nvproxy forwards all of them (gVisor 20260905,
 * pkg/sentry/devices/nvproxy/version.go). */

static int rm_alloc(int control, unsigned int client, unsigned int parent, unsigned int class, void *params, unsigned int size,
                    unsigned int *object)
{
    struct nv_rm_alloc request = {
        .root = client, .parent = parent, .class = class, .params = (__u64)(uintptr_t)params, .params_size = size};
    int well = !ASK(control, NV_ESC_RM_ALLOC, request) && request.status == NV_OK;

    *object = request.object;
    return well;
}

static int rm_control(int control, unsigned int client, unsigned int object, unsigned int cmd, void *params, unsigned int size)
{
    struct nv_rm_control request = {
        .client = client, .object = object, .cmd = cmd, .params = (__u64)(uintptr_t)params, .params_size = size};

    return !ASK(control, NV_ESC_RM_CONTROL, request) && request.status == NV_OK;
}

/* The UUID, as the driver tells it of a GPU that is a device of ours. */
static int ask_uuid(int control, unsigned int client, unsigned int gpu_id, struct nvmlDevice_st *gpu)
{
    struct nv_id_info_v2 info = {.gpu_id = gpu_id};
    struct nv_device_params device_params = {0};
    struct nv_subdevice_params subdevice_params = {0};
    struct nv_gid_info gid = {.flags = NV_UUID_FORMAT_ASCII};
    unsigned int device, subdevice;

    if (!rm_control(control, client, client, NV0000_GPU_GET_ID_INFO_V2, &info, sizeof info))
        return 0;
    device_params.device_id = info.device_instance;
    if (!rm_alloc(control, client, client, NV01_DEVICE_0, &device_params, sizeof device_params, &device) ||
        !rm_alloc(control, client, device, NV20_SUBDEVICE_0, &subdevice_params, sizeof subdevice_params, &subdevice) ||
        !rm_control(control, client, subdevice, NV2080_GPU_GET_GID_INFO, &gid, sizeof gid))
        return 0;
    snprintf(gpu->uuid, sizeof gpu->uuid, "%.*s", (int)sizeof gpu->uuid - 1, (const char *)gid.data);
    return 1;
}

/* On the host only: no sandbox has these files, and nvproxy has no MIG. */
static void find_mig_devices(struct nvmlDevice_st *gpu)
{
    struct nvmlDevice_st *devices = mig_devices[gpu->index];
    char path[96];

    snprintf(path, sizeof path, MIG_DIRECTORY, gpu->minor);
    gpu->mig = !access(path, F_OK);
    for (gpu->mig_count = 0; gpu->mig_count < MAX_INSTANCES; gpu->mig_count++) {
        struct nvmlDevice_st *device = &devices[gpu->mig_count];

        snprintf(path, sizeof path, MIG_DIRECTORY "/gi%u/access", gpu->minor, gpu->mig_count + 1);
        if (access(path, F_OK))
            break;
        *device = *gpu;
        device->gpu = gpu;
        device->index = gpu->mig_count;
        device->instance = gpu->mig_count + 1;
        snprintf(device->uuid, sizeof device->uuid, MIG_UUID, device->instance, gpu->minor);
    }
}

static void ask_card(int control, unsigned int client, const struct nv_card_info *card)
{
    struct nvmlDevice_st *gpu = &gpus[gpu_count];
    struct nv_register_fd request = {.ctl_fd = control};
    char path[32];
    int node;

    snprintf(path, sizeof path, GPU_NODE, card->minor_number);
    if ((node = open_node(path, card->minor_number)) < 0)
        return;
    gpu->minor = card->minor_number;
    snprintf(gpu->bus_id, sizeof gpu->bus_id, "%08X:%02X:%02X.0", card->domain, card->bus, card->slot);
    if (!ASK(node, NV_ESC_REGISTER_FD, request) && ask_uuid(control, client, card->gpu_id, gpu)) {
        gpu->index = gpu_count++;
        find_mig_devices(gpu);
    }
    close(node);
}

/* A real driver may be behind the nodes, where the lab's machine has GPUs: that one is left alone. */
static int is_of_the_lab(const struct nv_card_info *cards)
{
    int found = 0;

    for (int i = 0; i < NV_MAX_DEVICES; i++) {
        if (cards[i].valid && cards[i].device_id != LAB_PCI_DEVICE)
            return 0;
        found |= cards[i].valid;
    }
    return found;
}

static nvmlReturn_t ask_control_node(int control)
{
    struct nv_version version = {.cmd = NV_VERSION_CMD_STRICT, .text = DRIVER_VERSION};
    struct nv_card_info cards[NV_MAX_DEVICES] = {{0}};
    unsigned int client;

    if (ASK(control, NV_ESC_CARD_INFO, cards) || !is_of_the_lab(cards))
        return NVML_ERROR_DRIVER_NOT_LOADED;
    if (ASK(control, NV_ESC_CHECK_VERSION_STR, version))
        return version.reply == NV_VERSION_REPLY_RECOGNIZED ? NVML_ERROR_LIB_RM_VERSION_MISMATCH : NVML_ERROR_UNKNOWN;
    if (!rm_alloc(control, 0, 0, NV01_ROOT_CLIENT, NULL, 0, &client))
        return NVML_ERROR_UNKNOWN;
    for (int i = 0; i < NV_MAX_DEVICES; i++)
        if (cards[i].valid)
            ask_card(control, client, &cards[i]);
    return NVML_SUCCESS;
}

/* NVML_ERROR_DRIVER_NOT_LOADED: no driver of the lab answers here. */
static nvmlReturn_t ask_driver(void)
{
    int control = open_node(CONTROL_NODE, NV_MINOR_CONTROL);
    nvmlReturn_t result;

    if (control < 0)
        return NVML_ERROR_DRIVER_NOT_LOADED;
    result = ask_control_node(control);
    close(control); /* and with it the client */
    return result;
}

/* Without a driver. */

static int read_gpus_file(void)
{
    FILE *file = fopen(GPUS_FILE, "re");
    char line[256];

    if (!file)
        return 0;
    while (gpu_count < MAX_GPUS && fgets(line, sizeof line, file)) {
        struct nvmlDevice_st *gpu = &gpus[gpu_count];
        char *minor = strtok(line, " \n"), *uuid = strtok(NULL, " \n"), *bus_id = strtok(NULL, " \n");

        if (!bus_id)
            continue;
        gpu->minor = 0;
        for (; *minor; minor++)
            gpu->minor = gpu->minor * 10 + (unsigned int)(*minor - '0');
        snprintf(gpu->uuid, sizeof gpu->uuid, "%s", uuid);
        snprintf(gpu->bus_id, sizeof gpu->bus_id, "%s", bus_id);
        gpu->index = gpu_count++;
    }
    fclose(file);
    return 1;
}

static void find_nodes(void)
{
    for (unsigned int minor = 0; minor < MAX_GPUS; minor++) {
        struct nvmlDevice_st *gpu = &gpus[gpu_count];
        char path[32];
        struct stat node;

        snprintf(path, sizeof path, GPU_NODE, minor);
        if (syscall(SYS_stat, path, &node) || !S_ISCHR(node.st_mode) || major(node.st_rdev) != NV_MAJOR)
            continue;
        gpu->minor = minor;
        snprintf(gpu->uuid, sizeof gpu->uuid, LAB_UUID, minor);
        snprintf(gpu->bus_id, sizeof gpu->bus_id, "00000000:%02X:00.0", minor + 1);
        gpu->index = gpu_count++;
    }
}

static nvmlReturn_t put(char *to, unsigned int length, const char *text)
{
    if (strlen(text) >= length)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(to, text);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlInit_v2(void)
{
    nvmlReturn_t result;

    memset(gpus, 0, sizeof gpus);
    gpu_count = 0;
    result = ask_driver();
    if (result != NVML_ERROR_DRIVER_NOT_LOADED)
        return source = "the driver", result;
    if (read_gpus_file())
        return source = GPUS_FILE, NVML_SUCCESS;
    find_nodes();
    return source = "the nodes that are there", gpu_count ? NVML_SUCCESS : NVML_ERROR_DRIVER_NOT_LOADED;
}

nvmlReturn_t nvmlInit(void) { return nvmlInit_v2(); }
nvmlReturn_t nvmlInitWithFlags(unsigned int flags) { return (void)flags, nvmlInit_v2(); }
nvmlReturn_t nvmlShutdown(void) { return NVML_SUCCESS; }

const char *nvmlErrorString(nvmlReturn_t result)
{
    switch (result) {
    case NVML_SUCCESS: return "Success";
    case NVML_ERROR_NOT_SUPPORTED: return "Not Supported (by the lab's stand-in)";
    case NVML_ERROR_NOT_FOUND: return "Not Found";
    case NVML_ERROR_INVALID_ARGUMENT: return "Invalid Argument";
    case NVML_ERROR_DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length) { return put(version, length, DRIVER_VERSION); }
nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned int length) { return put(version, length, "12." DRIVER_VERSION); }
nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) { return *version = CUDA_VERSION, NVML_SUCCESS; }
nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) { return *version = CUDA_VERSION, NVML_SUCCESS; }

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) { return *count = gpu_count, NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetCount(unsigned int *count) { return nvmlDeviceGetCount_v2(count); }

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device)
{
    if (index >= gpu_count)
        return NVML_ERROR_INVALID_ARGUMENT;
    return *device = &gpus[index], NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned int index, nvmlDevice_t *device) { return nvmlDeviceGetHandleByIndex_v2(index, device); }

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device)
{
    for (unsigned int index = 0; index < gpu_count; index++) {
        if (!strcmp(gpus[index].uuid, uuid))
            return *device = &gpus[index], NVML_SUCCESS;
        for (unsigned int number = 0; number < gpus[index].mig_count; number++)
            if (!strcmp(mig_devices[index][number].uuid, uuid))
                return *device = &mig_devices[index][number], NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length) { return put(uuid, length, device->uuid); }
nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length) { return (void)device, put(name, length, LAB_GPU_NAME); }
nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned int *minor) { return *minor = device->minor, NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index) { return *index = device->index, NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetBrand(nvmlDevice_t device, nvmlBrandType_t *brand) { return (void)device, *brand = NVML_BRAND_NVIDIA, NVML_SUCCESS; }

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci)
{
    memset(pci, 0, sizeof *pci);
    for (const char *digit = device->bus_id + 9; *digit && *digit != ':'; digit++) /* 00000000:BB:00.0 */
        pci->bus = pci->bus * 16 + (unsigned int)(*digit <= '9' ? *digit - '0' : (*digit | 32) - 'a' + 10);
    snprintf(pci->busId, sizeof pci->busId, "%s", device->bus_id);
    snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "%s", device->bus_id + 4);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *current, unsigned int *pending)
{
    return *current = *pending = device->mig ? NVML_DEVICE_MIG_ENABLE : NVML_DEVICE_MIG_DISABLE, NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned int *count)
{
    return *count = device->mig ? MAX_INSTANCES : 0, NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned int index, nvmlDevice_t *mig_device)
{
    if (device->gpu || index >= MAX_INSTANCES)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (index >= device->mig_count)
        return NVML_ERROR_NOT_FOUND;
    return *mig_device = &mig_devices[device->index][index], NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned int *is_mig) { return *is_mig = device->gpu != NULL, NVML_SUCCESS; }

nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t mig_device, nvmlDevice_t *device)
{
    return mig_device->gpu ? (*device = mig_device->gpu, NVML_SUCCESS) : NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t device, unsigned int *id)
{
    return device->gpu ? (*id = device->instance, NVML_SUCCESS) : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t device, unsigned int *id)
{
    return device->gpu ? (*id = 0, NVML_SUCCESS) : NVML_ERROR_NOT_SUPPORTED;
}

/* What go-nvlib asks to name a MIG device's profile (v0.9.1, pkg/nvlib/device/mig_device.go). There is one, of one slice: number 0 among
 * NVML's, and its id is 0 too. A MIG device stands for its GPU instance and for its compute instance. */
#define MIG_MEMORY_MB (10 << 10)

nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t device, nvmlDeviceAttributes_t *attributes)
{
    if (!device->gpu)
        return NVML_ERROR_NOT_SUPPORTED;
    *attributes = (nvmlDeviceAttributes_t){.gpuInstanceSliceCount = 1, .computeInstanceSliceCount = 1, .memorySizeMB = MIG_MEMORY_MB};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfo(nvmlDevice_t device, unsigned int profile, nvmlGpuInstanceProfileInfo_t *info)
{
    if (!device->mig || profile != NVML_GPU_INSTANCE_PROFILE_1_SLICE)
        return NVML_ERROR_NOT_SUPPORTED;
    *info = (nvmlGpuInstanceProfileInfo_t){.sliceCount = 1, .instanceCount = MAX_INSTANCES, .memorySizeMB = MIG_MEMORY_MB};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGpuInstanceById(nvmlDevice_t device, unsigned int id, nvmlGpuInstance_t *instance)
{
    if (!id || id > device->mig_count)
        return NVML_ERROR_NOT_FOUND;
    return *instance = (nvmlGpuInstance_t)&mig_devices[device->index][id - 1], NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetInfo(nvmlGpuInstance_t instance, nvmlGpuInstanceInfo_t *info)
{
    nvmlDevice_t device = (nvmlDevice_t)instance;

    *info = (nvmlGpuInstanceInfo_t){.device = device->gpu, .id = device->instance};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceById(nvmlGpuInstance_t instance, unsigned int id, nvmlComputeInstance_t *compute)
{
    return id ? NVML_ERROR_NOT_FOUND : (*compute = (nvmlComputeInstance_t)instance, NVML_SUCCESS);
}

nvmlReturn_t nvmlComputeInstanceGetInfo_v2(nvmlComputeInstance_t compute, nvmlComputeInstanceInfo_t *info)
{
    *info = (nvmlComputeInstanceInfo_t){.device = ((nvmlDevice_t)compute)->gpu, .gpuInstance = (nvmlGpuInstance_t)compute};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpuInstanceGetComputeInstanceProfileInfo(nvmlGpuInstance_t instance, unsigned int profile, unsigned int engine,
                                                          nvmlComputeInstanceProfileInfo_t *info)
{
    if (!instance || profile != NVML_COMPUTE_INSTANCE_PROFILE_1_SLICE || engine)
        return NVML_ERROR_NOT_SUPPORTED;
    return *info = (nvmlComputeInstanceProfileInfo_t){.sliceCount = 1, .instanceCount = 1}, NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
    (void)device;
    *memory = (nvmlMemory_t){.total = 80ULL << 30, .free = 80ULL << 30};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major_number, int *minor_number)
{
    return (void)device, *major_number = 8, *minor_number = 0, NVML_SUCCESS;
}
