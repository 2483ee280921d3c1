/* What opens here, and what answers? For the inside of a container: which of NVIDIA's nodes can be opened (not: which are listed), and
 * whether the driver behind them answers. Static, so that it runs in an image that has nothing.
 *
 *   client                the nodes in /dev: nvidiactl, nvidia-uvm, nvidia0 to nvidia31
 *   client --mknod DIR    makes nodes of the same numbers in DIR (which it makes) and tries those
 *
 * Prints one JSON object per line and fact, always the same ones in the same order:
 *
 *   {"node": PATH, "call": CALL, "result": RESULT, ...}
 *
 * RESULT is "ok", or the name of an errno ("ENOENT"), or the driver's status ("NV 0x1b"). A call is tried, and has its line, only when
 * the ones before it on that node went well; but every node has its first line. The calls, and what else stands in their lines:
 *
 *   mknod               (with --mknod) the node is made
 *   open                for reading and writing
 *   CHECK_VERSION_STR   nvidiactl: "version" is the driver's
 *   CARD_INFO           nvidiactl: "cards", a list of {"minor", "gpu_id", "pci"}: every GPU of the host, as the driver tells them anyone
 *   RM_ALLOC            nvidiactl: a root client. GPUs: the driver gives this process the GPU as a device; "uuid" is what it answers for it
 *   PROBED_IDS          nvidiactl: "ids", a list
 *   REGISTER_FD         GPUs: the file is tied to that of nvidiactl
 *   UVM_INITIALIZE      nvidia-uvm
 *
 * The exit status is 0, or 2 for a wrong command line. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "kernel/nvidia-abi.h"

#define CALL(number, type) _IOC(_IOC_READ | _IOC_WRITE, NV_IOCTL_MAGIC, number, sizeof(type))
#define POINTER(object) ((__u64)(uintptr_t)(object))


/* The names that these tests meet. */
static const char *errno_name(int number)
{
    static const struct {
        int number;
        const char *name;
    } names[] = {
        {ENOENT, "ENOENT"}, {EACCES, "EACCES"}, {EPERM, "EPERM"}, {ENODEV, "ENODEV"}, {ENXIO, "ENXIO"}, {EINVAL, "EINVAL"},
        {EIO, "EIO"}, {ENOTTY, "ENOTTY"}, {EFAULT, "EFAULT"}, {EBUSY, "EBUSY"}, {EROFS, "EROFS"}, {ENOSYS, "ENOSYS"},
        {EEXIST, "EEXIST"}, {ENOTDIR, "ENOTDIR"}, {ENOMEM, "ENOMEM"}, {EBADF, "EBADF"}, {ENOSPC, "ENOSPC"},
    };
    static char unknown[24];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].number == number)
            return names[i].name;
    snprintf(unknown, sizeof unknown, "errno %d", number);
    return unknown;
}

/* Begins a line with `returned`, a system call's value, or 0 and then the driver's status. Whether all went well. */
static int begin(const char *path, const char *call, int returned, unsigned int status)
{
    printf("{\"node\": \"%s\", \"call\": \"%s\", \"result\": \"", path, call);
    if (returned < 0)
        fputs(errno_name(errno), stdout);
    else if (status)
        printf("NV %#x", status);
    else
        fputs("ok", stdout);
    fputs("\"", stdout);
    return returned >= 0 && !status;
}

static void end(void) { puts("}"); }

static int say(const char *path, const char *call, int returned, unsigned int status)
{
    int well = begin(path, call, returned, status);

    end();
    return well;
}

/* -1 where the node cannot be opened, which has then been said. */
static int open_node(const char *directory, int make, const char *name, dev_t number, char *path, size_t room)
{
    int file;

    snprintf(path, room, "%s/%s", directory, name);
    if (make) {
        unlink(path);
        if (!say(path, "mknod", mknod(path, S_IFCHR | 0666, number), 0))
            return -1;
    }
    file = open(path, O_RDWR | O_CLOEXEC);
    return say(path, "open", file, 0) ? file : -1;
}

static unsigned int rm_alloc(int control, unsigned int root, unsigned int parent, unsigned int class, void *params, size_t size,
                             unsigned int *object, int *returned)
{
    struct nv_rm_alloc request = {
        .root = root, .parent = parent, .class = class, .params = POINTER(params), .params_size = (__u32)size};

    *returned = ioctl(control, CALL(NV_ESC_RM_ALLOC, request), &request);
    *object = request.object;
    return request.status;
}

static unsigned int rm_control(int control, unsigned int client, unsigned int object, unsigned int cmd, void *params, size_t size,
                               int *returned)
{
    struct nv_rm_control request = {
        .client = client, .object = object, .cmd = cmd, .params = POINTER(params), .params_size = (__u32)size};

    *returned = ioctl(control, CALL(NV_ESC_RM_CONTROL, request), &request);
    return request.status;
}

/* The root client, or 0. */
static unsigned int ask_control_node(const char *path, int control, struct nv_card_info *cards)
{
    struct nv_version version = {.cmd = NV_VERSION_CMD_QUERY};
    struct nv_probed_ids probed = {0};
    unsigned int client, status;
    const char *comma = "";
    int returned;

    returned = ioctl(control, CALL(NV_ESC_CHECK_VERSION_STR, version), &version);
    if (begin(path, "CHECK_VERSION_STR", returned, 0))
        printf(", \"version\": \"%.*s\"", NV_VERSION_LENGTH - 1, version.text);
    end();

    returned = ioctl(control, CALL(NV_ESC_CARD_INFO, struct nv_card_info[NV_MAX_DEVICES]), cards);
    if (begin(path, "CARD_INFO", returned, 0)) {
        fputs(", \"cards\": [", stdout);
        for (int i = 0; i < NV_MAX_DEVICES; i++) {
            if (!cards[i].valid)
                continue;
            printf("%s{\"minor\": %u, \"gpu_id\": %u, \"pci\": \"%04x:%02x:%02x.%x\"}", comma, cards[i].minor_number, cards[i].gpu_id,
                   cards[i].domain, cards[i].bus, cards[i].slot, cards[i].function);
            comma = ", ";
        }
        fputs("]", stdout);
    }
    end();

    status = rm_alloc(control, 0, 0, NV01_ROOT_CLIENT, NULL, 0, &client, &returned);
    if (!say(path, "RM_ALLOC", returned, status))
        return 0;

    status = rm_control(control, client, client, NV0000_GPU_GET_PROBED_IDS, &probed, sizeof probed, &returned);
    if (begin(path, "PROBED_IDS", returned, status)) {
        fputs(", \"ids\": [", stdout);
        for (int i = 0; i < NV_MAX_DEVICES && probed.ids[i] != NV_GPU_INVALID_ID; i++)
            printf("%s%u", i ? ", " : "", probed.ids[i]);
        fputs("]", stdout);
    }
    end();
    return client;
}

/* The GPU as a device of ours: instance by its place among the cards, UUID by its subdevice. */
static void ask_for_device(const char *path, int control, unsigned int client, unsigned int minor, const struct nv_card_info *cards)
{
    struct nv_id_info_v2 info = {0};
    struct nv_device_params device_params = {0};
    struct nv_subdevice_params subdevice_params = {0};
    struct nv_gid_info gid = {.flags = NV_UUID_FORMAT_ASCII};
    unsigned int device = 0, subdevice, status;
    int returned;

    for (int i = 0; i < NV_MAX_DEVICES; i++)
        if (cards[i].valid && cards[i].minor_number == minor)
            info.gpu_id = cards[i].gpu_id;
    status = rm_control(control, client, client, NV0000_GPU_GET_ID_INFO_V2, &info, sizeof info, &returned);
    if (returned >= 0 && !status) {
        device_params.device_id = info.device_instance;
        status = rm_alloc(control, client, client, NV01_DEVICE_0, &device_params, sizeof device_params, &device, &returned);
    }
    if (returned >= 0 && !status)
        status = rm_alloc(control, client, device, NV20_SUBDEVICE_0, &subdevice_params, sizeof subdevice_params, &subdevice, &returned);
    if (returned >= 0 && !status)
        status = rm_control(control, client, subdevice, NV2080_GPU_GET_GID_INFO, &gid, sizeof gid, &returned);
    if (begin(path, "RM_ALLOC", returned, status))
        printf(", \"uuid\": \"%.*s\"", (int)sizeof gid.data, (const char *)gid.data);
    end();
    if (device) {
        struct nv_rm_free gone = {.root = client, .parent = client, .object = device};

        ioctl(control, CALL(NV_ESC_RM_FREE, gone), &gone);
    }
}

static void ask_gpu_node(const char *path, int gpu, int control, unsigned int client, unsigned int minor, const struct nv_card_info *cards)
{
    struct nv_register_fd request = {.ctl_fd = control};

    if (say(path, "REGISTER_FD", ioctl(gpu, CALL(NV_ESC_REGISTER_FD, request), &request), 0) && client)
        ask_for_device(path, control, client, minor, cards);
}

static void ask_uvm_node(const char *path, int uvm)
{
    struct uvm_initialize request = {.status = ~0u};
    int returned = ioctl(uvm, UVM_INITIALIZE, &request);

    say(path, "UVM_INITIALIZE", returned, request.status);
}

/* nvidia-uvm has no fixed major: /proc/devices tells it, or a node that is there. */
static unsigned int uvm_major(void)
{
    FILE *devices = fopen("/proc/devices", "re");
    unsigned int number, found = 0;
    struct stat node;
    char line[128], name[64];

    while (devices && !found && fgets(line, sizeof line, devices))
        if (sscanf(line, "%u %63s", &number, name) == 2 && !strcmp(name, "nvidia-uvm"))
            found = number;
    if (devices)
        fclose(devices);
    return found || stat("/dev/nvidia-uvm", &node) ? found : major(node.st_rdev);
}

int main(int argc, char **argv)
{
    struct nv_card_info cards[NV_MAX_DEVICES] = {{0}};
    const char *directory = "/dev";
    unsigned int client = 0;
    int control, uvm, make = 0;
    char path[256];

    if (argc == 3 && !strcmp(argv[1], "--mknod")) {
        directory = argv[2];
        make = 1;
        mkdir(directory, 0755);
    } else if (argc != 1) {
        return fputs("client [--mknod DIR]: which of NVIDIA's nodes open, and whether the driver answers\n", stderr), 2;
    }
    control = open_node(directory, make, "nvidiactl", makedev(NV_MAJOR, NV_MINOR_CONTROL), path, sizeof path);
    if (control >= 0)
        client = ask_control_node(path, control, cards);
    uvm = open_node(directory, make, "nvidia-uvm", makedev(uvm_major(), 0), path, sizeof path);
    if (uvm >= 0)
        ask_uvm_node(path, uvm);
    for (unsigned int minor = 0; minor < NV_MAX_DEVICES; minor++) {
        char name[16];
        int gpu;

        snprintf(name, sizeof name, "nvidia%u", minor);
        gpu = open_node(directory, make, name, makedev(NV_MAJOR, minor), path, sizeof path);
        if (gpu < 0)
            continue;
        ask_gpu_node(path, gpu, control, client, minor, cards);
        close(gpu);
    }
    return 0;
}
