/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * controlping: the guest that sends command after command by its control queue and looks at the clock.
 *
 *     controlping MEMORY_FD KICK_FD CALL_FD key=value...
 *
 * Maps the file open as MEMORY_FD (guest memory, inherited) and drives the control queue in it, which
 * somebody else has set up and started, empty and at its start. Prints one JSON object. The time of a command
 * is from before it is made available until its used element is seen.
 */
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { COMMANDS_MAX = 32, COMMAND_LEN_MAX = 512, ANSWER_LEN_MAX = 256, DEPTH_MAX = 256 };
enum { DESC_NEXT = 1, DESC_WRITE = 2, PACKED_AVAIL = 1 << 7, PACKED_USED = 1 << 15 };
enum { USED_NO_NOTIFY = 1, EVENT_DISABLE = 1 };
enum wait { WAIT_YIELD, WAIT_SPIN, WAIT_CALL };

static const double PATIENCE_S = 10;

struct split_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct packed_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id, flags;
};

/* Offsets are in the file; a guest address is offset + gpa_delta. */
static struct {
	uint64_t packed, size, desc, driver, device, area, gpa_delta;
	uint64_t n, depth, pause_us, wait, answer_len;
	int kick_fd, call_fd;
	uint8_t *memory;
	unsigned int n_commands;
	uint32_t command_len[COMMANDS_MAX];
} ping = {.n = 1000, .depth = 1, .answer_len = 1};

/* The state of the ring, and of each slot: two descriptors that carry one command at a time. */
static struct {
	uint16_t avail_idx, used_idx; /* split */
	uint32_t slot, used_slot;     /* packed */
	bool wrap, used_wrap;
	uint64_t began_ns[DEPTH_MAX];
	uint16_t free[DEPTH_MAX];
	unsigned int n_free;
} ring = {.wrap = true, .used_wrap = true};

static uint32_t *times_ns;
static uint64_t n_sent, n_back, n_ok, n_err, n_kicks, n_odd;

static uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static __attribute__((noreturn)) void
die(const char *what)
{
	fprintf(stderr, "controlping: %s\n", what);
	exit(1);
}

static uint64_t
command_offset(unsigned int i)
{
	return ping.area + (uint64_t)i * COMMAND_LEN_MAX;
}

static uint64_t
answer_offset(unsigned int slot)
{
	return command_offset(COMMANDS_MAX) + (uint64_t)slot * ANSWER_LEN_MAX;
}

/* Put the next command into a slot; *ret_head is what publish() has to write for the packed layout. */
static void
ring_put(uint16_t slot, struct packed_desc **ret_head, uint16_t *ret_flags)
{
	unsigned int command = (unsigned int)(n_sent % ping.n_commands);
	uint64_t readable = command_offset(command) + ping.gpa_delta;
	uint64_t writable = answer_offset(slot) + ping.gpa_delta;

	ping.memory[answer_offset(slot)] = 0xff;
	if (!ping.packed) {
		struct split_desc *desc = (struct split_desc *)(ping.memory + ping.desc) + 2 * slot;
		uint16_t *avail = (uint16_t *)(ping.memory + ping.driver);

		desc[0] = (struct split_desc){.addr = readable,
					      .len = ping.command_len[command],
					      .flags = DESC_NEXT,
					      .next = (uint16_t)(2 * slot + 1)};
		desc[1] = (struct split_desc){
			.addr = writable, .len = (uint32_t)ping.answer_len, .flags = DESC_WRITE};
		avail[2 + ring.avail_idx % ping.size] = (uint16_t)(2 * slot);
		ring.avail_idx++;
	} else {
		struct packed_desc *descs = (struct packed_desc *)(ping.memory + ping.desc);

		for (int i = 0; i < 2; i++) {
			struct packed_desc *desc = &descs[ring.slot];
			uint16_t flags = ring.wrap ? PACKED_AVAIL : PACKED_USED;

			flags |= i ? DESC_WRITE : DESC_NEXT;
			desc->addr = i ? writable : readable;
			desc->len = i ? (uint32_t)ping.answer_len : ping.command_len[command];
			desc->id = slot;
			if (i) {
				desc->flags = flags;
			} else if (!*ret_head) {
				*ret_head = desc;
				*ret_flags = flags;
			} else {
				desc->flags = flags;
			}
			if (++ring.slot == ping.size) {
				ring.slot = 0;
				ring.wrap = !ring.wrap;
			}
		}
	}
	n_sent++;
}

static bool
kick_wanted(void)
{
	/* Pairs with the device's fence between asking for kicks and looking at the ring again. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!ping.packed)
		return !(*(volatile uint16_t *)(ping.memory + ping.device) & USED_NO_NOTIFY);
	return (*(volatile uint16_t *)(ping.memory + ping.device + 2) & 3) != EVENT_DISABLE;
}

/* Fill the free slots and make all of them available at once. */
static void
ring_send(void)
{
	struct packed_desc *head = NULL;
	uint16_t head_flags = 0, slots[DEPTH_MAX];
	unsigned int n = 0;
	uint64_t began;

	while (ring.n_free && n_sent < ping.n) {
		uint16_t slot = ring.free[--ring.n_free];

		ring_put(slot, &head, &head_flags);
		slots[n++] = slot;
	}
	if (!n)
		return;
	began = now_ns();
	for (unsigned int i = 0; i < n; i++)
		ring.began_ns[slots[i]] = began;
	if (ping.packed)
		__atomic_store_n(&head->flags, head_flags, __ATOMIC_RELEASE);
	else
		__atomic_store_n((uint16_t *)(ping.memory + ping.driver + 2), ring.avail_idx,
				 __ATOMIC_RELEASE);
	if (kick_wanted()) {
		eventfd_write(ping.kick_fd, 1);
		n_kicks++;
	}
}

static bool
ring_used(uint16_t *ret_slot, uint32_t *ret_len)
{
	if (!ping.packed) {
		const uint32_t *used = (const uint32_t *)(ping.memory + ping.device);
		uint16_t idx = __atomic_load_n((uint16_t *)(ping.memory + ping.device + 2), __ATOMIC_ACQUIRE);

		if (idx == ring.used_idx)
			return false;
		*ret_slot = (uint16_t)(used[1 + 2 * (ring.used_idx % ping.size)] / 2);
		*ret_len = used[2 + 2 * (ring.used_idx % ping.size)];
		ring.used_idx++;
	} else {
		const struct packed_desc *desc =
			(const struct packed_desc *)(ping.memory + ping.desc) + ring.used_slot;
		uint16_t flags = __atomic_load_n(&desc->flags, __ATOMIC_ACQUIRE);

		if (!(flags & PACKED_AVAIL) == ring.used_wrap || !(flags & PACKED_USED) == ring.used_wrap)
			return false;
		*ret_slot = desc->id;
		*ret_len = desc->len;
		ring.used_slot += 2;
		if (ring.used_slot >= ping.size) {
			ring.used_slot -= (uint32_t)ping.size;
			ring.used_wrap = !ring.used_wrap;
		}
	}
	if (*ret_slot >= ping.depth)
		die("the device returns a buffer that was not outstanding");
	return true;
}

static unsigned int
ring_reap(void)
{
	unsigned int n = 0;
	uint32_t len;
	uint16_t slot;

	while (n_back < n_sent && ring_used(&slot, &len)) {
		uint64_t took = now_ns() - ring.began_ns[slot];
		uint8_t ack = ping.memory[answer_offset(slot)];

		times_ns[n_back++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
		ring.free[ring.n_free++] = slot;
		n_ok += ack == 0;
		n_err += ack == 1;
		n_odd += ack > 1 || len == 0;
		n++;
	}
	return n;
}

static void
ring_wait(void)
{
	uint64_t until = now_ns() + (uint64_t)(PATIENCE_S * 1e9);

	while (!ring_reap()) {
		if (now_ns() > until)
			die("a command is not answered");
		if (ping.wait == WAIT_YIELD) {
			sched_yield();
		} else if (ping.wait == WAIT_CALL) {
			struct pollfd pfd = {.fd = ping.call_fd, .events = POLLIN};
			eventfd_t count;

			if (poll(&pfd, 1, 100) > 0)
				eventfd_read(ping.call_fd, &count);
		}
	}
}

static int
by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static double
quantile_us(double q)
{
	uint64_t i = (uint64_t)(q * (double)ping.n);

	return times_ns[i < ping.n ? i : ping.n - 1] / 1e3;
}

static void
report(double seconds)
{
	static const double edges_us[] = {10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 1e9};
	uint64_t at = 0, over = 0;

	qsort(times_ns, ping.n, sizeof(times_ns[0]), by_size);
	for (uint64_t i = 0; i < ping.n; i++)
		over += times_ns[i] > 1000000;
	printf("{\"n\": %llu, \"seconds\": %.3f, \"ok\": %llu, \"err\": %llu, \"odd\": %llu, \"kicks\": "
	       "%llu, ",
	       (unsigned long long)ping.n, seconds, (unsigned long long)n_ok, (unsigned long long)n_err,
	       (unsigned long long)n_odd, (unsigned long long)n_kicks);
	printf("\"min_us\": %.1f, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
	       "\"max_us\": %.1f, \"over_1ms\": %llu, \"below_us\": {",
	       times_ns[0] / 1e3, quantile_us(0.5), quantile_us(0.9), quantile_us(0.99), quantile_us(0.999),
	       times_ns[ping.n - 1] / 1e3, (unsigned long long)over);
	for (unsigned int i = 0; i < sizeof(edges_us) / sizeof(edges_us[0]); i++) {
		uint64_t from = at;

		while (at < ping.n && times_ns[at] / 1e3 < edges_us[i])
			at++;
		printf("%s\"%.0f\": %llu", i ? ", " : "", edges_us[i], (unsigned long long)(at - from));
	}
	printf("}}\n");
}

static void
add_command(const char *hex)
{
	uint8_t *to = ping.memory + command_offset(ping.n_commands);
	uint32_t len = 0;

	if (ping.n_commands == COMMANDS_MAX)
		die("too many commands");
	for (; hex[0] && hex[1] && len < COMMAND_LEN_MAX; hex += 2, len++) {
		unsigned int byte;

		if (sscanf(hex, "%2x", &byte) != 1)
			die("a command is not in hexadecimal digits");
		to[len] = (uint8_t)byte;
	}
	if (*hex || len == 0)
		die("a command has the wrong length");
	ping.command_len[ping.n_commands++] = len;
}

static void
parse(char *const *options)
{
	static const struct {
		const char *key;
		uint64_t *value;
	} numbers[] = {
		{"packed", &ping.packed},     {"size", &ping.size},
		{"desc", &ping.desc},         {"driver", &ping.driver},
		{"device", &ping.device},     {"area", &ping.area},
		{"delta", &ping.gpa_delta},   {"n", &ping.n},
		{"depth", &ping.depth},       {"pause", &ping.pause_us},
		{"answer", &ping.answer_len}, {"wait", &ping.wait},
	};

	for (; *options; options++) {
		const char *value = strchr(*options, '=');
		size_t key_len = value ? (size_t)(value++ - *options) : 0;
		bool known = false;

		for (size_t i = 0; value && i < sizeof(numbers) / sizeof(numbers[0]); i++) {
			if (strlen(numbers[i].key) == key_len &&
			    strncmp(numbers[i].key, *options, key_len) == 0) {
				*numbers[i].value = strtoull(value, NULL, 0);
				known = true;
			}
		}
		/* Behind all numbers: it is written to its place at once. */
		if (value && key_len == 7 && strncmp("command", *options, key_len) == 0) {
			add_command(value);
			known = true;
		}
		if (!known)
			die("an option that is none");
	}
	if (!ping.size || !ping.n || !ping.depth || ping.depth > DEPTH_MAX || 2 * ping.depth > ping.size ||
	    !ping.n_commands || ping.answer_len > ANSWER_LEN_MAX || ping.wait > WAIT_CALL ||
	    (ping.packed && ping.size % 2))
		die("options that do not fit together");
}

int
main(int argc, char **argv)
{
	uint64_t began;
	struct stat st;

	if (argc < 6 || fstat(atoi(argv[1]), &st) < 0)
		die("usage: controlping MEMORY_FD KICK_FD CALL_FD key=value... command=HEX...");
	ping.kick_fd = atoi(argv[2]);
	ping.call_fd = atoi(argv[3]);
	ping.memory = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(argv[1]), 0);
	if (ping.memory == MAP_FAILED)
		die("mmap");
	parse(argv + 4);
	times_ns = calloc(ping.n, sizeof(times_ns[0]));
	if (!times_ns)
		die("out of memory");
	for (unsigned int i = 0; i < ping.depth; i++)
		ring.free[ring.n_free++] = (uint16_t)(ping.depth - 1 - i);
	began = now_ns();
	while (n_back < ping.n) {
		ring_send();
		ring_wait();
		if (ping.pause_us)
			usleep((useconds_t)ping.pause_us);
	}
	report((double)(now_ns() - began) / 1e9);
	return 0;
}
