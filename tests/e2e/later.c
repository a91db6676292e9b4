// SPDX-License-Identifier: Apache-2.0
/* Preloaded: once the file $LATER exists, the program's CLOCK_BOOTTIME is an hour ahead. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
	const char *file = getenv("LATER");
	int err = (int)syscall(SYS_clock_gettime, clock, now);

	if (!err && clock == CLOCK_BOOTTIME && file && !access(file, F_OK))
		now->tv_sec += 3600;
	return err;
}
