/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/deliveries.h"

#include <fcntl.h>
#include <linux/bpf.h> /* states of TCP */
#include <linux/sockios.h>
#include <linux/tcp.h> /* a struct tcp_info that has grown since libc took it over */
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/sockaddr.h"

enum fate { UNDER_WAY, ARRIVED, LOST };

static int read_info(int fd, struct tcp_info *ret)
{
	socklen_t len = sizeof(*ret);

	memset(ret, 0, sizeof(*ret)); /* a kernel may know less */
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret, &len) < 0 ? -errno : 0;
}

static void forget(struct deliveries *d, size_t i)
{
	close_fd(&d->items[i].fd);
	d->n--;
	memmove(&d->items[i], &d->items[i + 1], (d->n - i) * sizeof(d->items[0]));
}

void deliveries_add(struct deliveries *d, int fd, uint64_t number)
{
	struct delivery new = { .fd = -1, .number = number, .since = clock_ms() };
	struct tcp_info info;
	uint16_t port;

	if (sockaddr_peer(fd, new.client, &port) < 0 || read_info(fd, &info) < 0)
		return; /* it has been reset */
	new.received = info.tcpi_bytes_received - (info.tcpi_state == BPF_TCP_CLOSE_WAIT);
	new.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (new.fd < 0)
		return;
	if (d->n == DELIVERIES_MAX)
		forget(d, 0);
	d->items[d->n++] = new;
}

/*
 * The kernel's own word. A reset is an error of the socket only until the server has met it, and
 * leaves the same state behind as an orderly end; but no FIN has come then.
 */
static enum fate fate_of(const struct delivery *delivery, int64_t now)
{
	int error = 0, unacknowledged = 0;
	socklen_t len = sizeof(error);
	struct tcp_info info;

	if (getsockopt(delivery->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error ||
	    read_info(delivery->fd, &info) < 0 ||
	    ioctl(delivery->fd, SIOCOUTQ, &unacknowledged) < 0)
		return LOST;
	if (info.tcpi_state == BPF_TCP_CLOSE && info.tcpi_bytes_received == delivery->received)
		return LOST;
	if (!unacknowledged && info.tcpi_bytes_received > delivery->received)
		return ARRIVED;
	if (now - delivery->since < DELIVERIES_WAIT_MS)
		return UNDER_WAY;
	return unacknowledged ? LOST : ARRIVED;
}

void deliveries_settle(struct deliveries *d, deliveries_fn arrived, void *ctx)
{
	int64_t now = clock_ms();
	size_t i = 0;

	while (i < d->n) {
		enum fate fate = fate_of(&d->items[i], now);

		if (fate == ARRIVED && arrived)
			arrived(ctx, d->items[i].number, d->items[i].client);
		if (fate == UNDER_WAY)
			i++;
		else
			forget(d, i);
	}
}

static bool is_same(int a, int b)
{
	struct stat p, q;

	return fstat(a, &p) == 0 && fstat(b, &q) == 0 && p.st_ino == q.st_ino &&
	       p.st_dev == q.st_dev;
}

void deliveries_asked(struct deliveries *d, int fd, deliveries_fn arrived, void *ctx)
{
	size_t i = 0;

	while (i < d->n) {
		if (!is_same(d->items[i].fd, fd)) {
			i++;
			continue;
		}
		if (arrived)
			arrived(ctx, d->items[i].number, d->items[i].client);
		forget(d, i);
	}
}

void deliveries_clear(struct deliveries *d)
{
	while (d->n)
		forget(d, d->n - 1);
}
