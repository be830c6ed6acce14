/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A model of lib/virtq/notify.c against a driver that sleeps: is a notification ever lost for good?
 *
 * The memory is x86's (total store order): every side has a store buffer, which empties by itself at any time; loads look
 * past the other side's. The device publishes N used buffers, in any grouping, with pauses anywhere, asks without a
 * fence whether the driver wants to be told, and settles (a fence, and asks again) in a turn of its loop without a
 * burst. The driver takes what is there, asks to be told, fences, looks once more, and sleeps.
 *
 * Lost for good: the device has published everything, its loop goes round without finding anything to do, the driver
 * sleeps, and not all is taken. Spin finds that as an invalid end state.
 *
 *   -DEVENT_IDX   the driver asks by used_event instead of by flag
 *   -DCOALESCE    bursts are held back, any of them, until some later turn: then asked with the fence
 *   -DNO_DUE      what is held back never comes due: has to fail
 *   -DNO_SETTLE   without settling: has to fail (the check can fail)
 *   -DNO_DRIVER_FENCE  a driver without its fence: has to fail
 */
#ifndef N
#define N 4
#endif

/* What memory holds. */
byte mem_used;       /* the used index */
bool mem_wanted;     /* flag: tell me; without EVENT_IDX */
byte mem_event;      /* used_event: tell me when this one is used; with EVENT_IDX */

/* What the sides have stored; differs from memory while it is in the store buffer. Each stores one variable only, so
 * the newest value is enough: an older one that reaches memory first is covered by emptying in between. */
byte dev_used;
bool drv_wanted;
byte drv_event;

bool notified;       /* the call descriptor */

inline dev_fence() { mem_used = dev_used }
inline drv_fence() { mem_wanted = drv_wanted; mem_event = drv_event }

/* The store buffers empty. */
active proctype buffers()
{
end:	do
	:: atomic { mem_used != dev_used -> mem_used = mem_used + 1 }
	:: atomic { (mem_wanted != drv_wanted || mem_event != drv_event) -> drv_fence() }
	od
}

active proctype device()
{
	byte signalled = 0;    /* used index when the driver was last asked for sure */
	bool pending = false;  /* the last "no" may be stale */
	bool fresh = false;    /* asked since the last service turn */
	bool held = false;     /* not asked: held back */
	bool wanted;

	do
	:: atomic { dev_used < N -> dev_used = dev_used + 1 } /* a burst: publish one more, ... */
		if
		:: dev_used < N -> atomic { dev_used = dev_used + 1 } /* ... or two */
		:: skip
		fi;
#ifdef EVENT_IDX
		/* notify_event_passed(): event in [signalled, used) */
		atomic { wanted = (mem_event >= signalled && mem_event < dev_used) };
#else
		wanted = mem_wanted;
#endif
		if
#ifdef COALESCE
		:: held = true; pending = false
#endif
		:: wanted ->
			/* The kernel's side of write() is full of locked instructions: a fence. */
			atomic { dev_fence(); notified = true; signalled = dev_used; pending = false; held = false }
		:: !wanted -> atomic { pending = true; fresh = true; held = false }
		fi
#ifndef NO_DUE
	:: held -> /* due, sooner or later */
		atomic { dev_fence() };
#ifdef EVENT_IDX
		atomic { wanted = (mem_event >= signalled && mem_event < dev_used) };
#else
		wanted = mem_wanted;
#endif
		atomic {
			if
			:: wanted -> notified = true
			:: else -> skip
			fi;
			signalled = dev_used;
			held = false;
			pending = false
		}
	:: dev_used == N && !pending && !held -> break
#endif
#ifndef NO_SETTLE
	:: pending -> /* the service turn */
		if
		:: fresh -> fresh = false
		:: else ->
			atomic { dev_fence() };
#ifdef EVENT_IDX
			atomic { wanted = (mem_event >= signalled && mem_event < dev_used) };
#else
			wanted = mem_wanted;
#endif
			atomic {
				if
				:: wanted -> notified = true
				:: else -> skip
				fi;
				signalled = dev_used;
				pending = false
			}
		fi
#ifdef NO_DUE
	:: dev_used == N && !pending -> break
#endif
#else
	:: dev_used == N -> break
#endif
	od
}

active proctype driver()
{
	byte taken = 0;

	do
	:: taken == N -> break
	:: else ->
		/* Take what is there. */
		do
		:: atomic { taken < mem_used -> taken = taken + 1 }
		:: atomic { taken >= mem_used -> break }
		od;
		/* Ask to be told of the next one. */
#ifdef EVENT_IDX
		atomic { drv_event = taken };
#else
		atomic { drv_wanted = true };
#endif
#ifndef NO_DRIVER_FENCE
		atomic { drv_fence() };
#endif
		/* Look once more. */
		if
		:: atomic { taken < mem_used ->
#ifndef EVENT_IDX
			drv_wanted = false
#else
			skip
#endif
			}
		:: atomic { taken >= mem_used -> skip };
			if
			:: taken < N ->
				atomic { notified -> notified = false } /* sleeps until it is told */
#ifndef EVENT_IDX
				drv_wanted = false
#endif
			:: else -> skip
			fi
		fi
	od
}
