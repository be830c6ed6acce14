/* SPDX-License-Identifier: BSD-3-Clause */
#include "nic_limit.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <rte_devargs.h>
#include <rte_dev.h>
#include <rte_ether.h>
#include <rte_kvargs.h>

#include "ctx.h"
#include "loop.h"
#include "nic_link.h"
#include "port.h"

enum {
	NIC_LIMIT_PERIOD_MS = 100,
	VLAN_LEN = sizeof(struct rte_vlan_hdr),
	TWO_TAGS = 2 * VLAN_LEN,
};

/* What PMDs do in DPDK 22.11, by their sources, and what the kernel does with the frames they give it. */
struct nic_limit_driver {
	const char *name;   /* as in rte_eth_dev_info */
	bool packet_socket; /* sends by a packet socket: at most the MTU, and one 802.1Q tag more */
	bool own_mtu;       /* the PMD refuses frames longer than the ethdev's MTU, a CRC and one tag */
	bool ring;          /* has a ring whose slots have the size of framesz= */
	bool moves;         /* still works when its interface is moved to another network namespace */
};

static const struct nic_limit_driver nic_limit_drivers[] = {
	/* Reports all of a burst as sent; the kernel drops (PACKET_LOSS) frames that are too long. */
	{.name = "net_af_packet", .packet_socket = true, .ring = true},
	/* With iface= or tx_iface=: capture files have no interface. Ends a burst at a frame that is refused.
	 */
	{.name = "net_pcap", .packet_socket = true},
	/* Ends a burst at a frame that is too long. The kernel takes any length. */
	{.name = "net_tap", .own_mtu = true, .moves = true},
	{.name = "net_af_xdp"},
};

/* af_packet's rings (TPACKET_V2). */
enum {
	RING_PLACE = 2048, /* bytes of a slot without framesz= */
	RING_TX_HEAD = 32, /* bytes in front of a frame to send */
	RING_RX_HEAD = 66, /* bytes in front of a received frame, at most */
};

/* --- worker --- */

bool
nic_limit_accepts(const struct nic_limit *limit, const struct rte_mbuf *pkt)
{
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(pkt, const struct rte_ether_hdr *);

	if (rte_pktmbuf_data_len(pkt) < sizeof(*eth) || eth->ether_type != RTE_BE16(RTE_ETHER_TYPE_VLAN))
		return false;
	return rte_pktmbuf_pkt_len(pkt) <= atomic_load_explicit(&limit->tagged_max, memory_order_relaxed);
}

/* A VLAN tag that the kernel stripped and the PMD inserted again did not take up bytes in the ring. */
bool
nic_limit_is_cut(const struct nic_limit *limit, const struct rte_mbuf *pkt)
{
	uint32_t len = rte_pktmbuf_pkt_len(pkt);

	if (pkt->ol_flags & RTE_MBUF_F_RX_VLAN && len >= VLAN_LEN)
		len -= VLAN_LEN;
	return len > limit->whole_max;
}

/* --- control thread --- */

/*
 * The state of an interface in another namespace can't be queried, but its descriptor tells whether it
 * exists. What is written to a macvtap that does not, the kernel drops without an error.
 */
static bool
nic_limit_tap_is_gone(const struct nic_limit *limit)
{
	struct ifreq ifr;

	return limit->tap_fd >= 0 && ioctl(limit->tap_fd, TUNGETIFF, &ifr) < 0;
}

/* A packet socket loses its interface when that leaves this network namespace, for good; a tap, and hardware,
 * do not. */
void
nic_limit_link(const struct nic_limit *limit, struct port_link *ret_link)
{
	const bool moves = !limit->driver || limit->driver->moves;

	nic_link_read(limit->eth_id, limit->kernel.if_index,
		      moves ? NIC_LINK_ABSENT_UNKNOWN : NIC_LINK_ABSENT_DOWN, ret_link);
	if (limit->is_lost || (!moves && limit->kernel.has_left) || nic_limit_tap_is_gone(limit))
		*ret_link = (struct port_link){.speed = PORT_SPEED_UNKNOWN, .duplex = PORT_DUPLEX_UNKNOWN};
}

/* The longest frame without an 802.1Q tag, and with one. */
static void
nic_limit_compute(const struct nic_limit *limit, uint32_t *ret_plain, uint32_t *ret_tagged)
{
	const struct nic_limit_driver *driver = limit->driver;
	uint32_t all = UINT32_MAX, plain = UINT32_MAX, tagged = UINT32_MAX;
	uint16_t mtu;

	if (limit->mtu)
		all = (uint32_t)limit->mtu + RTE_ETHER_HDR_LEN + TWO_TAGS;
	if (driver && driver->packet_socket && limit->kernel.mtu != UINT32_MAX) {
		plain = limit->kernel.mtu + RTE_ETHER_HDR_LEN;
		tagged = plain + VLAN_LEN;
	}
	/* The other end of a veth pair accepts a tag's length more, whether there is a tag or not. */
	if (driver && driver->packet_socket && limit->kernel.peer_mtu != UINT32_MAX)
		all = RTE_MIN(all, limit->kernel.peer_mtu + RTE_ETHER_HDR_LEN + VLAN_LEN);
	if (driver && driver->own_mtu && rte_eth_dev_get_mtu(limit->eth_id, &mtu) == 0)
		all = RTE_MIN(all, (uint32_t)mtu + RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN + VLAN_LEN);
	if (limit->slot)
		all = RTE_MIN(all, limit->slot - RING_TX_HEAD);
	*ret_plain = RTE_MIN(plain, all);
	*ret_tagged = RTE_MIN(tagged, all);
}

/* Warn of frames that are within the MTU but longer than a slot of the ring. */
static void
nic_limit_warn_of_ring(const struct nic_limit *limit)
{
	uint32_t need, place;

	if (!limit->slot || limit->kernel.mtu == UINT32_MAX)
		return;
	need = limit->kernel.mtu + RTE_ETHER_HDR_LEN + RING_RX_HEAD + 1;
	if (need <= limit->slot)
		return;
	place = RTE_MAX(rte_align32pow2(need), (uint32_t)getpagesize());
	log_warn(&limit->port->ctx->log,
		 "port %s: %s has an MTU of %u, but frames to it of more than %u bytes are dropped as "
		 "too_long, and frames from it of more than %u as truncated; for all of them: "
		 "framesz=%u,blocksz=%u among the device's arguments",
		 limit->port->name, limit->kernel.name, limit->kernel.mtu, limit->slot - RING_TX_HEAD,
		 limit->whole_max, place, place);
}

/* Warn of frames that their receivers will drop, whatever vnicd does. */
static void
nic_limit_warn_of_offloads(const struct nic_limit *limit)
{
	const struct nic_kernel *kernel = &limit->kernel;
	const char *peer = kernel->peer_name[0] ? kernel->peer_name : "PEER";

	if (!limit->driver || !limit->driver->packet_socket || kernel->if_index == 0)
		return;
	/* In another namespace its offloads can't be queried: assume that they are on. */
	if (kernel->peer_place == NIC_KERNEL_PEER_ELSEWHERE)
		log_warn(&limit->port->ctx->log,
			 "port %s: TCP and UDP from the other end of veth %s come with partial checksums "
			 "(CHECKSUM_PARTIAL), which receivers drop; in the other network namespace: "
			 "ethtool -K %s tx off",
			 limit->port->name, kernel->name, peer);
	else if (kernel->peer_place == NIC_KERNEL_PEER_HERE && nic_kernel_leaves_checksums(kernel->peer_name))
		log_warn(&limit->port->ctx->log,
			 "port %s: TCP and UDP from the other end of veth %s come with partial checksums "
			 "(CHECKSUM_PARTIAL), which receivers drop: ethtool -K %s tx off",
			 limit->port->name, kernel->name, peer);
	if (nic_kernel_joins_segments(kernel->name))
		log_warn(
			&limit->port->ctx->log,
			"port %s: %s joins TCP segments that it receives, to frames longer than others take: "
			"ethtool -K %s gro off",
			limit->port->name, kernel->name, kernel->name);
}

/* Relaxed: workers may use the old value for a frame or two. Stored only if changed: they read this line. */
static void
nic_limit_publish(_Atomic uint32_t *max, uint32_t value)
{
	if (atomic_load_explicit(max, memory_order_relaxed) != value)
		atomic_store_explicit(max, value, memory_order_relaxed);
}

/* Publish the limits to workers, and log what has changed. */
void
nic_limit_update(struct nic_limit *limit)
{
	uint32_t plain, tagged, mtu = limit->kernel.mtu;
	struct port_link link;

	nic_kernel_look(&limit->kernel);
	nic_limit_link(limit, &link);
	nic_limit_compute(limit, &plain, &tagged);
	nic_limit_publish(&limit->tagged_max, link.up ? tagged : 0);
	nic_limit_publish(&limit->frame_max, link.up ? plain : 0);
	if (link.up != limit->is_up)
		log_limited(&limit->port->ctx->log, &limit->log, LOG_LEVEL_INFO, "port %s: link %s",
			    limit->port->name, link.up ? "up" : "down");
	if (plain != limit->longest)
		log_limited(&limit->port->ctx->log, &limit->log, LOG_LEVEL_INFO,
			    "port %s: longest frame %u bytes, %u before", limit->port->name, plain,
			    limit->longest);
	limit->is_up = link.up;
	limit->longest = plain;
	if (mtu != limit->kernel.mtu)
		nic_limit_warn_of_ring(limit);
}

static void
nic_limit_look(void *arg)
{
	nic_limit_update(arg);
}

static const struct nic_limit_driver *
nic_limit_find(const struct rte_eth_dev_info *info)
{
	for (size_t i = 0; i < RTE_DIM(nic_limit_drivers); i++)
		if (info->driver_name && strcmp(info->driver_name, nic_limit_drivers[i].name) == 0)
			return &nic_limit_drivers[i];
	return NULL;
}

/* The arguments of the device, for what the PMD does not report. NULL: there are none. */
static struct rte_kvargs *
nic_limit_arguments(const struct rte_eth_dev_info *info)
{
	const struct rte_devargs *devargs = info->device ? rte_dev_devargs(info->device) : NULL;

	return devargs && devargs->args ? rte_kvargs_parse(devargs->args, NULL) : NULL;
}

static uint32_t
nic_limit_ring_place(const struct rte_eth_dev_info *info)
{
	struct rte_kvargs *args = nic_limit_arguments(info);
	const char *framesz = args ? rte_kvargs_get(args, "framesz") : NULL;
	uint32_t place = framesz ? (uint32_t)strtoul(framesz, NULL, 10) : RING_PLACE;

	rte_kvargs_free(args);
	return place > RING_RX_HEAD ? place : RING_PLACE;
}

unsigned int
nic_limit_if_index(const struct rte_eth_dev_info *info)
{
	const struct nic_limit_driver *driver = nic_limit_find(info);
	struct rte_kvargs *args;
	const char *name;
	unsigned int if_index;

	if (info->if_index || !driver || !driver->packet_socket)
		return info->if_index;
	args = nic_limit_arguments(info);
	name = args ? rte_kvargs_get(args, "tx_iface") : NULL;
	if_index = name ? if_nametoindex(name) : 0;
	rte_kvargs_free(args);
	return if_index;
}

/* Driver, ethdev, slot and MTU are known. */
static int
nic_limit_start(struct nic_limit *limit, const struct port *port, unsigned int if_index)
{
	struct port_link link;
	uint32_t tagged;

	limit->port = port;
	/* A frame that fills its slot to the last byte may have been truncated. */
	limit->whole_max = limit->slot ? limit->slot - RING_RX_HEAD - 1 : UINT32_MAX;
	nic_kernel_open(&limit->kernel, port->ctx->loop, if_index, nic_limit_look, limit);
	nic_limit_link(limit, &link);
	limit->is_up = link.up;
	nic_limit_compute(limit, &limit->longest, &tagged);
	nic_limit_update(limit);
	if (!port->ctx->loop)
		return 0;
	limit->timer = loop_timer_add(port->ctx->loop, NIC_LIMIT_PERIOD_MS, NIC_LIMIT_PERIOD_MS,
				      nic_limit_look, limit);
	return limit->timer ? 0 : -ENOMEM;
}

int
nic_limit_open(struct nic_limit *limit, const struct port *port, uint16_t eth_id,
	       const struct rte_eth_dev_info *info, uint16_t mtu)
{
	int ret;

	limit->driver = nic_limit_find(info);
	limit->is_lost = false;
	limit->slot = 0;
	limit->eth_id = eth_id;
	limit->tap_fd = -1;
	limit->mtu = mtu;
	if (limit->driver && limit->driver->ring)
		limit->slot = nic_limit_ring_place(info);
	ret = nic_limit_start(limit, port, info->if_index);
	nic_limit_warn_of_ring(limit);
	nic_limit_warn_of_offloads(limit);
	return ret;
}

int
nic_limit_open_kernel(struct nic_limit *limit, const struct port *port, unsigned int if_index,
		      enum nic_limit_kind kind, int tap_fd, uint16_t mtu)
{
	static const struct nic_limit_driver drivers[] = {
		[NIC_LIMIT_PACKET_SOCKET] = {.packet_socket = true},
		[NIC_LIMIT_TAP] = {.moves = true},
		[NIC_LIMIT_MACVTAP] = {.packet_socket = true, .moves = true},
	};
	char name[IF_NAMESIZE];

	limit->driver = &drivers[kind];
	limit->tap_fd = tap_fd;
	limit->eth_id = RTE_MAX_ETHPORTS; /* there is none */
	limit->mtu = mtu;
	if (if_indextoname(if_index, name) && nic_kernel_lost(name, &limit->lost_before))
		limit->lost = limit->lost_before;
	return nic_limit_start(limit, port, if_index);
}

void
nic_limit_lost(struct nic_limit *limit, struct port_device_stats *stats)
{
	const struct nic_kernel_lost *before = &limit->lost_before, *now = &limit->lost;

	/* Of one that has left it stays what it was. */
	if (!limit->kernel.has_left)
		nic_kernel_lost(limit->kernel.name, &limit->lost);
	if (limit->driver->packet_socket)
		stats->oerrors += now->tx_errors - before->tx_errors + now->tx_dropped - before->tx_dropped;
	/* What a tap sends is what the port takes. */
	if (limit->tap_fd >= 0)
		stats->imissed += limit->driver->packet_socket ? now->rx_dropped - before->rx_dropped
							       : now->tx_dropped - before->tx_dropped;
}

void
nic_limit_lose(struct nic_limit *limit)
{
	limit->is_lost = true;
	limit->is_up = false;
	nic_limit_publish(&limit->tagged_max, 0);
	nic_limit_publish(&limit->frame_max, 0);
	loop_timer_remove(limit->timer);
	limit->timer = NULL;
}

void
nic_limit_close(struct nic_limit *limit)
{
	loop_timer_remove(limit->timer);
	limit->timer = NULL;
	nic_kernel_close(&limit->kernel);
}
