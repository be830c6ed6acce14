/* SPDX-License-Identifier: BSD-3-Clause */
#include "front_end.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "messages.h"
#include "unit.h"
#include "usocket.h"
#include "vdev.h"

/* vhost-user, "Message types". */
enum {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
};

enum { ANSWER_WAIT_S = 20, VERSION = 1 };

static void
send_message(struct front_end *fe, uint32_t request, const void *payload, uint32_t size, const int fds[],
	     unsigned int n_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(MESSAGE_FDS_MAX * sizeof(int))];
	} control = {0};
	struct message_header header = {.request = request, .flags = VERSION, .size = size};
	struct iovec iov[] = {{&header, sizeof(header)}, {(void *)(uintptr_t)payload, size}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = size ? 2 : 1};

	if (n_fds) {
		struct cmsghdr *cmsg;

		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
	}
	assert_int_equal(sendmsg(fe->fd, &msg, MSG_NOSIGNAL), sizeof(header) + size);
}

static uint64_t
get_features(struct front_end *fe)
{
	struct {
		struct message_header header;
		uint64_t features;
	} __attribute__((packed)) reply;

	send_message(fe, GET_FEATURES, NULL, 0, NULL, 0);
	assert_int_equal(recv(fe->fd, &reply, sizeof(reply), MSG_WAITALL), sizeof(reply));
	assert_int_equal(reply.header.request, GET_FEATURES);
	return reply.features;
}

static void
send_state(struct front_end *fe, uint32_t request, uint32_t idx, uint32_t num)
{
	const uint32_t state[] = {idx, num};

	send_message(fe, request, state, sizeof(state), NULL, 0);
}

/* With a descriptor that nobody reads. */
static void
send_eventfd(struct front_end *fe, uint32_t request, uint64_t idx)
{
	const int fd = eventfd(0, EFD_CLOEXEC);

	assert_true(fd >= 0);
	send_message(fe, request, &idx, sizeof(idx), &fd, 1);
	close(fd);
}

static void
send_queue(struct front_end *fe, uint32_t idx, const struct driver_queue *queue)
{
	union message_payload addr = {.vring_addr = {.idx = idx,
						     .desc = driver_uva(queue->desc_gpa),
						     .used = driver_uva(queue->used_gpa),
						     .avail = driver_uva(queue->avail_gpa)}};

	send_state(fe, SET_VRING_NUM, idx, queue->size);
	send_state(fe, SET_VRING_BASE, idx, 0);
	send_message(fe, SET_VRING_ADDR, &addr, sizeof(addr.vring_addr), NULL, 0);
	send_eventfd(fe, SET_VRING_CALL, idx);
	send_eventfd(fe, SET_VRING_KICK, idx);
}

static void
send_memory(struct front_end *fe)
{
	union message_payload table = {.mem_table = {.n_regions = DRIVER_N_REGIONS}};
	int fds[DRIVER_N_REGIONS];

	for (unsigned int i = 0; i < DRIVER_N_REGIONS; i++) {
		const uint64_t gpa = driver_region_gpa(i);

		table.mem_table.regions[i] =
			(struct message_mem_region){.gpa = gpa,
						    .size = DRIVER_REGION_SIZE,
						    .uva = driver_uva(gpa),
						    .mmap_offset = (uint64_t)i * DRIVER_REGION_SIZE};
		fds[i] = fe->mem.fd;
	}
	send_message(fe, SET_MEM_TABLE, &table,
		     offsetof(union message_payload, mem_table.regions[DRIVER_N_REGIONS]), fds,
		     DRIVER_N_REGIONS);
}

void
front_end_make(struct front_end *fe, uint16_t size)
{
	memset(fe, 0, sizeof(*fe));
	fe->fd = -1;
	fe->size = size;
	driver_mem_open(&fe->mem);
	driver_queue_open(&fe->receiveq, &fe->mem, 2, 0, size, false);
	driver_queue_open(&fe->transmitq, &fe->mem, 2, 0, size, false);
	fe->rx_gpa = driver_alloc(&fe->mem, 0, (uint64_t)size * FRONT_END_FRAME_MAX, 64);
	fe->tx_gpa = driver_alloc(&fe->mem, 0, (uint64_t)size * FRONT_END_FRAME_MAX, 64);
}

void
front_end_free(struct front_end *fe)
{
	if (fe->fd >= 0)
		close(fe->fd);
	driver_queue_close(&fe->receiveq);
	driver_queue_close(&fe->transmitq);
	driver_mem_close(&fe->mem);
}

static void
post(struct front_end *fe, uint64_t slot)
{
	const struct driver_buf buf = {
		.gpa = fe->rx_gpa + slot * FRONT_END_FRAME_MAX, .len = FRONT_END_FRAME_MAX, .writable = true};

	assert_true(driver_add(&fe->receiveq, &buf, 1, DRIVER_DIRECT, slot));
	fe->n_posted++;
}

void
front_end_start(struct front_end *fe, const char *path)
{
	const struct timeval wait = {.tv_sec = ANSWER_WAIT_S};
	const uint64_t features = FEATURE_MASK(VERSION_1);

	fe->fd = usocket_connect(path);
	assert_true(fe->fd >= 0);
	assert_int_equal(setsockopt(fe->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)), 0);
	assert_int_equal(fcntl(fe->fd, F_SETFL, 0), 0);
	for (uint64_t slot = 0; slot < fe->size; slot++)
		post(fe, slot);
	fe->offered = get_features(fe);
	send_message(fe, SET_FEATURES, &features, sizeof(features), NULL, 0);
	send_memory(fe);
	send_queue(fe, 0, &fe->receiveq);
	send_queue(fe, 1, &fe->transmitq);
	front_end_sync(fe);
}

void
front_end_stop(struct front_end *fe)
{
	close(fe->fd);
	fe->fd = -1;
}

void
front_end_sync(struct front_end *fe)
{
	get_features(fe);
}

/* Of the transmitq, what came back. */
static void
collect(struct front_end *fe)
{
	uint64_t tag;
	uint32_t len;

	while (driver_get(&fe->transmitq, &tag, &len)) {
		/* One buffer a frame, so they come back in order. */
		assert_int_equal(tag, fe->n_returned % fe->size);
		fe->n_returned++;
	}
}

bool
front_end_send(struct front_end *fe, const void *frame, uint32_t len)
{
	const uint64_t slot = fe->n_sent % fe->size;
	const struct driver_buf buf = {.gpa = fe->tx_gpa + slot * FRONT_END_FRAME_MAX,
				       .len = FRONT_END_HEADER + len};
	uint8_t *at = driver_va(&fe->mem, buf.gpa);

	collect(fe);
	if (fe->n_sent - fe->n_returned == fe->size)
		return false;
	memset(at, 0, FRONT_END_HEADER);
	memcpy(at + FRONT_END_HEADER, frame, len);
	assert_true(driver_add(&fe->transmitq, &buf, 1, DRIVER_DIRECT, slot));
	fe->n_sent++;
	return true;
}

uint32_t
front_end_receive(struct front_end *fe, void *frame)
{
	uint64_t slot;
	uint32_t len;

	if (!driver_get(&fe->receiveq, &slot, &len))
		return 0;
	assert_in_range(len, FRONT_END_HEADER + 1, FRONT_END_FRAME_MAX);
	memcpy(frame,
	       (uint8_t *)driver_va(&fe->mem, fe->rx_gpa + slot * FRONT_END_FRAME_MAX) + FRONT_END_HEADER,
	       len - FRONT_END_HEADER);
	post(fe, slot);
	return len - FRONT_END_HEADER;
}

unsigned int
front_end_under_way(struct front_end *fe)
{
	collect(fe);
	return (unsigned int)(fe->n_sent - fe->n_returned);
}
