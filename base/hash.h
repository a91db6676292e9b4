/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FNV-1a in 64 bits: tells whether something is what it was. It does not stand against somebody who
 * looks for two things with one hash.
 */
#ifndef WEIR_BASE_HASH_H
#define WEIR_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_BEGIN 0xcbf29ce484222325ULL

/* hash is HASH_BEGIN, or what this has returned of what comes before. */
static inline uint64_t hash_bytes(uint64_t hash, const void *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ ((const uint8_t *)data)[i]) * 0x100000001b3ULL;
	return hash;
}

#endif
