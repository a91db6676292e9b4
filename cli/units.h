/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as people read them, in at most six characters. Each writes into and returns text. */
#ifndef WEIR_CLI_UNITS_H
#define WEIR_CLI_UNITS_H

#include <stdint.h>

#define UNITS_TEXT 24

/* 0, 999, 1.2K, 35K, 4.7M, ... in powers of 1024 */
const char *units_bytes(double bytes, char text[UNITS_TEXT]);
/* 85us, 1.2ms, 140ms, 3.1s; "-" for 0, which is no sample */
const char *units_rtt(uint32_t us, char text[UNITS_TEXT]);
/* 0s, 59s, 12m, 5h, 3d */
const char *units_age(uint64_t ns, char text[UNITS_TEXT]);
/* 0, 0.4, 12, 3.1k: a rate of something that is counted */
const char *units_rate(double rate, char text[UNITS_TEXT]);

#endif
