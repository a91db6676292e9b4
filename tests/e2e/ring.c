/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moves bytes over a connected socket that it was handed, by io_uring.
 *
 *     ring WAY FD BYTES      WAY: send, write, sendmsg, zerocopy; recv, read, multishot
 *
 * Prints how many bytes it moved; exits with 77 when the kernel cannot do this. Receiving ends at
 * the end of the stream or after so many bytes.
 */
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CHUNK	  10000
#define BUFFERS	  16 /* a power of two */
#define GROUP	  1
#define NOT_THERE 77

static char chunk[CHUNK];
static struct iovec vector = { .iov_base = chunk };
static struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };

static void fail(const char *what, int err)
{
	fprintf(stderr, "ring: %s: %s\n", what, strerror(err));
	exit(err == ENOSYS || err == EINVAL || err == EPERM ? NOT_THERE : 1);
}

static struct io_uring_cqe *wait_for_one(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int err = io_uring_wait_cqe(ring, &cqe);

	if (err)
		fail("io_uring_wait_cqe", -err);
	if (cqe->res < 0 && cqe->res != -ENOBUFS)
		fail("operation", -cqe->res);
	return cqe;
}

/* How many bytes the operation moved. Zero copy tells twice: of the bytes, then that the memory is
 * free again. */
static long finish(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int more;
	long moved;

	io_uring_submit(ring);
	cqe = wait_for_one(ring);
	moved = cqe->res;
	more = !!(cqe->flags & IORING_CQE_F_MORE);
	io_uring_cqe_seen(ring, cqe);
	if (more)
		io_uring_cqe_seen(ring, wait_for_one(ring));
	return moved;
}

static int prepare(struct io_uring_sqe *sqe, const char *way, int fd, size_t n)
{
	if (!strcmp(way, "send"))
		io_uring_prep_send(sqe, fd, chunk, n, 0);
	else if (!strcmp(way, "write"))
		io_uring_prep_write(sqe, fd, chunk, (unsigned int)n, 0);
	else if (!strcmp(way, "zerocopy"))
		io_uring_prep_send_zc(sqe, fd, chunk, n, 0, 0);
	else if (!strcmp(way, "recv"))
		io_uring_prep_recv(sqe, fd, chunk, n, 0);
	else if (!strcmp(way, "read"))
		io_uring_prep_read(sqe, fd, chunk, (unsigned int)n, 0);
	else if (!strcmp(way, "sendmsg"))
		io_uring_prep_sendmsg(sqe, fd, &message, 0);
	else
		return -1;
	return 0;
}

static long move(struct io_uring *ring, const char *way, int fd, long bytes)
{
	long moved = 0, n;

	do {
		size_t size = (size_t)(bytes - moved < CHUNK ? bytes - moved : CHUNK);

		vector.iov_len = size;
		if (prepare(io_uring_get_sqe(ring), way, fd, size)) {
			fprintf(stderr, "ring: no such way: %s\n", way);
			exit(2);
		}
		n = finish(ring);
		moved += n;
	} while (n && moved < bytes);
	return moved;
}

/* One request that goes on receiving into buffers which the kernel takes from a ring of its own. */
static long multishot(struct io_uring *ring, int fd, long bytes)
{
	static char buffers[BUFFERS][CHUNK];
	struct io_uring_buf_ring *free_ones;
	struct io_uring_buf_reg reg = { .ring_entries = BUFFERS, .bgid = GROUP };
	int mask = io_uring_buf_ring_mask(BUFFERS), err;
	long moved = 0;

	if (posix_memalign((void **)&free_ones, 4096, BUFFERS * sizeof(struct io_uring_buf)))
		fail("posix_memalign", ENOMEM);
	io_uring_buf_ring_init(free_ones);
	reg.ring_addr = (unsigned long)free_ones;
	err = io_uring_register_buf_ring(ring, &reg, 0);
	if (err)
		fail("io_uring_register_buf_ring", -err);
	for (unsigned short i = 0; i < BUFFERS; i++)
		io_uring_buf_ring_add(free_ones, buffers[i], CHUNK, i, mask, i);
	io_uring_buf_ring_advance(free_ones, BUFFERS);
	for (int armed = 0; moved < bytes;) {
		struct io_uring_cqe *cqe;
		unsigned short used;
		int n;

		if (!armed) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

			io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
			sqe->flags |= IOSQE_BUFFER_SELECT;
			sqe->buf_group = GROUP;
			io_uring_submit(ring);
		}
		cqe = wait_for_one(ring);
		n = cqe->res;
		used = (unsigned short)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
		armed = !!(cqe->flags & IORING_CQE_F_MORE);
		io_uring_cqe_seen(ring, cqe);
		if (n == -ENOBUFS)
			continue; /* all were full at that moment */
		if (!n)
			break;
		moved += n;
		io_uring_buf_ring_add(free_ones, buffers[used], CHUNK, used, mask, 0);
		io_uring_buf_ring_advance(free_ones, 1);
	}
	free(free_ones);
	return moved;
}

int main(int argc, char **argv)
{
	struct io_uring ring;
	int err;

	if (argc != 4) {
		fprintf(stderr, "usage: ring WAY FD BYTES\n");
		return 2;
	}
	err = io_uring_queue_init(8, &ring, 0);
	if (err)
		fail("io_uring_queue_init", -err);
	printf("%ld\n", !strcmp(argv[1], "multishot")
				? multishot(&ring, atoi(argv[2]), atol(argv[3]))
				: move(&ring, argv[1], atoi(argv[2]), atol(argv[3])));
	io_uring_queue_exit(&ring);
	return 0;
}
