/* SPDX-License-Identifier: BSD-3-Clause */
/* capture_writer: contract in capture_writer.h. */
#include "capture_writer.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <rte_cycles.h>

#include "capture_record.h"
#include "ticks.h"

enum {
	WRITER_OUT_SIZE = 256 << 10, /* bytes that are written at a time, or a little more */
	WRITER_ROOM = WRITER_OUT_SIZE + PORT_FRAME_MAX + PCAPNG_BLOCK_EXTRA,
	WRITER_NAP_MS = 2,       /* between two looks at rings that were empty */
	WRITER_LINGER_MS = 5000, /* at the end, for a peer that reads nothing */
};

static const uint64_t ns_per_s = 1000000000;

/* --- time --- */

/* Two clocks, read at the same time. */
struct writer_clock {
	uint64_t ticks, ns;
};

static struct writer_clock
clock_read(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (struct writer_clock){.ticks = ticks_now(),
				     .ns = (uint64_t)ts.tv_sec * ns_per_s + (uint64_t)ts.tv_nsec};
}

/* Of a record that is not much older than the clock. */
static uint64_t
clock_ns(const struct writer_clock *clock, uint64_t ticks)
{
	const int64_t age = (int64_t)(clock->ticks - ticks);

#ifdef __x86_64__
	return clock->ns - (uint64_t)(int64_t)((double)age * (double)ns_per_s / (double)rte_get_tsc_hz());
#else
	return clock->ns - (uint64_t)age;
#endif
}

/* --- the socket --- */

static void
signal_fd(int fd)
{
	const uint64_t one = 1;
	ssize_t ret = write(fd, &one, sizeof(one));

	(void)ret;
}

static void
writer_state(struct capture_writer *writer, enum capture_state state)
{
	atomic_store_explicit(&writer->state, state, memory_order_release);
	signal_fd(writer->told_fd);
}

/* It shut its end, or closed; what it says before that is nobody's. */
static bool
peer_has_ended(int fd)
{
	char bytes[256];
	ssize_t n;

	do
		n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	while (n > 0 || (n < 0 && errno == EINTR));
	return n == 0 || errno != EAGAIN;
}

static void
writer_nap(const struct capture_writer *writer, short events, int timeout_ms)
{
	struct pollfd fds[2] = {{.fd = writer->fd, .events = events},
				{.fd = writer->wake_fd, .events = POLLIN}};

	poll(fds, 2, timeout_ms);
	if (fds[1].revents & POLLIN) {
		uint64_t n;
		ssize_t ret = read(writer->wake_fd, &n, sizeof(n));

		(void)ret;
	}
}

/* All that is in `out`, as fast as the peer takes it. */
static void
writer_flush(struct capture_writer *writer)
{
	int waited_ms = 0;
	size_t at = 0;

	while (at < writer->out.len && !writer->is_gone) {
		ssize_t n = send(writer->fd, writer->out.bytes + at, writer->out.len - at,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n >= 0) {
			at += (size_t)n;
			waited_ms = 0;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN) {
			writer->is_gone = true;
			break;
		}
		if (atomic_load_explicit(&writer->is_hurried, memory_order_relaxed) ||
		    waited_ms >= WRITER_LINGER_MS) {
			writer->is_gone = true;
			break;
		}
		/* A peer that has shut its end still reads. */
		if (atomic_load_explicit(&writer->state, memory_order_relaxed) == CAPTURE_RUNNING &&
		    peer_has_ended(writer->fd))
			writer_state(writer, CAPTURE_ENDING);
		writer_nap(writer, POLLOUT, 10);
		/* Before the end, a peer may rest as long as it likes. */
		if (atomic_load_explicit(&writer->finishes, memory_order_relaxed))
			waited_ms += 10;
	}
	writer->out.len = 0;
}

/* --- records --- */

static void
writer_put(struct capture_writer *writer, const struct capture_record *record,
	   const struct writer_clock *clock)
{
	struct capture_interface *interface = &writer->interfaces[record->tap_idx];
	char drop[CAPTURE_COMMENT_MAX], header[CAPTURE_COMMENT_MAX];
	struct pcapng_packet packet = {
		.interface = record->tap_idx,
		.time_ns = clock_ns(clock, record->ticks),
		.direction = record->direction,
		.queue = record->queue_idx,
		.captured = record->captured,
		.len = record->len,
		.bytes = record->bytes,
	};
	unsigned int n_comments = 0;

	if (record->reason != DROP_N) {
		capture_record_drop(record, drop, sizeof(drop));
		packet.comments[n_comments++] = drop;
	}
	if (writer->headers && record->len) {
		capture_record_header(record, header, sizeof(header));
		packet.comments[n_comments++] = header;
	}
	pcapng_packet(&writer->out, &packet);
	atomic_fetch_add_explicit(&interface->written, 1, memory_order_relaxed);
	writer->n_written++;
}

static bool
writer_has_all(const struct capture_writer *writer)
{
	return writer->count && writer->n_written >= writer->count;
}

/* Fill `out` from the rings, the oldest record first. False: they are empty, or there are enough. */
static bool
writer_drain(struct capture_writer *writer)
{
	const struct writer_clock clock = clock_read();

	while (writer->out.len < WRITER_OUT_SIZE && !writer_has_all(writer)) {
		const struct capture_record *oldest = NULL;
		struct capture_ring *from = NULL;

		for (unsigned int i = 0; i < writer->n_rings; i++) {
			const struct capture_record *record = capture_ring_peek(&writer->rings[i]);

			if (record && (!oldest || (int64_t)(record->ticks - oldest->ticks) < 0)) {
				oldest = record;
				from = &writer->rings[i];
			}
		}
		if (!oldest)
			return false;
		writer_put(writer, oldest, &clock);
		capture_ring_take(from);
	}
	return !writer_has_all(writer);
}

static void
writer_begin(struct capture_writer *writer)
{
	writer->start_ns = clock_read().ns;
	pcapng_section(&writer->out, writer->application);
	for (unsigned int i = 0; i < writer->n_interfaces; i++) {
		pcapng_interface(&writer->out, writer->interfaces[i].name, writer->interfaces[i].description,
				 writer->filter, writer->snaplen);
		if (writer->out.len >= WRITER_OUT_SIZE)
			writer_flush(writer);
	}
	writer_flush(writer);
}

static void
writer_end(struct capture_writer *writer)
{
	for (unsigned int i = 0; i < writer->n_interfaces; i++) {
		struct pcapng_statistics statistics = {
			.interface = i, .start_ns = writer->start_ns, .end_ns = clock_read().ns};

		writer->statistics(writer->statistics_arg, i, &statistics);
		statistics.written =
			atomic_load_explicit(&writer->interfaces[i].written, memory_order_relaxed);
		pcapng_statistics(&writer->out, &statistics);
		if (writer->out.len >= WRITER_OUT_SIZE)
			writer_flush(writer);
	}
	writer_flush(writer);
}

static void *
writer_main(void *arg)
{
	struct capture_writer *writer = arg;

	writer_begin(writer);
	for (;;) {
		/* Acquire: pairs with the release of who says so: all records are there by then. */
		const bool finishes = atomic_load_explicit(&writer->finishes, memory_order_acquire);
		const bool more = writer_drain(writer);
		const bool is_idle = writer->out.len == 0;

		writer_flush(writer);
		if (finishes && (!more || writer->is_gone))
			break;
		if (atomic_load_explicit(&writer->state, memory_order_relaxed) == CAPTURE_RUNNING) {
			if (writer->is_gone || writer_has_all(writer) || peer_has_ended(writer->fd))
				writer_state(writer, CAPTURE_ENDING);
			else if (is_idle)
				writer_nap(writer, POLLIN, WRITER_NAP_MS);
		} else if (is_idle || writer->is_gone) {
			writer_nap(writer, 0, WRITER_NAP_MS);
		}
	}
	writer_end(writer);
	shutdown(writer->fd, SHUT_RDWR);
	writer_state(writer, CAPTURE_DONE);
	return NULL;
}

/* --- control thread --- */

static int
thread_start(struct capture_writer *writer)
{
	sigset_t all, old;
	int ret;

	/* Signals are for the control thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = -pthread_create(&writer->thread, NULL, writer_main, writer);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ret;
}

int
capture_writer_start(struct capture_writer *writer, int fd)
{
	int ret = -ENOMEM;

	writer->out.bytes = malloc(WRITER_ROOM);
	if (!writer->out.bytes)
		return ret;
	writer->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (writer->wake_fd < 0) {
		ret = -errno;
		goto no_wake;
	}
	writer->told_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (writer->told_fd < 0) {
		ret = -errno;
		goto no_told;
	}
	writer->fd = fd;
	ret = thread_start(writer);
	if (ret == 0)
		return 0;
	close(writer->told_fd);
no_told:
	close(writer->wake_fd);
no_wake:
	free(writer->out.bytes);
	writer->out.bytes = NULL;
	return ret;
}

void
capture_writer_finish(struct capture_writer *writer, enum capture_haste haste)
{
	if (!writer->out.bytes)
		return;
	if (haste == CAPTURE_HURRIED)
		atomic_store_explicit(&writer->is_hurried, true, memory_order_relaxed);
	atomic_store_explicit(&writer->finishes, true, memory_order_release);
	signal_fd(writer->wake_fd);
}

void
capture_writer_join(struct capture_writer *writer)
{
	if (!writer->out.bytes)
		return;
	pthread_join(writer->thread, NULL);
	close(writer->fd);
	close(writer->told_fd);
	close(writer->wake_fd);
	free(writer->out.bytes);
	writer->out.bytes = NULL;
}
