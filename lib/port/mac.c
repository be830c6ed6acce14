/* SPDX-License-Identifier: BSD-3-Clause */
/* mac: the address that a port gets when none is configured. */
#include "port.h"

#include <string.h>

#include <rte_jhash.h>

void
port_mac_from_name(struct rte_ether_addr *mac, const char *name)
{
	/* A whole, zeroed field: the hash reads words, and the result depends on the name alone. */
	char field[PORT_NAME_SIZE] __rte_aligned(4) = "";
	uint32_t low = 0x766e6963, high = 0x706f7274;
	size_t len = strnlen(name, sizeof(field) - 1);

	memcpy(field, name, len);
	rte_jhash_2hashes(field, sizeof(field), &low, &high);
	for (unsigned int i = 0; i < 4; i++)
		mac->addr_bytes[5 - i] = (uint8_t)(low >> (8 * i));
	mac->addr_bytes[1] = (uint8_t)high;
	mac->addr_bytes[0] = (uint8_t)(high >> 8);
	mac->addr_bytes[0] &= (uint8_t)~RTE_ETHER_GROUP_ADDR;
	mac->addr_bytes[0] |= RTE_ETHER_LOCAL_ADMIN_ADDR;
}

void
port_mac_from_config(struct port *port, const struct port_config *config)
{
	if (config->has_mac)
		port->mac = config->mac;
	else
		port_mac_from_name(&port->mac, port->name);
}
