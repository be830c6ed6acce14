/* SPDX-License-Identifier: BSD-3-Clause */
#include "messages.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "notifier.h"
#include "session.h"
#include "vdev.h"

/* What every port offers; more than one pair adds MQ. */
static const uint64_t PROTOCOL_OFFERED = 1ull << PROTOCOL_LOG_SHMFD | 1ull << PROTOCOL_RARP |
					 1ull << PROTOCOL_REPLY_ACK | 1ull << PROTOCOL_MTU |
					 1ull << PROTOCOL_BACKEND_REQ | 1ull << PROTOCOL_CONFIG |
					 1ull << PROTOCOL_INFLIGHT_SHMFD | 1ull << PROTOCOL_RESET_DEVICE |
					 1ull << PROTOCOL_CONFIGURE_MEM_SLOTS | 1ull << PROTOCOL_STATUS;

/* SET_VRING_KICK, CALL, ERR: bits 0-7 are the index, bit 8 says that no descriptor comes. */
enum { VRING_IDX_MASK = 0xff, VRING_NO_FD = 1 << 8 };
enum { VRING_ADDR_LOG = 1 << 0 };

/* GET_CONFIG, SET_CONFIG: offset, size and flags before the bytes themselves. */
enum { CONFIG_HEAD = 12, CONFIG_FLAG_MIGRATION = 1 };

/* More than all queues of the largest device need. */
enum { INFLIGHT_BYTES_MAX = 1 << 29 };

/* The handler takes this message's first descriptor; -1: there was none. */
static int
message_take_fd(struct message *message)
{
	int fd = message->n_fds ? message->fds[0] : -1;

	if (message->n_fds)
		message->fds[0] = -1;
	return fd;
}

/* --- handlers: one a message, in the order of the table --- */

static int
handle_get_features(struct session *session, struct message *message, struct diag *diag)
{
	uint64_t features = vdev_features_offered(session->vdev);

	session_reply(session, message, &features, sizeof(features));
	return 0;
}

static int
handle_set_features(struct session *session, struct message *message, struct diag *diag)
{
	return vdev_set_features(session->vdev, message->payload.u64, diag);
}

static int
handle_set_owner(struct session *session, struct message *message, struct diag *diag)
{
	return 0;
}

/* Deprecated; "ignore this message, or use it to disable all rings" (vhost-user). */
static int
handle_reset_owner(struct session *session, struct message *message, struct diag *diag)
{
	vdev_stop(session->vdev);
	return 0;
}

static int
handle_reset_device(struct session *session, struct message *message, struct diag *diag)
{
	vdev_reset(session->vdev);
	return 0;
}

/* What a device may map; a new table takes the old one's place. */
static struct gmem_budget
mem_budget(const struct vdev *vdev)
{
	return (struct gmem_budget){.bytes_max = vdev->mem_max, .guard = vdev->ctx->guard};
}

static int
handle_set_mem_table(struct session *session, struct message *message, struct diag *diag)
{
	struct gmem_region_spec specs[GMEM_TABLE_REGIONS_MAX];
	uint32_t n = message->payload.mem_table.n_regions;
	struct gmem *mem;
	int ret;

	if (n == 0)
		return diag_set(diag, -EINVAL, "",
				"no region: the front-end has no memory that it can share (QEMU: share=on; "
				"libvirt: <access mode=\"shared\"/>)");
	/* Some front-ends always send a payload for more regions than they count, none for fewer. */
	if (n > GMEM_TABLE_REGIONS_MAX || n != message->n_fds ||
	    message->header.size < 8 + n * sizeof(struct message_mem_region))
		return diag_set(diag, -EINVAL, "", "%u regions with %u descriptors in %u bytes", n,
				message->n_fds, message->header.size);
	for (uint32_t i = 0; i < n; i++) {
		const struct message_mem_region *region = &message->payload.mem_table.regions[i];

		specs[i] = (struct gmem_region_spec){.gpa = region->gpa,
						     .size = region->size,
						     .uva = region->uva,
						     .file_offset = region->mmap_offset,
						     .fd = message->fds[i]};
	}
	ret = gmem_build_within(mem_budget(session->vdev), NULL, specs, n, &mem, diag);
	if (ret < 0)
		return ret;
	return vdev_set_mem(session->vdev, mem, diag);
}

static int
handle_set_log_base(struct session *session, struct message *message, struct diag *diag)
{
	/* A log's limit is its own: a guest at the limit of its memory can still be migrated. */
	struct gmem_budget budget = {.bytes_max = UINT64_MAX, .guard = session->vdev->ctx->guard};
	struct gmem_map *map;
	int ret;

	if (message->payload.log.offset % 4096)
		return diag_set(diag, -EINVAL, "", "offset 0x%llx is not on a page",
				(unsigned long long)message->payload.log.offset);
	if (message->payload.log.size > GMEM_LOG_BYTES_MAX)
		return diag_set(diag, -ENOSPC, "", "a dirty log of 0x%llx bytes, not 0x%llx at most",
				(unsigned long long)message->payload.log.size, GMEM_LOG_BYTES_MAX);
	ret = gmem_map_open_within(&budget, message->fds[0], message->payload.log.offset,
				   message->payload.log.size, &map, diag);
	if (ret < 0)
		return ret;
	return vdev_set_log(session->vdev, map, diag);
}

/* The descriptor is for signalling that the log has changed. Front-ends read the log unasked: it is closed.
 */
static int
handle_set_log_fd(struct session *session, struct message *message, struct diag *diag)
{
	return 0;
}

static int
handle_set_vring_num(struct session *session, struct message *message, struct diag *diag)
{
	return vdev_queue_set_size(session->vdev, message->payload.vring_state.idx,
				   message->payload.vring_state.num, diag);
}

static int
handle_set_vring_addr(struct session *session, struct message *message, struct diag *diag)
{
	struct vdev_queue_addr addr = {
		.desc = message->payload.vring_addr.desc,
		.avail = message->payload.vring_addr.avail,
		.used = message->payload.vring_addr.used,
		.log_gpa = message->payload.vring_addr.log,
		.log = message->payload.vring_addr.flags & VRING_ADDR_LOG,
	};

	return vdev_queue_set_addr(session->vdev, message->payload.vring_addr.idx, &addr, diag);
}

static int
handle_set_vring_base(struct session *session, struct message *message, struct diag *diag)
{
	return vdev_queue_set_base(session->vdev, message->payload.vring_state.idx,
				   message->payload.vring_state.num, diag);
}

static int
handle_get_vring_base(struct session *session, struct message *message, struct diag *diag)
{
	uint32_t state[2] = {message->payload.vring_state.idx};

	state[1] = vdev_queue_get_base(session->vdev, state[0]);
	session_reply(session, message, state, sizeof(state));
	return 0;
}

/* SET_VRING_KICK, CALL and ERR: alike but for what the descriptor is set as. */
static int
handle_vring_fd(struct session *session, struct message *message, struct diag *diag,
		int (*set)(struct vdev *vdev, unsigned int idx, int fd, struct diag *diag))
{
	uint64_t word = message->payload.u64;
	bool none = word & VRING_NO_FD;
	int fd, ret;

	if (word & ~(uint64_t)(VRING_IDX_MASK | VRING_NO_FD))
		return diag_set(diag, -EINVAL, "", "0x%llx has bits set beyond index and no-descriptor flag",
				(unsigned long long)word);
	if (none != (message->n_fds == 0))
		return diag_set(diag, -EINVAL, "", "%u descriptors with the no-descriptor flag %s",
				message->n_fds, none ? "set" : "clear");
	fd = message_take_fd(message);
	ret = set(session->vdev, word & VRING_IDX_MASK, fd, diag);
	if (ret < 0 && fd >= 0)
		close(fd);
	return ret;
}

static int
handle_set_vring_kick(struct session *session, struct message *message, struct diag *diag)
{
	return handle_vring_fd(session, message, diag, vdev_queue_set_kick);
}

static int
handle_set_vring_call(struct session *session, struct message *message, struct diag *diag)
{
	return handle_vring_fd(session, message, diag, vdev_queue_set_call);
}

static int
handle_set_vring_err(struct session *session, struct message *message, struct diag *diag)
{
	return handle_vring_fd(session, message, diag, vdev_queue_set_err);
}

static uint64_t
protocol_offered(const struct session *session)
{
	return PROTOCOL_OFFERED | (session->n_pairs > 1 ? 1ull << PROTOCOL_MQ : 0);
}

static int
handle_get_protocol_features(struct session *session, struct message *message, struct diag *diag)
{
	uint64_t features = protocol_offered(session);

	session_reply(session, message, &features, sizeof(features));
	return 0;
}

static int
handle_set_protocol_features(struct session *session, struct message *message, struct diag *diag)
{
	uint64_t unknown = message->payload.u64 & ~protocol_offered(session);

	if (unknown)
		return diag_set(diag, -EINVAL, "", "protocol features 0x%llx were not offered",
				(unsigned long long)unknown);
	session->protocol_features = message->payload.u64;
	session->vdev->said.status_used = session_has_protocol(session, PROTOCOL_STATUS);
	session->vdev->said.config_used = session_has_protocol(session, PROTOCOL_CONFIG);
	/* See conf_base() in vdev_conf.c: such front-ends have no protocol features for networks, nor STATUS.
	 */
	session->vdev->said.base_zero_is_fresh = !session_has_protocol(session, PROTOCOL_MQ) &&
						 !session_has_protocol(session, PROTOCOL_RARP) &&
						 !session_has_protocol(session, PROTOCOL_STATUS);
	return 0;
}

/*
 * The number of virtqueues, control queue included: most front-ends compare it with the number they want, and
 * some create that many. QEMU's -netdev takes it for queue pairs, so it is given their number, and prints
 * the reason itself when it has more. It is recognised by RARP without CONFIG.
 */
static int
handle_get_queue_num(struct session *session, struct message *message, struct diag *diag)
{
	bool pairs = session_has_protocol(session, PROTOCOL_RARP) &&
		     !session_has_protocol(session, PROTOCOL_CONFIG);
	uint64_t n = pairs ? session->n_pairs : session->vdev->n_queues;

	session_reply(session, message, &n, sizeof(n));
	return 0;
}

static int
handle_set_vring_enable(struct session *session, struct message *message, struct diag *diag)
{
	uint32_t num = message->payload.vring_state.num;

	if (num > 1)
		return diag_set(diag, -EINVAL, "", "enable is %u, not 0 or 1", num);
	return vdev_queue_set_enable(session->vdev, message->payload.vring_state.idx, num == 1, diag);
}

static int
handle_send_rarp(struct session *session, struct message *message, struct diag *diag)
{
	uint8_t mac[6];

	memcpy(mac, message->payload.bytes, sizeof(mac));
	if (session->vdev->ops->send_rarp(session->vdev, mac) < 0)
		return diag_set(diag, -EINVAL, "", "the address is all zero");
	return 0;
}

static int
handle_set_mtu(struct session *session, struct message *message, struct diag *diag)
{
	if (session->vdev->ops->set_mtu(session->vdev, message->payload.u64) < 0)
		return diag_set(diag, -EINVAL, "", "MTU %llu is not in 68..65535",
				(unsigned long long)message->payload.u64);
	return 0;
}

static int
handle_set_backend_req_fd(struct session *session, struct message *message, struct diag *diag)
{
	enum notifier_kind kind = notifier_kind_of(message->fds[0]);

	/* A socket, or with User-mode Linux a pipe. */
	if (kind != NOTIFIER_SOCKET && kind != NOTIFIER_PIPE)
		return diag_set(diag, -EBADF, "", "the descriptor is neither a socket nor a pipe");
	if (session->backend_req_fd >= 0)
		close(session->backend_req_fd);
	session->backend_req_fd = message_take_fd(message);
	session->backend_req_kind = kind;
	session->vdev->config_channel = true;
	return 0;
}

static int
handle_get_config(struct session *session, struct message *message, struct diag *diag)
{
	uint32_t offset = message->payload.config.offset, size = message->payload.config.size;
	uint8_t space[VDEV_CONFIG_MAX];
	struct message reply;

	if (size == 0 || offset > VDEV_CONFIG_MAX || size > VDEV_CONFIG_MAX - offset)
		return diag_set(diag, -EINVAL, "", "%u bytes at offset %u of %d", size, offset,
				VDEV_CONFIG_MAX);
	session->vdev->ops->config_read(session->vdev, space);
	reply.payload.config.offset = offset;
	reply.payload.config.size = size;
	reply.payload.config.flags = message->payload.config.flags;
	memcpy(reply.payload.config.region, space + offset, size);
	session_reply(session, message, &reply.payload, CONFIG_HEAD + size);
	return 0;
}

static int
handle_set_config(struct session *session, struct message *message, struct diag *diag)
{
	uint32_t offset = message->payload.config.offset, size = message->payload.config.size;
	uint32_t flags = message->payload.config.flags;

	if (size == 0 || size != message->header.size - CONFIG_HEAD || offset > VDEV_CONFIG_MAX ||
	    size > VDEV_CONFIG_MAX - offset)
		return diag_set(diag, -EINVAL, "", "%u bytes at offset %u in a payload of %u", size, offset,
				message->header.size);
	if (session->vdev->ops->config_write(session->vdev, offset, message->payload.config.region, size,
					     flags == CONFIG_FLAG_MIGRATION) < 0)
		return diag_set(diag, -EROFS, "", "%u bytes at offset %u can't be written", size, offset);
	return 0;
}

/* Queues that there are, of a size that there can be. */
static int
inflight_check(const struct session *session, const struct message *message, struct diag *diag)
{
	const unsigned int n_queues = message->payload.inflight.n_queues,
			   size = message->payload.inflight.queue_size;

	if (n_queues == 0 || n_queues > session->vdev->n_queues || size == 0 || size > VIRTQ_SIZE_MAX)
		return diag_set(diag, -EINVAL, "", "%u queues of %u, but there are %u of 1..%d", n_queues,
				size, session->vdev->n_queues, VIRTQ_SIZE_MAX);
	return 0;
}

/* The memory is the front-end's from here on: it gives it back by SET_INFLIGHT_FD. */
static int
handle_get_inflight_fd(struct session *session, struct message *message, struct diag *diag)
{
	union message_payload reply = {.inflight = {.n_queues = message->payload.inflight.n_queues,
						    .queue_size = message->payload.inflight.queue_size}};
	int fd, ret = inflight_check(session, message, diag);

	if (ret < 0)
		return ret;
	reply.inflight.size =
		vdev_inflight_bytes(session->vdev, reply.inflight.n_queues, reply.inflight.queue_size);
	fd = memfd_create("vnicd-inflight", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)reply.inflight.size) < 0) {
		ret = -errno;
		if (fd >= 0)
			close(fd);
		return diag_set(diag, ret, "", "no memory for an inflight region: %s", strerror(-ret));
	}
	session_reply_fd(session, message, &reply, message->header.size, fd);
	return 0;
}

static int
handle_set_inflight_fd(struct session *session, struct message *message, struct diag *diag)
{
	struct vdev_inflight inflight = {.n_queues = message->payload.inflight.n_queues,
					 .queue_size = message->payload.inflight.queue_size};
	struct gmem_budget budget = {.bytes_max = INFLIGHT_BYTES_MAX, .guard = session->vdev->ctx->guard};
	const uint64_t size = message->payload.inflight.size, offset = message->payload.inflight.offset;
	uint64_t need;
	int ret = inflight_check(session, message, diag);

	if (ret < 0)
		return ret;
	/* Whichever layout the driver will negotiate: what does not fit then is not used. */
	need = vdev_inflight_bytes(session->vdev, inflight.n_queues, inflight.queue_size);
	if (size < need || offset % 8)
		return diag_set(
			diag, -EINVAL, "", "a region of 0x%llx bytes at offset 0x%llx; 0x%llx are needed",
			(unsigned long long)size, (unsigned long long)offset, (unsigned long long)need);
	ret = gmem_map_open_within(&budget, message->fds[0], offset, size, &inflight.map, diag);
	if (ret < 0)
		return ret;
	return vdev_set_inflight(session->vdev, &inflight, diag);
}

static int
handle_get_max_mem_slots(struct session *session, struct message *message, struct diag *diag)
{
	uint64_t n = GMEM_REGIONS_MAX;

	session_reply(session, message, &n, sizeof(n));
	return 0;
}

static int
handle_add_mem_reg(struct session *session, struct message *message, struct diag *diag)
{
	const struct message_mem_region *region = &message->payload.mem_single.region;
	struct gmem_region_spec spec = {.gpa = region->gpa,
					.size = region->size,
					.uva = region->uva,
					.file_offset = region->mmap_offset,
					.fd = message->fds[0]};
	struct gmem *mem;
	int ret;

	ret = gmem_build_within(mem_budget(session->vdev), session->vdev->mem, &spec, 1, &mem, diag);
	if (ret < 0)
		return ret;
	return vdev_set_mem(session->vdev, mem, diag);
}

static int
handle_rem_mem_reg(struct session *session, struct message *message, struct diag *diag)
{
	const struct message_mem_region *region = &message->payload.mem_single.region;
	struct gmem *mem;
	int ret;

	ret = gmem_build_without(session->vdev->mem, region->gpa, region->uva, region->size, &mem, diag);
	if (ret < 0)
		return ret;
	return vdev_set_mem(session->vdev, mem, diag);
}

static int
handle_set_status(struct session *session, struct message *message, struct diag *diag)
{
	return vdev_set_status(session->vdev, message->payload.u64, diag);
}

static int
handle_get_status(struct session *session, struct message *message, struct diag *diag)
{
	uint64_t status = session->vdev->said.status;

	session_reply(session, message, &status, sizeof(status));
	return 0;
}

/* --- the table --- */

enum message_index { MESSAGE_INDEX_NONE, MESSAGE_INDEX_WORD, MESSAGE_INDEX_BYTE };

struct message_row {
	const char *name;
	uint16_t size_min, size_max;
	uint8_t fds_min, fds_max;
	enum message_index index;
	enum message_reply reply;
	int (*handle)(struct session *session, struct message *message, struct diag *diag);
};

static const struct message_row message_rows[] = {
#define MESSAGE(number, label, payload, min, max, f_min, f_max, where, replies, handler) \
	[number] = {.name = #label,                                                      \
		    .size_min = (min),                                                   \
		    .size_max = (max),                                                   \
		    .fds_min = (f_min),                                                  \
		    .fds_max = (f_max),                                                  \
		    .index = MESSAGE_INDEX_##where,                                      \
		    .reply = MESSAGE_REPLY_##replies,                                    \
		    .handle = handle_##handler},
#include "messages.def"
#undef MESSAGE
};

#define MESSAGE(number, label, payload_member, min, max, f_min, f_max, where, replies, handler) \
	_Static_assert((max) <= sizeof(((union message_payload *)0)->payload_member), #label);
#include "messages.def"
#undef MESSAGE

enum message_number {
#define MESSAGE(number, label, ...) MESSAGE_##label = (number),
#include "messages.def"
#undef MESSAGE
};

/* Messages that change nothing that workers see. A message that is not listed here may do so. */
static const uint32_t message_harmless[] = {
	MESSAGE_GET_FEATURES,      MESSAGE_SET_OWNER,       MESSAGE_SET_LOG_FD,
	MESSAGE_SET_VRING_BASE,    MESSAGE_SET_VRING_ERR,   MESSAGE_GET_PROTOCOL_FEATURES,
	MESSAGE_GET_QUEUE_NUM,     MESSAGE_SEND_RARP,       MESSAGE_SET_PROTOCOL_FEATURES,
	MESSAGE_GET_CONFIG,        MESSAGE_GET_STATUS,      MESSAGE_SET_BACKEND_REQ_FD,
	MESSAGE_GET_MAX_MEM_SLOTS, MESSAGE_GET_INFLIGHT_FD,
};

bool
message_changes_queues(uint32_t request)
{
	for (unsigned int i = 0; i < sizeof(message_harmless) / sizeof(message_harmless[0]); i++)
		if (message_harmless[i] == request)
			return false;
	return true;
}

static const struct message_row *
message_row(uint32_t request)
{
	if (request >= sizeof(message_rows) / sizeof(message_rows[0]) || !message_rows[request].handle)
		return NULL;
	return &message_rows[request];
}

const char *
message_name(uint32_t request)
{
	const struct message_row *row = message_row(request);

	return row ? row->name : "?";
}

/*
 * The reply to SET_LOG_BASE is not specified. QEMU accepts any; rust-vmm's front-end expects the message
 * that it sent, since version 0.16; before that it expected an acknowledgement if it had asked for one. The
 * newer ones negotiate CONFIG for a network device (see docs/decisions/0019-reply-to-set-log-base.md).
 */
enum message_reply
message_reply(const struct session *session, uint32_t request, bool need_ack)
{
	const struct message_row *row = message_row(request);

	if (!row)
		return MESSAGE_REPLY_ACK;
	if (row->reply == MESSAGE_REPLY_ECHO && need_ack && !session_has_protocol(session, PROTOCOL_CONFIG))
		return MESSAGE_REPLY_ACK;
	return row->reply;
}

int
message_handle(struct session *session, struct message *message, struct diag *diag)
{
	const struct message_row *row = message_row(message->header.request);
	uint64_t idx = 0;

	if (!row)
		return diag_set(diag, -ENOSYS, "", "unsupported request");
	if (message->header.size < row->size_min || message->header.size > row->size_max)
		return diag_set(diag, -EINVAL, "", "payload size %u out of range %u..%u",
				message->header.size, row->size_min, row->size_max);
	if (message->n_fds < row->fds_min || message->n_fds > row->fds_max)
		return diag_set(diag, -EINVAL, "", "%u descriptors, not %u to %u", message->n_fds,
				row->fds_min, row->fds_max);
	if (row->index == MESSAGE_INDEX_WORD)
		idx = message->payload.vring_state.idx;
	else if (row->index == MESSAGE_INDEX_BYTE)
		idx = message->payload.u64 & VRING_IDX_MASK;
	if (row->index != MESSAGE_INDEX_NONE && idx >= session->vdev->n_queues)
		return diag_set(diag, -EINVAL, "", "queue %llu, but there are %u", (unsigned long long)idx,
				session->vdev->n_queues);
	return row->handle(session, message, diag);
}
