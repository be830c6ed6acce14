/* SPDX-License-Identifier: BSD-3-Clause */
/* messages: the layouts of vhost-user messages and the table of those that are handled (messages.def). */
#ifndef VNICD_MESSAGES_H
#define VNICD_MESSAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "diag.h"

struct session;

/* vhost-user, "Header": flags. */
enum {
	MESSAGE_VERSION = 1,
	MESSAGE_VERSION_MASK = 3,
	MESSAGE_REPLY = 1 << 2,
	MESSAGE_NEED_REPLY = 1 << 3,
};

enum { MESSAGE_FDS_MAX = 8, MESSAGE_PAYLOAD_MAX = 512 };

struct message_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of the payload */
} __attribute__((packed));

struct message_mem_region {
	uint64_t gpa, size, uva, mmap_offset;
} __attribute__((packed));

union message_payload {
	uint64_t u64;
	struct {
		uint32_t idx, num;
	} __attribute__((packed)) vring_state;
	struct {
		uint32_t idx, flags;
		uint64_t desc, used, avail, log;
	} __attribute__((packed)) vring_addr;
	struct {
		uint32_t n_regions, padding;
		struct message_mem_region regions[8];
	} __attribute__((packed)) mem_table;
	struct {
		uint64_t padding;
		struct message_mem_region region;
	} __attribute__((packed)) mem_single;
	struct {
		uint64_t size, offset;
	} __attribute__((packed)) log;
	struct {
		uint64_t size, offset;
		uint16_t n_queues, queue_size;
		uint32_t padding; /* some front-ends send it */
	} __attribute__((packed)) inflight;
	struct {
		uint32_t offset, size, flags;
		uint8_t region[256];
	} __attribute__((packed)) config;
	uint8_t bytes[MESSAGE_PAYLOAD_MAX];
};

/* One message, as received; the payload is zero beyond header.size. Descriptors still in fds[] are closed
 * after it. */
struct message {
	struct message_header header;
	union message_payload payload;
	int fds[MESSAGE_FDS_MAX];
	unsigned int n_fds;
};

/* vhost-user, "Protocol features": what we offer. */
enum {
	PROTOCOL_MQ = 0,
	PROTOCOL_LOG_SHMFD = 1,
	PROTOCOL_RARP = 2,
	PROTOCOL_REPLY_ACK = 3,
	PROTOCOL_MTU = 4,
	PROTOCOL_BACKEND_REQ = 5,
	PROTOCOL_CONFIG = 9,
	PROTOCOL_INFLIGHT_SHMFD = 12,
	PROTOCOL_RESET_DEVICE = 13,
	PROTOCOL_CONFIGURE_MEM_SLOTS = 15,
	PROTOCOL_STATUS = 16,
};

/*
 * Check a message against its row and carry it out. A handler gets a message whose size, descriptor count and
 * queue index are right. Returns 0 or -errno with diag filled and the device unchanged.
 */
int message_handle(struct session *session, struct message *message, struct diag *diag);

/* May handling it change what workers see of the device's queues (vdev_change_begin())? */
bool message_changes_queues(uint32_t request);

/* "SET_MEM_TABLE", or "?" for a number that has no row. */
const char *message_name(uint32_t request);

/* What a front-end gets for a message, beyond what its handler replies. */
enum message_reply {
	MESSAGE_REPLY_ACK,   /* 0 or 1, when it asks for it */
	MESSAGE_REPLY_OWN,   /* nothing: the handler replies; a refusal closes the connection */
	MESSAGE_REPLY_EMPTY, /* nothing: the handler replies; a refusal is a reply without payload */
	MESSAGE_REPLY_ECHO,  /* the payload of the request; a refusal closes the connection */
};
/* For this front-end, `need_ack`: it asks for an acknowledgement. */
enum message_reply message_reply(const struct session *session, uint32_t request, bool need_ack);

#endif
