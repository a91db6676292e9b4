/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_BASE64_H
#define WEIR_BASE_BASE64_H

#include <stddef.h>

/*
 * RFC 4648 with padding; white space is skipped. *ret (the caller's) is terminated by a NUL that
 * *ret_len does not count. 0 or -EINVAL.
 */
int base64_decode(const char *text, char **ret, size_t *ret_len);
/* With padding, on one line; the caller's. */
char *base64_encode(const void *data, size_t len);

#endif
