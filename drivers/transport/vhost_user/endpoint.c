/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * endpoint: the socket of a device: vnicd listens on it (server), or connects to it until it succeeds
 * (client). One connection at a time.
 *
 * Server: while there is a connection, another one is closed at once, and the log names both processes. A
 * connection over which nothing was ever received is closed in favour of a newer one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "events.h"
#include "loop.h"
#include "session.h"
#include "transport.h"
#include "usocket.h"

enum {
	ENDPOINT_BACKLOG = 8,
	ENDPOINT_RETRY_MS = 100, /* client: between attempts to connect */
	/* server: after an accept() that failed for want of descriptors or memory, or a connection that was
	 * refused (QEMU tries again at once, and for ever) */
	ENDPOINT_BACK_OFF_MS = 100,
	ENDPOINT_SILENCE_MS =
		1000, /* server: time for the first byte before a newer connection may replace it */
	ENDPOINT_REMIND_MS = 60000, /* server: between two log lines on the same front-end refused */
};

struct transport {
	struct vdev *vdev;
	enum transport_mode mode;
	unsigned int n_pairs;
	char *path;
	struct usocket listener;  /* server; fd -1: not listening */
	struct loop_watch *watch; /* server; NULL: nobody is accepted before the timer */
	struct loop_timer *timer; /* client: retry; server: back-off */
	struct session *session;  /* NULL: nobody is connected */
	struct usocket_peer peer; /* of the session */
	uint64_t connected_ms;

	/* Server: the refused front-end that was logged last. */
	int refused_pid;
	uint64_t refused_ms;
	/* Client: why the last attempt to connect failed, -errno (0: none has since the last session), and
	 * since when attempts fail for that reason. */
	int failure;
	uint64_t failure_ms;

	struct log_limit log_limit;
	struct log_limit refused_limit, failure_limit;
};

enum { ENDPOINT_WHO_MAX = 64 };

/* "pid 123 (qemu-system-x86)", as far as is known. */
static const char *
endpoint_who(const struct usocket_peer *peer, char text[ENDPOINT_WHO_MAX])
{
	if (!peer->pid)
		snprintf(text, ENDPOINT_WHO_MAX, "an unknown process");
	else if (!peer->comm[0])
		snprintf(text, ENDPOINT_WHO_MAX, "pid %d", peer->pid);
	else
		snprintf(text, ENDPOINT_WHO_MAX, "pid %d (%s)", peer->pid, peer->comm);
	return text;
}

static void endpoint_wait(struct transport *endpoint);

static void
endpoint_ended(void *arg, const char *why)
{
	struct transport *endpoint = arg;

	event_record(endpoint->vdev->ctx, EVENT_DISCONNECTED, endpoint->vdev->name,
		     "front-end disconnected%s%s", why ? ": " : "", why ? why : "");
	log_limited(&endpoint->vdev->ctx->log, &endpoint->log_limit, LOG_LEVEL_INFO,
		    "port %s: front-end disconnected%s%s", endpoint->vdev->name, why ? ": " : "",
		    why ? why : "");
	session_close(endpoint->session);
	endpoint->session = NULL;
	endpoint_wait(endpoint);
}

static void
endpoint_serve(struct transport *endpoint, int fd)
{
	char who[ENDPOINT_WHO_MAX];

	usocket_peer(fd, &endpoint->peer);
	endpoint->connected_ms = loop_now_ms();
	endpoint->failure = 0;
	endpoint->session = session_open(endpoint->vdev, endpoint->n_pairs, fd, endpoint_ended, endpoint);
	if (!endpoint->session) {
		log_limited(&endpoint->vdev->ctx->log, &endpoint->log_limit, LOG_LEVEL_ERROR,
			    "port %s: out of memory for a connection", endpoint->vdev->name);
		endpoint_wait(endpoint);
		return;
	}
	event_record(endpoint->vdev->ctx, EVENT_CONNECTED, endpoint->vdev->name, "front-end connected: %s",
		     endpoint_who(&endpoint->peer, who));
	log_limited(&endpoint->vdev->ctx->log, &endpoint->log_limit, LOG_LEVEL_INFO,
		    "port %s: front-end connected: %s", endpoint->vdev->name,
		    endpoint_who(&endpoint->peer, who));
}

/* --- server --- */

static void
endpoint_back_off(struct transport *endpoint, uint64_t delay_ms)
{
	loop_watch_remove(endpoint->watch);
	endpoint->watch = NULL;
	loop_timer_set(endpoint->timer, delay_ms);
}

static void
endpoint_refuse(struct transport *endpoint, int fd)
{
	char who[ENDPOINT_WHO_MAX], holder[ENDPOINT_WHO_MAX];
	uint64_t now_ms = loop_now_ms();
	struct usocket_peer peer;

	usocket_peer(fd, &peer);
	close(fd);
	endpoint_back_off(endpoint, ENDPOINT_BACK_OFF_MS);
	if (endpoint->refused_ms && peer.pid == endpoint->refused_pid &&
	    now_ms - endpoint->refused_ms < ENDPOINT_REMIND_MS)
		return;
	endpoint->refused_pid = peer.pid;
	endpoint->refused_ms = now_ms;
	event_record(endpoint->vdev->ctx, EVENT_REFUSED, endpoint->vdev->name,
		     "front-end %s: %s is connected", endpoint_who(&peer, who),
		     endpoint_who(&endpoint->peer, holder));
	log_limited(&endpoint->vdev->ctx->log, &endpoint->refused_limit, LOG_LEVEL_WARN,
		    "port %s: front-end %s refused: %s is connected; stop one of them, or give each a port",
		    endpoint->vdev->name, endpoint_who(&peer, who), endpoint_who(&endpoint->peer, holder));
}

enum endpoint_place { ENDPOINT_FREE, ENDPOINT_TAKEN, ENDPOINT_UNDECIDED };

/* End the session for a newcomer: now, or when the device can be disconnected (vdev_change_begin()). */
static enum endpoint_place
endpoint_clear(struct transport *endpoint, const char *why)
{
	session_drop(endpoint->session, why);
	if (!endpoint->session)
		return ENDPOINT_FREE;
	/* Until then the newcomer waits in the backlog. */
	endpoint_back_off(endpoint, ENDPOINT_BACK_OFF_MS);
	return ENDPOINT_UNDECIDED;
}

/* A connection is in the backlog: is there a place for it? */
static enum endpoint_place
endpoint_place(struct transport *endpoint)
{
	uint64_t age_ms = loop_now_ms() - endpoint->connected_ms;

	if (!endpoint->session)
		return ENDPOINT_FREE;
	/* The old connection may have been closed before the new one came, and that event not handled yet. */
	if (session_is_over(endpoint->session))
		return endpoint_clear(endpoint, NULL);
	if (session_has_spoken(endpoint->session))
		return ENDPOINT_TAKEN;
	if (age_ms < ENDPOINT_SILENCE_MS) {
		/* Not yet: the newcomer waits in the backlog. */
		endpoint_back_off(endpoint, ENDPOINT_SILENCE_MS - age_ms);
		return ENDPOINT_UNDECIDED;
	}
	return endpoint_clear(endpoint, "it has never sent anything, and another one came");
}

static void
endpoint_accept(void *arg, uint32_t events)
{
	struct transport *endpoint = arg;
	enum endpoint_place place = endpoint_place(endpoint);
	int fd;

	if (place == ENDPOINT_UNDECIDED)
		return;
	fd = accept4(endpoint->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
		return;
	if (fd < 0) {
		log_limited(&endpoint->vdev->ctx->log, &endpoint->log_limit, LOG_LEVEL_WARN,
			    "port %s: accepting a front-end: %s", endpoint->vdev->name, strerror(errno));
		endpoint_back_off(endpoint, ENDPOINT_BACK_OFF_MS);
		return;
	}
	if (place == ENDPOINT_FREE)
		endpoint_serve(endpoint, fd);
	else
		endpoint_refuse(endpoint, fd);
}

static void
endpoint_listen(struct transport *endpoint)
{
	if (!endpoint->watch)
		endpoint->watch = loop_watch_add(endpoint->vdev->ctx->loop, endpoint->listener.fd, EPOLLIN,
						 endpoint_accept, endpoint);
	if (!endpoint->watch)
		loop_timer_set(endpoint->timer, ENDPOINT_BACK_OFF_MS);
}

/* --- client --- */

/* Logged once for each reason, not for each attempt. */
static void
endpoint_failed(struct transport *endpoint, int err)
{
	struct diag diag;

	loop_timer_set(endpoint->timer, ENDPOINT_RETRY_MS);
	if (err == endpoint->failure)
		return;
	endpoint->failure = err;
	endpoint->failure_ms = loop_now_ms();
	usocket_connect_diag(endpoint->path, err, &diag);
	/* A front-end that is started later is no reason for a warning. */
	log_limited(&endpoint->vdev->ctx->log, &endpoint->failure_limit,
		    err == -ENOENT || err == -ECONNREFUSED ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
		    "port %s: no front-end yet, trying on: %s; %s", endpoint->vdev->name, diag.cause,
		    diag.hint);
}

static void
endpoint_connect(struct transport *endpoint)
{
	int fd = usocket_connect(endpoint->path);

	if (fd >= 0)
		endpoint_serve(endpoint, fd);
	else
		endpoint_failed(endpoint, fd);
}

/* --- both --- */

static void
endpoint_tick(void *arg)
{
	struct transport *endpoint = arg;

	if (endpoint->mode == TRANSPORT_SERVER)
		endpoint_listen(endpoint);
	else if (!endpoint->session)
		endpoint_connect(endpoint);
}

/* Be ready for the next front-end. */
static void
endpoint_wait(struct transport *endpoint)
{
	if (endpoint->mode == TRANSPORT_CLIENT)
		loop_timer_set(endpoint->timer, ENDPOINT_RETRY_MS);
	else
		endpoint_listen(endpoint);
}

static void
endpoint_status(const struct transport *endpoint, struct transport_status *ret_status)
{
	memset(ret_status, 0, sizeof(*ret_status));
	ret_status->connected = endpoint->session != NULL;
	if (endpoint->session) {
		ret_status->pid = endpoint->peer.pid;
		snprintf(ret_status->comm, sizeof(ret_status->comm), "%s", endpoint->peer.comm);
	} else if (endpoint->failure) {
		usocket_connect_diag(endpoint->path, endpoint->failure, &ret_status->failure);
		ret_status->failure_s = (unsigned int)((loop_now_ms() - endpoint->failure_ms) / 1000);
	}
}

static void
endpoint_close(struct transport *endpoint)
{
	session_close(endpoint->session);
	loop_watch_remove(endpoint->watch);
	loop_timer_remove(endpoint->timer);
	if (endpoint->listener.fd >= 0)
		usocket_close(endpoint->vdev->ctx, &endpoint->listener);
	free(endpoint->path);
	free(endpoint);
}

static int
endpoint_open(struct vdev *vdev, const struct transport_config *config, struct transport **ret_transport,
	      struct diag *diag)
{
	struct transport *endpoint = calloc(1, sizeof(*endpoint));
	int ret;

	if (!endpoint)
		return diag_set(diag, -ENOMEM, "", "port %s: out of memory", vdev->name);
	endpoint->vdev = vdev;
	endpoint->mode = config->mode;
	endpoint->n_pairs = config->n_pairs;
	endpoint->listener.fd = -1;
	endpoint->path = strdup(config->path);
	endpoint->timer = loop_timer_add(vdev->ctx->loop, 0, 0, endpoint_tick, endpoint);
	if (!endpoint->path || !endpoint->timer) {
		ret = diag_set(diag, -ENOMEM, "", "port %s: out of memory", vdev->name);
		goto err;
	}
	if (config->mode == TRANSPORT_SERVER) {
		loop_timer_stop(endpoint->timer);
		ret = usocket_listen(vdev->ctx, &endpoint->listener, config->path, ENDPOINT_BACKLOG,
				     config->perms, diag);
		if (ret < 0)
			goto err;
		endpoint_wait(endpoint);
	}
	*ret_transport = endpoint;
	return 0;

err:
	endpoint_close(endpoint);
	return ret;
}

static struct transport_ops vhost_user_transport = {
	.name = "vhost-user",
	.open = endpoint_open,
	.close = endpoint_close,
	.status = endpoint_status,
};

TRANSPORT_REGISTER(vhost_user_transport)
