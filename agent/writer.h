/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that has to be on the disk, written beside the loop: a flush takes as long as the disk
 * likes, hundreds of milliseconds where others write as well, and pods that start wait for nobody's
 * disk. The one thread of ours, while there is something to write. It shares nothing: a text is
 * handed over when the thread begins, its outcome when it has ended.
 */
#ifndef WEIR_AGENT_WRITER_H
#define WEIR_AGENT_WRITER_H

#include "agent/loop.h"

struct writer;

/*
 * done is called from the loop after each time that the file was written, or was not (-errno). path
 * must outlive it. Directories above it are made.
 */
int writer_open(struct writer **ret, const char *path, struct loop *loop,
		void (*done)(void *ctx, int err), void *ctx);
/* Waits until what was put is on the disk, or cannot be; done is not called. NULL: none. */
void writer_close(struct writer *w);

/* Takes text, what the file is to hold; of several while one is being written the last counts. */
void writer_put(struct writer *w, char *text);

#endif
