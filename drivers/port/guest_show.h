/* SPDX-License-Identifier: BSD-3-Clause */
/* guest_show: what a guest's device is and what its driver has made of it, from the device's own state. */
#ifndef VNICD_GUEST_SHOW_H
#define VNICD_GUEST_SHOW_H

struct show;
struct vnet_dev;

/* Control lock. Features, status, settings, and how its control queue is served. */
void guest_show_device(const struct vnet_dev *dev, const struct show *show);
/* "half", "full" or nothing. */
void guest_show_speed(const struct show *show, int speed, int duplex);

#endif
