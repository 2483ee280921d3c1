// SPDX-License-Identifier: GPL-2.0
/* MIG's part: /proc/driver/nvidia/capabilities, /proc/driver/nvidia-caps, and the nodes nvidia-caps and nvidia-caps-imex-channels.
 *
 * Who may open the node of a capability has it. Each capability's minor is fixed: its place in the driver's table (NVIDIA
 * open-gpu-kernel-modules 570.124.06, kernel-open/nvidia/nv-caps.c). Modes: NVIDIA's MIG User Guide, "Device Nodes and Capabilities". */
#include <linux/cdev.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#include "nv.h"

#define CAPS_MINORS 8192
#define IMEX_CHANNELS 2048
#define INSTANCES 15 /* gi0 to gi14 of a GPU */
#define COMPUTE_INSTANCES 8

enum { FABRIC_MANAGEMENT, MIG_CONFIG, MIG_MONITOR, FIRST_INSTANCE };
#define INSTANCE_MINOR(gpu, instance) (FIRST_INSTANCE + ((gpu) * INSTANCES + (instance)) * (1 + COMPUTE_INSTANCES))
#define IMEX_MANAGEMENT INSTANCE_MINOR(NV_MAX_DEVICES, 0)

static struct proc_dir_entry *capabilities, *minors_directory;
static dev_t caps_number, imex_number;
static struct cdev caps_nodes, imex_nodes;

static const struct file_operations caps_operations = { .owner = THIS_MODULE };

static int show_capability(struct seq_file *file, void *unused)
{
	unsigned long minor = (unsigned long)file->private;
	bool is_instance = minor >= FIRST_INSTANCE && minor < IMEX_MANAGEMENT;

	seq_printf(file, "DeviceFileMinor: %lu\nDeviceFileMode: %d\nDeviceFileModify: 1\n", minor, is_instance ? 0444 : 0400);
	return 0;
}

static bool add_capability(const char *name, umode_t mode, struct proc_dir_entry *parent, unsigned long minor)
{
	return parent && proc_create_single_data(name, mode, parent, show_capability, (void *)minor);
}

/* Instances are gi1, gi2, ..., each with one compute instance. */
int nv_caps_add_gpu(struct nv_gpu *gpu)
{
	struct proc_dir_entry *mig;
	char name[16];
	bool made = true;

	if (gpu->mig < 0 || gpu->minor >= NV_MAX_DEVICES)
		return 0;
	snprintf(name, sizeof(name), "gpu%u", gpu->minor);
	gpu->mig_proc = proc_mkdir(name, capabilities);
	mig = gpu->mig_proc ? proc_mkdir("mig", gpu->mig_proc) : NULL;
	made = mig;
	for (int instance = 1; instance <= gpu->mig && made; instance++) {
		unsigned long minor = INSTANCE_MINOR(gpu->minor, instance);
		struct proc_dir_entry *directory;

		snprintf(name, sizeof(name), "gi%d", instance);
		directory = proc_mkdir(name, mig);
		made = add_capability("access", 0444, directory, minor) &&
		       add_capability("access", 0444, proc_mkdir("ci0", directory), minor + 1);
	}
	if (!made)
		nv_caps_remove_gpu(gpu);
	return made ? 0 : -ENOMEM;
}

void nv_caps_remove_gpu(struct nv_gpu *gpu)
{
	proc_remove(gpu->mig_proc);
	gpu->mig_proc = NULL;
}

static int show_mig_minors(struct seq_file *file, void *unused)
{
	seq_printf(file, "config %d\nmonitor %d\n", MIG_CONFIG, MIG_MONITOR);
	for (int gpu = 0; gpu < NV_MAX_DEVICES; gpu++) {
		for (int instance = 0; instance < INSTANCES; instance++) {
			int minor = INSTANCE_MINOR(gpu, instance);

			seq_printf(file, "gpu%d/gi%d/access %d\n", gpu, instance, minor);
			for (int compute = 0; compute < COMPUTE_INSTANCES; compute++)
				seq_printf(file, "gpu%d/gi%d/ci%d/access %d\n", gpu, instance, compute, minor + 1 + compute);
		}
	}
	return 0;
}

static int show_nvlink_minors(struct seq_file *file, void *unused)
{
	seq_printf(file, "fabric-mgmt %d\n", FABRIC_MANAGEMENT);
	return 0;
}

static int show_sys_minors(struct seq_file *file, void *unused)
{
	seq_printf(file, "fabric-imex-mgmt %d\n", IMEX_MANAGEMENT);
	return 0;
}

static int add_nodes(struct cdev *nodes, dev_t *number, unsigned int count, const char *name)
{
	int error = alloc_chrdev_region(number, 0, count, name);

	if (error)
		return error;
	cdev_init(nodes, &caps_operations);
	nodes->owner = THIS_MODULE;
	error = cdev_add(nodes, *number, count);
	if (error)
		unregister_chrdev_region(*number, count);
	return error;
}

static void remove_nodes(struct cdev *nodes, dev_t number, unsigned int count)
{
	cdev_del(nodes);
	unregister_chrdev_region(number, count);
}

static bool add_files(void)
{
	struct proc_dir_entry *mig;

	capabilities = proc_mkdir("capabilities", nv_proc_root);
	mig = capabilities ? proc_mkdir("mig", capabilities) : NULL;
	minors_directory = proc_mkdir("driver/nvidia-caps", NULL);
	return minors_directory && add_capability("config", 0400, mig, MIG_CONFIG) &&
	       add_capability("monitor", 0400, mig, MIG_MONITOR) &&
	       add_capability("fabric-imex-mgmt", 0400, capabilities, IMEX_MANAGEMENT) &&
	       proc_create_single("mig-minors", 0444, minors_directory, show_mig_minors) &&
	       proc_create_single("nvlink-minors", 0444, minors_directory, show_nvlink_minors) &&
	       proc_create_single("sys-minors", 0444, minors_directory, show_sys_minors);
}

static void remove_files(void)
{
	proc_remove(minors_directory);
	proc_remove(capabilities);
	minors_directory = capabilities = NULL;
}

int nv_caps_init(void)
{
	int error = add_files() ? 0 : -ENOMEM;

	if (error)
		goto no_files;
	error = add_nodes(&caps_nodes, &caps_number, CAPS_MINORS, "nvidia-caps");
	if (error)
		goto no_files;
	error = add_nodes(&imex_nodes, &imex_number, IMEX_CHANNELS, "nvidia-caps-imex-channels");
	if (error)
		goto no_imex;
	return 0;

no_imex:
	remove_nodes(&caps_nodes, caps_number, CAPS_MINORS);
no_files:
	remove_files();
	return error;
}

void nv_caps_exit(void)
{
	remove_nodes(&imex_nodes, imex_number, IMEX_CHANNELS);
	remove_nodes(&caps_nodes, caps_number, CAPS_MINORS);
	remove_files();
}
