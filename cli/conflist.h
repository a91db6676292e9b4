/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Editing a container runtime's network configuration: weir's entry goes in and out of the chain.
 * It is the text that is edited, so that all else stays as it is to the byte.
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

/* One configuration: its text, and what that says (numbers as doubles, of any size). */
struct conflist {
	char *text; /* terminated */
	size_t len;
	json_t *json;
	enum conflist_kind kind;
};

/* Takes text, whatever it returns. -EINVAL with *ret_error (owned by the caller) when it is no
 * network configuration. */
int conflist_parse(char *text, size_t len, struct conflist *ret, char **ret_error);
void conflist_free(struct conflist *c);

#define _cleanup_conflist_ _cleanup_(conflist_free)

/*
 * The text of the chain with `entry` in it: where an entry of weir's stands already, else at the
 * end. A single plugin becomes a chain. 0 with *ret (the caller's) NULL when nothing is to change;
 * -ENOTSUP with *ret_error when weir-cni does not know the configuration's version; -EBADMSG when
 * the text cannot be edited (a key written with escapes).
 */
int conflist_chain(const struct conflist *c, const json_t *entry, char **ret, char **ret_error);

/*
 * The text without weir's entries; *ret (the caller's) is NULL when it has none. -ENOENT when
 * nothing would be left of it, -EBADMSG as above.
 */
int conflist_unchain(const struct conflist *c, char **ret);

/* True when the chain holds, besides weir's entry, that single plugin as it is, and nothing more.
 */
bool conflist_is_chain_of(const struct conflist *chain, const struct conflist *single);

#endif
