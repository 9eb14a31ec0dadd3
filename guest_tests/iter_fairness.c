// SPDX-License-Identifier: MIT
/*
 * How evenly, and at what cost, several reclaimers at once walk one hierarchy.
 *
 * Path: mem_cgroup_iter() with a cookie (mm/memcontrol.c).  Those who reclaim from one memcg on one
 * node share a position, so that each goes on where the last one stopped, and a generation, which tells all of
 * them that the hierarchy has been gone through.  A position that is set back makes the first siblings pay for
 * all; a generation that is not seen makes every walker go round on its own account.  Neither shows in a
 * splat, so both are measured:
 *
 *	spread      siblings with the same page cache, reclaimers who ask their parent for small amounts
 *	            until a quarter is gone: the standard deviation over the siblings of what was taken from
 *	            each, in parts of the mean (0: all gave the same; 2.6: one of eight gave it all)
 *	walk_share  CPU time of a walk over empty siblings when all reclaimers walk them at once, in parts
 *	            of what it takes when each has a hierarchy of its own: they go through the siblings
 *	            once together and not once each.  Both are taken in turn, with all CPUs busy, so a slow
 *	            or a busy host is in both.
 *
 * The first is the mean over the repetitions of a run, the second the quotient of the means, both with their
 * standard error (jackknife: what each repetition contributes, seen by leaving it out), and held against the base kernel's
 * by the host (a line `# figure <name> <value> <error> <least>`; more is worse, and `least` is the least
 * difference that is worth a word).
 *
 *	<own cgroup>
 *	  h			home of the workers
 *	  f/0 ... f/7		siblings with page cache
 *	  t<n>/0 ... t<n>/11	a hierarchy of empty siblings for each worker
 *
 * A bug: any splat; a figure that is worse than the base's; a memcg that is still dying at the end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "lib/gt.h"

#define SIBLINGS	8
/* Of page cache in each: below a power of two, or the size alone decides who is reclaimed from. */
#define PAGES		508
#define PAGE		4096L
#define DISK		"/dev/ram0"
#define DISK_BYTES	(192L << 20)
#define GOAL		"128K swappiness=0"	/* SWAP_CLUSTER_MAX: a walk stops at the first that gives so much */
#define EMPTY		12
#define SLICE		0.3			/* seconds of walking empty siblings, together or apart */
#define REPETITIONS	512
#define LEAST_REPETITIONS 3
#define MPOL_BIND	2			/* include/uapi/linux/mempolicy.h */

enum { WALKS };

static const struct gt_window windows[] = {
	[WALKS] = { "walks", { "even", "odd" } },
	{ NULL, { NULL, NULL } },
};

enum { RECLAIMS, EMPTY_WALKS, TAKEN };

static const char *const figures[] = { "reclaims", "empty_walks", "taken", NULL };

enum { APART, TOGETHER };

static int siblings = -1;		/* open folders */
static int hierarchies[64];
static unsigned int node_of[64], nodes;
static bool drained = true;

static struct shared {
	_Atomic unsigned int arrived;	/* at barriers, all in all of a round */
	_Atomic unsigned long us[2], calls[2];	/* APART, TOGETHER of this repetition */
	_Atomic long left;		/* pages still to be taken in this repetition */
	long long before[SIBLINGS];
	unsigned int spreads_n, shares_n;
	struct walks {
		double seconds[2], calls[2];	/* APART, TOGETHER */
	} shares[REPETITIONS];
	double spreads[REPETITIONS];
} *shared;

/* A worker's own: all of them pass the same. */
struct walker {
	unsigned int barriers, turn;
	int disk;	/* open throughout: with the last close a disk loses its page cache */
};

/* --- setup ---------------------------------------------------------------------- */

static int make_siblings(const char *name, unsigned int n)
{
	int folder = gt_cgroup_make(gt_cgroup(), name, true);
	unsigned int i;

	for (i = 0; folder >= 0 && i < n; i++) {
		char below[16];
		int made;

		snprintf(below, sizeof(below), "%u", i);
		made = gt_cgroup_make(folder, below, false);
		if (made < 0)
			return made;
		close(made);
	}
	if (folder < 0)
		gt_note("%s: %s", name, strerror(-folder));
	return folder;
}

static bool setup(void)
{
	unsigned int i;
	int home;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		shared = NULL;
		gt_note("no memory");
		return false;
	}
	if (gt_workers() < 2) {
		gt_note("one worker has nobody to share with");
		return false;
	}
	home = gt_cgroup_make(gt_cgroup(), "h", false);
	if (home < 0) {
		gt_note("h: %s", strerror(-home));
		return false;
	}
	close(home);
	siblings = make_siblings("f", SIBLINGS);
	if (siblings < 0)
		return false;
	for (i = 0; i < gt_workers(); i++) {
		char name[16];

		snprintf(name, sizeof(name), "t%u", i);
		hierarchies[i] = make_siblings(name, EMPTY);
		if (hierarchies[i] < 0)
			return false;
	}
	for (i = 0; i < 64; i++) {
		unsigned long one = 1UL << i;

		if (!syscall(SYS_set_mempolicy, MPOL_BIND, &one, 8 * sizeof(one) + 1))
			node_of[nodes++] = i;
	}
	syscall(SYS_set_mempolicy, 0, NULL, 0);
	return true;
}

/* --- workers -------------------------------------------------------------------- */

static void on_alarm(int number)
{
	(void)number;
}

static void begin(struct gt_worker *w)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct walker *walker;

	sigaction(SIGALRM, &action, NULL);
	if (gt_cgroup_enter(gt_cgroup(), "h"))
		gt_die("h cannot be entered");
	walker = calloc(1, sizeof(*walker));
	if (!walker)
		gt_die("no memory");
	walker->disk = open(DISK, O_RDONLY | O_CLOEXEC);
	if (walker->disk < 0)
		gt_die("%s: %s", DISK, strerror(errno));
	w->own = walker;
}

/* All workers are here; false when the round was over first. */
static bool barrier(struct gt_worker *w)
{
	struct walker *walker = w->own;
	unsigned int all = ++walker->barriers * gt_workers();

	atomic_fetch_add(&shared->arrived, 1);
	while (atomic_load(&shared->arrived) < all) {
		if (gt_over())
			return false;
		gt_sleep(0.002);
	}
	return true;
}

static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/*
 * Walk empty siblings for a while.  memory.reclaim would try seventeen times; a signal ends it after the first
 * that takes longer than that.
 */
static void walk_empty(struct gt_worker *w, int kind, unsigned int hierarchy)
{
	static const struct itimerval soon = { .it_value.tv_usec = 20000 }, never;
	double until = gt_now() + SLICE;
	int file = openat(hierarchies[hierarchy], "memory.reclaim", O_WRONLY | O_CLOEXEC);

	if (file < 0)
		gt_die("memory.reclaim: %s", strerror(errno));
	do {
		double seconds = cpu_seconds();
		bool cut_short;

		setitimer(ITIMER_REAL, &soon, NULL);
		if (kind == TOGETHER)
			gt_enter(WALKS, w->index % 2);
		/* There is nothing to be had: EINTR or EAGAIN. */
		cut_short = write(file, "128K", 4) < 0 && errno == EINTR;
		if (kind == TOGETHER)
			gt_leave(WALKS, w->index % 2);
		setitimer(ITIMER_REAL, &never, NULL);
		seconds = cpu_seconds() - seconds;
		/* The signal came before the call, while another had this CPU: nothing was walked. */
		if (cut_short && seconds < 0.001)
			continue;
		atomic_fetch_add(&shared->us[kind], (unsigned long)(seconds * 1e6));
		atomic_fetch_add(&shared->calls[kind], 1);
		gt_count(EMPTY_WALKS, 1);
		gt_cycles(1);
	} while (gt_now() < until);
	close(file);
}

static void measure_share(struct gt_worker *w, uint32_t turn)
{
	struct walks *walks = &shared->shares[shared->shares_n % REPETITIONS];
	int i;

	for (i = 0; i < 2; i++) {
		int kind = (turn + (uint32_t)i) % 2 ? TOGETHER : APART;

		if (!barrier(w))
			return;
		walk_empty(w, kind, (turn + (kind == APART ? w->index : 0)) % gt_workers());
	}
	if (!barrier(w) || w->index)
		return;
	for (i = 0; i < 2; i++) {
		walks->seconds[i] = (double)atomic_exchange(&shared->us[i], 0) / 1e6;
		walks->calls[i] = (double)atomic_exchange(&shared->calls[i], 0);
	}
	if (walks->calls[APART] > 0 && walks->calls[TOGETHER] > 0 && shared->shares_n < REPETITIONS - 1)
		shared->shares_n++;
}

/* Page cache of the same size in each sibling, all of it on one node. */
static void fill(struct gt_worker *w, unsigned int node)
{
	struct walker *walker = w->own;
	unsigned long one = 1UL << node;
	unsigned int i;

	syscall(SYS_set_mempolicy, MPOL_BIND, &one, 8 * sizeof(one) + 1);
	for (i = w->index; i < SIBLINGS; i += gt_workers()) {
		off_t from = DISK_BYTES / SIBLINGS / PAGE * PAGE * i, at;
		char name[16];

		snprintf(name, sizeof(name), "%u", i);
		posix_fadvise(walker->disk, from, PAGES * PAGE, POSIX_FADV_DONTNEED);
		if (gt_cgroup_enter(siblings, name))
			gt_die("%s cannot be entered", name);
		/* A readahead is cut at the device's window. */
		for (at = from; at < from + PAGES * PAGE; at += 30 * PAGE)
			posix_fadvise(walker->disk, at, 30 * PAGE, POSIX_FADV_WILLNEED);
	}
	if (gt_cgroup_enter(gt_cgroup(), "h"))
		gt_die("h cannot be entered");
	syscall(SYS_set_mempolicy, 0, NULL, 0);
}

static long long stolen(unsigned int sibling)
{
	char path[32];
	long long pages;

	snprintf(path, sizeof(path), "%u/memory.stat", sibling);
	pages = gt_read_key(siblings, path, "pgsteal");
	if (pages < 0)
		gt_die("%s: %s", path, strerror((int)-pages));
	return pages;
}

/* By Newton's method: the programs are linked without libm. */
static double root(double square)
{
	double guess = square > 1 ? square : 1;
	int i;

	for (i = 0; i < 60; i++)
		guess = (guess + square / guess) / 2;
	return square > 0 ? guess : 0;
}

static void add_spread(void)
{
	double sum = 0, squares = 0, mean;
	unsigned int i;

	for (i = 0; i < SIBLINGS; i++) {
		double taken = (double)(stolen(i) - shared->before[i]);

		sum += taken;
		squares += taken * taken;
	}
	mean = sum / SIBLINGS;
	gt_count(TAKEN, (uint64_t)sum);
	if (mean > 0 && shared->spreads_n < REPETITIONS)
		shared->spreads[shared->spreads_n++] = root(squares / SIBLINGS - mean * mean) / mean;
}

static void measure_spread(struct gt_worker *w, uint32_t turn)
{
	unsigned int i;
	int file;

	fill(w, nodes ? node_of[turn % nodes] : 0);
	if (!barrier(w))
		return;
	if (!w->index) {
		for (i = 0; i < SIBLINGS; i++)
			shared->before[i] = stolen(i);
		atomic_store(&shared->left, SIBLINGS * PAGES / 4);
	}
	if (!barrier(w))
		return;
	file = openat(siblings, "memory.reclaim", O_WRONLY | O_CLOEXEC);
	if (file < 0)
		gt_die("memory.reclaim: %s", strerror(errno));
	while (atomic_load(&shared->left) > 0 && !gt_over()) {
		/* One visit takes a batch of both: what was taken in truth is read at the end. */
		atomic_fetch_sub(&shared->left, 64);
		gt_enter(WALKS, w->index % 2);
		if (write(file, GOAL, strlen(GOAL)) > 0)
			gt_count(RECLAIMS, 1);
		gt_leave(WALKS, w->index % 2);
		gt_cycles(1);
	}
	close(file);
	if (barrier(w) && !w->index)
		add_spread();
	barrier(w);
}

static void cycle(struct gt_worker *w)
{
	struct walker *walker = w->own;

	if (walker->turn % 2)
		measure_share(w, walker->turn / 2);
	else
		measure_spread(w, walker->turn / 2);
	walker->turn++;
}

/* --- afterwards -------------------------------------------------------------------------- */

static void settle(void)
{
	int i;

	atomic_store(&shared->arrived, 0);
	for (i = 0; i < 2; i++) {
		/* Of a repetition that the end of the round cut short. */
		atomic_store(&shared->us[i], 0);
		atomic_store(&shared->calls[i], 0);
	}
	drained = gt_cgroup_drain(gt_cgroup(), 60) && drained;
}

/* Over all repetitions but one; with n, over all. */
static double spread(unsigned int n, unsigned int without)
{
	double sum = 0;
	unsigned int i;

	for (i = 0; i < n; i++)
		sum += i == without ? 0 : shared->spreads[i];
	return sum / (without < n ? n - 1 : n);
}

static double walk_share(unsigned int n, unsigned int without)
{
	double seconds[2] = { 0, 0 }, calls[2] = { 0, 0 };
	unsigned int i, k;

	for (i = 0; i < n; i++) {
		for (k = 0; k < 2 && i != without; k++) {
			seconds[k] += shared->shares[i].seconds[k];
			calls[k] += shared->shares[i].calls[k];
		}
	}
	return seconds[TOGETHER] / calls[TOGETHER] / (seconds[APART] / calls[APART]);
}

static void print_figure(const char *name, double (*over)(unsigned int n, unsigned int without), unsigned int n,
			 double least)
{
	double value, squares = 0, mean = 0;
	unsigned int i;

	if (n < LEAST_REPETITIONS) {
		gt_note("figure %s none %u repetitions are too few", name, n);
		return;
	}
	value = over(n, n);
	for (i = 0; i < n; i++)
		mean += over(n, i) / n;
	for (i = 0; i < n; i++)
		squares += (over(n, i) - mean) * (over(n, i) - mean);
	gt_note("%s over %u repetitions:", name, n);
	gt_note("figure %s %.4f %.4f %.2f", name, value, root(squares * (n - 1) / n), least);
}

static void teardown(void)
{
	if (!shared)
		return;
	print_figure("spread", spread, shared->spreads_n, 0.25);
	print_figure("walk_share", walk_share, shared->shares_n, 0.15);
}

static bool reclaim_ran(void)
{
	return gt_figure(RECLAIMS) > 0 && gt_figure(EMPTY_WALKS) > 0;
}

static bool nothing_left_dying(void)
{
	return drained;
}

static const struct gt_role roles[] = {
	{ .name = "reclaimer", .begin = begin, .cycle = cycle },
	{ .name = NULL },
};

static const struct gt_check checks[] = {
	{ "reclaim_ran", reclaim_ran },
	{ "nothing_left_dying", nothing_left_dying },
	{ NULL, NULL },
};

const struct gt_program gt_program = {
	.name = "iter_fairness",
	.stresses = "reclaim spread over siblings, and walks shared, by concurrent reclaimers",
	.figures = figures,
	.windows = windows,
	.setup = setup,
	.roles = roles,
	.settle = settle,
	.checks = checks,
	.teardown = teardown,
};
