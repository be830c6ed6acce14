/* SPDX-License-Identifier: BSD-3-Clause */
#include "session.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include "events.h"

enum {
	SESSION_FDS_RECV_MAX =
		64, /* room for the descriptors of one recvmsg(), more than any message may carry */
	BACKEND_CONFIG_CHANGE = 2, /* vhost-user, "Back-end message types" */
};

/* --- waiting until the device can be changed --- */

/* Wait for the retry timer. The watch still reports the end of the connection, but, with EPOLLET, only once.
 */
static void
session_park(struct session *session)
{
	session->parked = true;
	loop_timer_stop(session->deadline);
	session->waiting = false;
	loop_watch_set(session->watch, EPOLLET);
	loop_timer_set(session->retry, SESSION_RETRY_MS);
}

static void
session_end(struct session *session, const char *why)
{
	if (!vdev_change_begin(session->vdev)) {
		/* A retry passes the reason that is kept here already. */
		if (!session->ending) {
			session->has_why = why != NULL;
			snprintf(session->why, sizeof(session->why), "%s", why ? why : "");
		}
		session->ending = true;
		session_park(session);
		return;
	}
	/* The owner closes the session; nothing of it may be touched after this. */
	session->ended(session->ended_arg, why);
}

void
session_drop(struct session *session, const char *why)
{
	if (!session->ending)
		session_end(session, why);
}

static void
session_on_drop(void *arg, const char *why)
{
	session_drop(arg, why);
}

static void
session_close_message_fds(struct message *message)
{
	for (unsigned int i = 0; i < message->n_fds; i++)
		if (message->fds[i] >= 0)
			close(message->fds[i]);
	message->n_fds = 0;
}

/* --- out --- */

/* What is to be sent, as much as the socket takes, with the descriptor that goes with it. */
static ssize_t
session_send(struct session *session)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {.iov_base = session->out, .iov_len = session->n_out};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (session->out_fd >= 0) {
		struct cmsghdr *cmsg;

		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &session->out_fd, sizeof(int));
	}
	n = sendmsg(session->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0 && session->out_fd >= 0) {
		close(session->out_fd);
		session->out_fd = -1;
	}
	return n;
}

/* Returns 0, or -errno when the connection is broken. */
static int
session_flush(struct session *session)
{
	while (session->n_out) {
		ssize_t n = session_send(session);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n < 0)
			return -errno;
		session->n_out -= (uint32_t)n;
		memmove(session->out, session->out + n, session->n_out);
	}
	if (session->blocked != (session->n_out != 0)) {
		session->blocked = session->n_out != 0;
		/* While replies are unsent, no more requests are read. */
		loop_watch_set(session->watch, session->blocked ? EPOLLOUT : EPOLLIN);
	}
	return 0;
}

void
session_reply(struct session *session, const struct message *to, const void *payload, uint32_t size)
{
	struct message_header header = {
		.request = to->header.request,
		.flags = MESSAGE_VERSION | MESSAGE_REPLY,
		.size = size,
	};

	/* No request is read while replies are unsent, so this does not fill up. */
	if (session->n_out + sizeof(header) + size > SESSION_OUT_MAX)
		return;
	memcpy(session->out + session->n_out, &header, sizeof(header));
	if (size)
		memcpy(session->out + session->n_out + sizeof(header), payload, size);
	session->n_out += (uint32_t)sizeof(header) + size;
}

void
session_reply_fd(struct session *session, const struct message *to, const void *payload, uint32_t size,
		 int fd)
{
	/* Nothing else is unsent while a request is handled, so it goes with this reply. */
	session_reply(session, to, payload, size);
	session->out_fd = fd;
}

void
session_config_changed(void *arg)
{
	struct session *session = arg;
	struct message_header header = {.request = BACKEND_CONFIG_CHANGE, .flags = MESSAGE_VERSION};
	int ret;

	if (session->backend_req_fd < 0)
		return;
	/* When the channel is full, the same message is in it, unread. */
	ret = notifier_send(session->backend_req_fd, session->backend_req_kind, &header, sizeof(header));
	if (ret < 0 && ret != -EAGAIN) {
		close(session->backend_req_fd);
		session->backend_req_fd = -1;
		session->vdev->config_channel = false;
	}
}

/* --- in --- */

/*
 * Receive up to `want` more bytes of the message, and the descriptors that come with them. Returns the
 * number of bytes, 0 when there is nothing to read now, or -errno (-ECONNRESET: closed).
 */
static ssize_t
session_recv(struct session *session, uint8_t *to, size_t want)
{
	union {
		char bytes[CMSG_SPACE(SESSION_FDS_RECV_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = to, .iov_len = want};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	bool too_many = false;
	ssize_t n;

	do {
		n = recvmsg(session->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
		size_t n_fds;

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		n_fds = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n_fds; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
			if (session->in.n_fds < MESSAGE_FDS_MAX) {
				session->in.fds[session->in.n_fds++] = fd;
			} else {
				close(fd);
				too_many = true;
			}
		}
	}
	if (n == 0)
		return -ECONNRESET;
	session->spoken = true;
	/* More descriptors than any message has, or the kernel discarded some: session_handle() refuses the
	 * message. */
	if (too_many || msg.msg_flags & MSG_CTRUNC)
		session->in_fds_excess = true;
	return n;
}

/* Handle a complete message. Returns 0, or -errno with diag filled when the session has to end. */
static int
session_handle(struct session *session, struct diag *diag)
{
	struct message *message = &session->in;
	uint64_t answer;
	bool need_ack;
	int ret;

	if ((message->header.flags & MESSAGE_VERSION_MASK) != MESSAGE_VERSION ||
	    message->header.flags & MESSAGE_REPLY)
		ret = diag_set(diag, -EPROTO, "", "flags 0x%x: not a request of protocol version 1",
			       message->header.flags);
	else if (session->in_fds_excess)
		ret = diag_set(diag, -EINVAL, "", "more than %d descriptors", MESSAGE_FDS_MAX);
	else
		ret = message_handle(session, message, diag);
	/* Asked after handling it: SET_PROTOCOL_FEATURES may negotiate REPLY_ACK and need a reply itself. */
	need_ack = message->header.flags & MESSAGE_NEED_REPLY &&
		   session_has_protocol(session, PROTOCOL_REPLY_ACK);
	if (ret < 0) {
		event_record(session->vdev->ctx, EVENT_REFUSED, session->vdev->name, "%s: %s",
			     message_name(message->header.request), diag->cause);
		log_limited(&session->vdev->ctx->log, &session->log_limit, LOG_LEVEL_WARN,
			    "port %s: %s (%u) refused: %s", session->vdev->name,
			    message_name(message->header.request), message->header.request, diag->cause);
	}
	switch (message_reply(session, message->header.request, need_ack)) {
	case MESSAGE_REPLY_ACK:
		if (!need_ack)
			return ret;
		answer = ret < 0;
		session_reply(session, message, &answer, sizeof(answer));
		return 0;
	case MESSAGE_REPLY_EMPTY:
		if (ret < 0)
			session_reply(session, message, NULL, 0);
		return 0;
	case MESSAGE_REPLY_ECHO:
		if (ret == 0)
			session_reply(session, message, &message->payload, message->header.size);
		break;
	case MESSAGE_REPLY_OWN:
		break;
	}
	return ret;
}

/* Bytes of the message that is being received, or of its header until that is there; -1: too long. */
static int
session_whole_len(const struct session *session)
{
	const uint32_t header_len = sizeof(session->in.header);

	if (session->n_in < header_len)
		return (int)header_len;
	if (session->in.header.size > MESSAGE_PAYLOAD_MAX)
		return -1;
	return (int)(header_len + session->in.header.size);
}

/*
 * Receive and handle one message. Returns 1 when that is done, 0 when the message is incomplete or the
 * session was parked, -errno with diag filled when the session has to end. A complete message is always
 * handled, or parked: the socket would report no event for it any more.
 */
static int
session_step(struct session *session, struct diag *diag)
{
	const uint32_t header_len = sizeof(session->in.header);
	int whole, ret;

	while ((whole = session_whole_len(session)) > (int)session->n_in) {
		uint8_t *at = session->n_in < header_len
				      ? (uint8_t *)&session->in.header + session->n_in
				      : session->in.payload.bytes + (session->n_in - header_len);
		ssize_t n = session_recv(session, at, (size_t)whole - session->n_in);

		if (n == 0)
			return 0;
		if (n < 0)
			return diag_set(diag, (int)n, "", "%s", strerror((int)-n));
		session->n_in += (uint32_t)n;
	}
	if (whole < 0)
		return diag_set(diag, -EMSGSIZE, "", "message %u has a payload of %u bytes",
				session->in.header.request, session->in.header.size);
	if (message_changes_queues(session->in.header.request) && !vdev_change_begin(session->vdev)) {
		session_park(session);
		return 0;
	}
	ret = session_handle(session, diag);
	vdev_change_end(session->vdev);
	session_close_message_fds(&session->in);
	memset(&session->in, 0, sizeof(session->in));
	session->in_fds_excess = false;
	session->n_in = 0;
	/* The deadline is for one message; the next one has its own. */
	session->waiting = false;
	return ret < 0 ? ret : 1;
}

static void
session_ready(void *arg, uint32_t events)
{
	struct session *session = arg;
	struct diag diag = {{0}, {0}};
	uint64_t began_us = loop_now_us();
	int ret;

	if (session->parked)
		return;
	ret = session_flush(session);
	/* What exceeds the quota is read in a later call: the watch is level-triggered. */
	for (int i = 0; ret >= 0 && i < SESSION_QUOTA_MAX && session->n_out == 0; i++) {
		if (i && loop_now_us() - began_us >= SESSION_QUOTA_US)
			break;
		ret = session_step(session, &diag);
		if (ret == 0)
			break;
		if (session->n_out) {
			int err = session_flush(session);

			if (err < 0)
				ret = err;
		}
	}
	if (ret < 0) {
		session_end(session, ret == -ECONNRESET || ret == -EPIPE ? NULL : diag.cause);
		return;
	}
	if (session->parked)
		return;
	/* The deadline runs while a message is incomplete or replies are unread. */
	if (session->n_in == 0 && session->n_out == 0) {
		loop_timer_stop(session->deadline);
		session->waiting = false;
	} else if (!session->waiting) {
		loop_timer_set(session->deadline, SESSION_DEADLINE_MS);
		session->waiting = true;
	}
}

static void
session_retry(void *arg)
{
	struct session *session = arg;

	session->parked = false;
	if (session->ending) {
		session_end(session, session->has_why ? session->why : NULL);
		return;
	}
	loop_watch_set(session->watch, EPOLLIN);
	session_ready(session, 0);
}

static void
session_expire(void *arg)
{
	struct session *session = arg;

	session_end(session, session->n_out ? "replies not read in time" : "incomplete message timed out");
}

/* --- life --- */

struct session *
session_open(struct vdev *vdev, unsigned int n_pairs, int fd, void (*ended)(void *arg, const char *why),
	     void *arg)
{
	struct session *session = calloc(1, sizeof(*session));
	struct loop *loop = vdev->ctx->loop;

	if (!session)
		goto err;
	session->vdev = vdev;
	session->n_pairs = n_pairs;
	session->fd = fd;
	session->backend_req_fd = session->out_fd = -1;
	session->ended = ended;
	session->ended_arg = arg;
	session->out = malloc(SESSION_OUT_MAX);
	session->watch = loop_watch_add(loop, fd, EPOLLIN, session_ready, session);
	session->deadline = loop_timer_add(loop, SESSION_DEADLINE_MS, 0, session_expire, session);
	session->retry = loop_timer_add(loop, SESSION_RETRY_MS, 0, session_retry, session);
	if (!session->out || !session->watch || !session->deadline || !session->retry)
		goto err;
	loop_timer_stop(session->deadline);
	loop_timer_stop(session->retry);
	vdev->drop = session_on_drop;
	vdev->drop_arg = session;
	vdev->config_changed = session_config_changed;
	vdev->config_changed_arg = session;
	return session;

err:
	if (session) {
		loop_watch_remove(session->watch);
		loop_timer_remove(session->deadline);
		loop_timer_remove(session->retry);
		free(session->out);
		free(session);
	}
	close(fd);
	return NULL;
}

bool
session_has_spoken(const struct session *session)
{
	int waiting;

	return session->spoken || (ioctl(session->fd, FIONREAD, &waiting) == 0 && waiting > 0);
}

bool
session_is_over(const struct session *session)
{
	struct pollfd pollfd = {.fd = session->fd, .events = POLLRDHUP};

	return session->ending || poll(&pollfd, 1, 0) > 0;
}

void
session_close(struct session *session)
{
	if (!session)
		return;
	session->vdev->drop = NULL;
	session->vdev->config_changed = NULL;
	vdev_disconnect(session->vdev);
	loop_watch_remove(session->watch);
	loop_timer_remove(session->deadline);
	loop_timer_remove(session->retry);
	session_close_message_fds(&session->in);
	if (session->backend_req_fd >= 0)
		close(session->backend_req_fd);
	if (session->out_fd >= 0)
		close(session->out_fd);
	close(session->fd);
	free(session->out);
	free(session);
}
