/* Nodes of the driver, opened as NVIDIA's libraries do: where one is missing, nvidia-modprobe is asked to load the driver and make it. */
#ifndef NVPROXY_LAB_NODES_H
#define NVPROXY_LAB_NODES_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/nvidia-abi.h"

#define CONTROL_NODE "/dev/nvidiactl"
#define GPU_NODE "/dev/nvidia%u"
#define MODPROBE "/usr/bin/nvidia-modprobe"

/* nvidia-modprobe is setuid root. Where it is not there (in most containers), nothing happens. */
static void make_node(unsigned int minor)
{
    char number[16];
    pid_t child;

    if (access(MODPROBE, X_OK))
        return;
    snprintf(number, sizeof number, "%u", minor);
    if (!(child = fork())) {
        char *argv[] = {(char *)MODPROBE, (char *)"-c", number, NULL};

        execv(MODPROBE, argv);
        _exit(127);
    }
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
        continue;
}

static int open_node(const char *path, unsigned int minor)
{
    int file = open(path, O_RDWR | O_CLOEXEC);

    if (file < 0 && (errno == ENOENT || errno == ENXIO)) { /* no node, or no driver behind it */
        make_node(minor);
        file = open(path, O_RDWR | O_CLOEXEC);
    }
    return file;
}

/* The driver's call of this number with these parameters; as ioctl(). */
#define ASK(file, number, parameters) \
    ioctl(file, _IOC(_IOC_READ | _IOC_WRITE, NV_IOCTL_MAGIC, number, sizeof(parameters)), &(parameters))

#endif
