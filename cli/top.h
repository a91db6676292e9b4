/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir top: what goes on, in rates. top_sample.c reads and adds up, top_table.c puts in order and
 * writes, top_json.c writes for machines, top_screen.c shows it and obeys keys, top.c has the
 * options and the batch mode.
 */
#ifndef WEIR_CLI_TOP_H
#define WEIR_CLI_TOP_H

#include <jansson.h>
#include <time.h>

#include "base/buf.h"
#include "cli/conn_list.h"

enum top_view { TOP_WORKLOADS, TOP_PODS, TOP_EDGES, TOP_CONNS, TOP_VIEWS };

/* Identifies a row from one sample to the next: a flow's key, or a cookie or id in its place; the
 * last word is 1 for datagrams where they have rows of their own. */
struct top_key {
	uint64_t word[4];
};

/* What has been counted since the row was first seen; only ever grows, but for `open`. */
struct top_totals {
	uint64_t sent, received, opened, failed, retransmitted;
	uint64_t open;
	uint64_t rtt_us, rtts; /* sum over live connections, and of how many */
};

struct top_row {
	struct top_key key;
	struct top_totals totals;
	char *name, *peer; /* owned; peer is NULL but for edges and connections */
	const char *direction, *via; /* likewise */
	bool udp; /* an edge or socket of datagrams, which opens and measures nothing */
	bool live; /* a pod that shares its workload: only what live connections tell is known */
	bool busy; /* there is something to tell */
	/* Per second, since the sample before: */
	double sent, received, opened, failed, retransmitted;
	uint32_t rtt; /* us; 0: none */
};

struct top_sample {
	double time; /* seconds, monotonic; 0: none was taken */
	struct top_row *rows; /* by key */
	size_t n;
};

/* What pods have counted, also when their connections have ended; the kernel keeps it by workload.
 */
struct top_past;

struct top {
	const char *bpf_dir;
	struct conn_list conns;
	struct top_past *past;
	enum top_view view;
	struct top_sample sample; /* of `view` */
	time_t taken; /* when the sample was, by the clock on the wall */
	double interval; /* between this sample and the one before; 0: there was none */
	const char *filter; /* part of a name; NULL or "": all */
	size_t sort; /* index in top_columns */
	bool reverse;
	bool active; /* idle ones are left out */
};

struct top_column {
	const char *name; /* as --sort wants it */
	const char *header;
	char key; /* that sorts by it */
	int (*compare)(const struct top_row *a, const struct top_row *b);
};

extern const struct top_column top_columns[];
extern const size_t top_columns_n;
extern const char *const top_view_names[TOP_VIEWS];

/* 0, or -errno with *ret_error, the caller's. */
int top_open(struct top *t, const char *bpf_dir, char **ret_error);
void top_close(struct top *t);
/* Reads anew and works out the rates. Another view than before starts over. */
int top_read(struct top *t, char **ret_error);

/* Rates and differences of now against before, which may be empty; for tests too. */
void top_rates(struct top_sample *now, const struct top_sample *before);
void top_sample_free(struct top_sample *s);

/* The rows that are to be seen, in order; the caller's array of pointers into the sample. */
const struct top_row **top_order(const struct top *t, size_t *ret_n);
/* Head and table as lines of at most width columns (0: as wide as need be). skip rows are left out
 * at the front. */
void top_write(const struct top *t, size_t width, size_t skip, struct buf *out);

/* The same rows for machines; rates per second as in the table, but for every view all of them. */
json_t *top_json(const struct top *t);

/* Full screen until the user or a signal ends it, or after so many tables (0: never). An exit
 * status. */
int top_screen(struct top *t, double delay, uint32_t iterations);

#endif
