/* SPDX-License-Identifier: BSD-3-Clause */
/* control.c: see control.h. */
#include "control.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fail.h"
#include "frame.h"

enum {
	CONTROL_SIZE = 64,
	PART_ALIGN = 4096,
	BUFFER_LEN = 4096,
	ANSWER_WAIT_S = 5,
	PAUSE_US = 20,
	NO_ANSWER = 0xff,
};

/* VIRTIO, "Control Virtqueue": classes and commands. */
enum {
	CLASS_RX = 0,
	RX_PROMISC = 0,
	CLASS_MAC = 1,
	MAC_TABLE_SET = 0,
	CLASS_VLAN = 2,
	VLAN_ADD = 0,
	CLASS_MQ = 4,
	MQ_RSS_CONFIG = 1,
	MQ_HASH_CONFIG = 2,
};

enum {
	HASH_TYPES = 0x1ff, /* all that the standard knows */
	RSS_ENTRIES = 128,
	RSS_KEY_LEN = 40,
};

/* The key that Microsoft's RSS documentation verifies its hashes with. */
static const uint8_t rss_key[RSS_KEY_LEN] = {
	0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
	0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
	0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

/* Command-specific-data under construction; little endian, as the CPU. */
struct data {
	uint8_t bytes[BUFFER_LEN];
	size_t len;
};

static size_t
round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

static void
data_add(struct data *data, const void *from, size_t len)
{
	memcpy(data->bytes + data->len, from, len);
	data->len += len;
}

static void
data_add8(struct data *data, uint8_t value)
{
	data_add(data, &value, sizeof(value));
}

static void
data_add16(struct data *data, uint16_t value)
{
	data_add(data, &value, sizeof(value));
}

static void
data_add32(struct data *data, uint32_t value)
{
	data_add(data, &value, sizeof(value));
}

size_t
control_plan(struct control *control, const struct ring_config *config, const char *name)
{
	size_t parts[3];

	memset(control, 0, sizeof(*control));
	/* A ring without slots of its own: all its descriptors are made by ops->request(). */
	control->ring = (struct ring){
		.ops = config->packed ? &ring_packed_ops : &ring_split_ops,
		.size = CONTROL_SIZE,
		.in_order = config->in_order,
		.kick_fd = -1,
		.call_fd = -1,
	};
	snprintf(control->ring.name, sizeof(control->ring.name), "%s", name);
	control->ring.ops->layout(&control->ring, parts);
	return round_up(parts[0], PART_ALIGN) + round_up(parts[1], PART_ALIGN) +
	       round_up(parts[2], PART_ALIGN) + 2 * BUFFER_LEN;
}

void
control_place(struct control *control, uint8_t *mem, uint64_t gpa_delta)
{
	struct ring *ring = &control->ring;
	size_t parts[3];

	ring->ops->layout(ring, parts);
	ring->gpa_delta = gpa_delta;
	ring->desc_area = mem;
	mem += round_up(parts[0], PART_ALIGN);
	ring->driver_area = mem;
	mem += round_up(parts[1], PART_ALIGN);
	ring->device_area = mem;
	mem += round_up(parts[2], PART_ALIGN);
	control->request = mem;
	control->ack = mem + BUFFER_LEN;
	ring->ops->init(ring);
}

void
control_free(struct control *control)
{
	ring_free(&control->ring);
}

static void
command(struct control *control, const char *name, uint8_t class, uint8_t number, const struct data *data)
{
	struct timespec pause = {.tv_nsec = PAUSE_US * 1000};
	struct ring *ring = &control->ring;
	const volatile uint8_t *ack = control->ack;
	unsigned tries = ANSWER_WAIT_S * 1000000 / PAUSE_US;

	control->request[0] = class;
	control->request[1] = number;
	memcpy(control->request + 2, data->bytes, data->len);
	*control->ack = NO_ANSWER;
	ring->ops->request(ring, (uint64_t)control->request + ring->gpa_delta, (uint32_t)data->len + 2,
			   (uint64_t)control->ack + ring->gpa_delta, 1);
	ring_kick(ring);
	while (!ring->ops->answered(ring)) {
		if (!tries--)
			fail("%s: back-end did not answer %s in %d s", ring->name, name, ANSWER_WAIT_S);
		nanosleep(&pause, NULL);
	}
	if (*ack == 0) {
		control->n_ok++;
		return;
	}
	control->n_errors++;
	if (control->errors == CONTROL_ERRORS_FATAL)
		fail("%s: back-end answered %s with %s (--control-errors-ok measures all the same)",
		     ring->name, name, *ack == NO_ANSWER ? "nothing" : "ERR");
}

static void
rss_config(struct control *control)
{
	struct data data = {.len = 0};

	data_add32(&data, HASH_TYPES);
	data_add16(&data, RSS_ENTRIES - 1); /* mask */
	data_add16(&data, 0);               /* unclassified_queue */
	for (unsigned i = 0; i < RSS_ENTRIES; i++)
		data_add16(&data, 0);
	data_add16(&data, 1); /* max_tx_vq */
	data_add8(&data, RSS_KEY_LEN);
	data_add(&data, rss_key, RSS_KEY_LEN);
	command(control, "MQ_RSS_CONFIG", CLASS_MQ, MQ_RSS_CONFIG, &data);
}

static void
hash_config(struct control *control)
{
	struct data data = {.len = 0};

	data_add32(&data, HASH_TYPES);
	for (unsigned i = 0; i < 4; i++)
		data_add16(&data, 0); /* reserved */
	data_add8(&data, RSS_KEY_LEN);
	data_add(&data, rss_key, RSS_KEY_LEN);
	command(control, "MQ_HASH_CONFIG", CLASS_MQ, MQ_HASH_CONFIG, &data);
}

static void
filter_config(struct control *control)
{
	struct data macs = {.len = 0}, promisc = {.len = 0};

	data_add32(&macs, FRAME_MACS);
	for (unsigned i = 0; i < FRAME_MACS; i++) {
		uint8_t mac[FRAME_MAC_LEN];

		frame_mac(i, mac);
		data_add(&macs, mac, sizeof(mac));
	}
	data_add32(&macs, 0); /* multicast */
	command(control, "MAC_TABLE_SET", CLASS_MAC, MAC_TABLE_SET, &macs);
	for (unsigned i = 0; i < FRAME_VLANS; i++) {
		struct data vlan = {.len = 0};

		data_add16(&vlan, frame_vlan(i));
		command(control, "VLAN_ADD", CLASS_VLAN, VLAN_ADD, &vlan);
	}
	data_add8(&promisc, 0);
	command(control, "RX_PROMISC", CLASS_RX, RX_PROMISC, &promisc);
}

void
control_run(struct control *control, unsigned features)
{
	/* RSS_CONFIG says what is hashed for reports too. */
	if (features & CONTROL_RSS)
		rss_config(control);
	else if (features & CONTROL_HASH_REPORT)
		hash_config(control);
	if (features & CONTROL_FILTER)
		filter_config(control);
}
