/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files. All return 0 or -errno. */
#ifndef WEIR_BASE_FILE_H
#define WEIR_BASE_FILE_H

#include <stddef.h>

/* Reads path; *ret_data (owned by the caller) is terminated by a NUL that *ret_len does not count.
 * -EFBIG beyond max. */
int file_read(const char *path, size_t max, char **ret_data, size_t *ret_len);
/* mkdir -p; existing directories are fine. */
int make_dirs(const char *path, unsigned int mode);

#endif
