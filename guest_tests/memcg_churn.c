// SPDX-License-Identifier: MIT
/*
 * memcgs that die under reclaim.
 *
 * Path: mem_cgroup_iter() with a reclaim cookie (mm/memcontrol.c), as shrink_node_memcgs() (mm/vmscan.c)
 * walks a subtree for memory.reclaim, memory.high and memory.max.  The iterator of (root of the walk, node)
 * keeps its position between walks.  A walk stops as soon as its goal is reached and leaves the position on the memcg
 * it took the pages from; a dead memcg is scraped whole, so as a rule the walk stops at one that it has
 * just given its last page back, which is then released and freed while other walkers of the same root, of
 * its ancestors and of other nodes read that position.  Along with it go css_tryget() against
 * the last css_put(), invalidate_reclaim_iterators(), memcg_reparent_objcgs() and
 * memcg_reparent_list_lrus() at offline, per-CPU stocks drained for a memcg that dies, swap and zswap
 * entries that outlive theirs.
 *
 *	<own cgroup>            limits: none; reclaimed as a whole
 *	  s0, s1                sides: one with memory.high, one with memory.max
 *	    m0, m1, m2          stay; reclaimed one by one
 *	      <leaf>            made, filled, removed: a cycle
 *	    f<n>/<leaf>         a folder that goes with its leaves
 *	    h<n>                home of a worker between two leaves
 *
 * Churners make a batch of leaves, enter each and fill it, leave, and remove them.  Some leaves are
 * free of charges when they are removed and are freed at once; others stay pinned by clean page cache (which
 * only reclaim gives back), by shared memory or by anonymous memory until a later batch.
 * Reclaimers, pinned to CPUs of all nodes, write memory.reclaim on all levels.
 *
 * A bug: any splat; a memcg that is still dying when nothing is left that could pin it; charges that do not
 * come back to the parent; an OOM kill (everything here can be reclaimed).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/gt.h"

#define SIDES		2
#define MIDS		3
#define BATCH_MAX	8
#define PAGE		4096L
#define FILL_PAGES	32		/* SWAP_CLUSTER_MAX: one walk's goal */
#define DISK		"/dev/ram0"
#define DISK_BYTES	(192L << 20)
#define KEPT		16		/* pins that a worker holds until the next batch */
#define DYING_MOST	256		/* above that a churner helps to reclaim */
#define MPOL_INTERLEAVE	3		/* include/uapi/linux/mempolicy.h */

enum { RECLAIMS, RECLAIMS_EMPTY, DYING_SEEN, PINNED, TREES, PAGES };

static const char *const figures[] = {
	"reclaims", "reclaims_empty", "dying_seen", "pinned", "trees", "pages", NULL,
};

static int sides[SIDES];
static int mids[SIDES][MIDS];
static char folder[64];			/* for dentries and inodes, on tmpfs */

/* What a leaf is filled with, and whether that is still there when the leaf is removed. */
enum fill { CLEAN_CACHE, ANON, ANON_KEPT, SHARED, SHARED_KEPT, OBJECTS };
static const enum fill fills[] = {
	CLEAN_CACHE, CLEAN_CACHE, CLEAN_CACHE, ANON, ANON_KEPT, SHARED, SHARED_KEPT, OBJECTS,
};

struct churner {
	int side;			/* number of its side */
	char home[16];
	int disk;
	off_t from, to, at;		/* its part of the disk, and the place that is read next */
	unsigned int born;
	struct {
		void *memory;
		int fd;
	} kept[KEPT];
	unsigned int kept_n;
};

static bool setup(void)
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
	if (gt_write(sides[0], "memory.high", "2M") || gt_write(sides[1], "memory.max", "16M")) {
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

/* --- churners -------------------------------------------------------------------- */

static void churn_begin(struct gt_worker *w)
{
	struct churner *c = calloc(1, sizeof(*c));
	unsigned long all_nodes = ~0UL;
	off_t part = DISK_BYTES / gt_workers() / PAGE * PAGE;
	int home;

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
	/* Pages of one leaf on every node: the lists of all nodes have something to reclaim. */
	syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, &all_nodes, 8 * sizeof(all_nodes));
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
	gt_count(PINNED, 1);
}

static void fill_anon(struct churner *c, bool kept)
{
	char *memory = mmap(NULL, FILL_PAGES * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		return;
	if (kept && c->kept_n < KEPT)
		keep(c, memory, -1);
	else
		munmap(memory, FILL_PAGES * PAGE);
}

static void fill_shared(struct churner *c, bool kept)
{
	int fd = memfd_create("churn", MFD_CLOEXEC);

	if (fd < 0)
		return;
	if (fallocate(fd, 0, 0, FILL_PAGES * PAGE) == 0 && kept && c->kept_n < KEPT)
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

	switch (fill) {
	case CLEAN_CACHE:
		fill_cache(c);
		break;
	case ANON:
	case ANON_KEPT:
		fill_anon(c, fill == ANON_KEPT);
		break;
	case SHARED:
	case SHARED_KEPT:
		fill_shared(c, fill == SHARED_KEPT);
		break;
	case OBJECTS:
		fill_objects(w);
		return;
	}
	gt_count(PAGES, FILL_PAGES);
}

/* Reclaim gives dead memcgs back quicker than churners make them; where it does not, they wait for it. */
static void keep_bounded(void)
{
	while (!gt_over() && gt_read_key(gt_cgroup(), "cgroup.stat", "nr_dying_descendants") > DYING_MOST)
		gt_write(gt_cgroup(), "memory.reclaim", "1M");
}

static void churn(struct gt_worker *w)
{
	struct churner *c = w->own;
	unsigned int n = 3 + gt_random_below(&w->random, BATCH_MAX - 2), made = 0, i;
	char names[BATCH_MAX][16], tree[16];
	bool own_tree = gt_random_one_in(&w->random, 4);
	int parent = mids[c->side][gt_random_below(&w->random, MIDS)];

	if (own_tree) {
		snprintf(tree, sizeof(tree), "f%u", w->index);
		parent = gt_cgroup_make(sides[c->side], tree, true);
		if (parent < 0)
			gt_die("%s: %s", tree, strerror(-parent));
	}
	for (i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "%u.%u", w->index, c->born++);
		if (mkdirat(parent, names[i], 0755))
			gt_die("%s: %s", names[i], strerror(errno));
		made++;
		if (gt_cgroup_enter(parent, names[i]))
			gt_die("%s cannot be entered", names[i]);
		fill_leaf(w);
	}
	if (gt_cgroup_enter(sides[c->side], c->home))
		gt_die("%s cannot be entered", c->home);
	for (i = 0; i < made; i++) {
		int error = gt_cgroup_remove(parent, names[i]);

		if (error)
			gt_die("%s cannot be removed: %s", names[i], strerror(-error));
	}
	if (own_tree) {
		int error;

		close(parent);
		error = gt_cgroup_remove(sides[c->side], tree);
		if (error)
			gt_die("%s cannot be removed: %s", tree, strerror(-error));
		gt_count(TREES, 1);
	}
	gt_cycles(made + own_tree);
	/* Now they are dead; what pinned them goes while reclaim has them in its hands. */
	let_go(c);
	keep_bounded();
}

static void churn_end(struct gt_worker *w)
{
	let_go(w->own);
}

/* --- reclaimers ---------------------------------------------------------------------- */

static void reclaim(struct gt_worker *w)
{
	/* Small goals: a walk that stops midway is what leaves a position behind. */
	static const char *const goals[] = {
		"128K", "128K", "256K swappiness=0", "128K swappiness=0", "1M",
	};
	uint32_t side = gt_random_below(&w->random, SIDES);
	uint32_t level = gt_random_below(&w->random, 8);
	int target = level < 3 ? gt_cgroup() : level < 6 ? sides[side] : mids[side][gt_random_below(&w->random, MIDS)];
	const char *goal = goals[gt_random_below(&w->random, GT_ARRAY(goals))];
	int error;

	/* Nothing there: seventeen tries of thirteen priorities would find that out very slowly. */
	if (gt_read_number(target, "memory.current") < 512 * 1024)
		target = gt_cgroup();
	error = gt_write(target, "memory.reclaim", "%s", goal);
	gt_count(error ? RECLAIMS_EMPTY : RECLAIMS, 1);
	if (gt_random_one_in(&w->random, 16) &&
	    gt_read_key(gt_cgroup(), "cgroup.stat", "nr_dying_descendants") > 0)
		gt_count(DYING_SEEN, 1);
}

/* --- afterwards -------------------------------------------------------------------------- */

static bool drained;

static void settle(void)
{
	gt_remove_all(AT_FDCWD, folder);
	gt_cgroup_remove_below(gt_cgroup());
	drained = gt_cgroup_drain(gt_cgroup(), 60);
}

static bool reclaim_ran(void)
{
	return gt_figure(RECLAIMS) > 0;
}

static bool reclaim_met_dying(void)
{
	return gt_figure(DYING_SEEN) > 0 && gt_figure(PINNED) > 0;
}

static bool nothing_left_dying(void)
{
	return drained && gt_read_key(gt_cgroup(), "cgroup.stat", "nr_descendants") == 0;
}

/* What is left is our own: the cgroup's data and charges that CPUs keep for the next time. */
static bool counters_back(void)
{
	long long current = gt_read_number(gt_cgroup(), "memory.current");
	long long swap = gt_read_number(gt_cgroup(), "memory.swap.current");
	long long zswap = gt_read_number(gt_cgroup(), "memory.zswap.current");

	gt_note("memory.current=%lld memory.swap.current=%lld memory.zswap.current=%lld", current, swap, zswap);
	return current >= 0 && current < (1 << 20) && swap <= 0 && zswap <= 0;
}

static bool no_oom_kill(void)
{
	return gt_read_key(gt_cgroup(), "memory.events", "oom_kill") == 0;
}

static const struct gt_role roles[] = {
	{ .name = "churner", .begin = churn_begin, .cycle = churn, .end = churn_end },
	{ .name = "reclaimer", .cycle = reclaim },
	{ .name = NULL },
};

static const struct gt_check checks[] = {
	{ "reclaim_ran", reclaim_ran },
	{ "reclaim_met_dying", reclaim_met_dying },
	{ "nothing_left_dying", nothing_left_dying },
	{ "counters_back", counters_back },
	{ "no_oom_kill", no_oom_kill },
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
};
