/* SPDX-License-Identifier: Apache-2.0 */
/* Did you mean ...? */
#ifndef WEIR_CLI_NEAR_H
#define WEIR_CLI_NEAR_H

#include <stdbool.h>
#include <stddef.h>

/* How many characters must be changed, added, dropped or swapped to make b of a. */
size_t near_distance(const char *a, const char *b);
/* Would somebody who typed `typed` have meant `name`? */
bool near_enough(const char *typed, const char *name);

#endif
