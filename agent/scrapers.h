/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who scrapes, and what is the last that each has got? A scraper is an address that has come more
 * than once and not been away for longer than its habit explains; those that came once, to look,
 * are waited for by nobody.
 */
#ifndef WEIR_AGENT_SCRAPERS_H
#define WEIR_AGENT_SCRAPERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCRAPERS_MAX 16 /* beyond, the one that has been away for the longest is forgotten */
/* Away is who misses its fourth turn, but not sooner or later than this. */
#define SCRAPERS_TURNS 4
#define SCRAPERS_MIN_S 15
#define SCRAPERS_MAX_S 600 /* Prometheus forgets a series that it has not met for five minutes */

struct scraper {
	uint8_t address[16];
	uint64_t times;
	uint64_t last; /* number of the latest scrape that it has got */
	int64_t when_s; /* CLOCK_BOOTTIME */
	int64_t every_s; /* from one time to the next, the longest of late */
};

struct scrapers {
	struct scraper items[SCRAPERS_MAX];
	size_t n;
	int64_t since_s; /* CLOCK_BOOTTIME: from when on those that come are known */
};

void scrapers_begin(struct scrapers *s);
void scrapers_delivered(struct scrapers *s, uint64_t number, const uint8_t address[16]);
/* Whether each of them has got the scrape of this number, or a later one. */
bool scrapers_have(const struct scrapers *s, uint64_t number);
/* Whether nobody at all has come for SCRAPERS_MAX_S. */
bool scrapers_none(const struct scrapers *s);

#endif
