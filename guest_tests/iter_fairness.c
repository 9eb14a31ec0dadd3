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
 *	spread      siblings with the same page cache, reclaimers who ask their parent for small amounts: the
 *	            standard deviation over the siblings of what was taken from each, in parts of the mean
 *	            (0: all gave the same; 1.4: one of three gave it all)
 *	walk_share  pages that a call of memory.reclaim scans when all reclaimers walk one hierarchy, in parts of
 *	            what it scans when each has one of its own: they go through the siblings once together and
 *	            not once each.  The siblings have a few pages that cannot be reclaimed (a pipe holds them), so a
 *	            call goes through all priorities seventeen times (MAX_RECLAIM_RETRIES and one), half of that
 *	            without a cookie: with n reclaimers the share is at best (1 + 1/n) / 2.  It is a
 *	            count and no time, so a slow or busy host is not in it.
 *
 * The first is measured in the first round, with MGLRU, whose visits take a whole batch; the second in the others, with
 * the classic LRU, which scans size >> priority pages of each memcg that it visits.
 *
 * Of the first the mean over the repetitions and its standard error are held against the base kernel's by the host
 * (a line `# figure <name> <value> <error> <least>`; more is worse, and `least` is the least difference that is
 * worth a word).  The second is told and not judged: no kernel is known that it tells from a sound one.
 *
 *	<own cgroup>
 *	  h			home of the workers
 *	  f/0 ... f/2		siblings with page cache
 *	  t<n>/0 ... t<n>/3	a hierarchy for each worker, of siblings with pages that are held
 *
 * A bug: any splat; a figure that is worse than the base's; a memcg that is still dying at the end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/gt.h"

#define SIBLINGS	3
/*
 * Of page cache in each.  A visit looks at size >> priority pages, and priority begins at 12 (DEF_PRIORITY).  Where
 * that comes to nothing a walk goes to the end, and the next priority's begins at the root on any kernel: so
 * there are more than 4096, and no repetition takes so many from one that fewer are left.
 */
#define PAGES		4800
#define TAKE		9			/* walks of a repetition; each takes a batch of 64 (MAX_LRU_BATCH) */
#define PAGE		4096L
#define DISK		"/dev/ram0"
#define HELD_DISK	"/dev/ram1"
#define DISK_BYTES	(192L << 20)
#define GOAL		"128K swappiness=0"	/* SWAP_CLUSTER_MAX: a walk stops at the first that gives so much */
#define HELD		4			/* siblings with pages that are held */
#define HELD_PAGES	8			/* in each; a pipe has slots for sixteen */
#define LRU_GEN		"/sys/kernel/mm/lru_gen/enabled"
#define REPETITIONS	512
#define LEAST_REPETITIONS 3
#define MPOL_BIND	2			/* include/uapi/linux/mempolicy.h */

enum { WALKS };

static const struct gt_window windows[] = {
	[WALKS] = { "walks", { "even", "odd" } },
	{ NULL, { NULL, NULL } },
};

enum { RECLAIMS, WALKS_FAR, TAKEN, SCANNED };

static const char *const figures[] = { "reclaims", "walks_far", "taken", "scanned", NULL };

enum { APART, TOGETHER };

static int siblings = -1;		/* open folders */
static int hierarchies[64];
static unsigned int node_of[64], nodes;
static bool drained = true;
static bool sharing;			/* what this round measures */
static char lru_gen[16];		/* what it was */

static struct shared {
	_Atomic unsigned int arrived;	/* at barriers, all in all of a round */
	_Atomic long left;		/* times that something is still to be taken in this repetition */
	long long before[SIBLINGS];
	unsigned int spreads_n, shares_n;
	struct walks {
		double scanned[2];	/* APART, TOGETHER */
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

/*
 * Pages of the disk that are charged to the siblings of a hierarchy, and that pipes of ours hold from now on.  A child
 * reads them: who removes the cgroups in the end must not stand in one.
 */
static bool hold(unsigned int hierarchy)
{
	static int disk = -1;
	unsigned int i;

	if (disk < 0)
		disk = open(HELD_DISK, O_RDONLY | O_CLOEXEC);
	for (i = 0; disk >= 0 && i < HELD; i++) {
		loff_t at = (loff_t)(hierarchy * HELD + i) * HELD_PAGES * PAGE, end = at + HELD_PAGES * PAGE;
		int pipes[2], status = 1;
		char name[16];
		pid_t child;

		if (pipe2(pipes, O_CLOEXEC))
			break;
		snprintf(name, sizeof(name), "%u", i);
		child = fork();
		if (!child) {
			if (gt_cgroup_enter(hierarchies[hierarchy], name))
				_exit(1);
			posix_fadvise(disk, at, HELD_PAGES * PAGE, POSIX_FADV_WILLNEED);
			while (at < end && splice(disk, &at, pipes[1], NULL, (size_t)(end - at), SPLICE_F_NONBLOCK) > 0)
				;
			_exit(at < end);
		}
		if (child < 0 || waitpid(child, &status, 0) != child || status)
			break;
	}
	if (disk >= 0 && i == HELD)
		return true;
	gt_note("pages of %s cannot be held", HELD_DISK);
	return false;
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
		hierarchies[i] = make_siblings(name, HELD);
		if (hierarchies[i] < 0 || !hold(i))
			return false;
	}
	if (gt_read(AT_FDCWD, LRU_GEN, lru_gen, sizeof(lru_gen)) < 0)
		lru_gen[0] = '\0';
	lru_gen[strcspn(lru_gen, "\n")] = '\0';
	for (i = 0; i < 64; i++) {
		unsigned long one = 1UL << i;

		if (!syscall(SYS_set_mempolicy, MPOL_BIND, &one, 8 * sizeof(one) + 1))
			node_of[nodes++] = i;
	}
	syscall(SYS_set_mempolicy, 0, NULL, 0);
	return true;
}

/* --- workers -------------------------------------------------------------------- */

static void begin(struct gt_worker *w)
{
	struct walker *walker;

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

/* What all have scanned in the hierarchies. */
static double scanned(void)
{
	double sum = 0;
	unsigned int i;

	for (i = 0; i < gt_workers(); i++) {
		long long pages = gt_read_key(hierarchies[i], "memory.stat", "pgscan");

		if (pages < 0)
			gt_die("memory.stat: %s", strerror((int)-pages));
		sum += (double)pages;
	}
	return sum;
}

static void measure_share(struct gt_worker *w, uint32_t turn)
{
	struct walks *walks = &shared->shares[shared->shares_n % REPETITIONS];
	int i;

	for (i = 0; i < 2; i++) {
		int kind = (turn + (uint32_t)i) % 2 ? TOGETHER : APART;
		unsigned int from = (turn + (kind == APART ? w->index : 0)) % gt_workers();

		if (!w->index)
			walks->scanned[kind] = -scanned();
		if (!barrier(w))
			return;
		if (kind == TOGETHER)
			gt_enter(WALKS, w->index % 2);
		/* EAGAIN: nothing can be had. */
		gt_write(hierarchies[from], "memory.reclaim", "128K swappiness=0");
		if (kind == TOGETHER)
			gt_leave(WALKS, w->index % 2);
		gt_count(WALKS_FAR, 1);
		gt_cycles(1);
		if (!barrier(w))
			return;
		if (!w->index)
			walks->scanned[kind] += scanned();
	}
	if (w->index)
		return;
	gt_count(SCANNED, (uint64_t)(walks->scanned[APART] + walks->scanned[TOGETHER]));
	if (walks->scanned[APART] > 0 && shared->shares_n < REPETITIONS - 1)
		shared->shares_n++;
}

/* Page cache of the same size in each sibling, all of it on one node; what is there still is not read again. */
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

static void measure_spread(struct gt_worker *w)
{
	unsigned int i;
	int file;

	fill(w, nodes ? node_of[0] : 0);
	if (!barrier(w))
		return;
	if (!w->index) {
		for (i = 0; i < SIBLINGS; i++)
			shared->before[i] = stolen(i);
		atomic_store(&shared->left, TAKE);
	}
	if (!barrier(w))
		return;
	file = openat(siblings, "memory.reclaim", O_WRONLY | O_CLOEXEC);
	if (file < 0)
		gt_die("memory.reclaim: %s", strerror(errno));
	while (atomic_fetch_sub(&shared->left, 1) > 0 && !gt_over()) {
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

	if (sharing)
		measure_share(w, walker->turn++);
	else
		measure_spread(w);
}

/* --- afterwards -------------------------------------------------------------------------- */

static void settle(void)
{
	atomic_store(&shared->arrived, 0);
	sharing = true;
	if (lru_gen[0])
		gt_write(AT_FDCWD, LRU_GEN, "0");
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
	double sums[2] = { 0, 0 };
	unsigned int i, k;

	for (i = 0; i < n; i++)
		for (k = 0; k < 2 && i != without; k++)
			sums[k] += shared->shares[i].scanned[k];
	return sums[TOGETHER] / sums[APART];
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
	if (lru_gen[0])
		gt_write(AT_FDCWD, LRU_GEN, "%s", lru_gen);
	if (!shared)
		return;
	print_figure("spread", spread, shared->spreads_n, 0.40);
	if (shared->shares_n)
		gt_note("walk_share=%.4f", walk_share(shared->shares_n, shared->shares_n));
}

static bool reclaim_ran(void)
{
	return gt_figure(RECLAIMS) > 0 && gt_figure(WALKS_FAR) > 0;
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
