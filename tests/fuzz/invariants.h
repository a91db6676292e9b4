/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What holds of every policy and every list, whatever the input was. A violation aborts, which is
 * how libFuzzer learns of it.
 */
#ifndef WEIR_TESTS_FUZZ_INVARIANTS_H
#define WEIR_TESTS_FUZZ_INVARIANTS_H

#include "agent/pod.h"
#include "agent/policy.h"

/* Compiles the pod twice and checks what came out. */
void check_pod(const struct pod *pod, const struct policy_options *options);
/* After lists_normalize(). */
void check_lists(const struct lists *lists);

/* Data that ends with a NUL; owned by the caller. */
char *text_of(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

/* Unlike assert() it is never compiled out. */
#define must(condition)                                                                   \
	({                                                                                \
		if (!(condition)) {                                                       \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, \
				#condition);                                              \
			abort();                                                          \
		}                                                                         \
	})

#endif
