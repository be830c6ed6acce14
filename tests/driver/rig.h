/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rig: a whole virtio-net device with its port, its rings in guest memory, and model drivers behind them, as
 * a front-end and a driver have set it up. Commands go through its control queue in any shape of chain. What
 * is not right fails the test.
 */
#ifndef VNICD_TEST_RIG_H
#define VNICD_TEST_RIG_H

#include "unit.h"

#include "data.h"
#include "driver.h"
#include "vnet_dev.h"

enum {
	RIG_PAIRS = 4, /* the most */
	RIG_ROOM_MAX = 70000,
	RIG_UNTAGGED = -1,
};

/* Classes of control commands; written down here so that the library's numbers are tested too. */
enum {
	CLASS_RX = 0,
	CLASS_MAC = 1,
	CLASS_VLAN = 2,
	CLASS_ANNOUNCE = 3,
	CLASS_MQ = 4,
	CLASS_OFFLOADS = 5,
	CLASS_COAL = 6,
	CLASS_STATS = 8,
};

/* Where frames may go: the device's own address, others, and those of data_macs(). */
#define RIG_OWN 0x525400123456ull
#define RIG_OTHER 0x020000001234ull
#define RIG_MULTICAST 0x01005e000001ull
#define RIG_BROADCAST 0xffffffffffffull
#define RIG_UNICAST_N(n) (0x020000000000ull + (n))
#define RIG_MULTICAST_N(n) (0x010000000000ull + (n))

extern struct rte_mempool *rig_pool;
extern const struct rte_ether_addr rig_mac; /* RIG_OWN */

/* EAL and the pool; first of all. */
void rig_env_open(void);

/* --- the device --- */

struct rig_options {
	uint32_t traits; /* of the rings */
	uint16_t size;   /* of the controlq; 0: 512 */
	uint16_t n_pairs;
	uint64_t without; /* features not negotiated */
	bool status;      /* the front-end speaks of status */
	bool portless;
	bool unfilled;        /* the driver has not made any receive buffer available */
	bool kickless;        /* the controlq has no kick descriptor */
	struct vnic_ctx *ctx; /* NULL: one of the rig's own, without a loop */
};

struct rig {
	struct driver_mem mem;
	struct driver_queue driver, data[2 * RIG_PAIRS]; /* of the controlq; of receiveqs and transmitqs */
	struct vnet_dev *dev;
	struct vnic_ctx own_ctx, *ctx;
	struct port port;
	unsigned int controlq;
	uint64_t features;
	int kick_fds[2 * RIG_PAIRS + 1];
};

struct rig *rig_open(const struct rig_options *options);
/* RIG_PAIRS pairs, split rings, all features. */
struct rig *rig_usual(void);
void rig_close(struct rig *rig);
/* The driver starts, with fresh rings: in rig_open(), and again after rig_stop() or a reset. */
void rig_start(struct rig *rig, const struct rig_options *options);
/* The front-end takes all rings back, as when a machine pauses. */
void rig_stop(struct rig *rig);
/* The driver starts anew, told by its front-end's status or by new features. */
void rig_reset(struct rig *rig, const struct rig_options *options);
/* The driver makes a receive buffer of the pair available. */
void rig_fill(struct rig *rig, unsigned int pair);
/* The device asks its driver to announce it. */
void rig_announce(struct rig *rig);
void rig_kick(int fd);

/* --- commands --- */

/* How a command lies in memory. */
struct rig_shape {
	uint32_t piece;     /* all of it in pieces of so many bytes; 0: not */
	uint32_t cut, wcut; /* the readable and the writable part in two, here; 0: not */
	enum driver_form form;
};

extern const struct rig_shape rig_direct; /* two descriptors */

struct rig_answer {
	uint32_t len; /* used */
	uint8_t ack;
	const uint8_t *result;
};

/* A guest address that the device may write answers to. */
uint64_t rig_writable_gpa(void);
/* Makes a chain available. writable: bytes, the ack included. */
void rig_send(struct rig *rig, const struct rig_shape *shape, const uint8_t *bytes, uint32_t len,
	      uint32_t writable, uint64_t tag);
/* The chain that came back, and nothing written but what it says. */
struct rig_answer rig_take_answer(struct rig *rig, uint32_t writable, uint64_t tag);
/* Sends a command with `room` bytes for its result, has it served, takes the answer. */
struct rig_answer rig_ask(struct rig *rig, const struct rig_shape *shape, uint8_t class, uint8_t command,
			  const void *data, uint32_t len, uint32_t room);
/* The usual command: no result. Returns whether it was OK. */
bool rig_do(struct rig *rig, uint8_t class, uint8_t command, const void *data, uint32_t len);
bool rig_do_byte(struct rig *rig, uint8_t class, uint8_t command, uint8_t byte);
bool rig_do_le16(struct rig *rig, uint8_t class, uint8_t command, uint16_t number);
bool rig_do_data(struct rig *rig, uint8_t class, uint8_t command, const struct data *data);
bool rig_rss(struct rig *rig, const struct rss *rss);
/* What VQ_GET says: packets * 1000 + usecs, or -1 for ERR. */
int rig_coal(struct rig *rig, uint16_t idx);

struct rig_command {
	const char *name;
	uint8_t class, command;
	uint64_t feature;
	uint32_t result; /* bytes */
	uint32_t len;
	uint8_t bytes[16];
	struct {
		uint8_t bytes[16];
		uint32_t len;
	} wrong[4]; /* of the right length */
};

/* The command is refused: one byte, ERR, and the settings are what they were, byte for byte. */
void rig_refuses(struct rig *rig, const struct rig_command *command, const uint8_t *bytes, uint32_t len);

/* --- what the device does at this moment --- */

/* Is a frame to this address let in? */
bool rig_wants(const struct rig *rig, uint64_t dst);
bool rig_wants_tagged(const struct rig *rig, uint64_t dst, int vlan);
/* The pair that a frame for the device goes to: IPv4 and UDP, or, without, something that has no hash. */
uint16_t rig_picks(struct rig *rig, bool udp);
bool rig_transmitq_is_open(const struct rig *rig, unsigned int pair);

#endif
