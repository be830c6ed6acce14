/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * endpoint: where a device's front-end finds it: a socket that we listen at (server) or keep trying to reach
 * (client). One connection at a time; while there is one, others wait in the kernel's queue.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "loop.h"
#include "session.h"
#include "transport.h"
#include "usocket.h"

enum {
	ENDPOINT_BACKLOG = 1,
	ENDPOINT_RETRY_MS = 100, /* client: between attempts to connect */
	ENDPOINT_BACK_OFF_MS =
		100, /* server: after an accept() that failed for want of descriptors or memory */
};

struct transport {
	struct loop *loop;
	struct vdev *vdev;
	enum transport_mode mode;
	unsigned int n_pairs;
	char *path;
	struct usocket listener; /* server; fd -1: not listening */
	struct loop_watch *watch;
	struct loop_timer *timer; /* client: retry; server: back-off */
	struct session *session;  /* NULL: nobody is connected */
	struct log_limit log_limit;
};

static void endpoint_wait(struct transport *endpoint);

static void
endpoint_ended(void *arg, const char *why)
{
	struct transport *endpoint = arg;

	log_limited(&endpoint->log_limit, LOG_LEVEL_INFO, "port %s: front-end disconnected%s%s",
		    endpoint->vdev->name, why ? ": " : "", why ? why : "");
	session_close(endpoint->session);
	endpoint->session = NULL;
	endpoint_wait(endpoint);
}

static void
endpoint_serve(struct transport *endpoint, int fd)
{
	endpoint->session =
		session_open(endpoint->loop, endpoint->vdev, endpoint->n_pairs, fd, endpoint_ended, endpoint);
	if (!endpoint->session) {
		log_limited(&endpoint->log_limit, LOG_LEVEL_ERROR, "port %s: out of memory for a connection",
			    endpoint->vdev->name);
		endpoint_wait(endpoint);
		return;
	}
	log_limited(&endpoint->log_limit, LOG_LEVEL_INFO, "port %s: front-end connected",
		    endpoint->vdev->name);
}

static void
endpoint_accept(void *arg, uint32_t events)
{
	struct transport *endpoint = arg;
	int fd = accept4(endpoint->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
		return;
	loop_watch_remove(endpoint->watch);
	endpoint->watch = NULL;
	if (fd < 0) {
		log_limited(&endpoint->log_limit, LOG_LEVEL_WARN, "port %s: accepting a front-end: %s",
			    endpoint->vdev->name, strerror(errno));
		loop_timer_set(endpoint->timer, ENDPOINT_BACK_OFF_MS);
		return;
	}
	endpoint_serve(endpoint, fd);
}

static void
endpoint_tick(void *arg)
{
	struct transport *endpoint = arg;
	int fd;

	if (endpoint->session)
		return;
	if (endpoint->mode == TRANSPORT_SERVER) {
		endpoint_wait(endpoint);
		return;
	}
	fd = usocket_connect(endpoint->path);
	if (fd >= 0)
		endpoint_serve(endpoint, fd);
	else
		loop_timer_set(endpoint->timer, ENDPOINT_RETRY_MS);
}

/* Be ready for the next front-end. */
static void
endpoint_wait(struct transport *endpoint)
{
	if (endpoint->mode == TRANSPORT_CLIENT) {
		loop_timer_set(endpoint->timer, ENDPOINT_RETRY_MS);
		return;
	}
	endpoint->watch =
		loop_watch_add(endpoint->loop, endpoint->listener.fd, EPOLLIN, endpoint_accept, endpoint);
	if (!endpoint->watch)
		loop_timer_set(endpoint->timer, ENDPOINT_BACK_OFF_MS);
}

static void
endpoint_close(struct transport *endpoint)
{
	session_close(endpoint->session);
	loop_watch_remove(endpoint->watch);
	loop_timer_remove(endpoint->timer);
	if (endpoint->listener.fd >= 0)
		usocket_close(&endpoint->listener);
	free(endpoint->path);
	free(endpoint);
}

static int
endpoint_open(struct loop *loop, struct vdev *vdev, const struct transport_config *config,
	      struct transport **ret_transport, struct diag *diag)
{
	struct transport *endpoint = calloc(1, sizeof(*endpoint));
	int ret;

	if (!endpoint)
		return diag_set(diag, -ENOMEM, "", "port %s: out of memory", vdev->name);
	endpoint->loop = loop;
	endpoint->vdev = vdev;
	endpoint->mode = config->mode;
	endpoint->n_pairs = config->n_pairs;
	endpoint->listener.fd = -1;
	endpoint->path = strdup(config->path);
	endpoint->timer = loop_timer_add(loop, 0, 0, endpoint_tick, endpoint);
	if (!endpoint->path || !endpoint->timer) {
		ret = diag_set(diag, -ENOMEM, "", "port %s: out of memory", vdev->name);
		goto err;
	}
	if (config->mode == TRANSPORT_SERVER) {
		loop_timer_stop(endpoint->timer);
		ret = usocket_listen(&endpoint->listener, config->path, ENDPOINT_BACKLOG, diag);
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

static void
endpoint_drop(struct transport *endpoint, const char *why)
{
	if (endpoint->session)
		session_drop(endpoint->session, why);
}

static struct transport_ops vhost_user_transport = {
	.name = "vhost-user",
	.open = endpoint_open,
	.close = endpoint_close,
	.drop = endpoint_drop,
};

TRANSPORT_REGISTER(vhost_user_transport)
