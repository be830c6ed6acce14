/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flipper: the guest that rewrites its rings while the device reads them.
 *
 *     flipper FD SECONDS OFFSET:WIDTH:VALUE[:VALUE...] ...
 *
 * Maps the file open as FD (guest memory, inherited) and stores the values of each place in turn, as fast as
 * the CPU can, for SECONDS. Prints the number of rounds.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

enum { PLACES_MAX = 128, VALUES_MAX = 8 };

struct place {
	void *at;
	unsigned int width;
	unsigned int n_values;
	uint64_t values[VALUES_MAX];
};

static void
place_store(const struct place *place, uint64_t value)
{
	switch (place->width) {
	case 1:
		*(volatile uint8_t *)place->at = value;
		break;
	case 2:
		*(volatile uint16_t *)place->at = value;
		break;
	case 4:
		*(volatile uint32_t *)place->at = value;
		break;
	default:
		*(volatile uint64_t *)place->at = value;
	}
}

static int
place_parse(struct place *place, char *text, char *memory, uint64_t size)
{
	char *end;
	uint64_t offset = strtoull(text, &end, 0);

	if (*end != ':')
		return -1;
	place->width = strtoul(end + 1, &end, 0);
	while (*end == ':' && place->n_values < VALUES_MAX)
		place->values[place->n_values++] = strtoull(end + 1, &end, 0);
	if (*end || !place->n_values || offset + place->width > size)
		return -1;
	place->at = memory + offset;
	return 0;
}

static double
now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

int
main(int argc, char **argv)
{
	struct place places[PLACES_MAX] = {0};
	unsigned long long rounds = 0;
	int n_places = argc - 3;
	struct stat st;
	double until;
	char *memory;

	if (argc < 4 || n_places > PLACES_MAX || fstat(atoi(argv[1]), &st)) {
		fprintf(stderr, "usage: flipper FD SECONDS OFFSET:WIDTH:VALUE[:VALUE...] ...\n");
		return 2;
	}
	memory = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(argv[1]), 0);
	if (memory == MAP_FAILED) {
		perror("flipper: mmap");
		return 1;
	}
	for (int i = 0; i < n_places; i++) {
		if (place_parse(&places[i], argv[3 + i], memory, st.st_size)) {
			fprintf(stderr, "flipper: bad place %s\n", argv[3 + i]);
			return 2;
		}
	}
	until = now_s() + atof(argv[2]);
	do {
		for (int i = 0; i < 10000; i++, rounds++) {
			for (int k = 0; k < n_places; k++)
				place_store(&places[k], places[k].values[rounds % places[k].n_values]);
		}
	} while (now_s() < until);
	printf("%llu\n", rounds);
	return 0;
}
