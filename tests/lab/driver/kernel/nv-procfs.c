// SPDX-License-Identifier: GPL-2.0
/* /proc/driver/nvidia: the version, the parameters, a file for each GPU. The forms are those of NVIDIA open-gpu-kernel-modules
 * 570.124.06, kernel-open/nvidia/nv-procfs.c, and of files that hosts have. */
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/seq_file.h>

#include "nv.h"

#define UUID_NOT_KNOWN "GPU-????????-????-????-????-????????????"

struct proc_dir_entry *nv_proc_root;
static struct proc_dir_entry *gpus_directory;

static bool uuid_after_open;
module_param(uuid_after_open, bool, 0444);
MODULE_PARM_DESC(uuid_after_open, "a GPU's UUID is told in /proc once it was opened, as with GPUs whose UUID the driver cannot read before");

/* Those parameters of the driver that decide over nodes. They are also read by whoever makes nodes. */
static unsigned int NVreg_ModifyDeviceFiles = 1, NVreg_DeviceFileUID, NVreg_DeviceFileGID, NVreg_DeviceFileMode = 0666;
module_param(NVreg_ModifyDeviceFiles, uint, 0444);
module_param(NVreg_DeviceFileUID, uint, 0444);
module_param(NVreg_DeviceFileGID, uint, 0444);
module_param(NVreg_DeviceFileMode, uint, 0444);

/* The driver's line, but for what stands in brackets: there it says who built it. */
static int show_version(struct seq_file *file, void *unused)
{
	seq_printf(file, "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  %s  Release Build  "
			 "(a stand-in of nvproxy-fleet's lab)\n", nv_driver_version());
	seq_puts(file, "GCC version:  " CONFIG_CC_VERSION_TEXT "\n");
	return 0;
}

/* kernel-open/nvidia/nv-reg.h has more; here are those that somebody reads: nvidia-modprobe the nodes' owner and mode, gVisor the number of
 * IMEX channels. */
static int show_params(struct seq_file *file, void *unused)
{
	seq_printf(file, "ResmanDebugLevel: %u\n", ~0U);
	seq_puts(file, "RmLogonRC: 1\n");
	seq_printf(file, "ModifyDeviceFiles: %u\n", NVreg_ModifyDeviceFiles);
	seq_printf(file, "DeviceFileUID: %u\n", NVreg_DeviceFileUID);
	seq_printf(file, "DeviceFileGID: %u\n", NVreg_DeviceFileGID);
	seq_printf(file, "DeviceFileMode: %u\n", NVreg_DeviceFileMode);
	seq_puts(file, "InitializeSystemMemoryAllocations: 1\n"
		       "EnableMSI: 1\n"
		       "RmProfilingAdminOnly: 1\n"
		       "PreserveVideoMemoryAllocations: 0\n"
		       "RegisterPCIDriver: 1\n"
		       "ImexChannelCount: 2048\n"
		       "CreateImexChannel0: 0\n");
	return 0;
}

static int show_information(struct seq_file *file, void *unused)
{
	const struct nv_gpu *gpu = file->private;
	bool knows_uuid = !uuid_after_open || READ_ONCE(gpu->was_opened);

	seq_puts(file, "Model: \t\t " LAB_GPU_NAME "\n");
	seq_puts(file, "IRQ:   \t\t 0\n");
	seq_printf(file, "GPU UUID: \t %s\n", knows_uuid ? gpu->uuid : UUID_NOT_KNOWN);
	seq_printf(file, "Video BIOS: \t %s\n", gpu->excluded ? "??.??.??.??.??" : "96.00.00.00.01");
	seq_puts(file, "Bus Type: \t PCIe\n");
	seq_puts(file, "DMA Size: \t 52 bits\n");
	seq_puts(file, "DMA Mask: \t 0xfffffffffffff\n");
	seq_printf(file, "Bus Location: \t %04x:%02x:00.0\n", gpu->id >> 16, gpu->bus);
	seq_printf(file, "Device Minor: \t %u\n", gpu->minor);
	if (!gpu->excluded)
		seq_printf(file, "GPU Firmware: \t %s\n", nv_driver_version());
	seq_printf(file, "GPU Excluded:\t %s\n", gpu->excluded ? "Yes" : "No");
	return 0;
}

int nv_procfs_add_gpu(struct nv_gpu *gpu)
{
	char name[sizeof("0000:00:00.0")];

	snprintf(name, sizeof(name), "%04x:%02x:00.0", gpu->id >> 16 & 0xffff, gpu->bus);
	gpu->proc = proc_mkdir(name, gpus_directory);
	if (!gpu->proc || !proc_create_single_data("information", 0444, gpu->proc, show_information, gpu))
		return -ENOMEM;
	return 0;
}

void nv_procfs_remove_gpu(struct nv_gpu *gpu)
{
	proc_remove(gpu->proc);
	gpu->proc = NULL;
}

int nv_procfs_init(void)
{
	nv_proc_root = proc_mkdir("driver/nvidia", NULL);
	if (!nv_proc_root)
		return -ENOMEM;
	gpus_directory = proc_mkdir("gpus", nv_proc_root);
	if (gpus_directory && proc_create_single("version", 0444, nv_proc_root, show_version) &&
	    proc_create_single("params", 0444, nv_proc_root, show_params))
		return 0;
	nv_procfs_exit();
	return -ENOMEM;
}

void nv_procfs_exit(void)
{
	proc_remove(nv_proc_root);
	nv_proc_root = NULL;
}
