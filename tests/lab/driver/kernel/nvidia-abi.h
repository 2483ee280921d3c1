/* SPDX-License-Identifier: GPL-2.0 */
/* Numbers and layouts of NVIDIA's driver that the stand-in answers: the one place where they stand, for the modules (kernel/), the
 * client and the stand-ins for NVML and libnvidia-cfg.
 *
 * Sources: NVIDIA open-gpu-kernel-modules 570.124.06; at each group the file. gVisor 20260905, pkg/abi/nvgpu, has the same ones, and its
 * nvproxy forwards only what it knows by number and size. */
#ifndef NVPROXY_LAB_NVIDIA_ABI_H
#define NVPROXY_LAB_NVIDIA_ABI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* kernel-open/common/inc/nv-chardev-numbers.h */
#define NV_MAJOR 195
#define NV_MINOR_REGULAR_MAX 247
#define NV_MINOR_MODESET 254
#define NV_MINOR_CONTROL 255

#define NV_MAX_DEVICES 32 /* src/common/sdk/nvidia/inc/nvlimits.h */
#define NV_PCI_VENDOR 0x10de

/* kernel-open/common/inc/nv-ioctl-numbers.h and nv-ioctl-numa.h. The driver looks at number and size, not at magic and direction. */
#define NV_IOCTL_MAGIC 'F'
#define NV_ESC_CARD_INFO 200
#define NV_ESC_REGISTER_FD 201
#define NV_ESC_ALLOC_OS_EVENT 206
#define NV_ESC_FREE_OS_EVENT 207
#define NV_ESC_CHECK_VERSION_STR 210
#define NV_ESC_IOCTL_XFER_CMD 211
#define NV_ESC_ATTACH_GPUS_TO_FD 212
#define NV_ESC_SYS_PARAMS 214
#define NV_ESC_NUMA_INFO 215
#define NV_ESC_WAIT_OPEN_COMPLETE 218
/* src/nvidia/arch/nvalloc/unix/include/nv_escape.h */
#define NV_ESC_RM_FREE 0x29
#define NV_ESC_RM_CONTROL 0x2a
#define NV_ESC_RM_ALLOC 0x2b

/* kernel-open/common/inc/nv-ioctl.h */
struct nv_card_info { /* NV_ESC_CARD_INFO takes an array of them */
	__u8 valid;
	__u32 domain;
	__u8 bus, slot, function;
	__u16 vendor_id, device_id;
	__u32 gpu_id;
	__u16 interrupt_line;
	__u64 reg_address, reg_size, fb_address, fb_size;
	__u32 minor_number;
	__u8 dev_name[10]; /* the driver leaves it empty on Linux */
};

#define NV_VERSION_LENGTH 64
#define NV_VERSION_CMD_STRICT 0
#define NV_VERSION_CMD_RELAXED '1'
#define NV_VERSION_CMD_QUERY '2'
#define NV_VERSION_REPLY_RECOGNIZED 1
struct nv_version {
	__u32 cmd, reply;
	char text[NV_VERSION_LENGTH];
};

struct nv_register_fd {
	__s32 ctl_fd;
};

struct nv_sys_params {
	__u64 memblock_size;
};

struct nv_numa_info { /* kernel-open/common/inc/nv-ioctl-numa.h; all zero: the GPU's memory is no NUMA node */
	__s32 node, status;
	__u64 memblock_size, address, size;
	__u8 use_auto_online;
	__u64 offline_addresses[64];
	__u32 offline_count;
};

struct nv_xfer { /* for parameters that are too large for a number of ioctl */
	__u32 cmd, size;
	__u64 ptr;
};
#define NV_XFER_SIZE_MAX 16384 /* NV_ABSOLUTE_MAX_IOCTL_SIZE, kernel-open/common/inc/nv-linux.h */

struct nv_os_event {
	__u32 client, device, fd, status;
};

struct nv_wait_open_complete {
	__s32 rc;
	__u32 adapter_status;
};

/* src/common/sdk/nvidia/inc/nvos.h: NVOS00, NVOS21, NVOS64, NVOS54 */
struct nv_rm_free {
	__u32 root, parent, object, status;
};

struct nv_rm_alloc {
	__u32 root, parent, object, class;
	__u64 params;
	__u32 params_size, status;
};

struct nv_rm_alloc_rights {
	__u32 root, parent, object, class;
	__u64 params, rights;
	__u32 params_size, flags, status;
};

struct nv_rm_control {
	__u32 client, object, cmd, flags;
	__u64 params;
	__u32 params_size, status;
};

/* src/common/sdk/nvidia/inc/class/cl0000.h, cl0001.h, cl0041.h, cl0080.h, cl2080.h */
#define NV01_ROOT 0x0
#define NV01_ROOT_NON_PRIV 0x1
#define NV01_ROOT_CLIENT 0x41
#define NV01_DEVICE_0 0x80
#define NV20_SUBDEVICE_0 0x2080

struct nv_device_params { /* NV0080_ALLOC_PARAMETERS */
	__u32 device_id, client_share, target_client, target_device, flags;
	__u64 va_space_size, va_start, va_limit;
	__u32 va_mode;
};

struct nv_subdevice_params { /* NV2080_ALLOC_PARAMETERS */
	__u32 subdevice_id;
};

/* src/common/sdk/nvidia/inc/ctrl/ctrl0000/ctrl0000gpu.h */
#define NV0000_GPU_GET_ATTACHED_IDS 0x201
#define NV0000_GPU_GET_ID_INFO 0x202
#define NV0000_GPU_GET_DEVICE_IDS 0x204
#define NV0000_GPU_GET_ID_INFO_V2 0x205
#define NV0000_GPU_GET_PROBED_IDS 0x214
#define NV0000_GPU_ATTACH_IDS 0x215
#define NV0000_GPU_DETACH_IDS 0x216
#define NV0000_GPU_GET_PCI_INFO 0x21b
#define NV0000_GPU_GET_UUID_FROM_GPU_ID 0x275
#define NV_GPU_INVALID_ID 0xffffffffu
#define NV_GPU_ATTACH_ALL 0x0000ffffu

struct nv_attached_ids {
	__u32 ids[NV_MAX_DEVICES];
};

struct nv_probed_ids {
	__u32 ids[NV_MAX_DEVICES], excluded_ids[NV_MAX_DEVICES];
};

struct nv_attach_ids {
	__u32 ids[NV_MAX_DEVICES], failed_id;
};

struct nv_id_info {
	__u32 gpu_id, flags, device_instance, subdevice_instance;
	__u64 name;
	__u32 sli_status, board_id, gpu_instance;
	__s32 numa_id;
};

struct nv_id_info_v2 {
	__u32 gpu_id, flags, device_instance, subdevice_instance, sli_status, board_id, gpu_instance;
	__s32 numa_id;
};

struct nv_pci_location {
	__u32 gpu_id, domain;
	__u16 bus, slot;
};

#define NV_UUID_FORMAT_MASK 3
#define NV_UUID_FORMAT_ASCII 0
#define NV_UUID_FORMAT_BINARY 2
#define NV_UUID_LENGTH_MAX 256
struct nv_uuid_from_id {
	__u32 gpu_id, flags;
	__u8 uuid[NV_UUID_LENGTH_MAX];
	__u32 length;
};

/* src/common/sdk/nvidia/inc/ctrl/ctrl2080/ctrl2080gpu.h */
#define NV2080_GPU_GET_NAME_STRING 0x20800110
#define NV2080_GPU_GET_GID_INFO 0x2080014a

#define NV_NAME_LENGTH 64
struct nv_name_string {
	__u32 flags; /* 0: ASCII, 1: UTF-16 */
	union {
		__u8 ascii[NV_NAME_LENGTH];
		__u16 unicode[NV_NAME_LENGTH];
	} name;
};

struct nv_gid_info {
	__u32 index, flags, length;
	__u8 data[NV_UUID_LENGTH_MAX];
};

/* src/common/sdk/nvidia/inc/nvstatuscodes.h */
#define NV_OK 0x0
#define NV_ERR_ILLEGAL_ACTION 0x16
#define NV_ERR_IN_USE 0x17
#define NV_ERR_INSERT_DUPLICATE_NAME 0x19
#define NV_ERR_INSUFFICIENT_RESOURCES 0x1a
#define NV_ERR_INSUFFICIENT_PERMISSIONS 0x1b
#define NV_ERR_INVALID_ADDRESS 0x1e
#define NV_ERR_INVALID_ARGUMENT 0x1f
#define NV_ERR_INVALID_CLASS 0x22
#define NV_ERR_INVALID_CLIENT 0x23
#define NV_ERR_INVALID_OBJECT_HANDLE 0x33
#define NV_ERR_INVALID_OBJECT_PARENT 0x36
#define NV_ERR_INVALID_PARAM_STRUCT 0x3a
#define NV_ERR_NO_MEMORY 0x51
#define NV_ERR_NOT_SUPPORTED 0x56
#define NV_ERR_OBJECT_NOT_FOUND 0x57
#define NV_WARN_NOTHING_TO_DO 0x10006

/* kernel-open/nvidia-uvm/uvm_linux_ioctl.h and uvm_ioctl.h: bare numbers, without size or direction */
#define UVM_INITIALIZE 0x30000001
#define UVM_DEINITIALIZE 0x30000002
#define UVM_PAGEABLE_MEM_ACCESS 39
#define UVM_MM_INITIALIZE 75

struct uvm_initialize {
	__u64 flags;
	__u32 status;
};

struct uvm_pageable_mem_access {
	__u8 pageable;
	__u32 status;
};

struct uvm_mm_initialize {
	__s32 uvm_fd;
	__u32 status;
};

/* gVisor's nvproxy and the driver refuse another size (gVisor 20260905, pkg/abi/nvgpu: Sizeof…). */
#define NV_SIZE(type, size) _Static_assert(sizeof(struct type) == (size), #type)
NV_SIZE(nv_card_info, 72);
NV_SIZE(nv_version, 72);
NV_SIZE(nv_xfer, 16);
NV_SIZE(nv_os_event, 16);
NV_SIZE(nv_numa_info, 560);
NV_SIZE(nv_rm_free, 16);
NV_SIZE(nv_rm_alloc, 32);
NV_SIZE(nv_rm_alloc_rights, 48);
NV_SIZE(nv_rm_control, 32);
NV_SIZE(nv_device_params, 56);
NV_SIZE(nv_probed_ids, 256);
NV_SIZE(nv_attach_ids, 132);
NV_SIZE(nv_id_info, 40);
NV_SIZE(nv_id_info_v2, 32);
NV_SIZE(nv_pci_location, 12);
NV_SIZE(nv_uuid_from_id, 268);
NV_SIZE(nv_name_string, 132);
NV_SIZE(nv_gid_info, 268);
NV_SIZE(uvm_initialize, 16);
NV_SIZE(uvm_mm_initialize, 8);
NV_SIZE(uvm_pageable_mem_access, 8);

/* The lab's own: what its pretend GPUs are. definition.py's PretendGpu makes the same UUIDs. */
#define LAB_PCI_DEVICE 0x6c61 /* no real card's: by it the stand-in for NVML knows that the driver is the lab's, */
#define LAB_PCI_SUBSYSTEM 0x6c62 /* and by both the stand-in for the driver takes no real GPU */
#define LAB_GPU_NAME "NVIDIA Lab Stand-in"
#define LAB_UUID "GPU-6c616200-0000-0000-0000-%012x" /* of the minor */
#define LAB_UUID_LENGTH 41                        /* with its end, as the driver counts it */

#endif
