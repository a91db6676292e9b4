/* SPDX-License-Identifier: Apache-2.0 */
/* Whole hash maps, read while programs write to them. */
#ifndef WEIR_EXPORTER_MAPREAD_H
#define WEIR_EXPORTER_MAPREAD_H

#include <stddef.h>
#include <stdint.h>

/*
 * Reads every entry as key and value, one behind the other, into an array without padding, sorted
 * by key and with every key once. An entry that comes or goes meanwhile may be in it or not; all
 * others are. -EAGAIN when so much is deleted that no end comes; -EINVAL when the map's keys or
 * values have another size.
 */
int map_read(int fd, uint32_t key_size, uint32_t value_size, void **ret_entries, size_t *ret_n);

/* Counts entries by walking their keys. */
int map_count(int fd, uint64_t *ret_entries, uint64_t *ret_max_entries);

#endif
