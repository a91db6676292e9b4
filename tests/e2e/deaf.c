// SPDX-License-Identifier: Apache-2.0
/* Preloaded: other programs have taken all of the user's inotify instances. */
#include <errno.h>
#include <sys/inotify.h>

int inotify_init1(int flags)
{
	(void)flags;
	errno = EMFILE;
	return -1;
}
