/* SPDX-License-Identifier: Apache-2.0 */
/* Prints docs/METRICS.md: `make docs`. A program of its own, not part of weir. */
#include <stdio.h>

#include "exporter/render.h"

int main(void)
{
	_cleanup_buf_ struct buf out = { 0 };

	metrics_markdown(&out);
	fputs(buf_text(&out), stdout);
	return 0;
}
