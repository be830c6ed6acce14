/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * output: standard output and standard error, without ever waiting for who reads them.
 *
 *   any thread --record--> queue, bounded --> a thread that may wait --write()--> pipe, terminal, file
 *
 * A reader pauses for as long as it likes (`| less`, a terminal after ^S), and whoever wrote to it directly
 * would stand still so long. O_NONBLOCK is no help: it belongs to the open file, which we share with the
 * shell and with others that write there. So each stream has a queue and a thread; both streams have the same
 * one where they are the same file, and keep their order.
 *
 * Records are written whole or dropped whole. Until output_open() they are written directly, which is right
 * for a program that serves nobody yet, and for one of a single thread.
 */
#ifndef VNICD_OUTPUT_H
#define VNICD_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diag.h"
#include "log.h"

enum output_stream { OUTPUT_STDOUT, OUTPUT_STDERR, OUTPUT_STREAMS };

enum output_need {
	OUTPUT_MAY_DROP, /* for want of room */
	OUTPUT_KEEP,     /* the last word on something: takes room beyond the bound */
};

/*
 * Start the threads; they run where the caller may run. 0, or -errno: records are written directly, as
 * before.
 */
int output_open(void);
/*
 * Returns when all is written, or has not moved on for OUTPUT_PATIENCE_MS. What is left then is lost, and so
 * is all that comes later.
 */
void output_close(void);

enum { OUTPUT_QUEUE_MAX = 64 << 10, OUTPUT_PATIENCE_MS = 1000 };

/*
 * Any thread. False: dropped, and counted: the stream's queue holds OUTPUT_QUEUE_MAX bytes already (a longer
 * record has to find it empty), or there is no memory. A reader that has gone away is no reason for false.
 */
bool output_write(enum output_stream stream, enum output_need need, const char *data, size_t len);
/* Records of the stream that were dropped so far. */
uint64_t output_n_dropped(enum output_stream stream);

/*
 * Standard error is the file at `path` from now on, which is made if it is not there, and added to. Again,
 * with the same path: another file has its name (log rotation), and what is written now goes there; on
 * failure everything stays as it is. Any thread may write meanwhile. 0, or -errno with diag filled.
 */
int output_to_file(const char *path, struct diag *diag);
/*
 * Until then what ends the program is also told where standard error was before. To be called when all is
 * running: nobody waits there any more.
 */
void output_forget_terminal(void);
/* The last words of a program that has failed: to standard error, and where that was before. */
void output_last_words(const char *data, size_t len);

/*
 * Where the program's log goes (log.h): to standard error, after its name. Lines that nobody made room for
 * are counted, and told when there is room again.
 */
void output_log(void *arg, enum log_level level, const char *text);

#endif
