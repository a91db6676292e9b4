/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop: file descriptors and timers, one thread, level-triggered epoll. */
#ifndef WEIR_AGENT_LOOP_H
#define WEIR_AGENT_LOOP_H

#include <stdint.h>

struct loop;

/* events: EPOLLIN and friends that are pending. */
typedef void (*loop_fn)(void *ctx, uint32_t events);

int loop_new(struct loop **ret);
void loop_free(struct loop *loop);

/* Watches fd, which stays the caller's, until loop_remove(). 0 or -errno. */
int loop_add(struct loop *loop, int fd, uint32_t events, loop_fn fn, void *ctx);
void loop_remove(struct loop *loop, int fd);

/* A one-shot timer as a file descriptor that loop_arm() sets; the caller closes it. -errno on
 * failure. */
int loop_timer(struct loop *loop, loop_fn fn, void *ctx);
/* Fires once after ms (0: as soon as possible); an earlier setting is replaced. ms < 0 disarms. */
void loop_arm(int timer_fd, int64_t ms);

/* Runs until loop_stop(), which may have come before. 0 or -errno. Can be run again. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* Milliseconds of a clock that never goes back. */
int64_t loop_now_ms(void);

#endif
