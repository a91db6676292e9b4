/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking the agent over its control socket, RUNDIR/weir.sock: one line there, one JSON object back.
 */
#ifndef WEIR_CLI_CTL_H
#define WEIR_CLI_CTL_H

#include <jansson.h>
#include <stdbool.h>

#include "base/cleanup.h"

/*
 * question: "status" or "pods". *ret is the caller's. -ENOENT and -ECONNREFUSED: no agent there;
 * -ETIMEDOUT: it did not answer within 5 seconds; -EBADMSG: the answer is no JSON object.
 */
int ctl_ask(const char *run_dir, const char *question, json_t **ret);
/* Whether an error of ctl_ask() means that no agent runs. */
bool ctl_nobody(int err);
/* What to tell the user about an error of ctl_ask(); the caller's. */
char *ctl_error(const char *run_dir, int err);

/* Members of what it answers; "", 0, false when they are missing or of another type. */
const char *json_text(const json_t *object, const char *key);
long long json_number(const json_t *object, const char *key);
bool json_flag(const json_t *object, const char *key);

static inline void json_free(json_t **json)
{
	json_decref(*json);
}

#define _cleanup_json_ _cleanup_(json_free)

/* One value on standard output, as all commands print JSON. */
void json_print(const json_t *json);
/* One of many, each on a line of its own. */
void json_print_line(const json_t *json);

#endif
