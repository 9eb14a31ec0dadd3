// SPDX-License-Identifier: MIT
/*
 * The same walks in cgroup v1: soft limits, limits that are lowered, memory.force_empty.
 *
 * Path: mem_cgroup_iter() with a cookie below mem_cgroup_soft_reclaim() (mm/memcontrol-v1.c), which only global
 * reclaim of the classic LRU calls, for the memcg that is furthest above its soft limit; below
 * mem_cgroup_resize_max() and mem_cgroup_force_empty(); and memcg1_remove_from_trees() for memcgs that
 * die while they stand in the tree of those.
 *
 *	<own cgroup>
 *	  h				home of the churners
 *	  p0 ... p3			with a soft limit of one page, so that all are above theirs
 *	    <leaf>			made, filled with page cache, removed
 *
 * A bug: any splat; a memcg that is still there when all have been removed and their page cache was dropped.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/gt.h"
#include "lib/v1.h"

#define PARENTS		4
#define BATCH		5
#define PAGE		4096L
#define FILL_PAGES	32
#define DISK		"/dev/ram0"
#define DISK_BYTES	(192L << 20)
#define LRU_GEN		"/sys/kernel/mm/lru_gen/enabled"
#define HUGE_PAGES	"/proc/sys/vm/nr_hugepages"
#define SPARE_MB	48
#define PATIENCE	30	/* seconds that dead memcgs have to go when nothing is left of them */

enum { WALK_RELEASE };
enum { WALK, RELEASE };

static const struct gt_window windows[] = {
	[WALK_RELEASE] = { "walk_release", { "walk", "release" } },
	{ NULL, { NULL, NULL } },
};

enum { SOFT, LOWERED, EMPTIED, REMOVED };

static const char *const figures[] = { "soft", "lowered", "emptied", "removed", NULL };

static char lru_gen[16];		/* what it was */
static int parents[PARENTS];
static bool freed = true;

struct churner {
	int disk;
	off_t from, to, at;
	unsigned int born;
};

/* Before main(), which then finds v1 where it makes its cgroup. */
static void __attribute__((constructor)) start_over(int argc, char **argv)
{
	gt_v1_take(argc, argv);
}

static void __attribute__((destructor)) let_v1_go(void)
{
	gt_v1_let_go();
}

/* --- setup --------------------------------------------------------------------------------- */

static bool setup(void)
{
	char name[8], *end;
	int i;

	if (faccessat(gt_cgroup(), "memory.soft_limit_in_bytes", W_OK, 0)) {
		gt_note("no memory.soft_limit_in_bytes: this is not v1");
		return false;
	}
	for (i = 0; i < PARENTS; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		parents[i] = gt_cgroup_make(gt_cgroup(), name, true);
		if (parents[i] < 0 || gt_write(parents[i], "memory.soft_limit_in_bytes", "4096")) {
			gt_note("%s cannot be made, or has no soft limit", name);
			return false;
		}
	}
	if (gt_cgroup_make(gt_cgroup(), "h", false) < 0) {
		gt_note("h cannot be made");
		return false;
	}
	if (gt_read(AT_FDCWD, LRU_GEN, lru_gen, sizeof(lru_gen)) < 0)
		lru_gen[0] = '\0';
	end = strchr(lru_gen, '\n');
	if (end)
		*end = '\0';
	/* MGLRU knows no soft limits. */
	gt_write(AT_FDCWD, LRU_GEN, "0");
	return true;
}

/* --- workers -------------------------------------------------------------------------------- */

static void churn_begin(struct gt_worker *w)
{
	struct churner *c = calloc(1, sizeof(*c));
	off_t part = DISK_BYTES / gt_workers() / PAGE * PAGE;

	if (!c)
		gt_die("no memory");
	c->from = c->at = part * w->index;
	c->to = c->from + part;
	c->disk = open(DISK, O_RDONLY | O_CLOEXEC);
	if (c->disk < 0)
		gt_die("%s: %s", DISK, strerror(errno));
	w->own = c;
}

static void churn(struct gt_worker *w)
{
	struct churner *c = w->own;
	int parent = parents[gt_random_below(&w->random, PARENTS)], error = 0;
	char names[BATCH][24];
	int i;

	for (i = 0; i < BATCH; i++) {
		snprintf(names[i], sizeof(names[i]), "%u.%u", w->index, c->born++);
		if (mkdirat(parent, names[i], 0755))
			gt_die("%s: %s", names[i], strerror(errno));
		/* In the tree of those above their soft limit when it dies. */
		if (gt_random_one_in(&w->random, 2)) {
			char file[160];

			snprintf(file, sizeof(file), "%s/memory.soft_limit_in_bytes", names[i]);
			gt_write(parent, file, "4096");
		}
		if (gt_cgroup_enter(parent, names[i]))
			gt_die("%s cannot be entered", names[i]);
		if (c->at + FILL_PAGES * PAGE > c->to)
			c->at = c->from;
		posix_fadvise(c->disk, c->at, FILL_PAGES * PAGE, POSIX_FADV_DONTNEED);
		posix_fadvise(c->disk, c->at, FILL_PAGES * PAGE, POSIX_FADV_WILLNEED);
		c->at += FILL_PAGES * PAGE;
	}
	if (gt_cgroup_enter(gt_cgroup(), "h"))
		gt_die("h cannot be entered");
	gt_enter(WALK_RELEASE, RELEASE);
	for (i = 0; i < BATCH && !error; i++)
		error = gt_cgroup_remove(parent, names[i]);
	gt_leave(WALK_RELEASE, RELEASE);
	if (error)
		gt_die("%s cannot be removed: %s", names[i - 1], strerror(-error));
	gt_count(REMOVED, BATCH);
	gt_cycles(BATCH);
}

static void make_scarce(void)
{
	char text[4096], *line;
	long long free_kb = 0;

	if (gt_read(AT_FDCWD, "/proc/meminfo", text, sizeof(text)) < 0)
		return;
	line = strstr(text, "MemFree:");
	if (!line || sscanf(line, "MemFree: %lld", &free_kb) != 1 || free_kb < SPARE_MB << 11)
		return;
	gt_write(AT_FDCWD, HUGE_PAGES, "%lld", (free_kb - (SPARE_MB << 10)) / 2048);
	gt_sleep(0.05);
	gt_write(AT_FDCWD, HUGE_PAGES, "0");
	gt_count(SOFT, 1);
}

static void reclaim(struct gt_worker *w)
{
	int parent = parents[gt_random_below(&w->random, PARENTS)];
	uint32_t kind = gt_random_below(&w->random, 8);

	gt_enter(WALK_RELEASE, WALK);
	if (!w->rank && kind < 3) {
		make_scarce();
	} else if (kind < 6) {
		long long now = gt_read_number(parent, "memory.usage_in_bytes");

		/* EBUSY where less can be reclaimed. */
		gt_write(parent, "memory.limit_in_bytes", "%lld", now > 128 << 10 ? now - (128 << 10) : PAGE);
		gt_write(parent, "memory.limit_in_bytes", "-1");
		gt_count(LOWERED, 1);
	} else {
		/* EBUSY while it has children or processes: then nothing is walked. */
		gt_write(parent, "memory.force_empty", "0");
		gt_count(EMPTIED, 1);
	}
	gt_leave(WALK_RELEASE, WALK);
	gt_sleep(gt_random_below(&w->random, 32) / 1000.0);
}

/* --- afterwards ------------------------------------------------------------------------------ */

static void settle(void)
{
	gt_write(AT_FDCWD, HUGE_PAGES, "0");
	sync();
	/* The root, our own, the parents, the workers' home: whatever else there is has been removed and emptied. */
	freed = gt_v1_wait_for_memcgs(PARENTS + 3, freed ? PATIENCE : 1) && freed;
}

static void teardown(void)
{
	if (lru_gen[0])
		gt_write(AT_FDCWD, LRU_GEN, "%s", lru_gen);
}

static bool nothing_left_dying(void)
{
	return freed;
}

static bool soft_limits_ran(void)
{
	return gt_figure(SOFT) > 0;
}

static const struct gt_role roles[] = {
	{ .name = "churner", .begin = churn_begin, .cycle = churn },
	{ .name = "reclaimer", .cycle = reclaim },
	{ .name = NULL },
};

static const struct gt_check checks[] = {
	{ "soft_limits_ran", soft_limits_ran },
	{ "nothing_left_dying", nothing_left_dying },
	{ NULL, NULL },
};

const struct gt_program gt_program = {
	.name = "iter_churn_v1",
	.stresses = "reclaim walks of cgroup v1: soft limits, limits, force_empty",
	.figures = figures,
	.windows = windows,
	.setup = setup,
	.roles = roles,
	.settle = settle,
	.checks = checks,
	.teardown = teardown,
};
