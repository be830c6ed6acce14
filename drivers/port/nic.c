/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic: a port that is a DPDK ethdev: a physical NIC, af_packet, tap, pcap, null and so on.
 *
 * The ethdev exists when the program starts (a PCI device, or EAL --vdev), or the port plugs it itself
 * (vdev=). Frames may come from several pools and be shared, so no transmit offload that assumes otherwise is
 * asked for; checksums and segmentation are (nic_offload.h).
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_bus.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_devargs.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include "borrow.h"
#include "ctx.h"
#include "gro.h"
#include "loop.h"
#include "nic_borrow.h"
#include "nic_device.h"
#include "nic_events.h"
#include "nic_flow.h"
#include "nic_hash.h"
#include "nic_limit.h"
#include "nic_lro.h"
#include "nic_offload.h"
#include "nic_pci.h"
#include "nic_tag.h"
#include "pools.h"
#include "port.h"
#include "software_offload.h"
#include "ticks.h"
#include "uplink.h"

enum {
	NIC_DESC = 1024, /* descriptors of a queue that we ask for */
	NIC_POOL_CACHE = 256,
	NIC_POOL_CACHE_FULL = NIC_POOL_CACHE * 3 / 2, /* what a worker's cache may hold back */
	NIC_VLAN_ROOM = 2 * sizeof(struct rte_vlan_hdr),
	NIC_ROOM_BIG = 16384,      /* for devices that want a whole frame in one buffer */
	NIC_BIG_BUFFERS = 255,     /* of that size, for devices that send one segment only */
	NIC_PAIR_BYTES = 48 << 20, /* of EAL's memory, for a queue pair */
	NIC_VDEV_ARGS_SIZE = 512,
	NIC_SERVICE_US = 20000,
	NIC_STATS_LOOKS = 10, /* its counters, which go with it, are read with one of so many looks */
	NIC_TRIES = 3,        /* at a card that is back, with one driver of the kernel's */
	NIC_TRY_MS = 1000,
	NIC_PRESENCE_MS = 100, /* between looks for a card that was unplugged, and for one that is back */
};

struct nic_args {
	char *dev;
	char *vdev; /* DRIVER[;key=value]... */
	struct key_args vdev_args;
	uint64_t without; /* offloads */
	bool gro, link_polling;
	uint8_t lro;          /* enum nic_lro_mode */
	uint8_t flow_control; /* enum nic_flow_mode */
};

static const struct key nic_keys[] = {
	{"dev", KEY_STRING, KEY_FIELD(struct nic_args, dev), .form = "DEVICE",
	 .help = "name of the ethdev, such as net_af_packet0 or 0000:01:00.0"},
	{"vdev", KEY_STRING, KEY_FIELD(struct nic_args, vdev), .form = "DRIVER",
	 .help = "make this virtual device first, such as net_af_packet0"},
	{"vdev", KEY_ARGS, KEY_FIELD(struct nic_args, vdev_args),
	 .help = "its arguments: vdev.iface=eth1 (vdev=DRIVER;iface=eth1 says the same, in quotes)"},
	{"gro", KEY_SWITCH, KEY_FIELD(struct nic_args, gro), .initial = "off",
	 .help = "join TCP segments that come together, for guests that take long frames (default off)"},
	{"lro", KEY_WORD, KEY_FIELD(struct nic_args, lro), .words = nic_lro_words, .n_words = NIC_LRO_N,
	 .initial = "auto",
	 .help = "have the device join TCP segments; auto: virtio devices alone (default auto)"},
	{"flow-control", KEY_WORD, KEY_FIELD(struct nic_args, flow_control), .words = nic_flow_words,
	 .n_words = NIC_FLOW_N, .help = "pause frames: obeyed, sent, both (default: as the device has it)"},
	{"link-polling", KEY_SWITCH, KEY_FIELD(struct nic_args, link_polling), .initial = "off",
	 .help = "ask for the link, also where the device reports changes by interrupt (default off)"},
	{"without", KEY_WORDS, KEY_FIELD(struct nic_args, without), .words = offload_names,
	 .n_words = OFFLOAD_N, .form = "OFFLOAD+...",
	 .help = "not left to the device, nor what needs it: tso4+tso6"},
	{0},
};

struct nic {
	/* read by workers */
	struct vnic_ctx *ctx;
	uint16_t eth_id;
	uint16_t segs_max; /* segments that a frame may have on its way out */
	/* A received frame is neither a runt nor truncated if it has at most so many bytes beyond
	 * RTE_ETHER_HDR_LEN. */
	uint32_t rx_span;
	bool gro;             /* segments of TCP are joined */
	_Atomic bool is_lost; /* there is no device now; written by the control thread */
	struct rte_mempool *pool;
	struct rte_mempool *big_pool; /* for frames to linearise that `pool` can't hold; NULL: not needed */
	struct nic_borrow borrow;
	struct nic_limit limit;
	struct nic_offload offload;
	struct nic_lro lro;
	uint64_t service_period; /* ticks */

	/* written by the worker of the first pair */
	uint64_t service_at; /* ticks */

	/* control only */
	struct port *port;
	struct rte_mempool *pool_refused; /* after a failure: the PMD may still hold buffers of it */
	bool plugged;                     /* the port made the device */
	bool configured;
	struct rte_eth_dev_info info;
	uint64_t rx_offloads, tx_offloads; /* that it was configured with */
	struct nic_hash hash;              /* its own */
	struct nic_events events;
	struct nic_pci pci;
	struct nic_device *dropped; /* being closed; NULL: none is */
	struct loop_timer *presence;
	unsigned int n_looks;
	struct port_device_stats seen_stats; /* of the device, as last read */
	struct port_device_stats lost_stats; /* of devices that were unplugged */
	char tried[NIC_PCI_DRIVER_SIZE];     /* the kernel's driver when it was tried last; "": none */
	unsigned int n_tries;
	uint64_t next_try_ms;
	char driver_name[32]; /* of the PMD */
	char dev_name[RTE_ETH_NAME_MAX_LEN];
	char vdev_name[RTE_ETH_NAME_MAX_LEN]; /* when plugged */
};

/* --- worker -----------------------------------------------------------------------------------------------
 */

/* Drop runts and truncated frames. Not inlined, for few bursts need it. */
static __rte_noinline uint16_t
nic_rx_slow(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	const struct nic *nic = rxq->dev;
	uint16_t n_kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		if (rte_pktmbuf_data_len(pkts[i]) < RTE_ETHER_HDR_LEN)
			port_rx_drop(rxq, DROP_RUNT, &pkts[i], 1);
		else if (!(pkts[i]->ol_flags & FRAME_REQUESTS_SEGMENTS) &&
			 nic_limit_is_cut(&nic->limit, pkts[i]))
			port_rx_drop(rxq, DROP_TRUNCATED, &pkts[i], 1);
		else if (nic->offload.gives_partial && nic_offload_is_partial(pkts[i]->ol_flags) &&
			 !nic_offload_receive(pkts[i]))
			port_rx_drop(rxq, DROP_BAD_OFFLOAD, &pkts[i], 1);
		else
			pkts[n_kept++] = pkts[i];
	}
	return n_kept;
}

/* Tags that lie beside their frames are put back. Not inlined, for few devices do that. */
static __rte_noinline uint16_t
nic_rx_tags(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t n_kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		if (!(pkts[i]->ol_flags & NIC_TAG_FLAGS) || nic_tag_restore(pkts[i])) {
			pkts[n_kept++] = pkts[i];
			continue;
		}
		counter_add(&rxq->stats.packets, 1);
		counter_add(&rxq->stats.bytes, rte_pktmbuf_pkt_len(pkts[i]));
		port_rx_drop(rxq, DROP_NO_MBUF, &pkts[i], 1);
	}
	return n_kept;
}

static uint16_t
nic_rx(struct port_rxq *rxq, struct rte_mbuf **pkts, uint16_t n)
{
	const struct nic *nic = rxq->dev;
	const uint32_t span = nic->rx_span;
	bool any_odd = false;
	uint64_t bytes = 0, flags = 0;

	if (unlikely(atomic_load_explicit(&nic->is_lost, memory_order_relaxed)))
		return 0;
	quiesce_leave(&nic->ctx->quiesce, rxq->worker, &rxq->place);
	n = rte_eth_rx_burst(nic->eth_id, rxq->idx, pkts, n);
	quiesce_return(&nic->ctx->quiesce, rxq->worker);
	for (uint16_t i = 0; i < n; i++)
		flags |= pkts[i]->ol_flags;
	if (unlikely(flags & NIC_TAG_FLAGS))
		n = nic_rx_tags(rxq, pkts, n);
	if (nic->lro.is_on)
		nic_lro_burst(&nic->lro, pkts, n);
	if (nic->gro && n > 1)
		n = gro_burst(pkts, n);
	for (uint16_t i = 0; i < n; i++) {
		bytes += rte_pktmbuf_pkt_len(pkts[i]);
		any_odd |= (uint32_t)rte_pktmbuf_data_len(pkts[i]) - RTE_ETHER_HDR_LEN > span;
	}
	if (nic->offload.gives_partial)
		for (uint16_t i = 0; i < n; i++)
			any_odd |= nic_offload_is_partial(pkts[i]->ol_flags);
	counter_add(&rxq->stats.packets, n);
	counter_add(&rxq->stats.bytes, bytes);
	return unlikely(any_odd) ? nic_rx_slow(rxq, pkts, n) : n;
}

/* 0: the link is down. */
static inline uint32_t
nic_frame_max(const struct nic *nic)
{
	return atomic_load_explicit(&nic->limit.frame_max, memory_order_relaxed);
}

/* A copy of the frame in one segment; NULL, and the reason in *ret_drop, if there is no buffer for it. */
static struct rte_mbuf *
nic_linearise(const struct nic *nic, const struct rte_mbuf *m, enum port_drop *ret_drop)
{
	uint32_t len = rte_pktmbuf_pkt_len(m);
	struct rte_mempool *pool = nic->pool;
	struct rte_mbuf *copy;
	const void *data;
	char *room;

	if (nic->big_pool && len + RTE_PKTMBUF_HEADROOM > rte_pktmbuf_data_room_size(pool))
		pool = nic->big_pool;
	if (len + RTE_PKTMBUF_HEADROOM > rte_pktmbuf_data_room_size(pool)) {
		*ret_drop = DROP_TOO_LONG;
		return NULL;
	}
	copy = rte_pktmbuf_alloc(pool);
	if (!copy) {
		/* All buffers are in the device's transmit rings. */
		*ret_drop = DROP_TX_FULL;
		return NULL;
	}
	room = rte_pktmbuf_append(copy, (uint16_t)len);
	data = rte_pktmbuf_read(m, 0, len, room);
	if (data != room)
		memcpy(room, data, len);
	return copy;
}

/* The frames that the device can take, in order; the others are counted. Returns their number. */
static uint16_t
nic_tx_fit(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n, uint64_t *ret_bytes)
{
	const struct nic *nic = txq->dev;
	const uint32_t frame_max = nic_frame_max(nic);
	uint16_t n_kept = 0;
	uint64_t bytes = 0;

	if (frame_max == 0) {
		*ret_bytes = 0;
		port_tx_drop(txq, DROP_LINK_DOWN, pkts, n);
		return 0;
	}
	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = pkts[i];

		if (rte_pktmbuf_pkt_len(m) > frame_max && !(m->ol_flags & FRAME_REQUESTS_SEGMENTS) &&
		    !nic_limit_accepts(&nic->limit, m)) {
			port_tx_drop(txq, DROP_TOO_LONG, &m, 1);
			continue;
		}
		if (m->nb_segs > nic->segs_max && !(m->ol_flags & FRAME_REQUESTS_SEGMENTS)) {
			enum port_drop drop;

			m = nic_linearise(nic, pkts[i], &drop);
			if (!m) {
				port_tx_drop(txq, drop, &pkts[i], 1);
				continue;
			}
			rte_pktmbuf_free(pkts[i]);
		}
		bytes += rte_pktmbuf_pkt_len(m);
		pkts[n_kept++] = m;
	}
	*ret_bytes = bytes;
	return n_kept;
}

/* As nic_tx_fit(), which few bursts need. */
static inline uint16_t
nic_tx_check(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n, uint64_t *ret_bytes)
{
	const struct nic *nic = txq->dev;
	const uint32_t frame_max = nic_frame_max(nic);
	bool any_odd = false;
	uint64_t bytes = 0;

	for (uint16_t i = 0; i < n; i++) {
		bytes += rte_pktmbuf_pkt_len(pkts[i]);
		any_odd |= pkts[i]->nb_segs > nic->segs_max || rte_pktmbuf_pkt_len(pkts[i]) > frame_max;
	}
	if (unlikely(any_odd))
		return nic_tx_fit(txq, pkts, n, ret_bytes);
	*ret_bytes = bytes;
	return n;
}

/* Send frames that the device can take, of `bytes` bytes together. */
static inline uint16_t
nic_tx_burst(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n, uint64_t bytes)
{
	const struct nic *nic = txq->dev;
	uint16_t n_sent;

	quiesce_leave(&nic->ctx->quiesce, txq->worker, &txq->place);
	n_sent = rte_eth_tx_burst(nic->eth_id, txq->idx, pkts, n);
	quiesce_return(&nic->ctx->quiesce, txq->worker);
	if (unlikely(n_sent < n)) {
		for (uint16_t i = n_sent; i < n; i++)
			bytes -= rte_pktmbuf_pkt_len(pkts[i]);
		port_tx_drop(txq, DROP_TX_FULL, pkts + n_sent, (uint16_t)(n - n_sent));
	}
	counter_add(&txq->stats.packets, n_sent);
	counter_add(&txq->stats.bytes, bytes);
	return n_sent;
}

/* Send frames that request no offloads. */
static uint16_t
nic_send(struct port_txq *txq, const void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
	uint64_t bytes;

	n = nic_tx_check(txq, pkts, n, &bytes);
	return nic_tx_burst(txq, pkts, n, bytes);
}

/* Frames that ask for nothing that the device can't do; what it does not do after all is done in software. */
static uint16_t
nic_send_requests(struct port_txq *txq, const void *ctx, struct rte_mbuf **pkts, uint16_t n)
{
	const struct nic *nic = txq->dev;
	uint16_t n_sent = 0;

	while (n) {
		uint16_t n_ready =
			nic_offload_prepare(&nic->offload, nic->eth_id, txq->idx, nic->pool, pkts, n);

		if (n_ready)
			n_sent = (uint16_t)(n_sent + nic_send(txq, NULL, pkts, n_ready));
		pkts += n_ready;
		n = (uint16_t)(n - n_ready);
		if (n == 0)
			break;
		n_sent = (uint16_t)(n_sent + port_software_offload(txq, nic->pool, OFFLOADS_NONE, pkts, 1,
								   nic_send, NULL));
		pkts++;
		n--;
	}
	return n_sent;
}

/* Send frames of which some are borrowed. */
static uint16_t
nic_send_borrowed(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	struct nic *nic = txq->dev;
	uint16_t n_payloads, n_sent;
	uint64_t bytes;

	n = nic_tx_check(txq, pkts, n, &bytes);
	n_payloads = nic_borrow_attach(&nic->borrow, txq->idx, nic->pool, pkts, n);
	n_sent = nic_tx_burst(txq, pkts, n, bytes);
	nic_borrow_check(&nic->borrow, txq->idx, n_payloads);
	return n_sent;
}

/* Not inlined, so that other bursts do not save registers for it. */
static __rte_noinline uint16_t
nic_tx_slow(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n, uint64_t flags)
{
	const struct nic *nic = txq->dev;

	if (!(flags & FRAME_REQUESTS))
		return nic_send_borrowed(txq, pkts, n);
	/* The burst becomes others, in which some may be borrowed and some not. */
	borrow_materialise_burst(pkts, n);
	return port_software_offload(txq, nic->pool, nic->offload.capabilities, pkts, n, nic_send_requests,
				     NULL);
}

/*
 * What the device does not do of a frame's request is done here. Segments come from the pool whose buffers
 * the device's rings were counted for.
 */
static uint16_t
nic_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n)
{
	const struct nic *nic = txq->dev;
	uint64_t flags = 0;

	if (unlikely(atomic_load_explicit(&nic->is_lost, memory_order_relaxed))) {
		port_tx_drop(txq, DROP_LINK_DOWN, pkts, n);
		return 0;
	}
	for (uint16_t i = 0; i < n; i++)
		flags |= pkts[i]->ol_flags;
	if (unlikely(flags & (FRAME_REQUESTS | BORROW_FLAG)))
		return nic_tx_slow(txq, pkts, n, flags);
	return nic_send(txq, NULL, pkts, n);
}

/* net_bonding speaks LACP in calls of its burst functions, and wants one at least ten times a second. */
static void
nic_tx_service(struct port_txq *txq)
{
	struct nic *nic = txq->dev;
	const uint64_t now = ticks_now();

	if (now < nic->service_at)
		return;
	nic->service_at = now + nic->service_period;
	quiesce_leave(&nic->ctx->quiesce, txq->worker, &txq->place);
	rte_eth_tx_burst(nic->eth_id, txq->idx, NULL, 0);
	quiesce_return(&nic->ctx->quiesce, txq->worker);
}

/* --- control thread: finding the device -------------------------------------------------------------------
 */

/* What follows the driver in vdev=, and vdev.KEY=, as EAL wants them: key=value,... Returns the length. */
static size_t
nic_vdev_args(const struct nic_args *args, char *buf, size_t size)
{
	const char *old = strchr(args->vdev, ';');
	size_t used = keyval_add(buf, size, 0, old ? old + 1 : "");

	for (char *c = buf; *c; c++)
		if (*c == ';')
			*c = ',';
	for (unsigned int i = 0; i < args->vdev_args.n; i++) {
		used = keyval_add(buf, size, used, used ? "," : "");
		used = keyval_add(buf, size, used, args->vdev_args.args[i].name);
		used = keyval_add(buf, size, used, "=");
		used = keyval_add(buf, size, used, args->vdev_args.args[i].value);
	}
	return used;
}

static int
nic_plug(struct nic *nic, const struct port_config *config, struct diag *diag)
{
	const struct nic_args *nic_args = config->args;
	char args[NIC_VDEV_ARGS_SIZE];
	uint16_t eth_id;
	int ret;

	snprintf(nic->vdev_name, sizeof(nic->vdev_name), "%.*s", (int)strcspn(nic_args->vdev, ";"),
		 nic_args->vdev);
	nic_vdev_args(nic_args, args, sizeof(args));
	/* Plugging it again would seem to work, and closing this port would then take it from its owner. */
	if (rte_eth_dev_get_port_by_name(nic->vdev_name, &eth_id) == 0) {
		diag_set(diag, -EEXIST, NULL, "port %s: device %s exists already", config->name,
			 nic->vdev_name);
		diag_hint(diag, "dev=%s uses the device that exists", nic->vdev_name);
		return -EEXIST;
	}
	ret = rte_eal_hotplug_add("vdev", nic->vdev_name, args);
	if (ret < 0)
		return diag_set(
			diag, ret,
			"vdev=DRIVER[,vdev.KEY=VALUE]..., for example vdev=net_af_packet0,vdev.iface=eth0; "
			"the driver's own message is in the log",
			"port %s: device %s could not be made%s%s: %s", config->name, nic->vdev_name,
			args[0] ? " with " : "", args, strerror(-ret));
	nic->plugged = true;
	return 0;
}

static int
nic_find(struct nic *nic, const struct port_config *config, struct diag *diag)
{
	const struct nic_args *args = config->args;
	int ret;

	if (args->vdev) {
		ret = nic_plug(nic, config, diag);
		if (ret < 0)
			return ret;
	}
	snprintf(nic->dev_name, sizeof(nic->dev_name), "%s", args->dev ? args->dev : nic->vdev_name);
	ret = nic_device_find(nic->dev_name, &nic->eth_id);
	if (ret == -EAGAIN)
		return diag_set(diag, ret, "try again in some seconds",
				"port %s: device %s is still being closed after it was unplugged",
				config->name, nic->dev_name);
	if (ret < 0) {
		diag_set(diag, -ENODEV, NULL, "port %s: there is no device %s", config->name, nic->dev_name);
		nic_device_hint(nic->dev_name, diag);
		return -ENODEV;
	}
	ret = rte_eth_dev_info_get(nic->eth_id, &nic->info);
	if (ret < 0)
		return diag_set(diag, ret, NULL, "port %s: cannot query device %s: %s", config->name,
				nic->dev_name, strerror(-ret));
	nic->info.if_index = nic_limit_if_index(&nic->info);
	snprintf(nic->driver_name, sizeof(nic->driver_name), "%s", nic->info.driver_name);
	return 0;
}

/* --- control thread: bringing the device up ---------------------------------------------------------------
 */

static int
nic_check_limits(const struct nic *nic, const struct port_config *config, struct diag *diag)
{
	const struct nic_args *args = config->args;
	const struct rte_eth_dev_info *info = &nic->info;
	uint16_t queues_max = RTE_MIN(info->max_rx_queues, info->max_tx_queues);
	uint16_t mtu_max = info->max_mtu;

	if (config->n_queues > queues_max) {
		diag_set(diag, -ERANGE, NULL, "port %s: device %s has %u queue pair%s, %u asked for",
			 config->name, nic->dev_name, queues_max, queues_max == 1 ? "" : "s",
			 config->n_queues);
		diag_hint(diag, "queues=%u%s", queues_max,
			  args->vdev ? ", or an argument of the device that gives it more" : "");
		return -ERANGE;
	}
	/* Some PMDs report the largest frame only. */
	if (info->max_rx_pktlen > RTE_ETHER_MIN_LEN &&
	    info->max_rx_pktlen < (uint32_t)mtu_max + RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN)
		mtu_max = (uint16_t)(info->max_rx_pktlen - RTE_ETHER_HDR_LEN - RTE_ETHER_CRC_LEN);
	if (config->mtu && (config->mtu < info->min_mtu || config->mtu > mtu_max)) {
		diag_set(diag, -ERANGE, NULL, "port %s: device %s takes an MTU of %u..%u, not %u",
			 config->name, nic->dev_name, info->min_mtu, mtu_max, config->mtu);
		diag_hint(diag, "mtu=%u", config->mtu < info->min_mtu ? info->min_mtu : mtu_max);
		return -ERANGE;
	}
	return 0;
}

static int
nic_configure(struct nic *nic, const struct port_config *config, struct diag *diag)
{
	const struct rte_eth_dev_info *info = &nic->info;
	const struct nic_args *args = config->args;
	struct rte_eth_conf conf = {0};
	uint16_t mtu;
	int ret;

	/* What the device has now, so that configuring it does not quietly make it another. */
	if (rte_eth_dev_get_mtu(nic->eth_id, &mtu) == 0 && mtu >= info->min_mtu && mtu <= info->max_mtu)
		conf.rxmode.mtu = mtu;
	conf.rxmode.offloads = info->rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER;
	conf.txmode.offloads = info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	nic_offload_configure(&nic->offload, info, (uint32_t)args->without, &conf);
	ret = nic_lro_configure(&nic->lro, info, args->lro, nic->offload.gives_partial, &conf);
	if (ret < 0)
		return diag_set(diag, ret, "leave lro= out, or gro=on, which joins segments in software",
				"port %s: device %s (driver %s) does not join TCP segments", config->name,
				nic->dev_name, info->driver_name);
	nic_events_configure(&nic->events, info,
			     args->link_polling ? NIC_EVENTS_LINK_POLLED : NIC_EVENTS_LINK_REPORTED, &conf);
	nic->gro = args->gro;
	nic->rx_offloads = conf.rxmode.offloads;
	nic->tx_offloads = conf.txmode.offloads;
	nic_hash_configure(&nic->hash, info, config->n_queues, &conf);
	nic->configured = true;
	ret = rte_eth_dev_configure(nic->eth_id, config->n_queues, config->n_queues, &conf);
	if (ret < 0)
		return diag_set(diag, ret, NULL,
				"port %s: device %s can't be configured with %u queue pairs: %s",
				config->name, nic->dev_name, config->n_queues, strerror(-ret));
	nic->segs_max = 1;
	if (conf.txmode.offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS)
		nic->segs_max =
			info->tx_desc_lim.nb_mtu_seg_max ? info->tx_desc_lim.nb_mtu_seg_max : UINT16_MAX;
	if (config->mtu) {
		ret = rte_eth_dev_set_mtu(nic->eth_id, config->mtu);
		if (ret < 0)
			return diag_set(diag, ret, "leave mtu= out to keep the device's own",
					"port %s: device %s refuses an MTU of %u: %s", config->name,
					nic->dev_name, config->mtu, strerror(-ret));
	}
	if (rte_eth_dev_get_mtu(nic->eth_id, &mtu) == 0)
		nic_lro_set_mtu(&nic->lro, mtu);
	return 0;
}

/* Bytes of a buffer: the usual, or a whole frame where the device can't spread one over several. */
static uint32_t
nic_room(const struct nic *nic)
{
	bool scatter = nic->info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER;
	uint32_t room = RTE_MBUF_DEFAULT_DATAROOM;
	uint16_t mtu;

	if ((!scatter || nic->segs_max == 1) && rte_eth_dev_get_mtu(nic->eth_id, &mtu) == 0)
		room = RTE_MAX(room, (uint32_t)mtu + RTE_ETHER_HDR_LEN + NIC_VLAN_ROOM);
	return RTE_MIN(RTE_ALIGN_CEIL(room, RTE_CACHE_LINE_SIZE),
		       (uint32_t)UINT16_MAX - RTE_PKTMBUF_HEADROOM);
}

static int
nic_setup_queues(struct nic *nic, const struct port_config *config, uint32_t room, struct diag *diag)
{
	int socket = rte_eth_dev_socket_id(nic->eth_id);
	unsigned int socket_id = socket < 0 ? (unsigned int)SOCKET_ID_ANY : (unsigned int)socket;
	struct rte_eth_rxconf rx_conf = nic->info.default_rxconf;
	struct rte_eth_txconf tx_conf = nic->info.default_txconf;
	uint16_t rx_desc = NIC_DESC, tx_desc = NIC_DESC;
	unsigned int n_mbufs;
	int ret;

	ret = rte_eth_dev_adjust_nb_rx_tx_desc(nic->eth_id, &rx_desc, &tx_desc);
	if (ret < 0)
		return diag_set(diag, ret, NULL, "port %s: device %s gives no ring size: %s", config->name,
				nic->dev_name, strerror(-ret));
	n_mbufs = config->n_queues * ((unsigned int)rx_desc + tx_desc) +
		  RTE_MAX(port_env.n_workers, 1u) * (NIC_POOL_CACHE_FULL + 4 * PORT_BURST);
	nic->pool = pools_create(nic->ctx, config->name, n_mbufs, NIC_POOL_CACHE,
				 (uint16_t)(room + RTE_PKTMBUF_HEADROOM), (int)socket_id);
	if (!nic->pool)
		return diag_set(diag, -rte_errno, "give more memory (-m), or fewer queues",
				"port %s: no memory for %u packet buffers of %u bytes: %s", config->name,
				n_mbufs, room, rte_strerror(rte_errno));
	if (nic->segs_max == 1 && !nic->big_pool) {
		nic->big_pool = pools_create(nic->ctx, config->name, NIC_BIG_BUFFERS, 0,
					     NIC_ROOM_BIG + RTE_PKTMBUF_HEADROOM, (int)socket_id);
		if (!nic->big_pool)
			return diag_set(diag, -rte_errno, "give more memory (-m)",
					"port %s: no memory for %d packet buffers of %d bytes: %s",
					config->name, NIC_BIG_BUFFERS, NIC_ROOM_BIG, rte_strerror(rte_errno));
	}
	rx_conf.offloads = nic->rx_offloads & nic->info.rx_queue_offload_capa;
	tx_conf.offloads = nic->tx_offloads & nic->info.tx_queue_offload_capa;
	for (uint16_t q = 0; q < config->n_queues; q++) {
		ret = rte_eth_rx_queue_setup(nic->eth_id, q, rx_desc, socket_id, &rx_conf, nic->pool);
		if (ret < 0)
			return diag_set(diag, ret, NULL, "port %s: device %s: receive queue %u: %s",
					config->name, nic->dev_name, q, strerror(-ret));
		ret = rte_eth_tx_queue_setup(nic->eth_id, q, tx_desc, socket_id, &tx_conf);
		if (ret < 0)
			return diag_set(diag, ret, NULL, "port %s: device %s: transmit queue %u: %s",
					config->name, nic->dev_name, q, strerror(-ret));
	}
	return 0;
}

/* Buffers of the usual size first; some PMDs refuse those that hold less than a frame of their own ring.
 */
static int
nic_setup(struct nic *nic, const struct port_config *config, struct diag *diag)
{
	uint32_t room = nic_room(nic);
	int ret = nic_setup_queues(nic, config, room, diag);
	struct rte_mempool *small = nic->pool;

	if (ret == 0 || !small || room >= NIC_ROOM_BIG)
		return ret;
	nic->pool = NULL;
	ret = nic_setup_queues(nic, config, NIC_ROOM_BIG, diag);
	/* Only now, or after the device is closed: queues set up before know it. */
	if (ret == 0)
		pools_release(nic->ctx, small);
	else
		nic->pool_refused = small;
	return ret;
}

static void nic_on_events(void *arg, unsigned int events);

/* The device is configured: what it reports from now on, and what becomes of its registers, is looked after.
 */
static int
nic_listen(struct nic *nic, const struct port_config *config, struct diag *diag)
{
	int ret = nic_events_open(&nic->events, nic->ctx->loop, nic->eth_id, &nic->info, nic_on_events, nic);

	if (ret < 0)
		return diag_set(diag, ret, NULL, "port %s: device %s: no events: %s", config->name,
				nic->dev_name, strerror(-ret));
	if (nic->info.device && strcmp(rte_bus_name(rte_dev_bus(nic->info.device)), "pci") == 0)
		nic_pci_open(&nic->pci, rte_dev_name(nic->info.device));
	return 0;
}

static int
nic_set_mac(struct nic *nic, struct port *port, const struct port_config *config, struct diag *diag)
{
	struct rte_ether_addr mac;
	int ret;

	if (config->has_mac) {
		mac = config->mac;
		ret = rte_eth_dev_default_mac_addr_set(nic->eth_id, &mac);
		if (ret < 0)
			return diag_set(diag, ret, "leave mac= out to keep the device's own",
					"port %s: device %s refuses the address: %s", config->name,
					nic->dev_name, strerror(-ret));
	}
	ret = rte_eth_macaddr_get(nic->eth_id, &port->mac);
	if (ret < 0)
		return diag_set(diag, ret, NULL, "port %s: device %s has no address: %s", config->name,
				nic->dev_name, strerror(-ret));
	/* PMDs without a physical link may have none. */
	if (!rte_is_valid_assigned_ether_addr(&port->mac))
		port_mac_from_name(&port->mac, port->name);
	return 0;
}

static int
nic_start(struct nic *nic, const struct port_config *config, struct diag *diag)
{
	const struct nic_args *args = config->args;
	int ret;

	/* Counters are the port's, not those of whoever had the device before. Some PMDs can't reset them. */
	rte_eth_stats_reset(nic->eth_id);
	ret = rte_eth_dev_start(nic->eth_id);
	if (ret < 0)
		return diag_set(diag, ret, NULL, "port %s: device %s can't be started: %s", config->name,
				nic->dev_name, strerror(-ret));
	ret = nic_flow_set(nic->eth_id, args->flow_control);
	if (ret == -ENOTSUP)
		return diag_set(diag, ret, "leave flow-control= out",
				"port %s: device %s (driver %s) has no flow control that can be set",
				config->name, nic->dev_name, nic->info.driver_name);
	if (ret < 0)
		return diag_set(diag, ret, "leave flow-control= out to keep the device's own",
				"port %s: device %s refuses flow-control=%s: %s", config->name, nic->dev_name,
				nic_flow_words[args->flow_control], strerror(-ret));
	nic_hash_open(&nic->hash, nic->eth_id);
	ret = rte_eth_promiscuous_enable(nic->eth_id);
	if (ret < 0)
		log_warn(&nic->ctx->log,
			 "port %s: device %s refuses promiscuous mode (%s): frames for other addresses may "
			 "not arrive",
			 config->name, nic->dev_name, strerror(-ret));
	return 0;
}

static int
nic_make_queues(struct nic *nic, struct port *port, const struct port_config *config, struct diag *diag)
{
	if (port_queues_alloc(port, config->n_queues) < 0)
		return port_no_memory(config->name, diag);
	for (uint16_t q = 0; q < config->n_queues; q++) {
		port->rxqs[q].rx = nic_rx;
		port->rxqs[q].dev = nic;
		port->txqs[q].tx = nic_tx;
		port->txqs[q].dev = nic;
	}
	atomic_store_explicit(&port->n_active, config->n_queues, memory_order_relaxed);
	if (strcmp(nic->driver_name, "net_bonding") == 0) {
		nic->service_period = ticks_from_us(NIC_SERVICE_US, rte_get_tsc_hz());
		port->txqs[0].service = nic_tx_service;
	}
	return 0;
}

static void
nic_describe(const struct nic *nic, struct port *port, const struct port_config *config)
{
	const struct nic_args *args = config->args;
	char link_text[64] = "link up", flow_text[32] = "";
	struct port_link link;

	nic_limit_link(&nic->limit, &link);
	if (atomic_load_explicit(&nic->is_lost, memory_order_relaxed))
		snprintf(link_text, sizeof(link_text), "lost");
	else if (!link.up)
		snprintf(link_text, sizeof(link_text), "link down");
	else if (link.speed > 0)
		snprintf(link_text, sizeof(link_text), "link up at %d Mbit/s", link.speed);
	if (args->flow_control != NIC_FLOW_DEVICE)
		snprintf(flow_text, sizeof(flow_text), ", flow control %s",
			 nic_flow_words[args->flow_control]);
	snprintf(port->describe, sizeof(port->describe), "nic %s (driver %s), %u queue pair%s, %s%s",
		 nic->dev_name, nic->driver_name, port->n_queues, port->n_queues == 1 ? "" : "s", link_text,
		 flow_text);
}

/* What can be sent and received whole; the device has been started. */
static int
nic_watch(struct nic *nic, const struct port *port, const struct port_config *config, struct diag *diag)
{
	int ret = nic_limit_open(&nic->limit, port, nic->eth_id, &nic->info, config->mtu);

	nic->rx_span = nic->limit.whole_max - RTE_ETHER_HDR_LEN;
	return ret < 0 ? port_no_memory(config->name, diag) : 0;
}

/* --- control thread: a device that comes and goes --------------------------------------------------------
 */

static void nic_lose(struct nic *nic);

/* What its interrupts, its bus or the kernel report. */
static void
nic_on_events(void *arg, unsigned int events)
{
	struct nic *nic = arg;

	if (events & NIC_EVENT_GOES) {
		nic_lose(nic);
		return;
	}
	nic_limit_update(&nic->limit);
	uplink_port_changed(nic->port);
}

/* Everything up to a device that runs. On failure nic_bring_down() is due. */
static int
nic_bring_up(struct nic *nic, struct port *port, const struct port_config *config, struct diag *diag)
{
	int ret = nic_find(nic, config, diag);

	if (ret == 0)
		ret = nic_check_limits(nic, config, diag);
	if (ret == 0)
		ret = nic_configure(nic, config, diag);
	if (ret == 0)
		ret = nic_setup(nic, config, diag);
	if (ret == 0)
		ret = nic_listen(nic, config, diag);
	if (ret == 0)
		ret = nic_set_mac(nic, port, config, diag);
	if (ret == 0)
		ret = nic_start(nic, config, diag);
	if (ret == 0)
		ret = nic_watch(nic, port, config, diag);
	return ret;
}

enum nic_device_fate { NIC_DEVICE_STAYS, NIC_DEVICE_GOES };

/* No worker uses the device. Fine at any stage of bringing it up. The mempools stay. */
static void
nic_bring_down(struct nic *nic, enum nic_device_fate fate)
{
	nic_events_close(&nic->events);
	if (!nic->configured)
		return;
	nic->configured = false;
	if (fate == NIC_DEVICE_GOES)
		nic->dropped = nic_device_drop(nic->ctx->loop, nic->eth_id, nic->dev_name, nic->info.device,
					       &nic->pci);
	else if (!nic->plugged)
		nic_device_close(nic->eth_id, nic->dev_name, nic->info.device);
	else {
		rte_eth_dev_stop(nic->eth_id);
		rte_eth_dev_close(nic->eth_id);
	}
}

static void
nic_release_pools(struct nic *nic)
{
	/* Frames of theirs may wait in another device, or copies refer to them. */
	pools_release(nic->ctx, nic->pool);
	pools_release(nic->ctx, nic->pool_refused);
	pools_release(nic->ctx, nic->big_pool);
	nic->pool = nic->pool_refused = nic->big_pool = NULL;
}

/* Registers that are gone read as all ones, which are no counts. */
static void
nic_read_stats(struct nic *nic)
{
	struct rte_eth_stats stats;

	if (!nic->configured || rte_eth_stats_get(nic->eth_id, &stats) < 0 || nic_pci_is_gone(&nic->pci))
		return;
	nic->seen_stats = (struct port_device_stats){
		.imissed = stats.imissed,
		.ierrors = stats.ierrors,
		.oerrors = stats.oerrors,
		.rx_nombuf = stats.rx_nombuf,
	};
}

/* Of this device and of those before it. */
static struct port_device_stats
nic_all_stats(const struct nic *nic)
{
	struct port_device_stats all = nic->seen_stats;

	all.imissed += nic->lost_stats.imissed;
	all.ierrors += nic->lost_stats.ierrors;
	all.oerrors += nic->lost_stats.oerrors;
	all.rx_nombuf += nic->lost_stats.rx_nombuf;
	return all;
}

/* Is the worker in a call of this port's PMD? */
static bool
nic_is_in_use(const void *arg, unsigned int worker)
{
	const struct nic *nic = arg;
	const struct port_place *place = quiesce_where(&nic->ctx->quiesce, worker);

	return place && place->port == nic->port;
}

/* The card is gone, or has to be let go: the port stays, with its counters, until it is removed. */
static void
nic_lose(struct nic *nic)
{
	if (atomic_load_explicit(&nic->is_lost, memory_order_relaxed))
		return;
	uplink_port_closing(nic->port);
	nic_limit_lose(&nic->limit);
	atomic_store_explicit(&nic->is_lost, true, memory_order_release);
	quiesce_wait_held(&nic->ctx->quiesce, nic_is_in_use, nic);
	nic->lost_stats = nic_all_stats(nic);
	nic->seen_stats = (struct port_device_stats){0};
	nic_bring_down(nic, NIC_DEVICE_GOES);
	nic->tried[0] = '\0';
	nic_describe(nic, nic->port, nic->port->config);
	log_warn(&nic->ctx->log, "port %s: device %s was unplugged: no link until it is back",
		 nic->port->name, nic->dev_name);
}

static void
nic_find_again(struct nic *nic)
{
	struct port *port = nic->port;
	char driver[NIC_PCI_DRIVER_SIZE];
	struct diag diag = {0};
	int ret;

	if (nic->dropped && !nic_device_is_dropped(nic->dropped))
		return;
	nic_pci_driver(nic->pci.address, driver);
	if (strcmp(driver, nic->tried) != 0)
		nic->n_tries = 0;
	snprintf(nic->tried, sizeof(nic->tried), "%s", driver);
	if (!driver[0] || nic->n_tries == NIC_TRIES || loop_now_ms() < nic->next_try_ms)
		return;
	nic->n_tries++;
	nic->next_try_ms = loop_now_ms() + NIC_TRY_MS;
	nic->dropped = NULL;
	nic_pci_close(&nic->pci);
	nic_limit_close(&nic->limit);
	nic_release_pools(nic);
	ret = nic_bring_up(nic, port, port->config, &diag);
	if (ret < 0) {
		log_warn(&nic->ctx->log, "port %s: device %s is there again, but: %s", port->name,
			 nic->dev_name, diag.cause);
		nic_bring_down(nic, NIC_DEVICE_GOES);
		return;
	}
	/* Release: who sees the device sees all of it. */
	atomic_store_explicit(&nic->is_lost, false, memory_order_release);
	nic_describe(nic, port, port->config);
	log_info(&nic->ctx->log, "port %s: device %s is back", port->name, nic->dev_name);
	uplink_port_opened(port);
}

static void
nic_look_for_it(void *arg)
{
	struct nic *nic = arg;

	if (atomic_load_explicit(&nic->is_lost, memory_order_relaxed))
		nic_find_again(nic);
	else if (nic_pci_is_gone(&nic->pci))
		nic_lose(nic);
	else if (++nic->n_looks % NIC_STATS_LOOKS == 0)
		nic_read_stats(nic);
}

/* Undo everything; fine at any stage of opening. */
static void
nic_free(struct nic *nic)
{
	loop_timer_remove(nic->presence);
	nic_limit_close(&nic->limit);
	nic_bring_down(nic, NIC_DEVICE_STAYS);
	nic_pci_close(&nic->pci);
	if (nic->plugged && rte_eal_hotplug_remove("vdev", nic->vdev_name) < 0)
		log_warn(&nic->ctx->log, "device %s: could not be removed", nic->vdev_name);
	nic_borrow_close(&nic->borrow);
	nic_release_pools(nic);
	free(nic);
}

/* Cards are unplugged and plugged. */
static int
nic_watch_presence(struct nic *nic)
{
	if (!nic->pci.address[0] || !nic->ctx->loop)
		return 0;
	nic->presence =
		loop_timer_add(nic->ctx->loop, NIC_PRESENCE_MS, NIC_PRESENCE_MS, nic_look_for_it, nic);
	return nic->presence ? 0 : -ENOMEM;
}

static int
nic_open(struct port *port, const struct port_config *config, struct diag *diag)
{
	struct nic *nic = calloc(1, sizeof(*nic));
	int ret;

	if (!nic)
		return port_no_memory(config->name, diag);
	nic->ctx = port->ctx;
	nic->port = port;
	ret = nic_bring_up(nic, port, config, diag);
	if (ret == 0)
		ret = nic_make_queues(nic, port, config, diag);
	if (ret == 0 && nic_watch_presence(nic) < 0)
		ret = diag_set(diag, -ENOMEM, NULL, "port %s: no memory", config->name);
	if (ret < 0) {
		nic_free(nic);
		return ret;
	}
	port->dev = nic;
	nic_describe(nic, port, config);
	nic_borrow_open(&nic->borrow, port, &nic->info, nic->segs_max);
	uplink_port_opened(port);
	return 0;
}

static void
nic_close(struct port *port)
{
	uplink_port_closing(port);
	nic_free(port->dev);
	port_queues_free(port);
}

static void
nic_link(const struct port *port, struct port_link *ret_link)
{
	const struct nic *nic = port->dev;

	nic_limit_link(&nic->limit, ret_link);
}

static uint32_t
nic_capabilities(const struct port *port)
{
	const struct nic *nic = port->dev;

	return nic->offload.capabilities;
}

static bool
nic_counters(const struct port *port, enum counter_class class, uint64_t ret_values[])
{
	struct nic *nic = port->dev;
	struct port_device_stats device;

	if (class != COUNTERS_DEVICE)
		return false;
	nic_read_stats(nic);
	device = nic_all_stats(nic);
	memcpy(ret_values, &device, sizeof(device));
	return true;
}

static int
nic_set_hash(struct port *port, const struct hash_params *hash)
{
	const struct nic *nic = port->dev;

	if (atomic_load_explicit(&nic->is_lost, memory_order_relaxed))
		return -ENODEV;
	return nic_hash_set(&nic->hash, nic->eth_id, hash);
}

static int
nic_check(struct port_config *config, struct diag *diag)
{
	const struct nic_args *args = config->args;
	const char *dev = args->dev, *vdev = args->vdev;
	size_t len = dev ? strlen(dev) : vdev ? strcspn(vdev, ";") : 0;

	if (!dev && !vdev)
		return diag_set(diag, -EINVAL, "dev=DEVICE, for example dev=net_af_packet0",
				"port %s: kind nic needs a device", config->name);
	if (args->vdev_args.n && !vdev) {
		const struct key_arg *arg = &args->vdev_args.args[0];

		diag_set(diag, -EINVAL, NULL, "port %s: vdev.%s is an argument of no device", config->name,
			 arg->name);
		diag_hint(diag, "vdev=DRIVER,vdev.%s=%s", arg->name, arg->value);
		return -EINVAL;
	}
	if (len == 0)
		return diag_set(diag, -EINVAL,
				"vdev=DRIVER[,vdev.KEY=VALUE]..., for example "
				"vdev=net_af_packet0,vdev.iface=eth0",
				"port %s: vdev: '%s' names no driver", config->name, vdev);
	if (len >= RTE_ETH_NAME_MAX_LEN || (vdev && strcspn(vdev, ";") >= RTE_ETH_NAME_MAX_LEN)) {
		diag_set(diag, -EINVAL, NULL, "port %s: the name of the device is too long", config->name);
		diag_hint(diag, "at most %d characters", RTE_ETH_NAME_MAX_LEN - 1);
		return -EINVAL;
	}
	if (vdev) {
		char vdev_args[NIC_VDEV_ARGS_SIZE];

		if (nic_vdev_args(args, vdev_args, sizeof(vdev_args)) >= sizeof(vdev_args)) {
			diag_set(diag, -EINVAL, NULL, "port %s: the device's arguments are too long",
				 config->name);
			diag_hint(diag, "at most %d characters", NIC_VDEV_ARGS_SIZE - 1);
			return -EINVAL;
		}
	}
	snprintf(config->resource, sizeof(config->resource), "device %.*s", (int)len, dev ? dev : vdev);
	return 0;
}

static void
nic_demand(const struct port_config *config, struct port_demand *ret_demand)
{
	const struct nic_args *args = config->args;

	/* Frames of guests, in its transmit rings. */
	ret_demand->n_mbufs = config->n_queues * NIC_DESC;
	/* Receive pools, for rings of DPDK's usual size. */
	ret_demand->own_bytes = config->n_queues * NIC_PAIR_BYTES;
	if (args->dev && nic_pci_is_address(args->dev))
		ret_demand->pci_device = args->dev;
}

static struct port_kind nic_kind = {
	.name = "nic",
	.help = "a DPDK ethdev: a physical NIC, or net_af_packet, net_tap, net_pcap, net_null and so on",
	.example = "nic,dev=net_af_packet0",
	.keys = nic_keys,
	.args_size = sizeof(struct nic_args),
	.check = nic_check,
	.demand = nic_demand,
	.open = nic_open,
	.close = nic_close,
	.link = nic_link,
	.counters = nic_counters,
	.capabilities = nic_capabilities,
	.set_hash = nic_set_hash,
	.finish = nic_device_settle,
	.is_uplink = true,
};
PORT_KIND_REGISTER(nic_kind)
