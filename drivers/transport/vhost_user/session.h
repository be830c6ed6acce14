/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * session: one connection of a front-end: receives messages, has them handled, sends the replies.
 * Non-blocking; a front-end that does not complete a message, or does not read its replies, is disconnected
 * after SESSION_DEADLINE_MS.
 */
#ifndef VNICD_SESSION_H
#define VNICD_SESSION_H

#include <stdint.h>

#include "log.h"
#include "loop.h"
#include "messages.h"
#include "notifier.h"
#include "vdev.h"

enum {
	SESSION_DEADLINE_MS = 1000,
	SESSION_RETRY_MS = 5,
	SESSION_OUT_MAX = 64 * 1024,
	/* In one call from the loop: at most so many messages, and none is begun after so much time. */
	SESSION_QUOTA_MAX = 64,
	SESSION_QUOTA_US = 1000,
};

struct session {
	struct vdev *vdev;
	unsigned int n_pairs;
	int fd;
	struct loop_watch *watch;
	struct loop_timer *deadline;
	uint64_t protocol_features;
	int backend_req_fd; /* -1: none; our messages to the front-end */
	enum notifier_kind backend_req_kind;

	/* The message that is being received. */
	struct message in;
	uint32_t n_in;      /* bytes of header and payload received */
	bool spoken;        /* something was received on this connection */
	bool in_fds_excess; /* it came with more descriptors than any message has */
	bool waiting;       /* the deadline runs */
	/*
	 * The device can't be changed yet (vdev_change_begin()): the message that was received, or the end of
	 * the session, waits for it, and nothing is read meanwhile.
	 */
	bool parked;
	bool ending;
	bool has_why;
	char why[sizeof(((struct diag *)0)->cause)];
	struct loop_timer *retry;

	/* Replies that could not be sent yet. */
	uint8_t *out;
	uint32_t n_out;
	int out_fd;   /* goes with the first byte of `out`; -1: none */
	bool blocked; /* the watch waits until the socket is writable */

	struct log_limit log_limit;
	void (*ended)(void *arg, const char *why);
	void *ended_arg;
};

/*
 * Serve the connection `fd`, which the session owns from now on, on the device's context's loop. `ended` is
 * called once, from the loop, when the session is over (why: NULL when the front-end closed it in an orderly
 * way); the callee closes it. NULL: out of memory, fd is closed.
 */
struct session *session_open(struct vdev *vdev, unsigned int n_pairs, int fd,
			     void (*ended)(void *arg, const char *why), void *arg);
/* End it from outside: `ended` is called, now or when the device can be disconnected without waiting. */
void session_drop(struct session *session, const char *why);
/* Disconnects the device. Accepts NULL. */
void session_close(struct session *session);

/* The front-end has sent something. */
bool session_has_spoken(const struct session *session);
/* The session is ending, or the front-end has closed the connection: `ended` will be called. */
bool session_is_over(const struct session *session);

/* Queue a reply to `to`, with a payload of `size` bytes. */
void session_reply(struct session *session, const struct message *to, const void *payload, uint32_t size);
/* The same with a descriptor, which is the session's from here on, and closed when it is sent. */
void session_reply_fd(struct session *session, const struct message *to, const void *payload, uint32_t size,
		      int fd);

static inline bool
session_has_protocol(const struct session *session, unsigned int bit)
{
	return session->protocol_features >> bit & 1;
}

/* Send BACKEND_CONFIG_CHANGE_MSG where the front-end has given a channel for it. */
void session_config_changed(void *session);

#endif
