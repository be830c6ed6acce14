/* SPDX-License-Identifier: BSD-3-Clause */
/* settings: what is left of them, and of all that is known of a driver, when the next one starts. */
#include "settings.h"

#include <string.h>

#include "vnet_dev.h"

/*
 * Promiscuous and no VLAN, as with QEMU, whose drivers we serve: Linux's sets its modes when the interface is
 * brought up.
 */
void
vnet_settings_reset(const struct vnet_dev *dev, struct vnet_settings *settings)
{
	memset(settings, 0, sizeof(*settings));
	settings->features = dev->vdev.said.features;
	settings->filter.mac = dev->mac;
	settings->filter.promisc = true;
	settings->n_pairs = 1;
	/* All that the driver will have: its features may come later. */
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
	/* QEMU says it before all else when a driver starts, the features included. */
	if (input->mtu_used)
		vnet_input_forget_mtu(dev, input);
	input->n_filled = 1;
	input->driver++;
	vnet_settings_reset(dev, &input->settings);
}
