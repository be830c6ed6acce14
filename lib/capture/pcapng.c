/* SPDX-License-Identifier: BSD-3-Clause */
/* pcapng: contract in pcapng.h. Numbers are in this machine's order, which the section's magic tells. */
#include "pcapng.h"

#include <string.h>

enum {
	BLOCK_SECTION = 0x0a0d0d0a,
	BLOCK_INTERFACE = 1,
	BLOCK_STATISTICS = 5,
	BLOCK_PACKET = 6,

	OPTION_END = 0,
	OPTION_COMMENT = 1,
	OPTION_SECTION_APPLICATION = 4,
	OPTION_INTERFACE_NAME = 2,
	OPTION_INTERFACE_DESCRIPTION = 3,
	OPTION_INTERFACE_RESOLUTION = 9,
	OPTION_INTERFACE_FILTER = 11,
	OPTION_PACKET_FLAGS = 2,
	OPTION_PACKET_QUEUE = 6,
	OPTION_STATISTICS_START = 2,
	OPTION_STATISTICS_END = 3,
	OPTION_STATISTICS_SEEN = 4,
	OPTION_STATISTICS_LOST = 5,
	OPTION_STATISTICS_WANTED = 6,
	OPTION_STATISTICS_WRITTEN = 8,

	LINK_ETHERNET = 1,
	RESOLUTION_NS = 9, /* 10 to the power of -9 */
	FILTER_IS_TEXT = 0,
};

static void
put(struct pcapng *out, const void *bytes, size_t len)
{
	if (len)
		memcpy(out->bytes + out->len, bytes, len);
	out->len += len;
}

static void
put_16(struct pcapng *out, uint16_t number)
{
	put(out, &number, sizeof(number));
}

static void
put_32(struct pcapng *out, uint32_t number)
{
	put(out, &number, sizeof(number));
}

/* To the next multiple of 4 of `len`. */
static void
put_padding(struct pcapng *out, size_t len)
{
	static const uint8_t zeros[3];

	put(out, zeros, -len & 3);
}

static void
put_option(struct pcapng *out, uint16_t code, const void *value, uint16_t len)
{
	put_16(out, code);
	put_16(out, len);
	put(out, value, len);
	put_padding(out, len);
}

static void
put_text(struct pcapng *out, uint16_t code, const char *text)
{
	put_option(out, code, text, (uint16_t)strnlen(text, PCAPNG_TEXT_MAX));
}

static void
put_number(struct pcapng *out, uint16_t code, uint64_t number)
{
	put_option(out, code, &number, sizeof(number));
}

/* High half first, whatever the order of bytes is. */
static void
put_time(struct pcapng *out, uint64_t time_ns)
{
	put_32(out, (uint32_t)(time_ns >> 32));
	put_32(out, (uint32_t)time_ns);
}

static void
put_time_option(struct pcapng *out, uint16_t code, uint64_t time_ns)
{
	put_16(out, code);
	put_16(out, 8);
	put_time(out, time_ns);
}

/* Returns where the block begins. Its length is in front and at the end: block_end(). */
static size_t
block_begin(struct pcapng *out, uint32_t type)
{
	const size_t start = out->len;

	put_32(out, type);
	put_32(out, 0);
	return start;
}

static void
block_end(struct pcapng *out, size_t start)
{
	uint32_t len;

	put_option(out, OPTION_END, NULL, 0);
	len = (uint32_t)(out->len - start + sizeof(len));
	put_32(out, len);
	memcpy(out->bytes + start + sizeof(uint32_t), &len, sizeof(len));
}

void
pcapng_section(struct pcapng *out, const char *application)
{
	const size_t start = block_begin(out, BLOCK_SECTION);

	put_32(out, 0x1a2b3c4d);
	put_16(out, 1); /* version 1.0 */
	put_16(out, 0);
	put_32(out, UINT32_MAX); /* its length is not known */
	put_32(out, UINT32_MAX);
	put_text(out, OPTION_SECTION_APPLICATION, application);
	block_end(out, start);
}

void
pcapng_interface(struct pcapng *out, const char *name, const char *description, const char *filter,
		 uint32_t snaplen)
{
	const size_t start = block_begin(out, BLOCK_INTERFACE);
	const uint8_t resolution = RESOLUTION_NS;

	put_16(out, LINK_ETHERNET);
	put_16(out, 0);
	put_32(out, snaplen);
	put_text(out, OPTION_INTERFACE_NAME, name);
	put_text(out, OPTION_INTERFACE_DESCRIPTION, description);
	put_option(out, OPTION_INTERFACE_RESOLUTION, &resolution, sizeof(resolution));
	if (filter) {
		char text[1 + PCAPNG_TEXT_MAX] = {FILTER_IS_TEXT};
		const size_t len = strnlen(filter, PCAPNG_TEXT_MAX);

		memcpy(text + 1, filter, len);
		put_option(out, OPTION_INTERFACE_FILTER, text, (uint16_t)(1 + len));
	}
	block_end(out, start);
}

void
pcapng_packet(struct pcapng *out, const struct pcapng_packet *packet)
{
	const size_t start = block_begin(out, BLOCK_PACKET);
	const uint32_t flags = packet->direction;

	put_32(out, packet->interface);
	put_time(out, packet->time_ns);
	put_32(out, packet->captured);
	put_32(out, packet->len);
	put(out, packet->bytes, packet->captured);
	put_padding(out, packet->captured);
	put_option(out, OPTION_PACKET_FLAGS, &flags, sizeof(flags));
	put_option(out, OPTION_PACKET_QUEUE, &packet->queue, sizeof(packet->queue));
	for (unsigned int i = 0; i < sizeof(packet->comments) / sizeof(packet->comments[0]); i++)
		if (packet->comments[i])
			put_text(out, OPTION_COMMENT, packet->comments[i]);
	block_end(out, start);
}

void
pcapng_statistics(struct pcapng *out, const struct pcapng_statistics *statistics)
{
	const size_t start = block_begin(out, BLOCK_STATISTICS);

	put_32(out, statistics->interface);
	put_time(out, statistics->end_ns);
	put_time_option(out, OPTION_STATISTICS_START, statistics->start_ns);
	put_time_option(out, OPTION_STATISTICS_END, statistics->end_ns);
	put_number(out, OPTION_STATISTICS_SEEN, statistics->seen);
	put_number(out, OPTION_STATISTICS_LOST, statistics->lost);
	put_number(out, OPTION_STATISTICS_WANTED, statistics->wanted);
	put_number(out, OPTION_STATISTICS_WRITTEN, statistics->written);
	block_end(out, start);
}
