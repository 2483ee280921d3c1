// SPDX-License-Identifier: GPL-2.0
/* A stand-in for NVIDIA's kernel driver, for lab hosts that are virtual machines: nodes, GPUs, and the calls that programs begin with.
 * What is computed on a GPU is not there; a call that the stand-in does not know is refused in the driver's own way.
 *
 * Where a behaviour is the driver's (which errno, in which order), the source is NVIDIA open-gpu-kernel-modules 570.124.06,
 * kernel-open/nvidia/nv.c, unless another file is named.
 *
 *   modprobe nvidia [driver_version=570.124.06] [minors=0,1,2,3,5,4] [excluded=1] [mig=-1,2] [uuid_after_open=1]
 *
 * The GPUs are those of nvproxy-lab-pci. Lists are in PCI order. Like the driver, it does not load where there is no GPU. */
#include <linux/cdev.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/poll.h>
#include <linux/rwsem.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "nv.h"

static char *driver_version = LAB_DRIVER_VERSION;
module_param(driver_version, charp, 0444);
MODULE_PARM_DESC(driver_version, "the version that the driver says it has");

static unsigned short minors[NV_MAX_DEVICES];
static int minors_given;
module_param_array(minors, ushort, &minors_given, 0444);
MODULE_PARM_DESC(minors, "the GPUs' minors, in PCI order; a GPU's index where none is given");

static unsigned short excluded[NV_MAX_DEVICES];
static int excluded_given;
module_param_array(excluded, ushort, &excluded_given, 0444);
MODULE_PARM_DESC(excluded, "indices of the GPUs that the driver leaves alone");

static int mig[NV_MAX_DEVICES];
static int mig_given;
module_param_array(mig, int, &mig_given, 0444);
MODULE_PARM_DESC(mig, "MIG instances of each GPU, in PCI order: -1 (or not given) is MIG off, at most 7");

#define MIG_INSTANCES_MAX 7

static struct nv_gpu gpus[NV_MAX_DEVICES];
static DECLARE_RWSEM(gpus_lock); /* `present` and what is set with it */
static struct cdev gpu_nodes, control_node;

/* A file of ours. */
struct nv_file {
	struct nv_gpu *gpu; /* NULL: the control node */
	struct mutex lock;  /* what follows */
	bool registered;
	struct nv_gpu *attached[NV_MAX_DEVICES];
	unsigned int attached_count;
	bool attached_once;
};

const char *nv_driver_version(void)
{
	return driver_version;
}
EXPORT_SYMBOL_GPL(nv_driver_version);

struct nv_gpu *nv_gpu_at(unsigned int index)
{
	return index < NV_MAX_DEVICES && READ_ONCE(gpus[index].present) ? &gpus[index] : NULL;
}

struct nv_gpu *nv_gpu_by_id(u32 id)
{
	for (unsigned int index = 0; index < NV_MAX_DEVICES; index++)
		if (nv_gpu_at(index) && gpus[index].id == id)
			return &gpus[index];
	return NULL;
}

/* GPUs come and go with their PCI devices. */

static int add_gpu(struct pci_dev *device, const struct pci_device_id *id)
{
	unsigned int index = device->bus->number - 1;
	struct nv_gpu *gpu;
	int error = 0;

	if (index >= NV_MAX_DEVICES)
		return -ENODEV;
	down_write(&gpus_lock);
	gpu = &gpus[index];
	gpu->index = index;
	gpu->minor = index < minors_given ? minors[index] : index;
	gpu->id = pci_domain_nr(device->bus) << 16 | device->bus->number << 8 | PCI_SLOT(device->devfn);
	gpu->bus = device->bus->number;
	gpu->excluded = false;
	for (int i = 0; i < excluded_given; i++)
		gpu->excluded |= excluded[i] == index;
	gpu->mig = index < mig_given ? mig[index] : -1;
	gpu->was_opened = false;
	snprintf(gpu->uuid, sizeof(gpu->uuid), LAB_UUID, gpu->minor);
	for (unsigned int other = 0; other < NV_MAX_DEVICES; other++)
		if (gpus[other].present && gpus[other].minor == gpu->minor)
			error = -EBUSY;
	if (error)
		dev_err(&device->dev, "NVRM: minor %u is another GPU's: see the parameter minors\n", gpu->minor);
	error = error ?: nv_procfs_add_gpu(gpu);
	error = error ?: nv_caps_add_gpu(gpu);
	if (error)
		nv_procfs_remove_gpu(gpu);
	else
		WRITE_ONCE(gpu->present, true);
	up_write(&gpus_lock);
	if (!error)
		pci_set_drvdata(device, gpu);
	return error;
}

static void remove_gpu(struct pci_dev *device)
{
	struct nv_gpu *gpu = pci_get_drvdata(device);

	down_write(&gpus_lock);
	WRITE_ONCE(gpu->present, false);
	up_write(&gpus_lock);
	nv_caps_remove_gpu(gpu);
	nv_procfs_remove_gpu(gpu);
}

/* The driver takes every NVIDIA display device; the stand-in only the lab's. */
static const struct pci_device_id devices[] = {
	{ PCI_DEVICE_SUB(NV_PCI_VENDOR, LAB_PCI_DEVICE, NV_PCI_VENDOR, LAB_PCI_SUBSYSTEM),
	  .class = PCI_CLASS_DISPLAY_3D << 8, .class_mask = ~0 },
	{}
};
MODULE_DEVICE_TABLE(pci, devices);

static struct pci_driver pci = {
	.name = "nvidia",
	.id_table = devices,
	.probe = add_gpu,
	.remove = remove_gpu,
	.driver.probe_type = PROBE_FORCE_SYNCHRONOUS,
};

/* Files. */

static int open_node(struct inode *inode, struct file *file)
{
	struct nv_gpu *gpu = NULL;
	struct nv_file *mine;
	int error = 0;

	mine = kzalloc(sizeof(*mine), GFP_KERNEL_ACCOUNT);
	if (!mine)
		return -ENOMEM;
	mutex_init(&mine->lock);
	if (iminor(inode) != NV_MINOR_CONTROL) {
		down_read(&gpus_lock);
		for (unsigned int index = 0; index < NV_MAX_DEVICES && !gpu; index++)
			if (gpus[index].present && gpus[index].minor == iminor(inode))
				gpu = &gpus[index];
		if (!gpu) {
			error = -ENODEV;
		} else if (gpu->excluded) {
			pr_err_ratelimited("NVRM: open() not permitted for excluded %s\n", gpu->uuid);
			error = -EPERM;
		} else {
			atomic_inc(&gpu->users);
			WRITE_ONCE(gpu->was_opened, true);
			mine->gpu = gpu;
		}
		up_read(&gpus_lock);
	}
	if (error)
		kfree(mine);
	else
		file->private_data = mine;
	return error;
}

static int close_node(struct inode *inode, struct file *file)
{
	struct nv_file *mine = file->private_data;

	nv_rm_file_closed(mine);
	for (unsigned int i = 0; i < mine->attached_count; i++)
		atomic_dec(&mine->attached[i]->users);
	if (mine->gpu)
		atomic_dec(&mine->gpu->users);
	kfree(mine);
	return 0;
}

/* There are never events. But a file without .poll cannot be put into an epoll (EPERM), as nvproxy does with each of its. */
static __poll_t poll_node(struct file *file, poll_table *wait)
{
	return 0;
}

static long node_ioctl(struct file *file, unsigned int cmd, unsigned long argument);

static const struct file_operations node_operations = {
	.owner = THIS_MODULE,
	.open = open_node,
	.release = close_node,
	.poll = poll_node,
	.unlocked_ioctl = node_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct nv_file *nv_file_of(struct file *file)
{
	return file && file->f_op == &node_operations ? file->private_data : NULL;
}

static int is_file_of(const void *gpu, struct file *file, unsigned int number)
{
	struct nv_file *other = nv_file_of(file);

	return other && other->gpu == gpu;
}

/* Whether the calling process has the GPU's node open: nv_is_gpu_accessible(). */
bool nv_gpu_is_open_here(const struct nv_gpu *gpu)
{
	return iterate_fd(current->files, 0, is_file_of, gpu) != 0;
}

/* The calls. Each has its parameters as a copy in kernel memory of just the size that its row in `calls` names. */

static int card_info(struct nv_file *mine, void *data, size_t size)
{
	size_t room = size / sizeof(struct nv_card_info), count = 0, written = 0;
	struct nv_card_info *cards = data;

	memset(cards, 0, room * sizeof(*cards));
	down_read(&gpus_lock);
	for (unsigned int index = 0; index < NV_MAX_DEVICES; index++)
		count += gpus[index].present;
	for (unsigned int index = 0; index < NV_MAX_DEVICES && count <= room; index++) {
		const struct nv_gpu *gpu = &gpus[index];
		struct nv_card_info *card = &cards[written];

		if (!gpu->present || gpu->excluded)
			continue;
		written++;
		/* Field by field: an assigned struct may bring the stack's bytes along in its padding. */
		card->valid = 1;
		card->domain = gpu->id >> 16;
		card->bus = gpu->bus;
		card->vendor_id = NV_PCI_VENDOR;
		card->device_id = LAB_PCI_DEVICE;
		card->gpu_id = gpu->id;
		card->minor_number = gpu->minor;
	}
	up_read(&gpus_lock);
	return count > room ? -EINVAL : 0;
}

static int attach_gpus(struct nv_file *mine, void *data, size_t size)
{
	struct nv_gpu *found[NV_MAX_DEVICES];
	size_t count = size / sizeof(u32), known = 0;
	const u32 *ids = data;
	int error = 0;

	if (!count || count > NV_MAX_DEVICES || size % sizeof(u32))
		return -EINVAL;
	for (size_t i = 0; i < count; i++) {
		struct nv_gpu *gpu = ids[i] ? nv_gpu_by_id(ids[i]) : NULL;

		if (gpu && !gpu->excluded)
			found[known++] = gpu;
		else if (ids[i])
			return -EINVAL;
	}
	mutex_lock(&mine->lock);
	if (mine->attached_once) {
		error = -EINVAL;
	} else {
		mine->attached_once = true;
		for (; mine->attached_count < known; mine->attached_count++) {
			mine->attached[mine->attached_count] = found[mine->attached_count];
			atomic_inc(&found[mine->attached_count]->users);
		}
	}
	mutex_unlock(&mine->lock);
	return error;
}

/* src/nvidia/arch/nvalloc/unix/src/osapi.c, RmPerformVersionCheck(). */
static int check_version(struct nv_file *mine, void *data, size_t size)
{
	struct nv_version *version = data;
	bool same;

	version->reply = NV_VERSION_REPLY_RECOGNIZED;
	if (version->cmd == NV_VERSION_CMD_QUERY) {
		same = true;
	} else if (version->cmd == NV_VERSION_CMD_RELAXED) {
		size_t major = strcspn(driver_version, ".") + 1;

		same = !strncmp(version->text, driver_version, major);
	} else {
		same = !strncmp(version->text, driver_version, sizeof(version->text));
	}
	if (!same)
		pr_err_ratelimited("NVRM: API mismatch: the client has the version %*pE, but\n"
				   "NVRM: this kernel module (the lab's stand-in) has the version %s.\n",
				   (int)strnlen(version->text, sizeof(version->text)), version->text, driver_version);
	memset(version->text, 0, sizeof(version->text));
	strscpy(version->text, driver_version, sizeof(version->text));
	return same ? 0 : -EINVAL;
}

/* src/nvidia/arch/nvalloc/unix/src/escape.c, NV_ESC_REGISTER_FD: any file of ours names a control file, once. */
static int register_fd(struct nv_file *mine, void *data, size_t size)
{
	const struct nv_register_fd *request = data;
	struct file *other = fget(request->ctl_fd);
	struct nv_file *control = nv_file_of(other);
	int error = -EINVAL;

	if (control && !control->gpu && control != mine && !READ_ONCE(control->registered)) {
		mutex_lock(&mine->lock);
		if (!mine->registered) {
			mine->registered = true;
			error = 0;
		}
		mutex_unlock(&mine->lock);
	}
	if (other)
		fput(other);
	return error;
}

static int os_event(struct nv_file *mine, void *data, size_t size)
{
	struct nv_os_event *event = data;
	struct file *file = fget(event->fd);

	event->status = nv_file_of(file) ? NV_OK : NV_ERR_INVALID_ARGUMENT;
	if (file)
		fput(file);
	return 0;
}

static int sys_params(struct nv_file *mine, void *data, size_t size)
{
	static atomic64_t memblock_size;
	const struct nv_sys_params *params = data;
	s64 before = atomic64_cmpxchg(&memblock_size, 0, params->memblock_size);

	return before == 0 || before == (s64)params->memblock_size ? 0 : -EBUSY;
}

static int numa_info(struct nv_file *mine, void *data, size_t size)
{
	memset(data, 0, size);
	return 0;
}

static int wait_open_complete(struct nv_file *mine, void *data, size_t size)
{
	memset(data, 0, size); /* rc and adapter status of an open that has succeeded */
	return 0;
}

static int rm_alloc(struct nv_file *mine, void *data, size_t size)
{
	return nv_rm_alloc(mine, data, size);
}

static int rm_free(struct nv_file *mine, void *data, size_t size)
{
	return nv_rm_free(mine, data, size);
}

static int rm_control(struct nv_file *mine, void *data, size_t size)
{
	return nv_rm_control(mine, data, size);
}

enum node { EITHER, CONTROL, GPU };

static const struct {
	unsigned int number;
	size_t size; /* 0: the call checks it itself */
	enum node node;
	int (*answer)(struct nv_file *mine, void *data, size_t size);
} calls[] = {
	{ NV_ESC_CARD_INFO, 0, CONTROL, card_info },
	{ NV_ESC_REGISTER_FD, sizeof(struct nv_register_fd), EITHER, register_fd },
	{ NV_ESC_ALLOC_OS_EVENT, sizeof(struct nv_os_event), EITHER, os_event },
	{ NV_ESC_FREE_OS_EVENT, sizeof(struct nv_os_event), EITHER, os_event },
	{ NV_ESC_CHECK_VERSION_STR, sizeof(struct nv_version), CONTROL, check_version },
	{ NV_ESC_ATTACH_GPUS_TO_FD, 0, CONTROL, attach_gpus },
	{ NV_ESC_SYS_PARAMS, sizeof(struct nv_sys_params), CONTROL, sys_params },
	{ NV_ESC_NUMA_INFO, sizeof(struct nv_numa_info), GPU, numa_info },
	{ NV_ESC_WAIT_OPEN_COMPLETE, sizeof(struct nv_wait_open_complete), EITHER, wait_open_complete },
	{ NV_ESC_RM_ALLOC, sizeof(struct nv_rm_alloc), CONTROL, rm_alloc },
	{ NV_ESC_RM_ALLOC, sizeof(struct nv_rm_alloc_rights), CONTROL, rm_alloc },
	{ NV_ESC_RM_FREE, sizeof(struct nv_rm_free), CONTROL, rm_free },
	{ NV_ESC_RM_CONTROL, sizeof(struct nv_rm_control), CONTROL, rm_control },
};

static int answer(struct nv_file *mine, unsigned int number, void *data, size_t size)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		if (calls[i].number != number || (calls[i].size && calls[i].size != size))
			continue;
		if (calls[i].node != EITHER && calls[i].node != (mine->gpu ? GPU : CONTROL))
			return -EINVAL;
		if (mine->gpu && !READ_ONCE(mine->gpu->present))
			return -EINVAL; /* "GPU is lost" */
		return calls[i].answer(mine, data, size);
	}
	return -EINVAL;
}

static long node_ioctl(struct file *file, unsigned int cmd, unsigned long argument)
{
	unsigned int number = _IOC_NR(cmd);
	size_t size = _IOC_SIZE(cmd);
	void __user *user = (void __user *)argument;
	struct nv_xfer xfer;
	void *data;
	int error;

	if (number == NV_ESC_IOCTL_XFER_CMD) {
		if (size != sizeof(xfer))
			return -EINVAL;
		if (copy_from_user(&xfer, user, sizeof(xfer)))
			return -EFAULT;
		if (xfer.size > NV_XFER_SIZE_MAX)
			return -EINVAL;
		number = xfer.cmd;
		size = xfer.size;
		user = u64_to_user_ptr(xfer.ptr);
	}
	data = memdup_user(user, size);
	if (IS_ERR(data))
		return PTR_ERR(data);
	error = answer(file->private_data, number, data, size);
	/* Also after an error: the version check answers with EINVAL and the version. */
	if (error != -EFAULT && copy_to_user(user, data, size))
		error = -EFAULT;
	kfree(data);
	return error;
}

/* Loading. */

static int add_nodes(struct cdev *nodes, unsigned int first, unsigned int count, const char *name)
{
	int error = register_chrdev_region(MKDEV(NV_MAJOR, first), count, name);

	if (error)
		return error;
	cdev_init(nodes, &node_operations);
	nodes->owner = THIS_MODULE;
	error = cdev_add(nodes, MKDEV(NV_MAJOR, first), count);
	if (error)
		unregister_chrdev_region(MKDEV(NV_MAJOR, first), count);
	return error;
}

static void remove_nodes(struct cdev *nodes, unsigned int first, unsigned int count)
{
	cdev_del(nodes);
	unregister_chrdev_region(MKDEV(NV_MAJOR, first), count);
}

static int check_parameters(void)
{
	size_t length = strlen(driver_version);

	if (!length || length >= NV_VERSION_LENGTH || strspn(driver_version, "0123456789.") != length) {
		pr_err("NVRM: driver_version=%s: a version is like " LAB_DRIVER_VERSION "\n", driver_version);
		return -EINVAL;
	}
	for (int i = 0; i < minors_given; i++) {
		bool twice = false;

		for (int other = 0; other < i; other++)
			twice |= minors[other] == minors[i];
		if (twice || minors[i] > NV_MINOR_REGULAR_MAX) {
			pr_err("NVRM: minors=...%u: minors are 0 to %u, each once\n", minors[i], NV_MINOR_REGULAR_MAX);
			return -EINVAL;
		}
	}
	for (int i = 0; i < mig_given; i++) {
		if (mig[i] < -1 || mig[i] > MIG_INSTANCES_MAX) {
			pr_err("NVRM: mig=%d: a GPU has 0 to %d instances, or -1 for MIG off\n", mig[i], MIG_INSTANCES_MAX);
			return -EINVAL;
		}
	}
	return 0;
}

static int __init nv_init(void)
{
	unsigned int count = 0;
	int error = check_parameters();

	if (error)
		return error;
	error = nv_procfs_init();
	if (error)
		return error;
	error = nv_caps_init();
	if (error)
		goto no_caps;
	error = pci_register_driver(&pci);
	if (error)
		goto no_pci;
	for (unsigned int index = 0; index < NV_MAX_DEVICES; index++)
		count += gpus[index].present;
	if (!count) {
		pr_err("NVRM: No NVIDIA GPU found.\n");
		error = -ENODEV;
		goto no_gpu;
	}
	pr_info("NVRM: loading the lab's stand-in for NVIDIA's driver %s: %u pretend GPUs\n", driver_version, count);
	error = add_nodes(&gpu_nodes, 0, NV_MINOR_REGULAR_MAX + 1, "nvidia");
	if (error)
		goto no_gpu;
	error = add_nodes(&control_node, NV_MINOR_CONTROL, 1, "nvidiactl");
	if (error)
		goto no_control_node;
	return 0;

no_control_node:
	remove_nodes(&gpu_nodes, 0, NV_MINOR_REGULAR_MAX + 1);
no_gpu:
	pci_unregister_driver(&pci);
no_pci:
	nv_caps_exit();
no_caps:
	nv_procfs_exit();
	return error;
}

static void __exit nv_exit(void)
{
	remove_nodes(&control_node, NV_MINOR_CONTROL, 1);
	remove_nodes(&gpu_nodes, 0, NV_MINOR_REGULAR_MAX + 1);
	pci_unregister_driver(&pci);
	nv_caps_exit();
	nv_procfs_exit();
}

module_init(nv_init);
module_exit(nv_exit);
MODULE_DESCRIPTION("A stand-in for NVIDIA's driver, of nvproxy-fleet's lab");
MODULE_ALIAS_CHARDEV_MAJOR(NV_MAJOR);
MODULE_SOFTDEP("pre: nvproxy-lab-pci");
MODULE_VERSION(LAB_DRIVER_VERSION);
MODULE_LICENSE("GPL");
