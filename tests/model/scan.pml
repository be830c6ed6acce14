/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A model of where a packed ring's back-end goes on after it was killed (lib/virtq/start.c, state.h): buffers of one
 * descriptor each, SIZE slots, whose driver fills the ring and takes back what was used, in any interleaving with a
 * device that returns batches of up to BATCH, of which the first element is stored last. The device dies at any step;
 * its memory (position, whether a batch is held, and where it began) outlives it, as its stores left it, in the order
 * in which a compiler may put them. The next one takes the position from that, settles a half-stored batch by
 * returning it empty, and goes on while the driver adds.
 *
 * Each buffer is returned exactly once, in the order in which it was given; nothing is taken that is not available;
 * and the driver gets all of its N back.
 *
 *   -DNO_SETTLE     a half-stored batch is left as it is: has to fail (the driver waits for ever)
 *   -DNO_SLOT_LAP   the wrap counter is taken from memory, not from the slot: has to fail (it may be half changed)
 *   -DNO_LAP_CHECK  any batch that was noted as held is taken for one: has to fail (it may be published, and its slot be
 *                   available again)
 */
#ifndef SIZE
#define SIZE 3
#endif
#ifndef N
#define N 7
#endif
#define BATCH 2

/* A slot: the flags AVAIL and USED, and whose buffer it is. */
bool avail[SIZE];
bool used[SIZE];
byte id[SIZE];

/* What outlives the device. */
byte mem_idx;
bool mem_wrap = true;
bool mem_held;
byte mem_first;

byte n_given, n_back;  /* buffers of the driver's */
bool dead;
byte deaths;

#define IS_AVAIL(i, w) (avail[i] == (w) && used[i] == !(w))
#define IS_USED(i, w) (avail[i] == (w) && used[i] == (w))

inline advance(i, w)
{
	i = i + 1;
	if
	:: i == SIZE -> i = 0; w = !w
	:: else -> skip
	fi
}

active proctype driver()
{
	byte next = 0, take = 0;
	bool next_wrap = true, take_wrap = true;

	do
	:: atomic { n_given < N && n_given - n_back < SIZE ->
		id[next] = n_given;
		avail[next] = next_wrap;
		used[next] = !next_wrap;
		n_given++;
		advance(next, next_wrap) }
	:: atomic { n_back < N && IS_USED(take, take_wrap) ->
		/* In order, and once each. */
		assert(id[take] == n_back);
		n_back++;
		advance(take, take_wrap) }
	:: n_back == N -> break
	od
}

/* One life of the device. */
proctype device()
{
	byte at, i, n, first;
	bool wrap, w;

	/* The position: where a batch began that is not published, or what was noted. */
	atomic {
		at = mem_idx;
		if
		:: mem_held && avail[mem_first] != used[mem_first] ->
			i = mem_first;
			w = avail[i];
			advance(i, w);
			if
#ifdef NO_LAP_CHECK
			:: true -> at = mem_first
#else
			:: mem_first == mem_idx -> at = mem_first
			:: mem_first < mem_idx && avail[mem_first] == mem_wrap -> at = mem_first
			:: mem_first > mem_idx && avail[mem_first] != mem_wrap -> at = mem_first
			:: IS_USED(i, w) -> at = mem_first
			:: else -> skip
#endif
			fi
		:: else -> skip
		fi;
#ifdef NO_SLOT_LAP
		wrap = mem_wrap;
#else
		if
		:: avail[at] != used[at] -> wrap = avail[at]
		:: else -> wrap = !avail[at]
		fi;
		/* A ring that was never used. */
		if
		:: n_given == 0 -> wrap = true
		:: else -> skip
		fi;
#endif
#ifndef NO_SETTLE
		/* Behind it, what has this lap's flags is of the batch: it goes back with the first, stored last. */
		first = at;
		w = wrap;
		i = at;
		n = 0;
		advance(i, w);
		do
		:: n + 1 < SIZE && IS_USED(i, w) && IS_AVAIL(at, wrap) -> n++; advance(i, w)
		:: else -> break
		od;
		if
		:: n > 0 -> avail[first] = wrap; used[first] = wrap; at = i; wrap = w
		:: else -> skip
		fi;
#endif
		mem_idx = at;
		mem_wrap = wrap;
		mem_held = false
	}
	do
	:: dead -> break
	:: !dead && IS_AVAIL(at, wrap) ->
		/* A batch: the elements behind the first, then the position, then the first. */
		first = at;
		w = wrap;
		i = at;
		n = 0;
		if
		:: dead -> break
		:: else -> mem_first = first
		fi;
		if
		:: dead -> break
		:: else -> mem_held = true
		fi;
		advance(i, w);
		do
		:: n + 1 < BATCH && i != first && IS_AVAIL(i, w) ->
			if
			:: dead -> break
			:: else -> atomic { avail[i] = w; used[i] = w }
			fi;
			n++;
			advance(i, w)
		:: break
		od;
		/* The counter and the index, one after the other. */
		if
		:: dead -> break
		:: else -> mem_wrap = w
		fi;
		if
		:: dead -> break
		:: else -> mem_idx = i
		fi;
		if
		:: dead -> break
		:: else -> atomic { avail[first] = wrap; used[first] = wrap }
		fi;
		if
		:: dead -> break
		:: else -> mem_held = false
		fi;
		at = i;
		wrap = w
	:: n_back == N -> break
	od
}

init
{
	run device();
	do
	:: atomic { deaths < 2 && !dead && n_back < N -> dead = true; deaths++ };
		/* It has stopped. */
		atomic { _nr_pr == 2 || (n_back == N && _nr_pr == 1) -> dead = false; run device() }
	:: n_back == N -> break
	od
}
