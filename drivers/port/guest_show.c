/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest_show.h"

#include <stdio.h>
#include <string.h>

#include "show.h"
#include "vnet_dev.h"

struct name {
	uint64_t bit;
	const char *name;
};

static const struct name feature_names[] = {
#define FEATURE(bit, symbol, name) {FEATURE_MASK(symbol), name},
#include "features.def"
#undef FEATURE
};

static const struct name status_names[] = {
	{VDEV_STATUS_ACKNOWLEDGE, "acknowledge"}, {VDEV_STATUS_DRIVER, "driver"},
	{VDEV_STATUS_FEATURES_OK, "features_ok"}, {VDEV_STATUS_DRIVER_OK, "driver_ok"},
	{VDEV_STATUS_NEEDS_RESET, "needs_reset"}, {VDEV_STATUS_FAILED, "failed"},
};

static const struct name hash_names[] = {
	{HASH_TYPE_IPV4, "ipv4"},   {HASH_TYPE_TCPV4, "tcpv4"},   {HASH_TYPE_UDPV4, "udpv4"},
	{HASH_TYPE_IPV6, "ipv6"},   {HASH_TYPE_TCPV6, "tcpv6"},   {HASH_TYPE_UDPV6, "udpv6"},
	{HASH_TYPE_IP_EX, "ip_ex"}, {HASH_TYPE_TCP_EX, "tcp_ex"}, {HASH_TYPE_UDP_EX, "udp_ex"},
};

/* The names of the bits that are set, as a list. */
static void
show_bits(const struct show *show, const char *key, uint64_t bits, const struct name names[], size_t n_names)
{
	show->open(show->arg, key, SHOW_LIST);
	for (size_t i = 0; i < n_names; i++)
		if (bits & names[i].bit)
			show->text(show->arg, NULL, names[i].name);
	show->close(show->arg);
}

static void
show_mac(const struct show *show, const char *key, const struct rte_ether_addr *mac)
{
	char text[RTE_ETHER_ADDR_FMT_SIZE];

	rte_ether_format_addr(text, sizeof(text), mac);
	show->text(show->arg, key, text);
}

static void
show_macs(const struct show *show, const char *key, const struct filter_macs *macs)
{
	show->open(show->arg, key, SHOW_OBJECT);
	show->flag(show->arg, "overflow", macs->overflow);
	show->open(show->arg, "addresses", SHOW_LIST);
	for (uint16_t i = 0; i < macs->n; i++)
		show_mac(show, NULL, &macs->addrs[i]);
	show->close(show->arg);
	show->close(show->arg);
}

/* Modes as the driver set them; `active`: some frame may be kept out by them. */
static void
show_filter(const struct vnet_dev *dev, const struct show *show)
{
	const struct vnet_settings *settings = &dev->input.settings;

	show->open(show->arg, "filter", SHOW_OBJECT);
	show->flag(show->arg, "active", dev->output.filter != NULL);
	show->flag(show->arg, "promisc", settings->filter.promisc);
	show->flag(show->arg, "allmulti", settings->filter.allmulti);
	show->flag(show->arg, "alluni", settings->filter.alluni);
	show->flag(show->arg, "nomulti", settings->filter.nomulti);
	show->flag(show->arg, "nouni", settings->filter.nouni);
	show->flag(show->arg, "nobcast", settings->filter.nobcast);
	show_macs(show, "unicast", &settings->filter.unicast);
	show_macs(show, "multicast", &settings->filter.multicast);
	if (dev->vdev.said.features & FEATURE_MASK(NET_CTRL_VLAN)) {
		show->open(show->arg, "vlans", SHOW_LIST);
		for (unsigned int vlan = 0; vlan < FILTER_VLANS; vlan++)
			if (settings->filter.vlans[vlan / 64] >> vlan % 64 & 1)
				show->number(show->arg, NULL, vlan);
		show->close(show->arg);
	} else {
		show->none(show->arg, "vlans");
	}
	show->close(show->arg);
}

static void
show_rss(const struct vnet_settings *settings, const struct show *show)
{
	char key[2 * STEER_RSS_KEY_LEN + 1] = "";

	for (unsigned int i = 0; i < settings->steer.hash.key_len && i < STEER_RSS_KEY_LEN; i++)
		snprintf(key + 2 * i, 3, "%02x", settings->steer.hash.key[i]);
	show->open(show->arg, "rss", SHOW_OBJECT);
	show->flag(show->arg, "enabled", settings->steer.rss.enabled);
	show_bits(show, "types", settings->steer.hash.types, hash_names, RTE_DIM(hash_names));
	show->text(show->arg, "key", key);
	show->number(show->arg, "unclassified", settings->steer.rss.unclassified_queue);
	show->open(show->arg, "table", SHOW_LIST);
	for (unsigned int i = 0; i < settings->steer.rss.table_len && i < STEER_RSS_TABLE_MAX; i++)
		show->number(show->arg, NULL, settings->steer.rss.table[i]);
	show->close(show->arg);
	show->close(show->arg);
}

static void
show_coal(const struct show *show, const char *key, const struct settings_coal *coal)
{
	show->open(show->arg, key, SHOW_OBJECT);
	show->number(show->arg, "max_usecs", coal->max_usecs);
	show->number(show->arg, "max_packets", coal->max_packets);
	show->close(show->arg);
}

/* Of each virtqueue of the pairs, by number. */
static void
show_coalescing(const struct vnet_dev *dev, const struct show *show)
{
	show->open(show->arg, "coalescing", SHOW_OBJECT);
	for (unsigned int i = 0; i < 2u * dev->n_pairs; i++) {
		char key[16];

		snprintf(key, sizeof(key), "%s%u", i % 2 ? "transmitq" : "receiveq", i / 2 + 1);
		show_coal(show, key, &dev->input.settings.coal[i]);
	}
	show->close(show->arg);
}

static const char *
controlq_server(const struct vnet_dev *dev)
{
	if (vnet_controlq_idx(dev) < 0)
		return "nobody: not negotiated";
	if (!vnet_serves_controlq(dev))
		return "front-end";
	if (dev->controlq.watch)
		return "vnicd, by kick";
	return dev->controlq.timer ? "vnicd, by timer" : "vnicd, polled by a service core";
}

static void
show_controlq(const struct vnet_dev *dev, const struct show *show)
{
	const struct counter_class_info *class = &counter_classes[COUNTERS_CONTROLQ];
	const uint64_t *values = (const uint64_t *)&dev->controlq.stats;

	show->open(show->arg, "controlq", SHOW_OBJECT);
	show->text(show->arg, "served_by", controlq_server(dev));
	for (unsigned int i = 0; i < class->n; i++)
		show->number(show->arg, class->rows[i].name, (int64_t)values[i]);
	show->close(show->arg);
}

void
guest_show_speed(const struct show *show, int speed, int duplex)
{
	if (speed >= 0)
		show->number(show->arg, "speed", speed);
	else
		show->none(show->arg, "speed");
	if (duplex == PORT_DUPLEX_HALF || duplex == PORT_DUPLEX_FULL)
		show->text(show->arg, "duplex", duplex == PORT_DUPLEX_FULL ? "full" : "half");
	else
		show->none(show->arg, "duplex");
}

/* Pairs that the driver uses: what it has said, or, where that goes to the front-end, those that are ready
 * and have had buffers. */
static unsigned int
pairs_in_use(const struct vnet_dev *dev)
{
	unsigned int n = 0;

	if (vnet_serves_controlq(dev))
		return dev->input.settings.n_pairs;
	for (unsigned int i = 0; i < dev->input.n_filled; i++)
		n += vdev_queue_is_active(&dev->vdev, 2 * i);
	return n;
}

void
guest_show_device(const struct vnet_dev *dev, const struct show *show)
{
	const struct vnet_settings *settings = &dev->input.settings;

	if (dev->vdev.said.status_used)
		show_bits(show, "status", dev->vdev.said.status, status_names, RTE_DIM(status_names));
	else
		show->none(show->arg, "status"); /* the front-end does not tell */
	show_bits(show, "offered", vnet_features(&dev->vdev), feature_names, RTE_DIM(feature_names));
	show_bits(show, "features", dev->vdev.said.features, feature_names, RTE_DIM(feature_names));
	show_mac(show, "mac", &settings->filter.mac);
	if (dev->input.mtu)
		show->number(show->arg, "mtu", dev->input.mtu);
	else
		show->none(show->arg, "mtu");
	show->number(show->arg, "pairs", pairs_in_use(dev));
	show->number(show->arg, "pairs_max", dev->n_pairs);
	/* Of each virtqueue; 0: its driver has not said. */
	show->open(show->arg, "ring_sizes", SHOW_LIST);
	for (unsigned int i = 0; i < dev->vdev.n_queues; i++)
		show->number(show->arg, NULL, dev->vdev.queues[i].said.size);
	show->close(show->arg);
	show->flag(show->arg, "announcing", settings->announce);
	show_bits(show, "offloads", settings->offloads & dev->vdev.said.features, feature_names,
		  RTE_DIM(feature_names));
	show_filter(dev, show);
	show_rss(settings, show);
	show_coalescing(dev, show);
	show_controlq(dev, show);
}
