/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/gzip.h"

#include <errno.h>
#include <limits.h>
#include <zlib.h>

#define GZIP_WINDOW (15 + 16) /* 32 KiB, with a gzip header instead of zlib's */
#define GZIP_MEMORY 8 /* zlib's default */

int gzip_body(struct buf *body)
{
	_cleanup_buf_ struct buf packed = { 0 };
	z_stream z = { 0 };
	struct buf old;
	int done;

	if (body->len > UINT_MAX)
		return -EFBIG;
	/* Labels repeat so much that more effort than the least gains little. */
	if (deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	packed.cap = deflateBound(&z, body->len);
	packed.data = xrealloc(NULL, packed.cap);
	z.next_in = (Bytef *)body->data;
	z.avail_in = (uInt)body->len;
	z.next_out = (Bytef *)packed.data;
	z.avail_out = packed.cap > UINT_MAX ? UINT_MAX : (uInt)packed.cap;
	done = deflate(&z, Z_FINISH);
	packed.len = z.total_out;
	deflateEnd(&z);
	if (done != Z_STREAM_END)
		return -EIO;
	old = *body;
	*body = packed;
	packed = old; /* freed at the end of the scope */
	return 0;
}
