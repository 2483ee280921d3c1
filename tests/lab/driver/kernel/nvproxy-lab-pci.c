// SPDX-License-Identifier: GPL-2.0
/* Pretend GPUs on the PCI bus, so that what looks for NVIDIA's hardware first finds it: udev (which loads the driver by a device's
 * modalias), nvidia-modprobe, lspci, nvidia-ctk. Each GPU is function 0 of device 0 on a bus of its own, 0000:01:00.0 and so on, without
 * registers, memory or interrupts: nothing but a configuration space that can be read.
 *
 *   modprobe nvproxy-lab-pci gpus=8
 *
 * Nothing of a real host bridge is touched. A bus number that the machine has already is left alone, with a line in the log. */
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "nvidia-abi.h"

static unsigned int gpus = 2;
module_param(gpus, uint, 0444);
MODULE_PARM_DESC(gpus, "how many pretend GPUs there are: 0 to 32");

static struct pci_sysdata sysdata = { .domain = 0, .node = NUMA_NO_NODE };
static struct resource bus_numbers[NV_MAX_DEVICES];
static struct pci_bus *buses[NV_MAX_DEVICES];

/* A type 0 header (PCI Local Bus Specification 3.0, 6.1): class 0x0302, "3D controller", as compute GPUs have. */
static const u32 header[] = {
	[PCI_VENDOR_ID / 4] = LAB_PCI_DEVICE << 16 | NV_PCI_VENDOR,
	[PCI_CLASS_REVISION / 4] = 0x030200a1,
	[PCI_SUBSYSTEM_VENDOR_ID / 4] = LAB_PCI_SUBSYSTEM << 16 | NV_PCI_VENDOR,
};

static int read_config(struct pci_bus *bus, unsigned int function, int where, int size, u32 *value)
{
	u32 word = where / 4 < ARRAY_SIZE(header) ? header[where / 4] : 0;

	if (function != 0) {
		PCI_SET_ERROR_RESPONSE(value);
		return PCIBIOS_DEVICE_NOT_FOUND;
	}
	word >>= 8 * (where % 4);
	*value = size == 4 ? word : word & ((1U << (8 * size)) - 1);
	return PCIBIOS_SUCCESSFUL;
}

static int write_config(struct pci_bus *bus, unsigned int function, int where, int size, u32 value)
{
	return PCIBIOS_SUCCESSFUL; /* as a device does with registers that are read-only */
}

static struct pci_ops config_access = { .read = read_config, .write = write_config };

static struct pci_bus *add_bus(unsigned int index)
{
	struct resource *numbers = &bus_numbers[index];
	LIST_HEAD(resources);
	struct pci_bus *bus;

	*numbers = (struct resource){
		.name = KBUILD_MODNAME, .start = index + 1, .end = index + 1, .flags = IORESOURCE_BUS
	};
	pci_add_resource(&resources, numbers);
	bus = pci_scan_root_bus(NULL, index + 1, &config_access, &sysdata, &resources);
	if (!bus) {
		pr_err("PCI bus %02x is there already: no pretend GPU %u\n", index + 1, index);
		pci_free_resource_list(&resources);
		return NULL;
	}
	pci_bus_add_devices(bus);
	return bus;
}

static int __init lab_pci_init(void)
{
	if (gpus > NV_MAX_DEVICES) {
		pr_err("gpus=%u: there can be 0 to %u\n", gpus, NV_MAX_DEVICES);
		return -EINVAL;
	}
	pr_info("%u pretend NVIDIA GPUs of nvproxy-fleet's lab: nothing on this bus is real\n", gpus);
	pci_lock_rescan_remove();
	for (unsigned int index = 0; index < gpus; index++)
		buses[index] = add_bus(index);
	pci_unlock_rescan_remove();
	return 0;
}

static void __exit lab_pci_exit(void)
{
	pci_lock_rescan_remove();
	for (unsigned int index = 0; index < gpus; index++) {
		if (!buses[index])
			continue;
		pci_stop_root_bus(buses[index]);
		pci_remove_root_bus(buses[index]);
	}
	pci_unlock_rescan_remove();
}

module_init(lab_pci_init);
module_exit(lab_pci_exit);
MODULE_DESCRIPTION("Pretend NVIDIA GPUs of nvproxy-fleet's lab");
MODULE_LICENSE("GPL");
