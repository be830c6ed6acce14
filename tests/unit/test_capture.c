/* SPDX-License-Identifier: BSD-3-Clause */
/* test_capture: rings of records, and the thread that makes a file of them. What workers put there is
 * e2e/test_capture.py's. */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_ether.h>

#include "capture_record.h"
#include "capture_ring.h"
#include "capture_writer.h"
#include "rng.h"
#include "ticks.h"
#include "unit_eal.h"

enum { RING_SIZE = 4096, RECORDS = 20000, LEN_MAX = 700 };

/* --- rings --- */

static uint32_t
len_of(uint32_t number)
{
	return 4 + number * 2654435761u % (LEN_MAX - 4);
}

static bool
ring_write(struct capture_ring *ring, uint32_t number)
{
	const uint32_t len = len_of(number);
	uint8_t *bytes = capture_ring_reserve(ring, len);

	if (!bytes)
		return false;
	memset(bytes, (int)number, len);
	memcpy(bytes, &number, sizeof(number));
	return true;
}

static void
ring_read(struct capture_ring *ring, uint32_t number)
{
	const uint8_t *bytes = capture_ring_peek(ring);

	assert_non_null(bytes);
	assert_ptr_equal(bytes, capture_ring_peek(ring));
	assert_memory_equal(bytes, &number, sizeof(number));
	for (uint32_t i = sizeof(number); i < len_of(number); i++)
		assert_int_equal(bytes[i], (uint8_t)number);
	capture_ring_take(ring);
}

/* Of any length, around the end again and again, with any number under way. */
static void
test_ring(void **state)
{
	uint32_t n_written = 0, n_read = 0, n_full = 0;
	struct capture_ring ring;

	assert_int_equal(capture_ring_open(&ring, RING_SIZE - 1), 0);
	assert_int_equal(ring.size, RING_SIZE);
	while (n_read < RECORDS) {
		for (uint32_t i = rng_below(12); i; i--) {
			if (ring_write(&ring, n_written))
				n_written++;
			else
				n_full++;
		}
		/* What is not committed is not there. */
		capture_ring_commit(&ring);
		for (uint32_t i = rng_below(12); i && n_read < n_written; i--)
			ring_read(&ring, n_read++);
	}
	while (n_read < n_written)
		ring_read(&ring, n_read++);
	assert_null(capture_ring_peek(&ring));
	assert_true(n_full > 100);
	assert_true(ring_write(&ring, 1));
	assert_null(capture_ring_peek(&ring));
	capture_ring_close(&ring);
	capture_ring_close(&ring);
}

/* --- the file --- */

static struct capture_ring rings[2];
static struct capture_interface interfaces[2];
static struct capture_writer writer;

static void
statistics(const void *arg, uint32_t interface, struct pcapng_statistics *ret_statistics)
{
	ret_statistics->seen = 100 + interface;
	ret_statistics->wanted = 50 + interface;
	ret_statistics->lost = 7 + interface;
}

/* Returns the peer's end. */
static int
writer_start(uint64_t count)
{
	int ends[2];

	memset(&writer, 0, sizeof(writer));
	memset(interfaces, 0, sizeof(interfaces));
	interfaces[0].name = "vm0";
	interfaces[1].name = "vm1";
	for (int i = 0; i < 2; i++)
		assert_int_equal(capture_ring_open(&rings[i], 1 << 20), 0);
	writer.rings = rings;
	writer.n_rings = 2;
	writer.interfaces = interfaces;
	writer.n_interfaces = 2;
	writer.application = "test";
	writer.snaplen = 96;
	writer.count = count;
	writer.statistics = statistics;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	assert_int_equal(capture_writer_start(&writer, ends[0]), 0);
	return ends[1];
}

static void
writer_stop(int fd)
{
	capture_writer_join(&writer);
	capture_writer_join(&writer);
	close(fd);
	for (int i = 0; i < 2; i++)
		capture_ring_close(&rings[i]);
}

static void
put_record(struct capture_ring *ring, uint64_t ticks, uint8_t byte, enum port_drop reason)
{
	struct capture_record *record = capture_ring_reserve(ring, sizeof(*record) + 60);

	*record = (struct capture_record){.ticks = ticks,
					  .captured = 60,
					  .len = 60,
					  .direction = PCAPNG_INBOUND,
					  .reason = (uint8_t)reason};
	memset(record->bytes, byte, 60);
	capture_ring_commit(ring);
}

static void
await_state(enum capture_state state)
{
	for (int i = 0; i < 5000 && atomic_load(&writer.state) != (int)state; i++)
		usleep(1000);
	assert_int_equal(atomic_load(&writer.state), state);
}

static uint8_t file[1 << 20];
static size_t file_len;

/* All blocks, whose two lengths are the same; returns how many there are of a type. */
static unsigned int
count_blocks(uint32_t type, uint32_t *ret_last_at)
{
	unsigned int n = 0;
	uint32_t head[2], len;

	for (size_t at = 0; at < file_len; at += head[1]) {
		memcpy(head, file + at, sizeof(head));
		assert_true(head[1] >= 12 && head[1] % 4 == 0 && at + head[1] <= file_len);
		memcpy(&len, file + at + head[1] - 4, sizeof(len));
		assert_int_equal(len, head[1]);
		if (head[0] != type)
			continue;
		n++;
		*ret_last_at = (uint32_t)at;
	}
	return n;
}

static void
read_file(int fd)
{
	ssize_t n;

	file_len = 0;
	while ((n = read(fd, file + file_len, sizeof(file) - file_len)) > 0)
		file_len += (size_t)n;
	assert_int_equal(n, 0);
}

static void
test_file(void **state)
{
	const uint64_t now = ticks_now();
	uint32_t at, order[4] = {1, 2, 3, 4};
	int fd = writer_start(0);
	uint8_t *found = file;

	/* The second ring has the oldest. */
	put_record(&rings[0], now - 2000, 2, DROP_N);
	put_record(&rings[1], now - 3000, 1, DROP_N);
	shutdown(fd, SHUT_WR);
	await_state(CAPTURE_ENDING);
	/* What came before the hooks were gone belongs to it. */
	put_record(&rings[1], now - 1000, 3, DROP_NO_BUFFER);
	put_record(&rings[0], now - 500, 4, DROP_N);
	capture_writer_finish(&writer, CAPTURE_PATIENT);
	read_file(fd);
	await_state(CAPTURE_DONE);
	assert_int_equal(count_blocks(0x0a0d0d0a, &at), 1);
	assert_int_equal(at, 0);
	assert_int_equal(count_blocks(1, &at), 2);
	assert_int_equal(count_blocks(5, &at), 2);
	assert_int_equal(count_blocks(6, &at), 4);
	for (int i = 0; i < 4; i++) {
		uint8_t bytes[60];

		memset(bytes, (int)order[i], sizeof(bytes));
		found = memmem(found, (size_t)(file + file_len - found), bytes, sizeof(bytes));
		assert_non_null(found);
	}
	assert_non_null(memmem(file, file_len, "dropped: no_buffer: ", 20));
	assert_int_equal(atomic_load(&interfaces[0].written), 4);
	writer_stop(fd);
}

/* With enough it ends by itself, and what came later is in no file. */
static void
test_count(void **state)
{
	int fd = writer_start(3);
	uint32_t at;

	for (uint8_t i = 0; i < 10; i++)
		put_record(&rings[i % 2], ticks_now(), i, DROP_N);
	await_state(CAPTURE_ENDING);
	capture_writer_finish(&writer, CAPTURE_PATIENT);
	read_file(fd);
	assert_int_equal(count_blocks(6, &at), 3);
	assert_int_equal(count_blocks(5, &at), 2);
	writer_stop(fd);
}

/* A peer that reads nothing holds nobody up for long, and one that is gone not at all. */
static void
test_nobody_reads(void **state)
{
	int fd = writer_start(0);

	for (int i = 0; i < 8000; i++) {
		if (!capture_ring_peek(&rings[0]))
			usleep(100);
		if (rings[0].next - atomic_load(&rings[0].tail) < rings[0].size / 2)
			put_record(&rings[0], ticks_now(), 1, DROP_N);
	}
	capture_writer_finish(&writer, CAPTURE_HURRIED);
	await_state(CAPTURE_DONE);
	writer_stop(fd);

	fd = writer_start(0);
	close(fd);
	await_state(CAPTURE_ENDING);
	capture_writer_finish(&writer, CAPTURE_PATIENT);
	await_state(CAPTURE_DONE);
	writer_stop(-1);
}

/* The words of a header, for each kind of request. */
static void
test_header(void **state)
{
	struct rte_mbuf frame = {.l2_len = 14, .l3_len = 20, .l4_len = 32, .tso_segsz = 1448};
	struct capture_record record = {.tx_offload = frame.tx_offload};
	char text[CAPTURE_COMMENT_MAX];

	capture_record_header(&record, text, sizeof(text));
	assert_string_equal(text, "virtio_net_hdr: flags 0, gso_type NONE");
	record.ol_flags = RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_IPV4;
	capture_record_header(&record, text, sizeof(text));
	assert_string_equal(text, "virtio_net_hdr: flags NEEDS_CSUM, gso_type NONE, hdr_len 0, gso_size 0, "
				  "csum_start 34, csum_offset 6");
	record.ol_flags = RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV6;
	capture_record_header(&record, text, sizeof(text));
	assert_string_equal(text,
			    "virtio_net_hdr: flags NEEDS_CSUM, gso_type TCPV6, hdr_len 66, gso_size 1448, "
			    "csum_start 34, csum_offset 16");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring),   cmocka_unit_test(test_file),
		cmocka_unit_test(test_count),  cmocka_unit_test(test_nobody_reads),
		cmocka_unit_test(test_header),
	};

	unit_eal_start(&(struct unit_eal){.memory_mb = 32});
	return UNIT_RUN(tests);
}
