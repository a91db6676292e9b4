/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cni_marker.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/shared_files.h"

static char *path_of(const struct cni_request *r, enum cni_marker marker)
{
	static const char *const names[CNI_MARKER_MAX] = {
		[CNI_MARKER_AWAY] = RUN_CNI_AWAY, [CNI_MARKER_SILENT] = RUN_CNI_SILENT
	};

	return xasprintf("%s/%s", r->run_dir, names[marker]);
}

/* Since boot, because the clock of a machine that has just booted may still jump. */
static long seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (long)now.tv_sec;
}

long cni_marker_age(const struct cni_request *r, enum cni_marker marker)
{
	_cleanup_free_ char *path = path_of(r, marker), *text = NULL;
	long since, now = seconds();
	size_t len;

	if (file_read(path, 64, &text, &len))
		return -1;
	since = strtol(text, NULL, 10);
	return since > 0 && since <= now ? now - since : -1;
}

void cni_marker_set(const struct cni_request *r, enum cni_marker marker)
{
	_cleanup_free_ char *path = path_of(r, marker), *text = xasprintf("%ld\n", seconds());

	if (make_dirs(r->run_dir, 0755) == 0)
		file_write_volatile(path, text, strlen(text), 0600);
}

void cni_marker_clear(const struct cni_request *r)
{
	for (int i = 0; i < CNI_MARKER_MAX; i++) {
		_cleanup_free_ char *path = path_of(r, (enum cni_marker)i);

		unlink(path);
	}
}
