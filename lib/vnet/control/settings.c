/* SPDX-License-Identifier: BSD-3-Clause */
/* settings: their values after a reset, and what else is cleared when another driver starts. */
#include "settings.h"

#include <string.h>

#include "vnet_dev.h"

/*
 * Promiscuous and no VLAN, as QEMU does, to which drivers are used: Linux's sets its modes when the interface
 * is brought up.
 */
void
vnet_settings_reset(const struct vnet_dev *dev, struct vnet_settings *settings)
{
	memset(settings, 0, sizeof(*settings));
	settings->features = dev->vdev.said.features;
	settings->filter.mac = dev->mac;
	settings->filter.promisc = true;
	settings->n_pairs = 1;
	/* All, whatever the driver will negotiate: its features may come later. */
	settings->offloads = VNET_GUEST_OFFLOADS;
}

void
vnet_input_forget_mtu(const struct vnet_dev *dev, struct vnet_input *input)
{
	input->mtu = dev->offered_mtu;
	input->mtu_used = false;
}

void
vnet_input_reset(const struct vnet_dev *dev, struct vnet_input *input)
{
	/* QEMU sends NET_SET_MTU for the next driver before the features. */
	if (input->mtu_used)
		vnet_input_forget_mtu(dev, input);
	input->n_filled = 1;
	input->driver++;
	vnet_settings_reset(dev, &input->settings);
}
