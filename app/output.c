/* SPDX-License-Identifier: BSD-3-Clause */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/poll.h> /* app/ has a poll.h */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct output_record {
	struct output_record *next;
	size_t len;
	int fd;
	char data[];
};

/* All of it under the mutex, which nobody holds while writing to a file. */
struct output_queue {
	pthread_mutex_t mutex;
	pthread_cond_t more;  /* for the thread: a record, or the end */
	pthread_cond_t moved; /* for output_close(): something was written, or the thread is through */
	struct output_record *first, **last;
	size_t n_bytes; /* queued, with the record under way */
	bool closing, done;
	uint64_t n_moves;
};

enum output_state { OUTPUT_DIRECT, OUTPUT_QUEUED, OUTPUT_LOST };

static struct output_queue output_queues[OUTPUT_STREAMS];

static struct {
	struct output_queue *queue;
	_Atomic int state; /* enum output_state */
	_Atomic uint64_t n_dropped;
} output_streams[OUTPUT_STREAMS];

static const int output_fds[OUTPUT_STREAMS] = {STDOUT_FILENO, STDERR_FILENO};

/* --- the thread --- */

static void
output_moved(struct output_queue *queue)
{
	pthread_mutex_lock(&queue->mutex);
	queue->n_moves++;
	pthread_cond_signal(&queue->moved);
	pthread_mutex_unlock(&queue->mutex);
}

/* A reader that went away is no reason to stop forwarding: errors are not ours. */
static void
output_put(struct output_queue *queue, const struct output_record *record)
{
	size_t at = 0;

	while (at < record->len) {
		/* As much as a pipe takes at once, so that a reader which is slow is told from one that
		 * pauses. */
		size_t len = record->len - at < PIPE_BUF ? record->len - at : PIPE_BUF;
		ssize_t n = write(record->fd, record->data + at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			/* Somebody else has made the file non-blocking. */
			poll(&(struct pollfd){.fd = record->fd, .events = POLLOUT}, 1, -1);
			continue;
		}
		if (n < 0)
			return;
		at += (size_t)n;
		output_moved(queue);
	}
}

static void *
output_main(void *arg)
{
	struct output_queue *queue = arg;
	struct output_record *record;

	pthread_mutex_lock(&queue->mutex);
	while (queue->first || !queue->closing) {
		record = queue->first;
		if (!record) {
			pthread_cond_wait(&queue->more, &queue->mutex);
			continue;
		}
		queue->first = record->next;
		if (!queue->first)
			queue->last = &queue->first;
		pthread_mutex_unlock(&queue->mutex);
		output_put(queue, record);
		pthread_mutex_lock(&queue->mutex);
		queue->n_bytes -= record->len;
		free(record);
	}
	queue->done = true;
	pthread_cond_signal(&queue->moved);
	pthread_mutex_unlock(&queue->mutex);
	return NULL;
}

static int
output_queue_start(struct output_queue *queue)
{
	sigset_t all, before;
	pthread_condattr_t attr;
	pthread_t thread;
	int ret;

	*queue = (struct output_queue){.last = &queue->first};
	pthread_mutex_init(&queue->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&queue->more, &attr);
	pthread_cond_init(&queue->moved, &attr);
	pthread_condattr_destroy(&attr);
	/* Signals are for the thread that started us. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	ret = pthread_create(&thread, NULL, output_main, queue);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ret != 0)
		return -ret;
	pthread_setname_np(thread, "vnicd-output");
	/* Nobody waits for a thread whose reader has paused. */
	pthread_detach(thread);
	return 0;
}

/* --- any thread --- */

static bool
output_is_one_file(void)
{
	struct stat a, b;

	return fstat(STDOUT_FILENO, &a) == 0 && fstat(STDERR_FILENO, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

int
output_open(void)
{
	unsigned int n_queues = output_is_one_file() ? 1 : OUTPUT_STREAMS;

	fflush(stdout);
	for (unsigned int i = 0; i < n_queues; i++) {
		int ret = output_queue_start(&output_queues[i]);

		if (ret < 0)
			return ret;
		output_streams[i].queue = &output_queues[i];
		output_streams[i].state = OUTPUT_QUEUED;
	}
	if (n_queues == 1) {
		output_streams[OUTPUT_STDERR].queue = &output_queues[0];
		output_streams[OUTPUT_STDERR].state = OUTPUT_QUEUED;
	}
	return 0;
}

static void
output_add_ms(struct timespec *ts, unsigned int ms)
{
	ts->tv_nsec += (long)(ms % 1000) * 1000000;
	ts->tv_sec += ms / 1000 + ts->tv_nsec / 1000000000;
	ts->tv_nsec %= 1000000000;
}

/* True: all is written. Its time began with `start`. */
static bool
output_queue_finish(struct output_queue *queue, const struct timespec *start)
{
	struct timespec deadline = *start;
	uint64_t n_moves;
	bool done;
	int ret = 0;

	output_add_ms(&deadline, OUTPUT_PATIENCE_MS);
	pthread_mutex_lock(&queue->mutex);
	queue->closing = true;
	pthread_cond_signal(&queue->more);
	n_moves = queue->n_moves;
	while (!queue->done && ret != ETIMEDOUT) {
		ret = pthread_cond_timedwait(&queue->moved, &queue->mutex, &deadline);
		if (queue->n_moves == n_moves)
			continue;
		n_moves = queue->n_moves;
		clock_gettime(CLOCK_MONOTONIC, &deadline);
		output_add_ms(&deadline, OUTPUT_PATIENCE_MS);
		ret = 0;
	}
	done = queue->done;
	pthread_mutex_unlock(&queue->mutex);
	return done;
}

void
output_close(void)
{
	struct timespec start;

	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned int i = 0; i < OUTPUT_STREAMS; i++) {
		struct output_queue *queue = output_streams[i].queue;

		if (queue)
			output_streams[i].state =
				output_queue_finish(queue, &start) ? OUTPUT_DIRECT : OUTPUT_LOST;
	}
}

static bool
output_enqueue(struct output_queue *queue, int fd, enum output_need need, const char *data, size_t len)
{
	struct output_record *record = malloc(sizeof(*record) + len);
	bool fits;

	if (!record)
		return false;
	*record = (struct output_record){.len = len, .fd = fd};
	memcpy(record->data, data, len);
	pthread_mutex_lock(&queue->mutex);
	fits = need == OUTPUT_KEEP || queue->n_bytes == 0 || queue->n_bytes + len <= OUTPUT_QUEUE_MAX;
	if (fits) {
		*queue->last = record;
		queue->last = &record->next;
		queue->n_bytes += len;
		pthread_cond_signal(&queue->more);
	}
	pthread_mutex_unlock(&queue->mutex);
	if (!fits)
		free(record);
	return fits;
}

static void
output_direct(FILE *file, const char *data, size_t len)
{
	fwrite(data, 1, len, file);
	fflush(file);
	clearerr(file);
}

bool
output_write(enum output_stream stream, enum output_need need, const char *data, size_t len)
{
	bool taken = true;

	switch ((enum output_state)output_streams[stream].state) {
	case OUTPUT_DIRECT:
		output_direct(stream == OUTPUT_STDOUT ? stdout : stderr, data, len);
		break;
	case OUTPUT_QUEUED:
		taken = output_enqueue(output_streams[stream].queue, output_fds[stream], need, data, len);
		break;
	case OUTPUT_LOST:
		taken = false;
		break;
	}
	output_streams[stream].n_dropped += !taken;
	return taken;
}

uint64_t
output_n_dropped(enum output_stream stream)
{
	return output_streams[stream].n_dropped;
}

/* --- standard error as a file --- */

static int output_terminal =
	-1; /* what standard error was; -1: it still is, or nobody looks there any more */

int
output_to_file(const char *path, struct diag *diag)
{
	const int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_CLOEXEC | O_NONBLOCK, 0640);
	static bool is_file;

	if (fd < 0)
		return diag_set(diag, -errno, "name a file in a directory that can be written",
				"--log-file %.200s: %s", path, strerror(errno));
	if (!is_file)
		output_terminal = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	is_file = true;
	dup2(fd, STDERR_FILENO);
	close(fd);
	return 0;
}

void
output_forget_terminal(void)
{
	if (output_terminal >= 0)
		close(output_terminal);
	output_terminal = -1;
}

void
output_last_words(const char *data, size_t len)
{
	output_write(OUTPUT_STDERR, OUTPUT_KEEP, data, len);
	/* Before anybody is served: it may wait. */
	if (output_terminal >= 0 && write(output_terminal, data, len) < 0)
		output_forget_terminal();
}

/* Lines that found no room because nobody read standard error, in front of the next that does. */
static void
output_tell_dropped(void)
{
	static uint64_t told;
	uint64_t n_dropped = output_n_dropped(OUTPUT_STDERR);
	char line[128];

	if (n_dropped == told)
		return;
	snprintf(line, sizeof(line),
		 "vnicd: warning: %" PRIu64 " log lines are missing here: nobody read standard error\n",
		 n_dropped - told);
	if (output_write(OUTPUT_STDERR, OUTPUT_MAY_DROP, line, strlen(line)))
		told = n_dropped;
	else
		told++; /* this one is none that is missing */
}

void
output_log(void *arg, enum log_level level, const char *text)
{
	char line[1280];

	snprintf(line, sizeof(line), "vnicd: %s%s\n", log_level_word(level), text);
	output_tell_dropped();
	output_write(OUTPUT_STDERR, OUTPUT_MAY_DROP, line, strlen(line));
}
