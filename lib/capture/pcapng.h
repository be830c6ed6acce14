/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcapng: blocks of a capture file (draft-ietf-opsawg-pcapng), one after another into memory. Time is
 * nanoseconds since 1970; the link type is Ethernet, without FCS.
 *
 *     section, interface 0, interface 1, .., packet, packet, .., statistics of interface 0, ..
 */
#ifndef VNICD_PCAPNG_H
#define VNICD_PCAPNG_H

#include <stddef.h>
#include <stdint.h>

enum {
	PCAPNG_TEXT_MAX = 512,     /* bytes of a text; what is longer is cut */
	PCAPNG_BLOCK_EXTRA = 2048, /* bytes that a block takes besides a packet's, at most */
};

/* The caller sees to it that there is room: PCAPNG_BLOCK_EXTRA, and a packet's bytes. */
struct pcapng {
	uint8_t *bytes;
	size_t len;
};

void pcapng_section(struct pcapng *out, const char *application);

/* The first is interface 0. `filter` may be NULL; snaplen 0: frames are whole. */
void pcapng_interface(struct pcapng *out, const char *name, const char *description, const char *filter,
		      uint32_t snaplen);

/* As in the flags of a packet. */
enum pcapng_direction { PCAPNG_INBOUND = 1, PCAPNG_OUTBOUND = 2 };

struct pcapng_packet {
	uint32_t interface;
	uint64_t time_ns;
	enum pcapng_direction direction;
	uint32_t queue;
	uint32_t captured, len;  /* bytes that are here, and that the frame had */
	const uint8_t *bytes;    /* [captured] */
	const char *comments[2]; /* NULL: none */
};
void pcapng_packet(struct pcapng *out, const struct pcapng_packet *packet);

struct pcapng_statistics {
	uint32_t interface;
	uint64_t start_ns, end_ns;
	uint64_t seen;    /* frames that came by */
	uint64_t wanted;  /* of these, what the filter wants */
	uint64_t lost;    /* of these, what there was no room for */
	uint64_t written; /* packets of this interface in the section */
};
void pcapng_statistics(struct pcapng *out, const struct pcapng_statistics *statistics);

#endif
