// SPDX-License-Identifier: MIT
/*
 * The library itself, on any machine: no kernel path is stressed and no cgroup is needed.
 *
 * A bug would be: the same seed gives other numbers (figure `sum`), a worker that is not waited for, a
 * plan that is not kept.
 */
#include "lib/gt.h"

enum { DRAWN, SUM };

static const char *const figures[] = { "drawn", "sum", NULL };

/* Even and odd workers: one worker alone meets nobody. */
static const struct gt_window windows[] = {
	{ "meeting", { "even", "odd" } },
	{ NULL, { NULL, NULL } },
};

static bool setup(void)
{
	return true;
}

static void cycle(struct gt_worker *w)
{
	/* A fixed amount of numbers a worker, so that the sum does not depend on how fast the machine is. */
	if (!w->own) {
		static char done;
		unsigned int i;

		for (i = 0; i < 1000; i++)
			gt_count(SUM, gt_random_below(&w->random, 1000));
		gt_count(DRAWN, 1000);
		w->own = &done;
	}
	gt_meet(0, w->index % 2, w, 100);
	gt_enter(0, w->index % 2);
	gt_spin(1000);
	gt_leave(0, w->index % 2);
	gt_cycles(1);
	gt_sleep(0.01);
}

static bool drew_all(void)
{
	return gt_figure(DRAWN) == 1000ULL * gt_workers() * GT_ROUNDS;
}

/* The mean of evenly drawn numbers below 1000; six deviations of the mean of 1000 draws are 55. */
static bool drew_evenly(void)
{
	uint64_t mean = gt_figure(SUM) / gt_figure(DRAWN);

	return mean > 444 && mean < 555;
}

static const struct gt_role roles[] = {
	{ .name = "drawer", .cycle = cycle },
	{ .name = NULL },
};

static const struct gt_check checks[] = {
	{ "drew_all", drew_all },
	{ "drew_evenly", drew_evenly },
	{ NULL, NULL },
};

const struct gt_program gt_program = {
	.name = "selftest",
	.stresses = "the library of the programs",
	.figures = figures,
	.windows = windows,
	.setup = setup,
	.roles = roles,
	.checks = checks,
};
