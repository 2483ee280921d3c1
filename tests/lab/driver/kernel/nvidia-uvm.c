// SPDX-License-Identifier: GPL-2.0
/* A stand-in for nvidia-uvm.ko: the nodes nvidia-uvm and nvidia-uvm-tools, and the calls that CUDA begins with.
 * Behaviour: NVIDIA open-gpu-kernel-modules 570.124.06, kernel-open/nvidia-uvm/uvm.c. Like that, it has no .poll. */
#include <linux/atomic.h>
#include <linux/cdev.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "nv.h"

#define NODES 2 /* nvidia-uvm, nvidia-uvm-tools */
#define FLAG_MULTI_PROCESS 0x2 /* uvm_types.h, UVM_INIT_FLAGS_MULTI_PROCESS_SHARING_MODE: gVisor always sets it */

struct uvm_file {
	struct mutex lock;
	bool initialized;
	u64 flags;
};

static dev_t first_node;
static struct cdev nodes;

static int open_node(struct inode *inode, struct file *file)
{
	struct uvm_file *mine = kzalloc(sizeof(*mine), GFP_KERNEL_ACCOUNT);

	if (!mine)
		return -ENOMEM;
	mutex_init(&mine->lock);
	file->private_data = mine;
	return 0;
}

static int close_node(struct inode *inode, struct file *file)
{
	kfree(file->private_data);
	return 0;
}

static u32 initialize(struct uvm_file *mine, u64 flags)
{
	u32 status = NV_OK;

	mutex_lock(&mine->lock);
	if (mine->initialized && mine->flags != flags)
		status = NV_ERR_INVALID_ARGUMENT;
	mine->initialized = true;
	if (status == NV_OK)
		mine->flags = flags;
	mutex_unlock(&mine->lock);
	return status;
}

static long node_ioctl(struct file *file, unsigned int cmd, unsigned long argument);

static const struct file_operations node_operations = {
	.owner = THIS_MODULE,
	.open = open_node,
	.release = close_node,
	.unlocked_ioctl = node_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static u32 initialize_mm(s32 fd)
{
	struct file *file = fget(fd);
	struct uvm_file *other = file && file->f_op == &node_operations ? file->private_data : NULL;
	u32 status = NV_ERR_INVALID_ARGUMENT;

	if (other) {
		mutex_lock(&other->lock);
		if (other->initialized)
			status = other->flags & FLAG_MULTI_PROCESS ? NV_WARN_NOTHING_TO_DO : NV_OK;
		mutex_unlock(&other->lock);
	}
	if (file)
		fput(file);
	return status;
}

/* A call's number says nothing about the size of its parameters. */
static long node_ioctl(struct file *file, unsigned int cmd, unsigned long argument)
{
	struct uvm_file *mine = file->private_data;
	void __user *user = (void __user *)argument;
	union {
		struct uvm_initialize initialize;
		struct uvm_mm_initialize mm;
		struct uvm_pageable_mem_access access;
	} params;
	size_t size;

	switch (cmd) {
	case UVM_DEINITIALIZE: return 0;
	case UVM_INITIALIZE: size = sizeof(params.initialize); break;
	case UVM_MM_INITIALIZE: size = sizeof(params.mm); break;
	case UVM_PAGEABLE_MEM_ACCESS: size = sizeof(params.access); break;
	default: return -EINVAL;
	}
	if (copy_from_user(&params, user, size))
		return -EFAULT;
	switch (cmd) {
	case UVM_INITIALIZE:
		params.initialize.status = initialize(mine, params.initialize.flags);
		break;
	case UVM_MM_INITIALIZE:
		params.mm.status = initialize_mm(params.mm.uvm_fd);
		break;
	case UVM_PAGEABLE_MEM_ACCESS:
		params.access.pageable = 0;
		params.access.status = READ_ONCE(mine->initialized) ? NV_OK : NV_ERR_ILLEGAL_ACTION;
		break;
	}
	return copy_to_user(user, &params, size) ? -EFAULT : 0;
}

static int __init uvm_init(void)
{
	int error = alloc_chrdev_region(&first_node, 0, NODES, "nvidia-uvm");

	if (error)
		return error;
	cdev_init(&nodes, &node_operations);
	nodes.owner = THIS_MODULE;
	error = cdev_add(&nodes, first_node, NODES);
	if (error)
		unregister_chrdev_region(first_node, NODES);
	else
		pr_info("nvidia-uvm: loaded the lab's stand-in for the UVM driver of %s, major device number %u\n",
			nv_driver_version(), MAJOR(first_node));
	return error;
}

static void __exit uvm_exit(void)
{
	cdev_del(&nodes);
	unregister_chrdev_region(first_node, NODES);
}

module_init(uvm_init);
module_exit(uvm_exit);
MODULE_DESCRIPTION("A stand-in for NVIDIA's UVM driver, of nvproxy-fleet's lab");
MODULE_VERSION(LAB_DRIVER_VERSION);
MODULE_LICENSE("GPL");
