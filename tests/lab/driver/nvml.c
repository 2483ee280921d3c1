/* A stand-in for NVIDIA's NVML, for lab hosts that have no GPU. It answers what the NVIDIA Container Toolkit asks while it writes a
 * CDI specification, and what nvidia-smi -L shows; every other function of nvml.h is a weak stub that returns
 * NVML_ERROR_NOT_SUPPORTED (made from the header when this is compiled).
 *
 * Its GPUs: the lines "MINOR UUID PCI-BUS-ID" of GPUS_FILE, in NVML's order. Where that file is not there (inside a container), the
 * nodes /dev/nvidia0, 1, ... that are there, with the same UUIDs, for a UUID is made of the minor: a list that a container prints
 * can be compared with the host's.
 *
 * Only functions that have been in glibc for ever are called (no strtol: its symbol depends on the compiler's language version), so
 * that what a newer machine compiles still loads in an older host. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define NVML_NO_UNVERSIONED_FUNC_DEFS 1
#include "nvml.h"

#define GPUS_FILE "/etc/nvproxy-lab/gpus"
#define GPU_NAME "NVIDIA Lab Stand-in"
#define UUID_OF_MINOR "GPU-6c616200-0000-0000-0000-%012x"
#define NVIDIA_MAJOR 195
#define MAX_GPUS 64
#define CUDA_VERSION 12080

struct nvmlDevice_st {
    unsigned int index, minor;
    char uuid[64], bus_id[32];
};

static struct nvmlDevice_st gpus[MAX_GPUS];
static unsigned int gpu_count;

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

        snprintf(path, sizeof path, "/dev/nvidia%u", minor);
        if (stat(path, &node) || !S_ISCHR(node.st_mode) || major(node.st_rdev) != NVIDIA_MAJOR)
            continue;
        gpu->minor = minor;
        snprintf(gpu->uuid, sizeof gpu->uuid, UUID_OF_MINOR, minor);
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
    gpu_count = 0;
    if (!read_gpus_file())
        find_nodes();
    return NVML_SUCCESS;
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
    for (unsigned int index = 0; index < gpu_count; index++)
        if (!strcmp(gpus[index].uuid, uuid))
            return *device = &gpus[index], NVML_SUCCESS;
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length) { return put(uuid, length, device->uuid); }
nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length) { return (void)device, put(name, length, GPU_NAME); }
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
    return (void)device, *current = *pending = NVML_DEVICE_MIG_DISABLE, NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned int *count) { return (void)device, *count = 0, NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned int *is_mig) { return (void)device, *is_mig = 0, NVML_SUCCESS; }

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
    (void)device;
    *memory = (nvmlMemory_t){.total = 16ULL << 30, .free = 16ULL << 30};
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major_number, int *minor_number)
{
    return (void)device, *major_number = 8, *minor_number = 0, NVML_SUCCESS;
}
