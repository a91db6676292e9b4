// SPDX-License-Identifier: Apache-2.0
/*
 * relay: the small proxy of the benchmarks, one process and no threads, IPv4.
 *
 *   relay [--outbound PORT --upstream ADDR:PORT] [--inbound PORT --application ADDR:PORT]
 *         [--answer PORT] [--cpu N]
 *
 * It asks SO_ORIGINAL_DST of what it accepts and passes bytes on to there. A client that dialled
 * the relay's own port (no redirection: what the others are compared with) is passed on to the
 * fixed address, so that the relay does the same work in every case. A connection meant for port
 * --answer goes no further: the relay echoes, which leaves the hop between application and proxy.
 * With --answer alone it is the echo server.
 *
 * Like an HTTP proxy it connects onward when the first bytes arrive, and like Istio's it leaves
 * from 127.0.0.6 inbound. Either side's end ends both, by reset: half-closed connections are of no
 * use here, and TIME_WAIT would use up the ports. SIGTERM prints its books as one line of JSON.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

#define SO_ORIGINAL_DST 80 /* linux/netfilter_ipv4.h clashes with netinet */

enum { BACKLOG = 4096, EVENTS = 64, BUFFER = 65536 };

/* What epoll points at: first member of everything that can become ready. */
struct source {
	void (*ready)(struct source *source, uint32_t events);
};

struct listener {
	struct source source;
	int fd;
	bool inbound;
	struct sockaddr_in self;
	struct sockaddr_in fixed; /* where clients go that dialled this port itself */
};

/* One side of a relayed connection, with the bytes that could not be written to it yet. */
struct side {
	struct source source;
	int fd;
	uint32_t interest;
	struct pair *pair;
	char *held;
	size_t start, length;
};

struct pair {
	struct side client, server;
	struct sockaddr_in to;
	bool inbound, answers, connecting, ended;
	struct pair *next_ended;
};

struct books {
	uint64_t accepted; /* all of them */
	uint64_t undiverted; /* meant for the relay's own port */
	uint64_t answered; /* by the relay itself */
	uint64_t relayed; /* connected onward */
	uint64_t failed; /* could not be connected onward */
};

static struct {
	int epoll;
	bool stop;
	struct listener listeners[3];
	size_t count;
	struct sockaddr_in answer;
	struct pair *ended; /* freed after all events at hand: one of them may still point there */
	struct books books;
} relay;

static void watch(int fd, int operation, uint32_t interest, struct source *source)
{
	struct epoll_event event = { .events = interest, .data.ptr = source };

	if (epoll_ctl(relay.epoll, operation, fd, &event))
		die("epoll_ctl: %s", strerror(errno));
}

static void set_interest(struct side *side, uint32_t interest)
{
	if (side->interest == interest)
		return;
	side->interest = interest;
	watch(side->fd, EPOLL_CTL_MOD, interest, &side->source);
}

static void close_side(struct side *side)
{
	if (side->fd >= 0)
		close_by_reset(side->fd);
	free(side->held);
	side->fd = -1;
	side->held = NULL;
}

static void end_pair(struct pair *pair)
{
	close_side(&pair->client);
	close_side(&pair->server);
	pair->ended = true;
	pair->next_ended = relay.ended;
	relay.ended = pair;
}

static void free_ended(void)
{
	while (relay.ended) {
		struct pair *next = relay.ended->next_ended;

		free(relay.ended);
		relay.ended = next;
	}
}

/* Whom the bytes of this side go to; back to itself when the relay answers. */
static struct side *opposite(struct side *side)
{
	struct pair *pair = side->pair;

	if (pair->answers)
		return side;
	return side == &pair->client ? &pair->server : &pair->client;
}

static void hold(struct side *side, const char *bytes, size_t length)
{
	side->held = malloc(length);
	if (!side->held)
		die("out of memory");
	memcpy(side->held, bytes, length);
	side->start = 0;
	side->length = length;
}

/* While bytes are held for one side, the other is not read: one buffer a direction is enough. */
static void update_interest(struct pair *pair)
{
	struct side *client = &pair->client, *server = &pair->server;

	if (pair->answers) {
		set_interest(client, client->held ? EPOLLOUT : EPOLLIN);
		return;
	}
	set_interest(client, (server->held ? 0 : EPOLLIN) | (client->held ? EPOLLOUT : 0));
	set_interest(server, (client->held ? 0 : EPOLLIN) | (server->held ? EPOLLOUT : 0));
}

/* False when the pair has ended. */
static bool deliver(struct side *to, const char *bytes, size_t length)
{
	ssize_t sent = send(to->fd, bytes, length, MSG_NOSIGNAL);

	if (sent < 0 && errno != EAGAIN) {
		end_pair(to->pair);
		return false;
	}
	if (sent < 0)
		sent = 0;
	if ((size_t)sent < length)
		hold(to, bytes + sent, length - sent);
	update_interest(to->pair);
	return true;
}

static bool flush_held(struct side *to)
{
	char *held = to->held;
	bool lives;

	if (!held)
		return true;
	to->held = NULL;
	lives = deliver(to, held + to->start, to->length);
	free(held);
	return lives;
}

static void connect_failed(struct pair *pair, int error)
{
	relay.books.failed++;
	fprintf(stderr, "relay: connect to %s:%u: %s\n", inet_ntoa(pair->to.sin_addr),
		ntohs(pair->to.sin_port), strerror(error));
	end_pair(pair);
}

static void connected(struct pair *pair)
{
	pair->connecting = false;
	relay.books.relayed++;
	if (flush_held(&pair->server))
		update_interest(pair);
}

static void side_ready(struct source *source, uint32_t events);

/* Istio's proxy leaves from 127.0.0.6 inbound, which is how the rules know its last leg. */
static void leave_as_inbound(int fd)
{
	struct sockaddr_in from = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 5) };
	int one = 1;

	setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&from, sizeof(from)))
		die("bind to 127.0.0.6: %s", strerror(errno));
}

static void connect_onward(struct pair *pair)
{
	struct side *server = &pair->server;

	server->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (server->fd < 0)
		die("socket: %s", strerror(errno));
	no_delay(server->fd);
	if (pair->inbound)
		leave_as_inbound(server->fd);
	server->source.ready = side_ready;
	server->interest = EPOLLOUT;
	watch(server->fd, EPOLL_CTL_ADD, EPOLLOUT, &server->source);
	set_interest(&pair->client, 0);
	pair->connecting = true;
	if (!connect(server->fd, (struct sockaddr *)&pair->to, sizeof(pair->to)))
		connected(pair);
	else if (errno != EINPROGRESS)
		connect_failed(pair, errno);
}

static void finish_connect(struct pair *pair)
{
	socklen_t size = sizeof(int);
	int error = 0;

	getsockopt(pair->server.fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error)
		connect_failed(pair, error);
	else
		connected(pair);
}

/* One read for each event: epoll reports again what is left, and most often nothing is. */
static void pump(struct side *from)
{
	static char buffer[BUFFER];
	struct side *to = opposite(from);
	ssize_t length = recv(from->fd, buffer, sizeof(buffer), 0);

	if (length < 0 && errno == EAGAIN)
		return;
	if (length <= 0) {
		end_pair(from->pair);
		return;
	}
	if (to->fd >= 0) {
		deliver(to, buffer, length);
		return;
	}
	hold(to, buffer, length);
	connect_onward(from->pair);
}

static void side_ready(struct source *source, uint32_t events)
{
	struct side *side = (struct side *)source;
	struct pair *pair = side->pair;

	if (pair->ended)
		return;
	if (pair->connecting && side == &pair->server) {
		finish_connect(pair);
		return;
	}
	if ((events & EPOLLOUT) && !flush_held(side))
		return;
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		pump(side);
}

/* Without redirection nobody knows an original destination: then it is the own address. */
static struct sockaddr_in destination(int fd, const struct listener *listener)
{
	struct sockaddr_in to = { 0 };
	socklen_t size = sizeof(to);

	if (getsockopt(fd, SOL_IP, SO_ORIGINAL_DST, &to, &size))
		return listener->self;
	return to;
}

static struct pair *make_pair(int fd, const struct listener *listener)
{
	struct pair *pair = calloc(1, sizeof(*pair));

	if (!pair)
		die("out of memory");
	pair->to = destination(fd, listener);
	pair->inbound = listener->inbound;
	pair->client = (struct side){ .source.ready = side_ready, .fd = fd, .pair = pair };
	pair->server = (struct side){ .fd = -1, .pair = pair };
	relay.books.accepted++;
	pair->answers = relay.answer.sin_port && pair->to.sin_port == relay.answer.sin_port;
	relay.books.answered += pair->answers;
	if (pair->to.sin_port == listener->self.sin_port) {
		pair->to = listener->fixed;
		relay.books.undiverted++;
	}
	return pair;
}

static void listener_ready(struct source *source, uint32_t events)
{
	struct listener *listener = (struct listener *)source;
	int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct pair *pair;

	(void)events;
	if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED))
		return;
	if (fd < 0)
		die("accept: %s", strerror(errno));
	no_delay(fd);
	pair = make_pair(fd, listener);
	pair->client.interest = EPOLLIN;
	watch(fd, EPOLL_CTL_ADD, EPOLLIN, &pair->client.source);
}

static struct listener *add_listener(uint16_t port)
{
	struct listener *listener = &relay.listeners[relay.count++];
	int one = 1;

	listener->source.ready = listener_ready;
	listener->self = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
	listener->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener->fd < 0)
		die("socket: %s", strerror(errno));
	setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener->fd, (struct sockaddr *)&listener->self, sizeof(listener->self)) ||
	    listen(listener->fd, BACKLOG))
		die("port %u: %s", port, strerror(errno));
	watch(listener->fd, EPOLL_CTL_ADD, EPOLLIN, &listener->source);
	return listener;
}

struct options {
	uint16_t outbound, inbound, answer;
	struct sockaddr_in upstream, application;
};

static void parse(int argc, char **argv, struct options *options)
{
	for (int i = 1; i < argc; i += 2) {
		if (i + 1 == argc)
			die("%s: its value is missing", argv[i]);
		if (!strcmp(argv[i], "--outbound"))
			options->outbound = number(argv[i + 1], UINT16_MAX);
		else if (!strcmp(argv[i], "--inbound"))
			options->inbound = number(argv[i + 1], UINT16_MAX);
		else if (!strcmp(argv[i], "--answer"))
			options->answer = number(argv[i + 1], UINT16_MAX);
		else if (!strcmp(argv[i], "--upstream"))
			options->upstream = endpoint(argv[i + 1]);
		else if (!strcmp(argv[i], "--application"))
			options->application = endpoint(argv[i + 1]);
		else if (!strcmp(argv[i], "--cpu"))
			pin(number(argv[i + 1], CPU_SETSIZE - 1));
		else
			die("%s: no such option (see the head of tests/bench/relay.c)", argv[i]);
	}
	if (!options->outbound != !options->upstream.sin_port)
		die("--outbound and --upstream belong together");
	if (!options->inbound != !options->application.sin_port)
		die("--inbound and --application belong together");
	if (!options->outbound && !options->inbound && !options->answer)
		die("nothing to do: --outbound, --inbound or --answer");
}

static void listen_on(const struct options *options)
{
	struct listener *listener;

	if (options->outbound)
		add_listener(options->outbound)->fixed = options->upstream;
	if (options->inbound) {
		listener = add_listener(options->inbound);
		listener->fixed = options->application;
		listener->inbound = true;
	}
	if (options->answer)
		relay.answer = add_listener(options->answer)->self;
}

static void stop_ready(struct source *source, uint32_t events)
{
	(void)source;
	(void)events;
	relay.stop = true;
}

/* SIGTERM as an event, so that the books are printed between two events and not within one. */
static void catch_stop(void)
{
	static struct source stop = { stop_ready };
	sigset_t signals;
	int fd;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	fd = signalfd(-1, &signals, SFD_CLOEXEC);
	if (fd < 0)
		die("signalfd: %s", strerror(errno));
	watch(fd, EPOLL_CTL_ADD, EPOLLIN, &stop);
}

static void serve(void)
{
	struct epoll_event events[EVENTS];

	while (!relay.stop) {
		int count = epoll_wait(relay.epoll, events, EVENTS, -1);

		if (count < 0 && errno != EINTR)
			die("epoll_wait: %s", strerror(errno));
		for (int i = 0; i < count; i++) {
			struct source *source = events[i].data.ptr;

			source->ready(source, events[i].events);
		}
		free_ended();
	}
}

int main(int argc, char **argv)
{
	struct options options = { 0 };

	program = "relay";
	parse(argc, argv, &options);
	relay.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (relay.epoll < 0)
		die("epoll_create1: %s", strerror(errno));
	catch_stop();
	listen_on(&options);
	serve();
	printf("{\"accepted\": %llu, \"undiverted\": %llu, \"answered\": %llu, \"relayed\": %llu, "
	       "\"failed\": %llu}\n",
	       (unsigned long long)relay.books.accepted, (unsigned long long)relay.books.undiverted,
	       (unsigned long long)relay.books.answered, (unsigned long long)relay.books.relayed,
	       (unsigned long long)relay.books.failed);
	return 0;
}
