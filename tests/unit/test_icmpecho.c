/* SPDX-License-Identifier: BSD-3-Clause */
/* test_icmpecho: the forwarding mode that answers ARP requests and pings. Its answers are compared with what
 * packet.h makes of them, byte by byte. */
#include "fwd_scene.h"

#include "mbufs.h"
#include "packet.h"

enum { WHOLE = UINT16_MAX }; /* a piece that every frame fits into */

static const uint8_t us[4] = {192, 0, 2, 1}, them[4] = {192, 0, 2, 2};
/* Whoever pings, and its own address for us. */
#define THEIR_MAC STATION(9)
#define OUR_MAC STATION(1)

/* In pieces of so many bytes. */
static struct rte_mbuf *
arp(uint16_t op, const uint8_t sender[4], const uint8_t target[4], bool tagged, uint32_t piece)
{
	static struct packet packet;

	packet_ethernet(&packet, tagged, PACKET_TYPE_ARP);
	packet_set_macs(&packet, BROADCAST, THEIR_MAC);
	packet_arp(&packet, op, THEIR_MAC, sender, 0, target);
	return mbufs_pieces(scene.pool, packet.bytes, packet.len, piece);
}

struct ping {
	uint8_t type;
	uint8_t options_len; /* of the IPv4 header */
	uint16_t data_len;
	bool tagged;
	uint16_t fragment;
	uint8_t dst[4]; /* 0.0.0.0: us */
};

static void
ping_build(struct packet *packet, const struct ping *p, const uint8_t src[4], const uint8_t dst[4])
{
	packet_ethernet(packet, p->tagged, PACKET_TYPE_IPV4);
	packet_ipv4(packet, src, dst, p->options_len, p->fragment);
	packet_echo(packet, p->type, 0x1234, 1);
	packet_add_payload(packet, p->data_len);
	packet_finish(packet, PACKET_SUM_WHOLE);
}

static struct rte_mbuf *
ping(const struct ping *p, uint32_t piece)
{
	static struct packet packet;

	ping_build(&packet, p, them, packet_get32(p->dst) ? p->dst : us);
	packet_set_macs(&packet, OUR_MAC, THEIR_MAC);
	return mbufs_pieces(scene.pool, packet.bytes, packet.len, piece);
}

/* The one frame that port 0 has sent is this, and on the queue that the question came from. */
static void
assert_answer(const struct packet *packet)
{
	assert_int_equal(scene.fakes[0]->n_sent, 1);
	assert_int_equal(scene.fakes[0]->sent_on[0], 1);
	assert_true(mbufs_equal(scene.fakes[0]->sent[0], packet->bytes, packet->len));
	scene_forget(0);
}

/* The answer to p is p but for its type, and addresses the other way round. */
static void
assert_pong(const struct ping *p)
{
	static struct packet packet;
	struct ping pong = *p;

	pong.type = PACKET_ECHO_REPLY;
	ping_build(&packet, &pong, us, them);
	packet_set_macs(&packet, THEIR_MAC, scene_mac(0));
	assert_answer(&packet);
}

static void
assert_arp_reply(bool tagged)
{
	static struct packet packet;

	packet_ethernet(&packet, tagged, PACKET_TYPE_ARP);
	packet_set_macs(&packet, THEIR_MAC, scene_mac(0));
	packet_arp(&packet, PACKET_ARP_REPLY, scene_mac(0), us, THEIR_MAC, them);
	assert_answer(&packet);
}

static void
test_icmpecho_ping(void **state)
{
	static const struct ping good[] = {
		{.type = PACKET_ECHO_REQUEST, .data_len = 56},
		{.type = PACKET_ECHO_REQUEST, .data_len = 0},
		{.type = PACKET_ECHO_REQUEST, .data_len = 1472},
		{.type = PACKET_ECHO_REQUEST, .data_len = 33, .options_len = 40},
		{.type = PACKET_ECHO_REQUEST, .data_len = 1001, .tagged = true},
		{.type = PACKET_ECHO_REQUEST, .data_len = 5, .options_len = 8, .tagged = true},
		{.type = PACKET_ECHO_REQUEST, .data_len = 56, .fragment = PACKET_IPV4_DF},
	};
	static const uint16_t pieces[] = {2000, 128, 50, 16, 14};
	struct fwd_plan *plan = scene_open("icmpecho", NULL, 1, 2, 1);

	for (size_t i = 0; i < RTE_DIM(good); i++) {
		for (size_t k = 0; k < RTE_DIM(pieces); k++) {
			struct rte_mbuf *m = ping(&good[i], pieces[k]);

			scene_arrive(0, 1, &m, 1);
			assert_pong(&good[i]);
		}
	}
	/* Every data length, so that every value of the checksum's carry comes up. */
	for (uint16_t len = 0; len < 1000; len++) {
		struct ping p = {.type = PACKET_ECHO_REQUEST, .data_len = len};
		struct rte_mbuf *m = ping(&p, WHOLE);

		scene_arrive(0, 1, &m, 1);
		assert_pong(&p);
	}
	scene_close(plan);
}

static void
test_icmpecho_arp(void **state)
{
	struct fwd_plan *plan = scene_open("icmpecho", NULL, 1, 2, 1);

	for (int tagged = 0; tagged < 2; tagged++) {
		for (uint16_t piece = 14; piece < 100; piece += 10) {
			struct rte_mbuf *m = arp(PACKET_ARP_REQUEST, them, us, tagged, piece);

			scene_arrive(0, 1, &m, 1);
			assert_arp_reply(tagged);
		}
	}
	scene_close(plan);
}

static void
test_icmpecho_other(void **state)
{
	struct fwd_plan *plan = scene_open("icmpecho", NULL, 1, 1, 1);
	static const uint8_t nobody[4];
	static const struct ping usual = {PACKET_ECHO_REQUEST, .data_len = 56};
	struct rte_mbuf *bad[] = {
		scene_frame(STATION(1), STATION(2), 1),
		arp(PACKET_ARP_REPLY, them, us, false, WHOLE),
		arp(PACKET_ARP_REQUEST, nobody, us, false, WHOLE), /* probe */
		arp(PACKET_ARP_REQUEST, them, them, true, WHOLE),  /* announcement */
		arp(PACKET_ARP_REQUEST, them, us, false, WHOLE),   /* cut below */
		arp(PACKET_ARP_REQUEST, them, us, true, WHOLE),    /* cut within the tag below */
		ping(&(struct ping){PACKET_ECHO_REPLY, .data_len = 56}, WHOLE),
		ping(&(struct ping){PACKET_ECHO_REQUEST, .data_len = 56, .fragment = PACKET_IPV4_MF}, WHOLE),
		ping(&(struct ping){PACKET_ECHO_REQUEST, .data_len = 56, .fragment = 1}, WHOLE),
		ping(&(struct ping){PACKET_ECHO_REQUEST, .data_len = 56, .dst = {224, 0, 0, 1}}, WHOLE),
		ping(&(struct ping){PACKET_ECHO_REQUEST, .data_len = 56, .dst = {255, 255, 255, 255}}, WHOLE),
		ping(&usual, WHOLE), /* cut below */
		ping(&usual, WHOLE), /* from a multicast address below */
		ping(&usual, WHOLE), /* header length below the least */
		/* shorter than an ICMP header, below */
		ping(&(struct ping){PACKET_ECHO_REQUEST, .data_len = 0}, WHOLE),
	};
	struct rte_mbuf *short_frame = scene_frame(STATION(1), STATION(2), 1);

	rte_pktmbuf_trim(bad[4], 1);
	rte_pktmbuf_trim(bad[5], (uint16_t)(bad[5]->pkt_len - 16));
	rte_pktmbuf_trim(bad[11], 1);
	*rte_pktmbuf_mtod_offset(bad[12], uint8_t *, 6) |= 1;
	*rte_pktmbuf_mtod_offset(bad[13], uint8_t *, 14) = 0x44;
	packet_put16(rte_pktmbuf_mtod_offset(bad[14], uint8_t *, 16), 27);
	scene_arrive(0, 0, bad, RTE_DIM(bad));
	rte_pktmbuf_trim(short_frame, 50);
	scene_arrive_one(0, short_frame);
	assert_int_equal(scene_drops(0, DROP_NOT_ECHO), RTE_DIM(bad) + 1);
	ASSERT_SENT_NONE(0);
	scene_close(plan);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_icmpecho_ping),
		cmocka_unit_test(test_icmpecho_arp),
		cmocka_unit_test(test_icmpecho_other),
	};

	return UNIT_RUN_WITH(tests, scene_env_open, scene_env_close);
}
