/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The screen of weir top. Signals come through a descriptor, so that one poll() waits for keys, for
 * time and for signals, and the terminal is given back on every way out.
 */
#include <curses.h>
#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "cli/top.h"

#define HEAD_LINES 3
#define ESCAPE	   27
#define REDRAW	   ('L' & 0x1f)
#define FILTER_MAX 64

struct screen {
	struct top *top;
	SCREEN *term;
	int signal_fd;
	double delay; /* seconds */
	double due; /* when to read again */
	uint32_t left; /* tables; 0: no end */
	size_t skip; /* rows above the screen */
	char filter[FILTER_MAX];
	char error[256]; /* the last line of the screen; "" for none */
	bool help;
	bool paused; /* nothing is read but at a key */
	bool done;
	int signal; /* that ended it */
};

static void print_help(const struct screen *s)
{
	mvprintw(0, 0, "weir top, every %.1f s\n\n", s->delay);
	printw("  1 2 3 4, Tab   workloads, pods, edges, connections\n"
	       "  < >            sort by the column before, after\n");
	for (size_t i = 0; i < top_columns_n; i++)
		printw("  %c              sort by %s\n", top_columns[i].key, top_columns[i].name);
	printw("  r              the other way round\n"
	       "  /              only names that hold a text; Escape or nothing: all\n"
	       "  i              with and without what is idle\n"
	       "  =              all rows, from the first\n"
	       "  Up Down PgUp PgDn Home End\n"
	       "  d s            delay between two tables\n"
	       "  space Enter    now\n"
	       "  p              pause, go on\n"
	       "  h ?            this; any key goes back\n"
	       "  q              end\n");
}

/* One line at a time, none beyond the last: whatever the size of the terminal. */
static void print_table(const struct screen *s)
{
	_cleanup_buf_ struct buf text = { 0 };
	char *line;
	int row = 0;

	top_write(s->top, (size_t)COLS, s->skip, &text);
	line = text.data;
	while (line && row < LINES) {
		char *end = strchr(line, '\n');

		if (end)
			*end = '\0';
		if (row == HEAD_LINES)
			attron(A_REVERSE);
		mvaddnstr(row, 0, line, (int)utf8_fit(line, (size_t)COLS));
		if (row == HEAD_LINES)
			hline(' ', COLS - getcurx(stdscr));
		attroff(A_REVERSE);
		line = end ? end + 1 : NULL;
		row++;
	}
	if (*s->error || s->paused)
		mvaddnstr(LINES - 1, 0, *s->error ? s->error : "paused: p goes on", COLS);
}

static void draw(const struct screen *s)
{
	erase();
	if (s->help)
		print_help(s);
	else
		print_table(s);
	refresh();
}

static void read_now(struct screen *s)
{
	_cleanup_free_ char *error = NULL;

	s->error[0] = '\0';
	if (top_read(s->top, &error) < 0)
		snprintf(s->error, sizeof(s->error), "%s", error);
	s->due = clock_seconds() + s->delay;
}

static void read_signal(struct screen *s)
{
	struct signalfd_siginfo info;
	struct winsize size;

	if (read(s->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo != SIGWINCH) {
		s->signal = (int)info.ssi_signo;
		s->done = true;
	} else if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row) {
		resizeterm(size.ws_row, size.ws_col);
		clearok(curscr, TRUE);
	}
}

/* Waits for a key until `due`; ERR when time or a signal came first. */
static int next_key(struct screen *s)
{
	struct pollfd fds[] = { { STDIN_FILENO, POLLIN, 0 }, { s->signal_fd, POLLIN, 0 } };
	double left = s->due - clock_seconds();
	int key = getch();

	if (key != ERR)
		return key;
	if (poll(fds, 2, left > 0 ? (int)(left * 1000) + 1 : 0) < 0)
		return ERR; /* a stop and a continue */
	if (fds[1].revents)
		read_signal(s);
	else if (fds[0].revents & (POLLHUP | POLLERR))
		s->done = true; /* the terminal is gone */
	return fds[0].revents & POLLIN ? getch() : ERR;
}

/* A line at the bottom; false when it was given up. Signals are heeded, time is not. */
static bool ask(struct screen *s, const char *question, char *answer, size_t room)
{
	double due = s->due;
	size_t len = 0;
	int key = ERR;

	answer[0] = '\0';
	while (!s->done) {
		draw(s);
		mvprintw(LINES - 1, 0, "%s%s", question, answer);
		clrtoeol();
		refresh();
		s->due = clock_seconds() + 3600;
		key = next_key(s);
		if (key == ESCAPE || key == '\n' || key == '\r' || key == KEY_ENTER)
			break;
		if ((key == KEY_BACKSPACE || key == 127 || key == '\b') && len)
			answer[--len] = '\0';
		else if (key >= ' ' && key < 127 && len + 1 < room) {
			answer[len++] = (char)key;
			answer[len] = '\0';
		}
	}
	s->due = due;
	return !s->done && key != ESCAPE;
}

static void ask_filter(struct screen *s)
{
	if (!ask(s, "only names with: ", s->filter, sizeof(s->filter)))
		s->filter[0] = '\0';
	s->top->filter = s->filter;
	s->skip = 0;
}

static void ask_delay(struct screen *s)
{
	char text[16], *end;
	double delay;

	if (!ask(s, "seconds: ", text, sizeof(text)))
		return;
	delay = strtod(text, &end);
	if (end == text || *end || !(delay >= 0.1 && delay <= 3600)) {
		snprintf(s->error, sizeof(s->error), "give seconds from 0.1 to 3600");
		return;
	}
	s->delay = delay;
	s->due = clock_seconds() + delay;
}

/* Another view begins anew; its rates come a moment later. */
static void set_view(struct screen *s, int view)
{
	s->top->view = (enum top_view)view;
	top_sample_free(&s->top->sample);
	s->skip = 0;
	read_now(s);
	s->due = clock_seconds() + (s->delay < 1 ? s->delay : 1);
}

static void move_sort(struct screen *s, int by)
{
	s->top->sort = (s->top->sort + top_columns_n + (size_t)by) % top_columns_n;
}

static void scroll_rows(struct screen *s, int by)
{
	size_t n, page = (size_t)(LINES > HEAD_LINES + 2 ? LINES - HEAD_LINES - 1 : 1);
	_cleanup_free_ const struct top_row **rows = top_order(s->top, &n);
	size_t most = n > page ? n - page : 0;

	(void)rows; /* their number is what is wanted */

	if (by < 0)
		s->skip = s->skip > (size_t)-by ? s->skip - (size_t)-by : 0;
	else
		s->skip += (size_t)by;
	if (s->skip > most)
		s->skip = most;
}

static bool sort_key(struct screen *s, int key)
{
	for (size_t i = 0; i < top_columns_n; i++)
		if (top_columns[i].key == key) {
			s->top->sort = i;
			return true;
		}
	return false;
}

static void show_all(struct screen *s)
{
	s->filter[0] = '\0';
	s->top->active = false;
	s->skip = 0;
}

static void obey(struct screen *s, int key)
{
	int page = LINES > HEAD_LINES + 2 ? LINES - HEAD_LINES - 1 : 1;

	if (s->help) {
		s->help = false;
		return;
	}
	if (key >= '1' && key < '1' + TOP_VIEWS)
		set_view(s, key - '1');
	else if (key == '\t')
		set_view(s, (int)((s->top->view + 1) % TOP_VIEWS));
	else if (key == 'q' || key == 'Q')
		s->done = true;
	else if (key == 'h' || key == '?')
		s->help = true;
	else if (key == 'd' || key == 's')
		ask_delay(s);
	else if (key == '/')
		ask_filter(s);
	else if (key == ESCAPE)
		s->filter[0] = '\0';
	else if (key == 'i')
		s->top->active = !s->top->active;
	else if (key == '=')
		show_all(s);
	else if (key == '<' || key == KEY_LEFT)
		move_sort(s, -1);
	else if (key == '>' || key == KEY_RIGHT)
		move_sort(s, 1);
	else if (key == 'r' || key == 'R')
		s->top->reverse = !s->top->reverse;
	else if (key == ' ' || key == '\n' || key == '\r' || key == KEY_ENTER)
		read_now(s);
	else if (key == 'p')
		s->paused = !s->paused;
	else if (key == REDRAW)
		clearok(curscr, TRUE);
	else if (key == KEY_UP || key == KEY_DOWN)
		scroll_rows(s, key == KEY_UP ? -1 : 1);
	else if (key == KEY_PPAGE || key == KEY_NPAGE)
		scroll_rows(s, key == KEY_PPAGE ? -page : page);
	else if (key == KEY_HOME)
		s->skip = 0;
	else if (key == KEY_END)
		scroll_rows(s, INT_MAX / 2);
	else
		sort_key(s, key);
}

/* The time for it has come. */
static void refresh_rows(struct screen *s)
{
	if (s->paused) {
		s->due = clock_seconds() + s->delay;
		return;
	}
	read_now(s);
	if (s->left && !--s->left)
		s->done = true;
}

static void loop(struct screen *s)
{
	read_now(s);
	s->due = clock_seconds() + (s->delay < 1 ? s->delay : 1);
	while (!s->done) {
		int key;

		draw(s);
		key = next_key(s);
		if (key != ERR) {
			obey(s, key);
		} else if (!s->done && clock_seconds() >= s->due) {
			refresh_rows(s);
		}
	}
}

static void restore(void)
{
	if (!isendwin())
		endwin();
}

static int open_screen(struct screen *s, sigset_t *signals)
{
	sigemptyset(signals);
	sigaddset(signals, SIGWINCH);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGHUP);
	sigaddset(signals, SIGINT);
	sigaddset(signals, SIGQUIT);
	sigprocmask(SIG_BLOCK, signals, NULL);
	s->signal_fd = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signal_fd < 0)
		return -errno;
	if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1) /* nobody said: names may still be UTF-8 */
		setlocale(LC_CTYPE, "C.UTF-8");
	s->term = newterm(NULL, stdout, stdin);
	if (!s->term)
		return -ENOTTY;
	atexit(restore); /* also when memory runs out */
	set_escdelay(50);
	cbreak();
	noecho();
	nodelay(stdscr, TRUE);
	keypad(stdscr, TRUE);
	curs_set(0);
	return 0;
}

/* Ends as the signal would have ended it, once the terminal is as it was. */
static void end_by(int number, const sigset_t *signals)
{
	signal(number, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, signals, NULL);
	raise(number);
}

int top_screen(struct top *t, double delay, uint32_t iterations)
{
	struct screen s = { .top = t, .delay = delay, .left = iterations, .signal_fd = -1 };
	sigset_t signals;
	int r = open_screen(&s, &signals);

	if (r < 0) {
		fprintf(stderr, "weir top: no screen: %s; give -b for plain text\n",
			r == -ENOTTY
				? "TERM names no terminal that is known here (TERM=xterm may do)"
				: strerror(-r));
		close_fd(&s.signal_fd);
		return EXIT_FAILURE;
	}
	if (t->filter)
		snprintf(s.filter, sizeof(s.filter), "%s", t->filter);
	t->filter = s.filter;
	loop(&s);
	t->filter = NULL;
	endwin();
	delscreen(s.term);
	close_fd(&s.signal_fd);
	if (s.signal && s.signal != SIGINT)
		end_by(s.signal, &signals);
	return EXIT_SUCCESS;
}
