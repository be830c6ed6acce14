/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two guests that send each other numbered frames through a back-end that dies and comes back: each is a
 * model driver (driver.h) behind a front-end that connects again and says what QEMU or DPDK's virtio-user
 * would.
 *
 * What goes on is said on stdout, a line each: "flowing" once frames pass both ways after a connection of
 * both, "gap US" for each direction, from the last frame before to the first after. A line on stdin, or its
 * end, stops the senders; then comes one line of JSON with what became of the frames.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"
#include "seqcheck.h"

enum {
	HEADER = 12,
	WORD_OFF = 14, /* in the frame */
	SIZES_MAX = 16,
	FRAME_MAX = 9018,
	BATCH = 32,
	ANSWER_WAIT_S = 10,
	CONNECT_RETRY_US = 2000,
	STALL_US = 1000000, /* nothing came for so long while all are connected: what is missing is lost */
	DRAIN_US = 300000,
	TAG = 0x11,
};

/* vhost-user, "Front-end message types" and "Protocol features". */
enum {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	SET_VRING_ENABLE = 18,
	GET_INFLIGHT_FD = 31,
	SET_INFLIGHT_FD = 32,
	VERSION = 1,
};

#define BIT(n) (1ull << (n))
#define F_MRG_RXBUF BIT(15)
#define F_PROTOCOL BIT(30)
#define F_VERSION_1 BIT(32)
#define F_RING_PACKED BIT(34)
#define F_IN_ORDER BIT(35)
#define P_RARP BIT(2)
#define P_INFLIGHT BIT(12)

struct guest {
	const char *path;
	int listener, fd; /* -1: none; not connected */
	bool up;          /* set up, as far as the front-end knows */
	struct driver_mem mem;
	struct driver_queue rx, tx;
	uint64_t rx_gpa, tx_gpa;
	uint16_t *free_slots; /* of tx */
	uint16_t n_free;
	uint64_t retry_us;
	/* Out. */
	uint64_t next_word, n_sent;
	/* In: from the other one. */
	struct seqcheck check;
	uint64_t n_received, n_empty, n_torn, n_wrong;
	uint32_t more;    /* buffers of this frame that are still to come */
	uint64_t torn_at; /* bytes of it so far */
	uint64_t last_us; /* when the last frame came */
	bool awaited;     /* the first frame since the connection */
	bool forgiven;    /* what is missing has been given up since the last frame */
	int inflight_fd;
	uint64_t inflight_size, inflight_offset;
};

static struct {
	bool packed, in_order, mergeable, qemu, connects, inflight;
	uint16_t size, buffer;
	unsigned int hold_ms; /* between the kick descriptors and the enabling of the rings */
	unsigned int stagger_ms;
	uint32_t sizes[SIZES_MAX];
	unsigned int n_sizes;
	const char *paths[2];
} options = {.size = 256, .n_sizes = 1, .sizes = {64}};

static struct guest guests[2];
static bool sending; /* once both have been there */
static bool stopping;

#define MUST(condition)                                                                       \
	do {                                                                                  \
		if (!(condition)) {                                                           \
			fprintf(stderr, "%s:%d: !(%s): %s\n", __FILE__, __LINE__, #condition, \
				strerror(errno));                                             \
			exit(1);                                                              \
		}                                                                             \
	} while (0)

static uint64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* --- the front-end: every function returns false when the back-end has gone --- */

struct message {
	uint32_t request, flags, size;
	uint8_t payload[512];
} __attribute__((packed));

enum { MESSAGE_HEAD = 12 };

static bool
tell_fds(struct guest *guest, uint32_t request, const void *payload, uint32_t size, const int fds[],
	 unsigned int n_fds)
{
	struct message message = {.request = request, .flags = VERSION, .size = size};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control = {0};
	struct iovec iov = {&message, MESSAGE_HEAD + size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (size)
		memcpy(message.payload, payload, size);
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
	return sendmsg(guest->fd, &msg, MSG_NOSIGNAL) == (ssize_t)(MESSAGE_HEAD + size);
}

static bool
tell(struct guest *guest, uint32_t request, const void *payload, uint32_t size)
{
	return tell_fds(guest, request, payload, size, NULL, 0);
}

static bool
tell_u64(struct guest *guest, uint32_t request, uint64_t value)
{
	return tell(guest, request, &value, sizeof(value));
}

static bool
tell_state(struct guest *guest, uint32_t request, uint32_t idx, uint32_t num)
{
	const uint32_t state[] = {idx, num};

	return tell(guest, request, state, sizeof(state));
}

/* The payload of the answer, and its descriptor, if one comes. */
static bool
hear(struct guest *guest, void *payload, uint32_t size, int *ret_fd)
{
	struct message message;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {&message, MESSAGE_HEAD + size};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	const struct cmsghdr *cmsg;

	if (recvmsg(guest->fd, &msg, MSG_WAITALL | MSG_CMSG_CLOEXEC) != (ssize_t)(MESSAGE_HEAD + size))
		return false;
	memcpy(payload, message.payload, size);
	cmsg = CMSG_FIRSTHDR(&msg);
	if (ret_fd)
		*ret_fd = -1;
	if (ret_fd && cmsg && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(cmsg), sizeof(*ret_fd));
	return true;
}

static bool
ask_u64(struct guest *guest, uint32_t request, uint64_t *ret_value)
{
	return tell(guest, request, NULL, 0) && hear(guest, ret_value, sizeof(*ret_value), NULL);
}

static bool
tell_eventfd(struct guest *guest, uint32_t request, uint64_t idx)
{
	const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	bool ok;

	MUST(fd >= 0);
	ok = tell_fds(guest, request, &idx, sizeof(idx), &fd, 1);
	close(fd);
	return ok;
}

static bool
tell_memory(struct guest *guest)
{
	struct {
		uint32_t n, padding;
		struct {
			uint64_t gpa, size, uva, offset;
		} regions[DRIVER_N_REGIONS];
	} table = {.n = DRIVER_N_REGIONS};
	int fds[DRIVER_N_REGIONS];

	for (unsigned int i = 0; i < DRIVER_N_REGIONS; i++) {
		table.regions[i].gpa = driver_region_gpa(i);
		table.regions[i].size = DRIVER_REGION_SIZE;
		table.regions[i].uva = driver_uva(driver_region_gpa(i));
		table.regions[i].offset = (uint64_t)i * DRIVER_REGION_SIZE;
		fds[i] = guest->mem.fd;
	}
	return tell_fds(guest, SET_MEM_TABLE, &table, sizeof(table), fds, DRIVER_N_REGIONS);
}

/* QEMU reads a split ring's used index, and of a packed one says where it first started; virtio-user says 0.
 */
static uint32_t
base_of(const struct driver_queue *queue)
{
	if (options.packed)
		return options.qemu ? 0x80008000u : 0x8000u;
	return options.qemu ? queue->used->idx : 0;
}

static bool
tell_queue(struct guest *guest, uint32_t idx, const struct driver_queue *queue)
{
	const struct {
		uint32_t idx, flags;
		uint64_t desc, used, avail, log;
	} addr = {.idx = idx,
		  .desc = driver_uva(queue->desc_gpa),
		  .used = driver_uva(queue->used_gpa),
		  .avail = driver_uva(queue->avail_gpa)};

	return tell_state(guest, SET_VRING_NUM, idx, queue->size) &&
	       tell_state(guest, SET_VRING_BASE, idx, base_of(queue)) &&
	       tell(guest, SET_VRING_ADDR, &addr, sizeof(addr)) && tell_eventfd(guest, SET_VRING_CALL, idx) &&
	       tell_eventfd(guest, SET_VRING_KICK, idx);
}

struct inflight {
	uint64_t size, offset;
	uint16_t n_queues, queue_size;
} __attribute__((packed));

static bool
tell_inflight(struct guest *guest)
{
	struct inflight inflight = {.n_queues = 2, .queue_size = options.size};

	if (guest->inflight_fd < 0) {
		if (!tell(guest, GET_INFLIGHT_FD, &inflight, sizeof(inflight)) ||
		    !hear(guest, &inflight, sizeof(inflight), &guest->inflight_fd))
			return false;
		MUST(guest->inflight_fd >= 0);
		guest->inflight_size = inflight.size;
		guest->inflight_offset = inflight.offset;
	}
	inflight.size = guest->inflight_size;
	inflight.offset = guest->inflight_offset;
	inflight.n_queues = 2;
	inflight.queue_size = options.size;
	return tell_fds(guest, SET_INFLIGHT_FD, &inflight, sizeof(inflight), &guest->inflight_fd, 1);
}

static bool
set_up(struct guest *guest)
{
	const uint64_t features = F_VERSION_1 | F_PROTOCOL | (options.packed ? F_RING_PACKED : 0) |
				  (options.in_order ? F_IN_ORDER : 0) | (options.mergeable ? F_MRG_RXBUF : 0);
	uint64_t offered;

	if (!tell(guest, SET_OWNER, NULL, 0) || !ask_u64(guest, GET_FEATURES, &offered))
		return false;
	MUST((features & ~offered) == 0);
	if (!ask_u64(guest, GET_PROTOCOL_FEATURES, &offered))
		return false;
	MUST(!options.inflight || offered & P_INFLIGHT);
	if (!tell_u64(guest, SET_PROTOCOL_FEATURES, P_RARP | (options.inflight ? P_INFLIGHT : 0)) ||
	    !tell_u64(guest, SET_FEATURES, features) || !tell_memory(guest) ||
	    (options.inflight && !tell_inflight(guest)) || !tell_queue(guest, 0, &guest->rx) ||
	    !tell_queue(guest, 1, &guest->tx))
		return false;
	if (options.hold_ms)
		usleep(options.hold_ms * 1000);
	/* The last question is answered when all before it is done. */
	return tell_state(guest, SET_VRING_ENABLE, 0, 1) && tell_state(guest, SET_VRING_ENABLE, 1, 1) &&
	       ask_u64(guest, GET_FEATURES, &offered);
}

static void
address_of(const struct guest *guest, struct sockaddr_un *address)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	MUST(strlen(guest->path) < sizeof(address->sun_path));
	strcpy(address->sun_path, guest->path);
}

static void
guest_listen(struct guest *guest)
{
	struct sockaddr_un address;

	address_of(guest, &address);
	guest->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	MUST(guest->listener >= 0);
	MUST(bind(guest->listener, (struct sockaddr *)&address, sizeof(address)) == 0);
	MUST(listen(guest->listener, 4) == 0);
}

static void
guest_connect(struct guest *guest)
{
	const struct timeval wait = {.tv_sec = ANSWER_WAIT_S};
	struct sockaddr_un address;

	if (options.connects) {
		if (now_us() < guest->retry_us)
			return;
		guest->retry_us = now_us() + CONNECT_RETRY_US;
		address_of(guest, &address);
		guest->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		MUST(guest->fd >= 0);
		if (connect(guest->fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
			close(guest->fd);
			guest->fd = -1;
			return;
		}
	} else {
		guest->fd = accept4(guest->listener, NULL, NULL, SOCK_CLOEXEC);
		if (guest->fd < 0)
			return;
	}
	setsockopt(guest->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	if (options.stagger_ms && guest == &guests[1])
		usleep(options.stagger_ms * 1000);
	guest->up = set_up(guest);
	guest->awaited = true;
}

static void
guest_look(struct guest *guest)
{
	char byte;
	ssize_t n;

	if (guest->fd >= 0) {
		n = recv(guest->fd, &byte, 1, MSG_DONTWAIT);
		if (guest->up && n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		close(guest->fd);
		guest->fd = -1;
		guest->up = false;
	}
	guest_connect(guest);
}

/* --- the drivers --- */

static uint32_t
frame_len(uint64_t word)
{
	return options.sizes[word % options.n_sizes];
}

static void
frame_fill(uint8_t *frame, uint64_t word, uint32_t len)
{
	memset(frame, 0x02, 12);
	frame[12] = 0x88;
	frame[13] = 0xb5;
	for (uint32_t at = WORD_OFF; at + 8 <= len; at += 8)
		memcpy(frame + at, &word, 8);
}

/* Post a receive buffer. */
static void
post(struct guest *guest, uint64_t slot)
{
	const struct driver_buf buf = {
		.gpa = guest->rx_gpa + slot * options.buffer, .len = options.buffer, .writable = true};

	MUST(driver_add(&guest->rx, &buf, 1, DRIVER_DIRECT, slot));
}

static void
guest_open(struct guest *guest, const char *path, uint64_t tag)
{
	const uint32_t traits = (options.packed ? TRAIT_PACKED : 0) | (options.in_order ? TRAIT_IN_ORDER : 0);

	guest->path = path;
	guest->listener = guest->fd = guest->inflight_fd = -1;
	driver_mem_open(&guest->mem);
	driver_queue_open(&guest->rx, &guest->mem, 2, traits, options.size, false);
	driver_queue_open(&guest->tx, &guest->mem, 2, traits, options.size, false);
	driver_interrupts(&guest->rx, DRIVER_INTERRUPTS_OFF);
	driver_interrupts(&guest->tx, DRIVER_INTERRUPTS_OFF);
	guest->rx_gpa = driver_alloc(&guest->mem, 0, (uint64_t)options.size * options.buffer, 64);
	guest->tx_gpa = driver_alloc(&guest->mem, 0, (uint64_t)options.size * (HEADER + FRAME_MAX + 34), 64);
	guest->free_slots = calloc(options.size, sizeof(guest->free_slots[0]));
	MUST(guest->free_slots);
	for (uint16_t i = 0; i < options.size; i++) {
		guest->free_slots[guest->n_free++] = i;
		post(guest, i);
	}
	guest->next_word = tag << SEQ_TAG_SHIFT;
	if (!options.connects)
		guest_listen(guest);
}

/* How many frames may be on their way to a guest, so that they find buffers there. */
static uint64_t
window(void)
{
	uint32_t longest = 0;

	for (unsigned int i = 0; i < options.n_sizes; i++)
		longest = options.sizes[i] > longest ? options.sizes[i] : longest;
	return options.size / ((longest + HEADER + options.buffer - 1) / options.buffer);
}

static void
guest_send(struct guest *guest, const struct guest *to)
{
	uint64_t tag;
	uint32_t len;

	while (driver_get(&guest->tx, &tag, &len))
		guest->free_slots[guest->n_free++] = (uint16_t)tag;
	for (unsigned int i = 0; i < BATCH && sending && guest->n_free; i++) {
		const uint16_t slot = guest->free_slots[guest->n_free - 1];
		struct driver_buf buf = {.gpa = guest->tx_gpa + slot * (uint64_t)(HEADER + FRAME_MAX + 34)};
		uint8_t *at = driver_va(&guest->mem, buf.gpa);

		if (guest->next_word - to->check.next >= window())
			return;
		len = frame_len(guest->next_word);
		memset(at, 0, HEADER);
		frame_fill(at + HEADER, guest->next_word, len);
		buf.len = HEADER + len;
		if (!driver_add(&guest->tx, &buf, 1, DRIVER_DIRECT, slot))
			return;
		guest->n_free--;
		guest->next_word++;
		guest->n_sent++;
	}
}

static bool
piece_is_right(const uint8_t *piece, uint64_t word, uint64_t from, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++) {
		const uint64_t off = from + i;

		if (off >= WORD_OFF && off < WORD_OFF + (frame_len(word) - WORD_OFF) / 8 * 8 &&
		    piece[i] != (uint8_t)(word >> (off - WORD_OFF) % 8 * 8))
			return false;
	}
	return true;
}

static void
frame_came(struct guest *guest)
{
	const uint64_t now = now_us();

	guest->n_received++;
	if (guest->awaited) {
		guest->awaited = false;
		printf("gap %lu\n", guest->last_us ? now - guest->last_us : 0);
		if (!guests[0].awaited && !guests[1].awaited && guests[0].up && guests[1].up) {
			printf("flowing\n");
			fflush(stdout);
		}
	}
	guest->last_us = now;
	guest->forgiven = false;
}

static void
buffer_came(struct guest *guest, const uint8_t *at, uint32_t len)
{
	static uint64_t words[2];
	uint64_t *word = &words[guest - guests];
	uint16_t n_buffers;

	if (len == 0) {
		guest->n_empty++;
		guest->n_torn += guest->more != 0;
		guest->more = 0;
		return;
	}
	if (guest->more) {
		guest->n_wrong += !piece_is_right(at, *word, guest->torn_at, len);
		guest->torn_at += len;
		if (--guest->more == 0) {
			guest->n_wrong += guest->torn_at != frame_len(*word);
			frame_came(guest);
		}
		return;
	}
	memcpy(&n_buffers, at + 10, sizeof(n_buffers));
	memcpy(word, at + HEADER + WORD_OFF, sizeof(*word));
	seqcheck_word(&guest->check, *word);
	guest->n_wrong += !piece_is_right(at + HEADER, *word, 0, len - HEADER);
	guest->torn_at = len - HEADER;
	guest->more = options.mergeable ? n_buffers - 1u : 0;
	if (guest->more == 0) {
		guest->n_wrong += guest->torn_at != frame_len(*word);
		frame_came(guest);
	}
}

static void
guest_receive(struct guest *guest, const struct guest *from)
{
	uint64_t slot;
	uint32_t len;

	for (unsigned int i = 0; i < 2 * BATCH && driver_get(&guest->rx, &slot, &len); i++) {
		buffer_came(guest, driver_va(&guest->mem, guest->rx_gpa + slot * options.buffer), len);
		post(guest, slot);
	}
	/* A frame that is lost at the end of what was sent would keep the window closed. */
	if (guests[0].up && guests[1].up && !guest->forgiven && from->next_word != guest->check.next &&
	    guest->last_us && now_us() - guest->last_us > STALL_US) {
		guest->forgiven = true;
		guest->check.n_lost += from->next_word - guest->check.next;
		guest->check.next = from->next_word;
		guest->last_us = now_us();
	}
}

/* --- all of it --- */

static void
report(void)
{
	printf("{");
	for (unsigned int i = 0; i < 2; i++) {
		const struct guest *guest = &guests[i], *from = &guests[1 - i];

		printf("%s\"%u\": {\"sent\": %lu, \"received\": %lu, \"lost\": %lu, \"duplicated\": %lu, "
		       "\"reordered\": %lu, \"foreign\": %lu, \"empty\": %lu, \"torn\": %lu, \"wrong\": %lu}",
		       i ? ", " : "", i, from->n_sent, guest->n_received,
		       guest->check.n_lost + (from->next_word - guest->check.next), guest->check.n_duplicated,
		       guest->check.n_reordered, guest->check.n_foreign, guest->n_empty, guest->n_torn,
		       guest->n_wrong);
	}
	printf("}\n");
	fflush(stdout);
}

static void
options_read(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "pimqcfn:s:h:d:")) != -1) {
		switch (option) {
		case 'p':
			options.packed = true;
			break;
		case 'i':
			options.in_order = true;
			break;
		case 'm':
			options.mergeable = true;
			break;
		case 'q':
			options.qemu = true;
			break;
		case 'c':
			options.connects = true;
			break;
		case 'f':
			options.inflight = true;
			break;
		case 'n':
			options.size = (uint16_t)atoi(optarg);
			break;
		case 'h':
			options.hold_ms = (unsigned int)atoi(optarg);
			break;
		case 'd':
			options.stagger_ms = (unsigned int)atoi(optarg);
			break;
		case 's':
			options.n_sizes = 0;
			for (char *at = strtok(optarg, ","); at && options.n_sizes < SIZES_MAX;
			     at = strtok(NULL, ","))
				options.sizes[options.n_sizes++] = (uint32_t)atoi(at);
			break;
		default:
			exit(2);
		}
	}
	if (argc - optind != 2) {
		fprintf(stderr,
			"usage: guests [-p packed] [-i in order] [-m mergeable] [-q as QEMU] "
			"[-c connects] [-f inflight] [-n size] [-s len,...] [-h ms] [-d ms] SOCKET SOCKET\n");
		exit(2);
	}
	options.buffer = options.mergeable ? 2048 : HEADER + FRAME_MAX + 34;
	options.paths[0] = argv[optind];
	options.paths[1] = argv[optind + 1];
}

int
main(int argc, char **argv)
{
	uint64_t until_us = 0, looked_us = 0;

	options_read(argc, argv);
	for (unsigned int i = 0; i < 2; i++)
		guest_open(&guests[i], options.paths[i], TAG + i);
	for (unsigned int i = 0; i < 2; i++)
		guests[i].check.next = guests[1 - i].next_word;
	printf("listening\n");
	fflush(stdout);
	while (until_us == 0 || now_us() < until_us) {
		if (now_us() - looked_us > 500) {
			struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};

			looked_us = now_us();
			for (unsigned int i = 0; i < 2; i++)
				guest_look(&guests[i]);
			sending = !stopping && (sending || (guests[0].up && guests[1].up));
			if (until_us == 0 && poll(&input, 1, 0) > 0) {
				stopping = true;
				until_us = now_us() + DRAIN_US;
			}
		}
		for (unsigned int i = 0; i < 2; i++) {
			guest_send(&guests[i], &guests[1 - i]);
			guest_receive(&guests[i], &guests[1 - i]);
		}
		/* Nothing is missing: no need to wait. */
		if (until_us && guests[0].check.next == guests[1].next_word &&
		    guests[1].check.next == guests[0].next_word)
			break;
	}
	report();
	return 0;
}
