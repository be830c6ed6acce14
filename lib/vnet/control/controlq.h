/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * controlq: serves a device's control virtqueue (VIRTIO, "Control Virtqueue").
 *
 * A command is a row that its class's file registers (controlq_*.c). The service here pops a chain, copies
 * what the driver wrote, finds the row, lets it change a copy of the settings, applies that copy as a whole,
 * and answers: OK for what is in effect by then, ERR with nothing changed for all else.
 *
 * Served in one of two ways, the same for all devices: by kick, from the control thread's loop; or polled, by
 * a service core while the control thread waits for events. All of it under the control lock (control.h).
 */
#ifndef VNICD_CONTROLQ_H
#define VNICD_CONTROLQ_H

#include <stdbool.h>
#include <stdint.h>

#include <string.h>

#include <rte_byteorder.h>

#include "log.h"
#include "settings.h"
#include "virtq.h"

struct loop_watch;
struct loop_timer;
struct vnet_dev;
struct vnic_ctx;

enum {
	CONTROLQ_ACK_OK = 0,
	CONTROLQ_ACK_ERR = 1,
	CONTROLQ_DATA_MAX = 65536,   /* bytes of command-specific-data; longer ones are refused */
	CONTROLQ_RESULT_MAX = 65536, /* bytes of command-specific-result; longer ones are not written */
	/* controlq_serve() returns after so many commands, or after the command that passes so much time, for
	 * other devices to be served. */
	CONTROLQ_QUOTA_MAX = 64,
	CONTROLQ_QUOTA_US = 100,
};

/* One command under way. */
struct controlq_request {
	const uint8_t *data; /* command-specific-data, private */
	uint32_t len;        /* bytes of it */
	/* command-specific-result: room for result_room bytes (what the driver gave); the command sets
	 * result_len. */
	uint8_t *result;
	uint32_t result_room, result_len;
	struct vnet_settings
		*settings; /* a copy of the device's, to be changed; in effect before the answer */
};

struct controlq_command {
	struct controlq_command *next;
	const char *name; /* as the specification spells it: "VIRTIO_NET_CTRL_RX_PROMISC" without
			     VIRTIO_NET_CTRL_ */
	uint8_t class, command;
	uint64_t features; /* all of these must be negotiated */
	/* 0: OK; -errno: ERR, and request->settings and result are thrown away. */
	int (*run)(const struct vnet_dev *dev, struct controlq_request *request);
};

void controlq_command_register(struct controlq_command *command);

/* For a static array of commands. */
#define CONTROLQ_COMMANDS_REGISTER(commands)                                                \
	__attribute__((constructor)) static void controlq_register_##commands(void)         \
	{                                                                                   \
		for (unsigned int i = 0; i < sizeof(commands) / sizeof((commands)[0]); i++) \
			controlq_command_register(&(commands)[i]);                          \
	}

/* Numbers in command-specific-data, which is not aligned. */
static inline uint16_t
controlq_le16(const uint8_t *at)
{
	uint16_t number;

	memcpy(&number, at, sizeof(number));
	return rte_le_to_cpu_16(number);
}

static inline uint32_t
controlq_le32(const uint8_t *at)
{
	uint32_t number;

	memcpy(&number, at, sizeof(number));
	return rte_le_to_cpu_32(number);
}

static inline uint64_t
controlq_le64(const uint8_t *at)
{
	uint64_t number;

	memcpy(&number, at, sizeof(number));
	return rte_le_to_cpu_64(number);
}

/* The class COUNTERS_CONTROLQ. */
struct controlq_stats {
#define COUNTER_CONTROLQ(field, ...) uint64_t field;
#include "counters.def"
};

/* Of one device. Control lock. */
struct controlq {
	struct virtq vq;
	struct controlq *next; /* in the context's list of those whose queue runs */
	struct vnet_dev *dev;
	bool listed;
	bool serving;             /* a command may change queues, which may be a reason to serve */
	bool more;                /* the last controlq_serve() stopped at its quota: more may be there */
	bool late;                /* a command waits until the device can be changed (vdev_change_begin()) */
	int watched_fd;           /* the device's kick descriptor when the watch was made; -1: none */
	int kick_fd;              /* our own copy of it */
	struct loop_watch *watch; /* NULL: not by kick, or the driver gives none */
	struct loop_timer *timer; /* for what exceeded the quota; without a watch, polls. NULL: no loop */
	struct log_limit log_limit;
	struct controlq_stats stats;
};

/* 0 or -ENOMEM; dev->ctx is set. All that is needed later is there then. */
int controlq_init(struct controlq *controlq, struct vnet_dev *dev);
/* The queue does not run any more. */
void controlq_fini(struct controlq *controlq);
/* It runs, has stopped, or has another kick descriptor: watch it or not. Nothing is served in there. */
void controlq_follow(struct controlq *controlq);
/* Serve one device, up to its quota. Returns how many chains were returned; 0: none is available. */
unsigned int controlq_serve(struct controlq *controlq);

enum controlq_mode { CONTROLQ_BY_KICK, CONTROLQ_POLLED };
/*
 * Once, before the first device: how the queues of a context are served. BY_KICK: `wake` is called on the
 * control thread when some driver kicked; it has to get controlq_serve_all() called there. POLLED: somebody
 * calls controlq_serve_all() over and over; `wake` is not used. Without this call: BY_KICK, and serving is
 * done where the kick arrives. 0 or -ENOMEM.
 */
int controlq_set_mode(struct vnic_ctx *ctx, enum controlq_mode mode, void (*wake)(void));
/* All devices of the context once. With the control lock held. Returns how many chains went back. */
unsigned int controlq_serve_all(struct vnic_ctx *ctx);

#endif
