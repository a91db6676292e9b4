/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/process.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#define PROC_MAX (1 << 20)

/* What is read of /proc/self/stat, in clock ticks, bytes and pages. */
struct stat_fields {
	unsigned long utime, stime;
	unsigned long long start;
	unsigned long vsize;
	long rss;
};

static int read_stat(struct stat_fields *ret_fields)
{
	_cleanup_free_ char *text = NULL;
	struct stat_fields f;
	size_t len;
	char *after;
	int err;

	err = file_read("/proc/self/stat", PROC_MAX, &text, &len);
	if (err)
		return err;
	after = strrchr(text, ')'); /* the name before it may hold anything */
	if (!after || sscanf(after + 1,
			     " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d"
			     " %*d %*d %llu %lu %ld",
			     &f.utime, &f.stime, &f.start, &f.vsize, &f.rss) != 5)
		return -EIO;
	*ret_fields = f;
	return 0;
}

static int count_fds(uint64_t *ret_n)
{
	_cleanup_closedir_ DIR *dir = opendir("/proc/self/fd");
	uint64_t n = 0;

	if (!dir)
		return -errno;
	for (const struct dirent *d; (d = readdir(dir));)
		n += d->d_name[0] != '.';
	*ret_n = n - 1; /* without the one that reads them */
	return 0;
}

/* When the machine started, by the clock of the wall; start times are relative to it. */
static double boot_time(void)
{
	struct timespec now, up;

	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_BOOTTIME, &up);
	return (double)(now.tv_sec - up.tv_sec) + (double)(now.tv_nsec - up.tv_nsec) / 1e9;
}

int process_read(struct snapshot_process *ret_process)
{
	static double start; /* read once: it must not move when the clock is set */
	double ticks = (double)sysconf(_SC_CLK_TCK);
	struct snapshot_process p = { 0 };
	struct stat_fields f;
	struct rlimit limit;
	int err;

	err = read_stat(&f);
	if (!err)
		err = count_fds(&p.open_fds);
	if (err)
		return err;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	if (start == 0)
		start = boot_time() + (double)f.start / ticks;
	p.max_fds = limit.rlim_cur;
	p.cpu_seconds = (double)(f.utime + f.stime) / ticks;
	p.start_time_seconds = start;
	p.virtual_bytes = f.vsize;
	p.resident_bytes = (uint64_t)f.rss * (uint64_t)sysconf(_SC_PAGESIZE);
	*ret_process = p;
	return 0;
}
