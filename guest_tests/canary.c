// SPDX-License-Identifier: MIT
/*
 * Leaks on purpose, through canary.ko: memcgs that stay because of a reference nobody puts, and objects of a
 * cache that nobody frees.  It stresses nothing.  What would be wrong is that the books of the rounds do not
 * show both.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/gt.h"

#define PLANT	"/sys/kernel/debug/canary/plant"
#define CGROUPS	"/sys/fs/cgroup"
/* A cycle leaks this many objects and one memcg; no more cycles than this in a round, whatever its budget. */
#define OBJECTS	64
#define MOST	12

enum { MEMCGS };

static const char *const figures[] = { "memcgs", NULL };
static char own[256];

static bool setup(void)
{
	char link[32];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", gt_cgroup());
	n = readlink(link, own, sizeof(own) - 1);
	if (n > (ssize_t)strlen(CGROUPS))
		return true;
	gt_note("no path of the program's own cgroup");
	return false;
}

static void cycle(struct gt_worker *w)
{
	static unsigned int made;
	char name[16];
	int error;

	(void)w;
	if (made == MOST) {
		gt_sleep(0.05);
		return;
	}
	snprintf(name, sizeof(name), "c%u", made++);
	error = gt_cgroup_make(gt_cgroup(), name, false);
	if (error < 0)
		gt_die("%s: %s", name, strerror(-error));
	close(error);
	error = gt_write(AT_FDCWD, PLANT, "memcg %s/%s", own + strlen(CGROUPS), name);
	if (error < 0)
		gt_die("memcg %s/%s: %s", own + strlen(CGROUPS), name, strerror(-error));
	error = gt_write(AT_FDCWD, PLANT, "ledger %u", OBJECTS);
	if (error < 0)
		gt_die("ledger %u: %s", OBJECTS, strerror(-error));
	gt_cgroup_remove(gt_cgroup(), name);
	gt_count(MEMCGS, 1);
	gt_cycles(1);
	gt_sleep(0.02);
}

static const struct gt_role roles[] = {
	{ .name = "loser", .cycle = cycle },
	{ .name = NULL },
};

static const struct gt_check checks[] = {
	{ NULL, NULL },
};

const struct gt_program gt_program = {
	.name = "canary",
	.stresses = "nothing: it leaks on purpose",
	.figures = figures,
	.setup = setup,
	.roles = roles,
	.checks = checks,
};
