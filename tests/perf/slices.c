/* SPDX-License-Identifier: BSD-3-Clause */
/* slices.c: see slices.h. */
#include "slices.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "distance.h"
#include "fail.h"

enum { BRIEF_RALLIES = 21 };
#define BRIEF_WARM_UP_S 0.0005
#define BRIEF_LIMIT_S 0.01

bool
slices_next(struct slice_order *ret_order)
{
	char line[128], word[8] = "";
	struct slice_order order = {0};
	int n;

	if (!fgets(line, sizeof(line), stdin))
		return false;
	n = sscanf(line, "%lf %lf %lf %7s", &order.seconds, &order.skip_s, &order.pps, word);
	if (n < 3 || !(order.seconds > 0) || order.skip_s < 0 || order.pps < 0 ||
	    (n == 4 && strcmp(word, "keep")))
		fail("not an order of a slice, SECONDS SKIP_S PPS [keep]: %s", line);
	order.keep = n == 4;
	*ret_order = order;
	return true;
}

static void
signal_all(const struct slices *slices, int sig)
{
	for (unsigned i = 0; i < slices->n_pids; i++) {
		if (kill(slices->pids[i], sig))
			fail("process %d, which runs in slices only: %m", (int)slices->pids[i]);
	}
}

void
slices_go(const struct slices *slices)
{
	signal_all(slices, SIGCONT);
}

void
slices_halt(const struct slices *slices)
{
	signal_all(slices, SIGSTOP);
}

double
slices_distance(const struct slices *slices)
{
	if (slices->cpu < 0 || slices->beside < 0)
		return 0;
	return distance_measure(slices->cpu, slices->beside, BRIEF_WARM_UP_S, BRIEF_RALLIES, BRIEF_LIMIT_S);
}
