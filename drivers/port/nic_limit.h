/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nic_limit: which frames an ethdev accepts now, and which of those that it delivers are complete.
 *
 * PMDs that hand frames to a kernel report as sent what the kernel then drops: frames that are longer than
 * the interface's MTU, or all of them without a carrier. So the port checks this itself, and counts them.
 * MTU and carrier change while frames flow; they are updated when the kernel reports a change, and ten times
 * a second.
 */
#ifndef VNICD_NIC_LIMIT_H
#define VNICD_NIC_LIMIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "log.h"
#include "nic_kernel.h"

struct loop_timer;
struct nic_limit_driver;
struct port;
struct port_device_stats;
struct port_link;

struct nic_limit {
	/* Written by the control thread, read by workers (relaxed). Bytes; all 0 while the link is down. */
	_Atomic uint32_t frame_max;  /* of any frame */
	_Atomic uint32_t tagged_max; /* of a frame with an 802.1Q tag, which may be longer for some devices */

	/* read by workers */
	uint32_t whole_max; /* a frame from the device that is longer may have been truncated */

	/* control only */
	const struct nic_limit_driver *driver; /* the PMD's row; NULL: not listed, the hardware limits */
	const struct port *port;
	uint16_t eth_id;
	uint16_t mtu;  /* mtu= of the port; 0: not given */
	uint32_t slot; /* bytes of one slot in the PMD's ring; 0: it has no such ring */
	bool is_up;
	bool is_lost;     /* the device is gone */
	uint32_t longest; /* as last logged */
	struct nic_kernel kernel;
	int tap_fd;                               /* -1: it is no tap */
	struct nic_kernel_lost lost, lost_before; /* as last read, and when it was opened */
	struct loop_timer *timer;
	struct log_limit log;
};

/* The kernel's interface behind the device, from its arguments where the PMD does not report it; 0: none. */
unsigned int nic_limit_if_index(const struct rte_eth_dev_info *info);

/*
 * After the device of a port was started; `mtu` is the port's mtu=, 0: none. Logs a warning for each setting
 * of the interface that an operator should change. 0 or -ENOMEM.
 */
int nic_limit_open(struct nic_limit *limit, const struct port *port, uint16_t eth_id,
		   const struct rte_eth_dev_info *info, uint16_t mtu);
/* What a kernel's interface takes of a port that is no ethdev. */
enum nic_limit_kind {
	NIC_LIMIT_PACKET_SOCKET, /* through a packet socket: no longer than the MTU, or that and one 802.1Q
				    tag */
	NIC_LIMIT_TAP,           /* as if received by it: any length */
	NIC_LIMIT_MACVTAP,       /* as through a packet socket, but it may move to another namespace */
};
/* The same for such a port; if_index is not 0. tap_fd: a tap's or macvtap's, open as long as the limit is;
 * else -1. */
int nic_limit_open_kernel(struct nic_limit *limit, const struct port *port, unsigned int if_index,
			  enum nic_limit_kind kind, int tap_fd, uint16_t mtu);
/* Control thread, when something has changed: look, publish, log. */
void nic_limit_update(struct nic_limit *limit);
/* The device is gone: there is no link, until the limit is closed and opened again. Logs nothing. */
void nic_limit_lose(struct nic_limit *limit);
/* Accepts one that is all zero. */
void nic_limit_close(struct nic_limit *limit);

/* The link as it is now. Control thread; does not wait. */
void nic_limit_link(const struct nic_limit *limit, struct port_link *ret_link);

/*
 * What the interface of a port that is no ethdev has lost since that was opened, by the kernel's count: what
 * it had no room for where the port takes frames from (imissed; a packet socket counts that itself), and what
 * it was to send, after the port has counted it as sent, or because it was refused (oerrors; what becomes of
 * frames from a tap is the kernel's own). Control thread; does not wait.
 */
void nic_limit_lost(struct nic_limit *limit, struct port_device_stats *stats);

/* Worker, for a frame longer than frame_max, while the link is up: does the device accept it all the same? */
bool nic_limit_accepts(const struct nic_limit *limit, const struct rte_mbuf *pkt);
/* Worker: may this frame from the device have been truncated? */
bool nic_limit_is_cut(const struct nic_limit *limit, const struct rte_mbuf *pkt);

#endif
