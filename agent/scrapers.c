/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/scrapers.h"

#include <string.h>
#include <time.h>

/* Time that the machine sleeps counts: scrapers go away meanwhile. */
static int64_t now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec;
}

/* The scraper of this address; if it is new, in a place of its own or in that of the stalest. */
static struct scraper *find(struct scrapers *s, const uint8_t address[16])
{
	struct scraper *stalest = &s->items[0];

	for (size_t i = 0; i < s->n; i++) {
		if (!memcmp(s->items[i].address, address, 16))
			return &s->items[i];
		if (s->items[i].when_s < stalest->when_s)
			stalest = &s->items[i];
	}
	if (s->n < SCRAPERS_MAX)
		stalest = &s->items[s->n++];
	*stalest = (struct scraper){ 0 };
	memcpy(stalest->address, address, 16);
	return stalest;
}

void scrapers_begin(struct scrapers *s)
{
	s->since_s = now_s();
}

/* One visit in between does not make it a frequent guest; several do. */
static void learn_habit(struct scraper *s, int64_t now)
{
	int64_t gap = s->times ? now - s->when_s : 0;

	s->every_s = gap > s->every_s / 2 ? gap : s->every_s / 2;
}

void scrapers_delivered(struct scrapers *s, uint64_t number, const uint8_t address[16])
{
	struct scraper *one = find(s, address);
	int64_t now = now_s();

	learn_habit(one, now);
	one->times++;
	one->when_s = now;
	if (number > one->last)
		one->last = number;
}

static bool is_away(const struct scraper *s, int64_t now)
{
	int64_t patience = s->every_s * SCRAPERS_TURNS;

	if (patience < SCRAPERS_MIN_S)
		patience = SCRAPERS_MIN_S;
	return now - s->when_s > (patience < SCRAPERS_MAX_S ? patience : SCRAPERS_MAX_S);
}

bool scrapers_have(const struct scrapers *s, uint64_t number)
{
	int64_t now = now_s();

	for (size_t i = 0; i < s->n; i++)
		if (s->items[i].times > 1 && !is_away(&s->items[i], now) &&
		    s->items[i].last < number)
			return false;
	return true;
}

bool scrapers_none(const struct scrapers *s)
{
	int64_t away = now_s() - SCRAPERS_MAX_S;

	if (s->since_s >= away)
		return false;
	for (size_t i = 0; i < s->n; i++)
		if (s->items[i].when_s >= away)
			return false;
	return true;
}
