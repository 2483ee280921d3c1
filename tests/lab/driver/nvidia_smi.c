/* A stand-in for nvidia-smi: the few views of it that people and programs use to see which GPUs are there. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define NVML_NO_UNVERSIONED_FUNC_DEFS 1
#include "nvml.h"

#define NVML(name) ((__typeof__(&name))nvml_function(#name))

static const char help[] =
    "This is the lab's stand-in for nvidia-smi, version " DRIVER_VERSION ": it shows pretend GPUs.\n"
    "  nvidia-smi                       the driver's version, who told of the GPUs, and a line for each GPU\n"
    "  nvidia-smi -L | --list-gpus      GPU INDEX: NAME (UUID: ...)\n"
    "  nvidia-smi --query-gpu=FIELD,... --format=csv[,noheader]\n"
    "      fields: index uuid gpu_uuid name pci.bus_id driver_version count\n";

static void *nvml_library;

/* dlopen, as the real one does: it must start where NVML is not to be found, and say so. */
static void *nvml_function(const char *name)
{
    return dlsym(nvml_library, name);
}

static int print_field(nvmlDevice_t gpu, const char *field)
{
    char text[96] = "";
    unsigned int number = 0;
    nvmlPciInfo_t pci;

    if (!strcmp(field, "index"))
        NVML(nvmlDeviceGetIndex)(gpu, &number), snprintf(text, sizeof text, "%u", number);
    else if (!strcmp(field, "count"))
        NVML(nvmlDeviceGetCount_v2)(&number), snprintf(text, sizeof text, "%u", number);
    else if (!strcmp(field, "uuid") || !strcmp(field, "gpu_uuid"))
        NVML(nvmlDeviceGetUUID)(gpu, text, sizeof text);
    else if (!strcmp(field, "name"))
        NVML(nvmlDeviceGetName)(gpu, text, sizeof text);
    else if (!strcmp(field, "driver_version"))
        NVML(nvmlSystemGetDriverVersion)(text, sizeof text);
    else if (!strcmp(field, "pci.bus_id"))
        NVML(nvmlDeviceGetPciInfo_v3)(gpu, &pci), snprintf(text, sizeof text, "%s", pci.busId);
    else
        return fprintf(stderr, "Field \"%s\" is not a valid field to query.\n", field), 2;
    fputs(text, stdout);
    return 0;
}

static int query(unsigned int count, const char *fields, int header)
{
    if (header)
        puts(fields);
    for (unsigned int index = 0; index < count; index++) {
        char list[512], *rest = list;
        nvmlDevice_t gpu;
        int status;

        snprintf(list, sizeof list, "%s", fields);
        NVML(nvmlDeviceGetHandleByIndex_v2)(index, &gpu);
        for (char *field; (field = strsep(&rest, ","));) {
            if ((status = print_field(gpu, field)))
                return status;
            fputs(rest ? ", " : "\n", stdout);
        }
    }
    return 0;
}

static void list(unsigned int count)
{
    for (unsigned int index = 0; index < count; index++) {
        char name[96], uuid[96];
        nvmlDevice_t gpu, mig_device;

        NVML(nvmlDeviceGetHandleByIndex_v2)(index, &gpu);
        NVML(nvmlDeviceGetName)(gpu, name, sizeof name);
        NVML(nvmlDeviceGetUUID)(gpu, uuid, sizeof uuid);
        printf("GPU %u: %s (UUID: %s)\n", index, name, uuid);
        for (unsigned int number = 0; !NVML(nvmlDeviceGetMigDeviceHandleByIndex)(gpu, number, &mig_device); number++) {
            NVML(nvmlDeviceGetUUID)(mig_device, uuid, sizeof uuid);
            printf("  MIG 1g.10gb     Device  %u: (UUID: %s)\n", number, uuid);
        }
    }
}

int main(int argc, char **argv)
{
    const char *fields = NULL, *(*source)(void);
    int header = 1, only_list = 0;
    unsigned int count = 0;
    nvmlReturn_t result;
    char version[96];

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-L") || !strcmp(argv[i], "--list-gpus"))
            only_list = 1;
        else if (!strncmp(argv[i], "--query-gpu=", 12))
            fields = argv[i] + 12;
        else if (!strncmp(argv[i], "--format=csv", 12))
            header = !strstr(argv[i], "noheader");
        else
            return fputs(help, stdout), !strcmp(argv[i], "-h") || !strcmp(argv[i], "--help") ? 0 : 2;
    }
    if (!(nvml_library = dlopen("libnvidia-ml.so.1", RTLD_NOW))) {
        puts("NVIDIA-SMI couldn't find libnvidia-ml.so library in your system.");
        return 12;
    }
    if ((result = NVML(nvmlInit_v2)()) == NVML_ERROR_DRIVER_NOT_LOADED)
        return puts("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA "
                    "driver is installed and running.\n"),
               (int)result;
    if (result != NVML_SUCCESS)
        return printf("Failed to initialize NVML: %s\n", NVML(nvmlErrorString)(result)), (int)result;
    NVML(nvmlDeviceGetCount_v2)(&count);
    if (!count)
        return puts("No devices were found"), 6;
    if (fields)
        return query(count, fields, header);
    if (!only_list) {
        NVML(nvmlSystemGetDriverVersion)(version, sizeof version);
        printf("Lab stand-in for NVIDIA-SMI   Driver Version: %s\n", version);
        if ((source = (const char *(*)(void))nvml_function("lab_source")))
            printf("These GPUs were told by: %s\n", source());
    }
    list(count);
    return 0;
}
