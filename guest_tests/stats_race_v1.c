// SPDX-License-Identifier: MIT
/*
 * cgroup v1: thresholds with eventfd, their removal, and statistics, while the memcgs they are about go.
 *
 * A threshold is registered through cgroup.event_control and taken away when its eventfd is closed or its memcg is
 * removed, whichever comes first, by a work item either way (mm/memcontrol-v1.c, memcg_event_wake,
 * memcg1_css_offline, memcg_event_remove).  The array of thresholds is exchanged under RCU while charges look
 * through it (__mem_cgroup_threshold; its spare is kept and used again).  oom_control and pressure_level go the
 * same way.  One side makes memcgs, charges in them up and down over their thresholds, and removes them; the other
 * registers and closes meanwhile, or reads memory.stat and memory.numa_stat of the memcg that goes.
 *
 * A controller is on one hierarchy at a time, and moves only when its root has no child, living or dying; and what
 * was charged in v2 and is freed in v1 makes a counter go below zero.  So this runs in a guest in which the
 * controller was never on in v2 (`cgroup: v1` in programs.yaml), and takes it to v1, which serves as --cgroup.
 *
 * A bug: any splat; a number that is negative or that no counter can reach; no threshold ever told; charges or
 * memcgs that stay when all is removed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/gt.h"
#include "lib/v1.h"

#define PAGE		4096L
#define BATCH		4
#define PAGES		64
#define EVENTS		8
#define WAIT		0.0005
#define TEXT		16384
#define PAIRS		32
/* No counter of a guest that runs for minutes gets here, and every negative one is beyond. */
#define IMPOSSIBLE	(1ULL << 50)

enum { REGISTERED, REFUSED, TOLD, READS, GONE, REMOVED };

static const char *const figures[] = {
	"registered", "refused", "told", "reads", "gone_while_read", "removed", NULL,
};

enum { CLOSE_REMOVAL, CHARGE_UNREGISTER, READ_REMOVAL };
enum { REMOVER, OBSERVER };

static const struct gt_window windows[] = {
	[CLOSE_REMOVAL] = { "close_vs_removal", { "removal", "close" } },
	[CHARGE_UNREGISTER] = { "charge_vs_unregister", { "charge", "unregister" } },
	[READ_REMOVAL] = { "read_vs_removal", { "removal", "read" } },
	{ .name = NULL },
};

/* A remover and the observer of the same rank. */
struct pair {
	_Atomic unsigned int turn;	/* of four: 0 nothing stands, 1 it is charged, 2 in between, 3 about to go */
	_Atomic unsigned int watched;	/* the turn that the observer is ready for */
	unsigned int born;		/* number of the first of the batch */
};

static struct shared {
	_Atomic unsigned int wrong;
	struct pair pairs[PAIRS];
} *shared;

/* Before main(), which then finds v1 where it makes its cgroup. */
static void __attribute__((constructor)) take_v1(int argc, char **argv)
{
	gt_v1_take(argc, argv);
}

static void __attribute__((destructor)) let_v1_go(void)
{
	gt_v1_let_go();
}

/* --- what is read ------------------------------------------------------------------------------------ */

static void wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void wrong(const char *format, ...)
{
	char text[300];
	va_list list;

	/* The first few say enough. */
	if (atomic_fetch_add(&shared->wrong, 1) >= 12)
		return;
	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	gt_note("wrong: %s", text);
}

/* Limits that nobody has set are as large as a counter gets (PAGE_COUNTER_MAX). */
static bool is_limit(const char *line)
{
	return !strncmp(line, "hierarchical_mem", strlen("hierarchical_mem"));
}

static void check_numbers(const char *what, const char *text)
{
	const char *at, *line = text;

	for (at = text; *at; at++) {
		if (at != text && !strchr(" =\n", at[-1]))
			continue;
		if (at != text && at[-1] == '\n')
			line = at;
		if (!is_limit(line) && (*at == '-' || strtoull(at, NULL, 10) >= IMPOSSIBLE))
			wrong("%s has %.*s", what, (int)strcspn(line, "\n"), line);
	}
}

static bool read_open(int fd, const char *what)
{
	static char text[TEXT];
	ssize_t length = 0, got;

	while (length < TEXT - 1 && (got = pread(fd, text + length, TEXT - 1 - length, length)) > 0)
		length += got;
	text[length] = '\0';
	gt_count(length ? READS : GONE, 1);
	check_numbers(what, text);
	return length > 0;
}

/* --- the side that charges and removes ------------------------------------------------------------------ */

struct remover {
	char home[16];
	unsigned int born;
};

static bool setup(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		gt_note("no memory");
		return false;
	}
	if (!faccessat(gt_cgroup(), "cgroup.event_control", W_OK, 0))
		return true;
	gt_note("no cgroup.event_control: this is not v1");
	return false;
}

static void remover_begin(struct gt_worker *w)
{
	struct remover *r = calloc(1, sizeof(*r));
	int home;

	if (!r)
		gt_die("no memory");
	snprintf(r->home, sizeof(r->home), "h%u", w->rank);
	home = gt_cgroup_make(gt_cgroup(), r->home, false);
	if (home < 0)
		gt_die("%s: %s", r->home, strerror(-home));
	close(home);
	if (gt_cgroup_enter(gt_cgroup(), r->home))
		gt_die("%s cannot be entered", r->home);
	atomic_store(&shared->pairs[w->rank % PAIRS].turn, 0);
	atomic_store(&shared->pairs[w->rank % PAIRS].watched, 0);
	w->own = r;
}

static void name_of(char *name, size_t size, unsigned int rank, unsigned int number)
{
	snprintf(name, size, "m%u.%u", rank, number);
}

/* The next turn begins, and the observer is ready for it, if it comes. */
static void next_turn(struct gt_worker *w, struct pair *pair)
{
	unsigned int now = atomic_fetch_add(&pair->turn, 1) + 1;
	double until = gt_now() + 0.2;

	while (atomic_load(&pair->watched) != now && gt_now() < until && !gt_over())
		gt_sleep(WAIT);
	gt_spin(gt_random_below(&w->random, 300));
}

/* Over the thresholds and back. */
static void up_and_down(struct gt_worker *w)
{
	unsigned int i;

	for (i = 0; i < 8; i++) {
		size_t size = (PAGES / 2 + gt_random_below(&w->random, PAGES / 2)) * PAGE;
		void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
				    -1, 0);

		if (memory != MAP_FAILED)
			munmap(memory, size);
	}
}

static void remove_batch(struct gt_worker *w)
{
	struct remover *r = w->own;
	struct pair *pair = &shared->pairs[w->rank % PAIRS];
	unsigned int i;
	char name[32];

	pair->born = r->born;
	r->born += BATCH;
	for (i = 0; i < BATCH; i++) {
		name_of(name, sizeof(name), w->rank, pair->born + i);
		if (mkdirat(gt_cgroup(), name, 0755))
			gt_die("%s: %s", name, strerror(errno));
	}
	next_turn(w, pair);
	name_of(name, sizeof(name), w->rank, pair->born);
	if (gt_cgroup_enter(gt_cgroup(), name))
		gt_die("%s cannot be entered", name);
	gt_enter(CHARGE_UNREGISTER, REMOVER);
	up_and_down(w);
	gt_leave(CHARGE_UNREGISTER, REMOVER);
	if (gt_cgroup_enter(gt_cgroup(), r->home))
		gt_die("%s cannot be entered", r->home);
	atomic_fetch_add(&pair->turn, 1);

	next_turn(w, pair);
	gt_enter(CLOSE_REMOVAL, REMOVER);
	gt_enter(READ_REMOVAL, REMOVER);
	for (i = 0; i < BATCH; i++) {
		int error;

		name_of(name, sizeof(name), w->rank, pair->born + i);
		error = gt_cgroup_remove(gt_cgroup(), name);
		if (error)
			gt_die("%s cannot be removed: %s", name, strerror(-error));
	}
	gt_leave(READ_REMOVAL, REMOVER);
	gt_leave(CLOSE_REMOVAL, REMOVER);
	atomic_fetch_add(&pair->turn, 1);
	gt_count(REMOVED, BATCH);
	gt_cycles(BATCH);
}

/* --- the side that observes ------------------------------------------------------------------------------- */

struct observer {
	unsigned int seen;		/* turn */
	int events[EVENTS];		/* eventfds, -1 for none */
};

static void observer_begin(struct gt_worker *w)
{
	struct observer *o = calloc(1, sizeof(*o));
	cpu_set_t set;
	int i;

	if (!o)
		gt_die("no memory");
	for (i = 0; i < EVENTS; i++)
		o->events[i] = -1;
	w->own = o;
	/* On another CPU than the remover that it watches: the library puts both on one. */
	for (i = 1; i < CPU_SETSIZE; i++) {
		CPU_ZERO(&set);
		CPU_SET((w->cpu + i) % sysconf(_SC_NPROCESSORS_CONF), &set);
		if (!sched_setaffinity(0, sizeof(set), &set))
			break;
	}
}

/* An eventfd for something of a memcg: "<eventfd> <file> <argument>" (memcg_write_event_control). */
static int event_on(struct gt_worker *w, const char *name)
{
	static const struct { const char *file, *argument; } rows[] = {
		{ "memory.usage_in_bytes", "32768" }, { "memory.usage_in_bytes", "131072" },
		{ "memory.usage_in_bytes", "65536" }, { "memory.memsw.usage_in_bytes", "98304" },
		{ "memory.oom_control", "" }, { "memory.pressure_level", "low" },
	};
	unsigned int row = gt_random_below(&w->random, GT_ARRAY(rows));
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), file;
	char path[80];

	snprintf(path, sizeof(path), "%s/%s", name, rows[row].file);
	file = openat(gt_cgroup(), path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "%s/cgroup.event_control", name);
	if (gt_write(gt_cgroup(), path, "%d %d %s", event, file, rows[row].argument))
		gt_count(REFUSED, 1);
	else
		gt_count(REGISTERED, 1);
	if (file >= 0)
		close(file);
	return event;
}

static void close_event(int event)
{
	uint64_t told;

	if (event < 0)
		return;
	if (read(event, &told, sizeof(told)) == sizeof(told))
		gt_count(TOLD, told);
	close(event);
}

static void unregister(struct gt_worker *w, struct pair *pair, unsigned int now)
{
	int first, second, i;
	char name[32];

	name_of(name, sizeof(name), w->rank, pair->born);
	first = event_on(w, name);
	second = event_on(w, name);
	atomic_store(&pair->watched, now);
	gt_spin(gt_random_below(&w->random, 300));
	gt_enter(CHARGE_UNREGISTER, OBSERVER);
	for (i = 0; i < 6; i++) {
		/* The array shrinks and grows, and its spare is used again. */
		close_event(first);
		first = second;
		second = event_on(w, name);
	}
	gt_leave(CHARGE_UNREGISTER, OBSERVER);
	close_event(first);
	/* This one stays until its memcg has gone. */
	close_event(((struct observer *)w->own)->events[0]);
	((struct observer *)w->own)->events[0] = second;
}

static void close_all(struct observer *o, int from)
{
	int i;

	for (i = from; i < EVENTS; i++) {
		close_event(o->events[i]);
		o->events[i] = -1;
	}
}

static void close_while_removed(struct gt_worker *w, struct pair *pair, unsigned int now)
{
	struct observer *o = w->own;
	char name[32];
	int i;

	for (i = 1; i < EVENTS; i++) {
		name_of(name, sizeof(name), w->rank, pair->born + (unsigned int)i % BATCH);
		o->events[i] = event_on(w, name);
	}
	atomic_store(&pair->watched, now);
	gt_spin(gt_random_below(&w->random, 600));
	gt_enter(CLOSE_REMOVAL, OBSERVER);
	close_all(o, 1);
	gt_leave(CLOSE_REMOVAL, OBSERVER);
}

static void read_while_removed(struct gt_worker *w, struct pair *pair, unsigned int now)
{
	static const char *const files[] = {
		"memory.stat", "memory.numa_stat", "memory.usage_in_bytes", "memory.kmem.usage_in_bytes",
	};
	int fds[GT_ARRAY(files)];
	unsigned int i, n, left;
	char name[32], path[80];

	name_of(name, sizeof(name), w->rank, pair->born + gt_random_below(&w->random, BATCH));
	for (i = 0; i < GT_ARRAY(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", name, files[i]);
		fds[i] = openat(gt_cgroup(), path, O_RDONLY | O_CLOEXEC);
	}
	atomic_store(&pair->watched, now);
	gt_spin(gt_random_below(&w->random, 300));
	gt_enter(READ_REMOVAL, OBSERVER);
	for (n = 0, left = 1; n < 8 && left; n++)
		for (i = 0, left = 0; i < GT_ARRAY(files); i++)
			left += fds[i] >= 0 && read_open(fds[i], files[i]);
	gt_leave(READ_REMOVAL, OBSERVER);
	for (i = 0; i < GT_ARRAY(files); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void observe(struct gt_worker *w)
{
	struct observer *o = w->own;
	struct pair *pair = &shared->pairs[w->rank % PAIRS];
	double until = gt_now() + 1.0;
	unsigned int now;

	for (;;) {
		now = atomic_load(&pair->turn);
		if (now % 2 && now != o->seen)
			break;
		if (gt_over() || gt_now() > until)
			return;
		/* Not a spin: the CPU is another pair's remover's. */
		gt_sleep(WAIT);
	}
	o->seen = now;
	if (now % 4 == 1)
		unregister(w, pair, now);
	else if (gt_random_one_in(&w->random, 3))
		read_while_removed(w, pair, now);
	else
		close_while_removed(w, pair, now);
}

static void observer_end(struct gt_worker *w)
{
	close_all(w->own, 0);
}

/* --- afterwards ------------------------------------------------------------------------------------------------ */

static bool freed = true;
static long long most_left;

static void settle(void)
{
	long long left;

	gt_cgroup_remove_below(gt_cgroup());
	/* The root and our own. */
	freed = gt_v1_wait_for_memcgs(2, 60) && freed;
	gt_write(gt_cgroup(), "memory.force_empty", "0");
	left = gt_read_number(gt_cgroup(), "memory.usage_in_bytes");
	if (left < 0 || left > most_left)
		most_left = left < 0 ? 1LL << 60 : left;
}

static bool no_impossible_value(void)
{
	return !atomic_load(&shared->wrong);
}

static bool thresholds_told(void)
{
	return gt_figure(TOLD) > 0;
}

static bool nothing_left_dying(void)
{
	return freed;
}

/* What is left is our own: the cgroup's data and charges that CPUs keep for the next time. */
static bool usage_back(void)
{
	gt_note("usage_in_bytes=%lld", most_left);
	return most_left < 1 << 20;
}

static const struct gt_role roles[] = {
	{ .name = "remover", .begin = remover_begin, .cycle = remove_batch },
	{ .name = "observer", .begin = observer_begin, .cycle = observe, .end = observer_end },
	{ .name = NULL },
};

static const struct gt_check checks[] = {
	{ "no_impossible_value", no_impossible_value },
	{ "thresholds_told", thresholds_told },
	{ "nothing_left_dying", nothing_left_dying },
	{ "usage_back", usage_back },
	{ NULL, NULL },
};

const struct gt_program gt_program = {
	.name = "stats_race_v1",
	.stresses = "cgroup v1: thresholds, their eventfds and memory.stat while memcgs are charged and removed",
	.figures = figures,
	.windows = windows,
	.setup = setup,
	.roles = roles,
	.settle = settle,
	.checks = checks,
};
