/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fdb_loops: stations that move to and fro.
 *
 * In a loop, frames of a station come back by another port than that where it is, so it moves there, and with
 * its next frame back again. Who pretends to be another station makes it move, too. In both cases the port
 * that is to be held is not that where the station was before it began to move.
 */
#include "fdb.h"

enum { MOVER_WINDOW_S = 1 }; /* moves that lie further apart have nothing to do with each other */

/* The station's place; else one that is free, or whose station has moved the least, and the longest ago. */
static struct fdb_mover *
mover_find(struct fdb *fdb, uint64_t station, uint32_t now_s)
{
	struct fdb_mover *worst = &fdb->movers[0];

	for (unsigned int i = 0; i < FDB_MOVERS; i++) {
		struct fdb_mover *mover = &fdb->movers[i];

		if (mover->n_moves && now_s - mover->since_s > MOVER_WINDOW_S)
			mover->n_moves = 0;
		if (mover->n_moves && mover->station == station)
			return mover;
		if (mover->n_moves < worst->n_moves)
			worst = mover;
	}
	worst->n_moves = 0;
	return worst;
}

bool
fdb_loops_moved(struct fdb *fdb, uint64_t station, uint16_t was_id, uint16_t is_id, uint32_t now_s)
{
	struct fdb_mover *mover = mover_find(fdb, station, now_s);

	if (mover->n_moves == 0)
		*mover = (struct fdb_mover){.station = station, .since_s = now_s, .first_id = was_id};
	/* Back where it was is no move of its own. */
	if (is_id == mover->first_id)
		return false;
	return ++mover->n_moves >= fdb->loop_moves;
}
