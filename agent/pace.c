/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/pace.h"

#define MAX_REST_MS 1000 /* what is known may be so old, however long a run takes */

static const struct {
	int64_t least_ms; /* a burst of changes is one run */
	int64_t rest; /* so many times as long as the last run took */
} causes[] = {
	[PACE_CHANGED] = { 20, 4 },
	[PACE_PEERS] = { 20, 20 },
	[PACE_SETTLE] = { 1000, 0 },
};

_Static_assert(sizeof(causes) / sizeof(causes[0]) == PACE_CAUSES, "a row for each cause");

static int64_t within(struct pace *p, int64_t ms, int64_t now_ms)
{
	if (p->due_ms && p->due_ms <= now_ms + ms)
		return -1;
	p->due_ms = now_ms + ms;
	return ms;
}

int64_t pace_cause(struct pace *p, enum pace_cause cause, int64_t now_ms)
{
	int64_t rest_ms = p->took_ms * causes[cause].rest;

	if (rest_ms > MAX_REST_MS)
		rest_ms = MAX_REST_MS;
	return within(p, rest_ms > causes[cause].least_ms ? rest_ms : causes[cause].least_ms,
		      now_ms);
}

int64_t pace_next(struct pace *p, int64_t again_ms, int64_t now_ms)
{
	return within(p, again_ms >= 0 && again_ms < p->idle_ms ? again_ms : p->idle_ms, now_ms);
}

void pace_begin(struct pace *p, int64_t now_ms)
{
	p->due_ms = 0;
	p->began_ms = now_ms;
}

void pace_end(struct pace *p, int64_t now_ms)
{
	p->took_ms = now_ms - p->began_ms;
}
