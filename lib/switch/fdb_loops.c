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

static bool
mover_is_over(const struct fdb_mover *mover, uint32_t since_s, uint32_t now_s)
{
	return !mover->in_use || now_s - since_s > MOVER_WINDOW_S;
}

/* The station's place; else one that is free, or whose station has moved the least, and the longest ago. */
static struct fdb_mover *
mover_find(struct fdb *fdb, uint64_t station, uint32_t now_s)
{
	struct fdb_mover *worst = &fdb->movers[0];

	for (unsigned int i = 0; i < FDB_MOVERS; i++) {
		struct fdb_mover *mover = &fdb->movers[i];

		if (mover_is_over(mover, mover->last_s, now_s))
			*mover = (struct fdb_mover){0};
		if (mover->in_use && mover->station == station)
			return mover;
		if (!mover->in_use || (worst->in_use && mover->n_moves < worst->n_moves))
			worst = mover;
	}
	worst->in_use = false;
	return worst;
}

bool
fdb_loops_moved(struct fdb *fdb, uint64_t station, uint16_t was_id, uint16_t is_id, uint32_t now_s)
{
	struct fdb_mover *mover = mover_find(fdb, station, now_s);

	if (!mover->in_use)
		*mover = (struct fdb_mover){
			.in_use = true, .station = station, .since_s = now_s, .first_id = was_id};
	/* The count begins anew; where it was first is known for as long as it moves, or who pretends to be
	 * another one could wait for this moment, and have that one's port held. */
	if (mover_is_over(mover, mover->since_s, now_s)) {
		mover->since_s = now_s;
		mover->n_moves = 0;
	}
	mover->last_s = now_s;
	/* Back where it was is no move of its own. */
	if (is_id == mover->first_id)
		return false;
	return ++mover->n_moves >= fdb->loop_moves;
}
