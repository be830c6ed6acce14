/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control.h: the guest's half of the control virtqueue (VIRTIO, "Control Virtqueue"): before traffic starts,
 * the commands that switch on what is measured. One command at a time, each waited for.
 */
#ifndef PERF_CONTROL_H
#define PERF_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ring.h"

/* What is on; 0: no control queue is negotiated. */
enum control_feature {
	CONTROL_RSS = 1 << 0,         /* every hash type; a table of 128 entries, all of them queue pair 0 */
	CONTROL_FILTER = 1 << 1,      /* not promiscuous, 64 MAC addresses, 100 VLANs: those of frame.h */
	CONTROL_HASH_REPORT = 1 << 2, /* every hash type; headers of 20 bytes */
};

enum control_errors { CONTROL_ERRORS_FATAL, CONTROL_ERRORS_COUNTED };

struct control {
	struct ring ring; /* virtqueue 2: behind the one pair, with MQ and RSS or without */
	uint8_t *request; /* then the command's data */
	uint8_t *ack;
	enum control_errors errors;
	unsigned n_ok;
	unsigned n_errors;
};

/* Returns the bytes of guest memory that control_place() will want. */
size_t control_plan(struct control *control, const struct ring_config *config, const char *name);
void control_place(struct control *control, uint8_t *mem, uint64_t gpa_delta);

/* The queue runs: all commands for these features. Exits when the back-end doesn't answer, or refuses one and
 * that is fatal. */
void control_run(struct control *control, unsigned features);

void control_free(struct control *control);

#endif
