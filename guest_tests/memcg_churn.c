// SPDX-License-Identifier: MIT
/*
 * memcgs that die under reclaim.
 *
 * Path: mem_cgroup_iter() with a reclaim cookie (mm/memcontrol.c), as shrink_node_memcgs()
 * (mm/vmscan.c) walks a subtree for memory.reclaim, memory.high and memory.max.  The iterator of
 * (root of the walk, node) keeps its position between walks.  A walk stops as soon as its goal is
 * reached and leaves the position on the memcg it took the pages from; a dead memcg is scraped
 * whole, so as a rule the walk stops at one that it has just given its last page back, which is
 * then released and freed while other walkers of the same root, of its ancestors and of other nodes
 * read that position.  Along with it go css_tryget() against the last css_put(),
 * invalidate_reclaim_iterators(), memcg_reparent_objcgs() and memcg_reparent_list_lrus() at
 * offline, per-CPU stocks drained for a memcg that dies, swap and zswap entries that outlive
 * theirs.
 *
 *	<own cgroup>            reclaimed as a whole
 *	  s0, s1                sides: one with memory.high, one with memory.max
 *	    h<n>                home of a worker between two leaves
 *	    m0, m1, m2          reclaimed one by one
 *	      <leaf>            made with mkdir, removed with rmdir
 *	      f<n>/<leaf>       a folder that goes with its leaves
 *	      t<n>/<leaf>       cgroups that stay; their memcgs come and go with cgroup.subtree_control
 *
 * Churners make a batch of leaves (a cycle is one of them), enter some and fill them, leave, and
 * remove all. Some leaves are free of charges when they are removed and are freed at once; others
 * stay pinned by clean page cache, which only reclaim gives back, or by shared or anonymous memory
 * until the batch is over. Churners wait for each other before they remove a batch, and hand out
 * what they removed once it is offline.  So memcgs go offline in bursts, and between two bursts
 * none does, while those of the last one are scraped and freed one by one: a position that went
 * stale is met both right after an offline and long after the last one.
 *
 * Reclaimers, pinned to CPUs of all nodes, write memory.reclaim on all levels, as a rule when they
 * have been told that a dead memcg with page cache is below: a walk that finds nothing goes round
 * at every priority, and takes as long as making ten memcgs.
 *
 * Turning the controller on and off makes and frees a memcg at less than half the cost of mkdir and
 * rmdir, which also make and remove some twenty files of the cgroup itself: most batches do that.
 *
 * A bug: any splat; a memcg that is still dying when nothing is left that could pin it; charges
 * that do not come back to the parent; an OOM kill (everything here can be reclaimed).
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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/gt.h"

#define SIDES		2
#define MIDS		3
#define BATCH_MOST	8
#define PAGE		4096L
#define FILL_PAGES	32		/* SWAP_CLUSTER_MAX: one walk's goal */
#define DISK		"/dev/ram0"
#define DISK_BYTES	(192L << 20)
#define DYING_MOST	256		/* above that a churner helps to reclaim */
#define MPOL_PREFERRED	1		/* include/uapi/linux/mempolicy.h */

enum { RECLAIMS, RECLAIMS_SHORT, LONG_WALKS, DYING_SEEN, CACHE_LEFT, PINNED, TREES, TOGGLES, PAGES };

static const char *const figures[] = {
	"reclaims", "reclaims_short", "long_walks", "dying_seen", "cache_left", "pinned", "trees", "toggles",
	"pages", NULL,
};

static int sides[SIDES];
static int mids[SIDES][MIDS];
static char folder[64];			/* for dentries and inodes, on tmpfs */

/* By all workers: dead memcgs with page cache, by the place they were removed from. */
static struct shared {
	_Atomic int prey[SIDES][MIDS];
	_Atomic unsigned int ready;	/* churners that ever had a batch to remove */
} *shared;

/* What a leaf is filled with, and whether that is still there when the leaf is removed. */
enum fill { CLEAN_CACHE, ANON, ANON_KEPT, SHARED_KEPT, OBJECTS };
static const enum fill fills[] = {
	CLEAN_CACHE, CLEAN_CACHE, CLEAN_CACHE, CLEAN_CACHE, ANON, ANON_KEPT, SHARED_KEPT, OBJECTS,
};

struct churner {
	int side;			/* number of its side */
	char home[16];
	int toggled, toggled_mid;	/* its own folder whose memcgs come and go, and where that stands */
	int disk;
	off_t from, to, at;		/* its part of the disk, and the place that is read next */
	unsigned int born;
	unsigned int cached;		/* leaves of this batch with page cache */
	unsigned int cached_before;	/* and of the batch before, which stood in this mid: */
	int mid_before;
	unsigned int nodes[64], nodes_n;	/* with memory */
	struct {
		void *memory;		/* or NULL: */
		int fd;
	} kept[BATCH_MOST];		/* at most one a leaf */
	unsigned int kept_n;
};

static bool prepare(void)
{
	int side, mid;
	char name[16];

	for (side = 0; side < SIDES; side++) {
		snprintf(name, sizeof(name), "s%d", side);
		sides[side] = gt_cgroup_make(gt_cgroup(), name, true);
		if (sides[side] < 0) {
			gt_note("%s: %s", name, strerror(-sides[side]));
			return false;
		}
		for (mid = 0; mid < MIDS; mid++) {
			snprintf(name, sizeof(name), "m%d", mid);
			mids[side][mid] = gt_cgroup_make(sides[side], name, true);
			if (mids[side][mid] < 0) {
				gt_note("%s: %s", name, strerror(-mids[side][mid]));
				return false;
			}
		}
	}
	if (gt_write(sides[0], "memory.high", "1M") || gt_write(sides[1], "memory.max", "4M")) {
		gt_note("no limits can be set");
		return false;
	}
	snprintf(folder, sizeof(folder), "/tmp/memcg_churn.%d", getpid());
	if (mkdir(folder, 0755)) {
		gt_note("%s: %s", folder, strerror(errno));
		return false;
	}
	return true;
}

static bool setup(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		gt_note("no memory");
		return false;
	}
	return prepare();
}

/* --- churners -------------------------------------------------------------------- */

static void churn_begin(struct gt_worker *w)
{
	struct churner *c = calloc(1, sizeof(*c));
	off_t part = DISK_BYTES / gt_workers() / PAGE * PAGE;
	char name[16];
	int home, i;

	if (!c)
		gt_die("no memory");
	c->side = (int)(w->rank % SIDES);
	c->from = c->at = part * w->index;
	c->to = c->from + part;
	c->disk = open(DISK, O_RDONLY | O_CLOEXEC);
	if (c->disk < 0)
		gt_die("%s: %s", DISK, strerror(errno));
	snprintf(c->home, sizeof(c->home), "h%u", w->index);
	home = gt_cgroup_make(sides[c->side], c->home, false);
	if (home < 0)
		gt_die("%s: %s", c->home, strerror(-home));
	close(home);
	snprintf(name, sizeof(name), "t%u", w->index);
	c->toggled_mid = (int)(w->rank / SIDES % MIDS);
	c->toggled = gt_cgroup_make_many(mids[c->side][c->toggled_mid], name, BATCH_MOST);
	if (c->toggled < 0)
		gt_die("%s: %s", name, strerror(-c->toggled));
	for (i = 0; i < 64; i++) {
		unsigned long one = 1UL << i;

		if (!syscall(SYS_set_mempolicy, MPOL_PREFERRED, &one, 8 * sizeof(one) + 1))
			c->nodes[c->nodes_n++] = (unsigned int)i;
	}
	w->own = c;
}

static void let_go(struct churner *c)
{
	while (c->kept_n) {
		c->kept_n--;
		if (c->kept[c->kept_n].memory)
			munmap(c->kept[c->kept_n].memory, FILL_PAGES * PAGE);
		else
			close(c->kept[c->kept_n].fd);
	}
}

static void keep(struct churner *c, void *memory, int fd)
{
	c->kept[c->kept_n].memory = memory;
	c->kept[c->kept_n].fd = fd;
	c->kept_n++;
	gt_count(PINNED, 1);
}

static void fill_cache(struct churner *c)
{
	if (c->at + FILL_PAGES * PAGE > c->to)
		c->at = c->from;
	/* A page that is still cached would stay charged to whoever read it first. */
	posix_fadvise(c->disk, c->at, FILL_PAGES * PAGE, POSIX_FADV_DONTNEED);
	posix_fadvise(c->disk, c->at, FILL_PAGES * PAGE, POSIX_FADV_WILLNEED);
	c->at += FILL_PAGES * PAGE;
	c->cached++;
}

static void fill_anon(struct churner *c, bool kept)
{
	char *memory = mmap(NULL, FILL_PAGES * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		return;
	if (kept)
		keep(c, memory, -1);
	else
		munmap(memory, FILL_PAGES * PAGE);
}

static void fill_shared(struct churner *c)
{
	int fd = memfd_create("churn", MFD_CLOEXEC);

	if (fd < 0)
		return;
	if (fallocate(fd, 0, 0, FILL_PAGES * PAGE) == 0)
		keep(c, NULL, fd);
	else
		close(fd);
}

static void fill_objects(struct gt_worker *w)
{
	char path[96];
	int i;

	for (i = 0; i < 8; i++) {
		int fd;

		snprintf(path, sizeof(path), "%s/%u.%d", folder, w->index, i);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (fd >= 0)
			close(fd);
		/* Half of them outlive their memcg, until this worker comes by again. */
		if (i % 2)
			unlink(path);
	}
}

static void fill_leaf(struct gt_worker *w)
{
	struct churner *c = w->own;
	enum fill fill = fills[gt_random_below(&w->random, GT_ARRAY(fills))];

	/* All on one node, so that one leaf is a walk's goal: the walk stops there. */
	if (c->nodes_n > 1) {
		unsigned long one = 1UL << c->nodes[gt_random_below(&w->random, c->nodes_n)];

		syscall(SYS_set_mempolicy, MPOL_PREFERRED, &one, 8 * sizeof(one) + 1);
	}

	switch (fill) {
	case CLEAN_CACHE:
		fill_cache(c);
		break;
	case ANON:
	case ANON_KEPT:
		fill_anon(c, fill == ANON_KEPT);
		break;
	case SHARED_KEPT:
		fill_shared(c);
		break;
	case OBJECTS:
		fill_objects(w);
		return;
	}
	gt_count(PAGES, FILL_PAGES);
}

/* Enter and fill half of the leaves of a batch, then go home. */
static void fill_batch(struct gt_worker *w, int parent, char names[][16], unsigned int n)
{
	struct churner *c = w->own;
	bool entered = false;
	unsigned int i;

	c->cached = 0;
	for (i = 0; i < n; i++) {
		if (gt_random_one_in(&w->random, 2))
			continue;
		if (gt_cgroup_enter(parent, names[i]))
			gt_die("%s cannot be entered", names[i]);
		entered = true;
		fill_leaf(w);
	}
	if (entered && gt_cgroup_enter(sides[c->side], c->home))
		gt_die("%s cannot be entered", c->home);
}

/*
 * Reclaim scrapes a dead memcg only once it is offline, a grace period after it was removed; before
 * that it is one small memcg among others.  So it is told of a batch when the next one has been
 * made: turning the controller on waits until what was turned off is offline.
 */
static void tell_reclaimers(struct churner *c)
{
	atomic_fetch_add(&shared->prey[c->side][c->mid_before], (int)c->cached_before);
	c->cached_before = 0;
}

/* Remove when all churners are ready to, but do not wait for one that is stuck in reclaim. */
static void wait_for_others(void)
{
	unsigned int churners = (gt_workers() + 1) / 2;
	unsigned int all = (atomic_fetch_add(&shared->ready, 1) / churners + 1) * churners;
	double until = gt_now() + 0.5;

	while (atomic_load(&shared->ready) < all && gt_now() < until && !gt_over())
		gt_sleep(0.002);
}

/* Leaves that keep their cgroup and lose their memcg. */
static void churn_toggled(struct gt_worker *w)
{
	struct churner *c = w->own;
	char names[BATCH_MOST][16];
	unsigned int i;

	for (i = 0; i < BATCH_MOST; i++)
		snprintf(names[i], sizeof(names[i]), "%u", i);
	gt_cgroup_memory(c->toggled, "+memory");
	tell_reclaimers(c);
	fill_batch(w, c->toggled, names, BATCH_MOST);
	wait_for_others();
	gt_cgroup_memory(c->toggled, "-memory");
	gt_count(TOGGLES, 1);
	gt_cycles(BATCH_MOST);
}

/* Leaves that are made and removed, below `parent`. */
static void churn_made(struct gt_worker *w, int parent)
{
	struct churner *c = w->own;
	unsigned int n = 3 + gt_random_below(&w->random, BATCH_MOST - 2), i;
	char names[BATCH_MOST][16];

	for (i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "%u.%u", w->index, c->born++);
		if (mkdirat(parent, names[i], 0755))
			gt_die("%s: %s", names[i], strerror(errno));
	}
	tell_reclaimers(c);
	fill_batch(w, parent, names, n);
	wait_for_others();
	for (i = 0; i < n; i++) {
		int error = gt_cgroup_remove(parent, names[i]);

		if (error)
			gt_die("%s cannot be removed: %s", names[i], strerror(-error));
	}
	gt_cycles(n);
}

/* The same in a folder that goes too. */
static void churn_tree(struct gt_worker *w, int parent)
{
	char name[16];
	int tree, error;

	snprintf(name, sizeof(name), "f%u", w->index);
	tree = gt_cgroup_make(parent, name, true);
	if (tree < 0)
		gt_die("%s: %s", name, strerror(-tree));
	churn_made(w, tree);
	close(tree);
	error = gt_cgroup_remove(parent, name);
	if (error)
		gt_die("%s cannot be removed: %s", name, strerror(-error));
	gt_count(TREES, 1);
	gt_cycles(1);
}

static void churn(struct gt_worker *w)
{
	struct churner *c = w->own;
	int mid = (int)gt_random_below(&w->random, MIDS);

	if (!gt_random_one_in(&w->random, 4)) {
		mid = c->toggled_mid;
		churn_toggled(w);
	} else if (gt_random_one_in(&w->random, 2)) {
		churn_tree(w, mids[c->side][mid]);
	} else {
		churn_made(w, mids[c->side][mid]);
	}
	c->mid_before = mid;
	c->cached_before = c->cached;
	gt_count(CACHE_LEFT, c->cached);
	/* What pins the others goes while reclaim has them in its hands. */
	let_go(c);

	/* Reclaim gives dead memcgs back quicker than churners make them; where it does not, they wait for it. */
	while (gt_random_one_in(&w->random, 4) && !gt_over() &&
	       gt_read_key(gt_cgroup(), "cgroup.stat", "nr_dying_subsys_memory") > DYING_MOST)
		gt_write(gt_cgroup(), "memory.reclaim", "1M");
}

static void churn_end(struct gt_worker *w)
{
	let_go(w->own);
}

/* --- reclaimers ---------------------------------------------------------------------- */

/* Take one dead memcg with page cache off the list; false when there is none. */
static bool hunt(struct gt_worker *w, uint32_t *side, uint32_t *mid)
{
	uint32_t at = gt_random_below(&w->random, SIDES * MIDS), i;

	for (i = 0; i < SIDES * MIDS; i++, at++) {
		_Atomic int *here;
		int n;

		*side = at / MIDS % SIDES;
		*mid = at % MIDS;
		here = &shared->prey[*side][*mid];
		n = atomic_load(here);
		while (n > 0)
			if (atomic_compare_exchange_weak(here, &n, n - 1))
				return true;
	}
	return false;
}

static void on_alarm(int number)
{
	(void)number;
}

static void reclaim_begin(struct gt_worker *w)
{
	struct sigaction action = { .sa_handler = on_alarm };

	(void)w;
	sigaction(SIGALRM, &action, NULL);
}

static void reclaim(struct gt_worker *w)
{
	/* Small goals: a walk that stops midway is what leaves a position behind. */
	static const char *const goals[] = {
		"128K", "128K swappiness=0", "128K swappiness=0", "128K swappiness=0",
	};
	static const struct itimerval soon = { .it_value.tv_usec = 20000 }, never;
	uint32_t side, mid, level = gt_random_below(&w->random, 8);
	int target, error;

	if (!hunt(w, &side, &mid)) {
		/* At least once, however short the budget. */
		if (w->own && !gt_random_one_in(&w->random, 250)) {
			gt_sleep(0.002);
			return;
		}
		side = gt_random_below(&w->random, SIDES);
		gt_count(LONG_WALKS, 1);
	}
	w->own = &shared->ready;
	target = level < 4 ? gt_cgroup() : level < 7 ? sides[side] : mids[side][mid];
	/*
	 * Where there is nothing, memory.reclaim tries seventeen times at thirteen priorities,
	 * which takes as long as making a hundred memcgs.  A signal ends it after the first time.
	 */
	setitimer(ITIMER_REAL, &soon, NULL);
	error = gt_write(target, "memory.reclaim", "%s", goals[gt_random_below(&w->random, GT_ARRAY(goals))]);
	setitimer(ITIMER_REAL, &never, NULL);
	gt_count(error ? RECLAIMS_SHORT : RECLAIMS, 1);
	/* Time for what was scraped to be freed, before the position that was left on it is read. */
	gt_sleep(gt_random_below(&w->random, 64) / 1000.0);
	if (gt_random_one_in(&w->random, 8) &&
	    gt_read_key(gt_cgroup(), "cgroup.stat", "nr_dying_subsys_memory") > 0)
		gt_count(DYING_SEEN, 1);
}

/* --- afterwards -------------------------------------------------------------------------- */

static bool left_dying;

static void put_away(void)
{
	int side, mid;

	for (side = 0; side < SIDES; side++) {
		for (mid = 0; mid < MIDS; mid++)
			if (mids[side][mid] > 0)
				close(mids[side][mid]);
		if (sides[side] > 0)
			close(sides[side]);
	}
	gt_remove_all(AT_FDCWD, folder);
	gt_cgroup_remove_below(gt_cgroup());
	if (!gt_cgroup_drain(gt_cgroup(), 60) || gt_read_key(gt_cgroup(), "cgroup.stat", "nr_descendants"))
		left_dying = true;
}

/* The books of each round are read with what setup made, and no more. */
static void settle(void)
{
	put_away();
	memset(shared, 0, sizeof(*shared));
	if (!prepare())
		gt_die("cannot be set up again");
}

static bool reclaim_ran(void)
{
	return gt_figure(RECLAIMS) + gt_figure(RECLAIMS_SHORT) > 0;
}

static bool nothing_left_dying(void)
{
	return !left_dying;
}

/* What is left is our own: the cgroup's data and charges that CPUs keep for the next time. */
static bool counters_back(void)
{
	return gt_charges_back(1 << 20);
}

static const struct gt_role roles[] = {
	{ .name = "churner", .begin = churn_begin, .cycle = churn, .end = churn_end },
	{ .name = "reclaimer", .begin = reclaim_begin, .cycle = reclaim },
	{ .name = NULL },
};

static const struct gt_check checks[] = {
	{ "reclaim_ran", reclaim_ran },
	{ "nothing_left_dying", nothing_left_dying },
	{ "counters_back", counters_back },
	{ "no_oom_kill", gt_no_oom_kill },
	{ NULL, NULL },
};

const struct gt_program gt_program = {
	.name = "memcg_churn",
	.stresses = "memcg reclaim iterators while memcgs are made, emptied and freed",
	.figures = figures,
	.setup = setup,
	.roles = roles,
	.settle = settle,
	.checks = checks,
	.teardown = put_away,
};
