/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where pods come from: a directory of files, each a Kubernetes object or a List, and the API.
 * A file that cannot be read or parsed keeps what it said last; its error is shown until it is
 * mended. What the API says of one resource stands beside the files as if it were one.
 */
#ifndef WEIR_AGENT_SOURCE_H
#define WEIR_AGENT_SOURCE_H

#include "agent/loop.h"
#include "agent/object.h"

struct source_file {
	struct source_file *next;
	char *name;
	struct objects objects; /* the last good ones */
	char *error; /* of the newest version; NULL: none */
	bool good; /* objects were read at least once */
	bool present;
	bool api; /* no file: kube.h keeps it; good unless some of it has never been right */
	bool listed; /* by the API, once */
	int64_t mtime_ns, size, inode; /* of the version that was read */
};

struct source {
	char *dir; /* NULL: there is no such source */
	int inotify_fd; /* < 0: none was left */
	bool told; /* of changes in dir */
	struct source_file *files;
	void (*changed)(void *ctx);
	void *ctx;
};

/*
 * Watches dir; changed(ctx) is called from the loop, if inotify has room for that (told).
 * *ret_error is the caller's.
 */
int source_open(struct source *s, const char *dir, struct loop *loop, void (*changed)(void *ctx),
		void *ctx, char **ret_error);
void source_close(struct source *s);

/* Reads what is new. Files that are gone are dropped. 0, or -errno when dir cannot be read. */
int source_scan(struct source *s);
/* Has changed() called when something comes or goes beside path. */
void source_watch(struct source *s, const char *path);
/* A place for what the API says of one resource; it is source's until source_close(). */
struct source_file *source_add_api(struct source *s, const char *resource);
/* NULL when it is not known. */
const struct namespace *source_namespace(const struct source *s, const char *name);
/* Is there a file whose pods are not known, because it has never been good? */
bool source_incomplete(const struct source *s);
/* Has everything that the API knows been listed once? True where there is no API. */
bool source_listed(const struct source *s);

#endif
