/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * capture_writer: the thread of a capture: takes records from all workers' rings, in the order of time, and
 * writes them to a socket as pcapng.
 *
 *     RUNNING   -- the peer shut its end, it is gone, or there are `count` -->  ENDING: the control thread is
 * told, ENDING    -- capture_writer_finish(): no more hooks --> what is left, statistics --> DONE: it is told
 * again
 */
#ifndef VNICD_CAPTURE_WRITER_H
#define VNICD_CAPTURE_WRITER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "capture_ring.h"
#include "pcapng.h"

enum capture_state { CAPTURE_RUNNING, CAPTURE_ENDING, CAPTURE_DONE };

/* An interface of the file. */
struct capture_interface {
	const char *name;
	char description[192];
	_Atomic uint64_t written; /* by the thread */
};

struct capture_writer {
	/* Set before it starts; the capture's. */
	struct capture_ring *rings; /* [n_rings] */
	unsigned int n_rings;
	struct capture_interface *interfaces; /* [n_interfaces] */
	unsigned int n_interfaces;
	const char *application, *filter; /* filter NULL: none */
	uint32_t snaplen;
	uint64_t count; /* 0: without end */
	bool headers;
	/* What came by so far, of an interface, without `written`; called when no hook is left. */
	void (*statistics)(const void *arg, uint32_t interface, struct pcapng_statistics *ret_statistics);
	const void *statistics_arg;

	int fd;                  /* the socket */
	int told_fd;             /* eventfd: the control thread is told */
	int wake_fd;             /* eventfd: the thread is told */
	_Atomic int state;       /* enum capture_state; the thread's */
	_Atomic bool finishes;   /* the control thread's: no more records come */
	_Atomic bool is_hurried; /* the control thread's: wait for nobody */
	pthread_t thread;
	/* The thread's own. */
	struct pcapng out;
	uint64_t n_written, start_ns;
	bool is_gone; /* the peer */
};

/* Control thread. 0, or -errno and nothing is left; the socket is the caller's until 0. */
int capture_writer_start(struct capture_writer *writer, int fd);
/* All hooks are gone: write the rest. Hurried: only what the peer takes at once. Accepts one that never
 * started. */
enum capture_haste { CAPTURE_PATIENT, CAPTURE_HURRIED };
void capture_writer_finish(struct capture_writer *writer, enum capture_haste haste);
/* Waits for DONE, which comes soon after a hurried finish, and frees all. Accepts one that never started. */
void capture_writer_join(struct capture_writer *writer);

#endif
