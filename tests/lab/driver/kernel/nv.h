/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of the stand-in for nvidia.ko share. */
#ifndef NVPROXY_LAB_NV_H
#define NVPROXY_LAB_NV_H

#include <linux/atomic.h>
#include <linux/fs.h>
#include <linux/proc_fs.h>
#include <linux/types.h>

#include "nvidia-abi.h"

/* One GPU. They lie in an array that is never freed, in the order of their PCI buses: a file keeps a pointer to its GPU although the
 * device may go (`present` says so). */
struct nv_gpu {
	unsigned int index, minor;
	u32 id; /* as the driver makes it: PCI domain << 16 | bus << 8 | device */
	u8 bus;
	bool present, excluded;
	int mig; /* MIG instances, or -1: MIG is off */
	bool was_opened;
	atomic_t users; /* files that have it open, or attached: the driver has then set it up ("attached") */
	char uuid[LAB_UUID_LENGTH];
	struct proc_dir_entry *proc, *mig_proc;
};

/* nv.c */
extern const char *nv_driver_version(void);
extern struct nv_gpu *nv_gpu_by_id(u32 id);
extern struct nv_gpu *nv_gpu_at(unsigned int index); /* NULL where none is present */
extern bool nv_gpu_is_open_here(const struct nv_gpu *gpu);

/* nv-procfs.c: /proc/driver/nvidia */
extern struct proc_dir_entry *nv_proc_root;
extern int nv_procfs_init(void);
extern void nv_procfs_exit(void);
extern int nv_procfs_add_gpu(struct nv_gpu *gpu);
extern void nv_procfs_remove_gpu(struct nv_gpu *gpu);

/* nv-caps.c: /proc/driver/nvidia/capabilities, nvidia-caps */
extern int nv_caps_init(void);
extern void nv_caps_exit(void);
extern int nv_caps_add_gpu(struct nv_gpu *gpu);
extern void nv_caps_remove_gpu(struct nv_gpu *gpu);

/* nv-rm.c: the resource manager's clients, objects and controls. Each returns 0, and says what came out in the parameters' status, or an
 * errno. `owner` is the file that a client goes with. */
extern int nv_rm_alloc(const void *owner, void *data, size_t size);
extern int nv_rm_free(const void *owner, void *data, size_t size);
extern int nv_rm_control(const void *owner, void *data, size_t size);
extern void nv_rm_file_closed(const void *owner);

#endif
