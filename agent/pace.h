/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When is the next run over all pods? Soon after something has changed, but the longer a run takes
 * the longer is the rest before the next one, which is others' time; and now and then where nothing
 * tells of a change. Times are of loop_now_ms(); none is read here.
 */
#ifndef WEIR_AGENT_PACE_H
#define WEIR_AGENT_PACE_H

#include <stdint.h>

enum pace_cause {
	PACE_CHANGED, /* what policies are made of */
	PACE_PEERS, /* pods elsewhere: a cluster never rests, and their names can wait */
	PACE_SETTLE, /* what is in force already; as many CNI calls as that brings are one run */
	PACE_CAUSES,
};

struct pace {
	int64_t due_ms; /* what the timer is set to; 0: a run is under way */
	int64_t began_ms;
	int64_t took_ms; /* the last run */
	int64_t idle_ms; /* from one run to the next if nothing happens */
};

/*
 * Each returns in how many milliseconds the timer has to fire now, or -1: it stands as it is. It
 * never moves away: a source that never rests must not put a run off for ever.
 */
int64_t pace_cause(struct pace *p, enum pace_cause cause, int64_t now_ms);
/* again_ms: when the run asked to be run again, < 0: not. */
int64_t pace_next(struct pace *p, int64_t again_ms, int64_t now_ms);

/* A run begins, and has ended. What changes between the two, or before pace_next(), counts. */
void pace_begin(struct pace *p, int64_t now_ms);
void pace_end(struct pace *p, int64_t now_ms);

#endif
