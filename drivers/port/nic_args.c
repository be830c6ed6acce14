/* SPDX-License-Identifier: BSD-3-Clause */
#include "nic_args.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <rte_ethdev.h>

#include "diag.h"
#include "nic_flow.h"
#include "nic_lro.h"
#include "port.h"
#include "request.h"

const struct key nic_args_keys[] = {
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

size_t
nic_args_vdev(const struct nic_args *args, char *buf, size_t size)
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

int
nic_args_check(struct port_config *config, struct diag *diag)
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

		if (nic_args_vdev(args, vdev_args, sizeof(vdev_args)) >= sizeof(vdev_args)) {
			diag_set(diag, -EINVAL, NULL, "port %s: the device's arguments are too long",
				 config->name);
			diag_hint(diag, "at most %d characters", NIC_VDEV_ARGS_SIZE - 1);
			return -EINVAL;
		}
	}
	snprintf(config->resource, sizeof(config->resource), "device %.*s", (int)len, dev ? dev : vdev);
	return 0;
}
