// SPDX-License-Identifier: GPL-2.0
/* The resource manager, as far as programs begin: a client, under it devices and their subdevices, and the controls that tell which GPUs
 * there are. Every other class and control is refused with the driver's status.
 *
 * Behaviour: NVIDIA open-gpu-kernel-modules 570.124.06, src/nvidia/src/kernel/rmapi/client_resource.c, gpu/device.c, gpu_mgr/gpu_mgr.c. */
#include <linux/cred.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "nv.h"

#define FIRST_CLIENT 0xc1d00001 /* as the driver numbers them */
#define FIRST_OBJECT 0xcaf00001
#define OBJECTS_MAX 1024 /* of a client */
#define CLIENTS_MAX 1024

struct object {
	struct list_head in_client;
	u32 handle, parent, class;
	struct nv_gpu *gpu;
};

struct client {
	struct list_head in_clients;
	const void *owner;
	pid_t process;
	kuid_t user;
	u32 handle, next_object;
	unsigned int count;
	struct list_head objects;
};

static DEFINE_MUTEX(lock); /* all that follows: the driver's "API lock" */
static LIST_HEAD(clients);
static unsigned int client_count;
static u32 next_client = FIRST_CLIENT;

static struct client *find_client(u32 handle)
{
	struct client *client;

	list_for_each_entry(client, &clients, in_clients)
		if (client->handle == handle)
			return client;
	return NULL;
}

/* A client answers to the process that made it. */
static struct client *my_client(u32 handle)
{
	struct client *client = find_client(handle);

	return client && client->process == task_tgid_nr(current) && uid_eq(client->user, current_euid()) ? client : NULL;
}

static struct object *find_object(struct client *client, u32 handle)
{
	struct object *object;

	list_for_each_entry(object, &client->objects, in_client)
		if (object->handle == handle)
			return object;
	return NULL;
}

/* With all that hangs on it. Objects are listed after their parents, so that one pass finds the children of children. */
static void free_object(struct client *client, struct object *object)
{
	struct object *other, *next;
	LIST_HEAD(going);

	list_move_tail(&object->in_client, &going);
	list_for_each_entry_safe(other, next, &client->objects, in_client) {
		struct object *parent;

		list_for_each_entry(parent, &going, in_client) {
			if (parent->handle == other->parent) {
				list_move_tail(&other->in_client, &going);
				break;
			}
		}
	}
	list_for_each_entry_safe(other, next, &going, in_client) {
		client->count--;
		kfree(other);
	}
}

static void free_client(struct client *client)
{
	struct object *object, *next;

	list_for_each_entry_safe(object, next, &client->objects, in_client)
		kfree(object);
	list_del(&client->in_clients);
	client_count--;
	kfree(client);
}

void nv_rm_file_closed(const void *owner)
{
	struct client *client, *next;

	mutex_lock(&lock);
	list_for_each_entry_safe(client, next, &clients, in_clients)
		if (client->owner == owner)
			free_client(client);
	mutex_unlock(&lock);
}

static u32 add_client(const void *owner, u32 *handle)
{
	struct client *client;

	if (*handle && find_client(*handle))
		return NV_ERR_INSERT_DUPLICATE_NAME;
	if (client_count == CLIENTS_MAX)
		return NV_ERR_INSUFFICIENT_RESOURCES;
	client = kzalloc(sizeof(*client), GFP_KERNEL_ACCOUNT);
	if (!client)
		return NV_ERR_NO_MEMORY;
	while (!*handle || find_client(*handle))
		*handle = next_client++;
	client->handle = *handle;
	client->owner = owner;
	client->process = task_tgid_nr(current);
	client->user = current_euid();
	client->next_object = FIRST_OBJECT;
	INIT_LIST_HEAD(&client->objects);
	list_add_tail(&client->in_clients, &clients);
	client_count++;
	return NV_OK;
}

/* gpu/device.c: a device instance that is not set up is "not a class"; one whose node the caller has not open is not for it. */
static u32 find_device(u64 user, struct nv_gpu **gpu)
{
	struct nv_device_params params = {};

	if (user && copy_from_user(&params, u64_to_user_ptr(user), sizeof(params)))
		return NV_ERR_INVALID_ADDRESS;
	*gpu = nv_gpu_at(params.device_id);
	if (!*gpu || !atomic_read(&(*gpu)->users))
		return NV_ERR_INVALID_CLASS;
	return nv_gpu_is_open_here(*gpu) ? NV_OK : NV_ERR_INSUFFICIENT_PERMISSIONS;
}

static u32 find_subdevice(u64 user, const struct object *device)
{
	struct nv_subdevice_params params = {};

	if (!device || device->class != NV01_DEVICE_0)
		return NV_ERR_INVALID_OBJECT_PARENT;
	if (user && copy_from_user(&params, u64_to_user_ptr(user), sizeof(params)))
		return NV_ERR_INVALID_ADDRESS;
	return params.subdevice_id == 0 ? NV_OK : NV_ERR_INVALID_ARGUMENT;
}

static u32 add_object(struct nv_rm_alloc *request)
{
	struct client *client = my_client(request->root);
	struct object *parent, *object;
	struct nv_gpu *gpu = NULL;
	u32 status;

	if (!client)
		return NV_ERR_INVALID_CLIENT;
	parent = find_object(client, request->parent);
	if (!parent && request->parent != client->handle)
		return NV_ERR_INVALID_OBJECT_PARENT;
	switch (request->class) {
	case NV01_DEVICE_0:
		status = parent ? NV_ERR_INVALID_OBJECT_PARENT : find_device(request->params, &gpu);
		break;
	case NV20_SUBDEVICE_0:
		status = find_subdevice(request->params, parent);
		gpu = parent ? parent->gpu : NULL;
		break;
	default:
		status = NV_ERR_INVALID_CLASS;
	}
	if (status != NV_OK)
		return status;
	if (request->object && (request->object == client->handle || find_object(client, request->object)))
		return NV_ERR_INSERT_DUPLICATE_NAME;
	if (client->count == OBJECTS_MAX)
		return NV_ERR_INSUFFICIENT_RESOURCES;
	object = kzalloc(sizeof(*object), GFP_KERNEL_ACCOUNT);
	if (!object)
		return NV_ERR_NO_MEMORY;
	while (!request->object || request->object == client->handle || find_object(client, request->object))
		request->object = client->next_object++;
	object->handle = request->object;
	object->parent = request->parent;
	object->class = request->class;
	object->gpu = gpu;
	list_add_tail(&object->in_client, &client->objects);
	client->count++;
	return NV_OK;
}

int nv_rm_alloc(const void *owner, void *data, size_t size)
{
	struct nv_rm_alloc_rights *with_rights = size == sizeof(*with_rights) ? data : NULL;
	struct nv_rm_alloc *request = data; /* both begin with the same fields; only the status lies elsewhere */
	u32 status;

	mutex_lock(&lock);
	if (request->class == NV01_ROOT || request->class == NV01_ROOT_NON_PRIV || request->class == NV01_ROOT_CLIENT) {
		request->class = NV01_ROOT_CLIENT;
		status = add_client(owner, &request->object);
		if (status == NV_OK)
			request->root = request->object;
	} else {
		status = add_object(request);
	}
	mutex_unlock(&lock);
	if (with_rights)
		with_rights->status = status;
	else
		request->status = status;
	return 0;
}

int nv_rm_free(const void *owner, void *data, size_t size)
{
	struct nv_rm_free *request = data;
	struct client *client;
	struct object *object;

	mutex_lock(&lock);
	client = my_client(request->root);
	object = client ? find_object(client, request->object) : NULL;
	request->status = NV_OK;
	if (!client)
		request->status = NV_ERR_INVALID_CLIENT;
	else if (request->object == client->handle)
		free_client(client);
	else if (object)
		free_object(client, object);
	else
		request->status = NV_ERR_INVALID_OBJECT_HANDLE;
	mutex_unlock(&lock);
	return 0;
}

/* The controls. Each has a copy of its parameters, of just the size that its row in `controls` names. */

static u32 attached_ids(struct nv_gpu *unused, void *params)
{
	struct nv_attached_ids *list = params;
	unsigned int count = 0;

	memset(list, 0xff, sizeof(*list)); /* NV_GPU_INVALID_ID */
	for (unsigned int index = 0; index < NV_MAX_DEVICES; index++) {
		struct nv_gpu *gpu = nv_gpu_at(index);

		if (gpu && atomic_read(&gpu->users))
			list->ids[count++] = gpu->id;
	}
	return NV_OK;
}

static u32 probed_ids(struct nv_gpu *unused, void *params)
{
	struct nv_probed_ids *list = params;
	unsigned int count = 0, excluded = 0;

	memset(list, 0xff, sizeof(*list));
	for (unsigned int index = 0; index < NV_MAX_DEVICES; index++) {
		struct nv_gpu *gpu = nv_gpu_at(index);

		if (gpu && gpu->excluded)
			list->excluded_ids[excluded++] = gpu->id;
		else if (gpu)
			list->ids[count++] = gpu->id;
	}
	return NV_OK;
}

static u32 device_ids(struct nv_gpu *unused, void *params)
{
	u32 *mask = params;

	*mask = 0;
	for (unsigned int index = 0; index < NV_MAX_DEVICES; index++) {
		struct nv_gpu *gpu = nv_gpu_at(index);

		if (gpu && atomic_read(&gpu->users))
			*mask |= 1U << index;
	}
	return NV_OK;
}

static struct nv_gpu *usable_gpu(u32 id)
{
	struct nv_gpu *gpu = nv_gpu_by_id(id);

	return gpu && !gpu->excluded ? gpu : NULL;
}

static u32 attach_ids(struct nv_gpu *unused, void *params)
{
	struct nv_attach_ids *list = params;

	list->failed_id = NV_GPU_INVALID_ID;
	if (list->ids[0] == NV_GPU_ATTACH_ALL)
		return NV_OK;
	for (unsigned int i = 0; i < NV_MAX_DEVICES && list->ids[i] != NV_GPU_INVALID_ID; i++) {
		if (!usable_gpu(list->ids[i])) {
			list->failed_id = list->ids[i];
			return NV_ERR_INVALID_ARGUMENT;
		}
	}
	return NV_OK;
}

static u32 detach_ids(struct nv_gpu *unused, void *params)
{
	return NV_OK;
}

static u32 id_info_v2(struct nv_gpu *unused, void *params)
{
	struct nv_id_info_v2 *info = params;
	struct nv_gpu *gpu = usable_gpu(info->gpu_id);

	if (!gpu || !atomic_read(&gpu->users))
		return NV_ERR_INVALID_ARGUMENT;
	*info = (struct nv_id_info_v2){
		.gpu_id = gpu->id, .device_instance = gpu->index, .board_id = gpu->id, .gpu_instance = gpu->index, .numa_id = -1
	};
	return NV_OK;
}

static u32 id_info(struct nv_gpu *unused, void *params)
{
	struct nv_id_info *info = params;
	struct nv_id_info_v2 known = { .gpu_id = info->gpu_id };
	u32 status = id_info_v2(NULL, &known);

	if (status == NV_OK)
		*info = (struct nv_id_info){
			.gpu_id = known.gpu_id, .device_instance = known.device_instance, .name = info->name,
			.board_id = known.board_id, .gpu_instance = known.gpu_instance, .numa_id = known.numa_id
		};
	return status;
}

static u32 pci_location(struct nv_gpu *unused, void *params)
{
	struct nv_pci_location *location = params;
	struct nv_gpu *gpu = nv_gpu_by_id(location->gpu_id);

	if (!gpu)
		return NV_ERR_INVALID_ARGUMENT;
	location->domain = gpu->id >> 16;
	location->bus = gpu->bus;
	location->slot = 0;
	return NV_OK;
}

static u32 put_uuid(const struct nv_gpu *gpu, u32 flags, u8 *to, u32 *length)
{
	if ((flags & NV_UUID_FORMAT_MASK) == NV_UUID_FORMAT_ASCII) {
		memcpy(to, gpu->uuid, LAB_UUID_LENGTH);
		*length = LAB_UUID_LENGTH;
		return NV_OK;
	}
	if ((flags & NV_UUID_FORMAT_MASK) != NV_UUID_FORMAT_BINARY)
		return NV_ERR_INVALID_ARGUMENT;
	*length = 0;
	for (const char *digits = gpu->uuid + strlen("GPU-"); *digits; digits += 2) {
		if (*digits == '-')
			digits++;
		to[(*length)++] = hex_to_bin(digits[0]) << 4 | hex_to_bin(digits[1]);
	}
	return NV_OK;
}

static u32 uuid_from_id(struct nv_gpu *unused, void *params)
{
	struct nv_uuid_from_id *request = params;
	struct nv_gpu *gpu = nv_gpu_by_id(request->gpu_id);

	return gpu ? put_uuid(gpu, request->flags, request->uuid, &request->length) : NV_ERR_OBJECT_NOT_FOUND;
}

static u32 gid_info(struct nv_gpu *gpu, void *params)
{
	struct nv_gid_info *request = params;

	return put_uuid(gpu, request->flags, request->data, &request->length);
}

static u32 name_string(struct nv_gpu *gpu, void *params)
{
	struct nv_name_string *request = params;
	static const char name[] = LAB_GPU_NAME;

	memset(&request->name, 0, sizeof(request->name));
	for (size_t i = 0; i < sizeof(name); i++) {
		if (request->flags)
			request->name.unicode[i] = name[i];
		else
			request->name.ascii[i] = name[i];
	}
	return NV_OK;
}

static const struct {
	u32 number, class; /* of the object that it is a control of */
	size_t size;
	u32 (*answer)(struct nv_gpu *gpu, void *params);
} controls[] = {
	{ NV0000_GPU_GET_ATTACHED_IDS, NV01_ROOT_CLIENT, sizeof(struct nv_attached_ids), attached_ids },
	{ NV0000_GPU_GET_PROBED_IDS, NV01_ROOT_CLIENT, sizeof(struct nv_probed_ids), probed_ids },
	{ NV0000_GPU_GET_DEVICE_IDS, NV01_ROOT_CLIENT, sizeof(u32), device_ids },
	{ NV0000_GPU_ATTACH_IDS, NV01_ROOT_CLIENT, sizeof(struct nv_attach_ids), attach_ids },
	{ NV0000_GPU_DETACH_IDS, NV01_ROOT_CLIENT, sizeof(struct nv_attached_ids), detach_ids },
	{ NV0000_GPU_GET_ID_INFO, NV01_ROOT_CLIENT, sizeof(struct nv_id_info), id_info },
	{ NV0000_GPU_GET_ID_INFO_V2, NV01_ROOT_CLIENT, sizeof(struct nv_id_info_v2), id_info_v2 },
	{ NV0000_GPU_GET_PCI_INFO, NV01_ROOT_CLIENT, sizeof(struct nv_pci_location), pci_location },
	{ NV0000_GPU_GET_UUID_FROM_GPU_ID, NV01_ROOT_CLIENT, sizeof(struct nv_uuid_from_id), uuid_from_id },
	{ NV2080_GPU_GET_GID_INFO, NV20_SUBDEVICE_0, sizeof(struct nv_gid_info), gid_info },
	{ NV2080_GPU_GET_NAME_STRING, NV20_SUBDEVICE_0, sizeof(struct nv_name_string), name_string },
};

static u32 control(const struct nv_rm_control *request)
{
	struct client *client = my_client(request->client);
	struct object *object = client ? find_object(client, request->object) : NULL;
	u32 class = object ? object->class : NV01_ROOT_CLIENT, status;
	void *params;

	if (!client)
		return NV_ERR_INVALID_CLIENT;
	if (!object && request->object != client->handle)
		return NV_ERR_INVALID_OBJECT_HANDLE;
	for (size_t i = 0; i < ARRAY_SIZE(controls); i++) {
		if (controls[i].number != request->cmd || controls[i].class != class)
			continue;
		if (controls[i].size != request->params_size)
			return NV_ERR_INVALID_PARAM_STRUCT;
		params = memdup_user(u64_to_user_ptr(request->params), controls[i].size);
		if (IS_ERR(params))
			return PTR_ERR(params) == -ENOMEM ? NV_ERR_NO_MEMORY : NV_ERR_INVALID_ADDRESS;
		status = controls[i].answer(object ? object->gpu : NULL, params);
		if (copy_to_user(u64_to_user_ptr(request->params), params, controls[i].size))
			status = NV_ERR_INVALID_ADDRESS;
		kfree(params);
		return status;
	}
	return NV_ERR_NOT_SUPPORTED;
}

int nv_rm_control(const void *owner, void *data, size_t size)
{
	struct nv_rm_control *request = data;

	mutex_lock(&lock);
	request->status = control(request);
	mutex_unlock(&lock);
	return 0;
}
