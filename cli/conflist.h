/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Editing a container runtime's network configuration: weir's entry goes in and out of the chain,
 * all else stays as it is, in its order, keys that nobody here knows included.
 */
#ifndef WEIR_CLI_CONFLIST_H
#define WEIR_CLI_CONFLIST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define CONFLIST_PLUGIN "weir-cni" /* "type" of the entry, and name of the binary */

enum conflist_kind {
	CONFLIST_LIST, /* .conflist: a chain */
	CONFLIST_SINGLE, /* .conf or .json: one plugin; made a chain */
	CONFLIST_META, /* multus: a plugin that calls the chain of another file */
};

/* -EINVAL with *ret_error (owned by the caller) when text is no network configuration. */
int conflist_parse(const char *text, size_t len, json_t **ret, enum conflist_kind *ret_kind,
		   char **ret_error);

/*
 * The chain with `entry` in it: where an entry of weir's stands already, else at the end. A single
 * plugin becomes a chain. 0 with *ret (a new reference) NULL when nothing is to change; -ENOTSUP
 * with *ret_error when weir-cni does not know the configuration's version.
 */
int conflist_chain(const json_t *conf, enum conflist_kind kind, const json_t *entry, json_t **ret,
		   char **ret_error);

/*
 * The chain without weir's entries; *ret is NULL when it has none. -ENOENT when nothing would be
 * left of it.
 */
int conflist_unchain(const json_t *conf, json_t **ret);

/* The plugin that conflist_chain() made a chain of; NULL when more than that is in it now.
 * Borrowed. */
const json_t *conflist_single(const json_t *chain);

/* As it is written to the file; the caller's. */
char *conflist_text(const json_t *conf);

#endif
