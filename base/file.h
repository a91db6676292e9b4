/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files. All return 0 or -errno. */
#ifndef WEIR_BASE_FILE_H
#define WEIR_BASE_FILE_H

#include <stddef.h>

/* Reads path; *ret_data (owned by the caller) is terminated by a NUL that *ret_len does not count.
 * -EFBIG beyond max. */
int file_read(const char *path, size_t max, char **ret_data, size_t *ret_len);
/*
 * Puts data at path as a whole: written beside it (as .NAME.tmp, which a watcher knows to be none
 * of its own), flushed to the disk, renamed. An error leaves what was there.
 */
int file_write(const char *path, const void *data, size_t len, unsigned int mode);
/* The same without waiting for the disk: of what ends with the machine. */
int file_write_volatile(const char *path, const void *data, size_t len, unsigned int mode);
/* mkdir -p; existing directories are fine. */
int make_dirs(const char *path, unsigned int mode);

#endif
