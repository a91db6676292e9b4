/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Istio is written in Go, and its errors quote Go's library: these are the library's parsers, with
 * their texts. Those that fail return -EINVAL and the text in *ret_error.
 */
#ifndef WEIR_AGENT_GO_TEXT_H
#define WEIR_AGENT_GO_TEXT_H

#include "maps/addr.h"

#include <stdbool.h>
#include <stdint.h>

/* Go's strconv.Quote, strings.TrimSpace: the results are owned by the caller. */
char *go_quote(const char *text);
char *go_trim_space(const char *text);
/* strconv.ParseBool; *ret_error may be NULL when the text is not wanted. */
int go_parse_bool(const char *text, bool *ret, char **ret_error);
/* strconv.ParseUint(text, 10, bits) */
int go_parse_uint(const char *text, unsigned int bits, uint64_t *ret, char **ret_error);
/* netip.ParsePrefix. The address is not masked; bits counts in its own family. */
int go_parse_prefix(const char *text, struct weir_addr *ret_addr, unsigned int *ret_bits,
		    bool *ret_v4, char **ret_error);

#endif
