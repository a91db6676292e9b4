// SPDX-License-Identifier: Apache-2.0
/* probe serve, sink, bulk: one process, one epoll loop. */
#pragma once
#include <getopt.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>

#include "base.h"
#include "datagram.h"

enum serve_mode { ECHO, SINK, BULK };

struct serve_options {
	enum serve_mode mode;
	struct address listen[MAX_ITEMS];
	size_t listen_count;
	struct address udp[MAX_ITEMS];
	size_t udp_count;
	const char *tag; /* who this is, for tests with several servers */
	uint64_t odst_len[MAX_ITEMS];
	size_t odst_count;
	uint64_t bulk_bytes;
	unsigned reuseport;
	bool v6only, transparent, mptcp, tfo, greet;
};

/* What epoll points at: a listener has no listener above it. */
struct source {
	int fd;
	struct source *listener;
	unsigned worker; /* which of the --reuseport sockets */
	bool datagram; /* a UDP socket, which is listener and connection in one */
	char name[ADDRESS_TEXT]; /* listener: its address; connection: its peer's */
	uint64_t sent, received, bulk_left;
	uint32_t interest;
	bool eof, shut;
	size_t len, off; /* pending output */
	char buffer[];
};

static struct source *new_source(int fd, struct source *listener, size_t buffer)
{
	struct source *source = grow(NULL, sizeof(*source) + buffer);

	*source = (struct source){ .fd = fd, .listener = listener };
	return source;
}

static void watch(int epoll, struct source *source, uint32_t interest)
{
	struct epoll_event event = { .events = interest, .data.ptr = source };
	int op = source->interest ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (source->interest == interest)
		return;
	if (epoll_ctl(epoll, op, source->fd, &event))
		die("epoll_ctl: %s", strerror(errno));
	source->interest = interest;
}

static int open_listener(const struct serve_options *options, const struct address *address)
{
	int family = address->storage.ss_family;
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			options->mptcp ? IPPROTO_MPTCP : 0);
	char text[ADDRESS_TEXT];

	if (fd < 0)
		die("socket: %s", strerror(errno));
	set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
	if (options->reuseport)
		set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT");
	if (family == AF_INET6)
		set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, options->v6only, "IPV6_V6ONLY");
	if (options->transparent)
		set_option(fd, IPPROTO_IP, IP_TRANSPARENT, 1, "IP_TRANSPARENT");
	if (options->tfo)
		set_option(fd, IPPROTO_TCP, TCP_FASTOPEN, 64, "TCP_FASTOPEN");
	if (bind(fd, (void *)&address->storage, address->len) || listen(fd, 4096))
		die("%s: %s", format_address(&address->storage, text), strerror(errno));
	return fd;
}

static void print_original_dst(FILE *out, int fd, int level, size_t len)
{
	char *buffer = grow(NULL, len + sizeof(struct sockaddr_in6));
	char text[ADDRESS_TEXT];
	socklen_t returned = len;

	memset(buffer, 0xaa, len + sizeof(struct sockaddr_in6));
	fprintf(out, "{\"level\":\"%s\",\"optlen\":%zu,", level == IPPROTO_IP ? "ip" : "ipv6", len);
	if (getsockopt(fd, level, SO_ORIGINAL_DST, buffer, &returned))
		fprintf(out, "\"errno\":\"%s\"}", errno_name(errno));
	else
		fprintf(out, "\"addr\":\"%s\",\"retlen\":%u}", format_address(buffer, text),
			returned);
	free(buffer);
}

/* The short form that most tests read: an address, or the errno's name. */
static const char *original_dst(int fd, int level, char text[ADDRESS_TEXT])
{
	struct address address = { .len = sizeof(address.storage) };

	if (getsockopt(fd, level, SO_ORIGINAL_DST, &address.storage, &address.len))
		return errno_name(errno);
	return format_address(&address.storage, text);
}

static void greet(const struct serve_options *options, struct source *conn)
{
	static const int levels[] = { IPPROTO_IP, IPPROTO_IPV6 };
	char local[ADDRESS_TEXT], odst[2][ADDRESS_TEXT];
	FILE *out = fmemopen(conn->buffer, BUFFER_SIZE, "w");

	if (!out)
		die("fmemopen: %s", strerror(errno));
	fprintf(out, "{\"tag\":\"%s\",", options->tag);
	fprintf(out, "\"listener\":\"%s\",\"worker\":%u,\"sockname\":\"%s\",\"peername\":\"%s\",",
		conn->listener->name, conn->listener->worker, name_of(getsockname, conn->fd, local),
		conn->name);
	fprintf(out, "\"odst_ip\":\"%s\",\"odst_ipv6\":\"%s\",\"odst\":[",
		original_dst(conn->fd, IPPROTO_IP, odst[0]),
		original_dst(conn->fd, IPPROTO_IPV6, odst[1]));
	for (size_t i = 0; i < options->odst_count * 2; i++) {
		fputs(i ? "," : "", out);
		print_original_dst(out, conn->fd, levels[i % 2], options->odst_len[i / 2]);
	}
	fputs("]}\n", out);
	conn->len = ftell(out);
	fclose(out);
}

static void close_conn(struct source *conn, int error)
{
	printf("{\"listener\":\"%s\",\"worker\":%u,\"peername\":\"%s\",\"received\":%" PRIu64
	       ",\"sent\":%" PRIu64 ",\"error\":",
	       conn->listener->name, conn->listener->worker, conn->name, conn->received,
	       conn->sent);
	printf(error ? "\"%s\"}\n" : "null}\n", errno_name(error));
	close(conn->fd);
	free(conn);
}

static void accept_conn(const struct serve_options *options, int epoll, struct source *listener)
{
	int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	char text[ADDRESS_TEXT];
	struct source *conn;

	if (fd < 0)
		return; /* reset while it waited in the queue */
	conn = new_source(fd, listener, BUFFER_SIZE);
	conn->bulk_left = options->mode == BULK ? options->bulk_bytes : 0;
	snprintf(conn->name, sizeof(conn->name), "%s", name_of(getpeername, fd, text));
	if (options->greet)
		greet(options, conn);
	watch(epoll, conn, EPOLLIN | EPOLLOUT);
}

/* 0, or the errno that ended the connection */
static int write_pending(struct source *conn)
{
	ssize_t n = send(conn->fd, conn->buffer + conn->off, conn->len - conn->off, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN ? 0 : errno;
	conn->sent += n;
	conn->off += n;
	if (conn->off == conn->len)
		conn->off = conn->len = 0;
	return 0;
}

static int read_some(struct source *conn, bool keep)
{
	static char waste[1 << 18];
	ssize_t n =
		recv(conn->fd, keep ? conn->buffer : waste, keep ? BUFFER_SIZE : sizeof(waste), 0);

	if (n < 0)
		return errno == EAGAIN ? 0 : errno;
	conn->received += n;
	conn->eof = n == 0;
	if (keep)
		conn->len = n;
	return 0;
}

static void refill_bulk(const struct serve_options *options, struct source *conn)
{
	conn->len = conn->bulk_left < BUFFER_SIZE ? conn->bulk_left : BUFFER_SIZE;
	fill_pattern(conn->buffer, conn->len, options->bulk_bytes - conn->bulk_left);
	conn->bulk_left -= conn->len;
	if (!conn->len && !conn->shut) {
		conn->shut = true;
		shutdown(conn->fd, SHUT_WR);
	}
}

static void serve_conn(const struct serve_options *options, int epoll, struct source *conn)
{
	bool echo = options->mode == ECHO, reading, writing;
	int error = 0;

	if (!conn->eof && (!echo || !conn->len))
		error = read_some(conn, echo);
	if (!error && options->mode == BULK && !conn->len)
		refill_bulk(options, conn);
	if (!error && conn->len)
		error = write_pending(conn);
	if (error || (conn->eof && !conn->len && !conn->bulk_left)) {
		close_conn(conn, error);
		return;
	}
	writing = conn->len || (options->mode == BULK && !conn->shut);
	reading = !conn->eof && !(echo && conn->len);
	watch(epoll, conn, (writing ? EPOLLOUT : 0) | (reading ? EPOLLIN : 0));
}

static void listen_datagram(const struct serve_options *options, int epoll,
			    const struct address *address)
{
	struct source *source = new_source(open_datagram(address, options->v6only), NULL, 0);
	char text[ADDRESS_TEXT];

	source->datagram = true;
	snprintf(source->name, sizeof(source->name), "%s", name_of(getsockname, source->fd, text));
	watch(epoll, source, EPOLLIN);
	printf(" udp %s", source->name);
}

static void listen_all(const struct serve_options *options, int epoll)
{
	printf("ready");
	for (size_t i = 0; i < options->listen_count; i++) {
		for (unsigned worker = 0; worker < (options->reuseport ? options->reuseport : 1);
		     worker++) {
			struct source *listener =
				new_source(open_listener(options, &options->listen[i]), NULL, 0);
			char text[ADDRESS_TEXT];

			listener->worker = worker;
			snprintf(listener->name, sizeof(listener->name), "%s",
				 name_of(getsockname, listener->fd, text));
			watch(epoll, listener, EPOLLIN);
			printf(" %s", listener->name);
		}
	}
	for (size_t i = 0; i < options->udp_count; i++)
		listen_datagram(options, epoll, &options->udp[i]);
	printf("\n");
}

static void add_address(struct address *list, size_t *count, const char *text)
{
	if (*count == MAX_ITEMS)
		die("too many listeners");
	parse_address(text, &list[(*count)++]);
}

static void parse_serve(int argc, char **argv, struct serve_options *options)
{
	static const struct option table[] = {
		{ "listen", required_argument, NULL, 'l' },
		{ "udp", required_argument, NULL, 'u' },
		{ "tag", required_argument, NULL, 'T' },
		{ "reuseport", required_argument, NULL, 'r' },
		{ "v6only", no_argument, NULL, '6' },
		{ "transparent", no_argument, NULL, 't' },
		{ "mptcp", no_argument, NULL, 'm' },
		{ "tfo", no_argument, NULL, 'f' },
		{ "greet", no_argument, NULL, 'g' },
		{ "no-greet", no_argument, NULL, 'G' },
		{ "odst-len", required_argument, NULL, 'o' },
		{ "send", required_argument, NULL, 's' },
		{},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
		switch (option) {
		case 'l':
			add_address(options->listen, &options->listen_count, optarg);
			break;
		case 'u':
			add_address(options->udp, &options->udp_count, optarg);
			break;
		case 'T':
			options->tag = optarg;
			break;
		case 'r':
			options->reuseport = number(optarg);
			break;
		case '6':
			options->v6only = true;
			break;
		case 't':
			options->transparent = true;
			break;
		case 'm':
			options->mptcp = true;
			break;
		case 'f':
			options->tfo = true;
			break;
		case 'g':
			options->greet = true;
			break;
		case 'G':
			options->greet = false;
			break;
		case 'o':
			options->odst_count = number_list(optarg, options->odst_len);
			break;
		case 's':
			options->bulk_bytes = number(optarg);
			break;
		default:
			exit(2);
		}
	}
	while (optind < argc) /* --listen A B C */
		add_address(options->listen, &options->listen_count, argv[optind++]);
	if (!options->listen_count && !options->udp_count)
		die("%s: --listen ADDR:PORT is missing", argv[0]);
}

__attribute__((noreturn)) static void serve_main(int argc, char **argv, enum serve_mode mode)
{
	struct serve_options options = {
		.mode = mode,
		.greet = true,
		.tag = "",
		.odst_len = { sizeof(struct sockaddr_storage) },
		.odst_count = 1,
		.bulk_bytes = 1 << 20,
	};
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	setlinebuf(stdout);
	parse_serve(argc, argv, &options);
	listen_all(&options, epoll);
	for (;;) {
		struct epoll_event events[64];
		int count = epoll_wait(epoll, events, 64, -1);

		for (int i = 0; i < count; i++) {
			struct source *source = events[i].data.ptr;

			if (source->datagram)
				answer_datagram(source->fd, options.tag, source->name);
			else if (source->listener)
				serve_conn(&options, epoll, source);
			else
				accept_conn(&options, epoll, source);
		}
	}
}
