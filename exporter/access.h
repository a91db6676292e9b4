/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may ask the web server, and how: --web.config.file put into force, and renewed when one of
 * its files has changed. What cannot be read then is logged, and the last good state stays.
 */
#ifndef WEIR_EXPORTER_ACCESS_H
#define WEIR_EXPORTER_ACCESS_H

#include <stdbool.h>

#include "exporter/tls.h"
#include "exporter/web_config.h"

struct access;

enum access_verdict {
	ACCESS_GRANTED,
	ACCESS_DENIED,
	ACCESS_BUSY, /* hashing takes long on purpose, and there is one thread: ask again later */
};

/* file NULL or "": everybody may, in plain. 0, or -errno with a sentence in *ret_error. */
int access_open(const char *file, struct access **ret, char **ret_error);
void access_close(struct access *a);
/* Looks whether the files have changed. Call it for each new connection. */
void access_refresh(struct access *a);

/* Of this moment; valid until access_refresh(). */
const struct web_config *access_config(const struct access *a);
/* NULL: in plain. Decided by access_open(), for good. */
struct tls *access_tls(const struct access *a);
/* name and password may be NULL: none were given. */
enum access_verdict access_check(struct access *a, const char *name, const char *password);

#endif
