/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * udp_once: takes one datagram, of any length, as busybox does not.
 *
 *     udp_once PORT SECONDS
 *
 * Waits for it at PORT of IPv4 for so long, and writes it to standard output.
 */
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
	static char datagram[UINT16_MAX + 1];
	struct sockaddr_in address = {.sin_family = AF_INET};
	ssize_t len;
	int fd;

	if (argc != 3)
		return 2;
	address.sin_port = htons((uint16_t)atoi(argv[1]));
	alarm((unsigned int)atoi(argv[2]));
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		perror("udp_once");
		return 1;
	}
	len = recv(fd, datagram, sizeof(datagram), 0);
	return len < 0 || write(STDOUT_FILENO, datagram, (size_t)len) != len;
}
